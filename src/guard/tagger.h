/* guard/tagger.h: names and addresses that no rule tells and no list knows, by weights that were learnt. Includes: guard/hunt.h.
 *
 * A word with a capital, or a character of a script that parts no words, is looked at with the two words on either side of it and what lies between. What it looks like is
 * TAGGER_FEATURES numbers, each the hash of one sight ("the word before is `by`, and this one is known as a given name"); what a number weighs for each tag
 * stands in tagger.bin, and the tag with the largest sum wins. The time for a word is bounded, nothing is allocated, and there are no floating-point numbers, so the same text
 * gives the same tags everywhere.
 *
 * tagger.bin is made by tools/train-tagger: six 32-bit little-endian thresholds, then TAGGER_SLOTS times N_TAGS weights of a signed byte. The trainer gets its
 * numbers from this code (bench/tagger_raw), so that both see the same. Whoever changes words_hash(), names.bin, the table of words or a sight trains it again. */
#ifndef HEARTH_GUARD_TAGGER_H
#define HEARTH_GUARD_TAGGER_H

#include "guard/hunt.h"

enum tag { TAG_OTHER, TAG_PERSON, TAG_ADDRESS, TAG_THING, N_TAGS };     /* a thing: an organisation, a place or a product, which is left alone */
enum { TAGGER_FEATURES = 30, TAGGER_SLOTS = 1 << 16 };

enum { WORD_SIGN = 1, WORD_KNOWN = 2, WORD_INITIAL = 4 };       /* a character of a script that parts no words; a name that is known, and no word; "J." */
struct tagger_word {
    size_t begin, end;
    unsigned what;
    uint16_t features[TAGGER_FEATURES];
};

/* A word as its neighbours see it: its hash, or of what it is like where it may be a name; what is known of it; and what lies between. */
struct tagger_look {
    size_t begin, end;
    uint32_t id, bits, gap;
    unsigned names, kind;
};

/* Words of a text, in order. */
struct tagger {
    const struct hunt *h;
    enum tag last;                      /* what the word before is, set by the caller behind each; it counts while the next is near */
    size_t last_end;
    struct scan scan;
    size_t base, found, i;              /* the chunk of marks that is read */
    size_t next;                        /* nothing before it is a word any more */
    struct tagger_look seen[16];        /* words that were looked up, by their ends: each stands beside four others */
    uint32_t signs[7];                  /* a character of a script without spaces, and three on either side of it, */
    size_t signs_end, signs_next;       /* where it ends, and where the first begins that is none of them */
    uint16_t at[SCAN_CHUNK];
};

void tagger_init(struct tagger *t, const struct hunt *h);
bool tagger_next(struct tagger *t, struct tagger_word *w);     /* false: that was all */
enum tag tagger_tag(const struct tagger_word *w, int32_t *margin);     /* the best, and how far the next best is behind it */

/* Names and addresses that no span of h->spans touches, which lie in order. Scores are from 30 to 69: 50 where the threshold of the weights is. */
void hunt_tag(struct hunt *h);

#endif
