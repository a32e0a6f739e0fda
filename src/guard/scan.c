/* guard/scan.c: marks from masks. Both forms make the same five masks of 64 bytes (digits, capitals and bytes above ASCII, words, token bytes, single marks);
 * what follows from the masks is shared, so the forms can only differ in how they classify a byte. */
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

struct masks { uint64_t digit, start, word, token, mark; };

static inline size_t marks_put(uint64_t marks, uint64_t longs, size_t base, uint16_t *at)
{
    size_t n = 0;
    for (; marks; marks &= marks - 1) {
        unsigned i = (unsigned)__builtin_ctzll(marks);
        at[n++] = (uint16_t)(base + i + (longs >> i & 1) * SCAN_IS_LONG);
    }
    return n;
}

/* Writes the marks of one block from its masks; the state moves on. Returns how many. */
static inline size_t marks_of(struct scan *s, const struct masks *m, size_t base, uint16_t *at)
{
    uint64_t after_word = m->word << 1 | s->word >> 63, run = m->token, before;
    s->word = m->word;
    if (s->what == SCAN_WORDS)
        return marks_put(m->word & ~after_word, 0, base, at);
    uint64_t found = m->mark | (m->digit & ~(m->digit << 1 | s->digit >> 63)) | (m->start & ~after_word);
    for (int k = 0; k < 4; k++) {
        before = s->run[k];
        s->run[k] = run;
        run &= run << (1 << k) | before >> (64 - (1 << k));
    }
    before = s->run[4];
    s->run[4] = run;
    s->digit = m->digit;
    run &= ~(run << 1 | before >> 63);
    return marks_put(found | run, run, base, at);
}

/* The same of lines, or of "ins" in either case: of the three masks the third is of what a mark stands at. */
static inline size_t marks_of_few(struct scan *s, const uint64_t m[3], size_t base, uint16_t *at)
{
    uint64_t found = m[2];
    if (s->what == SCAN_INS) {
        found &= (m[1] << 1 | s->run[1] >> 63) & (m[0] << 2 | s->run[0] >> 62);
        s->run[0] = m[0];
        s->run[1] = m[1];
    }
    return marks_put(found, 0, base, at);
}

static void few_plain(const struct scan *s, const char *p, size_t n, uint64_t m[3])
{
    m[0] = m[1] = m[2] = 0;
    for (size_t i = 0; i < n; i++)
        if (s->what == SCAN_LINES) {
            m[2] |= (uint64_t)(p[i] == '\n') << i;
        } else {
            char c = (char)(p[i] | 0x20);
            m[0] |= (uint64_t)(c == 'i') << i;
            m[1] |= (uint64_t)(c == 'n') << i;
            m[2] |= (uint64_t)(c == 's') << i;
        }
}

static void masks_plain(const unsigned char *p, size_t n, struct masks *m)
{
    *m = (struct masks){ 0 };
    for (size_t i = 0; i < n; i++) {
        unsigned c = scan_class[p[i]];
        m->digit |= (uint64_t)!!(c & C_DIGIT) << i;
        m->start |= (uint64_t)!!(c & (C_UPPER | C_HIGH)) << i;
        m->word |= (uint64_t)!!(c & C_WORD) << i;
        m->token |= (uint64_t)!!(c & C_TOKEN) << i;
        m->mark |= (uint64_t)!!(c & C_MARK) << i;
    }
}

static size_t lines_plain(const char *p, size_t n, uint16_t *at)
{
    size_t found = 0;
    for (const char *line = p; (line = memchr(line, '\n', n - (size_t)(line - p))); line++)
        at[found++] = (uint16_t)(line - p);
    return found;
}

/* Looks only where an s may stand: three bytes behind one that is no letter of "ins". The state has the last two bytes of the chunk. */
static size_t ins_plain(struct scan *s, const char *p, size_t n, uint16_t *at)
{
    size_t found = 0, i = 0;
    while (i < n) {
        char c = (char)(p[i] | 0x20), second = i ? p[i - 1] : (char)s->run[0], first = i > 1 ? p[i - 2] : i ? (char)s->run[0] : (char)s->run[1];
        if (c == 's' && (second | 0x20) == 'n' && (first | 0x20) == 'i')
            at[found++] = (uint16_t)i;
        i += c == 'n' ? 1 : c == 'i' ? 2 : 3;
    }
    s->run[0] = n ? (unsigned char)p[n - 1] : 0;
    s->run[1] = n > 1 ? (unsigned char)p[n - 2] : 0;
    return found;
}

