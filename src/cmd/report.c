/* `hearth report`: one walk over the ends of two periods, summed up by task, model and key. */
#include "cmd/report.h"

#include "cmd/lookup.h"
#include "cmd/term.h"
#include "core/json.h"

#include <math.h>

static const int64_t MINUTE_US = INT64_C(60000000), DAY_US = 24 * 60 * INT64_C(60000000);

struct walk {
    struct report *r;
    struct arena *a;
    const struct policy *policy;
    const struct model *reference;      /* of calls whose task has none; NULL: none */
    const struct flags *f;
};

/* ---- summing up ---- */

static size_t class_of(int64_t us)
{
    double c = us > 1 ? 16 * log2((double)us) : 0;
    return c < REPORT_CLASSES ? (size_t)c : REPORT_CLASSES - 1;
}

int64_t report_percentile(const struct report_sum *s, double p)
{
    uint64_t all = 0, seen = 0;
    for (size_t i = 0; i < REPORT_CLASSES; i++)
        all += s->classes[i];
    uint64_t want = (uint64_t)ceil(p * (double)all);
    for (size_t i = 0; i < REPORT_CLASSES && all; i++) {
        seen += s->classes[i];
        if (seen >= want)
            return (int64_t)exp2(((double)i + 0.5) / 16);
    }
    return 0;
}

static bool is_priced(const struct model *m) { return m && !isnan(m->price_input) && !isnan(m->price_output); }

/* What the same tokens cost at a reference of the zone cloud; false: there is none with a price. */
static bool elsewhere(const struct walk *w, const struct ledger_usage *u, int64_t *micros)
{
    const struct task *t = policy_task(w->policy, u->task);
    const struct model *m = t && is_priced(t->reference) ? t->reference : w->reference;
    if (!is_priced(m) || u->input_tokens == ROW_NULL_I || u->output_tokens == ROW_NULL_I)
        return false;
    *micros = (int64_t)((double)u->input_tokens * m->price_input + (double)u->output_tokens * m->price_output + 0.5);
    return true;
}

struct seen {                           /* one try, understood once for all sums it goes into */
    const struct ledger_usage *u;
    bool answered, ok, local, has_elsewhere;
    int64_t elsewhere;
};

static int64_t or_zero(int64_t v) { return v == ROW_NULL_I ? 0 : v; }

static void add(struct report_sum *s, const struct seen *x)
{
    const struct ledger_usage *u = x->u;
    s->calls += u->is_call;
    s->tries += !u->is_call;
    s->ok += u->is_call && x->ok;
    s->input_tokens += or_zero(u->input_tokens);
    s->output_tokens += or_zero(u->output_tokens);
    s->cost_micros += or_zero(u->cost_micros);
    s->unpriced += x->answered && !x->local && u->cost_micros == ROW_NULL_I;
    s->energy_j += isnan(u->energy_j) ? 0 : u->energy_j;
    if (x->local && x->has_elsewhere)
        s->elsewhere_micros += x->elsewhere;
    else if (x->local && x->answered)
        s->incomparable++;
    if (!x->answered)
        return;
    s->answered++;
    s->local += x->local;
    if (u->total_us != ROW_NULL_I)
        s->classes[class_of(u->total_us)]++;
}

static struct report_line *line_of(struct walk *w, struct report_table *t, str name)
{
    if (!name.n)
        name = S("-");
    for (size_t i = 0; i < t->n; i++)
        if (str_eq(t->lines[i].name, name))
            return &t->lines[i];
    bool full = t->n >= REPORT_LINES;
    if (t->n > REPORT_LINES)
        return &t->lines[REPORT_LINES];
    struct report_line *l = &t->lines[t->n++];
    l->name = full ? S("others") : arena_str(w->a, name);
    return l;
}

