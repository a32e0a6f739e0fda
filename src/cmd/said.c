/* Answers of four APIs, read back. */
#include "cmd/said.h"

#include "wire/anthropic.h"
#include "wire/ollama.h"
#include "wire/openai_chat.h"
#include "wire/responses.h"
#include "wire/sse.h"

enum { ANSWER_MAX = 256 << 20 };

struct reading {
    struct arena *a, scratch;
    struct answer answer;
    struct delta_sink sink;
    struct reply reply;
    enum dialect dialect;
    struct openai_reader openai;
    struct anthropic_reader anthropic;
    struct ollama_reader ollama;
};

static void on_delta(void *ctx, const struct delta *d) { answer_add(ctx, d); }

static enum err read_event(struct reading *w, str event, str data)
{
    enum wire_event e = w->dialect == DIALECT_ANTHROPIC ? anthropic_read_event(&w->anthropic, w->a, &w->scratch, event, data, &w->reply, &w->sink)
                        : w->dialect == DIALECT_OLLAMA  ? ollama_read_line(&w->ollama, w->a, &w->scratch, data, &w->reply, &w->sink)
                                                        : openai_read_deltas(&w->openai, w->a, &w->scratch, data, &w->reply, &w->sink);
    return e == WIRE_INVALID || e == WIRE_ERROR ? ERR_UPSTREAM : ERR_OK;
}

static enum err read_sse(struct reading *w, str body)
{
    struct sse s;
    struct sse_event ev;
    enum err e = ERR_OK;
    sse_init(&s, 64u << 20);
    sse_feed(&s, body);
    while (e == ERR_OK && sse_next(&s, &ev) == ERR_OK)
        if (ev.has_data)
            e = read_event(w, ev.event, ev.data);
    sse_free(&s);
    return e;
}

static enum err read_lines(struct reading *w, str body)
{
    enum err e = ERR_OK;
    while (e == ERR_OK && body.n) {
        size_t n = str_index(body, '\n');
        str line = str_trim(str_slice(body.p, n));
        if (line.n)
            e = read_event(w, S(""), line);
        body = str_skip(body, n + 1);
    }
    return e;
}

static enum err read_whole(struct reading *w, str body)
{
    switch (w->dialect) {
    case DIALECT_ANTHROPIC: return anthropic_read_reply(w->a, &w->scratch, body, &w->reply, &w->sink);
    case DIALECT_OLLAMA:    return ollama_read_reply(&w->ollama, w->a, &w->scratch, body, &w->reply, &w->sink);
    default:                return openai_read_reply_deltas(w->a, &w->scratch, body, &w->reply, &w->sink);
    }
}

static enum err join(const struct answer *w, enum block_kind kind, struct buf *b)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < w->n && e == ERR_OK; i++)
        for (size_t k = 0; k < w->choices[i].n && e == ERR_OK; k++) {
            const struct answer_block *x = &w->choices[i].blocks[k];
            if (x->kind != kind && !(kind == BLOCK_TEXT && x->kind == BLOCK_REFUSAL))
                continue;
            if (b->n && (kind == BLOCK_TOOL || k == 0))
                e = buf_putc(b, '\n');
            e = e ? e : kind == BLOCK_TOOL ? buf_printf(b, "%.*s(%.*s)", STR_ARG(x->name), STR_ARG(buf_str(&x->text))) : buf_put(b, buf_str(&x->text));
        }
    return e;
}

static enum err settle(struct arena *a, const struct answer *w, enum block_kind kind, str *out)
{
    struct buf b = { .max = ANSWER_MAX };
    enum err e = join(w, kind, &b);
    *out = arena_str(a, buf_str(&b));
    buf_free(&b);
    return e ? e : out->p ? ERR_OK : ERR_LIMIT;
}

/* ---- the Responses API, which no upstream of ours speaks ---- */

static void add_part(struct arena *a, str *to, str sep, str more)
{
    str s = arena_printf(a, "%.*s%s%.*s", STR_ARG(*to), to->n ? sep.p : "", STR_ARG(more));
    *to = s.p ? s : *to;
}

static enum err read_response(struct arena *a, json v, struct said *out)
{
    str text, name;
    json list = json_member(v, S("output"));
    if (json_type(list) != JSON_ARRAY)
        return ERR_UPSTREAM;
    for (json item = json_first(list); json_type(item) != JSON_NONE; item = json_next(item)) {
        for (json p = json_first(json_member(item, S("content"))); json_type(p) != JSON_NONE; p = json_next(p))
            if (json_text(a, json_member(p, S("text")), &text) == ERR_OK || json_text(a, json_member(p, S("refusal")), &text) == ERR_OK)
                add_part(a, &out->text, S("\n"), text);
        for (json p = json_first(json_member(item, S("summary"))); json_type(p) != JSON_NONE; p = json_next(p))
            if (json_text(a, json_member(p, S("text")), &text) == ERR_OK)
                add_part(a, &out->thinking, S("\n"), text);
        if (json_text(a, json_member(item, S("name")), &name) == ERR_OK && json_text(a, json_member(item, S("arguments")), &text) == ERR_OK)
            add_part(a, &out->tools, S("\n"), arena_printf(a, "%.*s(%.*s)", STR_ARG(name), STR_ARG(text)));
    }
    (void)json_text(a, json_member(v, S("status")), &out->finish);
    return ERR_OK;
}