size_t scan_plain(struct scan *s, const char *p, size_t n, uint16_t *at)
{
    size_t found = 0;
    struct masks m;
    if (s->what >= SCAN_LINES)
        return s->what == SCAN_LINES ? lines_plain(p, n, at) : ins_plain(s, p, n, at);
    for (size_t i = 0; i < n; i += 64) {
        masks_plain((const unsigned char *)p + i, n - i < 64 ? n - i : 64, &m);
        found += marks_of(s, &m, i, at + found);
    }
    return found;
}

#if defined(__x86_64__)
bool scan_has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"); }

#define AVX2 __attribute__((target("avx2,bmi")))

AVX2 static inline __m256i within(__m256i v, char from, char count)
{
    __m256i off = _mm256_sub_epi8(v, _mm256_set1_epi8(from));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(off, _mm256_set1_epi8((char)(count - 1))), off);
}

AVX2 static inline __m256i equal(__m256i v, char c) { return _mm256_cmpeq_epi8(v, _mm256_set1_epi8(c)); }
AVX2 static inline uint64_t bits(__m256i v) { return (uint32_t)_mm256_movemask_epi8(v); }

AVX2 static inline void masks_half(const char *p, int shift, struct masks *m)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)p);
    __m256i digit = within(v, '0', 10), upper = within(v, 'A', 26), lower = within(v, 'a', 26);
    __m256i under = equal(v, '_'), token = _mm256_or_si256(_mm256_or_si256(digit, upper), _mm256_or_si256(lower, under));
    __m256i mark = _mm256_or_si256(_mm256_or_si256(equal(v, '@'), equal(v, ':')), equal(v, '='));
    m->digit |= bits(digit) << shift;
    m->start |= bits(_mm256_or_si256(upper, v)) << shift;           /* the top bit of a byte above ASCII is its own */
    m->word |= bits(_mm256_or_si256(token, v)) << shift;
    m->token |= bits(_mm256_or_si256(token, equal(v, '-'))) << shift;
    m->mark |= bits(mark) << shift;
}

AVX2 static inline uint64_t equals(const char *p, char c, char fold)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)p), high = _mm256_loadu_si256((const __m256i *)(p + 32)), or = _mm256_set1_epi8(fold);
    return bits(equal(_mm256_or_si256(low, or), c)) | bits(equal(_mm256_or_si256(high, or), c)) << 32;
}

AVX2 static size_t few_avx2(struct scan *s, const char *p, size_t n, uint16_t *at)
{
    size_t found = 0, i = 0;
    uint64_t m[3] = { 0 };
    for (; i + 64 <= n; i += 64) {
        if (s->what == SCAN_LINES) {
            m[2] = equals(p + i, '\n', 0);
        } else {
            m[0] = equals(p + i, 'i', 0x20);
            m[1] = equals(p + i, 'n', 0x20);
            m[2] = equals(p + i, 's', 0x20);
        }
        found += marks_of_few(s, m, i, at + found);
    }
    if (i < n) {
        few_plain(s, p + i, n - i, m);
        found += marks_of_few(s, m, i, at + found);
    }
    return found;
}

AVX2 size_t scan_avx2(struct scan *s, const char *p, size_t n, uint16_t *at)
{
    size_t found = 0, i = 0;
    struct masks m;
    if (s->what >= SCAN_LINES)
        return few_avx2(s, p, n, at);
    for (; i + 64 <= n; i += 64) {
        m = (struct masks){ 0 };
        masks_half(p + i, 0, &m);
        masks_half(p + i + 32, 32, &m);
        found += marks_of(s, &m, i, at + found);
    }
    if (i < n) {
        masks_plain((const unsigned char *)p + i, n - i, &m);
        found += marks_of(s, &m, i, at + found);
    }
    return found;
}
#else
bool scan_has_avx2(void) { return false; }
size_t scan_avx2(struct scan *s, const char *p, size_t n, uint16_t *at) { return scan_plain(s, p, n, at); }
#endif
