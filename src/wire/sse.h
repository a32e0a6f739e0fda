/* wire/sse.h: server-sent events, reading and writing (WHATWG HTML 9.2 "Server-sent events"). Includes: core. Pure.
 *
 * Feed bytes as they arrive, then take events until there is none. An event that lies whole in the piece that was fed
 * is given as slices of that piece; one that is split over pieces is put together in a carry buffer of bounded size.
 *
 *   sse_feed(&s, piece);
 *   while (sse_next(&s, &ev) == ERR_OK) …    ERR_AGAIN: feed more; ERR_LIMIT: an event is larger than the bound
 */
#ifndef HEARTH_WIRE_SSE_H
#define HEARTH_WIRE_SSE_H

#include "core/buf.h"

struct sse_event {
    str raw;                            /* every byte of it, the blank line included: to forward untouched */
    str event;                          /* the event field, or empty */
    str data;                           /* the data field; several lines are joined with \n */
    bool has_data;                      /* false: only comments or other fields (a keep-alive) */
};

struct sse {
    str rest;                           /* what is left of the piece that was fed */
    struct buf carry;                   /* the start of an event whose end has not come */
    struct buf joined;                  /* several data lines */
    size_t scanned;
    bool carry_used;
};
void sse_init(struct sse *s, size_t max_event);
void sse_free(struct sse *s);
void sse_feed(struct sse *s, str piece);        /* `piece` must live until ERR_AGAIN; what is incomplete is copied then */
enum err sse_next(struct sse *s, struct sse_event *out);    /* slices live until the next sse_next or sse_feed */
bool sse_pending(const struct sse *s);          /* at the end of the bytes: an event was cut */

#endif
