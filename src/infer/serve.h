/* infer/serve.h: the engine's small HTTP server, on its Unix socket. Includes: core, wire, io, http.
 *
 *   POST /v1/chat/completions, /v1/completions    OpenAI's, streamed or whole; texts and tools
 *   POST /v1/embeddings                           OpenAI's (embedder.h)
 *   POST /v1/count                                a chat's body -> {"input_tokens":…}
 *   GET  /v1/models                               the one model
 *   GET  /health       503 {"status":"loading","progress":0.4}, 200 {"status":"ok","step_ms":…,"busy":…,"waiting":…,"slots":…}; `idle`: the KV
 *                      cache when there was last nothing to do (struct kv_census: `astray` and `lost` are 0, `left` is of a shared room)
 *   GET  /props        what this engine is (infer/identity.h)
 *   POST /tokenize     {"content":"…"} or {"prompt":"…"} -> {"tokens":[…],"count":…}, without the tokens that a prompt begins with
 *   POST /detokenize   {"tokens":[…]} -> {"content":"…","prompt":"…"}; the words are llama-server's and vLLM's
 *
 * `model` in a request chooses a LoRA adapter, where it is the name of one. Fields of the head, which hearth sends: x-hearth-caller (whose call it is:
 * callers get equal shares, and reuse what was read for them only), x-hearth-share (a name under which the system's messages may be
 * reused by all callers), x-hearth-priority: batch, x-hearth-deterministic: true (also `deterministic` in the body), x-hearth-draft: off.
 *
 * Only the user the engine runs as is answered (SO_PEERCRED). Beyond the slots and ENGINE_MAX_WAITING, calls get 429 with
 * Retry-After. A client that leaves cancels its call; one that does not read stops the generation until it does. */
#ifndef HEARTH_INFER_SERVE_H
#define HEARTH_INFER_SERVE_H

#include "infer/confine.h"
#include "infer/model.h"

struct serve_config {
    int listen_fd;                      /* a Unix socket */
    const char *name;                   /* the id of the served model */
    struct model_config model;
    struct confinement confinement;
};

#define SERVE_DRAIN_MS 5000             /* after SIGTERM, for the calls that run */
/* Serves until SIGTERM or SIGINT. Exit status: 0; 1: failed; 3: the model cannot be loaded (said in the last line on stderr). */
int serve_run(const struct serve_config *c);

#endif
