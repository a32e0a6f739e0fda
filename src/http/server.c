/* http/server.c: accepting and reading. One machine per connection (conn.h); every wait has a deadline, every buffer a bound. */
#include "http/server.h"

#include "core/clock.h"
#include "core/log.h"
#include "http/conn.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_BURST = 16, RETRY_MS = 100, FREE_REQS = 64,
    PIPELINE_MAX = 65536,               /* bytes of later requests that are read while one is answered */
    LINGER_BYTES = 1 << 20, OUT_MAX = 256 << 20,
    FRESH_MS = 1000,                    /* for the first request of a connection that was accepted before the server stopped listening */
};

const struct http_limits http_limits_default = {
    .body = 64u << 20, .arena = (256u << 20) + (1u << 20), .head_ms = 10000, .body_ms = 30000, .idle_ms = 75000, .write_ms = 60000,
    .pending = 256u << 10, .connections = 4096,
};

/* ---- requests ---- */

static struct http_req *req_new(struct http_conn *c)
{
    struct http_server *s = c->server;
    struct http_req *r = s->free_reqs;
    if (r) {
        s->free_reqs = r->next_free;
        s->n_free--;
    } else {
        r = calloc(1, sizeof *r);
        if (!r)
            return NULL;
        r->server = s;
        arena_init(&r->arena, s->lim.arena);
        buf_init(&r->big, s->lim.body);
    }
    s->n_reqs++;
    r->conn = c;
    r->next_free = NULL;
    r->body = STR_NONE;
    r->data = NULL;
    r->held = r->ended = r->chunked = r->started = false;
    r->peer[0] = '\0';
    return r;
}

static void req_free(struct http_req *r)
{
    arena_free(&r->arena);
    buf_free(&r->big);
    free(r);
}

static void server_check_closed(struct http_server *s);

static void req_recycle(struct http_req *r)
{
    struct http_server *s = r->server;
    s->n_reqs--;
    buf_free(&r->big);
    if (s->n_free < FREE_REQS && !s->closing) {
        arena_reset(&r->arena);
        r->next_free = s->free_reqs;
        s->free_reqs = r;
        s->n_free++;
    } else {
        req_free(r);
    }
    server_check_closed(s);
}

void req_end(struct http_req *r)
{
    r->conn = NULL;
    r->ended = true;
    if (!r->held)
        req_recycle(r);
}

const struct http_head *http_req_head(const struct http_req *r) { return &r->head; }
str http_req_body(const struct http_req *r) { return r->body; }
struct arena *http_req_arena(struct http_req *r) { return &r->arena; }
bool http_req_via_unix(const struct http_req *r) { return r->server->is_unix; }
int64_t http_req_received_us(const struct http_req *r) { return r->received_us; }
void http_req_set_data(struct http_req *r, void *data) { r->data = data; }
void *http_req_data(const struct http_req *r) { return r->data; }
void http_req_hold(struct http_req *r) { r->held = true; }

void http_req_release(struct http_req *r)
{
    r->held = false;
    if (r->ended)
        req_recycle(r);
}

const char *http_req_peer(struct http_req *r)
{
    if (!r->peer[0] && r->conn) {       /* the connection's does not change: one system call for all its requests */
        if (!r->conn->peer[0])
            io_peer_text(r->conn->fd, r->conn->peer);
        memcpy(r->peer, r->conn->peer, sizeof r->peer);
    }
    return r->peer;
}

/* ---- a connection's watch and deadline ---- */

void conn_watch(struct http_conn *c)
{
    int events = IO_HANGUP | (c->in_full ? 0 : IO_READ) | (conn_pending(c) && !c->corked ? IO_WRITE : 0);
    if (!c->closing)
        io_watch_set(&c->watch, events);
}

/* Moving a deadline back costs nothing: the timer, when it fires too early, waits for the rest. */
void conn_deadline(struct http_conn *c, int64_t in_ms)
{
    if (c->closing)
        return;
    int64_t now = io_now_ms(c->server->loop);
    c->deadline_ms = in_ms ? now + in_ms : 0;
    if (in_ms && (!c->timer_ms || c->timer_ms > c->deadline_ms)) {
        c->timer_ms = c->deadline_ms;
        io_timer_start(&c->timer, in_ms);
    }
}

