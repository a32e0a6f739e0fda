/* cmd/said.h: what an answer on record said, whatever API it was given in. Includes: core, wire. Pure.
 *
 * A recorded answer is the bytes that the client got: a whole reply or a stream. The readers of the upstream side take them apart again,
 * since a client's dialect is some upstream's. */
#ifndef HEARTH_CMD_SAID_H
#define HEARTH_CMD_SAID_H

#include "wire/chat.h"
#include "wire/delta.h"

struct said {
    str text;                           /* of all choices, each after the other with a line between */
    str thinking;
    str tools;                          /* name(arguments), a line each */
    str finish;                         /* OpenAI's word for the first choice's end; empty: it did not end */
};

/* `dialect` as the ledger has it. ERR_UPSTREAM: it is no answer of this API (an error's body, say); ERR_LIMIT. */
enum err said_read(struct arena *a, str dialect, str body, struct said *out);

/* The conversation that a request holds. ERR_UNSUPPORTED: it holds none. */
enum err said_chat(struct arena *a, str dialect, str operation, str body, struct chat *out);
/* What a request asked: every text in order, a role and a colon before each, tools by name. The body itself where it cannot be read so. */
enum err said_asked(struct arena *a, str dialect, str operation, str body, str *out);

#endif
