/* http/connect.c: libcurl's multi interface on our loop, as far as the connection goes. */
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

struct maker {
    struct io_loop *loop;
    struct http_origin o;
    int64_t connect_ms;
    struct maker_events ev;
    void *ctx;
    CURLM *multi;
    struct io_timer timer;              /* what libcurl asks for */
    struct io_timer soon;               /* Unix sockets: the answer comes in the next turn */
    int unix_asked;
    struct sock *socks;
    struct attempt *attempts;
    int handles;                        /* not closed yet */
    bool closing;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

struct sock {                           /* a socket that libcurl wants watched while it connects */
    struct io_watch watch;
    struct maker *maker;
    struct sock *next, **back;
};

struct attempt {                        /* one easy handle, from the wish to the end of its link */
    struct attempt *next, **back;
    CURL *easy;
    char error[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void init(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

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
    union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } u = { .any.sa_family = AF_UNSPEC };
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

/* ---- libcurl's side ---- */

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

static void drop(struct maker *m, CURL *easy)
{
    struct attempt *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
    curl_multi_remove_handle(m->multi, easy);
    curl_easy_cleanup(easy);
    *t->back = t->next;
    if (t->next)
        t->next->back = t->back;
    free(t);
}

/* A connection that no transfer of libcurl's own uses is idle to it: while it makes another one, it closes those that are older than 118 s or
 * whose peer has ended them, whoever uses them, and the number of the descriptor is soon somebody else's. So what is watched is a descriptor
 * of our own, and a plain connection is taken away from libcurl altogether. */
static void hand_over(struct maker *m, CURL *easy, int fd)
{
    struct link l = { .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0), .easy = easy, .tls = m->o.tls };
    if (l.fd < 0 || !l.tls) {
        drop(m, easy);
        l.easy = NULL;
    }
    m->ev.on_link(m->ctx, l.fd < 0 ? ERR_MEMORY : ERR_OK, l.fd < 0 ? "no descriptor is left for this connection" : NULL, l.fd < 0 ? NULL : &l);
}

static void finished(struct maker *m, CURL *easy, CURLcode result)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    struct attempt *t = NULL;
    enum err e = code_of(result);
    if (e == ERR_OK && (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD))
        e = ERR_REFUSED;
    if (e == ERR_OK && (m->o.only_loopback || m->o.only_private) && !is_near(fd, m->o.only_loopback)) {
        drop(m, easy);
        m->ev.on_link(m->ctx, ERR_FORBIDDEN, m->o.only_loopback ? "the provider's zone is machine, but its address is not on this machine"
                                                                : "the provider's zone is private, but its address is a public one", NULL);
        return;
    }
    if (e != ERR_OK) {
        char detail[CURL_ERROR_SIZE + 8];
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
        snprintf(detail, sizeof detail, "%s", *t->error ? t->error : curl_easy_strerror(result));
        drop(m, easy);
        m->ev.on_link(m->ctx, e, detail, NULL);
        return;
    }
    hand_over(m, easy, fd);
}

static void collect(struct maker *m)
{
    int left;
    CURLMsg *msg;
    while ((msg = curl_multi_info_read(m->multi, &left)))
        if (msg->msg == CURLMSG_DONE)
            finished(m, msg->easy_handle, msg->data.result);
}

static void sock_on_ready(struct io_watch *w, int events)
{
    struct maker *m = ((struct sock *)w)->maker;
    int running;
    curl_multi_socket_action(m->multi, w->fd, (events & IO_READ ? CURL_CSELECT_IN : 0) | (events & IO_WRITE ? CURL_CSELECT_OUT : 0), &running);
    collect(m);
}

static void maker_check(struct maker *m);

static void sock_on_closed(struct io_watch *w)
{
    struct maker *m = ((struct sock *)w)->maker;
    free(w);
    m->handles--;
    maker_check(m);
}

static struct sock *sock_of(struct maker *m, curl_socket_t fd)
{
    for (struct sock *s = m->socks; s; s = s->next)
        if (s->watch.fd == fd)
            return s;
    return NULL;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *unused)
{
    (void)easy;
    (void)unused;
    struct maker *m = ctx;
    struct sock *s = sock_of(m, fd);
    if (what == CURL_POLL_REMOVE) {
        if (!s)
            return 0;
        *s->back = s->next;
        if (s->next)
            s->next->back = s->back;
        io_watch_close(&s->watch, sock_on_closed);
        return 0;
    }
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s || io_watch_init(m->loop, &s->watch, fd, sock_on_ready) != ERR_OK) {
            free(s);
            return -1;
        }
        s->maker = m;
        s->next = m->socks;
        s->back = &m->socks;
        if (s->next)
            s->next->back = &s->next;
        m->socks = s;
        m->handles++;
    }
    io_watch_set(&s->watch, (what & CURL_POLL_IN ? IO_READ : 0) | (what & CURL_POLL_OUT ? IO_WRITE : 0));
    return 0;
}

static int on_timer_wanted(CURLM *multi, long ms, void *ctx)
{
    (void)multi;
    struct maker *m = ctx;
    if (ms < 0)
        io_timer_stop(&m->timer);
    else
        io_timer_start(&m->timer, ms);
    return 0;
}