static enum err read_responses(struct arena *a, str body, struct said *out)
{
    struct sse s;
    struct sse_event ev;
    json v;
    enum err e = ERR_UPSTREAM;
    if (json_parse(a, body, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK)
        return read_response(a, v, out);
    sse_init(&s, 64u << 20);            /* the last event has the whole response in it */
    sse_feed(&s, body);
    while (sse_next(&s, &ev) == ERR_OK)
        if ((str_eq(ev.event, S("response.completed")) || str_eq(ev.event, S("response.incomplete"))) && json_parse(a, ev.data, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK)
            e = read_response(a, json_member(v, S("response")), out);
    sse_free(&s);
    return e;
}

/* ---- the whole ---- */

static bool dialect_from(str s, enum dialect *out)
{
    for (int d = DIALECT_OPENAI; d <= DIALECT_RESPONSES; d++)
        if (str_eq(dialect_name((enum dialect)d), s)) {
            *out = (enum dialect)d;
            return true;
        }
    return false;
}

enum err said_read(struct arena *a, str dialect, str body, struct said *out)
{
    struct reading w = { .a = a };
    *out = (struct said){ S(""), S(""), S(""), S("") };
    if (!dialect_from(dialect, &w.dialect))
        return ERR_UPSTREAM;
    if (w.dialect == DIALECT_RESPONSES)
        return read_responses(a, body, out);
    bool sse = str_starts(body, S("data:")) || str_starts(body, S("event:")) || str_starts(body, S(":"));
    arena_init(&w.scratch, 64u << 20);
    answer_init(&w.answer, a, ANSWER_MAX);
    w.sink = (struct delta_sink){ on_delta, &w.answer };
    reply_init(&w.reply);
    enum err e = sse ? read_sse(&w, body) : w.dialect == DIALECT_OLLAMA && str_index(str_trim(body), '\n') < str_trim(body).n ? read_lines(&w, body) : read_whole(&w, body);
    e = e ? e : w.answer.err;
    if (e == ERR_OK)
        e = settle(a, &w.answer, BLOCK_TEXT, &out->text);
    if (e == ERR_OK)
        e = settle(a, &w.answer, BLOCK_THINKING, &out->thinking);
    if (e == ERR_OK)
        e = settle(a, &w.answer, BLOCK_TOOL, &out->tools);
    out->finish = w.answer.n ? arena_str(a, w.answer.choices[0].finish) : S("");
    answer_free(&w.answer);
    arena_free(&w.scratch);
    return e;
}

/* ---- requests ---- */

static enum err chat_of(struct arena *a, enum dialect d, str body, struct chat *out)
{
    struct call c;
    json v;
    struct wire_error why;
    enum err e;
    switch (d) {
    case DIALECT_OPENAI:
        e = openai_decode(a, OP_CHAT, body, &c, &why);
        return e ? e : openai_to_chat(a, &c, out, &why);
    case DIALECT_ANTHROPIC:
        e = anthropic_decode(a, OP_CHAT, body, &c, &why);
        return e ? e : anthropic_to_chat(a, &c, out, &why);
    case DIALECT_RESPONSES:
        e = responses_decode(a, body, &c, &why);
        return e ? e : responses_to_chat(a, &c, out, &why);
    default:
        e = json_parse(a, body, &JSON_DEFAULT_LIMITS, &v, NULL);
        if (!e)
            e = ollama_decode(a, OP_CHAT, json_type(json_member(v, S("messages"))) == JSON_NONE, body, &c, &why);
        return e ? e : ollama_to_chat(a, &c, out, &why);
    }
}

static void put_turn(struct buf *b, const struct turn *t)
{
    (void)buf_printf(b, "%.*s:", STR_ARG(role_name(t->role)));
    for (size_t i = 0; i < t->n; i++) {
        const struct part *p = &t->parts[i];
        if (p->kind == PART_TOOL_CALL)
            (void)buf_printf(b, " [calls %.*s(%.*s)]", STR_ARG(p->name), STR_ARG(p->text));
        else if (p->kind == PART_IMAGE)
            (void)buf_put(b, S(" [image]"));
        else
            (void)buf_printf(b, " %.*s", STR_ARG(p->text));
    }
    (void)buf_putc(b, '\n');
}

enum err said_chat(struct arena *a, str dialect, str operation, str body, struct chat *out)
{
    enum dialect d;
    return str_eq(operation, S("chat")) && dialect_from(dialect, &d) && chat_of(a, d, body, out) == ERR_OK ? ERR_OK : ERR_UNSUPPORTED;
}

enum err said_asked(struct arena *a, str dialect, str operation, str body, str *out)
{
    struct chat c;
    struct buf b = { .max = ANSWER_MAX };
    *out = body;
    if (said_chat(a, dialect, operation, body, &c) != ERR_OK)
        return ERR_OK;
    for (size_t i = 0; i < c.n_turns; i++)
        put_turn(&b, &c.turns[i]);
    for (size_t i = 0; i < c.n_tools; i++)
        (void)buf_printf(&b, "tool: %.*s\n", STR_ARG(c.tools[i].name));
    *out = arena_str(a, buf_str(&b));
    buf_free(&b);
    return out->p ? ERR_OK : ERR_LIMIT;
}
