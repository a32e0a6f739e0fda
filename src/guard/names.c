/* guard/names.c: the table is a part of the program, as the assembler reads it. */
#include "guard/names.h"

#include "guard/words.h"

__asm__(".section .rodata\n"
        ".balign 4\n"
        "hearth_names: .incbin \"" NAMES_BIN "\"\n"
        "hearth_names_end: .byte 0\n"
        ".previous\n");
extern const uint32_t hearth_names[];
extern const char hearth_names_end[];

enum { NEAR = 512 };

static inline uint32_t entry(size_t i)
{
    const unsigned char *p = (const unsigned char *)(hearth_names + i);
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Hashes are spread evenly, so a name's place is known but for some hundreds; of the entries around it half is left with each step, without a branch. */
unsigned names_find(str word)
{
    const uint32_t want = words_hash(word) & ~7u;
    const size_t all = (size_t)(hearth_names_end - (const char *)hearth_names) / sizeof *hearth_names;
    size_t guess = (size_t)((uint64_t)want * all >> 32), low = guess > NEAR ? guess - NEAR : 0, n = all - low < 2 * NEAR ? all - low : 2 * NEAR;
    if (!n || entry(low) > want || entry(low + n - 1) < want) {
        low = 0;
        n = all;
    }
    for (size_t half; n > 1; n -= half) {           /* the first entry that is not below `want` is one of n + 1 from `low` on */
        half = n / 2;
        low += (entry(low + half - 1) & ~7u) < want ? half : 0;
    }
    low += n && (entry(low) & ~7u) < want;
    return low < all && (entry(low) & ~7u) == want ? entry(low) & 7u : 0;
}
