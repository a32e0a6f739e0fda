/* `hearth log` and `hearth show`: the ledger, for people and for programs. */
#include "cmd/lookup.h"
#include "cmd/said.h"
#include "cmd/term.h"
#include "core/json.h"
#include "guard/find.h"

#include <math.h>
#include <signal.h>
#include <unistd.h>

static str or_dash(str s) { return s.n ? s : S("-"); }

/* ---- log ---- */

struct listing { struct cmd *c; int64_t last; size_t shown; };

static void count(char out[24], int64_t n)
{
    snprintf(out, 24, n == ROW_NULL_I ? "-" : "%lld", (long long)n);
}

static const char *colour_of(str outcome)
{
    return str_eq(outcome, S("ok")) ? "32" : str_eq(outcome, S("refused")) || str_eq(outcome, S("cancelled")) ? "33" : "31";
}

static void print_head(bool guarded)
{
    printf("%s%-8s  %-8s  %-9s  %-22s %-8s %-14s %6s %6s %9s %9s%s%s\n", term_out("1"), "TIME", "CALL", "OUTCOME", "MODEL", "ZONE", "TASK", "IN", "OUT", "FIRST", "TOTAL",
           guarded ? "  FOUND" : "", term_out("0"));
}

/* {"EMAIL":2,"IBAN":1} as "EMAIL 2, IBAN 1". */
static void print_found(str counts)
{
    printf("  ");
    for (size_t i = 1; i + 1 < counts.n; i++)
        if (counts.p[i] == ':' || counts.p[i] == ',')
            fputs(counts.p[i] == ':' ? " " : ", ", stdout);
        else if (counts.p[i] != '"')
            putchar(counts.p[i]);
}

static void print_row(const struct ledger_seen *s, bool guarded)
{
    char at[CLOCK_TEXT], in[24], out[24], first[24] = "-", total[24] = "-";
    str outcome = s->row.kind == ROW_INTENT ? s->cut ? S("cut") : S("running") : s->row.kind == ROW_EVENT ? S("event") : or_dash(s->row.outcome);
    clock_text(s->row.at_us == ROW_NULL_I ? 0 : s->row.at_us, at);
    count(in, s->row.input_tokens);
    count(out, s->row.output_tokens);
    if (s->row.first_us != ROW_NULL_I)
        term_duration(s->row.first_us, first);
    if (s->row.total_us != ROW_NULL_I)
        term_duration(s->row.total_us, total);
    printf("%.8s  ", at + 11);
    term_cell(stdout, or_dash(short_id(s->row.call_id)), 8, true);
    printf("  %s", term_out(colour_of(outcome)));
    term_cell(stdout, outcome, 9, true);
    printf("%s  ", term_out("0"));
    term_cell(stdout, or_dash(s->row.kind == ROW_EVENT ? s->row.event : s->row.model.n ? s->row.model : s->row.model_asked), 22, true);
    putchar(' ');
    term_cell(stdout, or_dash(s->row.zone), 8, true);
    putchar(' ');
    term_cell(stdout, or_dash(s->row.task), 14, true);
    printf(" %6s %6s %9s %9s", in, out, first, total);
    if (guarded)
        print_found(s->row.guard_counts);
    putchar('\n');
}

static void print_json(const struct ledger_seen *s)
{
    struct buf b = { .max = 16 << 20 };
    if (lookup_line(&b, s, NULL) == ERR_OK)
        fwrite(b.p, 1, b.n, stdout);
    buf_free(&b);
}

static bool each_row(void *ctx, const struct ledger_seen *s)
{
    struct listing *l = ctx;
    if (!l->c->f.json && !l->shown)
        print_head(l->c->f.guarded);
    if (l->c->f.json)
        print_json(s);
    else
        print_row(s, l->c->f.guarded);
    if (s->seq > l->last)
        l->last = s->seq;
    l->shown++;
    return true;
}

static volatile sig_atomic_t interrupted;
static void on_interrupt(int signum) { (void)signum; interrupted = 1; }

static int follow(struct ledger_reader *r, struct ledger_filter *f, struct listing *l)
{
    signal(SIGINT, on_interrupt);
    f->limit = 1000;
    while (!interrupted) {
        f->after_seq = l->last ? l->last : 1;
        if (ledger_read(r, f, each_row, l) != ERR_OK)
            return cmd_fail(EXIT_FAILED, NULL, "the ledger cannot be read");
        fflush(stdout);
        usleep(200000);
    }
    return EXIT_DONE;
}

