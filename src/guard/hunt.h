/* guard/hunt.h: one search through one text, as its rules see it. Includes: guard/rules.h, guard/scan.h.
 *
 * A rule gets the position of a mark, looks at a bounded window around it, and adds what it found. */
#ifndef HEARTH_GUARD_HUNT_H
#define HEARTH_GUARD_HUNT_H

#include "guard/rules.h"
#include "guard/scan.h"

struct hunt {
    struct arena *a;
    const char *p;                  /* the text */
    size_t n;
    size_t done;                    /* marks before this position are part of something that a rule has read to its end */
    struct guard_span *spans;       /* in the order they were found; may overlap */
    size_t n_spans, cap;
    enum err e;                     /* the first thing that went wrong */
};

void hunt_add(struct hunt *h, size_t begin, size_t end, enum rule rule, unsigned score);

static inline char hunt_at(const struct hunt *h, size_t i) { return i < h->n ? h->p[i] : '\0'; }
static inline str hunt_str(const struct hunt *h, size_t begin, size_t end) { return str_slice(h->p + begin, end - begin); }
/* Bytes of `classes` that follow `i`, or that stand before it: at most `most`. */
static inline size_t hunt_run(const struct hunt *h, size_t i, unsigned classes, size_t most)
{
    size_t k = 0;
    while (k < most && i + k < h->n && is(h->p[i + k], classes))
        k++;
    return k;
}
static inline size_t hunt_back(const struct hunt *h, size_t i, unsigned classes, size_t most)
{
    size_t k = 0;
    while (k < most && k < i && is(h->p[i - k - 1], classes))
        k++;
    return k;
}

/* The rules, by what they start from. */
void rule_email(struct hunt *h, size_t at, size_t width);      /* '@', or the "%40" that starts at `at` */

#endif
