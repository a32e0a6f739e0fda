/* guard/scan.c: marks from masks. Both forms make the same five masks of 64 bytes (digits, capitals and bytes above ASCII, what no word is marked behind, token bytes,
 * single marks); what follows from the masks is shared, so the forms can only differ in how they classify a byte. */
#include "guard/scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define U(c) [c] = C_UPPER
#define L(c) [c] = C_LOWER
#define X(c) [c] = (C_UPPER | C_HEX)
#define Y(c) [c] = (C_LOWER | C_HEX)
#define N(c) [c] = (C_DIGIT | C_HEX)
const uint8_t scan_class[256] = {
    N('0'), N('1'), N('2'), N('3'), N('4'), N('5'), N('6'), N('7'), N('8'), N('9'),
    X('A'), X('B'), X('C'), X('D'), X('E'), X('F'), U('G'), U('H'), U('I'), U('J'), U('K'), U('L'), U('M'), U('N'), U('O'), U('P'), U('Q'), U('R'),
    U('S'), U('T'), U('U'), U('V'), U('W'), U('X'), U('Y'), U('Z'),
    Y('a'), Y('b'), Y('c'), Y('d'), Y('e'), Y('f'), L('g'), L('h'), L('i'), L('j'), L('k'), L('l'), L('m'), L('n'), L('o'), L('p'), L('q'), L('r'),
    L('s'), L('t'), L('u'), L('v'), L('w'), L('x'), L('y'), L('z'),
    ['_'] = C_UNDER, ['-'] = C_DASH, ['@'] = C_MARK, [':'] = C_MARK, ['='] = C_MARK, [0x80 ... 0xFF] = C_HIGH,
};
#undef U
#undef L
#undef X
#undef Y
#undef N

/* `shut`: bytes behind which no mark of a word stands. */
struct masks { uint64_t digit, start, shut, token, mark; };

static inline size_t marks_put(uint64_t marks, size_t base, uint16_t *at)
{
    size_t n = 0;
    for (; marks; marks &= marks - 1)
        at[n++] = (uint16_t)(base + (unsigned)__builtin_ctzll(marks));
    return n;
}

/* From bits of the last bytes of runs of `n` bytes, of this block and the one before, those of runs of twice as many. */
static inline void runs_double(uint64_t *run, uint64_t *last, int n)
{
    *run &= *run << n | *last >> (64 - n);
    *last &= *last << n;
}

/* Writes the marks of one block from its masks; the state moves on. Returns how many. */
static inline size_t marks_of(struct scan *s, const struct masks *m, size_t base, uint16_t *at)
{
    uint64_t found = m->mark | (m->digit & ~(m->digit << 1 | s->digit >> 63)) | (m->start & ~(m->shut << 1 | s->before >> 63)), run = m->token, last = s->token;
    s->digit = m->digit;
    s->before = m->shut;
    s->token = m->token;
    runs_double(&run, &last, 1);
    runs_double(&run, &last, 2);
    runs_double(&run, &last, 4);
    runs_double(&run, &last, 8);
    _Static_assert(SCAN_LONG == 16, "doubled so often");
    run &= ~(run << 1 | last >> 63);
    found |= run;
    size_t n = marks_put(found, base, at);
    for (; run; run &= run - 1)
        at[__builtin_popcountll(found & ((run & -run) - 1))] += SCAN_IS_LONG;
    return n;
}

/* The same of starts of words, of those that `may` be one. */
static inline size_t words_of(struct scan *s, uint64_t word, uint64_t may, size_t base, uint16_t *at)
{
    uint64_t after = word << 1 | s->before >> 63;
    s->before = word;
    return marks_put(word & may & ~after, base, at);
}

static bool opens(char c) { return c == ' ' || c == '\n' || c == '(' || c == '-'; }

