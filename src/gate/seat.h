/* gate/seat.h: how many calls a model may have at once, and who is next; private to the gate. Includes: core.
 *
 * All loops share one `seats` per model, under a lock that is held for a few pointers and taken only for models with a limit. It outlives
 * configurations: the registry finds it again by the model's name. Interactive calls go before batch ones; within a kind, in order of
 * arrival. Waiting has a bound in number and in time. */
#ifndef HEARTH_GATE_SEAT_H
#define HEARTH_GATE_SEAT_H

#include "core/err.h"
#include "core/str.h"

#include <pthread.h>

struct seat_port {                      /* where granted seats come back: one per loop */
    pthread_mutex_t lock;
    struct seat *head, **tail;
    void (*wake)(void *ctx);
    void *ctx;
};

struct seats;
struct seat {                           /* of one call; zeroed: none */
    struct seat *next;
    struct seats *of;
    struct seat_port *port;
    enum { SEAT_NONE, SEAT_WAITING, SEAT_GRANTED, SEAT_HELD } state;     /* private, under the lock of `of` */
    bool batch;
    int64_t since_us;                   /* when it was held */
};

struct seat_registry;
struct seat_registry *seat_registry_new(void);
void seat_registry_free(struct seat_registry *g);
struct seats *seat_registry_find(struct seat_registry *g, str model, int64_t at_once, int64_t queue);   /* sets its limits; NULL: out of memory */

void seat_port_init(struct seat_port *p, void (*wake)(void *ctx), void *ctx);
void seat_port_destroy(struct seat_port *p);

/* ERR_OK: held. ERR_AGAIN: it waits, and seat_collect() of its port gives it back, held. ERR_BUSY: too many wait; *retry_s says when one
 * might try again. */
enum err seat_take(struct seats *s, struct seat *t, struct seat_port *p, bool batch, int64_t now_us, int64_t *retry_s);
void seat_release(struct seat *t, int64_t now_us);       /* held, waiting or none: afterwards none */
struct seat *seat_collect(struct seat_port *p);          /* one that was granted, now held; NULL: no more */
bool seat_waits(const struct seat *t);                   /* its own loop asks */
void seat_look(struct seats *s, int64_t *running, int64_t *waiting);

#endif
