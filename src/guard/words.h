/* guard/words.h: words that say what stands beside them. Includes: core.
 *
 * One table for prose ("my SSN is"), labels ("Phone:") and names of fields ("birth_date"), in the languages of the countries whose forms are known. */
#ifndef HEARTH_GUARD_WORDS_H
#define HEARTH_GUARD_WORDS_H

#include "core/arena.h"
#include "core/str.h"

enum word_bits {
    W_PHONE = 1 << 0,
    W_CARD = 1 << 1,
    W_SSN = 1 << 2,
    W_ID = 1 << 3,          /* of a person, given out by a state */
    W_PASSPORT = 1 << 4,
    W_BIRTH = 1 << 5,
    W_OTHER = 1 << 6,       /* a number that is no person's: an order, an ISBN, an epoch */
    W_VERSION = 1 << 7,
    W_MONTH = 1 << 8,       /* struct word.value: 1 to 12 */
    W_NAME = 1 << 9,        /* as a label or field: a person's name */
    W_ADDRESS = 1 << 10,
    W_PASSWORD = 1 << 11,
    W_TOKEN = 1 << 12,
    W_GREETING = 1 << 13,   /* a name follows: "Dear", "Mr", "je m'appelle" */
    W_CLOSING = 1 << 14,    /* a line of greeting that a name follows: "Regards," */
    W_COMMON = 1 << 15,     /* capitalised, and no name all the same */
    W_STREET = 1 << 16,
    W_COMPANY = 1 << 17,
    W_DATE = 1 << 18,       /* another date: "due", "created" */
    W_PLACE = 1 << 19,      /* a part of an address of its own field: city, postcode */
    W_PARTICLE = 1 << 20,   /* of a name: "van", "de la" */
    W_WEAK = 1 << 21,       /* with another bit: says it only where no word around says the opposite */
    W_IP = 1 << 23,         /* an address of a machine may follow */
    W_INTRO = 1 << 24,      /* before a name of two words or more, in running text */
    W_GIVEN = 1 << 22,      /* with W_NAME: of one word, too ("first_name") */
};

struct word { const char *text; uint32_t bits; uint8_t value; };
struct words;

enum { WORD_LONGEST = 24, NAME_LONGEST = 64 };

/* A hash of a word without ASCII case, eight bytes at a time. Words that differ in more than case may share one. */
static inline uint32_t words_hash(str s)
{
    const uint64_t small = 0x2020202020202020u;
    uint64_t x = s.n, part = 0;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&part, s.p + i, 8);
        x = (x ^ (part | small)) * 0x9E3779B97F4A7C15u;
        x ^= x >> 29;
    }
    if (s.n >= 8 && i < s.n) {
        memcpy(&part, s.p + s.n - 8, 8);                        /* overlaps what was read, here and below */
    } else if (s.n >= 8) {
        part = 0;
    } else if (s.n >= 4) {
        uint32_t first, last;
        memcpy(&first, s.p, 4);
        memcpy(&last, s.p + s.n - 4, 4);
        part = first | (uint64_t)last << 32;
    } else if (s.n) {
        part = (unsigned char)s.p[0] | (uint32_t)(unsigned char)s.p[s.n / 2] << 8 | (uint32_t)(unsigned char)s.p[s.n - 1] << 16;
    }
    x = (x ^ (part | small)) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> 32);
}

struct words *words_new(struct arena *a);                       /* NULL: no memory */
uint32_t words_find(const struct words *w, str text);           /* the bits of a word, ASCII case ignored; 0 for most */
/* The same of an identifier: "customerBirthDate", "X-API-KEY", "openai_api_key". The longest ending that is a word counts; of the parts before it, W_OTHER
 * and whatever but W_NAME, W_ADDRESS, W_PASSWORD and W_TOKEN, which say what the whole is only as its end. */
uint32_t words_find_name(const struct words *w, str name);
unsigned words_month(const struct words *w, str text);          /* 1 to 12, or 0 */

#endif
