/* Seats are granted by whoever releases one, and travel to the loop of the next through its port. */
#include "gate/seat.h"

#include <stdlib.h>
#include <string.h>

enum { SEATS_MAX = 4096 };

struct seats {
    pthread_mutex_t lock;
    char model[132];
    int64_t at_once, queue, running, waiting;
    struct seat *head[2], **tail[2];    /* interactive, batch */
    double held_us;                     /* how long one is held, a moving average */
};

struct seat_registry {
    pthread_mutex_t lock;
    struct seats *list[SEATS_MAX];
    size_t n;
};

struct seat_registry *seat_registry_new(void)
{
    struct seat_registry *g = calloc(1, sizeof *g);
    if (g)
        pthread_mutex_init(&g->lock, NULL);
    return g;
}

void seat_registry_free(struct seat_registry *g)
{
    for (size_t i = 0; g && i < g->n; i++) {
        pthread_mutex_destroy(&g->list[i]->lock);
        free(g->list[i]);
    }
    if (g)
        pthread_mutex_destroy(&g->lock);
    free(g);
}

static struct seats *seats_new(str model)
{
    struct seats *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    memcpy(s->model, model.p, model.n);
    s->tail[0] = &s->head[0];
    s->tail[1] = &s->head[1];
    return s;
}

struct seats *seat_registry_find(struct seat_registry *g, str model, int64_t at_once, int64_t queue)
{
    struct seats *s = NULL;
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < g->n && !s; i++)
        s = str_eq(str_of(g->list[i]->model), model) ? g->list[i] : NULL;
    if (!s && g->n < SEATS_MAX && model.n < sizeof s->model && (s = seats_new(model)))
        g->list[g->n++] = s;
    pthread_mutex_unlock(&g->lock);
    if (s) {
        pthread_mutex_lock(&s->lock);
        s->at_once = at_once;
        s->queue = queue;
        pthread_mutex_unlock(&s->lock);
    }
    return s;
}

void seat_port_init(struct seat_port *p, void (*wake)(void *ctx), void *ctx)
{
    *p = (struct seat_port){ .wake = wake, .ctx = ctx };
    p->tail = &p->head;
    pthread_mutex_init(&p->lock, NULL);
}

void seat_port_destroy(struct seat_port *p) { pthread_mutex_destroy(&p->lock); }

/* ---- taking ---- */

static int64_t expected_s(const struct seats *s)
{
    double us = s->held_us * (double)(s->waiting + 1) / (double)(s->at_once > 0 ? s->at_once : 1);
    return us < 1e6 ? 1 : us > 60e6 ? 60 : (int64_t)(us / 1e6);
}

enum err seat_take(struct seats *s, struct seat *t, struct seat_port *p, bool batch, int64_t now_us, int64_t *retry_s)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&s->lock);
    *t = (struct seat){ .of = s, .port = p, .batch = batch };
    if (s->running < s->at_once && !s->head[0] && (batch ? !s->head[1] : true)) {
        s->running++;
        t->state = SEAT_HELD;
        t->since_us = now_us;
    } else if (s->waiting >= s->queue) {
        *retry_s = expected_s(s);
        t->of = NULL;
        e = ERR_BUSY;
    } else {
        s->waiting++;
        t->state = SEAT_WAITING;
        *s->tail[batch] = t;
        s->tail[batch] = &t->next;
        e = ERR_AGAIN;
    }
    pthread_mutex_unlock(&s->lock);
    return e;
}

/* Under the lock, also while the other loop is woken: its call, and so that loop, cannot end before it has had this lock.
 * The seat goes to the next who waits, if there is one and the limit allows it. */
static bool grant(struct seats *s, int64_t now_us)
{
    int kind = s->head[0] ? 0 : 1;
    struct seat *t = s->head[kind];
    if (!t || s->running >= s->at_once)
        return false;
    s->head[kind] = t->next;
    if (!s->head[kind])
        s->tail[kind] = &s->head[kind];
    s->waiting--;
    s->running++;
    t->next = NULL;
    t->state = SEAT_GRANTED;
    t->since_us = now_us;
    pthread_mutex_lock(&t->port->lock);         /* order of locks: seats, then port */
    *t->port->tail = t;
    t->port->tail = &t->next;
    pthread_mutex_unlock(&t->port->lock);
    t->port->wake(t->port->ctx);
    return true;
}

static void unlink_waiting(struct seats *s, struct seat *t)
{
    struct seat **at = &s->head[t->batch];
    while (*at && *at != t)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = t->next;
    if (!*at)
        s->tail[t->batch] = at;
    s->waiting--;
}

static void unlink_granted(struct seat *t)
{
    struct seat_port *p = t->port;
    pthread_mutex_lock(&p->lock);
    struct seat **at = &p->head;
    while (*at && *at != t)
        at = &(*at)->next;
    if (*at)
        *at = t->next;
    if (!*at)
        p->tail = at;
    pthread_mutex_unlock(&p->lock);
}

void seat_release(struct seat *t, int64_t now_us)
{
    struct seats *s = t->of;
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    if (t->state == SEAT_WAITING)
        unlink_waiting(s, t);
    if (t->state == SEAT_GRANTED)
        unlink_granted(t);
    if (t->state == SEAT_HELD) {
        double us = (double)(now_us - t->since_us);
        s->held_us = s->held_us > 0 ? s->held_us * 0.9 + us * 0.1 : us;
    }
    if (t->state == SEAT_HELD || t->state == SEAT_GRANTED)
        s->running--;
    /* More than one when a new configuration has raised the limit. */
    while (grant(s, now_us))
        ;
    pthread_mutex_unlock(&s->lock);
    *t = (struct seat){ .state = SEAT_NONE };
}

struct seat *seat_collect(struct seat_port *p)
{
    pthread_mutex_lock(&p->lock);
    struct seat *t = p->head;
    if (t) {
        p->head = t->next;
        if (!p->head)
            p->tail = &p->head;
    }
    pthread_mutex_unlock(&p->lock);
    if (!t)
        return NULL;
    pthread_mutex_lock(&t->of->lock);
    t->next = NULL;
    t->state = SEAT_HELD;
    pthread_mutex_unlock(&t->of->lock);
    return t;
}

bool seat_waits(const struct seat *t)
{
    if (!t->of)
        return false;
    pthread_mutex_lock(&t->of->lock);
    bool waits = t->state == SEAT_WAITING || t->state == SEAT_GRANTED;
    pthread_mutex_unlock(&t->of->lock);
    return waits;
}

void seat_look(struct seats *s, int64_t *running, int64_t *waiting)
{
    pthread_mutex_lock(&s->lock);
    *running = s->running;
    *waiting = s->waiting;
    pthread_mutex_unlock(&s->lock);
}
