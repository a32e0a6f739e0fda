/* The registry of servers and models, and the doors that gate loops use. The life of a server is in server.c, of a model in model.c. */
#include "fleet/server.h"

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
    *o = (struct fleet_options){ .ward_path = "/proc/self/exe", .load_ms = 600000, .hang_ms = 30000, .queue = 1024, .stay_ms = 10000, .window_ms = 30000, .wait_ms = 300000, .log_max = 16u << 20, .clock = clock_system };
}

/* ---- the keeper's turn ---- */

static bool is_unused(struct fleet_model *m)
{
    pthread_mutex_lock(&m->server->fleet->lock);
    bool unused = m->refs == 0 && !m->waiters && !m->asking && atomic_load(&m->running) == 0;
    pthread_mutex_unlock(&m->server->fleet->lock);
    return unused && model_idle(m);
}

/* Models that nobody holds, and servers of which nothing runs and nobody holds a model. One server's last model goes with it. */
static void reap_models(struct fleet_server *s)
{
    bool gone = server_gone(s);
    struct fleet_model **at = &s->models;
    while (*at) {
        struct fleet_model *m = *at;
        if (!is_unused(m) || (!gone && m == s->models && !m->next)) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        model_free(m);
    }
}

static void fleet_reap(struct fleet *f)
{
    struct fleet_server **at = &f->servers;
    while (*at) {
        struct fleet_server *s = *at;
        reap_models(s);
        if (s->models) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        server_free(s);
    }
}

