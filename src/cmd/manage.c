/* `hearth config` and `hearth doctor`: what is in force, what is wrong. */
#include "cmd/app.h"
#include "cmd/term.h"
#include "core/json.h"
#include "io/socket.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- config ---- */

static int config_run(struct cmd *c)
{
    struct app_config *k;
    const char *what = c->argv[0];
    if (strcmp(what, "manual") == 0) {
        struct buf b = { .max = 1 << 20 };
        (void)config_document(&b);
        fwrite(b.p, 1, b.n, stdout);
        buf_free(&b);
        return EXIT_DONE;
    }
    if (strcmp(what, "check") != 0 && strcmp(what, "show") != 0)
        return cmd_fail(EXIT_USAGE, "See: hearth config --help", "hearth config knows check, show and manual, not %s", what);
    int code = app_load(c, true, &k);
    if (code)
        return code;
    const struct config *g = k->config;
    if (strcmp(what, "show") == 0) {
        printf("%.*s%s", STR_ARG(c->f.json ? g->json : g->text), c->f.json ? "\n" : "");
    } else {
        for (size_t i = 0; i < g->n_notes; i++)
            fprintf(stderr, "note: %s\n", g->notes[i].p);
        if (!config_may_listen(g, &g->listen)) {
            code = app_listen_refused(g);
            app_unload(k);
            return code;
        }
        if (c->f.json)
            puts("{\"ok\":true}");
        else
            printf("%s: right. %zu providers, %zu models, %zu tasks.\n", g->path.n ? g->path.p : "no file", g->policy.n_providers, g->policy.n_models, g->policy.n_tasks);
    }
    app_unload(k);
    return EXIT_DONE;
}

const struct command command_config = {
    .name = "config", .args = "check|show|manual", .brief = "check the configuration, or print what is in force",
    .about = "check: every mistake with its line and column. show: the configuration with every default spelled out; keys are never printed.\n"
             "manual: all options, as a page.",
    .examples = "  hearth config check -c hearth.yaml\n  hearth config show > hearth.yaml", .flags = { &flag_config, &flag_model, &flag_json }, .min_args = 1, .max_args = 1,
    .run = config_run,
};

/* ---- doctor ---- */

struct examination { struct cmd *c; int problems; bool first; };

