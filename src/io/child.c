/* io/child.c: uv_spawn with a process group of its own. */
#include "io/child.h"

#include "io/handle.h"

#include <uv.h>

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static_assert(sizeof(uv_process_t) <= sizeof((struct io_child *)0)->uv, "io_child has room for uv_process_t");

static void on_exit_uv(uv_process_t *u, int64_t status, int signum)
{
    struct io_child *c = u->data;
    /* Its group may hold what it started itself; the leader's pid stays reserved until libuv has reaped it, the group's does not. */
    c->pid = 0;
    c->on_exit(c, (int)status, signum);
}

/* Descriptors that we were started with, and that nobody has marked: no child shall have them, the program of `hearth exec` may. They are marked
 * while a child is started. */
enum { INHERITED_MAX = 64 };

static int mark_inherited(int fds[INHERITED_MAX])
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *f; d && (f = readdir(d));) {
        uint64_t fd;
        if (!str_u64(str_of(f->d_name), &fd) || fd < 3)
            continue;
        int flags = fcntl((int)fd, F_GETFD);
        if (flags < 0 || (flags & FD_CLOEXEC) || fcntl((int)fd, F_SETFD, flags | FD_CLOEXEC) || n == INHERITED_MAX)
            continue;
        fds[n++] = (int)fd;
    }
    if (d)
        closedir(d);
    return n;
}

enum err io_child_start(struct io_loop *l, struct io_child *c, const struct io_child_spec *s, void (*on_exit)(struct io_child *, int, int))
{
    uv_stdio_container_t io[3 + IO_CHILD_KEEP] = {
        [0] = { .flags = UV_IGNORE },
        [1] = { .flags = s->out_fd >= 0 ? UV_INHERIT_FD : UV_IGNORE, .data.fd = s->out_fd },
        [2] = { .flags = s->err_fd >= 0 ? UV_INHERIT_FD : UV_IGNORE, .data.fd = s->err_fd },
    };
    assert(s->n_keep >= 0 && s->n_keep <= IO_CHILD_KEEP);
    for (int i = 0; i < s->n_keep; i++) {
        io[3 + i].flags = UV_INHERIT_FD;
        io[3 + i].data.fd = s->keep_fds[i];
    }
    /* UV_PROCESS_DETACHED is setsid(): the child leads a session and a group, and no terminal's Ctrl-C reaches it. */
    uv_process_options_t o = { .exit_cb = on_exit_uv, .file = s->file, .args = (char **)(uintptr_t)s->argv, .env = (char **)(uintptr_t)s->env,
                               .cwd = s->cwd, .flags = UV_PROCESS_DETACHED, .stdio_count = 3 + s->n_keep, .stdio = io };
    uv_process_t *u = (uv_process_t *)&c->uv;
    c->loop = l;
    c->on_exit = on_exit;
    c->pid = 0;
    u->data = c;
    int inherited[INHERITED_MAX], n = mark_inherited(inherited);
    int failed = uv_spawn(io_loop_uv(l), u, &o);
    u->data = c;
    while (n--)
        (void)fcntl(inherited[n], F_SETFD, 0);
    if (failed)
        return failed == UV_ENOENT || failed == UV_EACCES ? ERR_NOTFOUND : ERR_IO;
    c->pid = uv_process_get_pid(u);
    return ERR_OK;
}

void io_child_kill(struct io_child *c, int signum)
{
    if (c->pid > 0)
        (void)kill(-c->pid, signum);
}

static void on_child_closed(uv_handle_t *h)
{
    struct io_child *c = h->data;
    if (c->on_closed)
        c->on_closed(c);
}

void io_child_close(struct io_child *c, void (*on_closed)(struct io_child *))
{
    c->on_closed = on_closed;
    uv_close((uv_handle_t *)&c->uv, on_child_closed);
}
