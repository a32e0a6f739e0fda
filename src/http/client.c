/* http/client.c: exchanges over kept connections. Exchanges wait in a queue; a connection that becomes free, or that the
 * maker brings, takes the first. So connecting belongs to nobody in particular, and a cancelled exchange wastes no connection. */
#include "http/client.h"

#include "core/buf.h"
#include "http/connect.h"

#include <assert.h>
#include <stdlib.h>

enum { TICK_MS = 50, SLICES = 40, HEAD_MAX = 16384, FREE_MAX = 64 };

const struct http_client_limits http_client_limits_default = {
    .connect_ms = 10000, .first_byte_ms = 600000, .gap_ms = 120000, .idle_ms = 60000, .idle_max = 1024, .open_max = 1024, .head = 64u << 10,
};

enum x_state { X_WAIT, X_SEND, X_HEAD, X_BODY };

struct peer {                           /* one connection */
    struct io_watch watch;
    struct http_pool *pool;
    struct peer *next, **back;          /* in pool->idle or pool->busy */
    struct link link;
    struct http_exchange *x;            /* NULL: idle */
    int64_t idle_since_ms;
    bool used;                          /* has answered before: it may be stale */
};

struct http_exchange {
    struct http_pool *pool;
    struct http_exchange *next, **back; /* in pool->waiting or pool->running */
    uint64_t id;                        /* changes when it ends: a callback may have ended it */
    struct http_client_events ev;
    void *ctx;
    struct peer *peer;
    enum x_state state;
    struct buf request;                 /* the head of the request */
    const str *body;
    size_t n_body, sent, total;
    struct buf in;                      /* the head of the reply, as far as it has come */
    size_t scanned;
    struct http_head head;
    struct http_chunks chunks;
    uint64_t left;
    int64_t deadline_ms, first_byte_ms, gap_ms;
    bool to_head, paused, reused, retried, got_any;
};

