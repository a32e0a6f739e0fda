/* http/client.h: the client side of HTTP/1.1: a pool of connections to one origin, and exchanges over it. Includes: core, io, libcurl (in connect.c alone).
 *
 * libcurl makes the connections (DNS, TCP, TLS with verification, proxy, Unix socket) in connect-only mode, without
 * blocking the loop; framing, keep-alive and deadlines are ours. Redirects are not followed. A reused connection that turns out
 * to be dead before the first byte of a reply is replaced once, silently; anything later is ERR_CUT.
 *
 * The reply is handed on in pieces, as it comes. Pausing stops reading from the socket, so that the upstream feels it. */
#ifndef HEARTH_HTTP_CLIENT_H
#define HEARTH_HTTP_CLIENT_H

#include "core/arena.h"
#include "core/err.h"
#include "http/head.h"
#include "io/loop.h"

struct http_origin {                    /* where to connect; strings are copied */
    bool tls;
    char host[256];
    uint16_t port;
    char unix_path[108];                /* not empty: a Unix socket; host is then only the Host field */
    char base[256];                     /* path prefix without a slash at the end: "" or "/v1" */
    char proxy[256];                    /* "": none and environment ignored; "env": as the environment says; else a URL */
    char ca_file[256];                  /* "": the system's */
    bool only_loopback, only_private;   /* verify the address that was reached (not through a proxy): else ERR_FORBIDDEN */
};
/* "http://127.0.0.1:11434/v1", "https://api.example.com/v1", "unix:/path/engine.sock" */
enum err http_origin_parse(str url, struct http_origin *out);

struct http_client_limits {
    int64_t connect_ms;                 /* default 10,000 */
    int64_t first_byte_ms;              /* from the request being sent to the head; default 600,000 */
    int64_t gap_ms;                     /* between two pieces; default 120,000 */
    int64_t idle_ms;                    /* an unused connection is kept; default 60,000 */
    size_t idle_max;                    /* kept per origin; default 1024, all of them: making one costs as much as a call, with TLS much more */
    size_t open_max;                    /* per origin; past it exchanges wait; default 1024 */
    size_t head;                        /* bytes of a reply's head; default 64 KiB */
};
extern const struct http_client_limits http_client_limits_default;

struct http_pool;                       /* one origin on one loop */
enum err http_pool_new(struct io_loop *l, const struct http_origin *o, const struct http_client_limits *lim, struct http_pool **out);
void http_pool_close(struct http_pool *p, void (*on_closed)(void *ctx), void *ctx);  /* running exchanges end with ERR_CUT first */

struct http_exchange;
struct http_client_events {
    void (*on_head)(void *ctx, const struct http_head *h);           /* once, the final head (1xx are skipped); lives until on_end */
    void (*on_data)(void *ctx, str data);                            /* pieces of the body, framing removed; lives during the call */
    void (*on_end)(void *ctx, enum err e, const char *detail);       /* once, last: ERR_OK, or ERR_REFUSED, _TLS, _DEADLINE, _CUT, _UPSTREAM, _FORBIDDEN; frees the exchange */
};
struct http_request {
    str method, target;                 /* target is appended to the origin's base */
    bool beside;                        /* in place of the base's last segment: "/v1" and "/tokenize" are "/tokenize" */
    str fields;                         /* "Name: value\r\n" lines beside Host, Content-Length, Connection */
    const str *body;                    /* slices, sent in order; must live until on_end */
    size_t n_body;
    int64_t first_byte_ms, gap_ms;      /* 0: as the limits say */
};
/* The events never come before this returns. */
enum err http_exchange_start(struct http_pool *p, const struct http_request *rq, const struct http_client_events *ev, void *ctx,
                             struct http_exchange **out);
void http_exchange_pause(struct http_exchange *x, bool paused);      /* while paused the gap deadline does not run */
void http_exchange_cancel(struct http_exchange *x);                  /* closes its connection now; no further event, not even on_end */
bool http_exchange_reused(const struct http_exchange *x);

#endif