static void conn_late(struct http_conn *c)
{
    if (c->state == CONN_HEAD && c->in.n > c->in_at)
        conn_reject(c, NULL, 408, "the head of the request did not arrive in time");
    else if (c->state == CONN_BODY)
        conn_reject(c, &c->req->head, 408, "the body of the request did not arrive in time");
    else
        conn_close(c);                  /* idle, or a client that takes nothing */
}

static void conn_on_timer(struct io_timer *t)
{
    struct http_conn *c = (struct http_conn *)((char *)t - offsetof(struct http_conn, timer));
    int64_t now = io_now_ms(c->server->loop);
    c->timer_ms = 0;
    if (!c->deadline_ms)
        return;
    if (now < c->deadline_ms)
        conn_deadline(c, c->deadline_ms - now);
    else
        conn_late(c);
}

/* ---- the end of a connection ---- */

static void conn_half_closed(struct http_conn *c)
{
    if (--c->closing)
        return;
    struct http_server *s = c->server;
    *c->back = c->next;
    if (c->next)
        c->next->back = c->back;
    s->n_conns--;
    buf_free(&c->in);
    buf_free(&c->out);
    free(c);
    server_check_closed(s);
}

static void conn_on_watch_closed(struct io_watch *w) { conn_half_closed((struct http_conn *)((char *)w - offsetof(struct http_conn, watch))); }
static void conn_on_timer_closed(struct io_timer *t) { conn_half_closed((struct http_conn *)((char *)t - offsetof(struct http_conn, timer))); }

void conn_close(struct http_conn *c)
{
    struct http_server *s = c->server;
    if (c->closing)
        return;
    c->closing = 2;
    io_watch_close(&c->watch, conn_on_watch_closed);
    io_timer_close(&c->timer, conn_on_timer_closed);
    close(c->fd);
    struct http_req *r = c->req;
    c->req = NULL;
    if (!r)
        return;
    if (c->state == CONN_BUSY) {        /* before the request is given up, so that its owner can look at it */
        r->conn = NULL;
        s->h.on_gone(s->h.ctx, r);
    }
    req_end(r);
}

/* ---- reading ---- */

static void conn_dispatch(struct http_conn *c)
{
    struct http_server *s = c->server;
    c->state = CONN_BUSY;
    conn_deadline(c, 0);
    s->h.on_request(s->h.ctx, c->req);
}

static const char *head_refused(struct http_conn *c, const struct http_head *h, int *status)
{
    struct http_server *s = c->server;
    const char *what = "refused";
    *status = s->h.check_head ? s->h.check_head(s->h.ctx, h, s->is_unix, &what) : 0;
    if (*status)
        return what;
    if (h->body == HTTP_BODY_LENGTH && h->length > s->lim.body) {
        *status = 413;
        return "the body is larger than the configured limit";
    }
    return NULL;
}

/* A whole head lies at the start of `in`: a request is made of it. False: refused, or no memory. */
static bool conn_take_head(struct http_conn *c, str in, struct http_head *h)
{
    int status;
    const char *what = head_refused(c, h, &status);
    if (what) {
        conn_reject(c, h, status, what);
        return false;
    }
    struct http_req *r = req_new(c);
    size_t whole = h->body == HTTP_BODY_LENGTH && in.n - h->size >= h->length ? h->size + (size_t)h->length : h->size;
    char *copy = r ? arena_alloc(&r->arena, whole, 1) : NULL;
    if (!copy) {
        if (r)
            req_end(r);
        conn_reject(c, h, 503, "no memory for this request");
        return false;
    }
    memcpy(copy, in.p, whole);
    r->head = *h;
    http_head_rebase(&r->head, in.p, copy);
    r->body = (str){ copy + h->size, whole - h->size };
    r->no_body = str_eq(r->head.method, S("HEAD"));
    r->received_us = clock_mono_us(&clock_system);
    c->req = r;
    c->chunks = (struct http_chunks){ 0 };
    c->state = CONN_BODY;
    return true;
}

