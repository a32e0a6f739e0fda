/* cmd/ask.h: calls over the command socket, for commands. Includes: core, io, http. */
#ifndef HEARTH_CMD_ASK_H
#define HEARTH_CMD_ASK_H

#include "core/buf.h"
#include "http/client.h"

struct ask {
    int status;
    enum err err;
    char detail[200], call_id[64], model[128];
    struct buf body;                    /* whole when it is not a stream */
    int64_t sent_us, first_us, end_us;
};
/* One exchange with whoever listens on the socket, on a loop that nothing else stops meanwhile. `on_text` gets the visible text
 * of a stream as it comes (NULL: the raw bytes are collected). Ctrl-C during it cancels: ERR_CLIENT. */
void ask_call(struct io_loop *l, const char *socket, str method, str target, str fields, str body, void (*on_text)(void *ctx, str text), void *ctx, struct ask *out);
void ask_free(struct ask *a);

#endif
