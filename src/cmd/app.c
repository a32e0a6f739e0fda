/* Bringing the parts up in order, and down again. */
#include "cmd/app.h"
#include "cmd/config_guard.h"
#include "cmd/config_prompts.h"
#include "cmd/discover.h"
#include "cmd/remote.h"
#include "core/cores.h"
#include "fleet/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- configuration ---- */

static enum err no_probe(void *ctx, struct arena *a, uint16_t port, const char *path, str *body)
{
    (void)ctx;
    (void)a;
    (void)port;
    (void)path;
    (void)body;
    return ERR_NOTFOUND;
}

static bool is_model_file(const char *model) { return model && str_ends(str_of(model), S(".gguf")); }

/* --model FILE.gguf: a configuration of one model, named after its file. */
static enum err model_text(struct arena *a, const char *file, str *out)
{
    char path[PATH_MAX];
    if (!realpath(file, path))
        return ERR_NOTFOUND;
    const char *slash = strrchr(path, '/');
    char name[64];
    size_t n = 0;
    for (const char *p = slash + 1; *p && n < sizeof name - 1 && strcmp(p, ".gguf") != 0; p++) {
        char ch = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
        name[n++] = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '.' ? ch : '-';
    }
    name[n] = '\0';
    *out = arena_printf(a, "providers:\n  here: { api: embedded }\nmodels:\n  %s: { provider: here, file: '%s' }\ndefault: %s\n", name, path, name);
    return out->p && !strchr(path, '\'') ? ERR_OK : ERR_SYNTAX;
}

static enum err load(struct app_config *k, struct cmd *c, const struct config_env *env, struct buf *errors)
{
    if (!is_model_file(c->f.model))
        return config_load(&k->arena, c->f.config, env, &k->config, errors);
    str text;
    enum err e = model_text(&k->arena, c->f.model, &text);
    if (e == ERR_NOTFOUND)
        (void)buf_printf(errors, "%s: there is no such file\n", c->f.model);
    return e != ERR_OK ? e : config_load_text(&k->arena, text, "--model", env, &k->config, errors);
}

static void config_release(struct gate_config *g)
{
    struct app_config *k = (struct app_config *)g;
    for (size_t i = 0; g->engines && i < g->policy.n_all; i++)
        if (g->engines[i])
            fleet_put(g->engines[i]);
    guard_finder_free(k->finder);
    arena_free(&k->arena);
    free(k);
}

void app_unload(struct app_config *k)
{
    if (k)
        config_release(&k->gate);
}

enum err app_load_into(struct cmd *c, bool probe, struct app_config **out, struct buf *errors)
{
    struct config_env env;
    struct app_config *k = calloc(1, sizeof *k);
    if (!k)
        return ERR_MEMORY;
    arena_init(&k->arena, CONFIG_ARENA);
    enum err e = config_env_system(&k->arena, &env);
    if (!probe)
        env.get = no_probe;
    if (e == ERR_OK)
        e = load(k, c, &env, errors);
    if (e == ERR_OK)
        e = guard_load_finder(&k->arena, k->config->guard_entry, &k->finder);
    if (e == ERR_OK && c->f.ledger)
        k->config->ledger.path = str_of(c->f.ledger);
    if (e == ERR_OK && c->f.listen && (io_addr_parse(str_of(c->f.listen), &k->config->listen) != ERR_OK || k->config->listen.is_unix || !config_may_listen(k->config, &k->config->listen)))
        e = ERR_RANGE;
    if (e != ERR_OK) {
        app_unload(k);
        return e;
    }
    const struct config *g = k->config;
    k->guard = g->guard;
    k->guard.finder = k->finder;
    k->gate = (struct gate_config){ .policy = g->policy, .upstream = g->upstream, .reply_max = g->reply_max, .keys = g->keys, .prompts = g->prompts, .guard = &k->guard,
                                    .quiet = { g->streams.quiet_ms, g->streams.pings, g->streams.comments }, .hosts = g->hosts.v, .n_hosts = g->hosts.n, .release = config_release };
    atomic_init(&k->gate.refs, 1);
    *out = k;
    return ERR_OK;
}

