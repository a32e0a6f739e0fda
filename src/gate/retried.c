/* A ring of failed calls: small enough to be looked through. */
#include "gate/retried.h"

#include "core/hash.h"

#include <pthread.h>
#include <stdlib.h>

enum { REMEMBERED = 256, BODY_HASHED = 256 << 10 };
#define FORGOTTEN_AFTER_US INT64_C(600000000)           /* SDKs wait 8 s at most between two tries, and 10 minutes for one */

struct retried {
    pthread_mutex_t lock;
    struct failed { struct digest hash; char id[UUID_TEXT]; int64_t at_us; } ring[REMEMBERED];      /* at_us 0: empty */
    size_t next;
};

struct retried *retried_new(void)
{
    struct retried *t = calloc(1, sizeof *t);
    if (t)
        pthread_mutex_init(&t->lock, NULL);
    return t;
}

void retried_free(struct retried *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* One inside of the other, so that no bytes can move from one to the other. Of a large body its length and its beginning are enough: a loop waits for this. */
static struct digest hash_of(str who, str what)
{
    struct { struct digest begin; uint64_t n; } body = { .n = what.n };
    body.begin = sha256_of(str_slice(what.p, what.n < BODY_HASHED ? what.n : BODY_HASHED));
    return hmac_sha256((str){ (const char *)&body, sizeof body }, who);
}

void retried_note(struct retried *t, str who, str what, const char id[UUID_TEXT], int64_t now_us)
{
    struct failed f = { .hash = hash_of(who, what), .at_us = now_us };
    memcpy(f.id, id, UUID_TEXT);
    pthread_mutex_lock(&t->lock);
    t->ring[t->next] = f;
    t->next = (t->next + 1) % REMEMBERED;
    pthread_mutex_unlock(&t->lock);
}

bool retried_find(struct retried *t, str who, str what, int64_t now_us, char id[UUID_TEXT])
{
    const struct digest hash = hash_of(who, what);
    bool found = false;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 1; i <= REMEMBERED && !found; i++) {
        const struct failed *f = &t->ring[(t->next + REMEMBERED - i) % REMEMBERED];     /* the latest first */
        found = f->at_us && now_us - f->at_us < FORGOTTEN_AFTER_US && digest_eq(&f->hash, &hash);
        if (found)
            memcpy(id, f->id, UUID_TEXT);
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}
