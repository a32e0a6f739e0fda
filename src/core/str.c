/* core/str.c: the parts of slices that are not inline. UTF-8 is checked by ranges of the second byte (Unicode 15, table 3-7),
 * after a run of ASCII was skipped 64 or eight bytes at a time. */
#include "core/str.h"

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

/* Eight bytes at once: 0x20 is added to each that is A-Z. */
static inline uint64_t lower_eight(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u, low = x & ones * 0x7F;
    return x | ((low + ones * (0x80 - 'A')) & ~(low + ones * (0x7F - 'Z')) & ~x & ones * 0x80) >> 2;
}

static inline uint64_t load_eight(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The first four of four to seven bytes, and the last four. */
static inline uint64_t fours(str s)
{
    uint32_t first, last;
    memcpy(&first, s.p, sizeof first);
    memcpy(&last, s.p + s.n - 4, sizeof last);
    return first | (uint64_t)last << 32;
}

/* Most are the same byte for byte, or differ in more than case. */
static inline bool eight_ieq(uint64_t x, uint64_t y)
{
    return x == y || (!((x ^ y) & 0xDFDFDFDFDFDFDFDFu) && lower_eight(x) == lower_eight(y));
}

bool str_ieq(str a, str b)
{
    if (a.n != b.n)
        return false;
    if (a.n < 4) {
        for (size_t i = 0; i < a.n; i++)
            if (lower(a.p[i]) != lower(b.p[i]))
                return false;
        return true;
    }
    if (a.n < 8)
        return eight_ieq(fours(a), fours(b));
    for (size_t i = 0; i + 8 < a.n; i += 8)
        if (!eight_ieq(load_eight(a.p + i), load_eight(b.p + i)))
            return false;
    return eight_ieq(load_eight(a.p + a.n - 8), load_eight(b.p + b.n - 8));       /* overlaps what was compared */
}

int str_cmp(str a, str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

str str_trim(str s)
{
    while (s.n && is_blank(s.p[0]))
        s = str_skip(s, 1);
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

size_t str_index(str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? (size_t)(at - s.p) : s.n;
}

size_t str_find(str s, str needle)
{
    if (!needle.n)
        return 0;
    const char *at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return at ? (size_t)(at - s.p) : s.n;
}

bool str_cut(str s, char sep, str *head, str *tail)
{
    size_t i = str_index(s, sep);
    bool found = i < s.n;
    *head = (str){ s.p, i };
    *tail = found ? (str){ s.p + i + 1, s.n - i - 1 } : (str){ s.p ? s.p + s.n : NULL, 0 };
    return found;
}

size_t str_join(char *to, size_t room, const str *parts, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = parts[i].n < room - at ? parts[i].n : room - at;
        if (k)
            memcpy(to + at, parts[i].p, k);
        at += k;
    }
    return at;
}

bool str_u64(str s, uint64_t *out)
{
    uint64_t v = 0;
    if (!s.n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned d = (unsigned char)s.p[i] - (unsigned)'0';
        if (d > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    *out = v;
    return true;
}

bool str_i64(str s, int64_t *out)
{
    bool minus = s.n && s.p[0] == '-';
    uint64_t v;
    if (!str_u64(minus ? str_skip(s, 1) : s, &v) || v > (uint64_t)INT64_MAX + minus)
        return false;
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* Length of the sequence that starts with `lead`, and the range of its second byte; 0: cannot start one. */
static size_t utf8_lead(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    if (lead < 0xE0)
        return 2;
    if (lead < 0xF0) {
        if (lead == 0xE0)
            *low = 0xA0;
        if (lead == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (lead == 0xF0)
        *low = 0x90;
    if (lead == 0xF4)
        *high = 0x8F;
    return 4;
}

/* Bytes of the sequence at `p` that are right: all of them (*whole), or fewer because it is cut or wrong. */
static size_t utf8_sequence(const unsigned char *p, size_t n, size_t *whole)
{
    unsigned char low, high;
    *whole = utf8_lead(p[0], &low, &high);
    if (!*whole)
        return 0;
    for (size_t i = 1; i < *whole; i++) {
        if (i == n)
            return i;
        if (i == 1 ? p[i] < low || p[i] > high : (p[i] & 0xC0) != 0x80)
            return i;
    }
    return *whole;
}

bool str_is_utf8(str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        uint64_t eight, many[8];
        if (s.n - i >= sizeof many) {
            memcpy(many, p + i, sizeof many);
            if (!((many[0] | many[1] | many[2] | many[3] | many[4] | many[5] | many[6] | many[7]) & 0x8080808080808080u)) {
                i += sizeof many;
                continue;
            }
        }
        if (s.n - i >= sizeof eight) {
            memcpy(&eight, p + i, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                i += sizeof eight;
                continue;
            }
        }
        size_t whole, got = utf8_sequence(p + i, s.n - i, &whole);
        if (!whole || got < whole)
            return false;
        i += whole;
    }
    return true;
}

size_t str_utf8_whole(str s)
{
    size_t back = s.n < 3 ? s.n : 3;
    for (size_t k = 1; k <= back; k++) {
        const unsigned char *p = (const unsigned char *)s.p + (s.n - k);
        if ((*p & 0xC0) == 0x80)
            continue;
        size_t whole, got = utf8_sequence(p, k, &whole);
        return whole > k && got == k ? s.n - k : s.n;
    }
    return s.n;
}

str str_from_i64(int64_t v, char text[STR_I64])
{
    char *end = text + STR_I64, *at = end;
    uint64_t left = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (v < 0)
        *--at = '-';
    return (str){ at, (size_t)(end - at) };
}
