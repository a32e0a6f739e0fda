/* `hearth guard try`: what the guard of the configuration, as it is now, would do with calls that are on record. Nothing is sent, masked or written. */
#include "cmd/lookup.h"
#include "cmd/sanitize.h"
#include "cmd/term.h"
#include "core/json.h"
#include "guard/mask.h"

/* What would become of a call that is bound for a cloud. */
enum fate { FATE_LEAVES, FATE_MASKED, FATE_STAYS, FATE_REFUSED, FATE_UNKNOWN, FATES };
static const char *const fate_names[FATES] = { "leaves", "masked", "stays", "refused", "unknown" };

struct trying {
    struct cmd *c;
    struct app_config *k;
    struct ledger_reader *r;
    bool has_local;
    size_t fates[FATES], found[GUARD_N_TYPES], calls, shown;
    int64_t bytes, us;
};

struct trial {
    enum fate fate;
    const char *why;                    /* one sentence */
    size_t found[GUARD_N_TYPES];
    struct walk walk;
};

static enum err find(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n) { return guard_find(ctx, a, text, out, n); }

static bool stays_here(const struct policy *p)
{
    for (size_t i = 0; i < p->n_models; i++)
        if (p->models[i].provider && p->models[i].provider->zone != ZONE_CLOUD)
            return true;
    return false;
}

/* As the door joins them (gate/guard.c), but for the word of a key: who has asked may have another one by now. */
static struct guard_policy policy_of(const struct gate_config *g, const struct ledger_row *row)
{
    const struct policy *p = &g->policy;
    const struct task *task = policy_task(p, row->task);
    const struct model *model = policy_model(p, row->model);
    const struct guard_rules *from[] = { &g->guard->all, task ? &g->guard->tasks[task - p->tasks] : NULL, model ? &g->guard->models[model - p->models] : NULL };
    return guard_policy_join(from, sizeof from / sizeof *from);
}

static const char *of_missing(enum err e)
{
    return e == ERR_NOTFOUND ? "its prompt is not kept, or erased" : e == ERR_FORBIDDEN ? "its prompt is sealed, and the key is not here" : "its prompt cannot be read";
}

static enum fate fate_of(enum guard_do what, size_t n, bool dropped)
{
    switch (what) {
    case GUARD_SEND: return FATE_LEAVES;
    case GUARD_STAY: return FATE_STAYS;
    case GUARD_REFUSE: return FATE_REFUSED;
    default: return n || dropped || what == GUARD_ASK_MODEL ? FATE_MASKED : FATE_LEAVES;
    }
}

static void try_body(struct trying *t, struct arena *a, const struct ledger_row *row, str body, struct trial *out)
{
    const struct gate_config *g = &t->k->gate;
    const struct guard_policy policy = policy_of(g, row);
    const struct guard_search s = { .find = find, .ctx = t->k->finder, .names = t->k->finder };
    struct guard_question q = { .leaves = true, .private_data = str_eq(row->data_class, data_name(DATA_PRIVATE)), .has_local = t->has_local };
    struct guard_verdict v = { .n = 0 };
    size_t n = 0;
    int64_t start = clock_mono_us(&clock_system);
    q.search = body.n > g->guard->body_max ? ERR_LIMIT : guard_scan(a, &s, body, NULL, &v);
    t->us += clock_mono_us(&clock_system) - start;
    t->bytes += (int64_t)body.n;
    if (q.search == ERR_OK) {
        q.unsure = v.walk.unsure;
        guard_count(&v, &policy, q.found);
        memcpy(out->found, q.found, sizeof out->found);
        out->walk = v.walk;
    }
    for (size_t i = 0; i < GUARD_N_TYPES; i++)
        n += out->found[i];
    struct guard_answer answer = guard_decide(&policy, &q);
    out->fate = fate_of(answer.what, n, v.walk.n_dropped > 0);
    out->why = answer.why;
}

/* ---- what is said ---- */

static void put_found(struct json_out *o, const struct guard_finder *names, const size_t found[GUARD_N_TYPES])
{
    json_put_key(o, S("found"));
    json_open(o, '{');
    for (size_t i = 0; i < GUARD_N_TYPES; i++)
        if (found[i]) {
            json_put_key(o, str_of(guard_type_name(names, (enum guard_type)i)));
            json_put_i64(o, (int64_t)found[i]);
        }
    json_close(o, '}');
}

static void say_json(const struct trying *t, const struct ledger_row *row, const struct trial *x)
{
    struct buf b = { .max = 1 << 20 };
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_text(&o, S("call_id"), row->call_id);
    json_put_text_or_null(&o, S("task"), row->task);
    json_put_text_or_null(&o, S("model"), row->model);
    json_put_text(&o, S("would"), str_of(fate_names[x->fate]));
    json_put_text(&o, S("why"), str_of(x->why));
    put_found(&o, t->k->finder, x->found);
    json_put_key(&o, S("left_out"));
    json_open(&o, '[');
    for (size_t i = 0; i < x->walk.n_dropped; i++)
        json_put_str(&o, x->walk.dropped[i]);
    json_close(&o, ']');
    json_close(&o, '}');
    printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_free(&b);
}

