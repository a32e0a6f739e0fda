/* core/buf.h: a growing byte buffer with a cap. Includes: core/str.h, core/err.h.
 *
 * For bytes that arrive or leave in pieces. Owns its memory (malloc); buf_free() gives it back. Growth past `max`
 * is ERR_LIMIT and leaves the buffer as it was; who puts many small things into it may look at `failed` once, at the end. A zeroed struct with `max` set is an empty buffer. */
#ifndef HEARTH_CORE_BUF_H
#define HEARTH_CORE_BUF_H

#include "core/err.h"
#include "core/str.h"

struct buf {
    char *p;
    size_t n, cap, max;
    bool failed;                        /* something had no room since it was cleared: what is in it may not be whole */
};

static inline str buf_str(const struct buf *b) { return (str){ b->p, b->n }; }

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);                           /* memory back; keeps `max` */
void buf_clear(struct buf *b);                          /* n = 0, memory kept */
enum err buf_reserve(struct buf *b, size_t more);       /* room for `more` bytes after n */
enum err buf_put_growing(struct buf *b, str s);         /* buf_put() where there is no room yet */
static inline enum err buf_put(struct buf *b, str s)
{
    if (s.n > b->cap - b->n)
        return buf_put_growing(b, s);
    if (s.n)
        memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
    return ERR_OK;
}
enum err buf_putc(struct buf *b, char c);
enum err buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_drop(struct buf *b, size_t n);                 /* forgets the first n bytes, moves the rest down */

#endif
