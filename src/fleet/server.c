/* The machine: start, watch, notice an end, start again; and leave when nobody needs it. Callbacks only note what happened; server_step() decides. The
 * picture is in server.h. */
#include "fleet/server.h"

#include "core/json.h"
#include "core/log.h"
#include "io/ward.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

#define PROBE_MS      1000              /* a server that is up is asked this often */
#define PAUSE_MAX_MS  30000
#define STABLE_MS     30000             /* up for this long: earlier failures are forgotten */
#define FAILED_MS     60000             /* what was refused is tried again after this, or when it was unloaded */
#define TERM_MS       10000
#define ENGINE_REFUSED 3                /* exit status: the model cannot be loaded */

static bool is_engine(const struct fleet_server *s) { return s->kind == kind_of(FLEET_ENGINE); }

/* ---- events ---- */

/* The ledger keeps these very strings. */
static const char *const event_names[EVENTS][2] = {
    [EVENT_START] = { "server_start", "engine_start" }, [EVENT_READY] = { "server_ready", "engine_ready" }, [EVENT_CRASH] = { "server_crash", "engine_crash" },
    [EVENT_REFUSED] = { "server_refused", "engine_refused" }, [EVENT_LOOP] = { "server_crash_loop", "engine_crash_loop" }, [EVENT_STOPPED] = { "server_stopped", "engine_stopped" },
    [EVENT_WAKE] = { "server_wake", "engine_wake" }, [EVENT_UNLOADED] = { "server_unloaded", "engine_unloaded" } };

void server_note(struct fleet_server *s, enum server_event what, const char *why)
{
    const char *event = event_names[what][is_engine(s)];
    struct buf b;
    struct json_out o;
    log_info(event, LOG_C("model", s->name), LOG_C("kind", s->kind->name), LOG_I("pid", s->pid), LOG_C("why", why));
    if (!s->fleet->opt.ledger)
        return;
    buf_init(&b, 4096);
    json_out_init(&o, &b);
    json_open(&o, '{');
    const struct { const char *key; str value; } texts[] = { { "model", str_of(s->name) }, { "kind", str_of(s->kind->name) }, { "provider", s->spec.provider }, { "why", str_of(why) } };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_put_key(&o, str_of(texts[i].key));
        json_put_str(&o, texts[i].value);
    }
    json_put_key(&o, S("pid"));
    json_put_i64(&o, s->pid);
    json_put_key(&o, S("start"));
    json_put_i64(&o, (int64_t)s->starts);
    json_close(&o, '}');
    if (o.err == ERR_OK)
        ledger_note_event(s->fleet->opt.ledger, event, buf_str(&b));
    buf_free(&b);
}

void server_set_state(struct fleet_server *s, enum server_state state, const char *why)
{
    atomic_store(&s->ill, state == SERVER_FAILED || state == SERVER_PAUSED);
    pthread_mutex_lock(&s->fleet->lock);
    s->state = state;
    if (why)
        snprintf(s->why, sizeof s->why, "%s", why);
    pthread_mutex_unlock(&s->fleet->lock);
}

int server_running(const struct fleet_server *s)
{
    int n = 0;
    for (const struct fleet_model *m = s->models; m; m = m->next)
        n += atomic_load(&m->running);
    return n;
}

int64_t server_used(const struct fleet_server *s)
{
    int64_t used = 0;
    for (const struct fleet_model *m = s->models; m; m = m->next)
        used = atomic_load(&m->used_ms) > used ? atomic_load(&m->used_ms) : used;
    return used;
}

int64_t server_waits_since(struct fleet_server *s)
{
    int64_t since = INT64_MAX;
    pthread_mutex_lock(&s->fleet->lock);
    for (const struct fleet_model *m = s->models; m; m = m->next) {
        since = m->waiters && m->waiters->since_ms < since ? m->waiters->since_ms : since;
        since = m->asking && m->asking->since_ms < since ? m->asking->since_ms : since;
    }
    pthread_mutex_unlock(&s->fleet->lock);
    return since;
}

/* Those who wait are told; nobody hears of it who does not. */
static void server_tell(struct fleet_server *s, const char *why)
{
    for (struct fleet_model *m = s->models; m; m = m->next)
        model_give_back(m, ERR_ENGINE, NULL, why);
}

/* ---- making and freeing ---- */