static void print_found(const struct guard_finder *names, const size_t found[GUARD_N_TYPES])
{
    const char *between = "";
    for (size_t i = 0; i < GUARD_N_TYPES; i++)
        if (found[i]) {
            printf("%s%s %zu", between, guard_type_name(names, (enum guard_type)i), found[i]);
            between = ", ";
        }
}

static void say_row(struct trying *t, const struct ledger_row *row, const struct trial *x)
{
    static const char *const colours[FATES] = { "32", "36", "33", "31", "2" };
    char at[CLOCK_TEXT];
    if (!t->shown++)
        printf("%stime      call     model                  task           would    found%s\n", term_out("2"), term_out("0"));
    clock_text(row->at_us == ROW_NULL_I ? 0 : row->at_us, at);
    printf("%.8s  ", at + 11);
    term_cell(stdout, short_id(row->call_id), 8, true);
    putchar(' ');
    term_cell(stdout, row->model.n ? row->model : row->model_asked, 22, true);
    putchar(' ');
    term_cell(stdout, row->task.n ? row->task : S("-"), 14, true);
    printf(" %s%-8s%s ", term_out(colours[x->fate]), fate_names[x->fate], term_out("0"));
    print_found(t->k->finder, x->found);
    if (x->fate >= FATE_STAYS)
        printf("%s%s", term_out("2"), x->why);
    if (x->fate >= FATE_STAYS && x->walk.unsure)
        printf(" (%.*s)", STR_ARG(x->walk.unsure_of));
    for (size_t i = 0; i < x->walk.n_dropped && x->fate == FATE_MASKED; i++)
        printf("%s%.*s%s", i ? ", " : "  left out: ", STR_ARG(x->walk.dropped[i]), "");
    printf("%s\n", term_out("0"));
}

static bool each_call(void *ctx, const struct ledger_seen *s)
{
    struct trying *t = ctx;
    const struct ledger_row *row = &s->row;
    struct trial x = { .fate = FATE_UNKNOWN };
    struct arena a;
    str body;
    bool cut = false;
    if (!row->request_hash)
        return true;                    /* without a body */
    arena_init(&a, (size_t)1 << 30);
    enum err e = row->request_body == ROW_NULL_I ? ERR_NOTFOUND : ledger_read_body(t->r, &a, row->request_body, &body, &cut);
    if (e != ERR_OK)
        x.why = of_missing(e);
    else if (cut)
        x.why = "only the beginning of its prompt is kept";
    else
        try_body(t, &a, row, body, &x);
    t->calls++;
    t->fates[x.fate]++;
    for (size_t i = 0; i < GUARD_N_TYPES; i++)
        t->found[i] += x.found[i];
    if (t->c->f.json)
        say_json(t, row, &x);
    else if (x.fate != FATE_LEAVES)
        say_row(t, row, &x);
    arena_free(&a);
    return true;
}

static void sum_up(const struct trying *t)
{
    static const char *const words[FATES] = { "would leave as they are", "masked", "stay with a local model", "refused", "cannot be told" };
    const char *between = ": ";
    printf("%s%zu call%s", t->shown ? "\n" : "", t->calls, t->calls == 1 ? "" : "s");
    for (size_t i = 0; i < FATES; i++)
        if (t->fates[i]) {
            printf("%s%zu %s", between, t->fates[i], words[i]);
            between = ", ";
        }
    printf(".\nFound: ");
    print_found(t->k->finder, t->found);
    size_t n = 0;
    for (size_t i = 0; i < GUARD_N_TYPES; i++)
        n += t->found[i];
    printf("%s. Searched %.1f KB in %.2f ms.\n", n ? "" : "nothing", (double)t->bytes / 1000, (double)t->us / 1000);
}

int guard_try(struct cmd *c)
{
    const struct flags *g = &c->f;
    struct trying t = { .c = c };
    struct ledger_filter f = { .task = str_of(g->task), .model = str_of(g->model), .limit = g->limit >= 0 ? g->limit : 100, .kinds = 1u << ROW_END };
    if (!lookup_ago(g->since, &f.since_us) || !lookup_ago(g->until, &f.until_us))
        return cmd_fail(EXIT_USAGE, "Write it as 90s, 15m, 12h or 7d.", "--since and --until take how long ago");
    int code = lookup_open(c, &t.k, &t.r);
    if (code)
        return code;
    t.has_local = stays_here(&t.k->gate.policy);
    if (ledger_read(t.r, &f, each_call, &t) != ERR_OK)
        code = cmd_fail(EXIT_FAILED, "hearth verify says what is wrong with it.", "the ledger cannot be read");
    else if (!t.calls)
        fputs("No calls yet, or none that match.\n", stderr);
    else if (!g->json)
        sum_up(&t);
    ledger_reader_close(t.r);
    app_unload(t.k);
    return code ? code : t.fates[FATE_LEAVES] == t.calls ? EXIT_DONE : EXIT_FOUND;
}
