/* wire/anthropic.h: the Anthropic Messages API, both sides of it. Includes: core, wire. Pure.
 *
 * Source: Anthropic API reference ("Messages", "Streaming", "Count tokens", "Errors") and its Python SDK 2.x for what clients depend on.
 * A field that hearth reads and that stands twice is refused, as in wire/openai.h. */
#ifndef HEARTH_WIRE_ANTHROPIC_H
#define HEARTH_WIRE_ANTHROPIC_H

#include "wire/chat.h"
#include "wire/delta.h"
#include "wire/openai.h"                /* OPENAI_MAX_SLICES, the style of slices */

/* ---- a client's request ---- */
/* POST /v1/messages (OP_CHAT) and /v1/messages/count_tokens (OP_COUNT, where max_tokens may be missing). */
enum err anthropic_decode(struct arena *a, enum op op, str body, struct call *out, struct wire_error *why);
enum err anthropic_to_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why);

/* ---- to an upstream ---- */
/* The client's own bytes with `model` replaced and hearth's fields left out; for DIALECT_ANTHROPIC to DIALECT_ANTHROPIC. */
enum err anthropic_upstream_body(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n);
/* max_tokens is required there: `max_tokens` where the client gave none. */
enum err anthropic_from_chat(struct arena *a, struct chat *c, str model_id, int64_t max_tokens, struct buf *out, struct wire_error *why);

/* ---- what an upstream answers ---- */
struct anthropic_reader {               /* one stream; zeroed before its first event */
    int64_t tools;                      /* tool calls begun */
    int64_t block_tool[64];             /* content block index → tool index + 1; 0: no tool */
    bool begun;
};
/* `sink` may be NULL: only `r` is filled and the event classified. */
enum wire_event anthropic_read_event(struct anthropic_reader *s, struct arena *a, struct arena *scratch, str event, str data, struct reply *r, const struct delta_sink *sink);
enum err anthropic_read_reply(struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink);
enum err anthropic_read_count(struct arena *scratch, str body, struct reply *r);       /* of count_tokens: r->prompt_tokens */
void anthropic_read_error(struct arena *a, struct arena *scratch, int status, str body, struct reply *r);

/* ---- what a client is given ---- */
struct anthropic_writer {
    str id, model;                      /* "msg_…"; the name the client asked for */
    int64_t input_tokens;               /* for message_start, until the upstream has said it: counted or estimated, never 0 for a prompt */
    /* state */
    bool started, stopped;
    int block;                          /* index of the open block, or of the next */
    int open;                           /* 0 none, else the kind of the open block */
    int64_t tool;                       /* tool index of the open block */
    str finish, stop_sequence;
};
/* Events for one delta, appended to `b`; message_delta and message_stop come with DELTA_END. */
enum err anthropic_write_delta(struct anthropic_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d);
enum err anthropic_write_reply(struct buf *b, const struct anthropic_writer *w, const struct reply *r, const struct answer *answer);
enum err anthropic_write_ping(struct buf *b);
str anthropic_count_body(struct arena *a, int64_t tokens);                       /* {"input_tokens":n} */

/* {"type":"error","error":{…},"request_id":…}; the type follows the HTTP status (docs "Errors"). message empty: err_text. */
str anthropic_error_body(struct arena *a, enum err e, str message, str request_id);
str anthropic_error_from(struct arena *a, const struct reply *r, str request_id);   /* from an upstream's: message kept, type by its status */
str anthropic_error_event(struct arena *a, enum err e, str message, str request_id);     /* "event: error\ndata: …\n\n" */
str anthropic_models_body(struct arena *a, const struct openai_model *m, size_t n);
str anthropic_model_body(struct arena *a, const struct openai_model *m);

#endif
