/* Finding a key, and what it opens. */
#include "keys/keys.h"

#include <stdlib.h>
#include <string.h>

static int by_hash(const void *x, const void *y) { return memcmp(((const struct key *)x)->hash.b, ((const struct key *)y)->hash.b, sizeof(struct digest)); }

void keys_sort(struct key *list, size_t n) { qsort(list, n, sizeof *list, by_hash); }

/* The first eight bytes of a hash lead to the place, the whole is compared in constant time: what the search gives away is about the hash
 * of a guess, and nobody can choose that. */
const struct key *keys_find(const struct key_list *l, str sent, int64_t wall_us)
{
    struct digest hash = key_hash(sent);
    size_t low = 0, high = l->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (memcmp(l->keys[mid].hash.b, hash.b, 8) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < l->n && memcmp(l->keys[low].hash.b, hash.b, 8) == 0; low++) {
        const struct key *k = &l->keys[low];
        if (digest_eq(&k->hash, &hash))
            return k->disabled || (k->expires_us && wall_us >= k->expires_us) ? NULL : k;
    }
    return NULL;
}

bool keys_is_admin(const struct key_list *l, str sent)
{
    struct digest hash = key_hash(sent);
    return digest_eq(&hash, &l->admin) && l->has_admin;
}

static bool is_among(str s, const str *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], s))
            return true;
    return false;
}

bool keys_allow(const struct key *k, str task, str model)
{
    if (!k->n_tasks && !k->n_models)
        return true;
    return (task.n && is_among(task, k->tasks, k->n_tasks)) || is_among(model, k->models, k->n_models);
}

void key_make(struct rng *r, char out[KEY_TEXT + 1])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t bits = 0;
    int have = 0;
    memcpy(out, "hk-", 3);
    for (size_t i = 3; i < KEY_TEXT; i++) {
        if (have < 6) {
            bits = rand_u64(r);
            have = 64;
        }
        out[i] = digits[bits & 63];
        bits >>= 6;
        have -= 6;
    }
    out[KEY_TEXT] = '\0';
}

struct digest key_hash(str text) { return sha256_of(text); }
