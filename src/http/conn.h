/* http/conn.h: a server's connection and its request; private to server.c and reply.c. Includes: core, io.
 *
 *   HEAD ──► BODY ──► BUSY ──► FLUSH ──► HEAD …      LINGER: an error was answered, what still comes is thrown away
 *
 * In BUSY the socket stays watched for reading: a hang-up means that the client left, bytes are pipelined requests. So a call
 * on a kept connection costs no epoll_ctl. */
#ifndef HEARTH_HTTP_CONN_H
#define HEARTH_HTTP_CONN_H

#include "http/server.h"

#include "core/buf.h"

#include <sys/uio.h>

enum conn_state { CONN_HEAD, CONN_BODY, CONN_BUSY, CONN_FLUSH, CONN_LINGER };

struct http_conn {
    struct http_server *server;
    struct http_conn *next, **back;
    struct io_watch watch;
    struct io_timer timer;              /* set for `deadline_ms` or earlier; looks again when it fires */
    int64_t deadline_ms, timer_ms;      /* 0: none, not running */
    int fd;
    enum conn_state state;
    int closing;                        /* handles still to be closed; 0: alive */
    bool processing, corked;            /* inside of conn_process(); `out` waits for the first piece of the body */
    bool stopped, hung_up, last;        /* on_drain is owed; writing failed; nothing follows the present reply */
    bool asked;                         /* a request has come */
    bool head_begun;                    /* the deadline of a head runs from its first byte */
    bool in_full;                       /* too much was pipelined: not read until it is used */
    struct buf in;                      /* bytes that came and were not used yet */
    size_t in_at;
    size_t scanned;
    struct buf out;                     /* bytes that the socket did not take yet */
    size_t out_at;
    struct http_chunks chunks;
    struct http_req *req;               /* in BODY and BUSY */
    size_t lingered;
    char peer[64];                      /* empty: not asked for yet */
};

struct http_req {
    struct http_server *server;
    struct http_conn *conn;             /* NULL: the reply has ended, or the connection is gone */
    struct http_req *next_free;
    struct arena arena;
    struct http_head head;
    struct buf big;                     /* a body that did not come whole with its head */
    str body;
    void *data;
    bool held, ended, chunked, no_body, started;
    int64_t received_us;
    char peer[64];
};

struct http_server {
    struct io_loop *loop;
    struct http_limits lim;
    struct http_handler h;
    struct io_watch listener;
    struct io_timer retry;              /* accepting again after descriptors ran out */
    int listen_fd;
    bool is_unix, listening, closing;
    int handles;
    size_t n_conns, n_reqs, n_free;
    struct http_conn *conns;
    struct http_req *free_reqs;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

void conn_close(struct http_conn *c);                       /* now; `c` stays until the loop's next turn */
void conn_deadline(struct http_conn *c, int64_t in_ms);     /* 0: none */
void conn_next(struct http_conn *c);                        /* the reply has ended: on with what was pipelined */
void conn_watch(struct http_conn *c);
void req_end(struct http_req *r);                           /* gives it back, unless somebody holds it */

/* reply.c */
void conn_send(struct http_conn *c, struct iovec *iov, int n);
void conn_flush(struct http_conn *c);                       /* the socket takes bytes again */
static inline size_t conn_pending(const struct http_conn *c) { return c->out.n - c->out_at; }
void conn_reject(struct http_conn *c, const struct http_head *h, int status, const char *what);

#endif
