/* `hearth dataset`: questions and answers of the ledger as a data set, with placeholders for what the guard finds.
 *
 * Each line is made as JSON and then goes through the sanitizer as a file of JSON would, so that whatever stands in it is looked at: system messages, names,
 * both sides of the conversation. The placeholders are "[EMAIL]": a data set is not restored. */
#include "cmd/lookup.h"
#include "cmd/sanitize.h"
#include "cmd/said.h"
#include "cmd/term.h"
#include "core/json.h"
#include "guard/mask.h"

enum form { FORM_CHAT, FORM_EVALS, FORM_PROMPTFOO, FORMS };
static const char *const form_names[FORMS] = { "chat", "evals", "promptfoo" };

/* Why a call is not in the set. */
enum why { WHY_TAKEN, WHY_AGAIN, WHY_PRIVATE, WHY_NOT_KEPT, WHY_NO_CHAT, WHY_MORE_THAN_TEXT, WHY_EMPTY, WHYS };
static const char *const why_texts[WHYS] = { "", "whose question was there already", "private", "whose prompt or answer is not kept, cut or sealed", "no chats", "with tools or images",
                                             "without an answer" };

struct making {
    struct cmd *c;
    struct app_config *k;
    struct ledger_reader *r;
    struct arena *a;
    enum form form;
    struct guard_search search;
    struct guard_policy policy;
    struct digest *seen;                /* of questions: a table with holes, n_seen of cap */
    size_t n_seen, cap;
    int64_t calls[WHYS], placeholders;
    enum err err;
};

/* ---- each question once ---- */

static struct digest *place_of(struct digest *table, size_t cap, const struct digest *d)
{
    static const struct digest none;
    uint64_t h;
    memcpy(&h, d->b, sizeof h);
    size_t i = h & (cap - 1);
    while (!digest_eq(&table[i], &none) && !digest_eq(&table[i], d))
        i = (i + 1) & (cap - 1);
    return &table[i];
}

static enum err grow(struct making *m)
{
    size_t cap = m->cap ? 2 * m->cap : 1024;
    struct digest *table = arena_new(m->a, struct digest, cap);
    static const struct digest none;
    if (!table)
        return ERR_LIMIT;
    for (size_t i = 0; i < m->cap; i++)
        if (!digest_eq(&m->seen[i], &none))
            *place_of(table, cap, &m->seen[i]) = m->seen[i];
    m->seen = table;
    m->cap = cap;
    return ERR_OK;
}

/* ERR_BUSY: it was there. */
static enum err note(struct making *m, str question)
{
    const struct digest d = sha256_of(question);
    if (2 * m->n_seen >= m->cap && grow(m) != ERR_OK)
        return ERR_LIMIT;
    struct digest *at = place_of(m->seen, m->cap, &d);
    if (digest_eq(at, &d))
        return ERR_BUSY;
    *at = d;
    m->n_seen++;
    return ERR_OK;
}

/* ---- a line ---- */

static bool is_text(const struct chat *c)
{
    bool only = c->n_tools == 0;
    for (size_t i = 0; i < c->n_turns && only; i++)
        for (size_t k = 0; k < c->turns[i].n && only; k++)
            only = c->turns[i].parts[k].kind == PART_TEXT || c->turns[i].parts[k].kind == PART_THINKING;
    return only;
}

static enum err put_turns(struct arena *a, struct json_out *o, const struct chat *c)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < c->n_turns && e == ERR_OK; i++) {
        str text;
        e = turn_text(a, &c->turns[i], &text);
        if (e != ERR_OK)
            break;
        json_open(o, '{');
        json_put_text(o, S("role"), role_name(c->turns[i].role));
        json_put_text(o, S("content"), text);
        json_close(o, '}');
    }
    return e;
}

/* The messages as a JSON array in `b`. */
static enum err put_question(struct arena *a, struct buf *b, const struct chat *c)
{
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '[');
    enum err e = put_turns(a, &o, c);
    json_close(&o, ']');
    return e ? e : o.err;
}

/* OpenAI's fine-tuning form, {"messages"}; OpenAI evals, {"input","ideal"}; promptfoo's tests, whose prompt file is {{messages}}. */
static void put_line(struct json_out *o, struct arena *a, enum form form, const struct chat *c, str question, str answer)
{
    json_open(o, '{');
    switch (form) {
    case FORM_CHAT:
        json_put_key(o, S("messages"));
        json_open(o, '[');
        (void)put_turns(a, o, c);
        json_open(o, '{');
        json_put_text(o, S("role"), S("assistant"));
        json_put_text(o, S("content"), answer);
        json_close(o, '}');
        json_close(o, ']');
        break;
    case FORM_EVALS:
        json_put_key(o, S("input"));
        json_put_raw(o, question);
        json_put_text(o, S("ideal"), answer);
        break;
    default:
        json_put_key(o, S("vars"));
        json_open(o, '{');
        json_put_text(o, S("messages"), question);
        json_close(o, '}');
        json_put_key(o, S("assert"));
        json_open(o, '[');
        json_open(o, '{');
        json_put_text(o, S("type"), S("equals"));
        json_put_text(o, S("value"), answer);
        json_close(o, '}');
        json_close(o, ']');
        break;
    }
    json_close(o, '}');
}

static enum err put_out(void *ctx, str bytes)
{
    (void)ctx;
    return fwrite(bytes.p, 1, bytes.n, stdout) == bytes.n ? ERR_OK : ERR_IO;
}

