/* io/socket.c: addresses and sockets, by the system calls themselves. */
#include "io/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

static bool is_loopback(const union address *u)
{
    if (u->any.sa_family == AF_INET)
        return (ntohl(u->v4.sin_addr.s_addr) >> 24) == 127;
    return u->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&u->v6.sin6_addr);
}

/* The socket address of `a`; 0 when its host is not numeric. */
static socklen_t to_system(const struct io_addr *a, union address *u)
{
    *u = (union address){ 0 };
    if (a->is_unix) {
        size_t n = strnlen(a->host, sizeof a->host);
        if (!n || n >= sizeof u->un.sun_path)
            return 0;
        u->un.sun_family = AF_UNIX;
        memcpy(u->un.sun_path, a->host, n + 1);
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    }
    if (inet_pton(AF_INET, a->host, &u->v4.sin_addr) == 1) {
        u->v4.sin_family = AF_INET;
        u->v4.sin_port = htons(a->port);
        return sizeof u->v4;
    }
    if (inet_pton(AF_INET6, a->host, &u->v6.sin6_addr) == 1) {
        u->v6.sin6_family = AF_INET6;
        u->v6.sin6_port = htons(a->port);
        return sizeof u->v6;
    }
    return 0;
}

enum err io_addr_parse(str text, struct io_addr *out)
{
    struct io_addr a = { 0 };
    union address u;
    str host = text, port = STR_NONE;
    uint64_t number;
    if (str_starts(text, S("unix:"))) {
        host = str_skip(text, 5);
        a.is_unix = a.loopback = true;
    } else if (text.n && text.p[0] == '[') {
        if (!str_cut(str_skip(text, 1), ']', &host, &port) || !port.n || port.p[0] != ':')
            return ERR_SYNTAX;
        port = str_skip(port, 1);
    } else if (!str_cut(text, ':', &host, &port)) {
        return ERR_SYNTAX;
    }
    if (!host.n || host.n >= sizeof a.host || str_index(host, '\0') < host.n)
        return ERR_SYNTAX;
    memcpy(a.host, host.p, host.n);
    if (!a.is_unix) {
        if (str_eq(host, S("localhost")))
            memcpy(a.host, "127.0.0.1", sizeof "127.0.0.1");
        if (!str_u64(port, &number) || number > 65535)
            return ERR_SYNTAX;
        a.port = (uint16_t)number;
    }
    if (!to_system(&a, &u))
        return ERR_SYNTAX;
    a.loopback = a.is_unix || is_loopback(&u);
    *out = a;
    return ERR_OK;
}

/* A socket file on which nobody answers is a left-over: it is removed. */
static bool unix_is_stale(const char *path)
{
    int fd;
    if (io_connect_unix(path, &fd) == ERR_OK) {
        close(fd);
        return false;
    }
    struct stat st;
    return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && unlink(path) == 0;
}

enum err io_listen(const struct io_addr *a, int backlog, int *fd)
{
    union address u;
    int one = 1;
    socklen_t n = to_system(a, &u);
    if (!n)
        return ERR_SYNTAX;
    int s = socket(u.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return ERR_IO;
    if (!a->is_unix)
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    mode_t before = a->is_unix ? umask(0177) : 0;
    int failed = bind(s, &u.any, n);
    if (failed && errno == EADDRINUSE && a->is_unix) {
        failed = unix_is_stale(a->host) ? bind(s, &u.any, n) : -1;
        errno = failed ? EADDRINUSE : 0;        /* and not what looking at it has left */
    }
    if (a->is_unix)
        umask(before);
    if (failed || listen(s, backlog)) {
        int why = errno;
        close(s);
        errno = why;
        return why == EADDRINUSE ? ERR_BUSY : ERR_IO;
    }
    *fd = s;
    return ERR_OK;
}

bool io_inherit(int *fd)
{
    uint64_t pid = 0;
    struct sockaddr_storage at = { .ss_family = 0 };
    socklen_t n = sizeof at;
    const char *fds = getenv("LISTEN_FDS"), *whose = getenv("LISTEN_PID");
    bool ours = fds && whose && strcmp(fds, "1") == 0 && str_u64(str_of(whose), &pid) && pid == (uint64_t)getpid() && getsockname(3, (struct sockaddr *)&at, &n) == 0;
    unsetenv("LISTEN_FDS");             /* neither engines nor programs that we run shall think that it is theirs */
    unsetenv("LISTEN_PID");
    if (!ours)
        return false;
    bool loopback = at.ss_family == AF_INET    ? (ntohl(((struct sockaddr_in *)&at)->sin_addr.s_addr) >> 24) == 127
                    : at.ss_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&at)->sin6_addr)
                                               : false;
    if (!loopback || (*fd = fcntl(3, F_DUPFD_CLOEXEC, 10)) < 0)
        return false;
    close(3);
    return fcntl(*fd, F_SETFL, O_NONBLOCK) == 0;
}

enum err io_bound_port(int fd, uint16_t *port)
{
    union address u = { .any.sa_family = AF_UNSPEC };
    socklen_t n = sizeof u;
    if (getsockname(fd, &u.any, &n))
        return ERR_IO;
    *port = u.any.sa_family == AF_INET ? ntohs(u.v4.sin_port) : u.any.sa_family == AF_INET6 ? ntohs(u.v6.sin6_port) : 0;
    return ERR_OK;
}

enum err io_accept(int listen_fd, int *fd)
{
    int one = 1;
    int s = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (s < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ? ERR_LIMIT : ERR_AGAIN;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);      /* fails on a Unix socket, which needs none */
    *fd = s;
    return ERR_OK;
}

enum err io_connect_unix(const char *path, int *fd)
{
    struct io_addr a = { .is_unix = true };
    union address u;
    if (strlen(path) >= sizeof a.host)
        return ERR_REFUSED;
    memcpy(a.host, path, strlen(path) + 1);
    socklen_t n = to_system(&a, &u);
    int s = n ? socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
    if (s < 0)
        return ERR_REFUSED;
    if (connect(s, &u.any, n)) {
        close(s);
        return ERR_REFUSED;
    }
    *fd = s;
    return ERR_OK;
}

enum err io_peer_uid(int unix_fd, uid_t *uid)
{
    struct ucred c;
    socklen_t n = sizeof c;
    if (getsockopt(unix_fd, SOL_SOCKET, SO_PEERCRED, &c, &n) || n != sizeof c)
        return ERR_IO;
    *uid = c.uid;
    return ERR_OK;
}

void io_peer_text(int fd, char out[64])
{
    union address u = { .any.sa_family = AF_UNSPEC };
    socklen_t n = sizeof u;
    uid_t uid;
    memcpy(out, "?", 2);
    if (getpeername(fd, &u.any, &n))
        return;
    if (u.any.sa_family == AF_UNIX && io_peer_uid(fd, &uid) == ERR_OK)
        snprintf(out, 64, "unix:%u", (unsigned)uid);
    else if (u.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &u.v4.sin_addr, out, 64);
    else if (u.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &u.v6.sin6_addr, out, 64);
}