/* The type behind --guard as rows name it: in any case, but an owner's own. */
static int type_of(const struct cmd *c, str *out)
{
    char all[512] = "Types are";
    if (!c->argc)
        return EXIT_DONE;
    if (!c->f.guarded)
        return cmd_fail(EXIT_USAGE, "See: hearth log --help", "hearth log takes %s only behind --guard", c->argv[0]);
    if (guard_own_name(str_of(c->argv[0]))) {   /* of the configuration, maybe of an earlier one */
        *out = str_of(c->argv[0]);
        return EXIT_DONE;
    }
    for (int t = 0; t < GUARD_OWN; t++) {
        str name = str_of(guard_type_name(NULL, (enum guard_type)t));
        if (str_ieq(name, str_of(c->argv[0]))) {
            *out = name;
            return EXIT_DONE;
        }
        size_t n = strlen(all);
        snprintf(all + n, sizeof all - n, "%s %.*s", t ? "," : "", STR_ARG(name));
    }
    return cmd_fail(EXIT_USAGE, all, "the guard finds no %s", c->argv[0]);
}

static bool is_type(const struct guard_finder *names, str type)
{
    for (int t = 0; t < GUARD_N_TYPES; t++)
        if (str_eq(str_of(guard_type_name(names, (enum guard_type)t)), type))
            return true;
    return false;
}

static int log_run(struct cmd *c)
{
    struct app_config *k;
    struct ledger_reader *r;
    struct listing l = { .c = c };
    const struct flags *g = &c->f;
    struct ledger_filter f = { .task = str_of(g->task), .model = str_of(g->model), .provider = str_of(g->provider), .zone = str_of(g->zone),
                               .outcome = str_of(g->outcome), .limit = g->limit >= 0 ? g->limit : 20, .guarded = g->guarded, .kinds = g->all ? ~0u : 0 };
    if (!lookup_ago(g->since, &f.since_us) || !lookup_ago(g->until, &f.until_us))
        return cmd_fail(EXIT_USAGE, "Write it as 90s, 15m, 12h or 7d.", "--since and --until take how long ago");
    int code = type_of(c, &f.found);
    if (code || (code = lookup_open(c, &k, &r)))
        return code;
    if (ledger_read(r, &f, each_row, &l) != ERR_OK)
        code = cmd_fail(EXIT_FAILED, "hearth verify says what is wrong with it.", "the ledger cannot be read");
    if (!code && !l.shown && !g->json)
        fputs("No calls yet, or none that match.\n", stderr);
    if (!code && !l.shown && f.found.n && !is_type(k->finder, f.found))
        fprintf(stderr, "note: the configuration has no type %.*s.\n", STR_ARG(f.found));
    if (!code && g->follow)
        code = follow(r, &f, &l);
    ledger_reader_close(r);
    app_unload(k);
    return code;
}

const struct command command_log = {
    .name = "log", .args = "[filters] [--guard TYPE]", .brief = "list calls, newest first",
    .about = "One line a call: when, its id (the end of it; show takes either), how it ended, which model in which zone, tokens and times.",
    .examples = "  hearth log -n 50\n  hearth log --task docstring --outcome error --since 12h\n  hearth log --guard --since 7d      # what would have left, and what was done\n  hearth log --guard EMAIL           # only where an address was found\n  hearth log --follow --json | jq .model",
    .flags = { &flag_limit, &flag_follow, &flag_all, &flag_task, &flag_model, &flag_provider, &flag_zone, &flag_outcome, &flag_guarded, &flag_since, &flag_until, &flag_json, &flag_config,
               &flag_ledger },
    .max_args = 1, .run = log_run,
};

/* ---- show ---- */

static void label(const char *name) { printf("  %s%-14s%s ", term_out("2"), name, term_out("0")); }

static void show_text(const char *name, str v)
{
    if (!v.n)
        return;
    label(name);
    term_text(stdout, v);
    putchar('\n');
}

static void show_digest(const char *name, const struct digest *d)
{
    char hex[HEX_DIGEST];
    if (!d)
        return;
    hex_encode(d->b, sizeof d->b, hex);
    label(name);
    printf("%.*s\n", HEX_DIGEST, hex);
}

