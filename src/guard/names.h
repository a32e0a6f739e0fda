/* guard/names.h: names of people, as they are given in the countries that write Latin letters. Includes: core.
 *
 * names.bin holds 32-bit little-endian numbers in ascending order: words_hash() of a name with its last three bits replaced by the bits below. It is made by
 * tools/make-names from the lists of Faker 38.2.0 (MIT licence); names of under three letters are left out. Two of a thousand million words that are no
 * names are taken for one. */
#ifndef HEARTH_GUARD_NAMES_H
#define HEARTH_GUARD_NAMES_H

#include "core/str.h"

enum {
    NAMES_GIVEN = 1,
    NAMES_SURNAME = 2,
    NAMES_WORD = 4,         /* also a word of English, German, French, Spanish, Italian, Portuguese, Dutch or Swedish, or how places begin */
};

unsigned names_find(str word);  /* 0: not known as a name */

#endif
