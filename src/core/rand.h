/* core/rand.h: randomness as an argument, so that a test owns it. Includes: libc, libcrypto.
 *
 * rand_system is the kernel's generator (getrandom); rand_seeded() is SplitMix64 (Steele, Lea, Flood 2014) for
 * tests and reproducible choices, never for keys. */
#ifndef HEARTH_CORE_RAND_H
#define HEARTH_CORE_RAND_H

#include "core/str.h"

struct rng {
    void (*fill)(struct rng *r, void *p, size_t n);
    uint64_t state;
};

struct rng rand_system(void);
struct rng rand_seeded(uint64_t seed);
uint64_t rand_u64(struct rng *r);
double rand_unit(struct rng *r);                        /* [0, 1) with 53 bits */

/* A UUIDv7 (RFC 9562 5.7): sortable by time, 74 random bits. `out` gets 36 characters and a NUL. */
#define UUID_TEXT 37
void uuid7(struct rng *r, int64_t wall_us, char out[UUID_TEXT]);

#endif
