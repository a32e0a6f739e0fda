/* The registry of engines, and the doors that gate loops use. The life of one engine is in engine.c. */
#include "fleet/engine.h"

#include "core/log.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICK_IDLE_MS    1000
#define TICK_LOADING_MS 50

void fleet_options_default(struct fleet_options *o)
{
    *o = (struct fleet_options){ .load_ms = 600000, .hang_ms = 30000, .clock = clock_system };
}

/* ---- the keeper's turn ---- */

static void fleet_reap(struct fleet *f)
{
    struct fleet_engine **at = &f->engines;
    while (*at) {
        struct fleet_engine *e = *at;
        pthread_mutex_lock(&f->lock);
        bool unused = e->refs == 0;
        pthread_mutex_unlock(&f->lock);
        if (unused && engine_gone(e)) {
            *at = e->next;
            engine_free(e);
            continue;
        }
        at = &e->next;
    }
}

static void fleet_handle_closed(struct fleet *f)
{
    if (--f->handles_open > 0)
        return;
    void (*on_closed)(void *) = f->on_closed;
    void *ctx = f->closed_ctx;
    while (f->readies) {
        struct fleet_ready *r = f->readies;
        f->readies = r->older;
        free(r);
    }
    pthread_mutex_destroy(&f->lock);
    free(f);
    if (on_closed)
        on_closed(ctx);
}

static void fleet_wake_closed(struct io_wake *w) { fleet_handle_closed((struct fleet *)((char *)w - offsetof(struct fleet, wake))); }
static void fleet_tick_closed(struct io_timer *t) { fleet_handle_closed((struct fleet *)((char *)t - offsetof(struct fleet, tick))); }

/* Moves every engine on and says when to look again. */
static void fleet_turn(struct fleet *f)
{
    int64_t now = clock_mono_us(&f->opt.clock) / 1000, next = TICK_IDLE_MS;
    for (struct fleet_engine *e = f->engines; e; e = e->next) {
        engine_step(e, now);
        if (e->state != ENGINE_READY && e->state != ENGINE_OFF && e->state != ENGINE_FAILED)
            next = TICK_LOADING_MS;
    }
    fleet_reap(f);
    if (f->closing && !f->engines) {
        f->handles_open = 2;
        io_timer_close(&f->tick, fleet_tick_closed);
        io_wake_close(&f->wake, fleet_wake_closed);
        return;
    }
    io_timer_start(&f->tick, f->closing ? TICK_LOADING_MS : next);
}

static void fleet_on_tick(struct io_timer *t) { fleet_turn((struct fleet *)((char *)t - offsetof(struct fleet, tick))); }

static void fleet_on_wake(struct io_wake *w)
{
    struct fleet *f = (struct fleet *)((char *)w - offsetof(struct fleet, wake));
    if (!f->handles_open)
        fleet_turn(f);
}

/* ---- life ---- */

/* Sockets that a killed hearth has left. */
static void fleet_sweep(const struct fleet *f)
{
    DIR *d = opendir(f->run_dir);
    const struct dirent *x;
    while (d && (x = readdir(d))) {
        str pid, id;
        uint64_t number;
        if (str_cut(str_of(x->d_name), '-', &pid, &id) && str_starts(pid, S("e")) && str_ends(id, S(".sock")) && str_u64(str_skip(pid, 1), &number) &&
            number > 0 && number <= INT32_MAX && kill((pid_t)number, 0) != 0 && errno == ESRCH)
            (void)unlinkat(dirfd(d), x->d_name, 0);
    }
    if (d)
        closedir(d);
}

