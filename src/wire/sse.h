/* wire/sse.h: server-sent events, reading and writing (WHATWG HTML 9.2 "Server-sent events"). Includes: core. Pure.
 *
 * Feed bytes as they arrive, then take events until there is none. An event that lies whole in the piece that was fed
 * is given as slices of that piece; one that is split over pieces is put together in a carry buffer of bounded size.
 *
 *   sse_feed(&s, piece);
 *   while (sse_next(&s, &ev) == ERR_OK) …    ERR_AGAIN: feed more; ERR_LIMIT: an event is larger than the bound
 *
 * The raw bytes of all events, one after the other, are the stream. Where the pieces were cut makes no difference to the
 * events. A blank line that ends nothing is an event without data. */
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
    str rest;                           /* what is not given out yet, of the piece that was fed or of the carry */
    struct buf carry;                   /* the start of an event whose end has not come */
    struct buf joined;                  /* several data lines */
    size_t max;                         /* bytes of one event */
    size_t line, looked;                /* in `rest`: where the line begins that has no end yet, and how far one was looked for */
    bool carry_used;
    bool lone_cr;                       /* the line before `line` ended with a CR and no LF */
    bool begun;                         /* an event was given out: what a byte order mark can no longer precede */
    enum err failed;                    /* sticks: an event was too large, or there was no memory */
};
void sse_init(struct sse *s, size_t max_event);
void sse_free(struct sse *s);
void sse_feed(struct sse *s, str piece);        /* `piece` must live until ERR_AGAIN; what is incomplete is copied then */
enum err sse_next(struct sse *s, struct sse_event *out);    /* slices live until the next sse_next or sse_feed */
bool sse_pending(const struct sse *s);          /* at the end of the bytes: an event was cut (comments and line ends do not count) */

#endif
