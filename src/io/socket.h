/* io/socket.h: addresses and listening sockets. Includes: core.
 *
 * An address is "127.0.0.1:8420", "[::1]:8420", ":8420" is refused (say which address), or "unix:/path". */
#ifndef HEARTH_IO_SOCKET_H
#define HEARTH_IO_SOCKET_H

#include "core/err.h"
#include "core/str.h"

#include <sys/types.h>

struct io_addr {
    bool is_unix, loopback;
    char host[108];             /* numeric address, or the path of a Unix socket; NUL-terminated */
    uint16_t port;
};
enum err io_addr_parse(str text, struct io_addr *out);      /* ERR_SYNTAX */

/* A non-blocking, close-on-exec listening socket. A Unix socket is made with mode 0600, over a stale one that nobody
 * answers on; ERR_BUSY when the address is taken, ERR_IO otherwise (errno kept). Port 0 takes a free one. */
enum err io_listen(const struct io_addr *a, int backlog, int *fd);
/* A listening socket that somebody opened for this process: systemd, or a hearth that started itself again (sd_listen_fds(3)). Only one
 * socket, and only one on a loopback address; false: there is none. Takes the variables that announce it out of the environment. */
bool io_inherit(int *fd);
enum err io_bound_port(int fd, uint16_t *port);
/* One connection, non-blocking, close-on-exec, TCP_NODELAY; ERR_AGAIN when none waits; ERR_LIMIT when descriptors ran out. */
enum err io_accept(int listen_fd, int *fd);
/* A connection to a Unix socket, non-blocking; ERR_REFUSED. */
enum err io_connect_unix(const char *path, int *fd);
enum err io_peer_uid(int unix_fd, uid_t *uid);
/* "127.0.0.1" of the peer, for the record. */
void io_peer_text(int fd, char out[64]);

#endif
