/* The loop threads of the gate: what each of them owns, how orders from other threads reach them, and how they end.
 *
 * Closing happens at the end of a turn only (loop_on_turn): inside a callback of a server or a pool, that server or pool
 * must not be taken down. */
#include "gate/request.h"

#include "core/log.h"

#include <assert.h>

enum { FLUSH_LATER_MS = 50 };           /* how long an intent that no cloud waits for may stay in memory */

/* ---- configurations ---- */

void gate_config_ref(struct gate_config *c) { atomic_fetch_add(&c->refs, 1); }

void gate_config_unref(struct gate_config *c)
{
    if (atomic_fetch_sub(&c->refs, 1) == 1 && c->release)
        c->release(c);
}

static struct gate_view *view_new(struct gate_loop *l, struct gate_config *c)
{
    struct gate_view *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->by_provider = calloc(c->policy.n_providers + 1, sizeof(struct http_pool *));
    v->breakers = calloc(c->policy.n_providers + 1, sizeof *v->breakers);
    v->by_model = calloc(c->policy.n_all + 1, sizeof(struct http_pool *));
    v->ports = calloc(c->policy.n_all + 1, sizeof *v->ports);
    v->seats = calloc(c->policy.n_all + 1, sizeof(struct seats *));
    if (!v->by_provider || !v->by_model || !v->ports || !v->breakers || !v->seats) {
        free(v->seats);
        free(v->ports);
        free(v->breakers);
        free(v->by_provider);
        free(v->by_model);
        free(v);
        return NULL;
    }
    for (size_t i = 0; i < c->policy.n_all; i++) {
        const struct model *m = &c->policy.models[i];
        v->seats[i] = m->concurrency > 0 ? seat_registry_find(l->gate->seats, m->name, m->concurrency, m->queue) : NULL;
    }
    gate_config_ref(c);
    v->loop = l;
    v->cfg = c;
    v->refs = 1;
    return v;
}

static void view_free(struct gate_view *v)
{
    gate_config_unref(v->cfg);
    free(v->seats);
    free(v->ports);
    free(v->breakers);
    free(v->by_provider);
    free(v->by_model);
    free(v);
}

static void view_on_pool_closed(void *ctx)
{
    struct gate_view *v = ctx;
    v->loop->open--;
    if (--v->closing == 0)
        view_free(v);
}

static void view_close_pools(struct gate_view *v, struct http_pool **pools, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (pools[i]) {
            v->closing++;
            v->loop->open++;
            http_pool_close(pools[i], view_on_pool_closed, v);
        }
}

static void view_close(struct gate_view *v)
{
    v->closing = 1;                     /* held until every pool was told, whatever closes at once */
    view_close_pools(v, v->by_provider, v->cfg->policy.n_providers);
    view_close_pools(v, v->by_model, v->cfg->policy.n_all);
    view_close_pools(v, &v->own, 1);
    if (--v->closing == 0)
        view_free(v);
}

void gate_view_unref(struct gate_view *v)
{
    if (--v->refs)
        return;
    v->next_dead = v->loop->dead_views;
    v->loop->dead_views = v;
}

/* ---- upstream connections ---- */

enum err gate_origin(const struct provider *p, struct http_origin *o)
{
    enum err e = http_origin_parse(p->url, o);
    if (e != ERR_OK)
        return e;
    if (p->proxy.n >= sizeof o->proxy || p->ca_file.n >= sizeof o->ca_file)
        return ERR_LIMIT;
    /* What must stay near is reached directly, and the address reached is looked at: a name may point anywhere. */
    o->only_loopback = p->zone == ZONE_MACHINE && !*o->unix_path;
    o->only_private = p->zone == ZONE_PRIVATE && !*o->unix_path;
    if (p->zone == ZONE_CLOUD && p->proxy.n)
        memcpy(o->proxy, p->proxy.p, p->proxy.n);
    if (p->ca_file.n)
        memcpy(o->ca_file, p->ca_file.p, p->ca_file.n);
    return ERR_OK;
}

