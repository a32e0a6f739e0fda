/* `hearth export` and `hearth erase`: what the ledger holds, taken out, and taken away. */
#include "cmd/ask.h"
#include "cmd/lookup.h"
#include "cmd/reach.h"
#include "cmd/term.h"
#include "core/json.h"

#include <unistd.h>

/* ---- export ---- */

struct exporting {
    struct cmd *c;
    struct ledger_reader *r;
    struct lookup_bodies bodies;
    int64_t last, rows;
    bool failed;
};

static bool each_row(void *ctx, const struct ledger_seen *s)
{
    struct exporting *x = ctx;
    struct buf b = { .max = 1u << 30 };
    x->failed = lookup_line(&b, s, x->c->f.bodies ? &x->bodies : NULL) != ERR_OK || fwrite(b.p, 1, b.n, stdout) != b.n;
    buf_free(&b);
    x->last = s->seq;
    x->rows++;
    return !x->failed;
}

static int export_run(struct cmd *c)
{
    struct app_config *k;
    const struct flags *g = &c->f;
    struct exporting x = { .c = c };
    struct ledger_filter f = { .task = str_of(g->task), .model = str_of(g->model), .key = str_of(g->key), .conversation = str_of(g->conversation), .outcome = str_of(g->outcome),
                               .kinds = g->all ? ~0u : 1u << ROW_END, .limit = 500 };
    if (!lookup_ago(g->since, &f.since_us) || !lookup_ago(g->until, &f.until_us))
        return cmd_fail(EXIT_USAGE, "Write it as 90s, 15m, 12h or 7d.", "--since and --until take how long ago");
    int code = lookup_open(c, &k, &x.r);
    if (code)
        return code;
    x.bodies.r = x.r;
    enum err e = ERR_OK;
    for (int64_t before = -1; e == ERR_OK && before != x.rows && !x.failed;) {
        before = x.rows;
        f.after_seq = x.last ? x.last : -1;         /* in order, from the first */
        e = ledger_read(x.r, &f, each_row, &x);
        if (term_is_err() && !term_is_out())
            term_progress("rows", x.rows, x.rows);
    }
    term_progress_end();
    if (e != ERR_OK || x.failed)
        code = cmd_fail(EXIT_FAILED, NULL, "the export is not whole: %s", e != ERR_OK ? err_text(e) : "the output could not be written");
    else
        fprintf(stderr, "%lld rows%s\n", (long long)x.rows, x.bodies.missing ? "; some bodies are not kept, erased or sealed, and stand as null" : "");
    ledger_reader_close(x.r);
    app_unload(k);
    return code;
}

const struct command command_export = {
    .name = "export", .args = "[filters] > FILE", .brief = "take calls out of the ledger, a JSON object a line, oldest first",
    .about = "Fields have the names of the ledger; hearth show and docs/tour.md say what they are. With --bodies, prompts and answers as they went over the wire.",
    .examples = "  hearth export --since 7d > week.jsonl\n  hearth export --task docstring --outcome ok --bodies > docstrings.jsonl",
    .flags = { &flag_bodies, &flag_all, &flag_task, &flag_model, &flag_key, &flag_conversation, &flag_outcome, &flag_since, &flag_until, &flag_config, &flag_ledger }, .max_args = 0,
    .run = export_run,
};

/* ---- erase ---- */

struct waiting { str token; int64_t bodies; bool found; struct arena *a; };

