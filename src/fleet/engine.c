/* The life of one engine process: open the file, hash it, start, watch, notice its end, start again. Callbacks only note
 * what happened; engine_step() decides. The picture is in engine.h. */
#include "fleet/engine.h"

#include "core/json.h"
#include "core/log.h"
#include "io/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define PROBE_MS      1000              /* a ready engine is asked this often */
#define PAUSE_MAX_MS  30000
#define STABLE_MS     30000             /* up for this long: earlier failures are forgotten */
#define CRASH_LOOP    4                 /* failures in a row after which waiting calls are told */
#define FAILED_MS     60000             /* a refused model is tried again after this, or when its file changes */
#define TERM_MS       10000
#define LOG_MAX       (4 << 20)
#define PROPS_MAX     (256u << 10)

extern char **environ;

/* ---- events ---- */

static void engine_note(struct fleet_engine *e, const char *event, const char *why)
{
    struct buf b;
    struct json_out o;
    if (*why)
        log_info(event, LOG_S("model", e->spec.name), LOG_I("pid", e->pid), LOG_C("why", why));
    else
        log_info(event, LOG_S("model", e->spec.name), LOG_I("pid", e->pid));
    if (!e->fleet->opt.ledger)
        return;
    buf_init(&b, 4096);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("model"));
    json_put_str(&o, e->spec.name);
    json_put_key(&o, S("pid"));
    json_put_i64(&o, e->pid);
    json_put_key(&o, S("start"));
    json_put_i64(&o, (int64_t)e->starts);
    json_put_key(&o, S("why"));
    json_put_str(&o, str_of(why));
    json_close(&o, '}');
    if (o.err == ERR_OK)
        ledger_note_event(e->fleet->opt.ledger, event, buf_str(&b));
    buf_free(&b);
}

/* ---- making and freeing ---- */

enum err engine_open(struct fleet *f, const struct fleet_spec *s, struct fleet_engine **out)
{
    struct fleet_engine *e = calloc(1, sizeof *e);
    if (!e)
        return ERR_MEMORY;
    arena_init(&e->mem, 16 << 10);
    e->fleet = f;
    e->model_fd = -1;
    e->spec = *s;
    e->spec.name = arena_str(&e->mem, s->name);
    e->spec.file = arena_str(&e->mem, s->file);
    e->spec.chat_template = (str){ arena_cstr(&e->mem, s->chat_template), s->chat_template.n };        /* these two become arguments */
    e->spec.tools = (str){ arena_cstr(&e->mem, s->tools), s->tools.n };
    uint32_t id = ++f->n_made;
    int a = snprintf(e->file, sizeof e->file, "%.*s", STR_ARG(s->file));
    int b = snprintf(e->name, sizeof e->name, "%.*s", STR_ARG(s->name));
    /* With our own number in its name: an engine of a hearth that was killed may need a moment to end, and holds its socket until then. */
    int c = snprintf(e->socket, sizeof e->socket, "%s/" FLEET_SOCKET, f->run_dir, (int)getpid(), id);
    int d = f->log_dir[0] ? snprintf(e->log, sizeof e->log, "%s/engine-%u.log", f->log_dir, id) : 0;
    if (!e->spec.name.p || !e->spec.file.p || !e->spec.chat_template.p || !e->spec.tools.p || a >= (int)sizeof e->file || b >= (int)sizeof e->name ||
        c >= (int)sizeof e->socket || d >= (int)sizeof e->log) {
        arena_free(&e->mem);
        free(e);
        return ERR_LIMIT;
    }
    buf_init(&e->probe_body, PROPS_MAX);
    *out = e;
    return ERR_OK;
}

bool engine_gone(const struct fleet_engine *e)
{
    return e->state == ENGINE_OFF && !e->child_alive && !e->child_open && !e->pool && !e->hash.running;
}

void engine_free(struct fleet_engine *e)
{
    unlink(e->socket);
    buf_free(&e->probe_body);
    arena_free(&e->mem);
    free(e);
}

/* ---- the digest, on a thread of its own ---- */

static void *engine_hash_main(void *arg)
{
    struct engine_hash *h = arg;
    h->err = fleet_digest_file(h->fd, h->cache[0] ? h->cache : NULL, &h->digest, &h->from_cache);
    atomic_store_explicit(&h->done, true, memory_order_release);
    io_wake_send(h->wake);
    return NULL;
}

