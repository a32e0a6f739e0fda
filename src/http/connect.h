/* http/connect.h: connections made by libcurl, and bytes over them; private to the client. Includes: core, io, libcurl (in the .c).
 *
 * A maker belongs to one origin on one loop. libcurl resolves, connects, speaks to proxies and does TLS, in connect-only mode and
 * without blocking; plain sockets are then ours alone, read and written by system calls, TLS goes through curl_easy_send() and curl_easy_recv()
 * (curl, "CURLOPT_CONNECT_ONLY"). Unix sockets are connected without libcurl. */
#ifndef HEARTH_HTTP_CONNECT_H
#define HEARTH_HTTP_CONNECT_H

#include "http/client.h"

#include <sys/uio.h>

struct link {
    int fd;                             /* ours */
    void *easy;                         /* TLS: libcurl's handle, which has a descriptor of its own for the same connection; else NULL */
    bool tls;
};

struct maker;
struct maker_events {
    /* One connection asked for is there (ERR_OK, the link is the taker's) or failed. Never before maker_connect() returns. */
    void (*on_link)(void *ctx, enum err e, const char *detail, const struct link *l);
};
enum err maker_new(struct io_loop *l, const struct http_origin *o, int64_t connect_ms, const struct maker_events *ev, void *ctx, struct maker **out);
enum err maker_connect(struct maker *m);
void maker_close(struct maker *m, void (*on_closed)(void *ctx), void *ctx);      /* all links must have been closed */

/* Bytes moved, 0 for "not now" (ERR_AGAIN), or ERR_CUT. The end of the other side is ERR_CUT with *n = 0. */
enum err link_send(struct link *l, const struct iovec *iov, int n_iov, size_t *n);
enum err link_recv(struct link *l, char *to, size_t room, size_t *n);
void link_close(struct maker *m, struct link *l);                                /* its watch must be closed already */

#endif