static bool body_is_whole(const struct http_req *r)
{
    return r->head.body == HTTP_BODY_NONE || (r->head.body == HTTP_BODY_LENGTH && r->body.n == r->head.length);
}

/* Takes from `in` what belongs to the body; *used bytes. ERR_AGAIN: more is needed. */
static enum err conn_take_body(struct http_conn *c, str in, size_t *used)
{
    struct http_req *r = c->req;
    *used = 0;
    if (r->head.body == HTTP_BODY_LENGTH) {
        uint64_t left = r->head.length - r->big.n;
        size_t n = in.n < left ? in.n : (size_t)left;
        enum err e = buf_put(&r->big, (str){ in.p, n });
        *used = n;
        return e ? e : r->big.n == r->head.length ? ERR_OK : ERR_AGAIN;
    }
    for (;;) {
        str data;
        size_t n;
        bool done;
        enum err e = http_chunks_next(&c->chunks, str_skip(in, *used), &data, &n, &done);
        if (e == ERR_SYNTAX)
            return e;
        *used += n;
        enum err full = buf_put(&r->big, data);
        if (full || done || e)
            return full ? full : done ? ERR_OK : e;
        if (*used == in.n)
            return ERR_AGAIN;
    }
}

static void conn_body_step(struct http_conn *c, str in, size_t *used)
{
    struct http_req *r = c->req;
    *used = 0;
    enum err e = body_is_whole(r) ? ERR_OK : conn_take_body(c, in, used);
    if (e == ERR_AGAIN) {
        conn_deadline(c, c->server->lim.body_ms);
        return;
    }
    if (e != ERR_OK) {
        c->req = NULL;
        if (e == ERR_MEMORY)
            conn_reject(c, &r->head, 503, "no memory for this request");
        else
            conn_reject(c, &r->head, e == ERR_LIMIT ? 413 : 400, e == ERR_LIMIT ? "the body is larger than the configured limit" : "the chunked coding is not valid");
        req_end(r);
        return;
    }
    if (!body_is_whole(r))
        r->body = buf_str(&r->big);
    conn_dispatch(c);
}

static void conn_head_step(struct http_conn *c, str in, size_t *used)
{
    struct http_head h;
    struct http_head_error why = { 400, "the head is not valid" };
    *used = 0;
    enum err e = http_parse_request(in, &c->scanned, &h, &why);
    if (e == ERR_AGAIN) {
        if (in.n && !c->head_begun)     /* once: a byte now and then does not move it */
            conn_deadline(c, c->server->lim.head_ms);
        c->head_begun = in.n > 0;
        return;
    }
    c->scanned = 0;
    c->head_begun = false;
    c->asked = true;
    if (e != ERR_OK) {
        conn_reject(c, NULL, why.status, why.what);
        return;
    }
    if (!conn_take_head(c, in, &h))
        return;
    *used = h.size + c->req->body.n;
    if (c->req->head.expect_continue && !body_is_whole(c->req) && *used == in.n)
        conn_send(c, &(struct iovec){ (void *)(uintptr_t)"HTTP/1.1 100 Continue\r\n\r\n", 25 }, 1);
}

/* Uses `in` as far as the machine goes; the number of bytes used. */
static size_t conn_process(struct http_conn *c, str in)
{
    size_t at = 0;
    c->processing = true;
    while (!c->closing) {
        size_t used = 0;
        enum conn_state before = c->state;
        if (before == CONN_HEAD && in.n > at)
            conn_head_step(c, str_skip(in, at), &used);
        else if (before == CONN_BODY)
            conn_body_step(c, str_skip(in, at), &used);
        at += used;
        /* The reply may have ended inside of the handler: then the state is HEAD again and a byte has been used. */
        if (c->state == before && !used)
            break;
        if (c->state == CONN_LINGER)
            at = in.n;
        if (c->state != CONN_HEAD && c->state != CONN_BODY)
            break;
    }
    c->processing = false;
    return at;
}

