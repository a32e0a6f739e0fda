/* wire/responses.h: OpenAI's Responses API for clients; upstream it becomes a chat. Includes: core, wire. Pure.
 *
 * Source: OpenAI API reference ("Responses", "Streaming events") and types/responses of its Python SDK. hearth keeps no conversation: previous_response_id,
 * conversation, background:true, store:true together with a later fetch, and OpenAI's own tools (web_search, file_search, …) are refused by name;
 * `input` items of the kinds message, function_call, function_call_output and reasoning are taken. */
#ifndef HEARTH_WIRE_RESPONSES_H
#define HEARTH_WIRE_RESPONSES_H

#include "wire/chat.h"
#include "wire/delta.h"

enum err responses_decode(struct arena *a, str body, struct call *out, struct wire_error *why);
enum err responses_to_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why);

struct responses_writer {
    str id, model;                      /* "resp_…" */
    int64_t created;
    const struct call *call;            /* what the reply repeats of the request (tools, temperature, …) */
    /* state */
    struct answer answer;               /* its blocks are the items: what the events of an item's end repeat */
    bool init;
    int64_t sequence;
    bool open;                          /* the last block's item has begun and not ended */
};
void responses_writer_free(struct responses_writer *w);           /* may be called on a zeroed one */
/* Events for one delta; response.completed (or .incomplete) comes with DELTA_END, and no [DONE]. */
enum err responses_write_delta(struct responses_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d);
enum err responses_write_reply(struct buf *b, const struct responses_writer *w, const struct reply *r, const struct answer *answer);
/* response.failed, then the flat error event. */
str responses_error_event(struct arena *a, struct responses_writer *w, enum err e, str message);

#endif
