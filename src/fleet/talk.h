/* fleet/talk.h: one question to a server at a time, and its whole answer; private to the fleet. Includes: core, http. */
#ifndef HEARTH_FLEET_TALK_H
#define HEARTH_FLEET_TALK_H

#include "core/buf.h"
#include "fleet/kind.h"
#include "http/client.h"

struct talk {
    struct http_exchange *x;            /* NULL: nothing is being asked */
    struct buf in, out;
    str sent;                           /* of `out`, as the exchange wants it */
    int status;                         /* of the answer; 0: there was none, or it was too long */
    /* The answer is in `in` and `status`; `e`: none came. Another question may be asked from here. */
    void (*done)(struct talk *t, enum err e);
    void *ctx;
};
void talk_init(struct talk *t, size_t max, void (*done)(struct talk *t, enum err e), void *ctx);
/* `fields`: more lines for the head; `name`: of the model, where the question names one; `patience_ms`: until it answers, 0 for the pool's own. */
enum err talk_ask(struct talk *t, struct http_pool *p, const struct kind_question *q, str fields, str name, int64_t patience_ms);
/* GET of any path. */
enum err talk_get(struct talk *t, struct http_pool *p, str target, str fields);
void talk_cancel(struct talk *t);       /* done() will not come */
void talk_free(struct talk *t);

#endif
