/* infer/identity.h: what this engine says it is (GET /props). Includes: core, llama.
 *
 * A JSON object: first the facts that make a model another model, which the parent puts under the weights' digest (it takes
 * that itself, from the same descriptor) and hashes to the model's fingerprint; then the state of the process. */
#ifndef HEARTH_INFER_IDENTITY_H
#define HEARTH_INFER_IDENTITY_H

#include "infer/confine.h"
#include "infer/model.h"

/* {"format":"gguf",…}: only facts. */
enum err identity_json(struct buf *b, const struct model *m);
/* The same with "id", "pid" and "confinement". */
enum err identity_props(struct buf *b, str facts, str id, const struct confinement *c);
/* "hearth-" and 12 hex digits of the facts' SHA-256: OpenAI's system_fingerprint. */
#define IDENTITY_FINGERPRINT 20
void identity_fingerprint(str facts, char out[IDENTITY_FINGERPRINT]);

#endif
