/* core/queue.h: a bounded queue that passes ownership between threads. Includes: libc, pthread.
 *
 * Items are linked through a `struct queue_item` inside them, so putting allocates nothing. Many threads put; one takes
 * everything that waits at once. The bound counts items and bytes; a place may be reserved before the item exists,
 * so that a call that was accepted can always be recorded. */
#ifndef HEARTH_CORE_QUEUE_H
#define HEARTH_CORE_QUEUE_H

#include "core/err.h"

#include <pthread.h>
#include <semaphore.h>

struct queue_item { struct queue_item *next; size_t bytes; };

struct queue {
    pthread_mutex_t lock;
    sem_t bell;
    struct queue_item *head, **tail;
    size_t items, bytes;                /* waiting now */
    size_t max_items, max_bytes;
    size_t reserved;                    /* places promised to items that are not put yet */
    bool sleeping, closed;
};

enum err queue_init(struct queue *q, size_t max_items, size_t max_bytes);
void queue_destroy(struct queue *q);

/* A promise of one place: ERR_BUSY when items and promises fill the bound. Each is used up by one queue_put() or given back. */
enum err queue_reserve(struct queue *q);
void queue_unreserve(struct queue *q);
/* With `reserved`, uses a promise and cannot fail but when closed; else ERR_BUSY when full. ERR_INTERNAL: closed.
 * *wake says that the taker sleeps: call queue_wake() (once for many puts is enough). */
enum err queue_put(struct queue *q, struct queue_item *it, bool reserved, bool *wake);
void queue_wake(struct queue *q);

/* Takes all that waits, oldest first; blocks up to wait_ms (-1: for ever) when there is nothing. NULL: nothing, or closed and empty. */
struct queue_item *queue_take_all(struct queue *q, int64_t wait_ms);
void queue_close(struct queue *q);      /* later puts fail; the taker still gets what waits */

#endif