static enum err fleet_dirs(struct fleet *f)
{
    struct stat st;
    if (mkdir(f->run_dir, 0700) != 0 && errno != EEXIST)
        return ERR_IO;
    /* Whoever can reach a socket in here can talk to a model: nobody else may enter. */
    if (lstat(f->run_dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return ERR_FORBIDDEN;
    fleet_sweep(f);
    if (f->log_dir[0] && mkdir(f->log_dir, 0700) != 0 && errno != EEXIST)
        return ERR_IO;
    return ERR_OK;
}

static bool fleet_copy(char *to, size_t cap, const char *from)
{
    size_t n = from ? strlen(from) : 0;
    if (n >= cap)
        return false;
    memcpy(to, from ? from : "", n + 1);
    return true;
}

enum err fleet_new(struct io_loop *keeper, const struct fleet_options *o, struct fleet **out)
{
    struct fleet *f = calloc(1, sizeof *f);
    if (!f)
        return ERR_MEMORY;
    f->loop = keeper;
    f->opt = *o;
    enum err e = ERR_LIMIT;
    if (fleet_copy(f->engine_path, sizeof f->engine_path, o->engine_path) &&
        fleet_copy(f->run_dir, sizeof f->run_dir, o->run_dir) && fleet_copy(f->log_dir, sizeof f->log_dir, o->log_dir) &&
        fleet_copy(f->digest_cache, sizeof f->digest_cache, o->digest_cache))
        e = fleet_dirs(f);
    if (e == ERR_OK)
        e = io_wake_init(keeper, &f->wake, fleet_on_wake);
    if (e != ERR_OK) {
        free(f);
        return e;
    }
    pthread_mutex_init(&f->lock, NULL);
    io_timer_init(keeper, &f->tick, fleet_on_tick);
    io_timer_start(&f->tick, TICK_IDLE_MS);
    *out = f;
    return ERR_OK;
}

void fleet_close(struct fleet *f, int64_t drain_ms, void (*on_closed)(void *ctx), void *ctx)
{
    f->closing = true;
    f->drain_ms = drain_ms;
    f->on_closed = on_closed;
    f->closed_ctx = ctx;
    for (struct fleet_engine *e = f->engines; e; e = e->next) {
        pthread_mutex_lock(&f->lock);
        e->refs = 0;
        pthread_mutex_unlock(&f->lock);
    }
    io_timer_start(&f->tick, 0);
}

/* ---- the keeper's door ---- */

static bool fleet_same(const struct fleet_spec *a, const struct fleet_spec *b)
{
    return str_eq(a->name, b->name) && str_eq(a->file, b->file) && str_eq(a->chat_template, b->chat_template) && str_eq(a->tools, b->tools) &&
           a->context == b->context && a->threads == b->threads && a->slots == b->slots;
}

enum err fleet_get(struct fleet *f, const struct fleet_spec *s, struct fleet_engine **out)
{
    struct fleet_engine *e;
    for (e = f->engines; e; e = e->next)
        if (e->state != ENGINE_STOPPING && fleet_same(&e->spec, s))
            break;
    if (!e) {
        enum err err = engine_open(f, s, &e);
        if (err != ERR_OK)
            return err;
        e->next = f->engines;
        f->engines = e;
    }
    pthread_mutex_lock(&f->lock);
    e->refs++;
    pthread_mutex_unlock(&f->lock);
    *out = e;
    return ERR_OK;
}

void fleet_start(struct fleet_engine *e)
{
    pthread_mutex_lock(&e->fleet->lock);
    e->wanted = true;
    pthread_mutex_unlock(&e->fleet->lock);
    io_timer_start(&e->fleet->tick, 0);
}

void fleet_put(struct fleet_engine *e)
{
    struct fleet *f = e->fleet;
    pthread_mutex_lock(&f->lock);
    e->refs--;
    pthread_mutex_unlock(&f->lock);
    io_wake_send(&f->wake);
}

const char *fleet_socket(const struct fleet_engine *e) { return e->socket; }

/* ---- the loops' door ---- */

void fleet_port_init(struct fleet_port *p, void (*wake)(void *ctx), void *ctx)
{
    *p = (struct fleet_port){ .wake = wake, .ctx = ctx };
    p->tail = &p->head;
    pthread_mutex_init(&p->lock, NULL);
}

void fleet_port_destroy(struct fleet_port *p) { pthread_mutex_destroy(&p->lock); }

enum err fleet_acquire(struct fleet_engine *e, struct fleet_waiter *w, const struct fleet_ready **out)
{
    const struct fleet_ready *r = atomic_load_explicit(&e->ready, memory_order_acquire);
    if (r) {
        *out = r;
        return ERR_OK;
    }
    enum err err = ERR_AGAIN;
    pthread_mutex_lock(&e->fleet->lock);
    r = atomic_load_explicit(&e->ready, memory_order_relaxed);
    if (r) {
        *out = r;
        err = ERR_OK;
    } else if (e->state == ENGINE_FAILED && clock_mono_us(&e->fleet->opt.clock) / 1000 < e->pause_until_ms) {
        memcpy(w->why, e->why, sizeof w->why);
        err = ERR_ENGINE;
    } else {
        e->wanted = true;
        w->engine = e;
        w->state = FLEET_WAITING;
        w->next = e->waiters;
        e->waiters = w;
    }
    pthread_mutex_unlock(&e->fleet->lock);
    if (err == ERR_AGAIN)
        io_wake_send(&e->fleet->wake);
    return err;
}

static void fleet_unlink(struct fleet_waiter **at, const struct fleet_waiter *w)
{
    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
}

void fleet_forget(struct fleet_waiter *w)
{
    if (!w->engine)
        return;
    struct fleet *f = w->engine->fleet;
    pthread_mutex_lock(&f->lock);
    if (w->state == FLEET_WAITING) {
        fleet_unlink(&w->engine->waiters, w);
    } else if (w->state == FLEET_BACK) {
        pthread_mutex_lock(&w->port->lock);
        fleet_unlink(&w->port->head, w);
        w->port->tail = &w->port->head;
        while (*w->port->tail)
            w->port->tail = &(*w->port->tail)->next;
        pthread_mutex_unlock(&w->port->lock);
    }
    w->state = FLEET_IDLE;
    pthread_mutex_unlock(&f->lock);
}

void fleet_collect(struct fleet_port *p)
{
    for (;;) {                          /* one at a time: a callback may forget another waiter */
        pthread_mutex_lock(&p->lock);
        struct fleet_waiter *w = p->head;
        if (w) {
            p->head = w->next;
            if (!p->head)
                p->tail = &p->head;
            w->state = FLEET_IDLE;
        }
        pthread_mutex_unlock(&p->lock);
        if (!w)
            return;
        w->on_ready(w);
    }
}

void fleet_look(struct fleet_engine *e, struct fleet_state *out)
{
    static const char *const names[] = { "off", "loading", "ready", "loading", "failed", "stopping" };
    pthread_mutex_lock(&e->fleet->lock);
    *out = (struct fleet_state){ .state = names[e->state], .progress = e->progress, .pid = e->pid, .starts = e->starts };
    memcpy(out->why, e->why, sizeof out->why);
    pthread_mutex_unlock(&e->fleet->lock);
    const struct fleet_ready *ready = atomic_load_explicit(&e->ready, memory_order_acquire);
    out->identity = ready ? ready->identity : STR_NONE;
}

void engine_set_state(struct fleet_engine *e, enum engine_state s, const char *why)
{
    struct fleet *f = e->fleet;
    struct fleet_waiter *back = NULL;
    pthread_mutex_lock(&f->lock);
    e->state = s;
    if (why)
        snprintf(e->why, sizeof e->why, "%s", why);
    if (s == ENGINE_READY || s == ENGINE_FAILED || s == ENGINE_STOPPING) {
        back = e->waiters;
        e->waiters = NULL;
    }
    while (back) {
        struct fleet_waiter *w = back;
        back = w->next;
        w->err = s == ENGINE_READY ? ERR_OK : ERR_ENGINE;
        w->ready = atomic_load_explicit(&e->ready, memory_order_relaxed);
        memcpy(w->why, e->why, sizeof w->why);
        w->state = FLEET_BACK;
        w->next = NULL;
        struct fleet_port *p = w->port;
        pthread_mutex_lock(&p->lock);
        bool was_empty = !p->head;
        *p->tail = w;
        p->tail = &w->next;
        pthread_mutex_unlock(&p->lock);
        if (was_empty)
            p->wake(p->ctx);
    }
    pthread_mutex_unlock(&f->lock);
}
