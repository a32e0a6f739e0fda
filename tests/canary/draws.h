/* tests/canary/draws.h: the sequences that tests of the canary draw, and how near a number must be. Includes: core, cmocka. */
#ifndef HEARTH_TESTS_CANARY_DRAWS_H
#define HEARTH_TESTS_CANARY_DRAWS_H

#include "core/rand.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define assert_near(here, want, most) assert_true(fabs((here) - (want)) <= (most))

/* Win 1, loss -1, tie 0. */
static inline int draw_pair(struct rng *g, double win, double loss)
{
    double u = rand_unit(g);
    return u < win ? 1 : u < win + loss ? -1 : 0;
}

/* Run r of a seed, so that runs are independent. */
static inline struct rng draw_run(uint64_t seed, uint64_t r) { return rand_seeded(seed * 1000003 + r); }

#endif
