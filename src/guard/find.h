/* guard/find.h: personal data and secrets in a text, as spans of bytes. Includes: core.
 *
 * The finder reads a text once. Marks (an '@', the first digit of a run, a colon, a capital, a long token) are found 64 bytes at a time; at each of
 * them a few rules look at the bytes around, and a value counts when its check digits and its surroundings say so. No rule looks further than a
 * bounded window, or it consumes what it read, so the time is linear in the text, whatever is in it.
 *
 * What is left alone on purpose: hashes, UUIDs, versions, ISBN and EAN, order numbers, the examples that RFCs reserve (example.com, 192.0.2.0/24,
 * 2001:db8::/32), loopback, digests, images in base64, ids of tool calls, and placeholders of keys ("YOUR_API_KEY", "ghp_xxxx").
 *
 *   struct guard_finder *f;                     once, at the start; shared by all threads, never changed
 *   if (guard_finder_new(NULL, &f) == ERR_OK)
 *       e = guard_find(f, a, text, &spans, &n); any number of times, at once
 *
 * Types and their limits are those of the labelled set's scorer: PERSON without its title, ADDRESS from the street to the town as one span, SECRET the
 * value only, DATE_OF_BIRTH the date only. */
#ifndef HEARTH_GUARD_FIND_H
#define HEARTH_GUARD_FIND_H

#include "core/arena.h"
#include "core/err.h"
#include "core/str.h"

enum { GUARD_OWN_MAX = 32 };            /* types that the owner may name */

enum guard_type {
    GUARD_EMAIL,
    GUARD_PHONE,
    GUARD_CREDIT_CARD,
    GUARD_IBAN,
    GUARD_US_SSN,
    GUARD_NATIONAL_ID,
    GUARD_PASSPORT,
    GUARD_IP_ADDRESS,
    GUARD_MAC_ADDRESS,
    GUARD_DATE_OF_BIRTH,
    GUARD_PERSON,
    GUARD_ADDRESS,
    GUARD_SECRET,
    GUARD_CUSTOM,
    GUARD_OWN,                              /* the first that the owner has named; the others follow it */
    GUARD_N_TYPES = GUARD_OWN + GUARD_OWN_MAX
};
struct guard_finder;
/* "EMAIL", as in placeholders; of the owner's types as the finder has them, which may be NULL; "": there is no such type. */
const char *guard_type_name(const struct guard_finder *f, enum guard_type t);
bool guard_word_fits(str s);            /* can it be looked for: UTF-8 with a letter or digit, of 1 to 200 bytes? */
bool guard_own_name(str s);             /* may a type be named so: A-Z, then 1 to 23 of A-Z, 0-9 and "_", and none of those above */

struct guard_span {
    size_t begin, end;      /* bytes of the text, half open, never inside of a UTF-8 sequence */
    enum guard_type type;
    uint16_t rule;          /* which rule found it: guard_rule_name() */
    uint8_t score;          /* 0 to 100: how sure; a check digit or a telling field name gives more than a form alone */
};
const char *guard_rule_name(uint16_t rule);             /* "email", "phone_e164", "id_es_nif"; "" for no rule */

/* A value or word of the owner's own. The bytes must outlive guard_finder_new() only. */
struct guard_word {
    str text;               /* compared without ASCII case, at the borders of words */
    enum guard_type type;   /* of an allowed word: the type that it is not, or GUARD_N_TYPES for any; of a denied one: the type that it gets */
};

/* A type of the owner's own: words that are found wherever they stand whole (guard/own.h), a pattern (guard/pattern.h), or both. */
struct guard_own {
    str name;
    const str *words;
    size_t n_words;
    str pattern;            /* empty: none */
    const str *context;     /* a match of the pattern without one of these words near it has a score of 40, which is below GUARD_SCORE_LEAST; with one 95 */
    size_t n_context;
};

struct guard_options {
    uint8_t least[GUARD_N_TYPES];       /* a span of a lower score is left out; 0 stands for GUARD_SCORE_LEAST, 101 switches the type off */
    const struct guard_word *allow;     /* a span that is exactly such a text is left out */
    size_t n_allow;
    const struct guard_word *deny;      /* found wherever they stand, with a score of 100 */
    size_t n_deny;
    const struct guard_own *own;        /* the types GUARD_OWN, GUARD_OWN + 1, …; the bytes must outlive guard_finder_new() only */
    size_t n_own;
    size_t max_bytes;                   /* a longer text is ERR_LIMIT; 0: GUARD_TEXT_MAX */
    bool no_tagger;                     /* names and addresses by rules and lists alone */
    bool scalar;                        /* the marks by the plain loop, also where the CPU has AVX2: for tests; the result is the same */
};
enum { GUARD_SCORE_LEAST = 50, GUARD_WORDS_MAX = 50000 };       /* words: denied ones and those of types together */
#define GUARD_TEXT_MAX ((size_t)1 << 30)

/* Immutable when made. `o` may be NULL. ERR_MEMORY; ERR_RANGE: a word has no letter or digit, is longer than 200 bytes, no UTF-8, or its type is none; too many
 * words or types; a type has a name that cannot be, or a pattern that is none. */
enum err guard_finder_new(const struct guard_options *o, struct guard_finder **out);
void guard_finder_free(struct guard_finder *f);         /* NULL is fine */

/* The spans lie in `a`, sorted by `begin`, not overlapping; *out may be NULL when *n is 0. ERR_LIMIT: the text is too long, holds too many matches of a pattern, or `a` is full;
 * ERR_SYNTAX: it is not UTF-8; ERR_MEMORY. After an error nothing is known about the text: the caller must not let it out. */
enum err guard_find(const struct guard_finder *f, struct arena *a, str text, struct guard_span **out, size_t *n);

#endif