static void on_timer(struct io_timer *t)
{
    struct maker *m = (struct maker *)((char *)t - offsetof(struct maker, timer));
    int running;
    curl_multi_socket_action(m->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(m);
}

/* ---- Unix sockets ---- */

static void on_soon(struct io_timer *t)
{
    struct maker *m = (struct maker *)((char *)t - offsetof(struct maker, soon));
    int n = m->unix_asked;
    m->unix_asked = 0;
    while (n-- > 0) {
        struct link l = { 0 };
        enum err e = io_connect_unix(m->o.unix_path, &l.fd);
        m->ev.on_link(m->ctx, e, e == ERR_OK ? NULL : "nobody answers on the socket", e == ERR_OK ? &l : NULL);
    }
}

/* ---- the maker ---- */

enum err maker_new(struct io_loop *l, const struct http_origin *o, int64_t connect_ms, const struct maker_events *ev, void *ctx, struct maker **out)
{
    pthread_once(&once, init);
    struct maker *m = calloc(1, sizeof *m);
    if (!m)
        return ERR_MEMORY;
    *m = (struct maker){ .loop = l, .o = *o, .connect_ms = connect_ms, .ev = *ev, .ctx = ctx, .handles = 2 };
    if (!*o->unix_path && !(m->multi = curl_multi_init())) {
        free(m);
        return ERR_MEMORY;
    }
    io_timer_init(l, &m->timer, on_timer);
    io_timer_init(l, &m->soon, on_soon);
    if (m->multi) {
        curl_multi_setopt(m->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(m->multi, CURLMOPT_SOCKETDATA, m);
        curl_multi_setopt(m->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
        curl_multi_setopt(m->multi, CURLMOPT_TIMERDATA, m);
    }
    *out = m;
    return ERR_OK;
}

/* libcurl's own are not close-on-exec, and an engine that is started shall not have our connections. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)ctx;
    (void)purpose;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static bool configure(struct maker *m, CURL *c, struct attempt *t)
{
    char url[600];
    bool v6 = strchr(m->o.host, ':') != NULL;
    snprintf(url, sizeof url, "%s://%s%s%s:%u/", m->o.tls ? "https" : "http", v6 ? "[" : "", m->o.host, v6 ? "]" : "", m->o.port);
    bool ok = curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK && curl_easy_setopt(c, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)m->connect_ms) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, (long)INT32_MAX) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->error) == CURLE_OK && curl_easy_setopt(c, CURLOPT_PRIVATE, (char *)t) == CURLE_OK;
    if (ok && *m->o.ca_file)
        ok = curl_easy_setopt(c, CURLOPT_CAINFO, m->o.ca_file) == CURLE_OK;
    /* "" switches off the environment, too. A proxy gets a tunnel, so that what passes it is the same bytes. */
    if (ok && strcmp(m->o.proxy, "env") != 0)
        ok = curl_easy_setopt(c, CURLOPT_PROXY, m->o.proxy) == CURLE_OK;
    return ok && curl_easy_setopt(c, CURLOPT_HTTPPROXYTUNNEL, 1L) == CURLE_OK;
}

enum err maker_connect(struct maker *m)
{
    if (!m->multi) {
        m->unix_asked++;
        io_timer_start(&m->soon, 0);
        return ERR_OK;
    }
    struct attempt *t = calloc(1, sizeof *t);
    CURL *c = t ? curl_easy_init() : NULL;
    if (!c || !configure(m, c, t) || curl_multi_add_handle(m->multi, c) != CURLM_OK) {
        if (c)
            curl_easy_cleanup(c);
        free(t);
        return ERR_MEMORY;
    }
    t->easy = c;
    t->next = m->attempts;
    t->back = &m->attempts;
    if (t->next)
        t->next->back = &t->next;
    m->attempts = t;
    return ERR_OK;
}

static void maker_check(struct maker *m)
{
    if (!m->closing || m->handles)
        return;
    void (*on_closed)(void *) = m->on_closed;
    void *ctx = m->closed_ctx;
    free(m);
    on_closed(ctx);
}

static void on_timer_closed(struct io_timer *t)
{
    struct maker *m = (struct maker *)((char *)t - offsetof(struct maker, timer));
    m->handles--;
    maker_check(m);
}

static void on_soon_closed(struct io_timer *t)
{
    struct maker *m = (struct maker *)((char *)t - offsetof(struct maker, soon));
    m->handles--;
    maker_check(m);
}

void maker_close(struct maker *m, void (*on_closed)(void *ctx), void *ctx)
{
    m->on_closed = on_closed;
    m->closed_ctx = ctx;
    while (m->attempts)                 /* what is still connecting */
        drop(m, m->attempts->easy);
    if (m->multi)
        curl_multi_cleanup(m->multi);
    m->multi = NULL;
    while (m->socks) {
        struct sock *s = m->socks;
        m->socks = s->next;
        io_watch_close(&s->watch, sock_on_closed);
    }
    m->closing = true;
    io_timer_close(&m->timer, on_timer_closed);
    io_timer_close(&m->soon, on_soon_closed);
}

/* ---- bytes ---- */

static enum err tls_send(struct link *l, const struct iovec *iov, int n_iov, size_t *n)
{
    for (int i = 0; i < n_iov; i++) {
        size_t sent = 0;
        if (!iov[i].iov_len)
            continue;
        CURLcode c = curl_easy_send(l->easy, iov[i].iov_base, iov[i].iov_len, &sent);
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
    if (l->tls)
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
    if (l->tls) {
        CURLcode c = curl_easy_recv(l->easy, to, room, n);
        return c == CURLE_AGAIN ? ERR_AGAIN : c == CURLE_OK && *n ? ERR_OK : ERR_CUT;
    }
    ssize_t got = recv(l->fd, to, room, MSG_DONTWAIT);
    if (got > 0) {
        *n = (size_t)got;
        return ERR_OK;
    }
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? ERR_AGAIN : ERR_CUT;
}

void link_close(struct maker *m, struct link *l)
{
    if (l->easy)
        drop(m, l->easy);
    close(l->fd);
    l->easy = NULL;
    l->fd = -1;
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
