/* core/str.h: strings as slices. Includes: libc.
 *
 * A `str` is a pointer and a length. It owns nothing, is not NUL-terminated, and points into bytes that somebody
 * else keeps alive (a request, an arena, a literal). The empty slice may have any pointer, NULL too. */
#ifndef HEARTH_CORE_STR_H
#define HEARTH_CORE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct { const char *p; size_t n; } str;

#define S(lit)     ((str){ (lit), sizeof(lit) - 1 })
#define STR_NONE   ((str){ NULL, 0 })
#define STR_ARG(s) (int)(s).n, (s).p            /* printf("%.*s", STR_ARG(s)) */

static inline str str_of(const char *c) { return c ? (str){ c, strlen(c) } : STR_NONE; }
static inline str str_slice(const char *p, size_t n) { return (str){ p, n }; }
static inline str str_skip(str s, size_t n) { return n >= s.n ? (str){ s.p ? s.p + s.n : s.p, 0 } : (str){ s.p + n, s.n - n }; }
/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): no slice has bytes and no address */
static inline bool str_eq(str a, str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool str_starts(str s, str prefix) { return s.n >= prefix.n && str_eq((str){ s.p, prefix.n }, prefix); }
static inline bool str_ends(str s, str suffix)
{
    return s.n >= suffix.n && str_eq((str){ s.p + (s.n - suffix.n), suffix.n }, suffix);
}

bool str_ieq(str a, str b);                     /* ASCII case ignored */
int  str_cmp(str a, str b);                     /* as memcmp, the shorter first */
str  str_trim(str s);                           /* without spaces and tabs at both ends */

/* Index of the first `c` (or of the first `needle`), or s.n when there is none. */
size_t str_index(str s, char c);
size_t str_find(str s, str needle);

/* Splits at the first `sep`: true and both sides without it; false and *head = s, *tail empty when there is none. */
bool str_cut(str s, char sep, str *head, str *tail);

/* The whole slice as a decimal number, no sign for u64, no spaces, no overflow: else false and *out untouched. */
bool str_u64(str s, uint64_t *out);
bool str_i64(str s, int64_t *out);
/* The parts one after the other into `to`, as far as there is room; how many bytes that were. */
size_t str_join(char *to, size_t room, const str *parts, size_t n);

enum { STR_I64 = 20 };                              /* "-9223372036854775808" */
str str_from_i64(int64_t v, char text[STR_I64]);    /* in decimal; lies in `text`, without NUL */

/* Valid UTF-8 (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF)? */
bool str_is_utf8(str s);

/* Length of the longest prefix of `s` that does not end inside a UTF-8 sequence. Bytes that can never
 * become valid count as complete, so that nothing is held back for ever. */
size_t str_utf8_whole(str s);

#endif