static void health_done(struct talk *t, enum err e);
static void busy_done(struct talk *t, enum err e);

/* A name as a part of a file's name: no slash, no dot in front. */
static void tame(const char *name, char out[96])
{
    size_t n = 0;
    for (; name[n] && n < 95; n++)
        out[n] = name[n] == '/' || (unsigned char)name[n] <= ' ' || (n == 0 && name[n] == '.') ? '_' : name[n];
    out[n] = '\0';
}

static bool name_files(struct fleet_server *s)
{
    const struct fleet *f = s->fleet;
    char part[96];
    int a = snprintf(s->file, sizeof s->file, "%.*s", STR_ARG(s->spec.file));
    int b = snprintf(s->name, sizeof s->name, "%.*s", STR_ARG(spec_is_shared(&s->spec) ? s->spec.provider : s->spec.name));
    tame(s->name, part);
    /* With our own number in its name: an engine of a hearth that was killed may need a moment to end, and holds its socket until then. */
    int c = snprintf(s->socket, sizeof s->socket, "%s/" FLEET_SOCKET, f->run_dir, (int)getpid(), s->number);
    int d = f->log_dir[0] && !s->attached ? snprintf(s->log, sizeof s->log, "%s/%s-%s.log", f->log_dir, s->kind->name, part) : 0;
    return a < (int)sizeof s->file && b < (int)sizeof s->name && c < (int)sizeof s->socket && d < (int)sizeof s->log;
}

