/* io/ward.c: one loop over three descriptors: life, signals, and what the server prints. It holds no memory of its own and never waits for anything
 * that the server could keep from it. */
#include "io/ward.h"

#include "core/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SWEEPS = 2000 };                 /* with 5 ms between them */

struct ward {
    int life, signals, output, log;
    const char *path;
    int64_t log_max, log_size;
    pid_t server;
    bool ended;
    int status;                         /* of the server, as waitpid() gives it */
};

/* ---- the log ---- */

static void log_open(struct ward *w)
{
    struct stat st;
    w->log = *w->path ? open(w->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    w->log_size = w->log >= 0 && fstat(w->log, &st) == 0 ? st.st_size : 0;
}

static void log_write(struct ward *w, const char *p, size_t n)
{
    char old[4096];
    if (w->log_size + (int64_t)n > w->log_max / 2 && w->log_size > 0) {
        int len = snprintf(old, sizeof old, "%s.1", w->path);
        if (len > 0 && (size_t)len < sizeof old && rename(w->path, old) == 0) {
            close(w->log);
            log_open(w);
        }
    }
    ssize_t put = w->log >= 0 ? write(w->log, p, n) : 0;
    w->log_size += put > 0 ? put : 0;   /* a full disk costs lines of the log, nothing else */
}

/* False when nobody can print any more. */
static bool log_read(struct ward *w)
{
    char piece[16384];
    ssize_t n = read(w->output, piece, sizeof piece);
    if (n > 0)
        log_write(w, piece, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* ---- processes ---- */

static void ward_exec(char **argv, pid_t ward)
{
    sigset_t none;
    struct rlimit r = { 0, 0 };
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    (void)setpgid(0, 0);
    (void)setrlimit(RLIMIT_CORE, &r);   /* a core of a model server is gigabytes of somebody's prompts */
    /* Should the ward itself be killed, the server at least goes with it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != ward)
        _exit(WARD_NOT_STARTED);
    execvp(argv[0], argv);
    dprintf(2, "error: %s: %s\n", argv[0], strerror(errno));
    _exit(WARD_NOT_STARTED);
}

static bool ward_start(struct ward *w, char **argv)
{
    int ends[2];
    pid_t self = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    w->server = fork();
    if (w->server < 0)
        return false;
    if (w->server == 0) {
        if (dup2(ends[1], 1) != 1 || dup2(ends[1], 2) != 2)
            _exit(WARD_NOT_STARTED);
        ward_exec(argv, self);
    }
    (void)setpgid(w->server, w->server);        /* here too: whoever comes first */
    close(ends[1]);
    w->output = ends[0];
    return fcntl(w->output, F_SETFL, O_NONBLOCK) == 0;
}

static void reap(struct ward *w)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == w->server) {
            w->ended = true;
            w->status = status;
        }
}

/* The parent of a process, from /proc/PID/stat: "PID (NAME) STATE PARENT …", where NAME may hold anything. */
static pid_t parent_of(const char *pid)
{
    char path[64], text[512];
    if (snprintf(path, sizeof path, "/proc/%.20s/stat", pid) <= 0)
        return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && strlen(name_end) > 4 ? (pid_t)strtol(name_end + 4, NULL, 10) : -1;
}

/* Kills what is directly below us; false: there is nothing. */
static bool kill_children(void)
{
    bool any = false;
    pid_t self = getpid();
    DIR *d = opendir("/proc");
    for (struct dirent *x; d && (x = readdir(d));) {
        pid_t pid = x->d_name[0] >= '1' && x->d_name[0] <= '9' ? (pid_t)strtol(x->d_name, NULL, 10) : 0;
        if (pid > 0 && parent_of(x->d_name) == self) {
            any = true;
            (void)kill(pid, SIGKILL);
        }
    }
    if (d)
        closedir(d);
    return any;
}

/* Everything below: those that are killed leave us their own children, so it is done again until nobody is left. One that the kernel cannot end
 * now (a driver has it) is not waited for without end: its SIGKILL stays with it. */
static void sweep(struct ward *w)
{
    const struct timespec moment = { .tv_nsec = 5000000 };
    if (!w->ended)
        (void)kill(-w->server, SIGKILL);
    for (int i = 0; i < SWEEPS && kill_children(); i++) {
        reap(w);
        if (i)
            nanosleep(&moment, NULL);
    }
    reap(w);
}

/* ---- the loop ---- */

static void on_signals(struct ward *w)
{
    struct signalfd_siginfo s;
    while (read(w->signals, &s, sizeof s) == (ssize_t)sizeof s)
        if ((s.ssi_signo == SIGTERM || s.ssi_signo == SIGINT || s.ssi_signo == SIGHUP) && !w->ended)
            (void)kill(w->server, SIGTERM);
    reap(w);
}

static void ward_loop(struct ward *w)
{
    struct pollfd p[3] = { { .fd = w->life, .events = POLLIN }, { .fd = w->signals, .events = POLLIN }, { .fd = w->output, .events = POLLIN } };
    char byte;
    while (!w->ended) {
        if (poll(p, 3, -1) < 0 && errno != EINTR)
            break;
        if (p[1].revents)
            on_signals(w);
        if (p[2].revents && !log_read(w))
            p[2].fd = -1;
        if (p[0].revents && read(w->life, &byte, 1) <= 0)
            break;
    }
}

/* As the server ended: whoever watches the ward sees what it would see of the server. */
static int ward_end(const struct ward *w)
{
    struct rlimit r = { 0, 0 };
    sigset_t none;
    if (!w->ended)
        return 1;
    if (WIFEXITED(w->status))
        return WEXITSTATUS(w->status);
    (void)setrlimit(RLIMIT_CORE, &r);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(WTERMSIG(w->status), SIG_DFL);
    raise(WTERMSIG(w->status));
    return 128 + WTERMSIG(w->status);
}

int ward_main(int argc, char **argv)
{
    struct ward w = { .log = -1, .output = -1 };
    sigset_t all;
    uint64_t life, most;
    if (argc < 4 || !str_u64(str_of(argv[0]), &life) || life > 1 << 20 || !str_u64(str_of(argv[2]), &most) || most > INT64_MAX)
        return 2;
    w.life = (int)life;
    w.path = argv[1];
    w.log_max = (int64_t)most;
    (void)fcntl(w.life, F_SETFD, FD_CLOEXEC);
    sigfillset(&all);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || sigprocmask(SIG_SETMASK, &all, NULL) != 0)
        return 1;
    (void)prctl(PR_SET_NAME, "hearth-ward");
    w.signals = signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC);
    log_open(&w);
    if (w.signals < 0 || !ward_start(&w, argv + 3))
        return 1;
    ward_loop(&w);
    sweep(&w);
    while (log_read(&w) && errno != EAGAIN)     /* what it said last */
        errno = 0;
    return ward_end(&w);
}