struct http_pool {
    struct io_loop *loop;
    struct http_origin o;
    struct http_client_limits lim;
    struct maker *maker;
    struct io_timer tick;
    struct peer *idle, *busy;
    struct http_exchange *waiting, **waiting_end, *running, *free_x;
    size_t n_idle, n_open, n_connecting, n_waiting, n_free;
    uint64_t ids;
    int peers_closing;
    bool ticking, closing, maker_closed, tick_closed;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

static void pool_fill(struct http_pool *p);
static void pool_check(struct http_pool *p);
static void x_start(struct http_exchange *x, struct peer *c);

/* ---- time ---- */

static void pool_tick(struct http_pool *p)
{
    if (!p->ticking && !p->closing) {
        p->ticking = true;
        io_timer_start(&p->tick, TICK_MS);
    }
}

static void x_deadline(struct http_exchange *x, int64_t in_ms) { x->deadline_ms = io_now_ms(x->pool->loop) + in_ms; }

/* ---- connections ---- */

static void peer_unlink(struct peer *c)
{
    *c->back = c->next;
    if (c->next)
        c->next->back = c->back;
}

static void peer_push(struct peer **list, struct peer *c)
{
    c->next = *list;
    c->back = list;
    if (c->next)
        c->next->back = &c->next;
    *list = c;
}

static void peer_on_closed(struct io_watch *w)
{
    struct http_pool *p = ((struct peer *)w)->pool;
    free(w);
    p->peers_closing--;
    pool_check(p);
}

static void peer_close(struct peer *c)
{
    struct http_pool *p = c->pool;
    peer_unlink(c);
    if (!c->x)
        p->n_idle -= c->idle_since_ms != 0;
    c->x = NULL;
    p->n_open--;
    p->peers_closing++;
    io_watch_close(&c->watch, peer_on_closed);
    link_close(p->maker, &c->link);
}

static void peer_rest(struct peer *c)
{
    struct http_pool *p = c->pool;
    c->x = NULL;
    c->used = true;
    if (p->n_idle >= p->lim.idle_max || p->closing) {
        c->idle_since_ms = 0;
        peer_close(c);
        return;
    }
    peer_unlink(c);
    peer_push(&p->idle, c);
    p->n_idle++;
    c->idle_since_ms = io_now_ms(p->loop) + 1;
    io_watch_set(&c->watch, IO_READ);
    pool_tick(p);
}

/* ---- exchanges: their ends ---- */

static void x_unlink(struct http_exchange *x)
{
    struct http_pool *p = x->pool;
    *x->back = x->next;
    if (x->next)
        x->next->back = x->back;
    else if (x->state == X_WAIT)
        p->waiting_end = x->back;
    if (x->state == X_WAIT)
        p->n_waiting--;
}

static void x_recycle(struct http_exchange *x)
{
    struct http_pool *p = x->pool;
    x_unlink(x);
    x->id = ++p->ids;
    x->peer = NULL;
    buf_clear(&x->request);
    buf_clear(&x->in);
    if (p->n_free >= FREE_MAX || p->closing) {
        buf_free(&x->request);
        buf_free(&x->in);
    }
    x->next = p->free_x;                /* never freed before the pool: whoever holds a pointer can compare its id */
    p->free_x = x;
    p->n_free++;
}

/* Ends `x`; its connection is kept when `keep`. */
static void x_end(struct http_exchange *x, enum err e, const char *detail, bool keep)
{
    struct http_pool *p = x->pool;
    struct http_client_events ev = x->ev;
    void *ctx = x->ctx;
    struct peer *c = x->peer;
    if (c && keep)
        peer_rest(c);
    else if (c)
        peer_close(c);
    x_recycle(x);
    ev.on_end(ctx, e, detail);
    if (!p->closing)
        pool_fill(p);
}

void http_exchange_cancel(struct http_exchange *x)
{
    if (x->peer)
        peer_close(x->peer);
    x_recycle(x);
}

/* A kept connection that turns out to be dead before the first byte of a reply: once more, on a fresh one. The others that
 * lie idle are of the same age and go, too. */
static bool x_retry(struct http_exchange *x)
{
    struct http_pool *p = x->pool;
    if (!x->reused || x->retried || x->got_any || p->closing)
        return false;
    peer_close(x->peer);
    x->peer = NULL;
    while (p->idle)
        peer_close(p->idle);
    x_unlink(x);
    x->state = X_WAIT;
    x->retried = true;
    x->reused = false;
    x->sent = 0;
    x->next = p->waiting;
    x->back = &p->waiting;
    if (x->next)
        x->next->back = &x->next;
    else
        p->waiting_end = &x->next;
    p->waiting = x;
    p->n_waiting++;
    x_deadline(x, p->lim.connect_ms);
    pool_fill(p);
    return true;
}

/* ---- exchanges: sending ---- */

static int x_iov(const struct http_exchange *x, struct iovec iov[SLICES])
{
    size_t skip = x->sent;
    int n = 0;
    for (size_t i = 0; i <= x->n_body && n < SLICES; i++) {
        str s = i ? x->body[i - 1] : buf_str(&x->request);
        if (skip >= s.n) {
            skip -= s.n;
            continue;
        }
        iov[n++] = (struct iovec){ (void *)(uintptr_t)(s.p + skip), s.n - skip };
        skip = 0;
    }
    return n;
}

static void x_send(struct http_exchange *x)
{
    struct iovec iov[SLICES];
    while (x->sent < x->total) {
        size_t n;
        enum err e = link_send(&x->peer->link, iov, x_iov(x, iov), &n);
        if (e == ERR_CUT) {             /* the reply may say why; if there is none, reading finds the end */
            x->sent = x->total;
            break;
        }
        x->sent += n;
        if (e == ERR_AGAIN || n == 0) {
            io_watch_set(&x->peer->watch, IO_READ | IO_WRITE);
            return;
        }
    }
    x->state = X_HEAD;
    x_deadline(x, x->first_byte_ms);
    io_watch_set(&x->peer->watch, x->paused ? 0 : IO_READ);
}

static void x_start(struct http_exchange *x, struct peer *c)
{
    struct http_pool *p = x->pool;
    x_unlink(x);
    x->state = X_SEND;
    x->next = p->running;
    x->back = &p->running;
    if (x->next)
        x->next->back = &x->next;
    p->running = x;
    x->peer = c;
    c->x = x;
    x->reused = c->used;
    x_deadline(x, x->gap_ms);
    x_send(x);
}

/* ---- exchanges: the reply ---- */

/* The body is complete; `rest` bytes follow it, which nobody asked for. */
static void x_complete(struct http_exchange *x, bool rest)
{
    x_end(x, ERR_OK, NULL, x->head.keep_alive && !rest && x->sent == x->total);
}

/* False: the exchange has ended. */
static bool x_body(struct http_exchange *x, str in)
{
    uint64_t id = x->id;
    while (in.n) {
        str data = in;
        size_t used = in.n;
        bool done = false;
        if (x->head.body == HTTP_BODY_LENGTH) {
            used = in.n < x->left ? in.n : (size_t)x->left;
            data.n = used;
            x->left -= used;
            done = !x->left;
        } else if (x->head.body == HTTP_BODY_CHUNKED && http_chunks_next(&x->chunks, in, &data, &used, &done) == ERR_SYNTAX) {
            x_end(x, ERR_UPSTREAM, "the upstream's chunked coding is not valid", false);
            return false;
        }
        in = str_skip(in, used);
        if (data.n)
            x->ev.on_data(x->ctx, data);
        if (x->id != id)
            return false;
        if (done) {
            x_complete(x, in.n > 0);
            return false;
        }
    }
    x_deadline(x, x->gap_ms);
    return true;
}

static bool has_no_body(const struct http_head *h) { return h->body == HTTP_BODY_NONE || (h->body == HTTP_BODY_LENGTH && !h->length); }

/* The head, with `in` being everything that has come of it; what follows it is the body. */
static void x_head(struct http_exchange *x, str in)
{
    struct http_head_error why = { 0 };
    uint64_t id = x->id;
    for (;;) {
        enum err e = http_parse_reply(in, &x->scanned, x->to_head, &x->head, &why);
        if (e == ERR_AGAIN && in.n < x->pool->lim.head) {
            if (in.p != x->in.p) {
                buf_clear(&x->in);
                if (buf_put(&x->in, in) != ERR_OK)
                    x_end(x, ERR_MEMORY, NULL, false);
            }
            return;
        }
        if (e != ERR_OK) {
            x_end(x, ERR_UPSTREAM, why.what ? why.what : "the head of the upstream's reply is too large", false);
            return;
        }
        x->scanned = 0;
        if (x->head.status >= 200)
            break;
        in = str_skip(in, x->head.size);        /* 1xx: the real one follows */
        if (in.p >= x->in.p && x->in.p && in.p <= x->in.p + x->in.n) {
            buf_drop(&x->in, x->in.n - in.n);
            in = buf_str(&x->in);
        }
    }
    str rest = str_skip(in, x->head.size);
    if (in.p != x->in.p) {              /* its slices must outlive the read buffer */
        buf_clear(&x->in);
        if (buf_put(&x->in, (str){ in.p, x->head.size }) != ERR_OK) {
            x_end(x, ERR_MEMORY, NULL, false);
            return;
        }
        http_head_rebase(&x->head, in.p, x->in.p);
    }
    x->state = X_BODY;
    x->left = x->head.length;
    x->chunks = (struct http_chunks){ 0 };
    x->ev.on_head(x->ctx, &x->head);
    if (x->id != id)
        return;
    if (has_no_body(&x->head))
        x_complete(x, rest.n > 0);
    else
        (void)x_body(x, rest);
}

static void x_feed(struct http_exchange *x, str got)
{
    x->got_any = true;
    if (x->state == X_BODY) {
        (void)x_body(x, got);
        return;
    }
    if (x->in.n) {
        if (buf_put(&x->in, got) != ERR_OK)
            x_end(x, ERR_MEMORY, NULL, false);
        else
            x_head(x, buf_str(&x->in));
    } else {
        x_head(x, got);
    }
}

static void x_eof(struct http_exchange *x)
{
    if (x->state == X_BODY && x->head.body == HTTP_BODY_UNTIL_CLOSE)
        x_end(x, ERR_OK, NULL, false);
    else if (!x_retry(x))
        x_end(x, ERR_CUT, x->state == X_BODY ? "the upstream closed the connection inside of its reply" : "the upstream closed the connection without a reply", false);
}

static void x_read(struct http_exchange *x)
{
    struct http_pool *p = x->pool;
    uint64_t id = x->id;
    do {                                /* TLS: libcurl may hold bytes that the socket no longer shows */
        size_t n;
        char *scratch = io_loop_scratch(p->loop);
        struct peer *c = x->peer;
        enum err e = link_recv(&c->link, scratch, IO_SCRATCH, &n);
        if (e == ERR_AGAIN)
            return;
        if (e != ERR_OK) {
            x_eof(x);
            return;
        }
        x_feed(x, (str){ scratch, n });
    } while (x->id == id && x->peer && x->peer->link.tls && !x->paused);
}

static void peer_on_ready(struct io_watch *w, int events)
{
    struct peer *c = (struct peer *)w;
    struct http_exchange *x = c->x;
    if (!x) {                           /* idle: whatever comes ends it */
        peer_close(c);
        return;
    }
    uint64_t id = x->id;
    if ((events & IO_WRITE) && x->state == X_SEND)
        x_send(x);
    if (x->id == id && x->peer == c && (events & IO_READ))
        x_read(x);
}

void http_exchange_pause(struct http_exchange *x, bool paused)
{
    x->paused = paused;
    if (!x->peer || x->state == X_SEND)
        return;
    io_watch_set(&x->peer->watch, paused ? 0 : IO_READ);
    if (!paused) {
        x_deadline(x, x->gap_ms);
        if (x->peer->link.tls)
            io_timer_start(&x->pool->tick, 0);  /* bytes may wait inside of libcurl */
    }
}

bool http_exchange_reused(const struct http_exchange *x) { return x->reused; }

/* ---- the pool ---- */

static void pool_on_link(void *ctx, enum err e, const char *detail, const struct link *l)
{
    struct http_pool *p = ctx;
    p->n_connecting--;
    struct peer *c = e == ERR_OK ? calloc(1, sizeof *c) : NULL;
    if (c && io_watch_init(p->loop, &c->watch, l->fd, peer_on_ready) != ERR_OK) {
        free(c);
        c = NULL;
    }
    if (!c) {
        struct link lost = e == ERR_OK ? *l : (struct link){ .fd = -1 };
        if (lost.fd >= 0)
            link_close(p->maker, &lost);
        p->n_open--;
        if (p->waiting)
            x_end(p->waiting, e ? e : ERR_MEMORY, detail, false);
        return;
    }
    c->pool = p;
    c->link = *l;
    peer_push(&p->busy, c);
    if (p->waiting)
        x_start(p->waiting, c);
    else
        peer_rest(c);
}

static void pool_fill(struct http_pool *p)
{
    while (p->waiting && p->idle) {
        struct peer *c = p->idle;
        peer_unlink(c);
        p->n_idle--;
        c->idle_since_ms = 0;
        peer_push(&p->busy, c);
        x_start(p->waiting, c);
    }
    while (p->n_connecting < p->n_waiting && p->n_open < p->lim.open_max) {
        if (maker_connect(p->maker) != ERR_OK)
            return;                     /* the waiting one runs into its deadline */
        p->n_connecting++;
        p->n_open++;
    }
}

static void pool_sweep(struct http_pool *p, int64_t now)
{
    for (struct http_exchange *x = p->waiting, *next; x; x = next) {
        next = x->next;
        if (now >= x->deadline_ms)
            x_end(x, ERR_DEADLINE, "no connection to the upstream in time", false);
    }
    for (struct http_exchange *x = p->running, *next; x; x = next) {
        next = x->next;
        uint64_t id = x->id;
        if (!x->paused && x->peer->link.tls && x->state >= X_HEAD)
            x_read(x);
        if (x->id == id && !x->paused && x->state != X_WAIT && now >= x->deadline_ms)
            x_end(x, ERR_DEADLINE, x->state == X_BODY ? "the upstream stopped sending" : "the upstream did not answer in time", false);
    }
    for (struct peer *c = p->idle, *next; c; c = next) {
        next = c->next;
        if (now - c->idle_since_ms >= p->lim.idle_ms)
            peer_close(c);
    }
}

static void pool_on_tick(struct io_timer *t)
{
    struct http_pool *p = (struct http_pool *)((char *)t - offsetof(struct http_pool, tick));
    p->ticking = false;
    pool_sweep(p, io_now_ms(p->loop));
    if (p->running || p->waiting || p->idle)
        pool_tick(p);
}

enum err http_pool_new(struct io_loop *l, const struct http_origin *o, const struct http_client_limits *lim, struct http_pool **out)
{
    static const struct maker_events events = { pool_on_link };
    struct http_pool *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_MEMORY;
    *p = (struct http_pool){ .loop = l, .o = *o, .lim = *lim };
    p->waiting_end = &p->waiting;
    enum err e = maker_new(l, o, lim->connect_ms, &events, p, &p->maker);
    if (e != ERR_OK) {
        free(p);
        return e;
    }
    io_timer_init(l, &p->tick, pool_on_tick);
    *out = p;
    return ERR_OK;
}

static void pool_check(struct http_pool *p)
{
    if (!p->closing || p->peers_closing || !p->maker_closed || !p->tick_closed)
        return;
    void (*on_closed)(void *) = p->on_closed;
    void *ctx = p->closed_ctx;
    while (p->free_x) {
        struct http_exchange *x = p->free_x;
        p->free_x = x->next;
        buf_free(&x->request);
        buf_free(&x->in);
        free(x);
    }
    free(p);
    on_closed(ctx);
}

static void pool_on_maker_closed(void *ctx)
{
    ((struct http_pool *)ctx)->maker_closed = true;
    pool_check(ctx);
}

static void pool_on_tick_closed(struct io_timer *t)
{
    struct http_pool *p = (struct http_pool *)((char *)t - offsetof(struct http_pool, tick));
    p->tick_closed = true;
    pool_check(p);
}

void http_pool_close(struct http_pool *p, void (*on_closed)(void *ctx), void *ctx)
{
    p->closing = true;
    p->on_closed = on_closed;
    p->closed_ctx = ctx;
    while (p->running)
        x_end(p->running, ERR_CUT, "the connections to this upstream are being closed", false);
    while (p->waiting)
        x_end(p->waiting, ERR_CUT, "the connections to this upstream are being closed", false);
    while (p->idle)
        peer_close(p->idle);
    maker_close(p->maker, pool_on_maker_closed, p);
    io_timer_close(&p->tick, pool_on_tick_closed);
}

/* ---- starting an exchange ---- */

static struct http_exchange *x_new(struct http_pool *p)
{
    struct http_exchange *x = p->free_x;
    if (x) {
        p->free_x = x->next;
        p->n_free--;
    } else if ((x = calloc(1, sizeof *x))) {
        buf_init(&x->request, HEAD_MAX + sizeof p->o.base);
        buf_init(&x->in, p->lim.head + 2 * IO_SCRATCH);
    }
    return x;
}

static enum err x_write_head(struct http_exchange *x, const struct http_request *rq)
{
    const struct http_origin *o = &x->pool->o;
    bool v6 = strchr(o->host, ':') != NULL, standard = *o->unix_path || o->port == (o->tls ? 443 : 80);
    bool bodiless = !rq->n_body && !str_eq(rq->method, S("POST")) && !str_eq(rq->method, S("PUT"));
    char port[STR_I64], length[STR_I64];
    size_t n = 0;
    for (size_t i = 0; i < rq->n_body; i++)
        n += rq->body[i].n;
    const char *last = rq->beside ? strrchr(o->base, '/') : NULL;
    const str base = { o->base, last ? (size_t)(last - o->base) : strlen(o->base) };
    const str none = S("");
    const str parts[] = { rq->method, S(" "), base, rq->target, S(" HTTP/1.1\r\nHost: "), v6 ? S("[") : none, str_of(o->host), v6 ? S("]") : none,
                          standard ? none : S(":"), standard ? none : str_from_i64(o->port, port), S("\r\n"), rq->fields, bodiless ? none : S("Content-Length: "),
                          bodiless ? none : str_from_i64((int64_t)n, length), bodiless ? none : S("\r\n"), S("\r\n") };
    enum err e = ERR_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !e; i++)
        e = buf_put(&x->request, parts[i]);
    x->total = x->request.n + n;
    return e;
}