static enum err write_line(struct making *m, struct arena *a, const struct chat *c, str question, str answer)
{
    struct buf line = { .max = 1u << 30 };
    struct json_out o;
    struct sanitizer s = { .search = &m->search, .policy = &m->policy, .kind = SANITIZE_JSON, .put = put_out };
    json_out_init(&o, &line);
    put_line(&o, a, m->form, c, question, answer);
    enum err e = o.err ? o.err : buf_putc(&line, '\n');
    if (!e)
        e = sanitizer_run(&s, a, &line, true);
    m->placeholders += (int64_t)s.placeholders;
    buf_free(&line);
    return e;
}

/* ---- a call ---- */

static enum why take(struct making *m, struct arena *a, const struct ledger_row *row)
{
    str request, response;
    bool cut = false, cut_answer = false;
    struct chat c;
    struct said said;
    struct buf question = { .max = 1u << 30 };
    if (!row->data_class.n || str_eq(row->data_class, data_name(DATA_PRIVATE)))
        return WHY_PRIVATE;
    if (row->request_body == ROW_NULL_I || row->response_body == ROW_NULL_I || ledger_read_body(m->r, a, row->request_body, &request, &cut) != ERR_OK ||
        ledger_read_body(m->r, a, row->response_body, &response, &cut_answer) != ERR_OK || cut || cut_answer)
        return WHY_NOT_KEPT;
    if (said_chat(a, row->dialect, row->operation, request, &c) != ERR_OK)
        return WHY_NO_CHAT;
    if (!is_text(&c))
        return WHY_MORE_THAN_TEXT;
    if (said_read(a, row->dialect, response, &said) != ERR_OK || !said.text.n)
        return WHY_EMPTY;
    enum why why = WHY_TAKEN;
    enum err e = put_question(a, &question, &c);
    e = e ? e : note(m, buf_str(&question));
    if (e == ERR_BUSY)
        why = WHY_AGAIN;
    else
        m->err = e ? e : write_line(m, a, &c, buf_str(&question), said.text);
    buf_free(&question);
    return why;
}

static bool each_call(void *ctx, const struct ledger_seen *s)
{
    struct making *m = ctx;
    struct arena a;
    arena_init(&a, (size_t)1 << 30);
    m->calls[take(m, &a, &s->row)]++;
    arena_free(&a);
    if (term_is_err() && !term_is_out())
        term_progress("calls", m->calls[WHY_TAKEN], 0);
    return m->err == ERR_OK;
}

static void sum_up(const struct making *m)
{
    fprintf(stderr, "%lld lines, %lld placeholders", (long long)m->calls[WHY_TAKEN], (long long)m->placeholders);
    for (int i = WHY_AGAIN; i < WHYS; i++)
        if (m->calls[i])
            fprintf(stderr, "; left out: %lld %s", (long long)m->calls[i], why_texts[i]);
    fputc('\n', stderr);
}

static enum err find(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n) { return guard_find(ctx, a, text, out, n); }

static bool form_from(const char *name, enum form *out)
{
    for (int i = 0; i < FORMS; i++)
        if (strcmp(name, form_names[i]) == 0) {
            *out = (enum form)i;
            return true;
        }
    return false;
}

static int dataset_run(struct cmd *c)
{
    const struct flags *g = &c->f;
    struct making m = { .c = c, .a = &c->arena };
    struct ledger_filter f = { .task = str_of(g->task), .model = str_of(g->model), .key = str_of(g->key), .outcome = S("ok"), .kinds = 1u << ROW_END, .limit = g->limit >= 0 ? g->limit : INT64_MAX };
    if (g->form && !form_from(g->form, &m.form))
        return cmd_fail(EXIT_USAGE, "It is chat, evals or promptfoo.", "there is no form %s", g->form);
    if (!lookup_ago(g->since, &f.since_us) || !lookup_ago(g->until, &f.until_us))
        return cmd_fail(EXIT_USAGE, "Write it as 90s, 15m, 12h or 7d.", "--since and --until take how long ago");
    int code = lookup_open(c, &m.k, &m.r);
    if (code)
        return code;
    struct guard_rules always = m.k->config->guard.all;         /* a file is written, whatever is done for clouds */
    const struct guard_rules *rules[] = { &always };
    always.action = GUARD_MASK;
    m.policy = guard_policy_join(rules, 1);
    m.search = (struct guard_search){ .find = find, .ctx = m.k->finder, .names = m.k->finder };
    enum err e = ledger_read(m.r, &f, each_call, &m);
    e = m.err ? m.err : e;
    term_progress_end();
    if (e == ERR_STORE)
        code = cmd_fail(EXIT_FAILED, "hearth verify says what is wrong with it.", "the ledger cannot be read");
    else if (e != ERR_OK)
        code = cmd_fail(EXIT_FAILED, NULL, "the data set is not whole: %s", e == ERR_IO ? "the output could not be written" : err_text(e));
    else
        sum_up(&m);
    ledger_reader_close(m.r);
    app_unload(m.k);
    return code;
}

const struct command command_dataset = {
    .name = "dataset", .args = "[filters] > FILE", .brief = "questions and answers of the ledger as a data set, a JSON object a line",
    .about = "Takes answered chats, the newest first, each question once, and puts placeholders for what the guard finds. Private calls, and those with tools or images, are left out\n"
             "and counted. Forms: chat is OpenAI's for fine-tuning, evals that of OpenAI evals, promptfoo a file of tests for the prompt {{messages}}.",
    .examples = "  hearth dataset --task docstring > docstrings.jsonl\n  hearth dataset --model frontier --since 30d --form evals > evals.jsonl",
    .flags = { &flag_form, &flag_task, &flag_model, &flag_key, &flag_since, &flag_until, &flag_limit, &flag_config, &flag_ledger }, .max_args = 0, .run = dataset_run,
};