/* An engine by its socket, a managed server by the port that it has now. */
static enum err pool_origin(const struct gate_view *v, const struct model *m, const struct fleet_ready *ready, struct http_origin *o)
{
    const struct provider *p = m->provider;
    if (p->api != API_EMBEDDED && !p->managed)
        return gate_origin(p, o);
    bool has_path = p->api != API_OLLAMA && p->api != API_ANTHROPIC;
    *o = (struct http_origin){ .host = "127.0.0.1", .base = "/v1", .port = ready ? ready->port : 0, .only_loopback = true };
    if (!has_path)
        o->base[0] = '\0';
    if (p->managed)
        return o->port ? ERR_OK : ERR_ENGINE;
    *o = (struct http_origin){ .host = "localhost", .base = "/v1" };
    const char *path = fleet_socket(v->cfg->engines[m - v->cfg->policy.models]);
    int n = snprintf(o->unix_path, sizeof o->unix_path, "%s", path);
    return n > 0 && (size_t)n < sizeof o->unix_path ? ERR_OK : ERR_LIMIT;
}

/* A pool whose server has moved: closed at the end of the turn, since one of its own callbacks may have led here. */
static enum err bury_pool(struct gate_loop *l, struct http_pool **at)
{
    struct gate_dead_pool *d = malloc(sizeof *d);
    if (!d)
        return ERR_MEMORY;
    *d = (struct gate_dead_pool){ l->dead_pools, *at };
    l->dead_pools = d;
    *at = NULL;
    return ERR_OK;
}

enum err gate_pool(struct gate_view *v, const struct model *m, const struct fleet_ready *ready, struct http_pool **out)
{
    const struct policy *policy = &v->cfg->policy;
    const struct provider *p = m->provider;
    bool own = p->api == API_EMBEDDED || p->managed;
    struct http_pool **at = own ? &v->by_model[m - policy->models] : &v->by_provider[p - policy->providers];
    uint16_t *port = &v->ports[m - policy->models];
    if (*at && own && ready && *port != ready->port) {
        enum err e = bury_pool(v->loop, at);
        if (e != ERR_OK)
            return e;
    }
    if (own && ready)
        *port = ready->port;
    if (!*at) {
        struct http_origin o;
        struct http_client_limits lim = v->cfg->upstream;
        enum err e = pool_origin(v, m, ready, &o);
        if (e != ERR_OK)
            return e;
        if (p->connect_ms)
            lim.connect_ms = p->connect_ms;
        if (p->api == API_EMBEDDED && lim.gap_ms < lim.first_byte_ms)
            lim.gap_ms = lim.first_byte_ms;     /* it begins a stream before it has a token; one that hangs is found by its keeper */
        e = http_pool_new(v->loop->io, &o, &lim, at);
        if (e != ERR_OK)
            return e;
    }
    *out = *at;
    return ERR_OK;
}

enum err gate_own_pool(struct gate_view *v, struct http_pool **out)
{
    struct http_origin o = { .host = "localhost" };
    enum err e = ERR_OK;
    if (!v->loop->gate->opt.own_socket)
        return ERR_NOTFOUND;
    if (!v->own) {
        snprintf(o.unix_path, sizeof o.unix_path, "%s", v->loop->gate->opt.own_socket);
        e = http_pool_new(v->loop->io, &o, &v->cfg->upstream, &v->own);
    }
    *out = v->own;
    return e;
}

/* ---- the ledger's queue ---- */

void gate_want_flush(struct gate_loop *l, bool now)
{
    if (now)
        l->flush_now = true;
    else if (!l->flush_later && !l->flush_now) {
        l->flush_later = true;
        io_timer_start(&l->flush_timer, FLUSH_LATER_MS);
    }
}

static void loop_on_flush(struct io_timer *t)
{
    struct gate_loop *l = (struct gate_loop *)((char *)t - offsetof(struct gate_loop, flush_timer));
    l->flush_later = false;
    l->flush_now = true;
}

static void loop_flush(struct gate_loop *l)
{
    if (!l->flush_now)
        return;
    l->flush_now = false;
    if (l->flush_later) {
        l->flush_later = false;
        io_timer_stop(&l->flush_timer);
    }
    if (l->gate->opt.ledger)
        ledger_flush(l->gate->opt.ledger);
}