int app_load(struct cmd *c, bool probe, struct app_config **out)
{
    struct buf errors = { .max = 1 << 20 };
    enum err e = app_load_into(c, probe, out, &errors);
    int code = EXIT_DONE;
    if (errors.n)
        fwrite(errors.p, 1, errors.n, stderr);
    if (e == ERR_RANGE)
        code = cmd_fail(EXIT_USAGE, "Write it as 127.0.0.1:8420; other addresses than loopback need a key first: hearth key add NAME.", "--listen cannot be \"%s\"", c->f.listen);
    else if (e != ERR_OK)
        code = cmd_fail(EXIT_FAILED, "hearth config manual lists every option.", "the configuration cannot be used%s%s", e == ERR_LIMIT ? ": " : "", e == ERR_LIMIT ? err_text(e) : "");
    buf_free(&errors);
    return code;
}

bool app_socket(const struct config *c, char out[108])
{
    char real[PATH_MAX];
    const char *path = realpath(c->ledger.path.p, real) ? real : c->ledger.path.p;
    int n = snprintf(out, 108, "%s.sock", path);
    if (n > 0 && n < 108)
        return true;
    /* The kernel allows 107 bytes: a ledger deep in the tree has its socket among the engines'. */
    struct digest d = sha256_of(str_of(path));
    char hex[17] = { 0 };
    hex_encode(d.b, 8, hex);
    n = snprintf(out, 108, "%s/ledger-%s.sock", c->engine.run_dir.p, hex);
    return n > 0 && n < 108;
}

/* ---- files ---- */

enum err app_make_parents(const char *path)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    for (char *p = dir + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(dir, 0700) && errno != EEXIST)
            return ERR_IO;
        *p = '/';
    }
    return ERR_OK;
}

enum err app_sync_folder(const char *path)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok ? ERR_OK : ERR_IO;
}

/* ---- up ---- */

static int open_ledger(struct app *a, const struct config *c, bool *busy)
{
    struct ledger_options o;
    char why[256] = "";
    ledger_options_default(&o, c->ledger.path.p);
    o.full_sync = c->ledger.sync == CONFIG_SYNC_FULL;
    o.keep_bodies = c->ledger.keep_bodies;
    o.keep_private = c->ledger.keep_private;
    o.retain_ms = c->ledger.retain_ms;
    o.queue_items = (size_t)c->ledger.queue_items;
    o.queue_bytes = c->ledger.queue_bytes;
    o.body_max = c->ledger.body_max;
    if (app_make_parents(c->ledger.path.p) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "the folder of the ledger %s cannot be made: %s", c->ledger.path.p, strerror(errno));
    enum err e = ledger_open(&o, &a->ledger, why);
    *busy = e == ERR_BUSY;
    if (*busy)
        return cmd_fail(EXIT_MISSING, "Stop it, or give this one another ledger with --ledger FILE.", "%s", why);
    return e == ERR_OK ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "%s", *why ? why : err_text(e));
}

/* hearth-engine: where the configuration says, else beside this program, in the build tree as when installed. */
static bool find_engine(const struct config *c, char out[PATH_MAX])
{
    static const char *const places[] = { "../libexec/hearth/hearth-engine", "hearth-engine" };
    char self[PATH_MAX];
    if (c->engine.program.n) {
        snprintf(out, PATH_MAX, "%s", c->engine.program.p);
        return access(out, X_OK) == 0;
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int w = snprintf(out, PATH_MAX, "%s/%s", self, places[i]);
        if (w > 0 && w < PATH_MAX && access(out, X_OK) == 0)
            return true;
    }
    return false;
}

static void on_footprint(void *ctx, const struct digest *key, str facts) { fleet_recall(ctx, key, facts); }