static bool each_event(void *ctx, const struct ledger_seen *s)
{
    struct waiting *w = ctx;
    json v;
    if (str_eq(s->row.event, S("bodies_erased")) && json_parse(w->a, s->row.detail, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK && json_is(json_member(v, S("token")), w->token)) {
        w->found = true;
        (void)json_i64(json_member(v, S("bodies")), &w->bodies);
    }
    return !w->found;
}

/* The event is written with the erasing, so it says that it is done. */
static int wait_for_it(struct cmd *c, const char *path, str token)
{
    struct ledger_reader *r;
    struct waiting w = { .token = token, .a = &c->arena };
    char why[256] = "";
    const struct ledger_filter f = { .kinds = 1u << ROW_EVENT, .limit = 50 };
    for (int i = 0; i < 600 && !w.found; i++) {
        if (ledger_reader_open(path, &r, why) == ERR_OK) {
            (void)ledger_read(r, &f, each_event, &w);
            ledger_reader_close(r);
        }
        if (!w.found)
            usleep(50000);
    }
    if (!w.found)
        return cmd_fail(EXIT_FAILED, "hearth log --all shows an event bodies_erased when it is done.", "nothing says yet that it was erased");
    if (c->f.json)
        printf("{\"bodies\":%lld}\n", (long long)w.bodies);
    else
        printf("%lld prompts and answers are erased; their rows and the chain stay, and an event says so.\n", (long long)w.bodies);
    return EXIT_DONE;
}

static void put(struct json_out *o, const char *name, const char *value)
{
    if (!value)
        return;
    json_put_key(o, str_of(name));
    json_put_str(o, str_of(value));
}

static bool confirmed(const struct cmd *c)
{
    char line[16] = "";
    if (c->f.yes)
        return true;
    if (!isatty(0))
        return false;
    fputs("Prompts and answers will be gone for good. Go on? [y/N] ", stderr);
    return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}

/* A call is named by its whole id: the short end is looked up, as everywhere. */
static int whole_id(struct cmd *c, const char **id)
{
    struct app_config *k;
    struct ledger_reader *r;
    struct lookup w;
    int code = *id ? lookup_open(c, &k, &r) : EXIT_DONE;
    if (code || !*id)
        return code;
    code = lookup_call(c, r, *id, &w);
    if (code == EXIT_DONE)
        *id = arena_cstr(&c->arena, w.rows[0].row.call_id);
    ledger_reader_close(r);
    app_unload(k);
    return code;
}

static int erase_run(struct cmd *c)
{
    const struct flags *g = &c->f;
    struct buf body = { .max = 1 << 16 };
    struct json_out o;
    struct reach to = { 0 };
    struct ask k = { .status = 0 };
    struct rng rng = rand_system();
    const char *call = g->call;
    char token[UUID_TEXT];
    int64_t before = 0;
    if (!lookup_ago(g->until, &before))
        return cmd_fail(EXIT_USAGE, "Write it as 15m, 12h or 30d.", "--until takes how long ago");
    if (!call && !g->key && !g->conversation && !g->task && !before)
        return cmd_fail(EXIT_USAGE, "See: hearth erase --help", "say what is to be erased: --call, --key, --conversation, --task or --until");
    if (!confirmed(c))
        return cmd_fail(EXIT_USAGE, "Add --yes.", "nothing was erased: it was not confirmed");
    int code = whole_id(c, &call);
    if (code)
        return code;
    uuid7(&rng, clock_wall_us(&clock_system), token);
    json_out_init(&o, &body);
    json_open(&o, '{');
    put(&o, "call", call);
    put(&o, "key", g->key);
    put(&o, "conversation", g->conversation);
    put(&o, "task", g->task);
    put(&o, "token", token);
    if (before) {
        json_put_key(&o, S("before_us"));
        json_put_i64(&o, before);
    }
    json_close(&o, '}');
    code = reach_open(&to, c, REACH_OWN);
    if (code == EXIT_DONE) {
        ask_call(to.loop, to.socket, S("POST"), S("/hearth/erase"), S("Content-Type: application/json\r\n"), buf_str(&body), NULL, NULL, &k);
        code = k.err == ERR_OK && k.status == 202 ? wait_for_it(c, to.cfg->config->ledger.path.p, str_of(token)) : cmd_fail(EXIT_FAILED, NULL, "it was not accepted: %.*s", STR_ARG(buf_str(&k.body)));
    }
    ask_free(&k);
    buf_free(&body);
    reach_close(&to);
    return code;
}

const struct command command_erase = {
    .name = "erase", .args = "--call ID | --key NAME | --conversation ID | --task NAME | --until AGO", .brief = "erase prompts and answers; the rows and their chain stay",
    .about = "All that is given must hold. What stays of a prompt in the chain is a salted hash whose salt is erased with it, so nothing can be checked against it;\n"
             "pages and the log of the database are overwritten. Copies made with hearth backup or hearth export are not reached.",
    .examples = "  hearth erase --call 1f3a9c02\n  hearth erase --key alice --yes\n  hearth erase --conversation customer-4711 --until 30d --yes",
    .flags = { &flag_call, &flag_key, &flag_conversation, &flag_task, &flag_until, &flag_yes, &flag_json, &flag_config, &flag_ledger }, .max_args = 0, .run = erase_run,
};
