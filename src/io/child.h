/* io/child.h: child processes on the loop. Includes: core, io/loop.h, libuv (in child.c alone).
 *
 * A child runs in a process group of its own, so that io_child_kill() reaches what it started. Its standard output and
 * error go to `out_fd` and `err_fd`; `keep_fds` become 3, 4, … in it; everything else is closed. It dies with us
 * where the kernel allows that to be asked for (the child itself does so: prctl(PR_SET_PDEATHSIG)). */
#ifndef HEARTH_IO_CHILD_H
#define HEARTH_IO_CHILD_H

#include "io/loop.h"

struct io_child {
    union { void *align; char space[240]; } uv;
    void (*on_exit)(struct io_child *c, int status, int signum);     /* status: exit code; signum: 0 or what killed it */
    void (*on_closed)(struct io_child *c);
    struct io_loop *loop;
    int pid;                                                        /* 0 after its exit */
};
#define IO_CHILD_KEEP 24                /* descriptors handed on, at most */
struct io_child_spec {
    const char *file;                   /* absolute path of the program */
    const char *const *argv;            /* argv[0] included, NULL-terminated */
    const char *const *env;             /* NULL-terminated; NULL: ours */
    const char *cwd;                    /* NULL: ours */
    int out_fd, err_fd;                 /* -1: /dev/null */
    int keep_fds[IO_CHILD_KEEP];
    int n_keep;
};
enum err io_child_start(struct io_loop *l, struct io_child *c, const struct io_child_spec *s,
                        void (*on_exit)(struct io_child *, int, int));
void io_child_kill(struct io_child *c, int signum);     /* its whole group; nothing when it has ended */
void io_child_close(struct io_child *c, void (*on_closed)(struct io_child *));

#endif
