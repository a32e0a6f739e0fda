/* http/connect.c: libcurl's multi interface on our loop, as far as the connection goes.
 *
 * Every attempt has a multi handle of its own. In a shared one libcurl takes a connect-only connection for an idle one of its
 * pool: when the next connection is made it closes those that are older than 118 s or look dead, while they are in use here, and
 * the descriptor's number goes to another connection. What attempts may share (names, TLS sessions) is in a share handle. */
#include "http/connect.h"

#include "io/socket.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UNIX_AGAIN_MS = 5 };

struct maker {
    struct io_loop *loop;
    struct http_origin o;
    int64_t connect_ms;
    struct maker_events ev;
    void *ctx;
    CURLSH *share;
    struct io_timer soon;               /* Unix sockets: the answer comes in the next turn */
    int unix_asked;
    int64_t unix_full_ms;               /* since when the listener's queue is full; 0: it is not */
    struct attempt *attempts;           /* connecting */
    int handles;                        /* not closed yet: attempts and the timer */
    bool closing;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

struct sock {                           /* a socket that libcurl wants watched while it connects */
    struct io_watch watch;
    struct attempt *attempt;
    struct sock *next, **back;
};

struct attempt {                        /* from the wish to the end of its link */
    struct maker *maker;
    struct attempt *next, **back;       /* in maker->attempts while it connects */
    CURLM *multi;
    CURL *easy;
    struct io_timer timer;              /* what libcurl asks for */
    struct sock *socks;
    int handles;                        /* not closed yet: the timer and socks */
    bool ended;
    char error[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode once_result;
static void init(void) { once_result = curl_global_init(CURL_GLOBAL_DEFAULT); }

/* ---- addresses ---- */

static bool is_private4(uint32_t a, bool only_loopback)
{
    if (a >> 24 == 127)
        return true;
    return !only_loopback && (a >> 24 == 10 || a >> 20 == 0xAC1 || a >> 16 == 0xC0A8 || a >> 16 == 0xA9FE || a >> 22 == 0x191);     /* RFC 1918, 3927, 6598 */
}

/* Was an address reached that the zone allows? What a name resolves to is nobody's promise. */
static bool is_near(int fd, bool only_loopback)
{
    union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } u;
    socklen_t n = sizeof u;
    if (getpeername(fd, &u.any, &n))
        return false;
    if (u.any.sa_family == AF_INET)
        return is_private4(ntohl(u.v4.sin_addr.s_addr), only_loopback);
    if (u.any.sa_family != AF_INET6)
        return false;
    const struct in6_addr *a = &u.v6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(a))
        return is_private4((uint32_t)a->s6_addr[12] << 24 | (uint32_t)a->s6_addr[13] << 16 | (uint32_t)a->s6_addr[14] << 8 | a->s6_addr[15], only_loopback);
    return IN6_IS_ADDR_LOOPBACK(a) || (!only_loopback && (IN6_IS_ADDR_LINKLOCAL(a) || (a->s6_addr[0] & 0xFE) == 0xFC));
}

/* ---- attempts ---- */

static enum err code_of(CURLcode c)
{
    switch (c) {
    case CURLE_OK: return ERR_OK;
    case CURLE_PEER_FAILED_VERIFICATION: case CURLE_SSL_CONNECT_ERROR: case CURLE_SSL_CACERT_BADFILE: case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR: case CURLE_SSL_INVALIDCERTSTATUS: return ERR_TLS;
    case CURLE_OPERATION_TIMEDOUT: return ERR_DEADLINE;
    case CURLE_OUT_OF_MEMORY: return ERR_MEMORY;
    default: return ERR_REFUSED;
    }
}

static void maker_check(struct maker *m)
{
    if (!m->closing || m->handles)
        return;
    void (*on_closed)(void *) = m->on_closed;
    void *ctx = m->closed_ctx;
    curl_share_cleanup(m->share);
    free(m);
    on_closed(ctx);
}

static void attempt_check(struct attempt *t)
{
    struct maker *m = t->maker;
    if (!t->ended || t->handles)
        return;
    free(t);
    m->handles--;
    maker_check(m);
}

static void attempt_on_timer_closed(struct io_timer *timer)
{
    struct attempt *t = (struct attempt *)((char *)timer - offsetof(struct attempt, timer));
    t->handles--;
    attempt_check(t);
}

static void sock_on_closed(struct io_watch *w)
{
    struct attempt *t = ((struct sock *)w)->attempt;
    free(w);
    t->handles--;
    attempt_check(t);
}

static void sock_drop(struct sock *s)
{
    *s->back = s->next;
    if (s->next)
        s->next->back = s->back;
    io_watch_close(&s->watch, sock_on_closed);
}

/* No longer among those that connect. */
static void attempt_unlink(struct attempt *t)
{
    if (!t->back)
        return;
    *t->back = t->next;
    if (t->next)
        t->next->back = t->back;
    t->back = NULL;
}

/* Closes what libcurl has of it, its connection too. */
static void attempt_end(struct attempt *t)
{
    attempt_unlink(t);
    curl_multi_remove_handle(t->multi, t->easy);
    curl_easy_cleanup(t->easy);
    curl_multi_cleanup(t->multi);
    while (t->socks)
        sock_drop(t->socks);
    t->ended = true;
    io_timer_close(&t->timer, attempt_on_timer_closed);
}

/* The connection's link. A plain socket is ours from here on, by a descriptor of our own. */
static enum err attempt_link(struct attempt *t, struct link *out)
{
    const struct http_origin *o = &t->maker->o;
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD)
        return ERR_REFUSED;
    if ((o->only_loopback || o->only_private) && !is_near(fd, o->only_loopback))
        return ERR_FORBIDDEN;
    if (o->tls || *o->proxy) {
        *out = (struct link){ fd, t };
        return ERR_OK;
    }
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    *out = (struct link){ own, NULL };
    return own < 0 ? ERR_IO : ERR_OK;
}

