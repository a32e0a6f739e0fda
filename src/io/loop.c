/* io/loop.c: libuv's handles inside our structs. The only file that includes uv.h beside child.c. */
#include "io/loop.h"

#include "io/handle.h"

#include <uv.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct io_loop {
    uv_loop_t uv;
    uv_prepare_t turn;
    uv_check_t woken;
    uv_poll_t bell;                     /* of wake_fd */
    int wake_fd;
    atomic_bool rung;                   /* wake_fd is readable, or about to be */
    struct io_wake *wakes, stopper;
    void (*on_turn)(void *ctx);
    void *turn_ctx;
    char *scratch;
    uint64_t seen_ms, lost_ms;          /* when the time was last looked at; how much of it did not count */
    int wait_ms;                        /* how long the loop meant to sleep since then; -1: until something happens */
};

static_assert(sizeof(uv_poll_t) <= sizeof((struct io_watch *)0)->uv, "io_watch has room for uv_poll_t");
static_assert(sizeof(uv_timer_t) <= sizeof((struct io_timer *)0)->uv, "io_timer has room for uv_timer_t");
static_assert(sizeof(uv_idle_t) <= sizeof((struct io_wake *)0)->uv, "io_wake has room for uv_idle_t");
static_assert(sizeof(uv_signal_t) <= sizeof((struct io_signal *)0)->uv, "io_signal has room for uv_signal_t");

/* Time in which this process stood still (stopped, or given no CPU) is no time that a peer let pass. A turn that took so much longer than it
 * meant to is taken for one that ended a little before the first timer: what arrived meanwhile is read before a deadline is looked at. */
enum { STALL_MS = 250, GRACE_MS = 100 };

static void look_at_time(struct io_loop *l)
{
    uint64_t now = uv_now(&l->uv), passed = now - l->seen_ms, wait = l->wait_ms < 0 ? UINT64_MAX / 2 : (uint64_t)l->wait_ms;
    if (passed > wait + STALL_MS)
        l->lost_ms += passed - wait + (wait < GRACE_MS ? wait : GRACE_MS);
    l->seen_ms = now;
    l->wait_ms = 0;
}

/* Before the loop sleeps, that is, at the end of what the last turn did. */
static void on_prepare(uv_prepare_t *p)
{
    struct io_loop *l = p->data;
    if (l->on_turn)
        l->on_turn(l->turn_ctx);
    look_at_time(l);
    l->wait_ms = uv_backend_timeout(&l->uv);
}

static void on_woken(uv_check_t *c) { look_at_time(c->data); }

static void on_stopper(struct io_wake *w) { uv_stop(&w->loop->uv); }

/* The bell is answered before the flags are looked at: whoever sends after that rings again. */
static void on_bell(uv_poll_t *p, int status, int events)
{
    struct io_loop *l = p->data;
    uint64_t n;
    (void)status;
    (void)events;
    while (read(l->wake_fd, &n, sizeof n) < 0 && errno == EINTR)
        ;
    atomic_exchange(&l->rung, false);
    for (struct io_wake *w = l->wakes; w; w = w->next)      /* one that is closed meanwhile keeps its `next` */
        if (atomic_exchange(&w->sent, false) && w->on_wake)
            w->on_wake(w);
}

static bool open_bell(struct io_loop *l)
{
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0)
        return false;
    if (uv_poll_init(&l->uv, &l->bell, l->wake_fd)) {
        close(l->wake_fd);
        return false;
    }
    l->bell.data = l;
    uv_poll_start(&l->bell, UV_READABLE, on_bell);
    (void)io_wake_init(l, &l->stopper, on_stopper);
    return true;
}

enum err io_loop_new(struct io_loop **out)
{
    struct io_loop *l = calloc(1, sizeof *l);
    if (!l)
        return ERR_MEMORY;
    l->scratch = malloc(IO_SCRATCH);
    if (!l->scratch || uv_loop_init(&l->uv)) {
        free(l->scratch);
        free(l);
        return ERR_MEMORY;
    }
    uv_prepare_init(&l->uv, &l->turn);
    l->turn.data = l;
    uv_prepare_start(&l->turn, on_prepare);
    uv_unref((uv_handle_t *)&l->turn);
    uv_check_init(&l->uv, &l->woken);
    l->woken.data = l;
    uv_check_start(&l->woken, on_woken);
    uv_unref((uv_handle_t *)&l->woken);
    l->seen_ms = uv_now(&l->uv);
    if (!open_bell(l)) {
        uv_close((uv_handle_t *)&l->turn, NULL);
        uv_close((uv_handle_t *)&l->woken, NULL);
        uv_run(&l->uv, UV_RUN_NOWAIT);
        uv_loop_close(&l->uv);
        free(l->scratch);
        free(l);
        return ERR_MEMORY;
    }
    *out = l;
    return ERR_OK;
}

void io_loop_free(struct io_loop *l)
{
    uv_close((uv_handle_t *)&l->turn, NULL);
    uv_close((uv_handle_t *)&l->woken, NULL);
    uv_close((uv_handle_t *)&l->bell, NULL);
    io_wake_close(&l->stopper, NULL);
    uv_run(&l->uv, UV_RUN_NOWAIT);
    int busy = uv_loop_close(&l->uv);
    assert(!busy);
    (void)busy;
    close(l->wake_fd);
    free(l->scratch);
    free(l);
}

void io_loop_run(struct io_loop *l) { uv_run(&l->uv, UV_RUN_DEFAULT); }

bool io_loop_run_once(struct io_loop *l)
{
    uv_run(&l->uv, UV_RUN_NOWAIT);
    if (l->on_turn)
        l->on_turn(l->turn_ctx);
    return uv_loop_alive(&l->uv);
}

