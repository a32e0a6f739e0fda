/* wire/ollama.h: Ollama's own API, both sides of it. Includes: core, wire. Pure.
 *
 * Source: Ollama docs/api.md and the pages under api/ ("Generate a chat message", "Streaming", "Errors"), types of its Python client 0.6. Streams are
 * NDJSON and are the default; the arguments of a tool call are an object and come whole; an image is bare base64. */
#ifndef HEARTH_WIRE_OLLAMA_H
#define HEARTH_WIRE_OLLAMA_H

#include "wire/chat.h"
#include "wire/delta.h"
#include "wire/openai.h"

/* ---- a client's request ---- */
/* /api/chat and /api/generate (OP_CHAT; generate with raw:true becomes OP_COMPLETION in out->op). `generate` tells
 * which of the two shapes the body has and the reply will have. Without messages or prompt it loads the model (OP_LOAD), or unloads it
 * where keep_alive is zero (OP_UNLOAD); the answer to that is one object, also where a stream was asked for. */
enum err ollama_decode(struct arena *a, enum op op, bool generate, str body, struct call *out, struct wire_error *why);     /* out->generate */
enum err ollama_to_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why);

/* ---- to an upstream ---- */
enum err ollama_upstream_body(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n);     /* Ollama to Ollama */
/* Refuses what Ollama passes over, below /v1 too, where the answer would be another one without it, and drops the rest of it by name. */
enum err ollama_check(struct arena *a, struct chat *c, bool tells_logprobs, struct wire_error *why);
enum err ollama_from_chat(struct arena *a, struct chat *c, str model_id, struct buf *out, struct wire_error *why);               /* /api/chat */

/* ---- what an upstream answers ---- */
/* Lines out of pieces; the contract of sse_feed() and sse_next(). */
struct ndjson { str rest; struct buf carry; size_t looked; bool carry_used; enum err failed; size_t max; };
void ndjson_init(struct ndjson *s, size_t max_line);
void ndjson_free(struct ndjson *s);
void ndjson_feed(struct ndjson *s, str piece);
enum err ndjson_next(struct ndjson *s, str *raw, str *line);     /* raw: with its line end; blank lines are skipped into the next raw */
bool ndjson_pending(const struct ndjson *s);

struct ollama_reader { bool begun; int64_t tools; str call; };   /* one stream; zeroed before its first line but for `call`, which the ids of tool calls begin with: Ollama gives none */
enum wire_event ollama_read_line(struct ollama_reader *s, struct arena *a, struct arena *scratch, str line, struct reply *r, const struct delta_sink *sink);
enum err ollama_read_reply(struct ollama_reader *s, struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink);
void ollama_read_error(struct arena *a, struct arena *scratch, int status, str body, struct reply *r);

/* ---- what a client is given ---- */
struct ollama_writer {
    str model;                          /* the name the client asked for */
    str created_at;                     /* RFC 3339, for every line */
    bool generate;
    int64_t begin_ns, now_ns, load_ns, first_ns;    /* durations of the last line: set by the caller before each write */
    /* state: a tool call is given whole, so its fragments are kept */
    struct answer kept;
    bool init;
    str finish;
};
void ollama_writer_free(struct ollama_writer *w);       /* may be called on a zeroed one */
enum err ollama_write_delta(struct ollama_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d);     /* the done line with DELTA_END */
enum err ollama_write_loaded(struct buf *b, const struct ollama_writer *w, str reason);      /* to OP_LOAD ("load") and OP_UNLOAD ("unload") */
enum err ollama_write_reply(struct arena *a, struct buf *b, const struct ollama_writer *w, const struct reply *r, const struct answer *answer);

str ollama_error_body(struct arena *a, enum err e, str message);                 /* {"error":"text"} */
str ollama_error_from(struct arena *a, const struct reply *r);
str ollama_error_line(struct arena *a, enum err e, str message);                 /* the same and a line end */
struct ollama_model { str name, modified_at, digest, family, quantization, parameter_size; int64_t size, context; str capabilities; /* JSON array */ };
str ollama_tags_body(struct arena *a, const struct ollama_model *m, size_t n);
str ollama_ps_body(struct arena *a, const struct ollama_model *m, size_t n);
str ollama_show_body(struct arena *a, const struct ollama_model *m, str chat_template);
str ollama_version_body(struct arena *a, str version);

#endif
