/* infer/charset.h: sets of characters. Includes: core. Pure. */
#ifndef HEARTH_INFER_CHARSET_H
#define HEARTH_INFER_CHARSET_H

#include "core/arena.h"
#include "core/buf.h"

#define CHAR_LAST 0x10FFFF

struct char_range { uint32_t lo, hi; };
struct charset {                        /* once settled: in order, apart, without surrogates and U+0000 */
    struct char_range *p;
    uint32_t n;
    size_t cap;
};

/* ERR_LIMIT: the arena is full. */
enum err charset_add(struct arena *a, struct charset *s, uint32_t lo, uint32_t hi);
enum err charset_add_all(struct arena *a, struct charset *s, const struct charset *other);
/* Sorts, joins, turns around when `negated`, and takes out what is no character. */
enum err charset_settle(struct arena *a, struct charset *s, bool negated);
bool charset_has(const struct charset *s, uint32_t c);          /* settled */
/* A settled set as a class of GBNF; one range as a part of one. */
enum err charset_write(struct buf *b, const struct charset *s);
enum err charset_write_range(struct buf *b, uint32_t lo, uint32_t hi);
size_t char_utf8(uint32_t c, char to[4]);                       /* its bytes; their number */
/* The character at the start of valid UTF-8, and its length. */
size_t char_read(str s, uint32_t *out);

#endif