/* Bytes from the socket: used from where they lie; what is left over is kept. */
static void conn_feed(struct http_conn *c, str got)
{
    bool fresh = c->in.n == c->in_at;
    if (!fresh && buf_put(&c->in, got) != ERR_OK) {
        conn_close(c);
        return;
    }
    str in = fresh ? got : str_skip(buf_str(&c->in), c->in_at);
    size_t used = c->state == CONN_HEAD || c->state == CONN_BODY ? conn_process(c, in) : 0;
    if (c->closing || c->state == CONN_LINGER)
        return;
    if (fresh) {
        c->in_at = 0;
        buf_clear(&c->in);
        if (used < in.n && buf_put(&c->in, str_skip(in, used)) != ERR_OK)
            conn_close(c);
    } else {
        c->in_at += used;
    }
    if (c->in_at == c->in.n) {
        c->in_at = 0;
        buf_free(&c->in);               /* an idle connection keeps nothing */
    }
}

void conn_next(struct http_conn *c)
{
    if (c->last || c->server->closing) {
        /* Nothing follows: the client reads the end of the connection as the end of what was said. */
        shutdown(c->fd, SHUT_WR);
        c->state = CONN_LINGER;
        buf_free(&c->in);
        c->in_at = 0;
        conn_deadline(c, 1000);
        return;
    }
    c->state = CONN_HEAD;
    c->in_full = false;
    conn_deadline(c, c->server->lim.idle_ms);
    if (c->processing)
        return;                         /* conn_process() goes on by itself */
    if (c->in.n > c->in_at) {
        size_t used = conn_process(c, str_skip(buf_str(&c->in), c->in_at));
        if (!c->closing && c->state != CONN_LINGER) {
            c->in_at += used;
            if (c->in_at == c->in.n) {
                c->in_at = 0;
                buf_free(&c->in);
            }
        }
    }
    if (!c->closing)
        conn_watch(c);
}

static void conn_read(struct http_conn *c)
{
    char *scratch = io_loop_scratch(c->server->loop);
    ssize_t n = recv(c->fd, scratch, IO_SCRATCH, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    if (c->state == CONN_LINGER) {
        c->lingered += (size_t)n;
        if (c->lingered > LINGER_BYTES)
            conn_close(c);
        return;
    }
    conn_feed(c, (str){ scratch, (size_t)n });
    if (!c->closing && (c->state == CONN_BUSY || c->state == CONN_FLUSH) && c->in.n - c->in_at >= PIPELINE_MAX) {
        c->in_full = true;
        conn_watch(c);
    }
}

static void conn_on_ready(struct io_watch *w, int events)
{
    struct http_conn *c = (struct http_conn *)((char *)w - offsetof(struct http_conn, watch));
    /* While a reply is being made, a hang-up is a client that left, also when it closed only its sending side. */
    if (c->hung_up || ((events & IO_HANGUP) && (c->state == CONN_BUSY || c->state == CONN_FLUSH))) {
        conn_close(c);
        return;
    }
    if (events & IO_WRITE && conn_pending(c) && !c->corked)
        conn_flush(c);
    if (!c->closing && c->hung_up) {
        conn_close(c);
        return;
    }
    if (!c->closing && (events & (IO_READ | IO_HANGUP)))
        conn_read(c);
}

/* ---- accepting ---- */

static void conn_new(struct http_server *s, int fd)
{
    uid_t uid;
    struct http_conn *c = NULL;
    /* A Unix socket is for this user alone, whatever its directory's mode has become. */
    if (s->is_unix && (io_peer_uid(fd, &uid) != ERR_OK || (uid != geteuid() && uid != 0)))
        goto refuse;
    if (s->n_conns >= s->lim.connections || !(c = calloc(1, sizeof *c)))
        goto refuse;
    c->server = s;
    c->fd = fd;
    buf_init(&c->in, HTTP_MAX_HEAD + PIPELINE_MAX + 2 * IO_SCRATCH);
    buf_init(&c->out, OUT_MAX);
    if (io_watch_init(s->loop, &c->watch, fd, conn_on_ready) != ERR_OK)
        goto refuse;
    io_timer_init(s->loop, &c->timer, conn_on_timer);
    c->next = s->conns;
    c->back = &s->conns;
    if (c->next)
        c->next->back = &c->next;
    s->conns = c;
    s->n_conns++;
    conn_watch(c);
    conn_deadline(c, s->lim.idle_ms);
    return;
refuse:
    free(c);
    close(fd);
}

static void server_on_ready(struct io_watch *w, int events)
{
    struct http_server *s = (struct http_server *)((char *)w - offsetof(struct http_server, listener));
    (void)events;
    for (int i = 0; i < ACCEPT_BURST; i++) {
        int fd;
        enum err e = io_accept(s->listen_fd, &fd);
        if (e == ERR_AGAIN)
            return;
        if (e != ERR_OK) {              /* out of descriptors: the backlog waits until some are back */
            log_warn("accept_failed", LOG_C("why", strerror(errno)));
            io_watch_set(&s->listener, 0);
            io_timer_start(&s->retry, RETRY_MS);
            return;
        }
        conn_new(s, fd);
    }
}

static void server_on_retry(struct io_timer *t)
{
    struct http_server *s = (struct http_server *)((char *)t - offsetof(struct http_server, retry));
    if (s->listening)
        io_watch_set(&s->listener, IO_READ);
}

enum err http_server_new(struct io_loop *l, int listen_fd, bool is_unix, const struct http_limits *lim, const struct http_handler *h,
                         struct http_server **out)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_MEMORY;
    *s = (struct http_server){ .loop = l, .lim = *lim, .h = *h, .listen_fd = listen_fd, .is_unix = is_unix, .listening = true, .handles = 2 };
    enum err e = io_watch_init(l, &s->listener, listen_fd, server_on_ready);
    if (e != ERR_OK) {
        free(s);
        return e;
    }
    io_timer_init(l, &s->retry, server_on_retry);
    io_watch_set(&s->listener, IO_READ);
    *out = s;
    return ERR_OK;
}