static void attempt_finish(struct attempt *t, CURLcode result)
{
    struct maker *m = t->maker;
    struct link l;
    enum err e = result == CURLE_OK ? attempt_link(t, &l) : code_of(result);
    if (e == ERR_OK) {
        attempt_unlink(t);
        io_timer_stop(&t->timer);
        if (!l.via)
            attempt_end(t);
        m->ev.on_link(m->ctx, ERR_OK, NULL, &l);
        return;
    }
    char detail[CURL_ERROR_SIZE];
    snprintf(detail, sizeof detail, "%s", e == ERR_FORBIDDEN ? m->o.only_loopback ? "the provider's zone is machine, but its address is not on this machine"
                                                                                  : "the provider's zone is private, but its address is a public one"
                                          : result == CURLE_OK ? "the connection was lost at once"
                                          : *t->error ? t->error : curl_easy_strerror(result));
    attempt_end(t);
    m->ev.on_link(m->ctx, e, detail, NULL);
}

/* libcurl must not be called from its own callbacks, so the result is fetched here, after it has returned. */
static void attempt_act(struct attempt *t, curl_socket_t fd, int events)
{
    int running, left;
    curl_multi_socket_action(t->multi, fd, events, &running);
    CURLMsg *msg = curl_multi_info_read(t->multi, &left);
    if (msg && msg->msg == CURLMSG_DONE)
        attempt_finish(t, msg->data.result);
}

static void sock_on_ready(struct io_watch *w, int events)
{
    attempt_act(((struct sock *)w)->attempt, w->fd, (events & IO_READ ? CURL_CSELECT_IN : 0) | (events & IO_WRITE ? CURL_CSELECT_OUT : 0));
}

