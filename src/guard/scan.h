/* guard/scan.h: where rules have to look, found 64 bytes at a time. Includes: core.
 *
 * A mark is a position that a rule may start from: '@', ':', '=', the first digit of a run, a byte that is A-Z or not ASCII behind a blank, '(', '-' or a line's end,
 * and the SCAN_LONG-th byte of a run of [A-Za-z0-9_-]. The AVX2 form and the plain one give the same marks for every input. */
#ifndef HEARTH_GUARD_SCAN_H
#define HEARTH_GUARD_SCAN_H

#include "core/str.h"

enum { SCAN_LONG = 16, SCAN_CHUNK = 4096 };

/* What one chunk leaves for the next; all zero at the start of a text. */
struct scan {
    uint64_t before, digit, token, i, n;    /* the last block's masks: of words, of what shuts them out or of ends of lines, of digits, of token bytes, of two letters */
    enum scan_for { SCAN_RULES, SCAN_WORDS, SCAN_NAMES, SCAN_LINES } what;     /* set by the caller: marks as above, starts of words, see below */
};

/* SCAN_NAMES: starts of words that are A-Z or not ASCII.
 * SCAN_LINES: the first byte of a line behind another's end, when it is a letter, "_", a quote, "|" or not ASCII, and the s of "ins" in either case: lines of tables and
 * of SQL begin so. */
typedef size_t scan_fn(struct scan *s, const char *p, size_t n, uint16_t *at);

/* Added to the offset of a mark that is the SCAN_LONG-th byte of a token. */
enum { SCAN_IS_LONG = 1 << 15 };

/* Writes the marks of the `n` <= SCAN_CHUNK bytes at `p`, as offsets into them, ascending, SCAN_IS_LONG apart, to `at` (room for SCAN_CHUNK); returns how many.
 * Every chunk but the last is SCAN_CHUNK long. */
scan_fn scan_plain, scan_avx2;
bool scan_has_avx2(void);           /* on this CPU, and built for it: else scan_avx2() may not be called */

/* Classes of bytes. */
enum { C_DIGIT = 1, C_UPPER = 2, C_LOWER = 4, C_HIGH = 8, C_UNDER = 16, C_DASH = 32, C_MARK = 64, C_HEX = 128 };
enum { C_ALPHA = C_UPPER | C_LOWER, C_ALNUM = C_ALPHA | C_DIGIT, C_LETTER = C_ALPHA | C_HIGH, C_WORD = C_ALNUM | C_HIGH | C_UNDER, C_TOKEN = C_ALNUM | C_UNDER | C_DASH };
extern const uint8_t scan_class[256];
static inline bool is(char c, unsigned classes) { return scan_class[(unsigned char)c] & classes; }

#endif
