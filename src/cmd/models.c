/* `hearth models` and `hearth rm`: what can be asked for, what it is, whether it fits, how fast it was; and taking one away again. */
#include "cmd/app.h"
#include "cmd/ask.h"
#include "cmd/discover.h"
#include "cmd/term.h"
#include "core/gguf.h"
#include "core/json.h"
#include "fleet/fit.h"
#include "fleet/local.h"
#include "io/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RATES = 200, ANSWERS = 20000, NAME_LEAST = 12, NAME_MOST = 44 };

struct use { int64_t last_us; bool has_fingerprint; struct digest fingerprint; double rates[RATES]; int n; };

struct line {                           /* one model */
    str name, from, zone, state, what;  /* what: a file's path, or the provider's name for it */
    str tools;                          /* how it calls tools; empty: it is not loaded, or nobody said */
    const struct model *model;          /* NULL: only on the disk */
    const struct local_model *local;    /* NULL: in no folder that is looked through */
    bool is_file, sized, has_facts;
    uint64_t bytes, parameters, context;
    char architecture[64];
    const char *quantization;
    struct fit fit;
    enum fit_verdict fits;
    struct use *use;
};

struct listing {
    struct cmd *c;
    struct app_config *k;
    struct arena *a;
    str served;                         /* what a running hearth says of its models */
    struct local_model *local;
    size_t n_local;
    struct line *lines;
    size_t n;
    uint64_t available;
};

/* ---- a running hearth ---- */

/* What a running hearth says of its models, or nothing. */
static str ask_models(struct arena *a, const char *socket)
{
    struct io_loop *l;
    struct ask k;
    str body = STR_NONE;
    int fd;
    if (io_connect_unix(socket, &fd) != ERR_OK)
        return body;
    close(fd);
    if (io_loop_new(&l) != ERR_OK)
        return body;
    ask_call(l, socket, S("GET"), S("/v1/models"), S(""), STR_NONE, NULL, NULL, &k);
    if (k.err == ERR_OK && k.status == 200)
        body = arena_str(a, buf_str(&k.body));
    ask_free(&k);
    io_loop_free(l);
    return body;
}