/* ---- calls that end ---- */

void gate_end(struct gate_req *r)
{
    struct gate_loop *l = r->loop;
    struct http_req *http = r->http;
    *r->back = r->next;
    if (r->next)
        r->next->back = r->back;
    if (r->places > 0)
        ledger_unreserve(l->gate->opt.ledger, (size_t)r->places);
    gate_again_forget(r);
    if (r->sse_open)
        sse_free(&r->sse);
    if (r->lines_open)
        ndjson_free(&r->lines);
    speak_free(r);
    gate_guard_forget(r);
    buf_free(&r->taken);
    buf_free(&r->held);
    buf_free(&r->early);
    gate_view_unref(r->view);
    atomic_fetch_sub_explicit(&l->running, 1, memory_order_relaxed);
    http_req_release(http);             /* r lies in its arena: gone now */
}

/* Ends a call from outside of its stages, as far as it has not ended by itself. */
void gate_break(struct gate_req *r, enum err e)
{
    if (r->recorded)
        return;
    gate_attempt_abort(r);
    gate_again_forget(r);
    r->err = e;
    r->stage = STAGE_RECORD;
    gate_step(r);
}

static void loop_on_gone(void *ctx, struct http_req *http)
{
    (void)ctx;
    struct gate_req *r = http_req_data(http);
    if (!r)
        return;
    r->gone = true;
    gate_break(r, ERR_CLIENT);
}

static void loop_on_drain(void *ctx, struct http_req *http)
{
    (void)ctx;
    struct gate_req *r = http_req_data(http);
    if (r)
        gate_on_drain(r);
}

/* ---- orders, and the end of a turn ---- */

static void loop_swap(struct gate_loop *l, struct gate_config *c)
{
    struct gate_view *v = view_new(l, c);
    gate_config_unref(c);               /* the order's own reference */
    if (!v) {
        log_error("config_not_used", LOG_C("why", err_text(ERR_MEMORY)));
        return;
    }
    gate_view_unref(l->view);
    l->view = v;
}

static void loop_drain(struct gate_loop *l)
{
    if (l->draining)
        return;
    l->draining = true;
    for (int i = 0; i < 2; i++)
        if (l->servers[i])
            http_server_stop_listening(l->servers[i]);
}

static void loop_orders(struct gate_loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct gate_config *next = l->next_config;
    bool drain = l->ask_drain, stop = l->ask_stop;
    l->next_config = NULL;
    pthread_mutex_unlock(&l->lock);
    if (next)
        loop_swap(l, next);
    if (drain || stop)
        loop_drain(l);
    if (stop && !l->stopping) {
        l->stopping = true;
        for (struct gate_req *r = l->requests, *after; r; r = after) {
            after = r->next;
            gate_fail(r, ERR_CUT, S("hearth was stopped"));
            gate_break(r, ERR_CUT);
        }
    }
}

static void loop_on_wake(struct io_wake *w)
{
    struct gate_loop *l = (struct gate_loop *)((char *)w - offsetof(struct gate_loop, wake));
    loop_orders(l);
    ledger_collect(&l->ledger_port);
    fleet_collect(&l->fleet_port);
    manager_collect(l);
    for (struct seat *t; (t = seat_collect(&l->seat_port));)
        gate_step((struct gate_req *)((char *)t - offsetof(struct gate_req, seat)));
}

static void loop_wake(void *ctx) { io_wake_send(&((struct gate_loop *)ctx)->wake); }

static void loop_on_pool_closed(void *ctx) { ((struct gate_loop *)ctx)->open--; }
static void loop_on_server_closed(void *ctx) { ((struct gate_loop *)ctx)->open--; }

static void loop_on_timer_closed(struct io_timer *t)
{
    ((struct gate_loop *)((char *)t - offsetof(struct gate_loop, flush_timer)))->open--;
}

static void loop_on_again_closed(struct io_timer *t)
{
    ((struct gate_loop *)((char *)t - offsetof(struct gate_loop, again_timer)))->open--;
}

static void loop_on_deadline_closed(struct io_timer *t)
{
    ((struct gate_loop *)((char *)t - offsetof(struct gate_loop, deadline_timer)))->open--;
}