static enum err engine_hash_start(struct fleet_engine *e)
{
    struct engine_hash *h = &e->hash;
    h->fd = e->model_fd;
    h->err = ERR_OK;
    h->wake = &e->fleet->wake;
    memcpy(h->cache, e->fleet->digest_cache, sizeof h->cache);
    atomic_store(&h->done, false);
    if (pthread_create(&h->thread, NULL, engine_hash_main, h) != 0)
        return ERR_MEMORY;
    h->running = true;
    return ERR_OK;
}

static void engine_hash_reap(struct fleet_engine *e)
{
    if (e->hash.running && atomic_load_explicit(&e->hash.done, memory_order_acquire)) {
        pthread_join(e->hash.thread, NULL);
        e->hash.running = false;
    }
}

/* ---- the process ---- */

static void engine_child_closed(struct io_child *c)
{
    struct fleet_engine *e = (struct fleet_engine *)((char *)c - offsetof(struct fleet_engine, child));
    e->child_open = false;
    io_wake_send(&e->fleet->wake);
}

static void engine_pool_closed(void *ctx)
{
    struct fleet_engine *e = ctx;
    e->pool = NULL;
    e->pool_closing = false;
    io_wake_send(&e->fleet->wake);
}

/* The last line that says "error: …" in the engine's log, as the reason a person wants to see. */
static void engine_log_reason(const struct fleet_engine *e, char *out, size_t cap)
{
    char tail[4096];
    int fd = e->log[0] ? open(e->log, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, tail, sizeof tail, end > (off_t)sizeof tail ? end - (off_t)sizeof tail : 0);
    close(fd);
    str rest = str_slice(tail, n > 0 ? (size_t)n : 0), line;
    while (rest.n) {
        str_cut(rest, '\n', &line, &rest);
        size_t at = str_find(line, S("error: "));
        if (at < line.n)
            snprintf(out, cap, "%.*s", STR_ARG(str_skip(line, at + 7)));
    }
}

static void engine_on_exit(struct io_child *c, int status, int signum)
{
    struct fleet_engine *e = (struct fleet_engine *)((char *)c - offsetof(struct fleet_engine, child));
    char why[200] = "";
    bool refused = status == 3 && !signum;
    int64_t now = clock_mono_us(&e->fleet->opt.clock) / 1000;
    atomic_store_explicit(&e->ready, NULL, memory_order_release);
    e->child_alive = false;
    if (e->kill_why[0])
        snprintf(why, sizeof why, "%s", e->kill_why);
    else if (signum)
        snprintf(why, sizeof why, "the engine was ended by signal %d (%s)", signum, strsignal(signum));
    else
        snprintf(why, sizeof why, "the engine ended with status %d", status);
    if (refused)
        engine_log_reason(e, why, sizeof why);
    if (e->state != ENGINE_STOPPING) {
        engine_note(e, refused ? "engine_refused" : "engine_crash", why);
        /* One that had loaded can work: it is paced, but only one that never gets so far makes calls fail that it was not serving. */
        e->failures = e->ready_ms && now - e->ready_ms > STABLE_MS ? 1 : e->failures + 1;
        if (e->ready_ms && e->failures >= CRASH_LOOP)
            e->failures = CRASH_LOOP - 1;
        int64_t pause = e->failures == 1 ? 0 : 125LL << (e->failures < 9 ? e->failures : 9);
        pthread_mutex_lock(&e->fleet->lock);
        e->pause_until_ms = now + (refused ? FAILED_MS : pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS);
        pthread_mutex_unlock(&e->fleet->lock);
        bool loops = e->failures >= CRASH_LOOP;
        engine_set_state(e, refused || loops ? ENGINE_FAILED : ENGINE_PAUSED, why);
        if (loops && !refused)          /* told to those who wait, and still tried again */
            e->wanted = true;
    }
    e->pid = 0;
    e->ready_ms = 0;
    e->kill_why[0] = 0;
    if (e->probe) {
        http_exchange_cancel(e->probe);
        e->probe = NULL;
    }
    if (e->pool && !e->pool_closing) {
        e->pool_closing = true;
        http_pool_close(e->pool, engine_pool_closed, e);
    }
    io_child_close(&e->child, engine_child_closed);
    io_wake_send(&e->fleet->wake);
}

