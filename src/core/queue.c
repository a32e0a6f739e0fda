/* core/queue.c: one mutex, and a semaphore for the one that takes: a condition would cost a system call more for each sleep, since its mutex
 * comes back as a contended one. The taker is woken by queue_wake() alone, so that a turn of a loop costs one wake. */
#include "core/queue.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

enum err queue_init(struct queue *q, size_t max_items, size_t max_bytes)
{
    *q = (struct queue){ .max_items = max_items, .max_bytes = max_bytes };
    q->tail = &q->head;
    if (sem_init(&q->bell, 0, 0))
        return ERR_MEMORY;
    if (pthread_mutex_init(&q->lock, NULL)) {
        sem_destroy(&q->bell);
        return ERR_MEMORY;
    }
    return ERR_OK;
}

void queue_destroy(struct queue *q)
{
    assert(!q->head);
    pthread_mutex_destroy(&q->lock);
    sem_destroy(&q->bell);
}

enum err queue_reserve(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool full = q->items + q->reserved >= q->max_items || q->bytes >= q->max_bytes;
    if (!full && !q->closed)
        q->reserved++;
    enum err e = q->closed ? ERR_INTERNAL : full ? ERR_BUSY : ERR_OK;
    pthread_mutex_unlock(&q->lock);
    return e;
}

void queue_unreserve(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    assert(q->reserved);
    q->reserved--;
    pthread_mutex_unlock(&q->lock);
}

static enum err admit(struct queue *q, const struct queue_item *it, bool reserved)
{
    if (q->closed)
        return ERR_INTERNAL;
    if (reserved) {
        assert(q->reserved);
        return ERR_OK;
    }
    bool fits = q->items + q->reserved < q->max_items && (it->bytes <= q->max_bytes && q->bytes <= q->max_bytes - it->bytes);
    return fits ? ERR_OK : ERR_BUSY;
}

enum err queue_put(struct queue *q, struct queue_item *it, bool reserved, bool *wake)
{
    pthread_mutex_lock(&q->lock);
    enum err e = admit(q, it, reserved);
    if (reserved && q->reserved)
        q->reserved--;
    if (!e) {
        it->next = NULL;
        *q->tail = it;
        q->tail = &it->next;
        q->items++;
        q->bytes += it->bytes;
        *wake = q->sleeping;
    }
    pthread_mutex_unlock(&q->lock);
    return e;
}

void queue_wake(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool sleeping = q->sleeping;
    q->sleeping = false;
    pthread_mutex_unlock(&q->lock);
    if (sleeping)
        sem_post(&q->bell);
}

static struct timespec after_ms(int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

/* Until queue_wake() or queue_close(), or `wait_ms` are over (negative: no bound); with the lock held before and after. A ring
 * that came too late for an earlier sleep only makes this look again. */
static void sleep_until_woken(struct queue *q, int64_t wait_ms)
{
    struct timespec until = wait_ms > 0 ? after_ms(wait_ms) : (struct timespec){ 0 };
    bool late = false;
    q->sleeping = true;
    while (q->sleeping && !q->closed && !late) {
        pthread_mutex_unlock(&q->lock);
        if (wait_ms < 0)
            (void)sem_wait(&q->bell);
        else
            late = sem_clockwait(&q->bell, CLOCK_MONOTONIC, &until) && errno == ETIMEDOUT;
        pthread_mutex_lock(&q->lock);
    }
    q->sleeping = false;
}

struct queue_item *queue_take_all(struct queue *q, int64_t wait_ms)
{
    pthread_mutex_lock(&q->lock);
    if (!q->head && !q->closed && wait_ms)
        sleep_until_woken(q, wait_ms);
    struct queue_item *all = q->head;
    q->head = NULL;
    q->tail = &q->head;
    q->items = q->bytes = 0;
    pthread_mutex_unlock(&q->lock);
    return all;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_mutex_unlock(&q->lock);
    sem_post(&q->bell);
}
