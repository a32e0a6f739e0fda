/* http/reply.c: the writing half of a server's connection. What the socket takes at once is never copied. */
#include "http/conn.h"

#include <errno.h>
#include <sys/socket.h>

enum { LINGER_MS = 2000 };

static str reason(int status)
{
    static const struct { int status; str text; } list[] = {
        { 200, S("OK") }, { 400, S("Bad Request") }, { 401, S("Unauthorized") }, { 403, S("Forbidden") }, { 404, S("Not Found") },
        { 405, S("Method Not Allowed") }, { 408, S("Request Timeout") }, { 413, S("Content Too Large") }, { 414, S("URI Too Long") },
        { 417, S("Expectation Failed") }, { 422, S("Unprocessable Content") }, { 429, S("Too Many Requests") }, { 431, S("Request Header Fields Too Large") },
        { 500, S("Internal Server Error") }, { 501, S("Not Implemented") }, { 502, S("Bad Gateway") }, { 503, S("Service Unavailable") },
        { 504, S("Gateway Timeout") }, { 505, S("HTTP Version Not Supported") },
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].status == status)
            return list[i].text;
    return S("Status");
}

/* ---- bytes to the socket ---- */

static void keep_rest(struct http_conn *c, const struct iovec *iov, int n, size_t skip)
{
    for (int i = 0; i < n; i++) {
        size_t len = iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        if (buf_put(&c->out, (str){ (const char *)iov[i].iov_base + skip, len - skip }) != ERR_OK) {
            c->hung_up = true;          /* no memory for it: the reply cannot be whole any more */
            conn_deadline(c, 1);
        }
        skip = 0;
    }
}

static void out_reset(struct http_conn *c)
{
    c->out_at = 0;
    if (c->out.cap > 16384)
        buf_free(&c->out);              /* an idle connection keeps no memory of a large reply */
    else
        buf_clear(&c->out);
}

/* One system call for what is corked and what is new. */
void conn_send(struct http_conn *c, struct iovec *iov, int n)
{
    struct iovec all[8];
    size_t waiting = conn_pending(c);
    if (c->hung_up)
        return;
    if (waiting && !c->corked) {
        keep_rest(c, iov, n, 0);
        return;
    }
    c->corked = false;
    all[0] = (struct iovec){ waiting ? c->out.p + c->out_at : NULL, waiting };
    memcpy(all + 1, iov, (size_t)n * sizeof *iov);
    struct msghdr m = { .msg_iov = waiting ? all : all + 1, .msg_iovlen = (size_t)(n + (waiting ? 1 : 0)) };
    ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        c->hung_up = true;              /* the loop reports it next, as a hang-up */
        return;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done >= waiting) {
        done -= waiting;
        out_reset(c);
    } else {
        c->out_at += done;
        done = 0;
    }
    keep_rest(c, iov, n, done);
    if (conn_pending(c)) {
        conn_deadline(c, c->server->lim.write_ms);
        conn_watch(c);
    }
}

static void drained(struct http_conn *c)
{
    struct http_server *s = c->server;
    if (c->state != CONN_BODY)          /* which has a deadline of its own */
        conn_deadline(c, 0);
    conn_watch(c);
    if (c->state == CONN_FLUSH)
        conn_next(c);
    else if (c->state == CONN_LINGER) {
        shutdown(c->fd, SHUT_WR);
        conn_deadline(c, LINGER_MS);
    } else if (c->state == CONN_BUSY && c->stopped && c->req) {
        c->stopped = false;
        s->h.on_drain(s->h.ctx, c->req);
    }
}

void conn_flush(struct http_conn *c)
{
    while (conn_pending(c)) {
        ssize_t n = send(c->fd, c->out.p + c->out_at, conn_pending(c), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
                c->hung_up = true;
            break;
        }
        c->out_at += (size_t)n;
        conn_deadline(c, c->server->lim.write_ms);
    }
    if (!conn_pending(c)) {
        out_reset(c);
        drained(c);
    } else if (c->out_at > (1 << 20) && c->out_at > c->out.n / 2) {
        buf_drop(&c->out, c->out_at);
        c->out_at = 0;
    }
}

/* ---- replies ---- */

static size_t head_line(char *p, size_t room, int status, str type, bool close)
{
    char number[STR_I64];
    const str none = S(""), parts[] = { S("HTTP/1.1 "), str_from_i64(status, number), S(" "), reason(status), S("\r\n"), type.n ? S("Content-Type: ") : none, type,
                                        type.n ? S("\r\n") : none, close ? S("Connection: close\r\n") : none };
    return str_join(p, room, parts, sizeof parts / sizeof *parts);
}

static size_t length_line(char *p, size_t room, size_t n)
{
    char number[STR_I64];
    const str parts[] = { S("Content-Length: "), str_from_i64((int64_t)n, number), S("\r\n\r\n") };
    return str_join(p, room, parts, sizeof parts / sizeof *parts);
}

/* The line before a chunk: its size in hexadecimal. Lies at the end of `p`. */
static struct iovec chunk_line(char p[24], size_t n)
{
    char *at = p + 24;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = "0123456789abcdef"[n & 15];
    while (n >>= 4);
    return (struct iovec){ at, (size_t)(p + 24 - at) };
}

static struct iovec piece(str s) { return (struct iovec){ (void *)(uintptr_t)s.p, s.n }; }

