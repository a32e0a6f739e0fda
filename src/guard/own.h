/* guard/own.h: what the owner has named: words and patterns, made ready once, for every text. Includes: guard/hunt.h.
 *
 * A word is found where it stands whole: no letter or digit goes on before or behind it. "_" parts words, typographic quotes do too, and scripts that write no
 * spaces have a border at every character. Case is ignored in Latin, Greek and Cyrillic ("MÜLLER" is "müller"; "ss" is no "ß").
 *
 * Cost: a text's words are looked up by a hash, so most cost the same whatever the number of words is; where one begins as several of the owner's do, those are
 * narrowed down byte by byte, in the logarithm of their number. */
#ifndef HEARTH_GUARD_OWN_H
#define HEARTH_GUARD_OWN_H

#include "guard/hunt.h"

enum { OWN_WORD_MAX = 200 };            /* bytes of a word */

struct own;

/* The words that are denied, and those and the patterns of types; lies in `a`, but for the patterns: own_free(). ERR_RANGE: a word without a letter or digit,
 * too long or no UTF-8, too many of them, or a pattern that pattern_new() does not take. *out is NULL where there is nothing. */
enum err own_new(struct arena *a, const struct guard_options *o, struct own **out);
void own_free(struct own *w);           /* NULL is fine */

/* Adds every place of a word and of a pattern. ERR_LIMIT in h->e: more matches of patterns than any text should have; ERR_MEMORY. */
void hunt_own(struct hunt *h, const struct own *w);

#endif