enum err server_open(struct fleet *f, const struct fleet_spec *spec, const struct digest *key, struct fleet_server **out)
{
    struct fleet_server *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_MEMORY;
    arena_init(&s->mem, 64 << 10);
    s->fleet = f;
    s->kind = kind_of(spec->kind);
    s->attached = spec->attached;
    s->key = *key;
    s->number = ++f->n_made;
    s->model_fd = s->life = -1;
    s->load = LOAD_UNKNOWN;
    s->rate = -1;
    s->foot = s->guess = s->need = FOOT_UNKNOWN;
    talk_init(&s->health, PROPS_MAX, health_done, s);
    talk_init(&s->busy, LOAD_BYTES, busy_done, s);
    enum err e = spec_copy(&s->mem, spec, &s->spec);
    if (e == ERR_OK && !name_files(s))
        e = ERR_LIMIT;
    if (e == ERR_OK && s->attached) {
        s->state = SERVER_UP;
        e = start_pool(s);
    }
    if (e != ERR_OK) {
        server_free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

static bool is_clear(const struct fleet_server *s) { return !s->child_alive && !s->child_open && !s->pool && !s->hash.running; }

bool server_gone(const struct fleet_server *s) { return s->state == SERVER_OFF && is_clear(s); }

void server_free(struct fleet_server *s)
{
    unlink(s->socket);
    talk_free(&s->health);
    talk_free(&s->busy);
    if (s->model_fd >= 0)
        close(s->model_fd);
    arena_free(&s->mem);
    free(s);
}

/* ---- an end ---- */

static void on_child_closed(struct io_child *c)
{
    struct fleet_server *s = (struct fleet_server *)((char *)c - offsetof(struct fleet_server, child));
    s->child_open = false;
    io_wake_send(&s->fleet->wake);
}

static void on_pool_closed(void *ctx)
{
    struct fleet_server *s = ctx;
    s->pool = NULL;
    s->pool_closing = false;
    io_wake_send(&s->fleet->wake);
}

static void close_pool(struct fleet_server *s)
{
    talk_cancel(&s->health);
    talk_cancel(&s->busy);
    for (struct fleet_model *m = s->models; m; m = m->next)
        model_forget(m);
    if (s->pool && !s->pool_closing) {
        s->pool_closing = true;
        http_pool_close(s->pool, on_pool_closed, s);
    }
}

/* Why it ended, for a person. What it printed is told only of one that never came up: later lines may hold what callers wrote. */
static void describe_end(struct fleet_server *s, int status, int signum, bool refused, char *out, size_t cap)
{
    char said[160] = "";
    const char *what = is_engine(s) ? "the engine" : s->kind->name;
    if (s->kill_why[0])
        snprintf(out, cap, "%s", s->kill_why);
    else if (signum)
        snprintf(out, cap, "%s was ended by signal %d (%s)", what, signum, strsignal(signum));
    else
        snprintf(out, cap, "%s ended with status %d", what, status);
    if (is_engine(s) && refused)
        start_log_reason(s, out, cap);
    if (is_engine(s) || s->was_up || s->kill_why[0])
        return;
    start_log_reason(s, said, sizeof said);
    size_t n = strlen(out);
    snprintf(out + n, cap - n, " before it was ready%s%s", said[0] ? ": " : "", said);
}

/* Paced by how often it failed; those who wait are told when there is no hope. */
static void after_failure(struct fleet_server *s, bool refused, const char *why)
{
    int64_t now = fleet_now(s->fleet);
    bool settled = s->up_ms && now - s->up_ms > STABLE_MS;
    s->failures = settled ? 1 : s->failures + 1;
    /* One that had loaded can work: it is paced, but only one that never gets so far makes calls fail that it was not serving. */
    if (s->up_ms && s->failures >= s->kind->failures)
        s->failures = s->kind->failures - 1;
    bool loops = s->failures >= s->kind->failures;
    int64_t pause = s->failures == 1 ? 0 : 125LL << (s->failures < 9 ? s->failures : 9);
    char text[240];
    snprintf(text, sizeof text, "%s", why);
    if (loops && !refused)
        snprintf(text, sizeof text, "it failed %d times in a row, the last time: %.180s", s->failures, why);
    server_note(s, refused ? EVENT_REFUSED : EVENT_CRASH, why);
    if (s->failures == s->kind->failures && !refused)
        server_note(s, EVENT_LOOP, text);
    pthread_mutex_lock(&s->fleet->lock);
    s->pause_until_ms = now + (refused ? FAILED_MS : pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS);
    pthread_mutex_unlock(&s->fleet->lock);
    server_set_state(s, refused || loops ? SERVER_FAILED : SERVER_PAUSED, text);
    if (refused || loops)
        server_tell(s, text);
    pthread_mutex_lock(&s->fleet->lock);
    for (struct fleet_model *m = s->models; m && loops && !refused; m = NULL)
        m->wanted = true;               /* told to those who wait, and still tried again */
    pthread_mutex_unlock(&s->fleet->lock);
}

static void on_end(struct io_child *c, int status, int signum)
{
    struct fleet_server *s = (struct fleet_server *)((char *)c - offsetof(struct fleet_server, child));
    char why[240] = "";
    bool refused = !signum && !s->kill_why[0] && status == (is_engine(s) ? ENGINE_REFUSED : WARD_NOT_STARTED) && !s->was_up;
    for (struct fleet_model *m = s->models; m; m = m->next)
        model_shut(m);
    s->child_alive = false;
    s->fleet->ended_ms = fleet_now(s->fleet);
    start_kill(s, true);                /* our end of the ward's pipe */
    describe_end(s, status, signum, refused, why, sizeof why);
    if (s->state == SERVER_STOPPING)
        server_note(s, EVENT_STOPPED, why);
    else
        after_failure(s, refused, why);
    s->pid = 0;
    s->up_ms = 0;
    s->kill_why[0] = 0;
    close_pool(s);
    io_child_close(&s->child, on_child_closed);
    io_wake_send(&s->fleet->wake);
}

/* ---- a beginning ---- */

void server_refuse(struct fleet_server *s, const char *why)
{
    pthread_mutex_lock(&s->fleet->lock);
    for (struct fleet_model *m = s->models; m; m = m->next)
        m->wanted = false;
    s->pause_until_ms = fleet_now(s->fleet) + 1000;
    pthread_mutex_unlock(&s->fleet->lock);
    server_note(s, EVENT_REFUSED, why);
    server_set_state(s, SERVER_FAILED, why);
    server_tell(s, why);
}

/* The file is held open: it is this one that is hashed, whatever is put in its place meanwhile. A folder, or an id, is the server's own affair. */
static enum err open_model(struct fleet_server *s)
{
    if (s->model_fd >= 0)
        close(s->model_fd);
    s->model_fd = s->file[0] ? open(s->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;
    if (!s->file[0])
        return ERR_OK;
    if (s->model_fd < 0 || fstat(s->model_fd, &s->model_stat) != 0)
        return ERR_IO;
    if (S_ISREG(s->model_stat.st_mode))
        return ERR_OK;
    close(s->model_fd);
    s->model_fd = -1;
    errno = EISDIR;
    return is_engine(s) || !S_ISDIR(s->model_stat.st_mode) ? ERR_IO : ERR_OK;
}

void server_begin(struct fleet_server *s, int64_t now)
{
    char why[240];
    const char *program;
    pthread_mutex_lock(&s->fleet->lock);
    for (struct fleet_model *m = s->models; m; m = m->next) {
        m->wanted = false;
        atomic_store(&m->unload, false);
    }
    s->starts++;
    s->progress = 0;
    pthread_mutex_unlock(&s->fleet->lock);
    atomic_store(&s->leaving, STAYS);
    pthread_mutex_lock(&s->fleet->lock);
    s->load = LOAD_UNKNOWN;
    s->rate = -1;
    pthread_mutex_unlock(&s->fleet->lock);
    s->load_at_ms = 0;
    s->no_load = s->was_up = false;
    if (open_model(s) != ERR_OK) {
        snprintf(why, sizeof why, "%.120s: %s", s->file, strerror(errno));
        server_refuse(s, why);
        return;
    }
    s->started_ms = s->answered_ms = now;
    if (start_process(s, on_end, &program) != ERR_OK || start_pool(s) != ERR_OK || hash_start(s) != ERR_OK) {
        snprintf(why, sizeof why, "%.120s could not be started: %s", program, strerror(errno));
        start_kill(s, true);
        server_refuse(s, why);
        return;
    }
    server_set_state(s, SERVER_LOADING, "");
    server_note(s, EVENT_START, "");
}

void server_stop(struct fleet_server *s, const char *why, bool hard)
{
    snprintf(s->kill_why, sizeof s->kill_why, "%s", why);
    start_kill(s, hard);
}

static bool is_wanted(struct fleet_server *s)
{
    bool wanted = false;
    for (struct fleet_model *m = s->models; m && !wanted; m = m->next)
        wanted = model_is_wanted(m);
    return wanted;
}

static bool is_held(struct fleet_server *s)
{
    bool held = false;
    pthread_mutex_lock(&s->fleet->lock);
    for (struct fleet_model *m = s->models; m && !held; m = m->next)
        held = m->refs > 0;
    pthread_mutex_unlock(&s->fleet->lock);
    return held;
}

bool server_wants(struct fleet_server *s, int64_t now)
{
    if (s->attached || !is_clear(s) || !is_held(s))
        return false;
    bool paused = now < s->pause_until_ms;
    switch (s->state) {
    case SERVER_OFF:    return is_wanted(s);
    case SERVER_PAUSED: return !paused;         /* it was running or wanted: it comes back without being asked */
    case SERVER_FAILED: return !paused && is_wanted(s);
    default:            return false;
    }
}

/* ---- asking it how it is ---- */

static void is_up(struct fleet_server *s)
{
    if (!is_engine(s) && !host_port_is_ours(&host_paths_system, s->port)) {
        server_stop(s, "its port was taken by another user's program", true);
        return;
    }
    s->up_ms = s->answered_ms;
    s->load_ms = s->up_ms - s->started_ms;
    s->was_up = true;
    server_set_state(s, SERVER_UP, "");
    for (struct fleet_model *m = s->models; m; m = m->next)
        atomic_store(&m->used_ms, s->up_ms);
}

static void set_progress(struct fleet_server *s, double progress)
{
    pthread_mutex_lock(&s->fleet->lock);
    s->progress = progress;
    pthread_mutex_unlock(&s->fleet->lock);
}

/* ---- how busy it is ---- */

void server_hear_load(struct fleet_server *s, const struct load *l, int64_t now)
{
    int64_t ms = now - s->load_at_ms;
    pthread_mutex_lock(&s->fleet->lock);
    if (l->tokens >= 0 && s->load.tokens >= 0 && l->tokens >= s->load.tokens && s->load_at_ms && ms > 0)
        s->rate = (l->tokens - s->load.tokens) * 1000 / (double)ms;
    s->load = *l;
    pthread_mutex_unlock(&s->fleet->lock);
    s->load_at_ms = now;
    double others = fmax(l->running, 0) + fmax(l->waiting, 0) - server_running(s);
    atomic_store(&s->foreign, others > 0 ? (int)fmin(others, 1e6) : 0);
    atomic_store(&s->cache_percent, l->cache > 0 ? (int)(l->cache * 100) : 0);
}

static void busy_done(struct talk *t, enum err e)
{
    struct fleet_server *s = t->ctx;
    struct load l;
    if (e == ERR_OK && t->status == 200 && load_read(buf_str(&t->in), &l) == ERR_OK)
        server_hear_load(s, &l, fleet_now(s->fleet));
    else if (e == ERR_OK)
        s->no_load = true;              /* until it is started, or learned, anew */
}

static void ask_load(struct fleet_server *s, int64_t now)
{
    if (s->kind->load == ASK_NOTHING || s->no_load || s->busy.x || now - s->busy_ms < LOAD_MS || (server_running(s) == 0 && now - server_used(s) > LOAD_IDLE_MS))
        return;
    s->busy_ms = now;
    (void)talk_ask(&s->busy, s->pool, kind_question(s->kind->load), s->attached ? s->spec.fields : STR_NONE, STR_NONE, 0);
}

/* What an engine says: how far its load is, and for how long its present step has been running. */
static void read_engine_health(struct fleet_server *s)
{
    struct arena a;
    json v;
    double number;
    arena_init(&a, 64 << 10);
    struct json_limits lim = { .depth = 8, .nodes = 256, .bytes = 16 << 10 };
    if (json_parse(&a, buf_str(&s->health.in), &lim, &v, NULL) == ERR_OK) {
        if (json_f64(json_member(v, S("progress")), &number))
            set_progress(s, number);
        struct load l = LOAD_UNKNOWN;
        if (json_f64(json_member(v, S("tokens")), &l.tokens) && json_f64(json_member(v, S("busy")), &l.running) && json_f64(json_member(v, S("waiting")), &l.waiting))
            server_hear_load(s, &l, fleet_now(s->fleet));
        if (json_f64(json_member(v, S("step_ms")), &number) && number > (double)s->fleet->opt.hang_ms)
            server_stop(s, "one decode step did not end: the engine hangs", true);
    }
    arena_free(&a);
}

static void health_done(struct talk *t, enum err e)
{
    struct fleet_server *s = t->ctx;
    if (e != ERR_OK || !s->child_alive || s->kill_why[0])
        return;                         /* silence is judged by answered_ms */
    s->answered_ms = fleet_now(s->fleet);
    if (is_engine(s))
        read_engine_health(s);
    if (s->state == SERVER_LOADING && t->status == 200 && !s->kill_why[0] && (!s->hash.wanted || hash_known(s)))
        is_up(s);
    fleet_soon(s->fleet);
}

/* ---- the machine ---- */

static bool file_changed(const struct fleet_server *s)
{
    struct stat st;
    const struct stat *was = &s->model_stat;
    return s->file[0] && stat(s->file, &st) == 0 && (st.st_ino != was->st_ino || st.st_size != was->st_size || st.st_mtim.tv_sec != was->st_mtim.tv_sec ||
                                                     st.st_mtim.tv_nsec != was->st_mtim.tv_nsec);
}

/* Before it is up a foreign server need not answer at all: only its whole load has a deadline. */
static void watch(struct fleet_server *s, int64_t now)
{
    bool loading = s->state == SERVER_LOADING;
    int64_t load_ms = s->spec.load_ms ? s->spec.load_ms : s->fleet->opt.load_ms;
    if (s->kill_why[0])
        return;                         /* on its way out */
    if (loading && !is_engine(s))
        s->answered_ms = now;
    if (loading && s->load_ms && !is_engine(s))         /* it took so long the last time */
        set_progress(s, fmin(0.99, (double)(now - s->started_ms) / (double)s->load_ms));
    if (loading && s->hash.wanted && !s->hash.running && s->hash.err != ERR_OK)     /* in this order: while it runs, the rest is its thread's */
        server_stop(s, "the model file changed or could not be read while it was hashed", true);
    else if (loading && now - s->started_ms > load_ms)
        server_stop(s, "it was not ready in time", true);
    else if (now - s->answered_ms > s->fleet->opt.hang_ms)
        server_stop(s, is_engine(s) ? "the engine does not answer" : "the server does not answer", true);
    else if (!loading && file_changed(s))
        server_stop(s, "the model file changed", false);
    else if (!s->health.x && now - s->answered_ms >= (loading ? 0 : PROBE_MS))
        (void)talk_get(&s->health, s->pool, s->spec.health, STR_NONE);
}

static void step_stopping(struct fleet_server *s, int64_t now)
{
    if (s->child_alive && now - s->term_ms > (s->fleet->closing ? s->fleet->drain_ms : TERM_MS))
        start_kill(s, true);
    if (s->attached)
        close_pool(s);
    if (!is_clear(s))
        return;
    if (s->model_fd >= 0)
        close(s->model_fd);
    s->model_fd = -1;
    s->kill_why[0] = '\0';
    atomic_store(&s->leaving, STAYS);
    server_set_state(s, SERVER_OFF, NULL);
}

void server_leave(struct fleet_server *s, enum leaving why)
{
    if (atomic_load(&s->leaving) >= (int)why)
        return;
    atomic_store(&s->leaving, (int)why);
    for (struct fleet_model *m = s->models; m; m = m->next)
        model_shut(m);
}

/* Its doors are shut. When the last call has ended it goes, unless somebody came meanwhile to one that was only idle. */
static void step_leaving(struct fleet_server *s, int64_t now)
{
    static const char *const reasons[] = { "", "nobody asked for it any more", "unloaded", "to make room for another model", "the configuration has no use for it" };
    int leaving = atomic_load(&s->leaving);
    const char *why = leaving == LEAVES_FOR_ROOM ? s->leave_why : reasons[leaving];
    if (leaving == LEAVES_IDLE && is_wanted(s)) {
        atomic_store(&s->leaving, STAYS);       /* model_step() opens its doors again */
        return;
    }
    if (leaving != LEAVES_UNHELD && server_running(s) > 0)
        return;
    s->term_ms = now;
    server_set_state(s, SERVER_STOPPING, why);
    if (s->fleet->closing)
        server_tell(s, "hearth is being stopped");
    server_stop(s, why, false);
}

static bool is_idle(const struct fleet_server *s, int64_t now)
{
    return s->spec.idle_ms && !s->attached && server_running(s) == 0 && now - server_used(s) >= s->spec.idle_ms;
}

/* An Ollama unloads a model and stays; any other server is its model. */
static bool is_to_be_unloaded(struct fleet_server *s)
{
    bool any = false;
    for (struct fleet_model *m = s->models; m && s->kind != kind_of(FLEET_OLLAMA); m = m->next)
        any |= atomic_exchange(&m->unload, false);
    return any;
}

static void step_up(struct fleet_server *s, int64_t now)
{
    if (s->child_alive)
        watch(s, now);
    ask_load(s, now);
    if (is_to_be_unloaded(s))
        server_leave(s, LEAVES_UNLOADED);
    if (is_idle(s, now) && !is_wanted(s))
        server_leave(s, LEAVES_IDLE);
    if (atomic_load(&s->leaving) && !s->kill_why[0])
        step_leaving(s, now);
    for (struct fleet_model *m = s->models; m && !atomic_load(&s->leaving) && !s->kill_why[0] && s->state == SERVER_UP; m = m->next)
        model_step(m, now);
}

/* Unloaded while it fails: it is left alone until somebody asks for it. */
static void step_failing(struct fleet_server *s)
{
    bool any = false;
    for (struct fleet_model *m = s->models; m; m = m->next)
        any |= atomic_exchange(&m->unload, false);
    if (!any || !is_clear(s))
        return;
    pthread_mutex_lock(&s->fleet->lock);
    for (struct fleet_model *m = s->models; m; m = m->next)
        m->wanted = false;
    pthread_mutex_unlock(&s->fleet->lock);
    server_note(s, EVENT_STOPPED, "unloaded");
    server_set_state(s, SERVER_OFF, "");
}

void server_step(struct fleet_server *s, int64_t now)
{
    hash_reap(s);
    if (s->state != SERVER_OFF && s->state != SERVER_STOPPING && !is_held(s)) {
        server_leave(s, LEAVES_UNHELD);
        if (s->state != SERVER_UP)
            step_leaving(s, now);
    }
    switch (s->state) {
    case SERVER_OFF:                    /* started by the keeper, when there is room */
        break;
    case SERVER_PAUSED:
    case SERVER_FAILED:
        step_failing(s);
        break;
    case SERVER_LOADING:
        if (s->child_alive)
            watch(s, now);
        break;
    case SERVER_UP:
        step_up(s, now);
        break;
    case SERVER_STOPPING:
        step_stopping(s, now);
        break;
    }
}