static void attempt_on_timer(struct io_timer *timer)
{
    attempt_act((struct attempt *)((char *)timer - offsetof(struct attempt, timer)), CURL_SOCKET_TIMEOUT, 0);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *unused)
{
    (void)easy;
    (void)unused;
    struct attempt *t = ctx;
    struct sock *s = t->socks;
    while (s && s->watch.fd != fd)
        s = s->next;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            sock_drop(s);
        return 0;
    }
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s || io_watch_init(t->maker->loop, &s->watch, fd, sock_on_ready) != ERR_OK) {
            free(s);
            return -1;
        }
        s->attempt = t;
        s->next = t->socks;
        s->back = &t->socks;
        if (s->next)
            s->next->back = &s->next;
        t->socks = s;
        t->handles++;
    }
    io_watch_set(&s->watch, (what & CURL_POLL_IN ? IO_READ : 0) | (what & CURL_POLL_OUT ? IO_WRITE : 0));
    return 0;
}

static int on_timer_wanted(CURLM *multi, long ms, void *ctx)
{
    (void)multi;
    struct attempt *t = ctx;
    if (ms < 0)
        io_timer_stop(&t->timer);
    else
        io_timer_start(&t->timer, ms);
    return 0;
}

/* ---- Unix sockets ---- */

/* A listener whose queue is full answers EAGAIN, not "later": so we ask again ourselves. */
static bool unix_is_full(struct maker *m)
{
    int64_t now = io_now_ms(m->loop);
    if (!m->unix_full_ms)
        m->unix_full_ms = now;
    return now - m->unix_full_ms < m->connect_ms;
}

static void on_soon(struct io_timer *timer)
{
    struct maker *m = (struct maker *)((char *)timer - offsetof(struct maker, soon));
    for (int n = m->unix_asked; n > 0 && !m->closing; n--) {
        struct link l = { 0 };
        errno = 0;
        enum err e = io_connect_unix(m->o.unix_path, &l.fd);
        bool full = e != ERR_OK && errno == EAGAIN;
        if (full && unix_is_full(m)) {
            io_timer_start(&m->soon, UNIX_AGAIN_MS);
            return;
        }
        m->unix_full_ms = 0;
        m->unix_asked--;
        m->ev.on_link(m->ctx, full ? ERR_DEADLINE : e, full ? "the socket's queue is full" : e ? "nobody answers on the socket" : NULL, e == ERR_OK ? &l : NULL);
    }
}

/* ---- the maker ---- */

enum err maker_new(struct io_loop *l, const struct http_origin *o, int64_t connect_ms, const struct maker_events *ev, void *ctx, struct maker **out)
{
    pthread_once(&once, init);
    if (once_result != CURLE_OK)
        return ERR_MEMORY;
    struct maker *m = calloc(1, sizeof *m);
    CURLSH *share = m && !*o->unix_path ? curl_share_init() : NULL;
    if (!m || (!*o->unix_path && !share)) {
        free(m);
        return ERR_MEMORY;
    }
    *m = (struct maker){ .loop = l, .o = *o, .connect_ms = connect_ms, .ev = *ev, .ctx = ctx, .handles = 1, .share = share };
    if (share) {                        /* one thread, so it needs no locks */
        curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
        curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    }
    /* What must stay near is never reached through a proxy of the environment. */
    if ((o->only_loopback || o->only_private) && !strcmp(o->proxy, "env"))
        m->o.proxy[0] = '\0';
    io_timer_init(l, &m->soon, on_soon);
    *out = m;
    return ERR_OK;
}