/* Its state, and how it calls tools where that is known (it is loaded). */
static str state_of(struct arena *a, str served, str name, str *tools)
{
    json v;
    str text;
    if (!served.n || json_parse(a, served, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return S("not running");
    for (json m = json_first(json_member(v, S("data"))); json_type(m) != JSON_NONE; m = json_next(m))
        if (json_is(json_member(m, S("id")), name)) {
            (void)json_text(a, json_member(json_member(m, S("hearth")), S("tools")), tools);
            return json_text(a, json_member(json_member(m, S("hearth")), S("state")), &text) == ERR_OK ? text : S("served");
        }
    return S("not in force: restart, or kill -HUP");
}

/* ---- what a model is ---- */

/* The same file, by whatever path. */
static const struct local_model *find_local(const struct listing *l, const char *path)
{
    struct stat mine, other;
    if (stat(path, &mine) != 0)
        return NULL;
    for (size_t i = 0; i < l->n_local; i++)
        if (str_eq(l->local[i].path, str_of(path)))
            return &l->local[i];
    for (size_t i = 0; i < l->n_local; i++)
        if (l->local[i].bytes == (uint64_t)mine.st_size && stat(l->local[i].path.p, &other) == 0 && app_same_file(&mine, &other))
            return &l->local[i];
    return NULL;
}

static void read_facts(const struct listing *l, struct line *x)
{
    struct buf head = { .max = GGUF_HEAD_MAX };
    struct gguf_facts f;
    struct stat st;
    const char *why;
    const struct model *m = x->model;
    int fd = x->what.p ? open(x->what.p, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return;
    x->sized = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    x->bytes = x->local ? x->local->bytes : x->sized ? (uint64_t)st.st_size : 0;
    x->has_facts = x->sized && local_read_head(fd, &head, &f, &why) == ERR_OK;
    if (x->has_facts) {
        x->parameters = f.parameters;
        x->context = m && m->context ? (uint64_t)m->context : f.context;
        x->quantization = gguf_file_type(f.file_type);
        snprintf(x->architecture, sizeof x->architecture, "%.*s", STR_ARG(f.architecture));
        x->fit = fit_estimate(&f, x->bytes, m ? (uint64_t)m->context : 0, m ? (uint64_t)m->slots : 0);
        x->fits = fit_judge(&x->fit, l->available);
    }
    buf_free(&head);
    close(fd);
}

static void describe(struct listing *l, const struct model *m, const struct local_model *local)
{
    struct line *x = &l->lines[l->n++];
    *x = (struct line){ .model = m, .local = local, .fits = FIT_UNKNOWN, .quantization = "" };
    x->is_file = !m || m->file.n;
    if (m) {
        x->name = m->name;
        x->zone = zone_name(m->provider->zone);
        x->state = state_of(l->a, l->served, m->name, &x->tools);
        x->what = m->file.n ? m->file : m->id.n ? m->id : m->name;
        x->local = m->file.n ? find_local(l, m->file.p) : NULL;
        x->from = x->local ? str_of(local_store_name(x->local->store)) : m->file.n ? S("file") : m->provider->name;
    } else if (local) {
        x->name = local->name;
        x->zone = zone_name(ZONE_MACHINE);
        x->state = local->files > 1 ? S("split: join it") : S("on disk");
        x->what = local->path;
        x->from = str_of(local_store_name(local->store));
    }
    if (x->is_file)
        read_facts(l, x);
    if (str_eq(x->state, S("ready")))   /* it is in memory, whatever is left of that */
        x->fits = FIT_YES;
}

/* ---- what the ledger says ---- */

static void on_answer(void *ctx, const struct ledger_answer *a)
{
    struct listing *l = ctx;
    for (size_t i = 0; i < l->n; i++) {
        struct use *u = l->lines[i].use;
        if (!u || !str_eq(l->lines[i].name, a->model))
            continue;
        if (!u->last_us) {
            u->last_us = a->at_us;
            u->has_fingerprint = a->has_fingerprint;
            u->fingerprint = a->fingerprint;
        }
        /* What had this name before it became another model says nothing of this one. */
        bool same = u->has_fingerprint == a->has_fingerprint && (!u->has_fingerprint || digest_eq(&u->fingerprint, &a->fingerprint));
        if (same && a->tokens_per_second > 0 && u->n < RATES)
            u->rates[u->n++] = a->tokens_per_second;
        return;
    }
}

static void read_use(struct listing *l)
{
    struct ledger_reader *r;
    char why[256];
    for (size_t i = 0; i < l->n; i++)
        if (l->lines[i].model)
            l->lines[i].use = arena_new(l->a, struct use, 1);
    if (ledger_reader_open(l->k->config->ledger.path.p, &r, why) != ERR_OK)
        return;
    (void)ledger_read_answers(r, ANSWERS, on_answer, l);
    ledger_reader_close(r);
}

static int by_rate(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

/* The median; 0: never measured. */
static double speed(struct use *u)
{
    if (!u || u->n == 0)
        return 0;
    qsort(u->rates, (size_t)u->n, sizeof *u->rates, by_rate);
    return u->n % 2 ? u->rates[u->n / 2] : (u->rates[u->n / 2 - 1] + u->rates[u->n / 2]) / 2;
}

/* ---- printing ---- */

static void put_text(struct json_out *o, const char *key, str text)
{
    if (!text.n)
        return;
    json_put_key(o, str_of(key));
    json_put_str(o, text);
}

static void put_number(struct json_out *o, const char *key, uint64_t n)
{
    if (!n)
        return;
    json_put_key(o, str_of(key));
    json_put_i64(o, n < INT64_MAX ? (int64_t)n : INT64_MAX);
}

static void print_json(const struct listing *l, struct line *x)
{
    struct buf b = { .max = 1 << 16 };
    struct json_out o;
    char hex[HEX_DIGEST], at[CLOCK_TEXT];
    double rate = speed(x->use);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_text(&o, "name", x->name);
    put_text(&o, "provider", x->model ? x->model->provider->name : STR_NONE);
    put_text(&o, "zone", x->zone);
    put_text(&o, "state", x->state);
    put_text(&o, "tools", x->tools);
    put_text(&o, x->is_file ? "file" : "id", x->what);
    json_put_key(&o, S("default"));
    json_put_bool(&o, x->model && x->model == l->k->config->policy.default_model);
    put_text(&o, "from", x->from);
    put_text(&o, "source", x->local ? x->local->source : STR_NONE);
    put_number(&o, "files", x->local ? x->local->files : 0);
    put_number(&o, "size_bytes", x->bytes);
    put_text(&o, "architecture", str_of(x->architecture));
    put_number(&o, "parameters", x->parameters);
    put_text(&o, "quantization", str_of(x->quantization));
    put_number(&o, "context", x->context);
    if (x->has_facts) {
        put_text(&o, "fits", str_of(fit_verdict_name(x->fits)));
        put_number(&o, "need_bytes", x->fit.all);
        put_number(&o, "available_bytes", l->available);
    }
    if (x->local && x->local->has_digest) {
        hex_encode(x->local->digest.b, sizeof x->local->digest.b, hex);
        put_text(&o, "sha256", str_slice(hex, sizeof hex));
    }
    if (rate > 0) {
        json_put_key(&o, S("tokens_per_second"));
        json_put_f64(&o, round(rate * 10) / 10);
    }
    if (x->use && x->use->last_us) {
        clock_text(x->use->last_us, at);
        put_text(&o, "last_use", str_of(at));
    }
    json_close(&o, '}');
    printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_free(&b);
}

/* "2 min ago", "3 h ago", "12 d ago" */
static const char *ago(int64_t us, char out[24])
{
    int64_t s = (clock_wall_us(&clock_system) - us) / 1000000;
    if (s < 60)
        snprintf(out, 24, "just now");
    else if (s < 5400)
        snprintf(out, 24, "%lld min ago", (long long)s / 60);
    else if (s < 172800)
        snprintf(out, 24, "%lld h ago", (long long)s / 3600);
    else
        snprintf(out, 24, "%lld d ago", (long long)s / 86400);
    return out;
}

static const char *context_text(uint64_t n, char out[24])
{
    if (n == 0)
        return "-";
    snprintf(out, 24, n >= 1024 && n % 1024 == 0 ? "%lluK" : "%llu", (unsigned long long)(n >= 1024 && n % 1024 == 0 ? n / 1024 : n));
    return out;
}

static void print_line(const struct listing *l, struct line *x, int width)
{
    char size[24], count[24], context[24], used[24], rate_text[24] = "-";
    double rate = speed(x->use);
    bool is_default = x->model && x->model == l->k->config->policy.default_model;
    if (rate > 0)
        snprintf(rate_text, sizeof rate_text, rate < 10 ? "%.1f t/s" : "%.0f t/s", rate);
    term_cell(stdout, x->name, width, true);
    printf(" %-8s %-7s %-8s %-8s ", x->bytes ? term_bytes((int64_t)x->bytes, size) : "-", x->parameters ? term_count(x->parameters, count) : "-", *x->quantization ? x->quantization : "-",
           context_text(x->context, context));
    printf("%s%-7s%s ", x->fits == FIT_NO ? term_out("31") : x->fits == FIT_TIGHT ? term_out("33") : "", x->fits == FIT_UNKNOWN ? "-" : fit_verdict_name(x->fits),
           x->fits == FIT_NO || x->fits == FIT_TIGHT ? term_out("0") : "");
    printf("%-9s %-11s ", rate_text, x->use && x->use->last_us ? ago(x->use->last_us, used) : "-");
    term_cell(stdout, x->is_file ? x->from : arena_printf(l->a, "%.*s (%.*s)", STR_ARG(x->from), STR_ARG(x->zone)), 18, true);
    printf(" %.*s%s%s%.*s\n", STR_ARG(x->state), is_default ? ", default" : "", x->tools.n ? ", tools as " : "", STR_ARG(x->tools));
}

/* Columns are bytes in the names that are listed here, so that a longest one is found without counting characters. */
static void print_table(const struct listing *l)
{
    int width = NAME_LEAST;
    for (size_t i = 0; i < l->n; i++)
        width = (int)l->lines[i].name.n > width ? (int)l->lines[i].name.n : width;
    width = width < NAME_MOST ? width : NAME_MOST;
    printf("%s%-*s %-8s %-7s %-8s %-8s %-7s %-9s %-11s %-18s %s%s\n", term_out("1"), width, "NAME", "SIZE", "PARAMS", "QUANT", "CONTEXT", "FITS", "SPEED", "USED", "FROM", "STATE", term_out("0"));
    for (size_t i = 0; i < l->n; i++)
        print_line(l, &l->lines[i], width);
}

/* ---- hearth models ---- */

static enum err find_models(struct arena *a, const struct config *g, struct local_model **out, size_t *n)
{
    struct config_env env;
    enum err e = config_env_system(a, &env);
    return e == ERR_OK ? env.models(env.ctx, a, g->models_dir, g->n_models_dir, out, n) : e;
}

static bool is_configured(const struct listing *l, const struct local_model *m)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->lines[i].local == m)
            return true;
    return false;
}

static int models_run(struct cmd *c)
{
    struct listing l = { .c = c, .a = &c->arena, .available = fit_available() };
    char socket[108];
    int code = app_load(c, true, &l.k);
    if (code)
        return code;
    const struct config *g = l.k->config;
    const struct policy *p = &g->policy;
    l.served = app_socket(g, socket) ? ask_models(l.a, socket) : STR_NONE;
    if (find_models(l.a, g, &l.local, &l.n_local) != ERR_OK)
        l.n_local = 0;
    l.lines = arena_new(l.a, struct line, p->n_models + l.n_local + 1);
    if (!l.lines) {
        app_unload(l.k);
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    }
    for (size_t i = 0; i < p->n_models; i++)
        describe(&l, &p->models[i], NULL);
    size_t asked = l.n;
    for (size_t i = 0; i < l.n_local; i++)
        if (c->f.on_disk && !is_configured(&l, &l.local[i]))
            describe(&l, NULL, &l.local[i]);
    read_use(&l);
    if (!c->f.json && l.n)
        print_table(&l);
    for (size_t i = 0; c->f.json && i < l.n; i++)
        print_json(&l, &l.lines[i]);
    if (!l.n)
        fprintf(stderr, "No models. Fetch one:  hearth pull hf:OWNER/REPO  or  hearth pull ollama:NAME ; or write hearth.yaml, see docs/configuration.md.\n");
    app_unload(l.k);
    return asked ? EXIT_DONE : EXIT_MISSING;
}

const struct command command_models = {
    .name = "models", .args = "", .brief = "list the models that can be asked for",
    .about = "With size, parameters, quantization, context, whether it fits into the memory that is free now (an estimate), the median speed of its\n"
             "answers and its last use, both from the ledger. Without a configuration these are the models found on this machine: hearth's own, those\n"
             "in the stores of Ollama, of the hub's cache, LM Studio and llama.cpp, and those of servers that run.",
    .examples = "  hearth models\n  hearth models --all\n  hearth models --json",
    .flags = { &flag_on_disk, &flag_json, &flag_config, &flag_model, &flag_ledger }, .max_args = 0, .run = models_run,
};

/* ---- hearth rm ---- */

/* Removes the files of a model, and what lies beside them. Bytes that were freed; -1: it did not work. */
static int64_t remove_files(int dir, const struct local_model *m)
{
    static const char *const beside[] = { "", ".json", ".part", ".part.json" };
    const char *first = strrchr(m->path.p, '/') + 1;
    char name[SOURCE_NAME + 32];
    str stem = str_of(first);
    uint32_t no, count = 1;
    int64_t freed = 0;
    if (!gguf_split_name(str_of(first), &stem, &no, &count))
        count = 1;
    for (uint32_t i = 1; i <= count; i++)
        for (size_t k = 0; k < sizeof beside / sizeof *beside; k++) {
            struct stat st;
            int n = count == 1 ? snprintf(name, sizeof name, "%s%s", first, beside[k]) : snprintf(name, sizeof name, "%.*s-%05u-of-%05u.gguf%s", STR_ARG(stem), i, count, beside[k]);
            if (n >= (int)sizeof name || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
                continue;
            if (unlinkat(dir, name, 0) != 0)
                return -1;
            freed += st.st_size;
        }
    return freed;
}

/* A download that never became a model: FILE.gguf, of which only FILE.gguf.part is there. */
static bool remove_part(const struct config *g, const char *file)
{
    struct local_model m = { .path = str_of(file) };
    bool removed = false;
    if (!source_is_part(str_of(file)) || !str_ends(str_of(file), S(".gguf")))
        return false;
    for (size_t i = 0; i < g->n_models_dir; i++) {
        char path[PATH_MAX];
        int dir = open(g->models_dir[i].p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        snprintf(path, sizeof path, "%s/%s", g->models_dir[i].p, file);
        m.path = str_of(path);
        removed |= dir >= 0 && remove_files(dir, &m) > 0;
        if (dir >= 0)
            close(dir);
    }
    return removed;
}

static int remove_model(struct cmd *c, const struct config *g, const struct local_model *m)
{
    static const char *const theirs[] = { "", "Remove it with Ollama: ollama rm NAME.", "It belongs to the hub's cache: hf cache delete.", "Remove it in LM Studio.", "It belongs to llama.cpp's cache." };
    char folder[PATH_MAX], size[24];
    if (m->store != LOCAL_HEARTH)
        return cmd_fail(EXIT_FAILED, theirs[m->store], "%s lies in another program's folder: %s", c->argv[0], m->path.p);
    for (size_t i = 0; g->path.n && i < g->policy.n_models; i++)
        if (str_eq(g->policy.models[i].file, m->path))
            return cmd_fail(EXIT_FAILED, "Take that line out first.", "%s serves it as %s", g->path.p, g->policy.models[i].name.p);
    if (!m->source.n && !c->f.yes)
        return cmd_fail(EXIT_FAILED, "With --yes it is removed all the same.", "%s was not pulled, so it may be the only copy: %s", c->argv[0], m->path.p);
    snprintf(folder, sizeof folder, "%s", m->path.p);
    *strrchr(folder, '/') = '\0';
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int64_t freed = dir >= 0 ? remove_files(dir, m) : -1;
    int error = errno;
    if (dir >= 0)
        close(dir);
    if (freed < 0)
        return cmd_fail(EXIT_FAILED, NULL, "%s cannot be removed: %s", m->path.p, strerror(error));
    if (!c->f.quiet)
        printf("%.*s is gone (%s)\n", STR_ARG(m->name), term_bytes(freed, size));
    return EXIT_DONE;
}

static int rm_run(struct cmd *c)
{
    struct app_config *k;
    struct local_model *list;
    const struct local_model *found = NULL;
    size_t n;
    str want = str_of(c->argv[0]);
    int code = app_load(c, false, &k);
    if (code)
        return code;
    if (find_models(&c->arena, k->config, &list, &n) != ERR_OK)
        n = 0;
    for (size_t i = 0; i < n && !found; i++)
        if (str_eq(list[i].name, want) || (list[i].store == LOCAL_HEARTH && str_eq(str_of(strrchr(list[i].path.p, '/') + 1), want)))
            found = &list[i];
    if (found)
        code = remove_model(c, k->config, found);
    else if (!remove_part(k->config, c->argv[0]))
        code = cmd_fail(EXIT_MISSING, "See: hearth models --all", "there is no model %s in %s", c->argv[0], k->config->models_dir[0].p);
    app_unload(k);
    return code;
}

const struct command command_rm = {
    .name = "rm", .args = "MODEL", .brief = "remove a model that was pulled",
    .about = "Removes the files of a model in hearth's own folder, by its name or its file's; also what an interrupted pull has left (FILE.gguf).\n"
             "What lies in other programs' folders is theirs to remove.",
    .examples = "  hearth rm qwen3:4b", .flags = { &flag_yes, &flag_quiet, &flag_config }, .min_args = 1, .max_args = 1, .run = rm_run,
};
