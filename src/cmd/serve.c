/* `hearth serve`: the gateway, until a signal says otherwise. */
#include "cmd/app.h"
#include "cmd/term.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WATCH_MS = 1000, TIDY_MS = 2000, TIDY_BYTES = 16 << 20, DRAIN_MS = 10000, RESTART_DRAIN_MS = 60000, ARGS_MAX = 64, WATCHED = 6 };

struct serve {
    struct app app;
    struct cmd *c;
    struct io_signal hup, term, interrupt, again;
    struct io_timer watch, tidy;
    int64_t idle;                       /* bytes in memory and not in use, at their least since the allocator last gave back what it keeps */
    struct stat file[WATCHED];          /* of the configuration, keys, prompts, models, when they were read or last looked at */
    bool changing, restart;
    char args[8192];                    /* how this process was started: NUL after each */
    char *argv[ARGS_MAX + 1];
};

static void on_stop(struct io_signal *s, int signum)
{
    struct serve *v = (struct serve *)((char *)s - (signum == SIGTERM ? offsetof(struct serve, term) : offsetof(struct serve, interrupt)));
    io_loop_stop(v->app.loop);          /* while draining too: a second signal does not wait for running calls */
}

static void on_hup(struct io_signal *s, int signum)
{
    (void)signum;
    struct serve *v = (struct serve *)((char *)s - offsetof(struct serve, hup));
    app_reload(&v->app, v->c);
}

/* ---- the configuration's file ---- */

/* A folder as one thing: how many files whose names end so, how much in them, when one of them was written last. */
static struct stat look_at_folder(str dir, str ending)
{
    struct stat sum = { .st_ino = 0 }, st;
    DIR *d = dir.n ? opendir(dir.p) : NULL;
    for (struct dirent *f; d && (f = readdir(d));)
        if (str_ends(str_of(f->d_name), ending) && fstatat(dirfd(d), f->d_name, &st, 0) == 0 && S_ISREG(st.st_mode)) {
            sum.st_ino++;
            sum.st_size += st.st_size;
            if (st.st_mtim.tv_sec > sum.st_mtim.tv_sec || (st.st_mtim.tv_sec == sum.st_mtim.tv_sec && st.st_mtim.tv_nsec > sum.st_mtim.tv_nsec))
                sum.st_mtim = st.st_mtim;
        }
    if (d)
        closedir(d);
    return sum;
}

/* One that is not there looks like nothing. */
static void look_at_files(const struct serve *v, const struct config *c, struct stat out[WATCHED])
{
    const str paths[WATCHED - 2] = { c->path, c->keys_options.file, c->keys_options.admin_file, c->prompt_options.file };
    for (int i = 0; i < WATCHED - 2; i++)
        if (!paths[i].n || stat(paths[i].p, &out[i]) != 0)
            out[i] = (struct stat){ .st_ino = 0 };
    out[WATCHED - 2] = look_at_folder(c->prompt_options.dir, S(""));
    /* Without a file the models are what lies in hearth's folder: a pulled one is served at once. */
    out[WATCHED - 1] = look_at_folder(c->path.n || v->c->f.model ? STR_NONE : c->models_dir[0], S(".gguf"));
}

static bool is_same_file(const struct stat *x, const struct stat *y)
{
    return x->st_ino == y->st_ino && x->st_size == y->st_size && x->st_mtim.tv_sec == y->st_mtim.tv_sec && x->st_mtim.tv_nsec == y->st_mtim.tv_nsec;
}

/* Editors write in pieces, or write another file and rename it: it is read when it has stayed the same from one look to the next. */
static void on_watch(struct io_timer *t)
{
    struct serve *v = (struct serve *)((char *)t - offsetof(struct serve, watch));
    struct stat now[WATCHED];
    bool changed = false;
    look_at_files(v, v->app.cfg->config, now);
    for (int i = 0; i < WATCHED; i++)
        changed |= !is_same_file(&now[i], &v->file[i]);
    if (changed) {
        memcpy(v->file, now, sizeof now);
        v->changing = true;
    } else if (v->changing) {
        v->changing = false;
        app_reload(&v->app, v->c);
    }
    io_timer_start(t, WATCH_MS);
}

