/* fleet/facts.h: what servers say of their models, read into one shape. Includes: core. Pure.
 *
 * Every answer is foreign bytes: facts_read() takes what is there and of the right type, and leaves the rest unknown. What is unknown is null in the
 * identity; nothing is guessed from a name. The names of the members, by server, on the versions in kind.h:
 *
 *   llama-server   /props: model_path, model_ftype, build_info, total_slots, chat_template, default_generation_settings.n_ctx
 *                  /v1/models: data[].id, meta.{n_params,size,n_ctx_train}; its models[].digest is an empty string
 *   vLLM           /version: version.  /v1/models: data[].{id,root,parent,max_model_len}
 *                  /server_info (development mode): vllm_config.model_config.{revision,quantization,dtype}.  /is_sleeping: is_sleeping
 *   Ollama         /api/version: version.  /api/tags: models[].{name,model,size,digest,remote_host,remote_model,details.{format,family,parameter_size,
 *                  quantization_level}}; the digest is that of the manifest.  /api/show: details.*, template, parameters, remote_host, remote_model, and in
 *                  modelfile "FROM …/sha256-HEX" or in details.parent_model the digest of the weights */
#ifndef HEARTH_FLEET_FACTS_H
#define HEARTH_FLEET_FACTS_H

#include "core/arena.h"
#include "core/hash.h"
#include "fleet/kind.h"

#define FACTS_BYTES (8u << 20)          /* of an answer; /api/tags of a machine full of models is some hundred KB */

struct facts {                          /* strings in the arena; empty, or negative: unknown */
    bool said;                          /* something that tells this model from another of the same name */
    bool listed, missing;               /* a list of names was given; this one is not in it */
    bool remote;                        /* it only passes calls on, to remote_host */
    bool sleeping, sleeps;              /* it sleeps now; it can be asked whether it does */
    str manifest, weights;              /* SHA-256 in hex */
    str root, revision, parent, format, architecture, quantization, parameters, dtype, version, remote_host, remote_model, path;
    str template_sha256, options_sha256;
    int64_t size, n_params, context, slots;
};
void facts_init(struct facts *f);

/* The answer to one question, with its status, about the model that the server calls `id`. ERR_UPSTREAM: it is none; *f is as it was. A status that is
 * not 200 is an answer too: the server does not have this path. */
enum err facts_read(struct arena *a, enum question q, str id, int status, str body, struct facts *f);

/* The identity as JSON, its members in a fixed order; the fingerprint is its SHA-256. `weights`: a digest of the file that we took ourselves, or NULL. */
enum err facts_identity(struct arena *a, const struct kind *k, const struct facts *f, const struct digest *weights, str *out);
/* The same of an engine of our own, from its /props; `adapter`: with this one of its adapters, empty: with none. ERR_UPSTREAM: they are not usable. */
enum err facts_engine_identity(struct arena *a, str props, const struct digest *weights, str adapter, str *out);

/* The names of the members in which two identities differ, comma-separated; "everything" where one of them is none. */
str facts_differences(struct arena *a, str was, str is);

#endif