static void add_bucket(struct report *r, const struct seen *x)
{
    size_t i = (size_t)((x->u->at_us - r->since_us) / r->bucket_us);
    struct report_bucket *b = &r->buckets[i < r->n_buckets ? i : r->n_buckets - 1];
    b->local += x->answered && x->local;
    b->cloud += x->answered && !x->local;
    b->failed += x->u->is_call && !x->answered;
    b->cost_micros += or_zero(x->u->cost_micros);
    b->elsewhere_micros += x->local && x->has_elsewhere ? x->elsewhere : 0;
}

static bool is_wanted(const struct flags *f, const struct ledger_usage *u)
{
    return (!f->task || str_eq(u->task, str_of(f->task))) && (!f->model || str_eq(u->model, str_of(f->model))) && (!f->key || str_eq(u->key, str_of(f->key)));
}

static void each_try(void *ctx, const struct ledger_usage *u)
{
    struct walk *w = ctx;
    struct report *r = w->r;
    if (!is_wanted(w->f, u))
        return;
    struct seen x = { .u = u, .ok = str_eq(u->outcome, S("ok")), .local = u->zone.n && !str_eq(u->zone, zone_name(ZONE_CLOUD)) };
    x.answered = u->is_call && x.ok;
    x.has_elsewhere = elsewhere(w, u, &x.elsewhere);
    bool now = u->at_us >= r->since_us;
    str names[REPORT_TABLES] = { u->task, u->model, u->key };
    add(now ? &r->now : &r->before, &x);
    for (size_t i = 0; i < REPORT_TABLES; i++) {
        struct report_line *l = line_of(w, &r->tables[i], names[i]);
        add(now ? &l->now : &l->before, &x);
    }
    if (!now)
        return;
    add_bucket(r, &x);
    r->other_prices += x.local && x.has_elsewhere && !digest_eq(&u->policy, &w->policy->hash);
}

static int by_calls(const void *a, const void *b)
{
    const struct report_line *x = a, *y = b;
    int64_t n = x->now.calls, m = y->now.calls;
    return n != m ? (n < m) - (n > m) : str_cmp(x->name, y->name);
}

/* ---- what is said ---- */

char *report_money(int64_t micros, bool known, char out[24])
{
    double d = (double)micros / 1e6;
    if (!known)
        snprintf(out, 24, "-");
    else
        snprintf(out, 24, micros && d < 0.1 ? "$%.4f" : "$%.2f", d);
    return out;
}

char *report_length(int64_t us, char out[24])
{
    static const struct { const char *name; int64_t us; } units[] = { { "day", DAY_US }, { "hour", 60 * MINUTE_US }, { "minute", MINUTE_US } };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (us >= units[i].us && us % units[i].us == 0) {
            snprintf(out, 24, "%lld %s%s", (long long)(us / units[i].us), units[i].name, us == units[i].us ? "" : "s");
            return out;
        }
    return term_duration(us, out);
}

char *report_count(int64_t n, char out[24])
{
    if (n >= 10000000)
        snprintf(out, 24, "%.1fM", (double)n / 1e6);
    else if (n >= 1000000)
        snprintf(out, 24, "%.2fM", (double)n / 1e6);
    else if (n >= 1000)
        snprintf(out, 24, "%lld,%03lld", (long long)n / 1000, (long long)n % 1000);
    else
        snprintf(out, 24, "%lld", (long long)n);
    return out;
}

/* "+12 %", "new" where there was nothing before. */
static char *change(int64_t now, int64_t before, char out[24])
{
    if (!before)
        snprintf(out, 24, "%s", now ? "new" : "-");
    else
        snprintf(out, 24, "%+.0f %%", 100 * ((double)now - (double)before) / (double)before);
    return out;
}

static double share(int64_t of, int64_t all) { return all ? 100 * (double)of / (double)all : 0; }

static char *took(const struct report_sum *s, double p, char out[24])
{
    if (!s->answered)
        snprintf(out, 24, "-");
    else
        term_duration(report_percentile(s, p), out);
    return out;
}

