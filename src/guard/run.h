/* guard/run.h: how far bytes of one class go on, 16 bytes at a time where the processor has SSE2, as every x86-64 has. Includes: guard/scan.h.
 *
 * How long a run is differs from value to value, so a loop over its bytes is mispredicted once for each; a mask of 16 bytes has no such branch. The classes
 * (any but C_MARK) must be constant where these are called: what is asked then costs a few instructions. */
#ifndef HEARTH_GUARD_RUN_H
#define HEARTH_GUARD_RUN_H

#include "guard/scan.h"

enum { RUN_STEP = 16 };
#define RUN_INLINE static inline __attribute__((always_inline))

#if defined(__SSE2__)
#include <emmintrin.h>
typedef __m128i run_bytes;

RUN_INLINE run_bytes run_load(const char *p) { return _mm_loadu_si128((const __m128i *)p); }
RUN_INLINE run_bytes run_pair(uint64_t first, uint64_t second) { return _mm_set_epi64x((long long)second, (long long)first); }

RUN_INLINE __m128i run_within(__m128i v, char from, char count)
{
    __m128i off = _mm_sub_epi8(v, _mm_set1_epi8(from));
    return _mm_cmpeq_epi8(_mm_min_epu8(off, _mm_set1_epi8((char)(count - 1))), off);
}

/* Bit i: byte i is of `classes`. */
RUN_INLINE unsigned run_mask(run_bytes v, unsigned classes)
{
    const __m128i small = _mm_or_si128(v, _mm_set1_epi8(0x20));
    __m128i in = classes & C_HIGH ? v : _mm_setzero_si128();        /* the top bit of a byte above ASCII is its own */
    if (classes & (C_DIGIT | C_HEX))
        in = _mm_or_si128(in, run_within(v, '0', 10));
    if (classes & C_HEX)
        in = _mm_or_si128(in, run_within(small, 'a', 6));
    if ((classes & C_ALPHA) == C_ALPHA)
        in = _mm_or_si128(in, run_within(small, 'a', 26));
    else if (classes & C_ALPHA)
        in = _mm_or_si128(in, run_within(v, classes & C_UPPER ? 'A' : 'a', 26));
    if (classes & C_UNDER)
        in = _mm_or_si128(in, _mm_cmpeq_epi8(v, _mm_set1_epi8('_')));
    if (classes & C_DASH)
        in = _mm_or_si128(in, _mm_cmpeq_epi8(v, _mm_set1_epi8('-')));
    return (unsigned)_mm_movemask_epi8(in);
}

/* Bit i: byte i is `c`. */
RUN_INLINE unsigned run_equal(run_bytes v, char c) { return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c))); }
#else
typedef struct { char p[RUN_STEP]; } run_bytes;

RUN_INLINE run_bytes run_load(const char *p)
{
    run_bytes v;
    memcpy(v.p, p, RUN_STEP);
    return v;
}

RUN_INLINE run_bytes run_pair(uint64_t first, uint64_t second)
{
    run_bytes v;
    memcpy(v.p, &first, 8);
    memcpy(v.p + 8, &second, 8);
    return v;
}

RUN_INLINE unsigned run_mask(run_bytes v, unsigned classes)
{
    unsigned m = 0;
    for (unsigned i = 0; i < RUN_STEP; i++)
        m |= (unsigned)is(v.p[i], classes) << i;
    return m;
}

RUN_INLINE unsigned run_equal(run_bytes v, char c)
{
    unsigned m = 0;
    for (unsigned i = 0; i < RUN_STEP; i++)
        m |= (unsigned)(v.p[i] == c) << i;
    return m;
}
#endif

/* The first bytes of `s`, with zeros behind them where it has fewer than 16. */
RUN_INLINE run_bytes run_up_to(str s)
{
    uint64_t first = 0, last = 0;
    if (s.n >= RUN_STEP)
        return run_load(s.p);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (s.n > 8) {
        memcpy(&first, s.p, 8);
        memcpy(&last, s.p + s.n - 8, 8);
        return run_pair(first, last >> (16 - s.n) * 8);
    }
    if (s.n >= 4) {
        uint32_t head, tail;
        memcpy(&head, s.p, 4);
        memcpy(&tail, s.p + s.n - 4, 4);
        return run_pair(head | (uint64_t)tail << (s.n - 4) * 8, 0);
    }
#endif
    for (size_t i = 0; i < s.n; i++)
        ((char *)(i < 8 ? &first : &last))[i & 7] = s.p[i];
    return run_pair(first, last);
}

/* The bytes of `classes` from p[i] on, of which p[0, n) may be read: at most `most`. */
RUN_INLINE size_t run_on(const char *p, size_t n, size_t i, unsigned classes, size_t most)
{
    const size_t from = i;
    for (; i + RUN_STEP <= n; i += RUN_STEP) {
        size_t k = (size_t)__builtin_ctz(~run_mask(run_load(p + i), classes) | 1u << RUN_STEP), all = i - from + k;
        if (most <= RUN_STEP || k < RUN_STEP || all >= most)
            return all < most ? all : most;
    }
    while (i < n && i - from < most && is(p[i], classes))
        i++;
    return i - from;
}

/* The same of the bytes that end before p[i]. */
RUN_INLINE size_t run_back(const char *p, size_t i, unsigned classes, size_t most)
{
    const size_t from = i;
    for (; i >= RUN_STEP; i -= RUN_STEP) {
        size_t k = (size_t)__builtin_clz(~run_mask(run_load(p + i - RUN_STEP), classes) << RUN_STEP | 1u << (RUN_STEP - 1)), all = from - i + k;
        if (most <= RUN_STEP || k < RUN_STEP || all >= most)
            return all < most ? all : most;
    }
    while (i > 0 && from - i < most && is(p[i - 1], classes))
        i--;
    return from - i;
}

#endif