static void loop_on_quiet_closed(struct io_timer *t)
{
    ((struct gate_loop *)((char *)t - offsetof(struct gate_loop, quiet_timer)))->open--;
}

static void loop_on_wake_closed(struct io_wake *w)
{
    ((struct gate_loop *)((char *)w - offsetof(struct gate_loop, wake)))->open--;
}

/* Servers and pools first; the timer and the wake-up, which their last entries may still use, when those are gone. */
static void loop_close(struct gate_loop *l)
{
    if (l->closing == 0) {
        l->closing = 1;
        gate_fleet_forget(l);
        for (int i = 0; i < 2; i++)
            if (l->servers[i]) {
                l->open++;
                http_server_close(l->servers[i], loop_on_server_closed, l);
            }
        gate_view_unref(l->view);
        l->view = NULL;
    } else if (l->closing == 1 && !l->open && !l->dead_views) {
        l->closing = 2;
        l->open = 5;
        io_timer_close(&l->flush_timer, loop_on_timer_closed);
        io_timer_close(&l->again_timer, loop_on_again_closed);
        io_timer_close(&l->deadline_timer, loop_on_deadline_closed);
        io_timer_close(&l->quiet_timer, loop_on_quiet_closed);
        io_wake_close(&l->wake, loop_on_wake_closed);
    } else if (l->closing == 2 && !l->open) {
        l->closing = 3;
        io_loop_stop(l->io);
    }
}

static void loop_count(struct gate_loop *l)
{
    size_t n = 0;
    for (int i = 0; i < 2; i++)
        n += l->servers[i] ? http_server_connections(l->servers[i]) : 0;
    atomic_store_explicit(&l->connections, n, memory_order_relaxed);
}

static void loop_on_turn(void *ctx)
{
    struct gate_loop *l = ctx;
    loop_flush(l);
    if (l->draining && !l->closing)
        loop_count(l);
    if (l->stopping && !l->requests)
        loop_close(l);
    while (l->dead_views) {
        struct gate_view *v = l->dead_views;
        l->dead_views = v->next_dead;
        view_close(v);
    }
    while (l->dead_pools) {
        struct gate_dead_pool *d = l->dead_pools;
        l->dead_pools = d->next;
        l->open++;
        http_pool_close(d->pool, loop_on_pool_closed, l);
        free(d);
    }
    if (l->closing == 1 && !l->open)
        loop_close(l);
}

/* ---- threads ---- */

static void *loop_main(void *arg)
{
    struct gate_loop *l = arg;
    io_loop_run(l->io);
    return NULL;
}

static enum err loop_serve(struct gate_loop *l, int fd, bool is_unix, struct http_server **out)
{
    const struct http_handler h = { .ctx = l, .on_request = gate_on_request, .on_reject = gate_on_reject, .on_gone = loop_on_gone,
                                    .on_drain = loop_on_drain, .check_head = gate_check_head };
    return fd < 0 ? ERR_OK : http_server_new(l->io, fd, is_unix, &l->gate->opt.limits, &h, out);
}

static enum err loop_open(struct gate_loop *l, struct gate *g, int index, struct gate_config *c)
{
    l->gate = g;
    l->index = index;
    l->rng = rand_system();
    pthread_mutex_init(&l->lock, NULL);
    enum err e = io_loop_new(&l->io);
    if (e != ERR_OK)
        return e;
    io_timer_init(l->io, &l->flush_timer, loop_on_flush);
    io_timer_init(l->io, &l->again_timer, gate_on_again);
    io_timer_init(l->io, &l->deadline_timer, gate_on_deadline);
    io_timer_init(l->io, &l->quiet_timer, gate_on_quiet);
    if ((e = io_wake_init(l->io, &l->wake, loop_on_wake)) != ERR_OK)
        return e;
    io_loop_on_turn(l->io, loop_on_turn, l);
    ledger_port_init(&l->ledger_port, loop_wake, l);
    fleet_port_init(&l->fleet_port, loop_wake, l);
    seat_port_init(&l->seat_port, loop_wake, l);
    if ((e = queue_init(&l->answered, 64, SIZE_MAX)) != ERR_OK)
        return e;
    arena_init(&l->scratch, c->reply_max * 2 + ((size_t)1 << 20));
    if (!(l->view = view_new(l, c)))
        return ERR_MEMORY;
    if ((e = loop_serve(l, g->opt.tcp_fd, false, &l->servers[0])) != ERR_OK)
        return e;
    return loop_serve(l, g->opt.unix_fd, true, &l->servers[1]);
}

