/* http/server.h: the server side of HTTP/1.1 connections. Includes: core, io.
 *
 * A listener accepts connections on one loop; each connection reads one request whole (head and body, within limits
 * and deadlines) and hands it to the handler, which answers now or later. Pipelined requests wait in order. Errors in a
 * request's framing are answered here, through on_reject, and end the connection.
 *
 * While a request is being answered its connection is watched: when the client goes away (also by closing only its
 * sending side) on_gone is called at once, once, and the request must be dropped with http_reply_abort().
 *
 * Ownership: `struct http_req` belongs to the connection, from on_request until the reply has ended: http_reply_end(),
 * http_reply_abort(), or a return from on_gone. The request's head, body and arena live as long, or, after
 * http_req_hold(), until http_req_release(): also when the connection is long gone, or busy with its next request. */
#ifndef HEARTH_HTTP_SERVER_H
#define HEARTH_HTTP_SERVER_H

#include "core/arena.h"
#include "core/err.h"
#include "http/head.h"
#include "io/loop.h"
#include "io/socket.h"

struct http_limits {
    size_t body;                        /* bytes; default 64 MiB */
    size_t arena;                       /* bytes a call may take beside its body; default body * 4 + 1 MiB */
    int64_t head_ms, body_ms, idle_ms;  /* to receive a head; gap between pieces of a body; keep-alive without a request */
    int64_t write_ms;                   /* a client that takes nothing for this long is dropped */
    size_t pending;                     /* unsent reply bytes at which http_reply_write() says ERR_AGAIN; default 256 KiB */
    size_t connections;                 /* at most, for this server; further ones are closed at accept */
};
extern const struct http_limits http_limits_default;

struct http_req;

struct http_refusal { str content_type, fields, body; };     /* fields as in http_reply() */
struct http_handler {
    void *ctx;
    void (*on_request)(void *ctx, struct http_req *r);
    /* The reply to a request that could not be read: writes the body in the dialect that its head speaks of; `h` NULL: that could not be read either. */
    void (*on_reject)(void *ctx, const struct http_head *h, int status, const char *what, struct arena *a, struct http_refusal *out);
    void (*on_gone)(void *ctx, struct http_req *r);      /* the client left before the reply ended */
    void (*on_drain)(void *ctx, struct http_req *r);     /* after ERR_AGAIN: there is room again */
    /* Host and Origin checks and the like, before the body is read: a status other than 0 refuses. */
    int (*check_head)(void *ctx, const struct http_head *h, bool via_unix, const char **what);
};

struct http_server;
/* Serves `listen_fd` (which the server does not own and which several loops may share) on this loop. */
enum err http_server_new(struct io_loop *l, int listen_fd, bool is_unix, const struct http_limits *lim,
                         const struct http_handler *h, struct http_server **out);
void http_server_stop_listening(struct http_server *s);              /* no new connections; kept ones are closed when idle, new ones get a moment for their request */
size_t http_server_connections(const struct http_server *s);
void http_server_close(struct http_server *s, void (*on_closed)(void *ctx), void *ctx);   /* drops everything, then frees s */

/* ---- a request ---- */
const struct http_head *http_req_head(const struct http_req *r);
str http_req_body(const struct http_req *r);
struct arena *http_req_arena(struct http_req *r);                    /* the call's life */
bool http_req_via_unix(const struct http_req *r);
const char *http_req_peer(struct http_req *r);                       /* "127.0.0.1" or "unix:UID" */
int64_t http_req_received_us(const struct http_req *r);              /* monotonic, when the head was complete */
/* Keeps the request's memory (head, body, arena) beyond the end of its reply, for what must still be recorded. Once each. */
void http_req_hold(struct http_req *r);
void http_req_release(struct http_req *r);
void http_req_set_data(struct http_req *r, void *data);
void *http_req_data(const struct http_req *r);

/* ---- its reply ---- */
/* Everything at once. `fields` as "Name: value\r\n" lines; Content-Length, Date-free. ERR_CLIENT: the client is gone. */
enum err http_reply(struct http_req *r, int status, str content_type, str fields, str body);
/* In pieces: with chunked coding (HTTP/1.0: until close). The head leaves with the first piece, which may be empty. Ends with http_reply_end(). */
enum err http_reply_start(struct http_req *r, int status, str content_type, str fields);
/* Copies nothing when the socket takes it all; else keeps the rest. ERR_AGAIN: taken, but stop until on_drain. ERR_CLIENT: gone. */
enum err http_reply_write(struct http_req *r, str data);
void http_reply_end(struct http_req *r);
void http_reply_finish(struct http_req *r, str data);                /* the last piece and the end, with one system call */
/* The end with fields that became known only now (RFC 9110 6.5); without them where http_req_takes_trailers() says no. */
void http_reply_end_with(struct http_req *r, str trailers);
bool http_req_takes_trailers(const struct http_req *r);              /* the client asked for them (TE: trailers), and can be sent some */
/* Breaks the transfer so that the client can tell it is not complete: closes without the last chunk. */
void http_reply_abort(struct http_req *r);
size_t http_reply_pending(const struct http_req *r);

#endif
