/* `hearth replay` and `hearth diff`: a call again, and two calls beside each other. */
#include "cmd/ask.h"
#include "cmd/lookup.h"
#include "cmd/reach.h"
#include "cmd/said.h"
#include "cmd/term.h"
#include "cmd/textdiff.h"
#include "core/json.h"
#include "fleet/fleet.h"
#include "wire/codec.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

/* ---- printing a difference ---- */

/* Unchanged lines are counted, not shown. */
static void print_same(size_t *same)
{
    if (*same)
        printf("    %s… %zu %s the same%s\n", term_out("2"), *same, *same == 1 ? "line" : "lines", term_out("0"));
    *same = 0;
}

static void print_line(void *ctx, char mark, str line)
{
    size_t *same = ctx;
    if (mark == ' ') {
        ++*same;
        return;
    }
    print_same(same);
    printf("  %s%c ", term_out(mark == '-' ? "31" : "32"), mark);
    term_text(stdout, line);
    printf("%s\n", term_out("0"));
}

static void print_difference(struct arena *a, const char *title, str x, str y)
{
    size_t same = 0;
    if (str_eq(x, y))
        return;
    printf("%s%s%s\n", term_out("1"), title, term_out("0"));
    if (textdiff_run(a, x, y, &(struct textdiff){ print_line, &same }) != ERR_OK)
        puts("  (too long to be compared by lines)");
    print_same(&same);
}

/* ---- replay ---- */

struct replay {
    struct cmd *c;
    struct app_config *cfg;             /* for what is here now */
    struct ledger_reader *r;
    struct lookup then, now;
    const struct ledger_row *row;
    str request, answer;
    struct said said;
};

static int refuse(const char *fmt, str what, const char *hint)
{
    char text[400];
    snprintf(text, sizeof text, fmt, STR_ARG(what));
    return cmd_fail(EXIT_MISSING, hint, "this call cannot be replayed: %s", text);
}

static int read_bodies(struct replay *x)
{
    bool cut = false;
    enum err e = lookup_body(&x->then, x->row->request_body, &x->request, &cut);
    if (e != ERR_OK)
        return refuse("its prompt is %.*s", e == ERR_FORBIDDEN ? S("sealed, and the key beside the ledger is not here") : S("not kept, or erased by now"), NULL);
    if (cut)
        return refuse("its prompt was %.*s", S("cut in the record (ledger.body_max)"), NULL);
    e = lookup_body(&x->then, x->row->response_body, &x->answer, &cut);
    if (e != ERR_OK || cut)
        return refuse("its answer is %.*s", cut ? S("cut in the record (ledger.body_max)") : S("not kept, or erased by now"), NULL);
    return said_read(&x->c->arena, x->row->dialect, x->answer, &x->said) == ERR_OK ? EXIT_DONE : refuse("its answer is %.*s", S("no answer that can be read"), NULL);
}

