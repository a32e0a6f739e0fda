/* What keys have used. One lock for all accounts: it is held for a few additions, and only calls with a limited key come here. */
#include "keys/keys.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MINUTE_S = 60 };

struct key_account {
    char name[132];
    double requests, tokens;            /* what the buckets hold; tokens may be below 0 after a call that took more than was thought */
    int64_t filled_us;                  /* when they were filled up to now; 0: never */
    int64_t day, month, day_micros, month_micros;
};

struct key_accounts {
    pthread_mutex_t lock;
    struct key_account *list[KEYS_MAX];
    size_t n;
    struct arena arena;
};

enum err key_accounts_new(struct key_accounts **out)
{
    struct key_accounts *a = calloc(1, sizeof *a);
    if (!a)
        return ERR_MEMORY;
    pthread_mutex_init(&a->lock, NULL);
    arena_init(&a->arena, KEYS_MAX * (sizeof(struct key_account) + 64));
    *out = a;
    return ERR_OK;
}

void key_accounts_free(struct key_accounts *a)
{
    if (!a)
        return;
    arena_free(&a->arena);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* Under the lock. NULL: there are too many names. */
static struct key_account *account(struct key_accounts *a, str name)
{
    for (size_t i = 0; i < a->n; i++)
        if (str_eq(str_of(a->list[i]->name), name))
            return a->list[i];
    struct key_account *x = a->n < KEYS_MAX && name.n < sizeof x->name ? arena_new(&a->arena, struct key_account, 1) : NULL;
    if (!x)
        return NULL;
    memcpy(x->name, name.p, name.n);
    return a->list[a->n++] = x;
}

/* ---- time ---- */

int64_t key_day(int64_t wall_us) { return wall_us / INT64_C(86400000000); }

/* Civil from days (Hinnant, "chrono-compatible low-level date algorithms"). */
static void civil(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
    int64_t z = days + 719468, era = z / 146097, doe = z - era * 146097, yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = yoe + era * 400 + (*month <= 2);
}

int64_t key_month(int64_t wall_us)
{
    int64_t y, m, d;
    civil(key_day(wall_us), &y, &m, &d);
    return y * 12 + m - 1;
}

int64_t key_month_begins_us(int64_t wall_us)
{
    int64_t y, m, d;
    civil(key_day(wall_us), &y, &m, &d);
    return (key_day(wall_us) - (d - 1)) * INT64_C(86400000000);
}

/* ---- taking ---- */

/* A later day or month begins at nothing; an earlier one, by a clock that stepped back, changes nothing. */
static void turn_page(struct key_account *x, int64_t wall_us)
{
    int64_t day = key_day(wall_us), month = key_month(wall_us);
    if (day > x->day) {
        x->day = day;
        x->day_micros = 0;
    }
    if (month > x->month) {
        x->month = month;
        x->month_micros = 0;
    }
}

static void fill(struct key_account *x, const struct key *k, int64_t mono_us)
{
    double minutes = x->filled_us ? (double)(mono_us - x->filled_us) / (MINUTE_S * 1e6) : 1;
    x->requests += minutes * (double)k->requests_per_minute;
    x->tokens += minutes * (double)k->tokens_per_minute;
    if (x->requests > (double)k->requests_per_minute || !k->requests_per_minute)
        x->requests = (double)k->requests_per_minute;
    if (x->tokens > (double)k->tokens_per_minute || !k->tokens_per_minute)
        x->tokens = (double)k->tokens_per_minute;
    x->filled_us = mono_us;
}

void key_accounts_spent(struct key_accounts *a, str name, int64_t day, int64_t month, int64_t day_micros, int64_t month_micros)
{
    pthread_mutex_lock(&a->lock);
    struct key_account *x = account(a, name);
    if (x) {
        x->day = day;
        x->month = month;
        x->day_micros = day_micros;
        x->month_micros = month_micros;
    }
    pthread_mutex_unlock(&a->lock);
}

static int64_t wait_s(double missing, int64_t per_minute)
{
    int64_t s = (int64_t)(missing * MINUTE_S / (double)per_minute) + 1;
    return s < 1 ? 1 : s > MINUTE_S ? MINUTE_S : s;
}

/* A call that wants more tokens than a minute has is let through when the bucket is full: it could never be otherwise. */
static enum err check(const struct key_account *x, const struct key *k, int64_t tokens, int64_t micros, struct key_refusal *why)
{
    double want = k->tokens_per_minute && tokens > k->tokens_per_minute ? (double)k->tokens_per_minute : (double)tokens;
    *why = (struct key_refusal){ .err = ERR_OK };
    if (k->requests_per_minute && x->requests < 1)
        *why = (struct key_refusal){ ERR_RATE, wait_s(1 - x->requests, k->requests_per_minute), "requests per minute" };
    else if (k->tokens_per_minute && x->tokens < want)
        *why = (struct key_refusal){ ERR_RATE, wait_s(want - x->tokens, k->tokens_per_minute), "tokens per minute" };
    else if (k->micros_per_day >= 0 && x->day_micros + micros > k->micros_per_day)
        *why = (struct key_refusal){ ERR_BUDGET, 0, "the day" };
    else if (k->micros_per_month >= 0 && x->month_micros + micros > k->micros_per_month)
        *why = (struct key_refusal){ ERR_BUDGET, 0, "the month" };
    return why->err;
}

enum err key_take(struct key_accounts *a, const struct key *k, int64_t mono_us, int64_t wall_us, int64_t tokens, int64_t micros, struct key_hold *out, struct key_refusal *why)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&a->lock);
    struct key_account *x = account(a, k->name);
    if (!x) {
        *why = (struct key_refusal){ ERR_RATE, MINUTE_S, "too many keys" };
        e = ERR_RATE;
    } else {
        turn_page(x, wall_us);
        fill(x, k, mono_us);
        e = check(x, k, tokens, micros, why);
    }
    if (e == ERR_OK) {
        x->requests -= 1;
        x->tokens -= (double)tokens;
        x->day_micros += micros;
        x->month_micros += micros;
        *out = (struct key_hold){ x, tokens, micros };
    }
    pthread_mutex_unlock(&a->lock);
    return e;
}

void key_settle(struct key_accounts *a, struct key_hold *h, int64_t tokens, int64_t micros)
{
    struct key_account *x = h->account;
    if (!x)
        return;
    int64_t more_tokens = tokens < 0 ? 0 : tokens - h->tokens, more_micros = micros < 0 ? 0 : micros - h->micros;
    pthread_mutex_lock(&a->lock);
    x->tokens -= (double)more_tokens;
    x->day_micros = x->day_micros + more_micros > 0 ? x->day_micros + more_micros : 0;      /* a new day may have begun meanwhile */
    x->month_micros = x->month_micros + more_micros > 0 ? x->month_micros + more_micros : 0;
    pthread_mutex_unlock(&a->lock);
    *h = (struct key_hold){ .account = NULL };
}

void key_look(struct key_accounts *a, const struct key *k, int64_t mono_us, int64_t wall_us, struct key_usage *out)
{
    pthread_mutex_lock(&a->lock);
    struct key_account *x = account(a, k->name);
    *out = (struct key_usage){ .tokens_left = -1, .requests_left = -1 };
    if (x) {
        turn_page(x, wall_us);
        fill(x, k, mono_us);
        *out = (struct key_usage){ x->day_micros, x->month_micros, k->tokens_per_minute ? (int64_t)(x->tokens > 0 ? x->tokens : 0) : -1,
                                   k->requests_per_minute ? (int64_t)x->requests : -1 };
    }
    pthread_mutex_unlock(&a->lock);
}
