/* core/clock.h: time as an argument, so that a test owns it. Includes: libc.
 *
 * Durations come from the monotonic clock, dates from the wall clock; the two are never mixed. */
#ifndef HEARTH_CORE_CLOCK_H
#define HEARTH_CORE_CLOCK_H

#include "core/str.h"

struct clock {
    int64_t (*mono_us)(void *ctx);      /* microseconds since some start, never back */
    int64_t (*wall_us)(void *ctx);      /* microseconds since 1970, UTC; may step */
    void *ctx;
};

extern const struct clock clock_system;

static inline int64_t clock_mono_us(const struct clock *c) { return c->mono_us(c->ctx); }
static inline int64_t clock_wall_us(const struct clock *c) { return c->wall_us(c->ctx); }

/* RFC 3339 in UTC with milliseconds, "2026-11-24T09:30:00.123Z": 24 bytes and a NUL. */
#define CLOCK_TEXT 25
void clock_text(int64_t wall_us, char out[CLOCK_TEXT]);
/* "90d", "12h", "5m", "30s", "250ms": a positive duration in milliseconds. */
bool clock_duration_ms(str s, int64_t *out_ms);

#endif
