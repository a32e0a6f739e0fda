/* gate/speak.h: the two sides of a call: what its client speaks and what its upstream speaks; private to the gate. Includes: core, wire.
 *
 * Where both are the same, bytes are forwarded and only read along. Where they differ, the request goes through `struct chat` and the
 * answer through `struct delta` (wire/chat.h, wire/delta.h). Every pair of dialects is a row of each table and nothing else. */
#ifndef HEARTH_GATE_SPEAK_H
#define HEARTH_GATE_SPEAK_H

#include "wire/anthropic.h"
#include "wire/embed.h"
#include "wire/ollama.h"
#include "wire/openai_chat.h"
#include "wire/responses.h"

struct gate_req;

/* What a call needs that is not a forward from OpenAI to OpenAI. Lives in the call's arena; buffers are freed by speak_free(). */
struct speech {
    struct chat chat;
    struct buf body;                    /* the request, translated */
    struct buf out;                     /* what the events read so far came to, in the client's dialect */
    struct answer answer;               /* not streamed: the pieces of the reply */
    struct delta_sink sink;
    bool begun;
    struct speech *earlier;             /* of the try before this one: its bytes may still be on their way to the disk */
    enum err err;                       /* a writer failed */
    union {
        struct openai_reader openai;
        struct anthropic_reader anthropic;
        struct ollama_reader ollama;
    } reader;
    union {
        struct openai_chat_writer openai;
        struct anthropic_writer anthropic;
        struct ollama_writer ollama;
        struct responses_writer responses;
    } writer;
};

/* ---- client.c: the side of the client ---- */
struct client_side {
    str stream_type;                    /* Content-Type of a stream */
    enum err (*decode)(struct gate_req *r);
    enum err (*to_chat)(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why);
    void (*begin)(struct gate_req *r);                                      /* fills the writer */
    enum err (*delta)(struct gate_req *r, const struct delta *d);           /* appends to speech.out */
    enum err (*whole)(struct gate_req *r, struct buf *out);                 /* speech.answer as one reply */
    str end_mark;                                                           /* of a stream that is forwarded and whose upstream forgot it */
    str (*error_body)(struct gate_req *r, enum err e, str message, str param);
    str (*error_from)(struct gate_req *r);                                  /* from an upstream's error in r->reply */
    str (*error_event)(struct gate_req *r, enum err e, str message);
    str sign;                           /* of life, in a stream in which nothing comes: between two events, it means nothing; empty: the dialect has none */
};
const struct client_side *client_side(enum dialect d);
struct ollama_writer ollama_client_writer(const struct gate_req *r);
struct policy;
str ollama_name(const struct policy *p, str name);      /* a model as a client of Ollama's names it: without ":latest", unless that is its name */

/* ---- upstream.c: the side of the upstream ---- */
struct upstream_side {
    enum dialect dialect;
    bool lines;                         /* a stream is NDJSON, not SSE */
    enum err (*forward)(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n);
    enum err (*from_chat)(struct gate_req *r, str model_id);                /* into speech.body */
    str (*target)(const struct gate_req *r);
    str (*fields)(struct gate_req *r);                                      /* credentials and versions, "Name: value\r\n" */
    enum wire_event (*event)(struct gate_req *r, str event, str data, const struct delta_sink *sink);
    enum err (*reply)(struct gate_req *r, str body, const struct delta_sink *sink);
    void (*error)(struct gate_req *r, int status, str body);
};
/* By the provider's API; one that speaks several is spoken to in the client's own where it can be. */
const struct upstream_side *upstream_side(const struct gate_req *r);
bool upstream_has_tokens(const struct gate_req *r);     /* can it be asked for a text's tokens? */
bool upstream_counts(const struct gate_req *r);         /* can it be asked how many tokens a prompt is? */
bool upstream_is_beside(const struct gate_req *r);      /* its target is no part of the API that its URL ends with */

/* ---- speak.c: both ---- */
/* Chooses the upstream's side and makes r->slices, from the client's bytes or translated; none where there is nothing to ask for (OP_LOAD of
 * a model that no API loads). ERR_UNSUPPORTED with r->why: this target cannot express it. */
enum err speak_request(struct gate_req *r);
bool speak_asks(const struct gate_req *r);              /* will there be a request? */
/* Reads an event of a stream. What it came to for a client of another dialect stands in *out until the next one. */
enum wire_event speak_event(struct gate_req *r, str event, str data, str *out);
enum err speak_reply(struct gate_req *r);               /* r->taken: the upstream's reply, and then the client's */
enum err speak_end(struct gate_req *r, str *out);       /* the client's own end mark, where the upstream forgot its */
str speak_error_reply(struct gate_req *r, int status, str body);        /* an upstream's error, for the client */
void speak_free(struct gate_req *r);

#endif
