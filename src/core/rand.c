/* core/rand.c: getrandom, SplitMix64, UUIDv7. */
#include "core/rand.h"

#include "core/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void draw(void *p, size_t n)
{
    char *at = p;
    while (n) {
        ssize_t got = getrandom(at, n < 256 ? n : 256, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();                    /* no randomness: nothing that follows would be safe */
        at += got;
        n -= (size_t)got;
    }
}

/* A system call for each salt and id costs more than making them: small wishes come from a supply of the thread's own. What is
 * handed out is wiped here, so that nothing given away can be read again. */
static void fill_system(struct rng *r, void *p, size_t n)
{
    static _Thread_local uint8_t supply[512];
    static _Thread_local size_t left;
    (void)r;
    if (n > 64) {
        draw(p, n);
        return;
    }
    if (left < n) {
        draw(supply, sizeof supply);
        left = sizeof supply;
    }
    left -= n;
    memcpy(p, supply + left, n);
    explicit_bzero(supply + left, n);
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static void fill_seeded(struct rng *r, void *p, size_t n)
{
    char *at = p;
    while (n) {
        uint64_t v = splitmix(&r->state);
        size_t k = n < sizeof v ? n : sizeof v;
        memcpy(at, &v, k);
        at += k;
        n -= k;
    }
}

struct rng rand_system(void) { return (struct rng){ fill_system, 0 }; }
struct rng rand_seeded(uint64_t seed) { return (struct rng){ fill_seeded, seed }; }

uint64_t rand_u64(struct rng *r)
{
    uint64_t v;
    r->fill(r, &v, sizeof v);
    return v;
}

double rand_unit(struct rng *r) { return (double)(rand_u64(r) >> 11) * 0x1p-53; }

void uuid7(struct rng *r, int64_t wall_us, char out[UUID_TEXT])
{
    uint8_t b[16];
    uint64_t ms = (uint64_t)(wall_us / 1000);
    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t)(ms >> (40 - 8 * i));
    r->fill(r, b + 6, 10);
    b[6] = (uint8_t)(0x70 | (b[6] & 0x0F));
    b[8] = (uint8_t)(0x80 | (b[8] & 0x3F));
    static const struct { int from, n; } groups[] = { { 0, 4 }, { 4, 2 }, { 6, 2 }, { 8, 2 }, { 10, 6 } };
    char *at = out;
    for (int g = 0; g < 5; g++) {
        if (g)
            *at++ = '-';
        hex_encode(b + groups[g].from, (size_t)groups[g].n, at);
        at += 2 * groups[g].n;
    }
    *at = '\0';
}