static void finding(struct examination *x, const char *name, bool well, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void finding(struct examination *x, const char *name, bool well, const char *fmt, ...)
{
    char text[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    x->problems += !well;
    if (x->c->f.json) {
        struct buf b = { .max = 1 << 16 };
        struct json_out o;
        json_out_init(&o, &b);
        json_open(&o, '{');
        json_put_key(&o, S("check"));
        json_put_str(&o, str_of(name));
        json_put_key(&o, S("ok"));
        json_put_bool(&o, well);
        json_put_key(&o, S("what"));
        json_put_str(&o, str_of(text));
        json_close(&o, '}');
        printf("%.*s\n", STR_ARG(buf_str(&b)));
        buf_free(&b);
    } else {
        printf("%s%s%s %-14s %s\n", term_out(well ? "32" : "31"), well ? "✓" : "✗", term_out("0"), name, text);
    }
}

static void examine_ledger(struct examination *x, const struct config *g)
{
    struct ledger_reader *r;
    char why[256] = "", free_space[24];
    char dir[PATH_MAX];
    struct statvfs v;
    enum err e = ledger_reader_open(g->ledger.path.p, &r, why);
    if (e == ERR_OK)
        ledger_reader_close(r);
    finding(x, "ledger", e == ERR_OK || e == ERR_NOTFOUND, "%s", e == ERR_OK ? g->ledger.path.p : why);
    snprintf(dir, sizeof dir, "%s", g->ledger.path.p);
    *strrchr(dir, '/') = '\0';
    if (statvfs(dir, &v) == 0) {
        int64_t left = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
        finding(x, "disk", left > 200000000, "%s left at %s%s", term_bytes(left, free_space), dir, left > 200000000 ? "" : ": make room; calls are refused when the ledger cannot be written");
    }
}

/* Where execvp() would find it. */
static bool is_program(str name)
{
    const char *path = getenv("PATH");
    str rest = str_of(path ? path : "/usr/local/bin:/bin:/usr/bin"), dir;
    char file[PATH_MAX];
    if (str_index(name, '/') < name.n)
        return access(name.p, X_OK) == 0;
    while (rest.n) {
        str_cut(rest, ':', &dir, &rest);
        int n = snprintf(file, sizeof file, "%.*s/%.*s", STR_ARG(dir), STR_ARG(name));
        if (n > 0 && n < PATH_MAX && access(file, X_OK) == 0)
            return true;
    }
    return false;
}

static void examine_programs(struct examination *x, const struct config *g)
{
    for (size_t i = 0; i < g->policy.n_providers; i++) {
        const struct managed *m = g->policy.providers[i].managed;
        if (m)
            finding(x, "program", is_program(m->words[0]), "provider %s starts %s%s", g->policy.providers[i].name.p, m->words[0].p,
                    is_program(m->words[0]) ? "" : ", which is not there: install it, or say where it is with program:");
    }
}

static void examine_models(struct examination *x, const struct config *g)
{
    finding(x, "models", g->policy.n_models > 0, g->policy.n_models ? "%zu can be asked for: hearth models" : "none: fetch one (hearth pull --help), or write hearth.yaml", g->policy.n_models);
    for (size_t i = 0; i < g->policy.n_models; i++) {
        const struct model *m = &g->policy.models[i];
        if (m->file.n && access(m->file.p, R_OK))
            finding(x, "model", false, "%s: %s: %s", m->name.p, m->file.p, strerror(errno));
    }
    for (size_t i = 0; i < g->policy.n_providers; i++) {
        const struct provider *p = &g->policy.providers[i];
        if (p->zone == ZONE_CLOUD)
            finding(x, "guard", true, "provider %s is in the cloud zone: %s", p->name.p,
                    g->guard.all.action == GUARD_OFF ? "calls go there as they are (guard: { cloud: off })" : "personal data and secrets are searched for before a call leaves (docs/guard.md)");
        if (!p->zone_written)
            finding(x, "zone", true, "provider %s: no zone is written, taken for %s; private calls will not use it", p->name.p, zone_name(p->zone).p);
    }
}

static int doctor_run(struct cmd *c)
{
    struct examination x = { .c = c };
    struct app_config *k;
    char self[PATH_MAX], engine[PATH_MAX + 64], socket[108];
    int fd;
    int code = app_load(c, true, &k);
    if (code)
        return code;
    const struct config *g = k->config;
    finding(&x, "configuration", true, "%s", g->path.n ? g->path.p : "no file: using what is on this machine");
    examine_ledger(&x, g);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    if (strrchr(self, '/'))
        *strrchr(self, '/') = '\0';
    snprintf(engine, sizeof engine, "%s/../libexec/hearth/hearth-engine", self);
    finding(&x, "engine", access(engine, X_OK) == 0, "%s%s", engine, access(engine, X_OK) ? " is missing: local models cannot be loaded" : "");
    examine_models(&x, g);
    examine_programs(&x, g);
    bool served = app_socket(g, socket) && io_connect_unix(socket, &fd) == ERR_OK;
    if (served)
        close(fd);
    finding(&x, "serve", true, "%s", served ? "hearth is running on this ledger" : "not running: hearth serve");
    if (!served) {
        enum err e = io_listen(&g->listen, 1, &fd);
        if (e == ERR_OK)
            close(fd);
        finding(&x, "port", e == ERR_OK, "%s %s", g->listen_text.p, e == ERR_OK ? "is free" : "is taken by another program: hearth serve --listen 127.0.0.1:PORT");
    }
    app_unload(k);
    return x.problems ? EXIT_FOUND : EXIT_DONE;
}

const struct command command_doctor = {
    .name = "doctor", .args = "", .brief = "look for what would keep hearth from working", .examples = "  hearth doctor",
    .flags = { &flag_json, &flag_config, &flag_model, &flag_ledger }, .max_args = 0, .run = doctor_run,
};