void io_loop_stop(struct io_loop *l) { io_wake_send(&l->stopper); }

int64_t io_now_ms(struct io_loop *l)
{
    look_at_time(l);
    return (int64_t)(l->seen_ms - l->lost_ms);
}

void io_loop_on_turn(struct io_loop *l, void (*fn)(void *ctx), void *ctx)
{
    l->on_turn = fn;
    l->turn_ctx = ctx;
}

char *io_loop_scratch(struct io_loop *l) { return l->scratch; }
void *io_loop_uv(struct io_loop *l) { return &l->uv; }

/* ---- descriptors ---- */

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct io_watch *w = p->data;
    int got = IO_READ | IO_WRITE;       /* an error: whoever reads or writes next learns which */
    if (status >= 0)
        got = (events & UV_READABLE ? IO_READ : 0) | (events & UV_WRITABLE ? IO_WRITE : 0) | (events & UV_DISCONNECT ? IO_HANGUP : 0);
    w->on_ready(w, got);
}

enum err io_watch_init(struct io_loop *l, struct io_watch *w, int fd, void (*on_ready)(struct io_watch *, int))
{
    uv_poll_t *p = (uv_poll_t *)&w->uv;
    if (uv_poll_init(&l->uv, p, fd))
        return ERR_IO;
    p->data = w;
    w->loop = l;
    w->fd = fd;
    w->events = 0;
    w->on_ready = on_ready;
    return ERR_OK;
}

void io_watch_set(struct io_watch *w, int events)
{
    uv_poll_t *p = (uv_poll_t *)&w->uv;
    if (events == w->events)
        return;
    w->events = events;
    if (!events)
        uv_poll_stop(p);
    else
        uv_poll_start(p, (events & IO_READ ? UV_READABLE : 0) | (events & IO_WRITE ? UV_WRITABLE : 0) | (events & IO_HANGUP ? UV_DISCONNECT : 0), on_poll);
}

static void on_watch_closed(uv_handle_t *h)
{
    struct io_watch *w = h->data;
    if (w->on_closed)
        w->on_closed(w);
}

void io_watch_close(struct io_watch *w, void (*on_closed)(struct io_watch *))
{
    w->on_closed = on_closed;
    w->events = 0;
    uv_close((uv_handle_t *)&w->uv, on_watch_closed);
}

/* ---- timers ---- */

static void on_timer(uv_timer_t *u)
{
    struct io_timer *t = u->data;
    t->on_fire(t);
}

void io_timer_init(struct io_loop *l, struct io_timer *t, void (*on_fire)(struct io_timer *))
{
    uv_timer_t *u = (uv_timer_t *)&t->uv;
    uv_timer_init(&l->uv, u);
    u->data = t;
    t->loop = l;
    t->on_fire = on_fire;
}

void io_timer_start(struct io_timer *t, int64_t in_ms) { uv_timer_start((uv_timer_t *)&t->uv, on_timer, in_ms > 0 ? (uint64_t)in_ms : 0, 0); }
void io_timer_stop(struct io_timer *t) { uv_timer_stop((uv_timer_t *)&t->uv); }

static void on_timer_closed(uv_handle_t *h)
{
    struct io_timer *t = h->data;
    if (t->on_closed)
        t->on_closed(t);
}

void io_timer_close(struct io_timer *t, void (*on_closed)(struct io_timer *))
{
    t->on_closed = on_closed;
    uv_close((uv_handle_t *)&t->uv, on_timer_closed);
}

/* ---- wake-ups ----
 * Not libuv's: before 1.45 its loop spins while the sender, which the very wake-up has put off the core, is still inside of uv_async_send(). */

enum err io_wake_init(struct io_loop *l, struct io_wake *w, void (*on_wake)(struct io_wake *))
{
    uv_idle_t *u = (uv_idle_t *)&w->uv;
    uv_idle_init(&l->uv, u);            /* never started */
    u->data = w;
    w->loop = l;
    w->on_wake = on_wake;
    atomic_init(&w->sent, false);
    w->next = l->wakes;
    l->wakes = w;
    return ERR_OK;
}

void io_wake_send(struct io_wake *w)
{
    uint64_t one = 1;
    atomic_store(&w->sent, true);
    if (atomic_exchange(&w->loop->rung, true))
        return;
    while (write(w->loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void on_wake_closed(uv_handle_t *h)
{
    struct io_wake *w = h->data;
    if (w->on_closed)
        w->on_closed(w);
}

void io_wake_close(struct io_wake *w, void (*on_closed)(struct io_wake *))
{
    struct io_wake **at = &w->loop->wakes;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    w->on_closed = on_closed;
    w->on_wake = NULL;
    uv_close((uv_handle_t *)&w->uv, on_wake_closed);
}

/* ---- signals ---- */

static void on_uv_signal(uv_signal_t *u, int signum)
{
    struct io_signal *s = u->data;
    s->on_signal(s, signum);
}

enum err io_signal_init(struct io_loop *l, struct io_signal *s, int signum, void (*on_signal)(struct io_signal *, int))
{
    uv_signal_t *u = (uv_signal_t *)&s->uv;
    if (uv_signal_init(&l->uv, u))
        return ERR_MEMORY;
    u->data = s;
    s->loop = l;
    s->on_signal = on_signal;
    return uv_signal_start(u, on_uv_signal, signum) ? ERR_IO : ERR_OK;
}

static void on_signal_closed(uv_handle_t *h)
{
    struct io_signal *s = h->data;
    if (s->on_closed)
        s->on_closed(s);
}

void io_signal_close(struct io_signal *s, void (*on_closed)(struct io_signal *))
{
    s->on_closed = on_closed;
    uv_close((uv_handle_t *)&s->uv, on_signal_closed);
}
