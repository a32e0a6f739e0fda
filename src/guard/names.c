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

static inline uint32_t entry(size_t i)
{
    const unsigned char *p = (const unsigned char *)(hearth_names + i);
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

unsigned names_find(str word)
{
    const uint32_t want = words_hash(word) & ~7u;
    size_t low = 0, high = (size_t)(hearth_names_end - (const char *)hearth_names) / sizeof *hearth_names;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if ((entry(mid) & ~7u) < want)
            low = mid + 1;
        else
            high = mid;
    }
    return (const char *)(hearth_names + low) < hearth_names_end && (entry(low) & ~7u) == want ? entry(low) & 7u : 0;
}