static void masks_plain(const char *p, size_t n, struct masks *m)
{
    *m = (struct masks){ 0 };
    for (size_t i = 0; i < n; i++) {
        unsigned c = scan_class[(unsigned char)p[i]];
        m->digit |= (uint64_t)!!(c & C_DIGIT) << i;
        m->start |= (uint64_t)!!(c & (C_UPPER | C_HIGH)) << i;
        m->shut |= (uint64_t)!opens(p[i]) << i;
        m->token |= (uint64_t)!!(c & C_TOKEN) << i;
        m->mark |= (uint64_t)!!(c & C_MARK) << i;
    }
}

static uint64_t class_plain(const char *p, size_t n, unsigned classes)
{
    uint64_t m = 0;
    for (size_t i = 0; i < n; i++)
        m |= (uint64_t)is(p[i], classes) << i;
    return m;
}

/* Of one block: ends of lines, bytes that a line of a table or of SQL starts with, and the letters of "ins". */
struct lines { uint64_t ends, starts, i, n, s; };

static inline size_t lines_of(struct scan *s, const struct lines *m, size_t base, uint16_t *at)
{
    uint64_t ins = m->s & (m->n << 1 | s->n >> 63) & (m->i << 2 | s->i >> 62), found = (m->starts & (m->ends << 1 | s->before >> 63)) | ins;
    s->before = m->ends;
    s->i = m->i;
    s->n = m->n;
    return marks_put(found, base, at);
}

static bool starts_line(char c) { return is(c, C_LETTER | C_UNDER) || c == '"' || c == '|'; }

/* Only what lines_of() asks for: starts behind ends, and where an s may end "ins", which is three bytes behind one that is no letter of it; and what the next block needs. */
static void lines_plain(const char *p, size_t n, struct lines *m)
{
    const uint64_t one = 1;
    *m = (struct lines){ .starts = starts_line(p[0]) };
    for (const char *end = p; (end = memchr(end, '\n', n - (size_t)(end - p))); end++) {
        size_t i = (size_t)(end - p);
        m->ends |= one << i;
        m->starts |= i + 1 < n && starts_line(p[i + 1]) ? one << (i + 1) : 0;
    }
    for (size_t i = 0; i < n;) {
        char c = (char)(p[i] | 0x20);
        if (c == 's') {
            m->s |= one << i;
            m->n |= i >= 1 && (p[i - 1] | 0x20) == 'n' ? one << (i - 1) : 0;
            m->i |= i >= 2 && (p[i - 2] | 0x20) == 'i' ? one << (i - 2) : 0;
        }
        i += c == 'n' ? 1 : c == 'i' ? 2 : 3;
    }
    for (size_t i = n > 2 ? n - 2 : 0; i < n; i++) {
        m->n |= (p[i] | 0x20) == 'n' ? one << i : 0;
        m->i |= (p[i] | 0x20) == 'i' ? one << i : 0;
    }
}

/* The marks from `i` on, which is a whole number of blocks. */
static size_t scan_from(struct scan *s, const char *p, size_t n, size_t i, uint16_t *at)
{
    size_t found = 0;
    struct masks m;
    struct lines l;
    for (; i < n; i += 64) {
        size_t part = n - i < 64 ? n - i : 64;
        if (s->what == SCAN_WORDS || s->what == SCAN_NAMES) {
            uint64_t may = s->what == SCAN_WORDS ? UINT64_MAX : class_plain(p + i, part, C_UPPER | C_HIGH);
            found += words_of(s, class_plain(p + i, part, C_WORD), may, i, at + found);
        } else if (s->what == SCAN_LINES) {
            lines_plain(p + i, part, &l);
            found += lines_of(s, &l, i, at + found);
        } else {
            masks_plain(p + i, part, &m);
            found += marks_of(s, &m, i, at + found);
        }
    }
    return found;
}

size_t scan_plain(struct scan *s, const char *p, size_t n, uint16_t *at) { return scan_from(s, p, n, 0, at); }

#if defined(__x86_64__)
bool scan_has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt"); }

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))

