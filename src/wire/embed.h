/* wire/embed.h: embeddings, in OpenAI's API and in Ollama's, both sides of them. Includes: core, wire. Pure.
 *
 *   POST /v1/embeddings    {"model","input": text | [texts] | [ids] | [[ids]],"encoding_format","dimensions"}  →  {"data":[{"embedding"}],"usage"}
 *   POST /api/embed        {"model","input": text | [texts],"dimensions","truncate"}                           →  {"embeddings":[[…]],"prompt_eval_count"}
 *   POST /api/embeddings   {"model","prompt": text}                                                            →  {"embedding":[…]}
 *
 * Source: OpenAI API reference "Embeddings"; Ollama docs/api.md "Generate Embeddings", "Generate Embedding". Where both sides are the
 * same, bytes are forwarded; numbers keep their text where the format does not have to become base64. */
#ifndef HEARTH_WIRE_EMBED_H
#define HEARTH_WIRE_EMBED_H

#include "wire/call.h"

/* OpenAI's or Ollama's request; `old`: /api/embeddings (out->generate). Fills out->input. */
enum err embed_decode(struct arena *a, enum dialect d, bool old, str body, struct call *out, struct wire_error *why);
/* The request in the other dialect, appended. ERR_UNSUPPORTED: Ollama takes no token ids. */
enum err embed_translate(struct arena *a, const struct call *c, enum dialect to, str model_id, struct buf *out, struct wire_error *why);
/* An upstream's reply (status 200): that it is one, and how many tokens it counted. ERR_UPSTREAM. */
enum err embed_read(struct arena *a, struct arena *scratch, enum dialect from, str body, struct reply *r);
/* That reply for a client of c->dialect that asked for `model`, appended to `out`, which does not hold `body`. */
enum err embed_write(struct arena *scratch, const struct call *c, enum dialect from, str body, str model, const struct reply *r, struct buf *out);

#endif
