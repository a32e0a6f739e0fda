/* core/clock.c: the system's clocks, dates and durations as text. */
#include "core/clock.h"

#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t system_mono(void *ctx) { (void)ctx; return read_us(CLOCK_MONOTONIC); }
static int64_t system_wall(void *ctx) { (void)ctx; return read_us(CLOCK_REALTIME); }

const struct clock clock_system = { system_mono, system_wall, NULL };

static void digits(char *out, int64_t v, int n)
{
    while (n--) {
        out[n] = (char)('0' + v % 10);
        v /= 10;
    }
}

/* Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days: no time zone, no locale, no lock. */
void clock_text(int64_t wall_us, char out[CLOCK_TEXT])
{
    int64_t ms = (wall_us >= 0 ? wall_us : wall_us - 999) / 1000;
    int64_t days = ms / 86400000, rest = ms % 86400000;
    if (rest < 0) {
        rest += 86400000;
        days--;
    }
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097, yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
    int64_t year = yoe + era * 400 + (month <= 2);
    memcpy(out, "0000-00-00T00:00:00.000Z", CLOCK_TEXT);
    digits(out, year < 0 ? 0 : year > 9999 ? 9999 : year, 4);
    digits(out + 5, month, 2);
    digits(out + 8, day, 2);
    digits(out + 11, rest / 3600000, 2);
    digits(out + 14, rest / 60000 % 60, 2);
    digits(out + 17, rest / 1000 % 60, 2);
    digits(out + 20, rest % 1000, 3);
}

bool clock_duration_ms(str s, int64_t *out_ms)
{
    static const struct { str unit; int64_t ms; } units[] = {    /* "ms" stands before "s", which also ends it */
        { S("ms"), 1 }, { S("s"), 1000 }, { S("m"), 60000 }, { S("h"), 3600000 }, { S("d"), 86400000 },
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t v;
        if (!str_ends(s, units[i].unit))
            continue;
        if (!str_u64((str){ s.p, s.n - units[i].unit.n }, &v) || !v || v > (uint64_t)(INT64_MAX / units[i].ms / 1000))
            return false;
        *out_ms = (int64_t)v * units[i].ms;
        return true;
    }
    return false;
}