static void print_line(const struct report_line *l)
{
    const struct report_sum *s = &l->now;
    char t[9][24];
    printf("  ");
    term_cell(stdout, l->name, 24, true);
    printf(" %9s %7s %6.1f%% %6.1f%% %9s %9s %10s %10s %9s %9s\n", report_count(s->calls, t[0]), change(s->calls, l->before.calls, t[1]), share(s->ok, s->calls), share(s->local, s->answered),
           report_count(s->input_tokens, t[2]), report_count(s->output_tokens, t[3]), report_money(s->cost_micros, s->cost_micros || !s->unpriced, t[4]),
           report_money(s->elsewhere_micros, s->elsewhere_micros > 0, t[5]), took(s, 0.5, t[6]), took(s, 0.95, t[7]));
}

static void print_table(const struct report_table *t)
{
    printf("\n%s%-26s %9s %7s %7s %7s %9s %9s %10s %10s %9s %9s%s\n", term_out("1"), t->title, "CALLS", "CHANGE", "OK", "LOCAL", "IN", "OUT", "SPENT", "ELSEWHERE", "P50", "P95", term_out("0"));
    for (size_t i = 0; i < t->n; i++)
        print_line(&t->lines[i]);
}

/* A column of the period on one line of a terminal: the height is the calls, the colour where most of them went. */
static void print_bars(const struct report *r)
{
    static const char *const bars[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    int64_t most = 1;
    for (size_t i = 0; i < r->n_buckets; i++) {
        int64_t n = r->buckets[i].local + r->buckets[i].cloud + r->buckets[i].failed;
        most = n > most ? n : most;
    }
    printf("  ");
    for (size_t i = 0; i < r->n_buckets; i++) {
        const struct report_bucket *b = &r->buckets[i];
        int64_t n = b->local + b->cloud + b->failed;
        printf("%s%s", term_out(b->failed * 2 > n ? "31" : b->local >= b->cloud ? "32" : "36"), bars[(n * 8 + most - 1) / most]);
    }
    char each[24], top[24];
    printf("%s  a column is %s, the highest has %s calls; %slocal%s, %scloud%s, %sfailed%s\n", term_out("0"), report_length(r->bucket_us, each), report_count(most, top), term_out("32"), term_out("0"),
           term_out("36"), term_out("0"), term_out("31"), term_out("0"));
}

static void print_sum(const struct report *r)
{
    const struct report_sum *s = &r->now, *b = &r->before;
    char from[CLOCK_TEXT], until[CLOCK_TEXT], t[8][24];
    clock_text(r->since_us, from);
    clock_text(r->until_us, until);
    printf("%s%.16s to %.16s UTC%s, beside the same time before\n\n", term_out("1"), from, until, term_out("0"));
    printf("  %s calls (%s), %.1f %% ok; %.1f %% of the answers local (before: %.1f %%)\n", report_count(s->calls, t[0]), change(s->calls, b->calls, t[1]), share(s->ok, s->calls),
           share(s->local, s->answered), share(b->local, b->answered));
    printf("  %s tokens read (%s), %s written (%s)\n", report_count(s->input_tokens, t[0]), change(s->input_tokens, b->input_tokens, t[1]), report_count(s->output_tokens, t[2]),
           change(s->output_tokens, b->output_tokens, t[3]));
    printf("  spent %s (%s); the local answers would have cost %s with the references of their tasks\n", report_money(s->cost_micros, s->cost_micros || !s->unpriced, t[0]),
           change(s->cost_micros, b->cost_micros, t[1]), report_money(s->elsewhere_micros, s->elsewhere_micros > 0, t[2]));
    printf("  half of the answers within %s (before: %s), 95 %% within %s (%s)\n", took(s, 0.5, t[0]), took(b, 0.5, t[1]), took(s, 0.95, t[2]), took(b, 0.95, t[3]));
    if (s->energy_j > 0)
        printf("  %.0f kJ of energy, where it was measured\n", s->energy_j / 1000);
    if (term_is_out() && r->n_buckets > 1)
        print_bars(r);
}

static void print_notes(const struct report *r)
{
    const struct report_sum *s = &r->now;
    if (s->unpriced)
        printf("\n%lld answers of a cloud have no price: models: NAME: price: { input: …, output: … } gives them one.\n", (long long)s->unpriced);
    if (s->incomparable)
        printf("\n%lld local answers cannot be compared: their task has no reference with a price. --reference MODEL names one.\n", (long long)s->incomparable);
    if (r->other_prices)
        printf("\n%lld local answers are from before the configuration was changed: the prices compared with are today's.\n", (long long)r->other_prices);
}

static void put_i64(struct json_out *o, str key, int64_t v)
{
    json_put_key(o, key);
    json_put_i64(o, v);
}

static void put_sum(struct json_out *o, str key, const struct report_sum *s)
{
    json_put_key(o, key);
    json_open(o, '{');
    put_i64(o, S("calls"), s->calls);
    put_i64(o, S("ok"), s->ok);
    put_i64(o, S("local"), s->local);
    put_i64(o, S("failed_tries"), s->tries);
    put_i64(o, S("input_tokens"), s->input_tokens);
    put_i64(o, S("output_tokens"), s->output_tokens);
    put_i64(o, S("cost_micros"), s->cost_micros);
    put_i64(o, S("unpriced"), s->unpriced);
    put_i64(o, S("elsewhere_micros"), s->elsewhere_micros);
    put_i64(o, S("incomparable"), s->incomparable);
    if (s->energy_j > 0) {
        json_put_key(o, S("energy_j"));
        json_put_f64(o, s->energy_j);
    }
    json_put_count_or_null(o, S("p50_us"), s->answered ? report_percentile(s, 0.5) : -1);
    json_put_count_or_null(o, S("p95_us"), s->answered ? report_percentile(s, 0.95) : -1);
    json_close(o, '}');
}

static void put_table(struct json_out *o, const struct report_table *t)
{
    json_put_key(o, str_of(t->column));
    json_open(o, '[');
    for (size_t i = 0; i < t->n; i++) {
        json_open(o, '{');
        json_put_text(o, S("name"), t->lines[i].name);
        put_sum(o, S("now"), &t->lines[i].now);
        put_sum(o, S("before"), &t->lines[i].before);
        json_close(o, '}');
    }
    json_close(o, ']');
}

static void print_json(const struct report *r)
{
    struct buf b = { .max = 16 << 20 };
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_i64(&o, S("since_us"), r->since_us);
    put_i64(&o, S("until_us"), r->until_us);
    put_sum(&o, S("now"), &r->now);
    put_sum(&o, S("before"), &r->before);
    for (size_t i = 0; i < REPORT_TABLES; i++)
        put_table(&o, &r->tables[i]);
    put_i64(&o, S("bucket_us"), r->bucket_us);
    json_put_key(&o, S("buckets"));
    json_open(&o, '[');
    for (size_t i = 0; i < r->n_buckets; i++) {
        const struct report_bucket *x = &r->buckets[i];
        json_open(&o, '{');
        put_i64(&o, S("local"), x->local);
        put_i64(&o, S("cloud"), x->cloud);
        put_i64(&o, S("failed"), x->failed);
        put_i64(&o, S("cost_micros"), x->cost_micros);
        put_i64(&o, S("elsewhere_micros"), x->elsewhere_micros);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    put_i64(&o, S("other_prices"), r->other_prices);
    json_close(&o, '}');
    printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_free(&b);
}

/* ---- the command ---- */

/* The shortest of some usual lengths of which the period has few enough. */
static void set_buckets(struct report *r)
{
    const int64_t lengths[] = { MINUTE_US, 5 * MINUTE_US, 15 * MINUTE_US, 60 * MINUTE_US, 6 * 60 * MINUTE_US, DAY_US, 7 * DAY_US, 30 * DAY_US };
    int64_t all = r->until_us - r->since_us;
    r->bucket_us = (all + REPORT_BUCKETS - 1) / REPORT_BUCKETS;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        if (all <= lengths[i] * 60) {
            r->bucket_us = lengths[i];
            break;
        }
    r->n_buckets = (size_t)((all + r->bucket_us - 1) / r->bucket_us);
}

static int write_page(const struct report *r, const char *path)
{
    FILE *to = fopen(path, "we");
    if (!to)
        return cmd_fail(EXIT_FAILED, NULL, "%s cannot be written", path);
    report_page(to, r);
    bool ok = !ferror(to);
    return fclose(to) == 0 && ok ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "%s could not be written", path);
}

static int report_run(struct cmd *c)
{
    static const char *const titles[] = { "TASK", "MODEL", "KEY" }, *const columns[] = { "tasks", "models", "keys" };
    struct app_config *k;
    struct ledger_reader *reader;
    struct report *r = arena_new(&c->arena, struct report, 1);
    if (!r)
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    *r = (struct report){ .until_us = clock_wall_us(&clock_system) };
    r->since_us = r->until_us - 7 * DAY_US;
    if (!lookup_ago(c->f.since, &r->since_us) || !lookup_ago(c->f.until, &r->until_us))
        return cmd_fail(EXIT_USAGE, "Write it as 90s, 15m, 12h or 7d.", "--since and --until take how long ago");
    if (r->since_us >= r->until_us)
        return cmd_fail(EXIT_USAGE, NULL, "--since must be longer ago than --until");
    r->before_us = 2 * r->since_us - r->until_us;
    set_buckets(r);
    for (size_t i = 0; i < REPORT_TABLES; i++) {
        r->tables[i] = (struct report_table){ .title = titles[i], .column = columns[i], .lines = arena_new(&c->arena, struct report_line, REPORT_LINES + 1) };
        if (!r->tables[i].lines)
            return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    }
    int code = lookup_open(c, &k, &reader);
    if (code)
        return code;
    struct walk w = { .r = r, .a = &c->arena, .policy = &k->gate.policy, .f = &c->f };
    if (c->f.reference && !is_priced(w.reference = policy_model(w.policy, str_of(c->f.reference))))
        code = cmd_fail(EXIT_USAGE, "hearth models lists them; models: NAME: price: gives it prices.", "there is no model %s with a price", c->f.reference);
    else if (ledger_read_usage(reader, r->before_us, r->until_us, each_try, &w) != ERR_OK)
        code = cmd_fail(EXIT_FAILED, "hearth verify says what is wrong with it.", "the ledger cannot be read");
    ledger_reader_close(reader);
    for (size_t i = 0; i < REPORT_TABLES; i++)
        qsort(r->tables[i].lines, r->tables[i].n, sizeof *r->tables[i].lines, by_calls);
    if (code == EXIT_DONE && c->f.json) {
        print_json(r);
    } else if (code == EXIT_DONE) {
        print_sum(r);
        for (size_t i = 0; i < REPORT_TABLES; i++)
            print_table(&r->tables[i]);
        print_notes(r);
    }
    if (code == EXIT_DONE && c->f.html)
        code = write_page(r, c->f.html);
    app_unload(k);
    return code;
}

const struct command command_report = {
    .name = "report", .args = "", .brief = "what calls cost, how long they took and where they went",
    .about = "Sums up a week, or what --since and --until say, by task, model and key, beside the same time before it.\n"
             "ELSEWHERE is what the answers of local models would have cost with the reference of their task: their tokens at its prices.",
    .examples = "  hearth report\n  hearth report --since 30d --html report.html\n  hearth report --reference frontier --json | jq .now",
    .flags = { &flag_since, &flag_until, &flag_task, &flag_model, &flag_key, &flag_reference, &flag_html, &flag_json, &flag_config, &flag_ledger }, .max_args = 0, .run = report_run,
};