static int open_fleet(struct app *a, const struct config *c)
{
    struct fleet_options o;
    char engine[PATH_MAX];
    fleet_options_default(&o);
    if (!find_engine(c, engine))
        log_warn("engine_missing", LOG_C("looked_for", engine));
    o.engine_path = engine;
    o.run_dir = c->engine.run_dir.p;
    o.log_dir = c->engine.log_dir.p;
    o.digest_cache = c->engine.digests.n ? c->engine.digests.p : NULL;
    o.ledger = a->ledger;
    if (c->engine.prefix_dir.n && app_make_parents(c->engine.prefix_dir.p) == ERR_OK && (mkdir(c->engine.prefix_dir.p, 0700) == 0 || errno == EEXIST))
        o.prefix_dir = c->engine.prefix_dir.p;
    o.prefix_limit = (int64_t)c->engine.prefix_limit;
    if (c->engine.load_ms)
        o.load_ms = c->engine.load_ms;
    if (c->engine.hang_ms)
        o.hang_ms = c->engine.hang_ms;
    o.memory = (int64_t)c->fleet.memory;
    o.stay_ms = c->fleet.stay_ms;
    o.window_ms = c->fleet.window_ms;
    o.wait_ms = c->fleet.wait_ms;
    o.queue = (size_t)c->fleet.queue;
    o.gpu_library = c->fleet.nvml.n ? c->fleet.nvml.p : NULL;
    if (app_make_parents(o.run_dir) != ERR_OK || app_make_parents(o.log_dir) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "the folder %s cannot be made: %s", o.run_dir, strerror(errno));
    enum err e = fleet_new(a->loop, &o, &a->fleet);
    struct ledger_reader *r;
    char why[256];
    if (e == ERR_OK && ledger_reader_open(c->ledger.path.p, &r, why) == ERR_OK) {      /* without: it is measured again */
        (void)ledger_read_footprints(r, on_footprint, a->fleet);
        ledger_reader_close(r);
    }
    return e == ERR_OK ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "the engines' keeper cannot start: %s", err_text(e));
}

/* What changed in the folder of prompts becomes new versions, by whoever holds the ledger. */
static enum err import_prompts(struct app_config *k)
{
    struct config *c = k->config;
    struct config_env env;
    struct buf errors = { .max = 1 << 16 };
    int added = 0;
    if (!c->prompt_options.dir.n)
        return ERR_OK;
    enum err e = config_env_system(&k->arena, &env);
    if (e == ERR_OK)
        e = prompt_dir_import(&k->arena, &env, c->prompt_options.dir.p, c->prompt_options.file.p, &c->prompts, &errors, &added);
    k->gate.prompts = c->prompts;
    if (errors.n)
        log_warn("prompts_not_imported", LOG_S("why", str_trim(buf_str(&errors))));
    if (added)
        log_info("prompts_imported", LOG_I("versions", added));
    buf_free(&errors);
    return e;
}

/* What the fleet should have of a model; false: it is only called, and says nothing of what it is. */
static bool app_spec(struct arena *a, const struct model *m, struct fleet_spec *s)
{
    const struct provider *p = m->provider;
    const struct model *base = m->base ? m->base : m;           /* an adapter's model has the engine of its base */
    const struct kind *preset = p->managed ? kind_find(p->managed->kind) : NULL;
    static const enum fleet_kind by_api[] = { [API_EMBEDDED] = FLEET_ENGINE, [API_OPENAI] = FLEET_OTHER, [API_VLLM] = FLEET_VLLM, [API_LLAMACPP] = FLEET_LLAMA_SERVER,
                                              [API_OLLAMA] = FLEET_OLLAMA, [API_ANTHROPIC] = FLEET_OTHER };
    *s = (struct fleet_spec){ .kind = preset ? kind_id(preset) : by_api[p->api], .provider = p->name, .name = base->name, .id = base->id.n ? base->id : base->name, .file = m->file,
                              .chat_template = m->chat_template, .tools = m->tools, .context = m->context, .threads = m->threads, .slots = m->slots, .memory = m->memory, .gpu = m->gpu, .pin = m->pin, .idle_ms = p->idle_ms,
                              .kv_tokens = m->kv_tokens, .args = m->engine_args, .n_args = m->n_engine_args, .adapters = base->adapters, .n_adapters = base->n_adapters,
                              .adapter = m->base ? m->id : S(""), .health = p->managed ? p->managed->health : S("/health") };
    if (p->managed) {
        s->words = p->managed->words;
        s->n_words = p->managed->n_words;
        s->env = p->managed->env;
        s->n_env = p->managed->n_env;
        s->load_ms = p->managed->load_ms;
        return true;
    }
    if (p->api == API_EMBEDDED)
        return true;
    size_t n;
    /* One of several is counted, whatever it says of itself. */
    if ((s->kind == FLEET_OTHER && !m->main && !m->n_replicas) || gate_origin(p, &s->origin) != ERR_OK)
        return false;
    if ((n = strlen(s->origin.base)) >= 3 && strcmp(s->origin.base + n - 3, "/v1") == 0)
        s->origin.base[n - 3] = '\0';
    s->attached = true;
    if (s->kind == FLEET_OTHER)
        s->kind = FLEET_PLAIN;
    s->here = p->zone == ZONE_MACHINE;
    s->fields = p->key.n ? arena_printf(a, "Authorization: Bearer %.*s\r\n", STR_ARG(p->key)) : S("");
    return s->fields.p != NULL;
}

