/* keys/keys.h: virtual keys: who may ask for what, how often, and for how much money. Includes: core, wire, ledger.
 *
 * A key is 32 random bytes and is shown once; what is kept is its SHA-256, which is enough for a secret that nobody can guess. Calls are
 * counted against it in an account that outlives the configuration it came with (struct key_accounts): a reload resets nothing.
 *
 * Limits by the minute are token buckets (RFC 2697, one colour): full at the start, refilled evenly. Tokens and money are taken in advance
 * by an estimate and settled when the call has ended, so that many calls at once cannot overrun a limit together. Budgets are per
 * day and month of UTC; what was spent before this start comes from the ledger. A wall clock that steps back reopens nothing.
 *
 * Beside them there is one admin key: it opens what concerns the gateway itself, and no model. It lies in a file of its own, which only
 * its owner can read. */
#ifndef HEARTH_KEYS_KEYS_H
#define HEARTH_KEYS_KEYS_H

#include "core/arena.h"
#include "core/hash.h"
#include "core/rand.h"
#include "wire/names.h"

#define KEYS_MAX 4096
#define KEY_TEXT 46                     /* "hk-" and 43 digits of base64url, no NUL */

struct key {
    str name;
    struct digest hash;                 /* of the whole key as it is sent */
    bool admin, disabled;
    const str *tasks, *models;          /* what may be asked for; both empty: everything. See keys_allow(). */
    size_t n_tasks, n_models;
    str default_task;                   /* for calls that name no model; or empty */
    enum zone ceiling;                  /* farther than this no call of it goes */
    int guard;                          /* how its calls are guarded at least, as guard/policy.h numbers it; 0: nothing is said */
    int64_t requests_per_minute, tokens_per_minute;      /* 0: no limit */
    int64_t micros_per_day, micros_per_month;            /* millionths of a dollar; -1: no limit */
    int64_t expires_us;                 /* wall clock; 0: never */
};

struct key_list {                       /* sorted by hash */
    const struct key *keys;
    size_t n;
    bool required;                      /* calls over TCP need one */
    struct digest admin;                /* hash of the admin key */
    bool has_admin;
};

void keys_sort(struct key *list, size_t n);
/* The key that was sent, or NULL. Disabled and expired ones are not found. */
const struct key *keys_find(const struct key_list *l, str sent, int64_t wall_us);
bool keys_is_admin(const struct key_list *l, str sent);         /* in constant time */
/* May this key have `model` (for `task`, or empty)? A task that is named is a grant for whatever model serves it. */
bool keys_allow(const struct key *k, str task, str model);

void key_make(struct rng *r, char out[KEY_TEXT + 1]);
struct digest key_hash(str text);

/* ---- what is used ---- */

struct key_accounts;
enum err key_accounts_new(struct key_accounts **out);
void key_accounts_free(struct key_accounts *a);
/* What a key had spent before this process began: today and this month. */
void key_accounts_spent(struct key_accounts *a, str name, int64_t day, int64_t month, int64_t day_micros, int64_t month_micros);
/* The days since 1970 of a time, and its month (year * 12 + month from 0), in UTC. */
int64_t key_day(int64_t wall_us);
int64_t key_month(int64_t wall_us);
int64_t key_month_begins_us(int64_t wall_us);

struct key_account;
struct key_hold { struct key_account *account; int64_t tokens, micros; };    /* zeroed: nothing is held */
struct key_refusal { enum err err; int64_t retry_s; const char *what; };     /* retry_s 0: not before a new day or month */

/* Takes one request, and the estimate of its tokens and money. ERR_RATE or ERR_BUDGET: nothing was taken. Any thread. */
enum err key_take(struct key_accounts *a, const struct key *k, int64_t mono_us, int64_t wall_us, int64_t tokens, int64_t micros, struct key_hold *out, struct key_refusal *why);
/* The call has ended: what it really was. Negative: not known, the estimate stays. */
void key_settle(struct key_accounts *a, struct key_hold *h, int64_t tokens, int64_t micros);

struct key_usage { int64_t day_micros, month_micros, tokens_left, requests_left; };     /* left: -1 without a limit */
void key_look(struct key_accounts *a, const struct key *k, int64_t mono_us, int64_t wall_us, struct key_usage *out);

#endif