static int engine_log_open(struct fleet_engine *e)
{
    struct stat st;
    char old[sizeof e->log + 2];
    if (!e->log[0])
        return -1;
    if (stat(e->log, &st) == 0 && st.st_size > LOG_MAX) {
        snprintf(old, sizeof old, "%s.1", e->log);
        rename(e->log, old);
    }
    return open(e->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* The engine gets what a GPU runtime and the sanitizers read, and nothing else: no key of ours reaches it. */
static void engine_env(const char *env[16])
{
    static const char *const pass[] = { "PATH=", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "GGML_", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=" };
    size_t n = 0;
    env[n++] = "LC_ALL=C.UTF-8";
    for (char **v = environ; *v && n < 15; v++)
        for (size_t i = 0; i < sizeof pass / sizeof pass[0]; i++)
            if (strncmp(*v, pass[i], strlen(pass[i])) == 0 && n < 15) {
                env[n++] = *v;
                break;
            }
    env[n] = NULL;
}

static size_t engine_args(const struct fleet_engine *e, char numbers[3][24], const char *argv[20])
{
    const struct { const char *option; int64_t value; } wanted[] = {
        { "--context", e->spec.context }, { "--threads", e->spec.threads }, { "--slots", e->spec.slots } };
    size_t n = 0;
    argv[n++] = "hearth-engine";
    argv[n++] = "--model-fd";
    argv[n++] = "3";
    argv[n++] = "--socket-fd";
    argv[n++] = "4";
    argv[n++] = "--name";
    argv[n++] = e->name;
    for (size_t i = 0; i < 3; i++)
        if (wanted[i].value > 0) {
            snprintf(numbers[i], 24, "%lld", (long long)wanted[i].value);
            argv[n++] = wanted[i].option;
            argv[n++] = numbers[i];
        }
    if (e->spec.chat_template.n) {
        argv[n++] = "--template";
        argv[n++] = e->spec.chat_template.p;
    }
    if (e->spec.tools.n) {
        argv[n++] = "--tools";
        argv[n++] = e->spec.tools.p;
    }
    argv[n] = NULL;
    return n;
}

static enum err engine_spawn(struct fleet_engine *e)
{
    struct io_addr addr = { .is_unix = true };
    const char *argv[20], *env[16];
    char numbers[3][24];
    int socket_fd = -1;
    memcpy(addr.host, e->socket, sizeof addr.host);
    enum err err = io_listen(&addr, 128, &socket_fd);
    if (err != ERR_OK)
        return err;
    engine_args(e, numbers, argv);
    engine_env(env);
    int log_fd = engine_log_open(e);
    struct io_child_spec spec = { .file = e->fleet->engine_path, .argv = argv, .env = env, .out_fd = log_fd, .err_fd = log_fd,
                                  .keep_fds = { e->model_fd, socket_fd }, .n_keep = 2 };
    err = io_child_start(e->fleet->loop, &e->child, &spec, engine_on_exit);
    if (err == ERR_OK) {
        e->child_alive = e->child_open = true;
        e->pid = e->child.pid;
    }
    close(socket_fd);                   /* the engine has its own; when it dies, connecting fails at once */
    if (log_fd >= 0)
        close(log_fd);
    return err;
}

static enum err engine_pool_open(struct fleet_engine *e)
{
    struct http_origin o = { .port = 0 };
    struct http_client_limits lim = http_client_limits_default;
    snprintf(o.host, sizeof o.host, "localhost");
    memcpy(o.unix_path, e->socket, sizeof o.unix_path);
    lim.connect_ms = lim.first_byte_ms = lim.gap_ms = e->fleet->opt.hang_ms;
    lim.idle_max = 1;
    return http_pool_new(e->fleet->loop, &o, &lim, &e->pool);
}

static void engine_failed(struct fleet_engine *e, const char *why)
{
    pthread_mutex_lock(&e->fleet->lock);
    e->wanted = false;
    e->pause_until_ms = clock_mono_us(&e->fleet->opt.clock) / 1000 + 1000;
    pthread_mutex_unlock(&e->fleet->lock);
    engine_note(e, "engine_refused", why);
    engine_set_state(e, ENGINE_FAILED, why);
}

static void engine_start(struct fleet_engine *e, int64_t now)
{
    char why[200];
    pthread_mutex_lock(&e->fleet->lock);
    e->wanted = false;
    e->starts++;
    e->progress = 0;
    pthread_mutex_unlock(&e->fleet->lock);
    if (e->model_fd >= 0)
        close(e->model_fd);
    e->model_fd = open(e->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (e->model_fd < 0 || fstat(e->model_fd, &e->model_stat) != 0 || !S_ISREG(e->model_stat.st_mode)) {
        snprintf(why, sizeof why, "%.120s: %s", e->file, e->model_fd < 0 ? strerror(errno) : "not a regular file");
        engine_failed(e, why);
        return;
    }
    e->started_ms = e->answered_ms = now;
    if (engine_spawn(e) != ERR_OK || engine_pool_open(e) != ERR_OK || engine_hash_start(e) != ERR_OK) {
        snprintf(why, sizeof why, "%.120s could not be started: %s", e->fleet->engine_path, strerror(errno));
        if (e->child_alive)
            io_child_kill(&e->child, SIGKILL);
        engine_failed(e, why);
        return;
    }
    engine_set_state(e, ENGINE_LOADING, "");
    engine_note(e, "engine_start", "");
}

void engine_stop(struct fleet_engine *e, const char *why, bool hard)
{
    snprintf(e->kill_why, sizeof e->kill_why, "%s", why);
    if (e->child_alive)
        io_child_kill(&e->child, hard ? SIGKILL : SIGTERM);
}

/* ---- asking it how it is ---- */

static void probe_on_head(void *ctx, const struct http_head *h) { ((struct fleet_engine *)ctx)->probe_status = h->status; }

static void probe_on_data(void *ctx, str data)
{
    struct fleet_engine *e = ctx;
    if (buf_put(&e->probe_body, data) != ERR_OK)
        e->probe_status = 0;            /* too long to be an answer of ours */
}

static void engine_become_ready(struct fleet_engine *e)
{
    struct arena a;
    str identity;
    arena_init(&a, PROPS_MAX);
    if (engine_identity(&a, buf_str(&e->probe_body), &e->hash.digest, &identity) != ERR_OK) {
        engine_stop(e, "the engine's /props could not be read", true);
    } else {
        struct fleet_ready *r = calloc(1, sizeof *r + identity.n);
        if (r) {
            memcpy((char *)(r + 1), identity.p, identity.n);
            *r = (struct fleet_ready){ .generation = ++e->fleet->generation, .weights = e->hash.digest,
                                       .identity = str_slice((char *)(r + 1), identity.n), .older = e->fleet->readies };
            r->fingerprint = sha256_of(r->identity);
            e->fleet->readies = r;
            if (e->fleet->opt.ledger)
                ledger_note_model(e->fleet->opt.ledger, &r->fingerprint, r->identity);
            e->ready_ms = e->answered_ms;
            atomic_store_explicit(&e->ready, r, memory_order_release);
            engine_note(e, "engine_ready", e->hash.from_cache ? "digest from the cache" : "digest computed");
            engine_set_state(e, ENGINE_READY, "");
        }
    }
    arena_free(&a);
}

static void engine_read_health(struct fleet_engine *e)
{
    struct arena a;
    json v;
    double number;
    arena_init(&a, 64 << 10);
    struct json_limits lim = { .depth = 8, .nodes = 256, .bytes = 16 << 10 };
    if (json_parse(&a, buf_str(&e->probe_body), &lim, &v, NULL) == ERR_OK) {
        if (json_f64(json_member(v, S("progress")), &number)) {
            pthread_mutex_lock(&e->fleet->lock);
            e->progress = number;
            pthread_mutex_unlock(&e->fleet->lock);
        }
        if (json_f64(json_member(v, S("step_ms")), &number) && number > (double)e->fleet->opt.hang_ms)
            engine_stop(e, "one decode step did not end: the engine hangs", true);
        if (e->state == ENGINE_LOADING && e->probe_status == 200 && !e->hash.running)
            e->probe_props = true;      /* loaded: the next question is who it is */
    }
    arena_free(&a);
}

static void probe_on_end(void *ctx, enum err err, const char *detail)
{
    struct fleet_engine *e = ctx;
    (void)detail;
    e->probe = NULL;
    if (err != ERR_OK || e->probe_status == 0 || !e->child_alive)
        return;                         /* silence is judged by answered_ms */
    e->answered_ms = clock_mono_us(&e->fleet->opt.clock) / 1000;
    if (e->probe_props && e->state == ENGINE_LOADING)
        engine_become_ready(e);
    else
        engine_read_health(e);
    io_timer_start(&e->fleet->tick, 0);
}

static void engine_probe(struct fleet_engine *e)
{
    static const struct http_client_events events = { probe_on_head, probe_on_data, probe_on_end };
    struct http_request rq = { .method = S("GET"), .target = e->probe_props ? S("/props") : S("/health") };
    buf_clear(&e->probe_body);
    e->probe_status = 0;
    if (!e->pool || http_exchange_start(e->pool, &rq, &events, e, &e->probe) != ERR_OK)
        e->probe = NULL;
}

/* ---- the machine ---- */

static void engine_watch(struct fleet_engine *e, int64_t now)
{
    struct stat st;
    bool loading = e->state == ENGINE_LOADING;
    if (e->kill_why[0])
        return;                         /* on its way out */
    if (loading && !e->hash.running && e->hash.err != ERR_OK)      /* in this order: while it runs, the rest is its thread's */
        engine_stop(e, "the model file changed or could not be read while it was hashed", true);
    else if (loading && now - e->started_ms > e->fleet->opt.load_ms)
        engine_stop(e, "the model was not loaded in time", true);
    else if (now - e->answered_ms > e->fleet->opt.hang_ms)
        engine_stop(e, "the engine does not answer", true);
    else if (!loading && (stat(e->file, &st) == 0 && (st.st_ino != e->model_stat.st_ino || st.st_size != e->model_stat.st_size ||
             st.st_mtim.tv_sec != e->model_stat.st_mtim.tv_sec || st.st_mtim.tv_nsec != e->model_stat.st_mtim.tv_nsec)))
        engine_stop(e, "the model file changed", false);
    else if (!e->probe && (loading || now - e->answered_ms >= PROBE_MS))
        engine_probe(e);
}

static void engine_step_stopping(struct fleet_engine *e, int64_t now)
{
    if (e->child_alive && now - e->term_ms > (e->fleet->closing ? e->fleet->drain_ms : TERM_MS))
        io_child_kill(&e->child, SIGKILL);
    if (!e->child_alive && !e->child_open && !e->pool && !e->hash.running) {
        if (e->model_fd >= 0)
            close(e->model_fd);
        e->model_fd = -1;
        engine_set_state(e, ENGINE_OFF, "");
    }
}

void engine_step(struct fleet_engine *e, int64_t now)
{
    engine_hash_reap(e);
    pthread_mutex_lock(&e->fleet->lock);
    bool held = e->refs > 0, wanted = e->wanted || e->waiters, paused = now < e->pause_until_ms;
    pthread_mutex_unlock(&e->fleet->lock);
    if (!held && e->state != ENGINE_OFF && e->state != ENGINE_STOPPING) {
        e->term_ms = now;
        atomic_store_explicit(&e->ready, NULL, memory_order_release);
        engine_set_state(e, ENGINE_STOPPING, "the model is being unloaded");
        engine_stop(e, "stopped", false);
    }
    bool clear = !e->child_alive && !e->child_open && !e->pool && !e->hash.running;
    switch (e->state) {
    case ENGINE_OFF:
        if (held && wanted && clear)
            engine_start(e, now);
        break;
    case ENGINE_PAUSED:                 /* it was running or wanted: it comes back without being asked */
        if (held && !paused && clear)
            engine_start(e, now);
        break;
    case ENGINE_FAILED:
        if (held && wanted && !paused && clear)
            engine_start(e, now);
        break;
    case ENGINE_LOADING:
        if (e->child_alive)
            engine_watch(e, now);
        break;
    case ENGINE_READY:
        e->probe_props = false;
        engine_watch(e, now);
        break;
    case ENGINE_STOPPING:
        engine_step_stopping(e, now);
        break;
    }
}