size_t http_server_connections(const struct http_server *s) { return s->n_conns; }

void http_server_stop_listening(struct http_server *s)
{
    if (!s->listening)
        return;
    s->listening = false;
    io_watch_set(&s->listener, 0);
    for (struct http_conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        if (c->state != CONN_HEAD || c->in.n != c->in_at)
            continue;
        if (c->asked)
            conn_close(c);
        else                            /* its request may be on its way: it was accepted, so it is answered */
            conn_deadline(c, FRESH_MS);
    }
}

static void server_check_closed(struct http_server *s)
{
    if (!s->closing || s->handles || s->n_conns || s->n_reqs)
        return;
    void (*on_closed)(void *) = s->on_closed;
    void *ctx = s->closed_ctx;
    while (s->free_reqs) {
        struct http_req *r = s->free_reqs;
        s->free_reqs = r->next_free;
        req_free(r);
    }
    free(s);
    on_closed(ctx);
}

static void server_on_listener_closed(struct io_watch *w)
{
    struct http_server *s = (struct http_server *)((char *)w - offsetof(struct http_server, listener));
    s->handles--;
    server_check_closed(s);
}

static void server_on_retry_closed(struct io_timer *t)
{
    struct http_server *s = (struct http_server *)((char *)t - offsetof(struct http_server, retry));
    s->handles--;
    server_check_closed(s);
}

void http_server_close(struct http_server *s, void (*on_closed)(void *ctx), void *ctx)
{
    s->closing = true;
    s->listening = false;
    s->on_closed = on_closed;
    s->closed_ctx = ctx;
    io_watch_close(&s->listener, server_on_listener_closed);
    io_timer_close(&s->retry, server_on_retry_closed);
    for (struct http_conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        /* What is still leaving (the last answers of a draining server) gets a moment; everything else ends now. */
        if (c->state == CONN_FLUSH || (c->state == CONN_LINGER && conn_pending(c)))
            conn_deadline(c, 1000);
        else
            conn_close(c);
    }
}