static void reply_ended(struct http_conn *c, struct http_req *r)
{
    bool keep = r->head.keep_alive && !c->server->closing && c->server->listening && !c->hung_up;
    c->req = NULL;
    c->stopped = false;
    req_end(r);
    c->last = !keep;
    c->state = CONN_FLUSH;
    if (c->hung_up)
        conn_close(c);
    else if (!conn_pending(c))
        conn_next(c);
}

enum err http_reply(struct http_req *r, int status, str type, str fields, str body)
{
    struct http_conn *c = r->conn;
    char line[512], length[64];
    if (!c)
        return ERR_CLIENT;
    bool close = !r->head.keep_alive || !c->server->listening;
    size_t n = head_line(line, sizeof line, status, type, close), m = length_line(length, sizeof length, body.n);
    struct iovec iov[] = { { line, n }, piece(fields), { length, m }, piece(r->no_body ? STR_NONE : body) };
    conn_send(c, iov, 4);
    bool gone = c->hung_up;
    reply_ended(c, r);
    return gone ? ERR_CLIENT : ERR_OK;
}

enum err http_reply_start(struct http_req *r, int status, str type, str fields)
{
    struct http_conn *c = r->conn;
    char line[512];
    if (!c)
        return ERR_CLIENT;
    r->started = true;
    r->chunked = r->head.minor == 1;
    if (!r->chunked)
        r->head.keep_alive = false;
    size_t n = head_line(line, sizeof line, status, type, !r->head.keep_alive || !c->server->listening);
    struct iovec iov[] = { { line, n }, piece(fields), piece(r->chunked ? S("Transfer-Encoding: chunked\r\n\r\n") : S("\r\n")) };
    /* Corked: it leaves together with the first piece. */
    bool idle = !conn_pending(c);
    keep_rest(c, iov, 3, 0);
    c->corked = idle;
    return ERR_OK;
}

/* `last`: the end follows, with these trailers. */
static void send_piece(struct http_conn *c, struct http_req *r, str data, bool last, str trailers)
{
    char size[24];
    struct iovec iov[6];
    int n = 0;
    if (r->no_body)
        data = STR_NONE;
    if (data.n) {
        if (r->chunked)
            iov[n++] = chunk_line(size, data.n);
        iov[n++] = piece(data);
        if (r->chunked)
            iov[n++] = piece(last && !trailers.n ? S("\r\n0\r\n\r\n") : S("\r\n"));
    } else if (last && r->chunked && !r->no_body && !trailers.n) {
        iov[n++] = piece(S("0\r\n\r\n"));
    }
    if (last && trailers.n) {
        iov[n++] = piece(S("0\r\n"));
        iov[n++] = piece(trailers);
        iov[n++] = piece(S("\r\n"));
    }
    if (n || c->corked)
        conn_send(c, iov, n);
}

enum err http_reply_write(struct http_req *r, str data)
{
    struct http_conn *c = r->conn;
    if (!c || c->hung_up)
        return ERR_CLIENT;
    send_piece(c, r, data, false, STR_NONE);
    if (c->hung_up)
        return ERR_CLIENT;
    if (conn_pending(c) < c->server->lim.pending)
        return ERR_OK;
    c->stopped = true;
    return ERR_AGAIN;
}

void http_reply_finish(struct http_req *r, str data)
{
    struct http_conn *c = r->conn;
    if (!c)
        return;
    send_piece(c, r, data, true, STR_NONE);
    reply_ended(c, r);
}

bool http_req_takes_trailers(const struct http_req *r) { return r->head.minor == 1 && !r->no_body && http_has_token(http_get(&r->head, S("te")), S("trailers")); }

void http_reply_end_with(struct http_req *r, str trailers)
{
    struct http_conn *c = r->conn;
    if (!c)
        return;
    send_piece(c, r, STR_NONE, true, r->chunked && http_req_takes_trailers(r) ? trailers : STR_NONE);
    reply_ended(c, r);
}

void http_reply_end(struct http_req *r) { http_reply_finish(r, STR_NONE); }

void http_reply_abort(struct http_req *r)
{
    struct http_conn *c = r->conn;
    if (!c)
        return;
    c->req = NULL;
    req_end(r);
    conn_close(c);
}

size_t http_reply_pending(const struct http_req *r) { return r->conn ? conn_pending(r->conn) : 0; }

/* An error of framing: answered, then the connection ends. What the client still sends is read for a moment, since closing
 * over unread bytes would reset the connection and could take the answer with it (RFC 9112 9.6). */
void conn_reject(struct http_conn *c, const struct http_head *h, int status, const char *what)
{
    struct http_server *s = c->server;
    struct arena a;
    char line[512], length[64];
    struct http_refusal out = { STR_NONE, STR_NONE, STR_NONE };
    arena_init(&a, 1 << 16);
    if (s->h.on_reject)
        s->h.on_reject(s->h.ctx, h, status, what, &a, &out);
    size_t n = head_line(line, sizeof line, status, out.content_type, true), m = length_line(length, sizeof length, out.body.n);
    c->state = CONN_LINGER;
    buf_free(&c->in);
    c->in_at = 0;
    conn_send(c, (struct iovec[]){ { line, n }, piece(out.fields), { length, m }, piece(out.body) }, 4);
    arena_free(&a);
    if (c->hung_up)
        conn_close(c);
    else if (!conn_pending(c))
        drained(c);
}