static bool takes_threads(const struct model *m)
{
    const struct managed *g = m->provider->managed;
    return m->provider->api == API_EMBEDDED || (g && command_has(g->words, g->n_words, COMMAND_THREADS));
}

/* Those that write no number share what is left by those that do. Without a configuration all files of a folder are models: they are used one at a time. */
static int64_t thread_share(const struct config *c, const struct policy *p)
{
    int taken = 0, sharing = 0;
    for (size_t i = 0; i < p->n_all; i++)
        if (takes_threads(&p->models[i])) {
            taken += (int)p->models[i].threads;
            sharing += p->models[i].threads == 0;
        }
    int at_once = c->fleet.at_once ? (int)c->fleet.at_once : c->path.n ? sharing : 1;
    return cores_share(c->fleet.threads ? (int)c->fleet.threads : cores_free(), taken, at_once < sharing ? at_once : sharing);
}

/* Every model that the fleet has to do with gets its place there (nothing is started yet). Keeper's thread. */
static enum err attach_engines(struct app *a, struct app_config *k)
{
    struct policy *p = &k->gate.policy;
    int64_t share = thread_share(k->config, p);
    k->gate.engines = arena_new(&k->arena, struct fleet_model *, p->n_all + 1);
    if (!k->gate.engines)
        return ERR_LIMIT;
    for (size_t i = 0; i < p->n_all; i++) {
        struct fleet_spec s;
        if (!app_spec(&k->arena, &p->models[i], &s))
            continue;
        if (!s.threads && takes_threads(&p->models[i]))
            s.threads = share;
        enum err e = fleet_get(a->fleet, &s, &k->gate.engines[i]);
        if (e != ERR_OK)
            return e;
    }
    if (a->ledger)
        (void)ledger_note_config(a->ledger, &p->hash, k->config->text);
    return ERR_OK;
}

static void on_spend(void *ctx, str key, int64_t day_micros, int64_t month_micros)
{
    int64_t now = clock_wall_us(&clock_system);
    key_accounts_spent(ctx, key, key_day(now), key_month(now), day_micros, month_micros);
}

/* Budgets go on where they stood when the last process ended. */
static int open_accounts(struct app *a, const struct config *c)
{
    struct ledger_reader *r;
    char why[256] = "";
    int64_t now = clock_wall_us(&clock_system);
    enum err e = key_accounts_new(&a->accounts);
    if (e == ERR_OK && c->keys.n && (e = ledger_reader_open(c->ledger.path.p, &r, why)) == ERR_OK) {
        e = ledger_read_spend(r, key_month_begins_us(now), key_day(now) * INT64_C(86400000000), on_spend, a->accounts);
        ledger_reader_close(r);
    }
    return e == ERR_OK ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "what keys have spent cannot be read: %s", *why ? why : err_text(e));
}

int app_listen_refused(const struct config *c)
{
    return cmd_fail(EXIT_FAILED, "Make one with  hearth key add NAME , or write  keys: { listen_open: true }  to let anybody there use every model.",
                    "others can reach %s, and no key is required", c->listen_text.p);
}

