/* core/buf.c: doubling growth, bounded by the cap. */
#include "core/buf.h"

#include "core/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max) { *b = (struct buf){ .max = max }; }

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){ .max = b->max };
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}

enum err buf_reserve(struct buf *b, size_t more)
{
    if (more <= b->cap - b->n)
        return ERR_OK;
    if (more > b->max || b->n > b->max - more) {
        b->failed = true;
        return ERR_LIMIT;
    }
    size_t cap = b->cap ? b->cap : b->max < 64 ? b->max : 64;
    while (cap < b->n + more)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    char *p = memory_made_to_fail() ? NULL : realloc(b->p, cap);
    if (!p) {
        b->failed = true;
        return ERR_MEMORY;
    }
    b->p = p;
    b->cap = cap;
    return ERR_OK;
}

enum err buf_put_growing(struct buf *b, str s)
{
    enum err e = buf_reserve(b, s.n);
    return e ? e : buf_put(b, s);
}

enum err buf_putc(struct buf *b, char c) { return buf_put(b, (str){ &c, 1 }); }

enum err buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    /* vsnprintf ends with a NUL, which needs a byte of room that the text itself does not keep. */
    enum err e = n < 0 ? ERR_INTERNAL : buf_reserve(b, (size_t)n);
    if (!e && (size_t)n < b->cap - b->n) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    } else if (!e) {
        char *text = malloc((size_t)n + 1);
        if (text) {
            vsnprintf(text, (size_t)n + 1, fmt, again);
            e = buf_put(b, (str){ text, (size_t)n });
            free(text);
        } else {
            e = ERR_MEMORY;
        }
    }
    b->failed |= e != ERR_OK;
    va_end(again);
    return e;
}

void buf_drop(struct buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
        return;
    }
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}