/* The weights that lie there now against those on record. What no digest is known of is asked anyway, and the result says so. */
static int check_weights(struct replay *x, const struct model *m)
{
    struct digest now;
    bool cached;
    char hex[HEX_DIGEST + 1] = "";
    str text, then;
    json v;
    if (!m->file.n || !x->row->fingerprint)
        return EXIT_DONE;
    if (ledger_read_model(x->r, &x->c->arena, x->row->fingerprint, &text) != ERR_OK || json_parse(&x->c->arena, text, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK ||
        json_text(&x->c->arena, json_member(v, S("weights_sha256")), &then) != ERR_OK)
        return EXIT_DONE;
    int fd = open(m->file.p, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return refuse("the file of model %.*s cannot be read", m->name, NULL);
    enum err e = fleet_digest_file(fd, x->cfg->config->engine.digests.p, &now, &cached);
    close(fd);
    hex_encode(now.b, sizeof now.b, hex);
    if (e == ERR_OK && !str_eq(then, str_slice(hex, HEX_DIGEST)))
        return refuse("it was answered by the weights %.*s, and the file has others now", str_slice(then.p, 16), "hearth show names what answered; put that file back, or compare with  hearth diff.");
    return EXIT_DONE;
}

static int check(struct replay *x)
{
    const struct ledger_row *r = x->row;
    if (r->kind != ROW_END || !str_eq(r->outcome, S("ok")))
        return refuse("it did not end well (%.*s)", r->outcome.n ? r->outcome : S("cut"), NULL);
    if (!str_eq(r->operation, S("chat")) && !str_eq(r->operation, S("text_completion")))
        return refuse("it is no chat or completion but %.*s", r->operation, NULL);
    const struct model *m = policy_model(&x->cfg->config->policy, r->model);
    if (!m)
        return refuse("there is no model %.*s here any more", r->model, "hearth models lists those that are.");
    int code = read_bodies(x);
    return code ? code : check_weights(x, m);
}

static const char *path_of(const struct ledger_row *r, json root)
{
    bool generate = json_type(json_member(root, S("messages"))) == JSON_NONE;
    if (str_eq(r->dialect, S("anthropic")))
        return "/v1/messages";
    if (str_eq(r->dialect, S("ollama")))
        return generate ? "/api/generate" : "/api/chat";
    if (!str_eq(r->dialect, S("openai")))
        return "/v1/responses";
    return str_eq(r->operation, S("chat")) ? "/v1/chat/completions" : "/v1/completions";
}

/* A call that a prompt was put into: the same version and the same variables, whatever its labels mean by now. */
static enum err write_prompted(struct replay *x, json root, struct buf *out)
{
    struct json_out o;
    json object = json_member(root, S("prompt")), variables = json_type(object) == JSON_OBJECT ? json_member(object, S("variables")) : json_member(root, S("hearth_variables"));
    json_out_init(&o, out);
    json_open(&o, '{');
    for (json v = json_first(root); json_type(v) != JSON_NONE; v = json_next(v)) {
        str key;
        if (json_text(&x->c->arena, json_key(v), &key) != ERR_OK)
            return ERR_LIMIT;
        if (str_eq(key, S("model")) || str_eq(key, S("hearth_variables")) || (str_eq(key, S("prompt")) && json_type(v) == JSON_OBJECT))
            continue;
        json_put_key(&o, key);
        json_put_raw(&o, json_span(v));
    }
    json_put_key(&o, S("model"));
    json_put_str(&o, x->row->model);
    json_put_key(&o, S("hearth_variables"));
    json_put_raw(&o, json_type(variables) == JSON_OBJECT ? json_span(variables) : S("{}"));
    json_close(&o, '}');
    return o.err;
}

/* The same bytes, but for the model: whatever name led to it then, this one is asked now. */
static enum err write_body(struct replay *x, struct call *call, struct buf *out)
{
    str slices[CODEC_MAX_SLICES];
    size_t n = 0;
    if (x->row->prompt_version.n)
        return write_prompted(x, call->root, out);
    enum err e = codec_forward(&x->c->arena, call, x->row->model, false, slices, &n);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = buf_put(out, slices[i]);
    return e;
}

static str prompt_field(struct replay *x)
{
    const struct ledger_row *r = x->row;
    return r->prompt_version.n ? arena_printf(&x->c->arena, "x-hearth-prompt: %.*s@%.*s\r\n", STR_ARG(r->prompt_name), STR_ARG(r->prompt_version)) : S("");
}

static int send(struct replay *x, struct ask *out)
{
    struct arena *a = &x->c->arena;
    struct call call = { .body = x->request };
    struct buf body = { .max = 1u << 30 };
    struct reach to = { 0 };
    enum err e = json_parse(a, x->request, &JSON_DEFAULT_LIMITS, &call.root, NULL);
    if (e == ERR_OK)
        e = write_body(x, &call, &body);
    if (e != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "its prompt cannot be sent again: %s", err_text(e));
    str prompt = prompt_field(x), data = x->row->data_class.n ? x->row->data_class : S("internal");
    str fields = arena_printf(a, "Content-Type: application/json\r\nanthropic-version: 2023-06-01\r\nx-hearth-parent: %.*s\r\nx-hearth-data: %.*s\r\n%.*s%s", STR_ARG(x->row->call_id),
                              STR_ARG(data), STR_ARG(prompt), x->row->deterministic == 1 ? "x-hearth-deterministic: true\r\n" : "");
    int code = reach_open(&to, x->c, REACH_OWN);
    if (code == EXIT_DONE) {
        ask_call(to.loop, to.socket, S("POST"), str_of(path_of(x->row, call.root)), fields, buf_str(&body), NULL, NULL, out);
        if (out->err != ERR_OK || out->status != 200)
            code = cmd_fail(EXIT_FAILED, *out->call_id ? "hearth show has its record." : NULL, "it was not answered: %s", out->err ? (*out->detail ? out->detail : err_text(out->err)) : "an error");
    }
    buf_free(&body);
    reach_close(&to);
    return code;
}

static const char *class_of(const struct replay *x, const struct said *now, bool same_weights)
{
    const struct said *then = &x->said;
    bool same = str_eq(then->text, now->text) && str_eq(then->tools, now->tools) && str_eq(then->thinking, now->thinking) && str_eq(then->finish, now->finish);
    bool counted = x->row->output_tokens == lookup_end(&x->now)->output_tokens;
    return !same ? "different" : same_weights && counted ? "bit-exact" : "token-exact";
}

static int report(struct replay *x, const struct ask *k)
{
    struct said now;
    struct arena *a = &x->c->arena;
    int code = lookup_call(x->c, x->r, k->call_id, &x->now);
    if (code)
        return code;
    if (said_read(a, x->row->dialect, buf_str(&k->body), &now) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "the new answer cannot be read");
    const struct ledger_row *new_row = lookup_end(&x->now);
    bool known = x->row->fingerprint && new_row->fingerprint, same_weights = known && digest_eq(x->row->fingerprint, new_row->fingerprint);
    const char *class = class_of(x, &now, same_weights);
    bool different = *class == 'd';
    size_t first = textdiff_first(x->said.text, now.text);
    if (x->c->f.json) {
        printf("{\"call\":\"%.*s\",\"replay\":\"%s\",\"class\":\"%s\",\"fingerprint\":\"%s\",\"first_difference\":", STR_ARG(x->row->call_id), k->call_id, class,
               !known ? "unknown" : same_weights ? "same" : "other");
        printf(different ? "%zu}\n" : "null}\n", first);
        return different ? EXIT_FOUND : EXIT_DONE;
    }
    printf("%s%s%s: %.*s replayed as %.*s\n", term_out(different ? "33" : "32"), class, term_out("0"), STR_ARG(short_id(x->row->call_id)), STR_ARG(short_id(new_row->call_id)));
    printf("  %s\n", !known ? "nobody says which weights answered, so equal texts are all that can be shown" : same_weights ? "by the same fingerprint: weights, engine, template, settings"
                                                                                                       : "by another fingerprint: hearth diff names what changed");
    if (different) {
        printf("  the texts differ from byte %zu of %zu\n", first, x->said.text.n);
        if (x->row->seed == ROW_NULL_I && !(x->row->temperature == 0))
            puts("  no seed was given and the temperature was not 0: such an answer is drawn anew each time");
        print_difference(a, "text", x->said.text, now.text);
        print_difference(a, "tool calls", x->said.tools, now.tools);
    }
    return different ? EXIT_FOUND : EXIT_DONE;
}

static int replay_run(struct cmd *c)
{
    struct replay x = { .c = c };
    struct ask k = { .status = 0 };
    int code = lookup_open(c, &x.cfg, &x.r);
    if (code)
        return code;
    code = lookup_call(c, x.r, c->argv[0], &x.then);
    if (code == EXIT_DONE) {
        x.row = lookup_end(&x.then);
        code = check(&x);
    }
    if (code == EXIT_DONE)
        code = send(&x, &k);
    if (code == EXIT_DONE)
        code = report(&x, &k);
    ask_free(&k);
    ledger_reader_close(x.r);
    app_unload(x.cfg);
    return code;
}

const struct command command_replay = {
    .name = "replay", .args = "ID", .brief = "ask the same again, and say whether the answer is the same",
    .about = "Sends the recorded prompt with its parameters to the same model and compares. bit-exact: the same answer by the same fingerprint.\n"
             "token-exact: the same answer, but nobody says by which weights. Else the difference, and exit code 3. Refuses (4) where prompt, answer or\n"
             "weights are not there any more. The new call is on record and names the old one as its parent. A call that was deterministic is asked so again; any\n"
             "other may differ where two tokens were almost equally likely, since what runs beside it changes the last bits.",
    .examples = "  hearth replay 1f3a9c02\n  hearth replay 1f3a9c02 --json", .flags = { &flag_json, &flag_config, &flag_ledger }, .min_args = 1, .max_args = 1, .run = replay_run,
};

/* ---- diff ---- */

/* Fields that differ by nature, or are shown elsewhere. */
static bool is_compared(const char *name)
{
    static const char *const skipped[] = { "at_us", "call_id", "request_hash", "upstream_hash", "response_hash", "request_body", "response_body", "fingerprint", "policy",
                                           "overhead_us", "queue_us", "connect_us", "first_us", "total_us", "response_id", "trace", "rendered_hash", "input_ids_hash", "variables_hash" };
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
        if (strcmp(name, skipped[i]) == 0)
            return false;
    return true;
}

static str field_text(struct arena *a, const struct ledger_row *r, const struct row_field *f)
{
    const char *at = (const char *)r + f->offset;
    char hex[HEX_DIGEST];
    switch (f->type) {
    case 'I':
        return *(const int64_t *)at == ROW_NULL_I ? S("-") : arena_printf(a, "%lld", (long long)*(const int64_t *)at);
    case 'F':
        return isnan(*(const double *)at) ? S("-") : arena_printf(a, "%g", *(const double *)at);
    case 'D':
        if (!*(const struct digest *const *)at)
            return S("-");
        hex_encode((*(const struct digest *const *)at)->b, 8, hex);
        return arena_str(a, str_slice(hex, 16));
    default:
        return ((const str *)at)->n ? *(const str *)at : S("-");
    }
}

static void put_pair(struct cmd *c, struct json_out *o, str name, str x, str y)
{
    if (c->f.json) {
        json_put_key(o, name);
        json_open(o, '[');
        json_put_str(o, x);
        json_put_str(o, y);
        json_close(o, ']');
        return;
    }
    printf("  %s%-22.*s%s ", term_out("2"), STR_ARG(name), term_out("0"));
    term_cell(stdout, x, 40, true);
    fputs("  ", stdout);
    term_cell(stdout, y, 40, true);
    putchar('\n');
}

static bool diff_identity(struct cmd *c, struct json_out *o, struct lookup w[2])
{
    json v[2];
    str text, one, other;
    bool any = false;
    for (int i = 0; i < 2; i++) {
        const struct digest *f = lookup_end(&w[i])->fingerprint;
        if (!f || ledger_read_model(w[i].r, &c->arena, f, &text) != ERR_OK || json_parse(&c->arena, text, &JSON_DEFAULT_LIMITS, &v[i], NULL) != ERR_OK)
            v[i] = JSON_ABSENT;
    }
    for (int i = 0; i < 2; i++)
        for (json m = json_first(v[i]); json_type(m) != JSON_NONE; m = json_next(m)) {
            str key;
            if (json_text(&c->arena, json_key(m), &key) != ERR_OK)
                continue;
            json n = json_member(v[1 - i], key);
            if (i == 1 && json_type(n) != JSON_NONE)
                continue;               /* it was seen from the other side */
            one = json_span(i == 0 ? m : n);
            other = json_span(i == 0 ? n : m);
            if (str_eq(one, other))
                continue;
            put_pair(c, o, arena_printf(&c->arena, "identity.%.*s", STR_ARG(key)), one.n ? one : S("-"), other.n ? other : S("-"));
            any = true;
        }
    return any;
}

static bool diff_fields(struct cmd *c, struct json_out *o, struct lookup w[2])
{
    bool any = false;
    for (size_t i = 0; i < row_n_fields; i++) {
        str x = field_text(&c->arena, lookup_end(&w[0]), &row_fields[i]), y = field_text(&c->arena, lookup_end(&w[1]), &row_fields[i]);
        if (!is_compared(row_fields[i].name) || str_eq(x, y))
            continue;
        put_pair(c, o, str_of(row_fields[i].name), x, y);
        any = true;
    }
    return any;
}

static str text_of(struct lookup *w, bool answer)
{
    const struct ledger_row *r = lookup_end(w);
    struct said said;
    str body, text;
    bool cut;
    enum err e = lookup_body(w, answer ? r->response_body : r->request_body, &body, &cut);
    if (e != ERR_OK)
        return e == ERR_FORBIDDEN ? S("(sealed: the key file beside the ledger is needed)") : S("(not kept, or erased by now)");
    if (!answer)
        return said_asked(w->a, r->dialect, r->operation, body, &text) == ERR_OK ? text : body;
    if (said_read(w->a, r->dialect, body, &said) != ERR_OK)
        return body;
    text = arena_printf(w->a, "%.*s%s%.*s", STR_ARG(said.text), said.tools.n ? "\n" : "", STR_ARG(said.tools));
    return text.p ? text : said.text;
}

static int diff_calls(struct cmd *c, struct lookup w[2])
{
    struct buf b = { .max = 64u << 20 };
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    if (!c->f.json)
        printf("%s  %-22s %-40.*s  %.*s%s\n", term_out("1"), "", STR_ARG(short_id(w[0].rows[0].row.call_id)), STR_ARG(short_id(w[1].rows[0].row.call_id)), term_out("0"));
    bool any = diff_fields(c, &o, w);
    any |= diff_identity(c, &o, w);
    static const char *const names[] = { "request", "response" };
    for (int i = 0; i < 2; i++) {
        str x = text_of(&w[0], i), y = text_of(&w[1], i);
        if (str_eq(x, y))
            continue;
        any = true;
        if (c->f.json)
            put_pair(c, &o, str_of(names[i]), x, y);
        else
            print_difference(&c->arena, names[i], x, y);
    }
    json_close(&o, '}');
    if (c->f.json)
        printf("%.*s\n", STR_ARG(buf_str(&b)));
    else if (!any)
        puts("  the same in everything that is compared");
    buf_free(&b);
    return any ? EXIT_FOUND : EXIT_DONE;
}

static int diff_run(struct cmd *c)
{
    struct app_config *k;
    struct ledger_reader *r;
    struct lookup w[2];
    int code = lookup_open(c, &k, &r);
    if (code)
        return code;
    for (int i = 0; i < 2 && code == EXIT_DONE; i++)
        code = lookup_call(c, r, c->argv[i], &w[i]);
    if (code == EXIT_DONE)
        code = diff_calls(c, w);
    ledger_reader_close(r);
    app_unload(k);
    return code;
}

const struct command command_diff = {
    .name = "diff", .args = "ID ID", .brief = "two calls beside each other: parameters, identity, prompt, answer",
    .about = "Only what differs is shown; times and ids are not compared. Exits with 3 where there is a difference.",
    .examples = "  hearth diff 1f3a9c02 77aa01b3", .flags = { &flag_json, &flag_config, &flag_ledger }, .min_args = 2, .max_args = 2, .run = diff_run,
};