static void fleet_handle_closed(struct fleet *f)
{
    if (--f->handles_open > 0)
        return;
    looker_free(f->looker);
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

/* Does something happen soon that no callback tells of? */
static bool is_restless(struct fleet_server *s)
{
    bool open = true;
    if (atomic_load(&s->leaving) || s->state == SERVER_LOADING || s->state == SERVER_PAUSED || s->state == SERVER_STOPPING)
        return true;
    if (s->plan[0])                     /* its turn may come by time alone */
        return true;
    for (struct fleet_model *m = s->models; m && open && s->state == SERVER_UP; m = m->next)
        open = m->state == MODEL_OPEN ? !model_is_wanted(m) && !atomic_load(&m->unload) : s->attached;
    return !open;
}

/* The first question from `after` on, and its model. Zero: there is none. */
static uint64_t next_ask(struct fleet *f, uint64_t after, struct fleet_model **model)
{
    uint64_t id = 0;
    pthread_mutex_lock(&f->lock);
    for (const struct fleet_ask *a = f->asks; a; a = a->next)
        if (a->id > after && (!id || a->id < id)) {
            id = a->id;
            *model = a->model;
        }
    pthread_mutex_unlock(&f->lock);
    return id;
}

/* Unless it was forgotten meanwhile. */
static void answer_ask(struct fleet *f, uint64_t id, struct buf *answer, enum err e)
{
    pthread_mutex_lock(&f->lock);
    struct fleet_ask **at = &f->asks, *a;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    if ((a = *at)) {
        *at = a->next;
        a->answer = *answer;
        *answer = (struct buf){ .max = 0 };
        a->err = e;
        a->state = FLEET_ASK_BACK;
        pthread_mutex_lock(&a->port->lock);
        a->next = a->port->answers;
        a->port->answers = a;
        pthread_mutex_unlock(&a->port->lock);
        a->port->wake(a->port->ctx);
    }
    pthread_mutex_unlock(&f->lock);
    buf_free(answer);
}

/* One that needs a newer look at memory stays for the next turn. */
static void answer_asks(struct fleet *f, int64_t now)
{
    struct fleet_model *m = NULL;
    for (uint64_t id = 0; (id = next_ask(f, id, &m));) {
        struct buf answer = { .max = 4u << 20 };
        enum err e = report_write(f, m, now, &answer);
        if (e == ERR_AGAIN)
            buf_free(&answer);
        else
            answer_ask(f, id, &answer, e);
    }
}

/* Moves everything on and says when to look again. */
static void fleet_turn(struct fleet *f)
{
    int64_t now = fleet_now(f), next = TICK_IDLE_MS;
    for (struct fleet_server *s = f->servers; s; s = s->next)
        server_step(s, now);
    if (!f->closing)
        keep_turn(f, now);
    if (!f->closing)
        answer_asks(f, now);
    for (struct fleet_server *s = f->servers; s; s = s->next)
        if (is_restless(s))
            next = TICK_LOADING_MS;
    fleet_reap(f);
    if (f->closing && !f->servers) {
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
    if (fleet_copy(f->engine_path, sizeof f->engine_path, o->engine_path) && fleet_copy(f->ward_path, sizeof f->ward_path, o->ward_path) &&
        fleet_copy(f->run_dir, sizeof f->run_dir, o->run_dir) && fleet_copy(f->log_dir, sizeof f->log_dir, o->log_dir) &&
        fleet_copy(f->digest_cache, sizeof f->digest_cache, o->digest_cache))
        e = fleet_dirs(f);
    if (e == ERR_OK)
        e = looker_new(&f->wake, o->gpu_library, &f->looker);
    if (e == ERR_OK)
        e = io_wake_init(keeper, &f->wake, fleet_on_wake);
    if (e != ERR_OK) {
        looker_free(f->looker);
        free(f);
        return e;
    }
    f->swapped_ms = INT64_MIN;
    f->ended_ms = INT64_MIN / 2;
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
    pthread_mutex_lock(&f->lock);
    for (struct fleet_server *s = f->servers; s; s = s->next)
        for (struct fleet_model *m = s->models; m; m = m->next)
            m->refs = 0;
    pthread_mutex_unlock(&f->lock);
    fleet_soon(f);
}

/* ---- the keeper's door ---- */

static struct fleet_server *find_server(struct fleet *f, const struct digest *key)
{
    for (struct fleet_server *s = f->servers; s; s = s->next)
        if (digest_eq(&s->key, key) && s->state != SERVER_STOPPING && atomic_load(&s->leaving) != LEAVES_UNHELD)
            return s;
    return NULL;
}

static enum err make_model(struct fleet *f, const struct fleet_spec *spec, const struct digest *key, struct fleet_model **out)
{
    struct digest server_key = spec_server_key(spec);
    struct fleet_server *s = find_server(f, &server_key);
    bool is_new = !s;
    enum err e = is_new ? server_open(f, spec, &server_key, &s) : ERR_OK;
    if (e == ERR_OK && (e = model_new(s, spec, key, out)) != ERR_OK && is_new)
        server_free(s);
    if (e != ERR_OK)
        return e;
    (*out)->number = ++f->n_models_made;
    pthread_mutex_lock(&f->lock);       /* others may be looking through the list */
    (*out)->next = s->models;
    s->models = *out;
    if (is_new) {
        s->next = f->servers;
        f->servers = s;
    }
    pthread_mutex_unlock(&f->lock);
    return ERR_OK;
}

enum err fleet_get(struct fleet *f, const struct fleet_spec *spec, struct fleet_model **out)
{
    struct digest key = spec_key(spec);
    struct fleet_model *m = NULL;
    for (struct fleet_server *s = f->servers; s && !m; s = s->next)
        for (m = s->state == SERVER_STOPPING || atomic_load(&s->leaving) == LEAVES_UNHELD ? NULL : s->models; m && !digest_eq(&m->key, &key);)
            m = m->next;
    enum err e = m ? ERR_OK : make_model(f, spec, &key, &m);
    if (e != ERR_OK)
        return e;
    pthread_mutex_lock(&f->lock);
    m->refs++;
    pthread_mutex_unlock(&f->lock);
    *out = m;
    if (spec->attached)
        fleet_soon(f);                  /* asked at once what it is */
    return ERR_OK;
}

void fleet_start(struct fleet_model *m)
{
    struct fleet *f = m->server->fleet;
    pthread_mutex_lock(&f->lock);
    m->wanted = true;
    pthread_mutex_unlock(&f->lock);
    fleet_soon(f);
}

enum err fleet_load(struct fleet_model *m)
{
    struct fleet *f = m->server->fleet;
    if (m->server->attached)
        return ERR_UNSUPPORTED;
    pthread_mutex_lock(&f->lock);
    m->wanted = true;
    pthread_mutex_unlock(&f->lock);
    io_wake_send(&f->wake);
    return ERR_OK;
}

void fleet_put(struct fleet_model *m)
{
    struct fleet *f = m->server->fleet;
    pthread_mutex_lock(&f->lock);
    m->refs--;
    pthread_mutex_unlock(&f->lock);
    io_wake_send(&f->wake);
}

enum err fleet_unload(struct fleet_model *m)
{
    struct fleet *f = m->server->fleet;
    if (m->server->attached && m->spec.kind != FLEET_OLLAMA)
        return ERR_UNSUPPORTED;
    atomic_store(&m->unload, true);
    io_wake_send(&f->wake);
    return ERR_OK;
}

const char *fleet_socket(const struct fleet_model *m) { return m->server->socket; }

/* ---- the loops' door ---- */

void fleet_port_init(struct fleet_port *p, void (*wake)(void *ctx), void *ctx)
{
    *p = (struct fleet_port){ .wake = wake, .ctx = ctx };
    p->tail = &p->head;
    pthread_mutex_init(&p->lock, NULL);
}

void fleet_port_destroy(struct fleet_port *p) { pthread_mutex_destroy(&p->lock); }

/* Counted first, then looked: see server.h. */
static const struct fleet_ready *pass(struct fleet_model *m)
{
    atomic_fetch_add(&m->running, 1);
    const struct fleet_ready *r = atomic_load(&m->open);
    if (!r && atomic_fetch_sub(&m->running, 1) == 1 && atomic_load(&m->server->leaving))
        io_wake_send(&m->server->fleet->wake);          /* the keeper may have seen this one and be waiting for it */
    return r;
}

static enum err wait_for(struct fleet_model *m, struct fleet_waiter *w, const struct fleet_ready **out)
{
    struct fleet *f = m->server->fleet;
    struct fleet_server *s = m->server;
    enum err e = ERR_AGAIN;
    pthread_mutex_lock(&f->lock);
    const struct fleet_ready *r = pass(m);
    if (r) {
        *out = r;
        e = ERR_OK;
    } else if (s->state == SERVER_FAILED && fleet_now(f) < s->pause_until_ms) {
        memcpy(w->why, s->why, sizeof w->why);
        e = ERR_ENGINE;
    } else if (m->n_waiting >= f->opt.queue) {
        snprintf(w->why, sizeof w->why, "%zu calls wait for this model already", m->n_waiting);
        e = ERR_BUSY;
    } else {
        w->model = m;
        w->state = FLEET_WAITING;
        w->since_ms = fleet_now(f);
        w->next = NULL;
        *m->waiters_end = w;
        m->waiters_end = &w->next;
        m->n_waiting++;
    }
    pthread_mutex_unlock(&f->lock);
    return e;
}

enum err fleet_acquire(struct fleet_model *m, struct fleet_waiter *w, const struct fleet_ready **out)
{
    const struct fleet_ready *r = pass(m);
    enum err e = ERR_OK;
    if (r)
        *out = r;
    else
        e = wait_for(m, w, out);
    if (e == ERR_OK) {
        w->model = m;
        w->state = FLEET_HELD;
        atomic_store_explicit(&m->used_ms, fleet_now(m->server->fleet), memory_order_relaxed);
    } else if (e == ERR_AGAIN) {
        io_wake_send(&m->server->fleet->wake);
    }
    return e;
}

static bool unlink_from(struct fleet_waiter **at, const struct fleet_waiter *w)
{
    while (*at && *at != w)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = w->next;
    return true;
}

/* Under the fleet's lock. */
static void unlink_waiter(struct fleet_waiter *w)
{
    struct fleet_model *m = w->model;
    if (w->state == FLEET_ASKING)
        m->n_waiting -= unlink_from(&m->asking, w);
    if (w->state == FLEET_WAITING) {
        m->n_waiting -= unlink_from(&m->waiters, w);
        m->waiters_end = &m->waiters;
        while (*m->waiters_end)
            m->waiters_end = &(*m->waiters_end)->next;
    }
    if (w->state != FLEET_BACK)
        return;
    pthread_mutex_lock(&w->port->lock);
    (void)unlink_from(&w->port->head, w);
    w->port->tail = &w->port->head;
    while (*w->port->tail)
        w->port->tail = &(*w->port->tail)->next;
    pthread_mutex_unlock(&w->port->lock);
}

void fleet_release(struct fleet_waiter *w)
{
    struct fleet_model *m = w->model;
    if (!m)
        return;
    bool holds = w->state == FLEET_HELD;
    if (!holds && w->state != FLEET_IDLE) {
        pthread_mutex_lock(&m->server->fleet->lock);
        unlink_waiter(w);
        holds = w->state == FLEET_BACK && w->err == ERR_OK;
        pthread_mutex_unlock(&m->server->fleet->lock);
    }
    w->state = FLEET_IDLE;
    w->model = NULL;
    if (!holds)
        return;
    struct fleet_server *s = m->server;
    struct fleet *f = s->fleet;
    atomic_store_explicit(&m->used_ms, fleet_now(f), memory_order_relaxed);
    bool wake = atomic_load(&s->leaving) || atomic_load(&m->unload);          /* asked before: afterwards it may be gone */
    if (atomic_fetch_sub(&m->running, 1) == 1 && wake)
        io_wake_send(&f->wake);
}

/* One at a time: a callback may let go of another. */
static struct fleet_waiter *take_back(struct fleet_port *p)
{
    pthread_mutex_lock(&p->lock);
    struct fleet_waiter *w = p->head;
    if (w) {
        p->head = w->next;
        if (!p->head)
            p->tail = &p->head;
        w->state = w->err == ERR_OK ? FLEET_HELD : FLEET_IDLE;
    }
    pthread_mutex_unlock(&p->lock);
    return w;
}

static struct fleet_ask *take_answer(struct fleet_port *p)
{
    pthread_mutex_lock(&p->lock);
    struct fleet_ask *a = p->answers;
    if (a) {
        p->answers = a->next;
        a->state = FLEET_ASK_NONE;
    }
    pthread_mutex_unlock(&p->lock);
    return a;
}

void fleet_collect(struct fleet_port *p)
{
    for (struct fleet_waiter *w; (w = take_back(p));)
        w->on_ready(w);
    for (struct fleet_ask *a; (a = take_answer(p));)
        a->on_answer(a);
}

/* ---- questions ---- */

void fleet_ask(struct fleet *f, struct fleet_ask *a)
{
    pthread_mutex_lock(&f->lock);
    a->id = ++f->n_asked;
    a->state = FLEET_ASK_WAITS;
    a->next = f->asks;
    f->asks = a;
    pthread_mutex_unlock(&f->lock);
    io_wake_send(&f->wake);
}

void fleet_ask_forget(struct fleet *f, struct fleet_ask *a)
{
    pthread_mutex_lock(&f->lock);
    pthread_mutex_lock(&a->port->lock);
    struct fleet_ask **at = a->state == FLEET_ASK_WAITS ? &f->asks : &a->port->answers;
    while (*at && *at != a)
        at = &(*at)->next;
    if (*at)
        *at = a->next;
    pthread_mutex_unlock(&a->port->lock);
    a->state = FLEET_ASK_NONE;
    pthread_mutex_unlock(&f->lock);
}

bool fleet_pressure(const struct fleet_model *m, double *load)
{
    const struct fleet_server *s = m->server;
    int full = atomic_load_explicit(&s->cache_percent, memory_order_relaxed);
    double waiting = (double)atomic_load_explicit(&m->n_waiting, memory_order_relaxed);     /* for its door: calls of the next moment */
    double calls = atomic_load_explicit(&m->running, memory_order_relaxed) + atomic_load_explicit(&s->foreign, memory_order_relaxed) + waiting;
    /* One whose cache is full puts calls off that it has begun: from 90 % on it counts up to twice, and one call more. */
    *load = full > 90 ? calls + (calls + 1) * (full - 90) / 10 : calls;
    return !atomic_load_explicit(&s->ill, memory_order_relaxed);
}

void fleet_recall(struct fleet *f, const struct digest *key, str json)
{
    struct arena a;
    arena_init(&a, 64 << 10);
    if (f->n_feet < FEET_MAX && foot_read(&a, json, &f->feet[f->n_feet].foot) == ERR_OK)
        f->feet[f->n_feet++].key = *key;
    arena_free(&a);
}

const char *fleet_state_name(const struct fleet_model *m)
{
    static const char *const names[] = { "off", "loading", "ready", "loading", "failed", "stopping" };
    const struct fleet_server *s = m->server;
    if (s->attached)
        return m->silent ? "unreachable" : m->facts.sleeping ? "asleep" : "served";
    if (s->state != SERVER_UP)
        return s->plan[0] && s->state != SERVER_LOADING ? "waiting" : names[s->state];
    return m->state != MODEL_OPEN ? "loading" : m->facts.sleeping ? "asleep" : "ready";
}

void fleet_look(struct fleet_model *m, struct fleet_state *out)
{
    struct fleet_server *s = m->server;
    pthread_mutex_lock(&s->fleet->lock);
    *out = (struct fleet_state){ .state = fleet_state_name(m), .progress = s->progress, .pid = s->pid, .starts = s->starts, .attached = s->attached };
    memcpy(out->why, strcmp(out->state, "waiting") == 0 ? s->plan : s->why, sizeof out->why);
    pthread_mutex_unlock(&s->fleet->lock);
    const struct fleet_ready *ready = atomic_load_explicit(&m->open, memory_order_acquire);
    out->identity = ready ? ready->identity : STR_NONE;
}
