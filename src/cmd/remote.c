/* The routes of management. Each answers as its command does with --json, so that a program needs to know one of the two. */
#include "cmd/remote.h"

#include "cmd/config_keys.h"
#include "cmd/discover.h"
#include "cmd/lookup.h"
#include "core/json.h"

#include <signal.h>
#include <unistd.h>

enum { ROWS_DEFAULT = 20, ROWS_MAX = 1000 };

struct remote {
    struct app *app;
    const struct app_config *cfg;       /* in force when the question came */
    const struct gate_question *q;
    struct gate_answer *out;
    struct arena *a;
    str rest;                           /* of the path, decoded */
};

static void fail(struct remote *x, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fail(struct remote *x, int status, const char *fmt, ...)
{
    struct json_out o;
    va_list ap;
    va_start(ap, fmt);
    str text = arena_vprintf(x->a, fmt, ap);
    va_end(ap);
    x->out->status = status;
    x->out->content_type = S("application/json");
    buf_clear(&x->out->body);
    json_out_init(&o, &x->out->body);
    json_open(&o, '{');
    json_put_key(&o, S("error"));
    json_put_str(&o, text);
    json_close(&o, '}');
}

static void done(struct remote *x, int status, str type)
{
    x->out->status = status;
    x->out->content_type = type;
}

/* ---- calls ---- */

struct wish {
    str task, model, provider, zone, outcome, key, conversation, since, until, limit, after, all, guarded, bodies;
};
static const struct { const char *name; size_t offset; bool of_one; } params[] = {      /* of_one: of a single call, too */
#define W(f) { #f, offsetof(struct wish, f), false }
    W(task), W(model), W(provider), W(zone), W(outcome), W(key), W(conversation), W(since), W(until), W(limit), W(after), W(all), W(guarded), { "bodies", offsetof(struct wish, bodies), true },
};

static bool read_wish(struct remote *x, bool of_one, struct wish *out)
{
    str rest = x->q->query, name, value;
    enum err e;
    *out = (struct wish){ .task = STR_NONE };
    while ((e = http_query_next(x->a, &rest, &name, &value)) == ERR_OK) {
        size_t i = 0;
        while (i < sizeof params / sizeof *params && (!str_eq(str_of(params[i].name), name) || (of_one && !params[i].of_one)))
            i++;
        if (i == sizeof params / sizeof *params) {
            fail(x, 400, "there is no filter %.*s here", (int)(name.n < 100 ? name.n : 100), name.p);
            return false;
        }
        *(str *)((char *)out + params[i].offset) = value;
    }
    if (e != ERR_NOTFOUND)
        fail(x, 400, "the query is not valid");
    return e == ERR_NOTFOUND;
}

static bool is_yes(str s) { return s.n && !str_eq(s, S("0")) && !str_eq(s, S("false")); }

static bool make_filter(struct remote *x, const struct wish *w, struct ledger_filter *f)
{
    *f = (struct ledger_filter){ .task = w->task, .model = w->model, .provider = w->provider, .zone = w->zone, .outcome = w->outcome, .key = w->key, .conversation = w->conversation,
                                 .limit = ROWS_DEFAULT, .guarded = is_yes(w->guarded), .kinds = is_yes(w->all) ? ~0u : 0 };
    if (!lookup_ago(w->since.n ? arena_cstr(x->a, w->since) : NULL, &f->since_us) || !lookup_ago(w->until.n ? arena_cstr(x->a, w->until) : NULL, &f->until_us))
        fail(x, 400, "since and until take how long ago: 90s, 15m, 12h or 7d");
    else if (w->limit.n && (!str_i64(w->limit, &f->limit) || f->limit < 1 || f->limit > ROWS_MAX))
        fail(x, 400, "limit is a number from 1 to %d", ROWS_MAX);
    else if (w->after.n && (!str_i64(w->after, &f->after_seq) || f->after_seq < 0))
        fail(x, 400, "after is the seq of a row");
    else {
        f->after_seq = w->after.n && !f->after_seq ? -1 : f->after_seq;     /* from the first row, in order */
        return true;
    }
    return false;
}

static struct ledger_reader *open_reader(struct remote *x)
{
    struct ledger_reader *r = NULL;
    char why[256] = "";
    if (ledger_reader_open(x->app->ledger_path, &r, why) == ERR_OK)
        return r;
    fail(x, 503, "%s", *why ? why : err_text(ERR_STORE));
    return NULL;
}

struct lines { struct buf *to; struct lookup_bodies *bodies; enum err err; };

static bool each_row(void *ctx, const struct ledger_seen *s)
{
    struct lines *l = ctx;
    l->err = lookup_line(l->to, s, l->bodies);
    return l->err == ERR_OK;
}

/* Bodies of private calls are read on the machine itself. */
static void answer_calls(struct remote *x)
{
    struct wish w;
    struct ledger_filter f;
    if (!read_wish(x, false, &w) || !make_filter(x, &w, &f))
        return;
    struct lookup_bodies bodies = { .r = open_reader(x), .open_only = !x->q->via_unix };
    if (!bodies.r)
        return;
    struct lines l = { &x->out->body, is_yes(w.bodies) ? &bodies : NULL, ERR_OK };
    enum err e = ledger_read(bodies.r, &f, each_row, &l);
    ledger_reader_close(bodies.r);
    if (e == ERR_OK && l.err == ERR_OK)
        done(x, 200, S("application/x-ndjson"));
    else if (l.err == ERR_LIMIT)
        fail(x, 400, "so much is not answered at once: ask with a smaller limit");
    else
        fail(x, 503, "the ledger cannot be read");
}

static void answer_call(struct remote *x)
{
    struct wish w;
    struct lookup found;
    if (!read_wish(x, true, &w))
        return;
    struct lookup_bodies bodies = { .r = open_reader(x), .open_only = !x->q->via_unix };
    if (!bodies.r)
        return;
    enum err e = lookup_find(x->a, bodies.r, x->rest, &found);
    for (int i = 0; i < found.n && e == ERR_OK; i++)
        e = lookup_line(&x->out->body, &found.rows[i], is_yes(w.bodies) ? &bodies : NULL);
    ledger_reader_close(bodies.r);
    if (e == ERR_OK)
        done(x, 200, S("application/x-ndjson"));
    else
        fail(x, e == ERR_NOTFOUND || e == ERR_RANGE ? 404 : 503, e == ERR_NOTFOUND ? "there is no call %.*s" : e == ERR_RANGE ? "an id has at least four characters, not %.*s"
                                                                                                                    : "the ledger cannot be read for %.*s", (int)(x->rest.n < 100 ? x->rest.n : 100), x->rest.p);
}

/* ---- configuration and keys ---- */

static void put_hash(struct remote *x, const struct app_config *k)
{
    char hex[HEX_DIGEST + 1] = "";
    hex_encode(k->config->policy.hash.b, sizeof k->config->policy.hash.b, hex);
    snprintf(x->out->fields, sizeof x->out->fields, "x-hearth-config: %s\r\n", hex);
}

/* Where a secret comes from stands in it, the secret does not. */
static void answer_config(struct remote *x)
{
    if (buf_put(&x->out->body, x->cfg->config->json) != ERR_OK)
        return;
    put_hash(x, x->cfg);
    done(x, 200, S("application/json"));
}

static void answer_keys(struct remote *x)
{
    struct config_env env;
    struct key_file keys;
    struct buf errors = { .max = 1 << 16 };
    enum err e = config_env_system(x->a, &env);
    if (e == ERR_OK)
        e = key_file_load(x->a, &env, x->cfg->config->keys_options.file.p, &errors, &keys);
    if (e == ERR_OK)
        e = key_file_json(&keys, &x->out->body);
    if (e == ERR_OK)
        done(x, 200, S("application/json"));
    else
        fail(x, 503, "%.*s", (int)errors.n, errors.n ? errors.p : "");
    buf_free(&errors);
}

/* Read and checked here; when it is right, the keeper does as on SIGHUP. What it cannot put in force it says in the log, and the header of
 * /hearth/config shows which one is. */
static void answer_reload(struct remote *x)
{
    struct app_config *k = NULL;
    struct cmd *c = atomic_load(&x->app->reloads);
    struct buf errors = { .max = 1 << 16 };
    char later[120];
    if (!c) {
        fail(x, 501, "this hearth was not started by hearth serve: it reads no configuration again");
        return;
    }
    enum err e = app_load_into(c, true, &k, &errors);
    if (e == ERR_OK)
        app_needs_restart(x->app, k->config, later);
    if (e != ERR_OK) {
        fail(x, 400, "the old configuration stays in force: %.*s", STR_ARG(errors.n ? str_slice(errors.p, errors.n - 1) : str_of(err_text(e))));
    } else if (!config_may_listen(k->config, &x->app->listen)) {
        fail(x, 400, "the old configuration stays in force: the new one would leave an address that others can reach without keys");
    } else if (kill(getpid(), SIGHUP) == 0 && buf_printf(&x->out->body, "{\"accepted\":true,\"needs_restart\":\"%s\"}", later) == ERR_OK) {
        put_hash(x, k);
        done(x, 202, S("application/json"));
    }
    app_unload(k);
    buf_free(&errors);
}

/* ---- the table ---- */

static const struct route { str method, path; bool prefix; void (*answer)(struct remote *x); } routes[] = {
    { S("GET"), S("calls"), false, answer_calls },
    { S("GET"), S("calls/"), true, answer_call },
    { S("GET"), S("config"), false, answer_config },
    { S("GET"), S("keys"), false, answer_keys },
    { S("POST"), S("reload"), false, answer_reload },
};

void remote_answer(void *app, const struct gate_question *q, struct gate_answer *out)
{
    struct arena a;
    bool known = false;
    arena_init(&a, 256u << 20);
    struct remote x = { .app = app, .cfg = (const struct app_config *)q->config, .q = q, .out = out, .a = &a };
    fail(&x, 500, "%s", err_text(ERR_INTERNAL));        /* what stays when an answer does not fit */
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const struct route *r = &routes[i];
        if (r->prefix ? q->path.n <= r->path.n || !str_starts(q->path, r->path) : !str_eq(q->path, r->path))
            continue;
        known = true;
        if (!str_eq(r->method, q->method))
            continue;
        buf_clear(&out->body);
        out->status = 0;
        if (r->prefix && http_path_decode(&a, str_skip(q->path, r->path.n), &x.rest) != ERR_OK)
            fail(&x, 400, "the path is not valid");
        else
            r->answer(&x);
        if (!out->status)
            fail(&x, 500, "%s", err_text(ERR_LIMIT));
        arena_free(&a);
        return;
    }
    fail(&x, known ? 405 : 404, known ? "this path does not take that method" : "there are /hearth/calls, /hearth/calls/ID, /hearth/config and /hearth/keys to read, and POST /hearth/reload");
    arena_free(&a);
}
