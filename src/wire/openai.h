/* wire/openai.h: the OpenAI chat completions API, both sides of it. Includes: core, wire. Pure.
 *
 * Source: OpenAI API reference ("Chat", "Streaming", "Errors") and its Python SDK 2.x for what clients depend on.
 *
 * Decoding is strict about types of the fields that hearth reads and silent about all others, which pass through. A
 * field that hearth reads and that stands twice at the top level is refused, and so is any field that stands twice in a
 * message, in a part of one or in stream_options: two readers could see two requests. */
#ifndef HEARTH_WIRE_OPENAI_H
#define HEARTH_WIRE_OPENAI_H

#include "wire/call.h"

/* OP_CHAT or OP_COMPLETION; OP_TOKENIZE and OP_DETOKENIZE, of which only `model` is read: the servers that have them differ in the rest. The call and its texts live in `a` and in `body`. */
enum err openai_decode(struct arena *a, enum op op, str body, struct call *out, struct wire_error *why);

/* The body to send upstream, as slices of the original with these changes: `model` becomes model_id, fields whose name
 * begins with "hearth" are left out, and a stream asks for usage. Nothing else is touched. */
#define OPENAI_MAX_SLICES 32           /* as many as any dialect needs */
enum err openai_upstream_body(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n);

/* ---- what an upstream answers ---- */
/* A whole reply body (status 200). ERR_UPSTREAM when it is not a completion. Strings are copied to `a`; `scratch` is reset. */
enum err openai_read_reply(struct arena *a, struct arena *scratch, str body, struct reply *r);
/* What a server says of the tokens of a chat request that it was given to count: vLLM's {"count":n} of /tokenize, llama-server's {"input_tokens":n}: r->prompt_tokens. */
enum err openai_read_count(struct arena *scratch, str body, struct reply *r);
/* What they say of a text and its tokens: {"tokens":[…]}, or {"content":…} and vLLM's {"prompt":…}. Only whether it is that: ERR_UPSTREAM. */
enum err openai_read_tokens(struct arena *scratch, enum op op, str body, struct reply *r);
/* An error body of any shape (OpenAI's, {"error":"text"}, {"detail":…}, {"message":…}, HTML): fills error_*; never fails. */
void openai_read_error(struct arena *a, struct arena *scratch, int status, str body, struct reply *r);

enum openai_event {
    EVENT_DELTA,                        /* goes to the client as it is */
    EVENT_FINISH,                       /* carries a finish_reason: this and what follows waits for the record */
    EVENT_USAGE,                        /* choices empty, usage present: dropped where the client did not ask */
    EVENT_DONE,                         /* [DONE] */
    EVENT_ERROR,                        /* {"error":…}: the stream has failed */
    EVENT_INVALID                       /* not JSON, or no object: the stream has failed */
};
/* Classifies one event's data and notes what it says in `r`. */
enum openai_event openai_read_event(struct arena *a, struct arena *scratch, str data, struct reply *r);

/* ---- what hearth answers ---- */
str openai_error_body(struct arena *a, enum err e, str message, str param);      /* {"error":{…}} ; message empty: err_text */
/* The same from an upstream's error: its message, type and code are kept where it has them. */
str openai_error_from(struct arena *a, const struct reply *r);
str openai_error_event(struct arena *a, enum err e, str message);                /* "data: {"error":…}\n\n"; no [DONE] follows */
struct openai_model { str id, owned_by; int64_t created; str meta; };             /* meta: JSON object with hearth's facts, or empty */
str openai_models_body(struct arena *a, const struct openai_model *m, size_t n);
str openai_model_body(struct arena *a, const struct openai_model *m);

/* ---- what the engine answers: written into a buf ---- */
struct openai_writer {
    str id, model, fingerprint;
    int64_t created;                    /* seconds since 1970 */
    bool include_usage;                 /* "usage": null in chunks, and the extra chunk */
    bool is_chat;
    int64_t prompt_tokens;              /* told with the first chunk ("hearth":{"prompt_tokens":…}), for who needs them before the end; 0: not */
};
struct openai_call { str id, name, arguments; };
struct openai_choice { str text, finish_reason, logprobs; const struct openai_call *calls; size_t n_calls; };      /* logprobs: JSON, or empty */
struct openai_usage { int64_t prompt, completion, cached, accepted, rejected; };      /* the last two: of predicted tokens */
enum err openai_write_first(struct buf *b, const struct openai_writer *w, int64_t choice);             /* the role */
enum err openai_write_delta(struct buf *b, const struct openai_writer *w, int64_t choice, str text, str logprobs);   /* valid UTF-8 */
/* A call of a tool begins (its id and name), and a piece of its arguments. */
enum err openai_write_call(struct buf *b, const struct openai_writer *w, int64_t choice, size_t index, str id, str name);
enum err openai_write_arguments(struct buf *b, const struct openai_writer *w, int64_t choice, size_t index, str fragment);
enum err openai_write_finish(struct buf *b, const struct openai_writer *w, int64_t choice, str finish_reason);
enum err openai_write_usage(struct buf *b, const struct openai_writer *w, const struct openai_usage *u);
enum err openai_write_done(struct buf *b);                                                             /* data: [DONE] */
enum err openai_write_reply(struct buf *b, const struct openai_writer *w, const struct openai_choice *choices, size_t n, const struct openai_usage *u);

#endif
