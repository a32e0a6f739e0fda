/* wire/delta.h: an answer in pieces, as no API in particular sends it. Includes: core, wire. Pure.
 *
 * An upstream's codec reads its events (or its whole reply) and calls on_delta for each piece, in this order for a choice:
 *
 *   START  (THINKING* SIGNATURE?)*  TEXT*  (TOOL_START TOOL_ARGS*)*  FINISH        then for all:  USAGE?  END
 *
 * Pieces of text, thinking and tools may alternate; START comes once for all choices. A client's codec writes them in its own
 * dialect. A whole reply gives the same pieces with each text in one, so both modes take one way. The slices of a delta live until
 * on_delta returns. What the pieces say about tokens and identity stands in `struct reply`, which is filled before on_delta is called. */
#ifndef HEARTH_WIRE_DELTA_H
#define HEARTH_WIRE_DELTA_H

#include "wire/call.h"

enum delta_kind {
    DELTA_START,                        /* the answer begins: reply->id and model are known as far as they ever are */
    DELTA_TEXT,                         /* text */
    DELTA_REFUSAL,                      /* text: the model says that it will not */
    DELTA_THINKING,                     /* text; redacted: `id` holds the sealed text and text is empty */
    DELTA_SIGNATURE,                    /* text: of the thinking before it */
    DELTA_TOOL_START,                   /* index, id, name */
    DELTA_TOOL_ARGS,                    /* index; text: a fragment of the JSON text of the arguments */
    DELTA_FINISH,                       /* text: OpenAI's word: stop, length, tool_calls, content_filter; name: the stop sequence met, if said */
    DELTA_USAGE,                        /* reply's token counts are final */
    DELTA_END                           /* the upstream's own end mark; nothing follows */
};

struct delta {
    enum delta_kind kind;
    int64_t choice;                     /* 0 where the dialect has only one */
    int64_t index;                      /* of the tool call within the choice, from 0 without gaps */
    str text, id, name;
    json logprobs;                      /* TEXT: OpenAI's logprobs object of the choice, or JSON_ABSENT */
};

struct delta_sink {
    void (*on_delta)(void *ctx, const struct delta *d);
    void *ctx;
};
static inline void delta_give(const struct delta_sink *s, const struct delta *d)
{
    if (s)
        s->on_delta(s->ctx, d);
}

/* What reading one event came to, for whoever holds the stream's end back until it is on record. */
enum wire_event {
    WIRE_DELTA,                         /* goes on */
    WIRE_FINISH,                        /* says that the answer is complete: this and what follows waits for the record */
    WIRE_USAGE,                         /* only token counts: dropped where the client did not ask */
    WIRE_DONE,                          /* the end mark */
    WIRE_ERROR,                         /* the upstream's error; reply->error_* say which */
    WIRE_INVALID                        /* not this dialect */
};

/* ---- an answer put together, for clients that want it whole ---- */
enum block_kind { BLOCK_TEXT, BLOCK_REFUSAL, BLOCK_THINKING, BLOCK_TOOL };
struct answer_block {                   /* in the order in which they came */
    enum block_kind kind;
    struct buf text;                    /* TOOL: the arguments */
    str id, name, signature;            /* THINKING redacted: id holds the sealed text */
};
struct answer_choice {
    struct answer_block *blocks;
    size_t n, cap;
    str finish, stop_sequence;          /* OpenAI's word */
    str logprobs;                       /* JSON text: the content arrays joined, or empty */
};
#define ANSWER_MAX_CHOICES 128
struct answer {
    struct arena *a;
    size_t max;                         /* bytes in all */
    size_t used;
    struct answer_choice *choices;
    size_t n;
    enum err err;                       /* sticks: ERR_LIMIT */
};
void answer_init(struct answer *w, struct arena *a, size_t max);
void answer_free(struct answer *w);                     /* the buffers; blocks and names live in the arena */
void answer_add(struct answer *w, const struct delta *d);        /* fits delta_sink with ctx = the answer */

#endif