static int64_t resident_bytes(void)
{
    char text[64];
    long long pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return sscanf(text, "%*u %lld", &pages) == 1 ? (int64_t)pages * sysconf(_SC_PAGESIZE) : 0;
}

/* What is in memory and not in use. What the allocator itself counts as free does not fall when it is given back. */
static int64_t idle_bytes(void)
{
    const struct mallinfo2 m = mallinfo2();
    return resident_bytes() - (int64_t)(m.uordblks + m.hblkhd);
}

/* Where address space ends, what is large comes from the heaps of threads too, which keep it when it is free: that goes back to the system. */
static void on_tidy(struct io_timer *t)
{
    struct serve *v = (struct serve *)((char *)t - offsetof(struct serve, tidy));
    int64_t idle = idle_bytes();
    if (idle > v->idle + TIDY_BYTES) {
        malloc_trim(0);
        v->idle = idle_bytes();
    } else if (idle < v->idle) {
        v->idle = idle;
    }
    io_timer_start(t, TIDY_MS);
}

/* ---- restarting ---- */

/* A new process in place of this one (`kill -USR2`), for a new version or another ledger. The listening socket stays open all the time: who
 * connects meanwhile waits in its backlog. It is handed on as systemd hands sockets over (sd_listen_fds(3)). */
static void on_again(struct io_signal *s, int signum)
{
    (void)signum;
    struct serve *v = (struct serve *)((char *)s - offsetof(struct serve, again));
    struct app_config *k = NULL;
    if (v->restart || !v->argv[0])
        return;
    if (app_load(v->c, true, &k) != EXIT_DONE || !k) {
        log_error("restart_refused", LOG_C("why", "the configuration has mistakes: a new process could not start"));
        return;
    }
    app_unload(k);
    v->restart = true;
    io_loop_stop(v->app.loop);
}

static void remember_args(struct serve *v)
{
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC), n = 0;
    ssize_t got = fd >= 0 ? read(fd, v->args, sizeof v->args - 1) : 0;
    if (fd >= 0)
        close(fd);
    for (char *p = v->args; got > 0 && p < v->args + got && n < ARGS_MAX; p += strlen(p) + 1)
        v->argv[n++] = p;
    if (got == (ssize_t)sizeof v->args - 1 || n == ARGS_MAX)
        v->argv[0] = NULL;              /* not all of them: it cannot be started the same way */
}

static int start_again(struct serve *v, int fd)
{
    static const char deleted[] = " (deleted)";
    char self[PATH_MAX], pid[16];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    if (str_ends(str_of(self), str_of(deleted)))        /* replaced by a newer one, which has its name now */
        self[n - (ssize_t)(sizeof deleted - 1)] = '\0';
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (dup2(fd, 3) != 3 || (fd == 3 && fcntl(3, F_SETFD, 0)) || setenv("LISTEN_FDS", "1", 1) || setenv("LISTEN_PID", pid, 1))
        return cmd_fail(EXIT_FAILED, NULL, "the listening socket cannot be handed on");
    execv(self, v->argv);
    return cmd_fail(EXIT_FAILED, NULL, "%s cannot be started again", self);
}

static void on_timer_closed(struct io_timer *t) { (void)t; }
static void on_signal_closed(struct io_signal *s) { (void)s; }

static enum err watch_signals(struct serve *v)
{
    enum err e = io_signal_init(v->app.loop, &v->hup, SIGHUP, on_hup);
    if (e == ERR_OK)
        e = io_signal_init(v->app.loop, &v->term, SIGTERM, on_stop);
    if (e == ERR_OK)
        e = io_signal_init(v->app.loop, &v->interrupt, SIGINT, on_stop);
    if (e == ERR_OK)
        e = io_signal_init(v->app.loop, &v->again, SIGUSR2, on_again);
    return e;
}