static bool configure_multi(struct attempt *t)
{
    CURLM *c = t->multi;
    return curl_multi_setopt(c, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK && curl_multi_setopt(c, CURLMOPT_SOCKETDATA, t) == CURLM_OK &&
           curl_multi_setopt(c, CURLMOPT_TIMERFUNCTION, on_timer_wanted) == CURLM_OK && curl_multi_setopt(c, CURLMOPT_TIMERDATA, t) == CURLM_OK;
}

static bool set(CURL *c, CURLoption option, long value) { return curl_easy_setopt(c, option, value) == CURLE_OK; }
static bool set_text(CURL *c, CURLoption option, const char *value) { return curl_easy_setopt(c, option, value) == CURLE_OK; }

/* "" switches off the environment, too; so does a URL, whose exceptions are then ours: none. A proxy gets a tunnel, so that what
 * passes it is the same bytes. */
static bool configure_proxy(const struct http_origin *o, CURL *c)
{
    if (!set(c, CURLOPT_HTTPPROXYTUNNEL, 1L))
        return false;
    if (!strcmp(o->proxy, "env"))
        return true;
    return set_text(c, CURLOPT_PROXY, o->proxy) && (!*o->proxy || set_text(c, CURLOPT_NOPROXY, ""));
}

static bool configure(struct attempt *t)
{
    const struct http_origin *o = &t->maker->o;
    CURL *c = t->easy;
    char url[600];
    bool v6 = strchr(o->host, ':') != NULL;
    snprintf(url, sizeof url, "%s://%s%s%s:%u/", o->tls ? "https" : "http", v6 ? "[" : "", o->host, v6 ? "]" : "", o->port);
    bool ok = set_text(c, CURLOPT_URL, url) && set(c, CURLOPT_CONNECT_ONLY, 1L) && set(c, CURLOPT_NOSIGNAL, 1L) && set(c, CURLOPT_TCP_NODELAY, 1L);
    ok = ok && set(c, CURLOPT_CONNECTTIMEOUT_MS, (long)t->maker->connect_ms) && curl_easy_setopt(c, CURLOPT_SHARE, t->maker->share) == CURLE_OK;
    /* A name server that is silent must not hold the loop when its attempt is given up. */
    ok = ok && set(c, CURLOPT_QUICK_EXIT, 1L);
    ok = ok && set(c, CURLOPT_SSL_VERIFYPEER, 1L) && set(c, CURLOPT_SSL_VERIFYHOST, 2L) && set(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    ok = ok && set_text(c, CURLOPT_ERRORBUFFER, t->error);
    if (ok && *o->ca_file)              /* this file alone: the built-in folder would be trusted beside it */
        ok = set_text(c, CURLOPT_CAINFO, o->ca_file) && set_text(c, CURLOPT_CAPATH, NULL);
    return ok && configure_proxy(o, c);
}

enum err maker_connect(struct maker *m)
{
    if (*m->o.unix_path) {
        m->unix_asked++;
        if (!m->unix_full_ms)
            io_timer_start(&m->soon, 0);
        return ERR_OK;
    }
    if ((m->o.only_loopback || m->o.only_private) && *m->o.proxy)
        return ERR_FORBIDDEN;           /* the address behind a proxy cannot be looked at */
    struct attempt *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_MEMORY;
    *t = (struct attempt){ .maker = m, .handles = 1, .multi = curl_multi_init(), .easy = curl_easy_init() };
    if (!t->multi || !t->easy || !configure_multi(t) || !configure(t)) {
        curl_easy_cleanup(t->easy);
        curl_multi_cleanup(t->multi);
        free(t);
        return ERR_MEMORY;
    }
    m->handles++;
    io_timer_init(m->loop, &t->timer, attempt_on_timer);
    t->next = m->attempts;
    t->back = &m->attempts;
    if (t->next)
        t->next->back = &t->next;
    m->attempts = t;
    if (curl_multi_add_handle(t->multi, t->easy) == CURLM_OK)
        return ERR_OK;
    attempt_end(t);
    return ERR_MEMORY;
}

static void on_soon_closed(struct io_timer *timer)
{
    struct maker *m = (struct maker *)((char *)timer - offsetof(struct maker, soon));
    m->handles--;
    maker_check(m);
}

void maker_close(struct maker *m, void (*on_closed)(void *ctx), void *ctx)
{
    m->on_closed = on_closed;
    m->closed_ctx = ctx;
    m->closing = true;
    while (m->attempts)                 /* what is still connecting */
        attempt_end(m->attempts);
    io_timer_close(&m->soon, on_soon_closed);
}

/* ---- bytes ---- */

static enum err tls_send(struct link *l, const struct iovec *iov, int n_iov, size_t *n)
{
    for (int i = 0; i < n_iov; i++) {
        size_t sent = 0;
        if (!iov[i].iov_len)
            continue;
        CURLcode c = curl_easy_send(l->via->easy, iov[i].iov_base, iov[i].iov_len, &sent);
        *n += sent;
        if (c == CURLE_AGAIN || (c == CURLE_OK && sent < iov[i].iov_len))
            return *n ? ERR_OK : ERR_AGAIN;
        if (c != CURLE_OK)
            return ERR_CUT;
    }
    return ERR_OK;
}

enum err link_send(struct link *l, const struct iovec *iov, int n_iov, size_t *n)
{
    *n = 0;
    if (l->via)
        return tls_send(l, iov, n_iov, n);
    struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n_iov };
    ssize_t sent = sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
        *n = (size_t)sent;
        return ERR_OK;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? ERR_AGAIN : ERR_CUT;
}

enum err link_recv(struct link *l, char *to, size_t room, size_t *n)
{
    *n = 0;
    if (l->via) {
        CURLcode c = curl_easy_recv(l->via->easy, to, room, n);
        return c == CURLE_AGAIN ? ERR_AGAIN : c == CURLE_OK ? ERR_OK : ERR_CUT;
    }
    ssize_t got = recv(l->fd, to, room, MSG_DONTWAIT);
    if (got >= 0) {
        *n = (size_t)got;
        return ERR_OK;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? ERR_AGAIN : ERR_CUT;
}

void link_close(struct link *l)
{
    if (l->via)
        attempt_end(l->via);
    else
        close(l->fd);
    *l = (struct link){ .fd = -1 };
}

/* ---- URLs ---- */

static bool copy(char *to, size_t room, str s)
{
    if (s.n >= room || str_index(s, '\0') < s.n)
        return false;
    if (s.n)
        memcpy(to, s.p, s.n);
    to[s.n] = '\0';
    return true;
}

enum err http_origin_parse(str url, struct http_origin *out)
{
    struct http_origin o = { 0 };
    str rest, host, path, port = STR_NONE;
    uint64_t number;
    if (str_starts(url, S("unix:"))) {
        bool ok = url.n > 5 && copy(o.unix_path, sizeof o.unix_path, str_skip(url, 5)) && copy(o.host, sizeof o.host, S("localhost"));
        if (ok)
            *out = o;
        return ok ? ERR_OK : ERR_SYNTAX;
    }
    o.tls = str_starts(url, S("https://"));
    if (!o.tls && !str_starts(url, S("http://")))
        return ERR_SYNTAX;
    rest = str_skip(url, o.tls ? 8 : 7);
    size_t slash = str_index(rest, '/');
    host = (str){ rest.p, slash };
    path = str_skip(rest, slash);
    for (size_t i = 0; i < url.n; i++)
        if ((unsigned char)url.p[i] <= ' ' || (unsigned char)url.p[i] >= 0x7F || memchr("@?#\\\"<>", url.p[i], 7))
            return ERR_SYNTAX;          /* no credentials, no query: they would end up in places that are printed */
    if (host.n && host.p[0] == '[') {
        str inside;
        if (!str_cut(str_skip(host, 1), ']', &inside, &port) || (port.n && port.p[0] != ':'))
            return ERR_SYNTAX;
        host = inside;
        port = str_skip(port, 1);
    } else {
        str_cut(host, ':', &host, &port);
    }
    o.port = o.tls ? 443 : 80;
    if (port.n) {
        if (!str_u64(port, &number) || !number || number > 65535)
            return ERR_SYNTAX;
        o.port = (uint16_t)number;
    }
    while (path.n && path.p[path.n - 1] == '/')
        path.n--;
    if (!host.n || !copy(o.host, sizeof o.host, host) || !copy(o.base, sizeof o.base, path))
        return ERR_SYNTAX;
    *out = o;
    return ERR_OK;
}