static int open_sockets(struct app *a, const struct config *c, bool listen)
{
    struct io_addr u = { .is_unix = true, .loopback = true };
    if (!app_socket(c, a->socket) || app_make_parents(a->socket) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "the command socket of the ledger cannot be made");
    snprintf(u.host, sizeof u.host, "%s", a->socket);
    if (io_listen(&u, 64, &a->unix_fd) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "the command socket %s cannot be opened: %s", a->socket, strerror(errno));
    if (!listen)
        return EXIT_DONE;
    if (!config_may_listen(c, &c->listen))
        return app_listen_refused(c);
    enum err e = io_inherit(&a->tcp_fd) ? ERR_OK : io_listen(&c->listen, 1024, &a->tcp_fd);
    if (e == ERR_BUSY)
        return cmd_fail(EXIT_FAILED, "Another program has the port: choose one with --listen 127.0.0.1:PORT.", "%s is taken", c->listen_text.p);
    if (e != ERR_OK || io_bound_port(a->tcp_fd, &a->port) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "%s cannot be listened on: %s", c->listen_text.p, strerror(errno));
    return EXIT_DONE;
}

static struct app_fixed fixed_of(const struct config *c)
{
    const struct config_ledger *l = &c->ledger;
    return (struct app_fixed){ .limits = c->limits, .threads = c->threads, .log_level = c->log_level, .log_format = c->log_format,
                               .ledger = { l->retain_ms, l->sync, l->queue_items, (int64_t)l->queue_bytes, (int64_t)l->body_max, l->keep_bodies, l->keep_private },
                               .engine = { c->engine.load_ms, c->engine.hang_ms } };
}

int app_start(struct app *a, struct app_config *k, bool listen, bool *busy)
{
    const struct config *c = k->config;
    *a = (struct app){ .cfg = k, .tcp_fd = -1, .unix_fd = -1 };
    *busy = false;
    snprintf(a->ledger_path, sizeof a->ledger_path, "%s", c->ledger.path.p);
    snprintf(a->listen_text, sizeof a->listen_text, "%.*s", STR_ARG(c->listen_text));
    a->listen = c->listen;
    a->fixed = fixed_of(c);
    log_setup((enum log_level)c->log_level, (enum log_format)c->log_format, 2);
    int code = open_ledger(a, c, busy);
    if (code == EXIT_DONE && io_loop_new(&a->loop) != ERR_OK)
        code = cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    if (code == EXIT_DONE)
        code = open_fleet(a, c);
    if (code == EXIT_DONE && import_prompts(k) != ERR_OK)
        code = cmd_fail(EXIT_FAILED, NULL, "the prompts of %s cannot be imported", c->prompt_options.dir.p);
    if (code == EXIT_DONE && attach_engines(a, k) != ERR_OK)
        code = cmd_fail(EXIT_FAILED, NULL, "the engines cannot be prepared");
    if (code == EXIT_DONE)
        code = open_accounts(a, c);
    if (code == EXIT_DONE)
        code = open_sockets(a, c, listen);
    if (code != EXIT_DONE)
        return code;
    struct gate_options o = { .threads = (int)c->threads, .tcp_fd = a->tcp_fd, .unix_fd = a->unix_fd, .own_socket = a->socket, .port = a->port, .limits = c->limits,
                              .accounts = a->accounts, .ledger = a->ledger, .fleet = a->fleet, .manage = remote_answer, .manage_ctx = a, .clock = clock_system, .record_max = c->ledger.body_max };
    if (getenv("HEARTH_BENCH_NO_RECORD")) {     /* what the record costs is measured against this, in bench/gateway */
        o.ledger = NULL;
        log_warn("no_record", LOG_C("why", "HEARTH_BENCH_NO_RECORD is set: no call is recorded"));
        (void)ledger_note_event(a->ledger, "no_record", S("{}"));
    }
    enum err e = gate_start(&o, &k->gate, &a->gate);
    if (e != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "the gateway cannot start: %s", err_text(e));
    (void)ledger_note_event(a->ledger, "start", S("{\"version\":\"" HEARTH_VERSION "\"}"));
    return EXIT_DONE;
}