enum err http_exchange_start(struct http_pool *p, const struct http_request *rq, const struct http_client_events *ev, void *ctx, struct http_exchange **out)
{
    if (p->closing || rq->n_body > SLICES - 2)
        return ERR_INTERNAL;
    struct http_exchange *x = x_new(p);
    if (!x)
        return ERR_MEMORY;
    x->pool = p;
    x->id = ++p->ids;
    x->ev = *ev;
    x->ctx = ctx;
    x->peer = NULL;
    x->state = X_WAIT;
    x->body = rq->body;
    x->n_body = rq->n_body;
    x->sent = x->scanned = 0;
    x->to_head = str_eq(rq->method, S("HEAD"));
    x->paused = x->reused = x->retried = x->got_any = false;
    x->first_byte_ms = rq->first_byte_ms ? rq->first_byte_ms : p->lim.first_byte_ms;
    x->gap_ms = rq->gap_ms ? rq->gap_ms : p->lim.gap_ms;
    x->next = NULL;
    x->back = p->waiting_end;
    *p->waiting_end = x;
    p->waiting_end = &x->next;
    p->n_waiting++;
    enum err e = x_write_head(x, rq);
    if (e != ERR_OK) {
        x_recycle(x);
        return e;
    }
    x_deadline(x, p->lim.connect_ms);
    *out = x;
    pool_fill(p);
    pool_tick(p);
    return ERR_OK;
}
