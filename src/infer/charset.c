#include "infer/charset.h"

#include <stdlib.h>

enum err charset_add(struct arena *a, struct charset *s, uint32_t lo, uint32_t hi)
{
    struct char_range *grown = arena_more(a, s->p, s->n, &s->cap);
    if (!grown)
        return ERR_LIMIT;
    s->p = grown;
    s->p[s->n++] = (struct char_range){ lo, hi };
    return ERR_OK;
}

enum err charset_add_all(struct arena *a, struct charset *s, const struct charset *other)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < other->n && !e; i++)
        e = charset_add(a, s, other->p[i].lo, other->p[i].hi);
    return e;
}

static int by_low(const void *x, const void *y)
{
    uint32_t a = ((const struct char_range *)x)->lo, b = ((const struct char_range *)y)->lo;
    return a < b ? -1 : a > b;
}

/* What of lo to hi are characters that may be written: without the surrogates in the middle. */
static enum err add_clean(struct arena *a, struct charset *s, uint32_t lo, uint32_t hi)
{
    enum err e = ERR_OK;
    lo = lo ? lo : 1;
    if (lo <= hi && lo < 0xD800)
        e = charset_add(a, s, lo, hi < 0xD800 ? hi : 0xD7FF);
    if (!e && hi > 0xDFFF)
        e = charset_add(a, s, lo > 0xDFFF ? lo : 0xE000, hi);
    return e;
}

enum err charset_settle(struct arena *a, struct charset *s, bool negated)
{
    struct charset to = { .p = NULL };
    uint32_t from = 0;
    enum err e = ERR_OK;
    if (s->n)
        qsort(s->p, s->n, sizeof *s->p, by_low);
    for (uint32_t i = 0; i < s->n && !e;) {
        struct char_range r = s->p[i];
        for (i++; i < s->n && s->p[i].lo <= r.hi + 1; i++)
            r.hi = s->p[i].hi > r.hi ? s->p[i].hi : r.hi;
        if (!negated)
            e = add_clean(a, &to, r.lo, r.hi);
        else if (r.lo > from)
            e = add_clean(a, &to, from, r.lo - 1);
        from = r.hi + 1;
    }
    if (!e && negated && from <= CHAR_LAST)
        e = add_clean(a, &to, from, CHAR_LAST);
    if (!e)
        *s = to;
    return e;
}

bool charset_has(const struct charset *s, uint32_t c)
{
    for (uint32_t i = 0; i < s->n && s->p[i].lo <= c; i++)
        if (c <= s->p[i].hi)
            return true;
    return false;
}

static enum err write_char(struct buf *b, uint32_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return buf_putc(b, (char)c);
    return c < 0x100 ? buf_printf(b, "\\x%02X", c) : c < 0x10000 ? buf_printf(b, "\\u%04X", c) : buf_printf(b, "\\U%08X", c);
}

enum err charset_write_range(struct buf *b, uint32_t lo, uint32_t hi)
{
    enum err e = write_char(b, lo);
    if (!e && hi > lo)
        e = buf_putc(b, '-');
    return e || hi == lo ? e : write_char(b, hi);
}

enum err charset_write(struct buf *b, const struct charset *s)
{
    enum err e = buf_putc(b, '[');
    for (uint32_t i = 0; i < s->n && !e; i++)
        e = charset_write_range(b, s->p[i].lo, s->p[i].hi);
    return e ? e : buf_putc(b, ']');
}

size_t char_utf8(uint32_t c, char to[4])
{
    static const unsigned char lead[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3F));
    to[0] = (char)(lead[n] | c);
    return n;
}

size_t char_read(str s, uint32_t *out)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    uint32_t v = n == 1 ? c : c & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++)
        v = v << 6 | (s.p[i] & 0x3F);
    *out = v;
    return n;
}