static void banner(const struct serve *v)
{
    const struct config *c = v->app.cfg->config;
    const struct policy *p = &c->policy;
    printf("%shearth %s%s serves on %shttp://127.0.0.1:%u/v1%s\n", term_out("1"), HEARTH_VERSION, term_out("0"), term_out("36"), v->app.port, term_out("0"));
    printf("  configuration  %s\n  ledger         %s\n", c->path.n ? c->path.p : "none found: using what is on this machine", c->ledger.path.p);
    for (size_t i = 0; i < p->n_models; i++)
        printf("  model          %s (%.*s, %.*s)%s\n", p->models[i].name.p, STR_ARG(p->models[i].provider->name),
               STR_ARG(zone_name(p->models[i].provider->zone)), &p->models[i] == p->default_model ? ", the default" : "");
    for (size_t i = 0; i < p->n_tasks; i++)
        printf("  task           task/%s\n", p->tasks[i].name.p);
    if (!p->n_models)
        printf("  %sno model yet:%s give one with --model FILE.gguf, or write hearth.yaml (hearth config show prints one)\n", term_out("33"), term_out("0"));
    printf("Try:  curl http://127.0.0.1:%u/v1/chat/completions -H 'content-type: application/json' \\\n"
           "        -d '{\"model\":\"default\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n", v->app.port);
    fflush(stdout);
}

static int wind_down(struct serve *v)
{
    log_info(v->restart ? "restarting" : "stopping", LOG_I("running", (int64_t)gate_running(v->app.gate)));
    io_timer_close(&v->watch, on_timer_closed);
    io_timer_close(&v->tidy, on_timer_closed);
    /* The signals stay watched while calls are drained: a second one ends that. They are closed by the loop's last turns. */
    app_drain(&v->app, v->restart ? RESTART_DRAIN_MS : DRAIN_MS);
    io_signal_close(&v->hup, on_signal_closed);
    io_signal_close(&v->term, on_signal_closed);
    io_signal_close(&v->interrupt, on_signal_closed);
    io_signal_close(&v->again, on_signal_closed);
    int fd = v->restart ? fcntl(v->app.tcp_fd, F_DUPFD_CLOEXEC, 10) : -1;
    app_stop(&v->app);
    return fd >= 0 ? start_again(v, fd) : EXIT_DONE;
}

/* A connection is a descriptor: as many as the system allows this user, within reason. */
static void raise_limit(void)
{
    struct rlimit r;
    enum { ENOUGH = 65536 };
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= ENOUGH)
        return;
    r.rlim_cur = r.rlim_max < ENOUGH ? r.rlim_max : ENOUGH;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}

static int serve_run(struct cmd *c)
{
    struct serve v = { .c = c };
    struct app_config *k;
    bool busy;
    int code = app_load(c, true, &k);
    if (code)
        return code;
    look_at_files(&v, k->config, v.file);       /* before anything is served: who sees the door open may write the next one at once */
    for (size_t i = 0; i < k->config->n_notes; i++)
        fprintf(stderr, "%snote:%s %s\n", term_err("33"), term_err("0"), k->config->notes[i].p);
    raise_limit();
    code = app_start(&v.app, k, true, &busy);
    if (code == EXIT_DONE && watch_signals(&v) != ERR_OK)
        code = cmd_fail(EXIT_FAILED, NULL, "signals cannot be watched");
    if (code != EXIT_DONE)
        exit(code);                     /* nothing is served yet: the system takes the rest back */
    atomic_store(&v.app.reloads, c);
    remember_args(&v);
    io_timer_init(v.app.loop, &v.watch, on_watch);
    if (k->config->watch)
        io_timer_start(&v.watch, WATCH_MS);
    io_timer_init(v.app.loop, &v.tidy, on_tidy);
    io_timer_start(&v.tidy, TIDY_MS);
    banner(&v);
    app_warm(&v.app);
    io_loop_run(v.app.loop);
    return wind_down(&v);
}

const struct command command_serve = {
    .name = "serve", .args = "[--config FILE] [--model FILE.gguf]", .brief = "serve local and cloud models on one API, until Ctrl-C",
    .about = "Serves the OpenAI API on a loopback address, starts local engines when they are needed, and records every call.\n"
             "A changed configuration is read again (SIGHUP: at once); a wrong one changes nothing. SIGUSR2 starts a new process in place of this one,\n"
             "which takes over the listening socket: no connection is refused. Without a configuration it uses what is on this machine.",
    .examples = "  hearth serve\n  hearth serve --model ~/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf\n"
                "  hearth serve --config team.yaml --listen 127.0.0.1:9000",
    .flags = { &flag_config, &flag_model, &flag_listen, &flag_ledger }, .max_args = 0, .run = serve_run,
};