static void gate_free(struct gate *g)
{
    if (g->seats)
        seat_registry_free(g->seats);
    retried_free(g->retried);
    free(g->loops);
    free(g);
}

enum err gate_start(const struct gate_options *o, struct gate_config *c, struct gate **out)
{
    assert(o->threads > 0);
    struct gate *g = calloc(1, sizeof *g);
    struct gate_loop *loops = g ? calloc((size_t)o->threads, sizeof *loops) : NULL;
    if (!loops) {
        free(g);
        return ERR_MEMORY;
    }
    g->opt = *o;
    g->loops = loops;
    g->seats = seat_registry_new();
    g->retried = retried_new();
    enum err started = g->seats && g->retried ? manager_start(g) : ERR_MEMORY;
    if (started != ERR_OK) {
        gate_free(g);
        return started;
    }
    for (int i = 0; i < o->threads; i++)
        metrics_init(&loops[i].metrics);        /* all, before any loop may be asked for them */
    for (int i = 0; i < o->threads; i++) {
        enum err e = loop_open(&loops[i], g, i, c);
        if (e == ERR_OK && pthread_create(&loops[i].thread, NULL, loop_main, &loops[i]))
            e = ERR_MEMORY;
        if (e != ERR_OK) {
            /* Half a loop cannot be taken down in order; the caller ends the process with this error. */
            log_error("loop_not_started", LOG_C("why", err_text(e)));
            if (g->n_loops)
                gate_stop(g);
            return e;
        }
        g->n_loops = i + 1;
    }
    *out = g;
    return ERR_OK;
}

static void gate_order(struct gate *g, struct gate_config *c, bool drain, bool stop)
{
    for (int i = 0; i < g->n_loops; i++) {
        struct gate_loop *l = &g->loops[i];
        struct gate_config *unused = NULL;
        pthread_mutex_lock(&l->lock);
        if (c) {
            unused = l->next_config;
            l->next_config = c;
            gate_config_ref(c);
        }
        if (drain && !l->ask_drain)
            atomic_store(&l->connections, 1);   /* until the loop has counted */
        l->ask_drain |= drain;
        l->ask_stop |= stop;
        pthread_mutex_unlock(&l->lock);
        if (unused)
            gate_config_unref(unused);
        io_wake_send(&l->wake);
    }
}

void gate_swap_config(struct gate *g, struct gate_config *c) { gate_order(g, c, false, false); }
void gate_drain(struct gate *g) { gate_order(g, NULL, true, false); }

size_t gate_running(const struct gate *g)
{
    size_t n = 0;
    for (int i = 0; i < g->opt.threads; i++)
        n += atomic_load_explicit(&g->loops[i].running, memory_order_relaxed);
    return n;
}

bool gate_drained(const struct gate *g)
{
    size_t n = gate_running(g);
    for (int i = 0; i < g->n_loops; i++)
        n += atomic_load(&g->loops[i].connections);
    return n == 0;
}

static void loop_free(struct gate_loop *l)
{
    if (l->next_config)
        gate_config_unref(l->next_config);
    ledger_port_destroy(&l->ledger_port);
    fleet_port_destroy(&l->fleet_port);
    seat_port_destroy(&l->seat_port);
    queue_destroy(&l->answered);
    gate_vault_close(l);
    arena_free(&l->scratch);
    metrics_free(&l->metrics);
    io_loop_free(l->io);
    pthread_mutex_destroy(&l->lock);
}

void gate_stop(struct gate *g)
{
    gate_order(g, NULL, true, true);
    for (int i = 0; i < g->n_loops; i++) {
        pthread_join(g->loops[i].thread, NULL);
        loop_free(&g->loops[i]);
    }
    manager_stop(g);
    gate_free(g);
}