void app_needs_restart(const struct app *a, const struct config *next, char out[120])
{
    const struct app_fixed *now = &a->fixed, new = fixed_of(next);
    const struct { const char *name; bool differs; } parts[] = {
        { "listen", !str_eq(next->listen_text, str_of(a->listen_text)) },
        { "limits", memcmp(&now->limits, &new.limits, sizeof new.limits) != 0 },
        { "threads", now->threads != new.threads },
        { "log", now->log_level != new.log_level || now->log_format != new.log_format },
        { "ledger", !str_eq(next->ledger.path, str_of(a->ledger_path)) || memcmp(&now->ledger, &new.ledger, sizeof new.ledger) != 0 },
        { "engine", memcmp(&now->engine, &new.engine, sizeof new.engine) != 0 },
    };
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].differs)
            n += (size_t)snprintf(out + n, 120 - n, "%s%s", n ? ", " : "", parts[i].name);
}

void app_reload(struct app *a, struct cmd *c)
{
    struct app_config *k = NULL;
    if (app_load(c, true, &k) != EXIT_DONE || !k) {
        log_error("config_kept", LOG_C("why", "the new one has mistakes; the old one stays in force"));
        return;
    }
    char later[120];
    app_needs_restart(a, k->config, later);
    if (*later)
        log_warn("config_needs_restart", LOG_C("what", later));
    if (!config_may_listen(k->config, &a->listen)) {
        log_error("config_kept", LOG_C("why", "it would leave an address that others can reach without keys"));
        app_unload(k);
        return;
    }
    (void)import_prompts(k);            /* said in the log; the registry is as it was */
    if (attach_engines(a, k) != ERR_OK) {
        log_error("config_kept", LOG_C("why", "its engines cannot be prepared"));
        app_unload(k);
        return;
    }
    gate_swap_config(a->gate, &k->gate);
    gate_config_unref(&a->cfg->gate);
    a->cfg = k;
    log_info("config_loaded", LOG_S("file", k->config->path), LOG_I("models", (int64_t)k->config->policy.n_models));
}

void app_warm(struct app *a)
{
    const struct policy *p = &a->cfg->gate.policy;
    if (p->default_model && p->default_model->provider->api == API_EMBEDDED)
        fleet_start(a->cfg->gate.engines[p->default_model - p->models]);
}

/* ---- down ---- */

struct drain { struct app *app; struct io_timer tick; int64_t until_ms; bool done; };

static void drain_on_tick(struct io_timer *t)
{
    struct drain *d = (struct drain *)((char *)t - offsetof(struct drain, tick));
    if (gate_drained(d->app->gate) || io_now_ms(d->app->loop) >= d->until_ms)
        io_loop_stop(d->app->loop);
    else
        io_timer_start(t, 20);
}

static void drain_on_closed(struct io_timer *t)
{
    ((struct drain *)((char *)t - offsetof(struct drain, tick)))->done = true;
}

void app_drain(struct app *a, int64_t ms)
{
    struct drain d = { .app = a, .until_ms = io_now_ms(a->loop) + ms };
    gate_drain(a->gate);
    io_timer_init(a->loop, &d.tick, drain_on_tick);
    io_timer_start(&d.tick, 1);
    io_loop_run(a->loop);
    io_timer_close(&d.tick, drain_on_closed);
    while (!d.done)
        io_loop_run_once(a->loop);
}

static void on_fleet_closed(void *ctx) { io_loop_stop(ctx); }

void app_stop(struct app *a)
{
    if (a->gate)
        gate_stop(a->gate);
    gate_config_unref(&a->cfg->gate);
    if (a->fleet) {
        fleet_close(a->fleet, 2000, on_fleet_closed, a->loop);
        io_loop_run(a->loop);
    }
    if (a->loop)
        io_loop_free(a->loop);
    if (a->unix_fd >= 0) {
        unlink(a->socket);
        close(a->unix_fd);
    }
    if (a->tcp_fd >= 0)
        close(a->tcp_fd);
    if (a->ledger) {
        (void)ledger_note_event(a->ledger, "stop", S("{}"));
        ledger_close(a->ledger);
    }
    key_accounts_free(a->accounts);
}