static void show_identity(struct lookup *w, const struct digest *fingerprint)
{
    static const struct { const char *key; bool of_all; } keys[] = {    /* of_all: that it is unknown is worth a line */
        { "name", false }, { "root", false }, { "revision", false }, { "parent", false }, { "remote_host", false }, { "architecture", false }, { "quantization", true }, { "tensor_types", false },
        { "weights_sha256", true }, { "adapter_sha256", false }, { "manifest_sha256", false }, { "chat_template_sha256", false }, { "engine", true }, { "engine_version", true }, { "engine_commit", false }, { "context", false } };
    str text;
    json v;
    if (!fingerprint) {
        show_text("identity", S("unknown: the provider does not say which weights answered"));
        return;
    }
    show_digest("fingerprint", fingerprint);
    if (ledger_read_model(w->r, w->a, fingerprint, &text) != ERR_OK || json_parse(w->a, text, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json m = json_member(v, str_of(keys[i].key));
        str value;
        if (json_text(w->a, m, &value) != ERR_OK)
            value = json_type(m) != JSON_NULL ? json_span(m) : keys[i].of_all ? S("unknown") : S("");
        if (value.n) {
            printf("    %s%-22s%s ", term_out("2"), keys[i].key, term_out("0"));
            term_text(stdout, value);
            putchar('\n');
        }
    }
}

/* Tokens per second from the first to the last; 0: not known. */
static double show_rate(const struct ledger_row *r)
{
    if (r->stream != 1)
        return 0;                       /* it came as one piece */
    if (r->first_us == ROW_NULL_I || r->overhead_us == ROW_NULL_I || r->output_tokens < 2)
        return 0;
    int64_t queue = r->queue_us == ROW_NULL_I ? 0 : r->queue_us, us = r->total_us - r->overhead_us - queue - r->first_us;
    return us > 0 ? (double)(r->output_tokens - 1) * 1e6 / (double)us : 0;
}

static void show_times(const struct ledger_row *r)
{
    char a[24], b[24], d[24];
    if (r->total_us == ROW_NULL_I)
        return;
    label("times");
    printf("total %s", term_duration(r->total_us, a));
    if (r->first_us != ROW_NULL_I)
        printf(", first visible %s after sending", term_duration(r->first_us, b));
    if (r->overhead_us != ROW_NULL_I)
        printf(", hearth's own part %s", term_duration(r->overhead_us, d));
    if (r->queue_us != ROW_NULL_I && r->queue_us >= 1000)
        printf(", %s until the engine was ready", term_duration(r->queue_us, d));
    putchar('\n');
    if (r->input_tokens != ROW_NULL_I || r->output_tokens != ROW_NULL_I) {
        count(a, r->input_tokens);
        count(b, r->output_tokens);
        label("tokens");
        printf("%s in, %s out", a, b);
        double rate = show_rate(r);
        if (rate > 0)
            printf(" (%.1f tokens/s)", rate);
        if (r->cached_tokens != ROW_NULL_I && r->cached_tokens > 0)
            printf(", %lld of the prompt reused", (long long)r->cached_tokens);
        if (r->accepted_tokens != ROW_NULL_I && r->rejected_tokens != ROW_NULL_I && r->accepted_tokens + r->rejected_tokens > 0)
            printf(", %lld of %lld drafted tokens kept", (long long)r->accepted_tokens, (long long)(r->accepted_tokens + r->rejected_tokens));
        putchar('\n');
    }
    if (r->cost_micros != ROW_NULL_I) {
        label("cost");
        printf("$%.6f\n", (double)r->cost_micros / 1e6);
    }
}

static void show_sampling(const struct ledger_row *r)
{
    label("sampling");
    if (!isnan(r->temperature))
        printf("temperature %g ", r->temperature);
    if (!isnan(r->top_p))
        printf("top_p %g ", r->top_p);
    if (r->seed != ROW_NULL_I)
        printf("seed %lld ", (long long)r->seed);
    if (r->max_tokens != ROW_NULL_I)
        printf("max_tokens %lld ", (long long)r->max_tokens);
    puts(r->stream == 1 ? "streamed" : "not streamed");
}

static void show_prompt(const struct ledger_row *r)
{
    if (!r->prompt_name.n)
        return;
    label("prompt");
    term_text(stdout, r->prompt_name);
    if (r->prompt_version.n)
        printf("@%.*s\n", STR_ARG(r->prompt_version));
    else
        puts(", its task's; not applied: the call brought its own messages");
    show_digest("  template", r->prompt_hash);
    show_digest("  variables", r->variables_hash);
    show_digest("  rendered", r->rendered_hash);
}

static void show_request(struct arena *a, str dialect, str body)
{
    (void)dialect;
    json v;
    str text;
    if (json_parse(a, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK) {
        term_text(stdout, body);
        return;
    }
    for (json m = json_first(json_member(v, S("messages"))); json_type(m) != JSON_NONE; m = json_next(m)) {
        if (json_text(a, json_member(m, S("role")), &text) == ERR_OK)
            printf("  %s%.*s:%s ", term_out("36"), STR_ARG(text), term_out("0"));
        json content = json_member(m, S("content"));
        term_text(stdout, json_text(a, content, &text) == ERR_OK ? text : json_span(content));
        putchar('\n');
    }
    if (json_text(a, json_member(v, S("prompt")), &text) == ERR_OK)
        term_text(stdout, text);
}

/* What it said in any API; an error's body as it is. */
static void show_response(struct arena *a, str dialect, str body)
{
    struct said said;
    if (said_read(a, dialect, body, &said) != ERR_OK) {
        term_text(stdout, body);
        putchar('\n');
        return;
    }
    const struct { const char *what; str text; } parts[] = { { "thinking", said.thinking }, { NULL, said.text }, { "calls", said.tools } };
    for (size_t i = 0; i < 3; i++) {
        if (!parts[i].text.n)
            continue;
        if (parts[i].what)
            printf("  %s%s:%s ", term_out("36"), parts[i].what, term_out("0"));
        term_text(stdout, parts[i].text);
        putchar('\n');
    }
}

static void show_body(struct lookup *w, const char *title, int64_t id, const struct digest *hash, void (*print)(struct arena *, str dialect, str))
{
    bool truncated = false;
    str body;
    if (!hash)
        return;
    printf("\n%s%s%s\n", term_out("1"), title, term_out("0"));
    enum err e = id == ROW_NULL_I ? ERR_NOTFOUND : ledger_read_body(w->r, w->a, id, &body, &truncated);
    if (e == ERR_OK)
        print(w->a, w->rows[0].row.dialect, body);
    else
        puts(e == ERR_FORBIDDEN ? "  sealed: the key file beside the ledger is needed" : "  not kept, or erased by now; its hash is in the row");
    if (truncated)
        puts("  (cut in the record: it was longer than ledger.body_max)");
}

static void show_call(struct lookup *w)
{
    const struct ledger_seen *s = &w->rows[0];
    const struct ledger_row *r = &s->row;
    char at[CLOCK_TEXT];
    str outcome = r->kind == ROW_INTENT ? s->cut ? S("cut: it has no end, since hearth or the engine died") : S("running") : r->outcome;
    clock_text(r->at_us, at);
    printf("%scall %.*s%s\n", term_out("1"), STR_ARG(r->call_id), term_out("0"));
    show_text("at", str_of(at));
    label("outcome");
    printf("%s%.*s%s", term_out(colour_of(r->outcome)), STR_ARG(outcome), term_out("0"));
    if (r->http_status != ROW_NULL_I)
        printf(", status %lld", (long long)r->http_status);
    if (r->error_type.n)
        printf(", %.*s", STR_ARG(r->error_type));
    if (r->finish_reason.n)
        printf(", finished by %.*s", STR_ARG(r->finish_reason));
    putchar('\n');
    show_text("client", r->client);
    show_text("key", r->key_id);
    show_text("conversation", r->conversation);
    show_text("belongs to", r->parent_call);
    show_text("trace", r->trace);
    if (r->client_retry != ROW_NULL_I && r->client_retry > 0)
        printf("  %s%-14s%s the client's retry number %lld\n", term_out("2"), "asked again", term_out("0"), (long long)r->client_retry);
    show_text("asked for", r->model_asked);
    show_text("task", r->task);
    show_prompt(r);
    if (r->risk.n)
        printf("  %s%-14s%s risk %.*s, data %.*s\n", term_out("2"), "class", term_out("0"), STR_ARG(r->risk), STR_ARG(r->data_class));
    if (r->model.n) {
        label("routed to");
        printf("%.*s (%.*s, zone %.*s) because: %.*s\n", STR_ARG(r->model), STR_ARG(r->provider), STR_ARG(r->zone), STR_ARG(r->decision));
        show_text("endpoint", r->endpoint);
        show_text("served as", r->model_served);
        show_identity(w, r->fingerprint);
    }
    show_sampling(r);
    show_times(r);
    for (int i = 0; i < w->n; i++)
        printf("  %srow%s            %lld %s\n", term_out("2"), term_out("0"), (long long)w->rows[i].seq, row_kind_name(w->rows[i].row.kind));
    show_digest("row hash", &s->hash);
    show_digest("configuration", r->policy);
    show_digest("request hash", r->request_hash);
    show_digest("response hash", r->response_hash);
    show_body(w, "request", r->request_body, r->request_hash, show_request);
    show_body(w, "response", r->response_body, r->response_hash, show_response);
}

static int show_run(struct cmd *c)
{
    struct app_config *k;
    struct ledger_reader *r;
    struct lookup w;
    int code = lookup_open(c, &k, &r);
    if (code)
        return code;
    code = lookup_call(c, r, c->argv[0], &w);
    if (code == EXIT_DONE && c->f.json)
        for (int i = 0; i < w.n; i++)
            print_json(&w.rows[i]);
    else if (code == EXIT_DONE)
        show_call(&w);
    ledger_reader_close(r);
    app_unload(k);
    return code;
}

const struct command command_show = {
    .name = "show", .args = "ID", .brief = "everything about one call",
    .about = "ID is a call's id, its beginning, or the eight characters that hearth log prints.",
    .examples = "  hearth show 1f3a9c02\n  hearth show 1f3a9c02 --json | jq .fingerprint",
    .flags = { &flag_json, &flag_config, &flag_ledger }, .min_args = 1, .max_args = 1, .run = show_run,
};

/* ---- verify and backup ---- */

static void on_progress(void *ctx, int64_t done, int64_t total) { term_progress(ctx, done, total); }

static int verify_run(struct cmd *c)
{
    struct app_config *k;
    struct ledger_reader *r;
    struct ledger_verdict v;
    char hex[HEX_DIGEST];
    int code = lookup_open(c, &k, &r);
    if (code)
        return code;
    enum err e = ledger_verify(r, on_progress, (void *)(uintptr_t)"verifying", &v);
    term_progress_end();
    hex_encode(v.head.b, sizeof v.head.b, hex);
    if (e != ERR_OK) {
        code = cmd_fail(EXIT_FAILED, NULL, "the ledger cannot be read to its end");
    } else {
        if (c->f.json)
            printf("{\"ok\":%s,\"rows\":%lld,\"calls\":%lld,\"ends\":%lld,\"cut\":%lld,\"bodies\":%lld,\"bad_seq\":%lld,\"what\":\"%s\",\"head\":\"%.*s\"}\n", v.bad_seq ? "false" : "true",
                   (long long)v.rows, (long long)v.calls, (long long)v.ends, (long long)v.cut, (long long)v.bodies, (long long)v.bad_seq, v.what, HEX_DIGEST, hex);
        else if (v.bad_seq)
            printf("%sbad%s: row %lld: %s\n", term_out("31"), term_out("0"), (long long)v.bad_seq, v.what);
        else
            printf("%ssound%s: %lld rows in one chain, %lld calls, %lld ends, %lld without one (cut), %lld bodies match; head %.*s\n", term_out("32"), term_out("0"),
                   (long long)v.rows, (long long)v.calls, (long long)v.ends, (long long)v.cut, (long long)v.bodies, HEX_DIGEST, hex);
        code = v.bad_seq ? EXIT_FOUND : EXIT_DONE;
    }
    ledger_reader_close(r);
    app_unload(k);
    return code;
}

const struct command command_verify = {
    .name = "verify", .args = "", .brief = "check that no row of the ledger was changed, lost or added",
    .about = "Recomputes the hash chain over every row, checks that no attempt ended twice and that each kept prompt and answer matches its hash.\n"
             "Names the first bad row and exits with 3 when there is one.",
    .examples = "  hearth verify\n  hearth verify --json", .flags = { &flag_json, &flag_config, &flag_ledger }, .max_args = 0, .run = verify_run,
};

static int backup_run(struct cmd *c)
{
    struct app_config *k;
    struct ledger_reader *r;
    char why[256] = "";
    int code = lookup_open(c, &k, &r);
    if (code)
        return code;
    enum err e = ledger_backup(r, c->argv[0], on_progress, (void *)(uintptr_t)"copying", why);
    term_progress_end();
    if (e != ERR_OK)
        code = cmd_fail(EXIT_FAILED, NULL, "%s", why);
    else if (c->f.json)
        puts("{\"ok\":true}");
    else
        printf("The ledger is copied to %s. Private prompts and answers in it need the key file, too: keep %s.key safe, and apart.\n", c->argv[0], k->config->ledger.path.p);
    ledger_reader_close(r);
    app_unload(k);
    return code;
}

const struct command command_backup = {
    .name = "backup", .args = "FILE", .brief = "copy the ledger, also while it is being written", .examples = "  hearth backup /backups/hearth-$(date +%F).db",
    .flags = { &flag_json, &flag_config, &flag_ledger }, .min_args = 1, .max_args = 1, .run = backup_run,
};