AVX2 static inline __m256i within(__m256i v, char from, char count)
{
    __m256i off = _mm256_sub_epi8(v, _mm256_set1_epi8(from));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(off, _mm256_set1_epi8((char)(count - 1))), off);
}

AVX2 static inline __m256i equal(__m256i v, char c) { return _mm256_cmpeq_epi8(v, _mm256_set1_epi8(c)); }
AVX2 static inline uint64_t bits(__m256i v) { return (uint32_t)_mm256_movemask_epi8(v); }

AVX2 static inline __m256i any(__m256i a, __m256i b) { return _mm256_or_si256(a, b); }
AVX2 static inline __m256i half(const char *p) { return _mm256_loadu_si256((const __m256i *)p); }

AVX2 static inline __m256i letters_and_digits(__m256i v)
{
    return any(within(v, '0', 10), within(any(v, _mm256_set1_epi8(0x20)), 'a', 26));
}

AVX2 static inline void masks_half(const char *p, int shift, struct masks *m)
{
    __m256i v = half(p), dash = equal(v, '-'), token = any(letters_and_digits(v), any(equal(v, '_'), dash));
    m->digit |= bits(within(v, '0', 10)) << shift;
    m->start |= bits(any(within(v, 'A', 26), v)) << shift;          /* the top bit of a byte above ASCII is its own */
    m->shut |= (bits(any(any(equal(v, ' '), equal(v, '\n')), any(equal(v, '('), dash))) ^ 0xFFFFFFFF) << shift;
    m->token |= bits(token) << shift;
    m->mark |= bits(any(any(equal(v, '@'), equal(v, ':')), equal(v, '='))) << shift;
}

AVX2 static inline uint64_t words_half(const char *p)
{
    __m256i v = half(p);
    return bits(any(letters_and_digits(v), any(equal(v, '_'), v)));
}

AVX2 static inline uint64_t names_half(const char *p)
{
    __m256i v = half(p);
    return bits(any(within(v, 'A', 26), v));
}

AVX2 static inline void lines_half(const char *p, int shift, struct lines *m)
{
    __m256i v = half(p), small = any(v, _mm256_set1_epi8(0x20));
    m->ends |= bits(equal(v, '\n')) << shift;
    m->starts |= bits(any(any(within(small, 'a', 26), v), any(any(equal(v, '_'), equal(v, '"')), equal(v, '|')))) << shift;
    m->i |= bits(equal(small, 'i')) << shift;
    m->n |= bits(equal(small, 'n')) << shift;
    m->s |= bits(equal(small, 's')) << shift;
}

AVX2 size_t scan_avx2(struct scan *s, const char *p, size_t n, uint16_t *at)
{
    size_t found = 0, i = 0;
    for (; i + 64 <= n && s->what == SCAN_RULES; i += 64) {
        struct masks m = { 0 };
        masks_half(p + i, 0, &m);
        masks_half(p + i + 32, 32, &m);
        found += marks_of(s, &m, i, at + found);
    }
    for (; i + 64 <= n && s->what == SCAN_WORDS; i += 64)
        found += words_of(s, words_half(p + i) | words_half(p + i + 32) << 32, UINT64_MAX, i, at + found);
    for (; i + 64 <= n && s->what == SCAN_NAMES; i += 64)
        found += words_of(s, words_half(p + i) | words_half(p + i + 32) << 32, names_half(p + i) | names_half(p + i + 32) << 32, i, at + found);
    for (; i + 64 <= n && s->what == SCAN_LINES; i += 64) {
        struct lines m = { 0 };
        lines_half(p + i, 0, &m);
        lines_half(p + i + 32, 32, &m);
        found += lines_of(s, &m, i, at + found);
    }
    return found + (i < n ? scan_from(s, p, n, i, at + found) : 0);
}
#else
bool scan_has_avx2(void) { return false; }
size_t scan_avx2(struct scan *s, const char *p, size_t n, uint16_t *at) { return scan_plain(s, p, n, at); }
#endif
