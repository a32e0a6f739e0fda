/* Texts and calls out of an answer.
 *
 *   TEXT ─ marker ─► OPEN ─ { ─► CALL ─ } ─► AFTER ─ next ─► OPEN
 *     ▲                │           │            │
 *     └──────── it is no call ─────┘      end ──┘  back to TEXT
 *
 * All that has not been handed on is held. Where the layout is that of a grammar a call's name and arguments are handed on as they come;
 * else the whole call is looked at first. */
#include "infer/tools.h"

enum { HELD_MAX = 4 << 20 };

void tool_parser_init(struct tool_parser *t, const struct tool_plan *p, const struct tool_sink *sink)
{
    *t = (struct tool_parser){ .plan = p, .sink = *sink };
    buf_init(&t->held, HELD_MAX);
}

void tool_parser_free(struct tool_parser *t) { buf_free(&t->held); }

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
static str held_from(const struct tool_parser *t, size_t at) { return str_slice(t->held.p + at, t->held.n - at); }

/* The first n bytes of what is held are text. */
static enum err give_text(struct tool_parser *t, size_t n)
{
    enum err e = n ? t->sink.on_text(t->sink.ctx, str_slice(t->held.p, n)) : ERR_OK;
    t->said |= n > 0;
    buf_drop(&t->held, n);
    t->at = 0;
    return e;
}

/* ---- text ---- */

/* How many bytes at the end may belong to a call: a beginning of the marker, and white space before it. */
static size_t keep_back(const struct tool_parser *t, str text)
{
    str m = str_of(t->plan->format->marker);
    size_t n = m.n - 1 < text.n ? m.n - 1 : text.n;
    while (n > 0 && memcmp(text.p + text.n - n, m.p, n) != 0)
        n--;
    while (n < text.n && is_space(text.p[text.n - n - 1]))
        n++;
    return n;
}

static bool is_beginning(str s, str of) { return s.n < of.n && str_starts(of, s); }

/* A call without a marker can only be the first thing that is said: a brace, after a tag or a fence. *more: not known yet. */
static bool begins_loose(const struct tool_parser *t, size_t *at, bool *more)
{
    static const str fence = S("```"), json_name = S("json");
    str s = buf_str(&t->held), tag = str_of(t->plan->format->tag);
    size_t i = 0;
    *more = false;
    if (t->said || t->calls)
        return false;
    while (i < s.n && is_space(s.p[i]))
        i++;
    str rest = str_skip(s, i);
    *more = !rest.n || is_beginning(rest, tag) || is_beginning(rest, fence);
    if (tag.n && str_starts(rest, tag))
        i += tag.n;
    if (str_starts(rest, fence)) {
        i += fence.n;
        *more = is_beginning(str_skip(s, i), json_name);
        i += str_starts(str_skip(s, i), json_name) ? json_name.n : 0;
    }
    while (i < s.n && is_space(s.p[i]))
        i++;
    *more |= i == s.n;
    *at = i;
    return i < s.n && s.p[i] == '{';
}

/* *go_on: the state has changed. */
static enum err in_text(struct tool_parser *t, bool *go_on)
{
    str m = str_of(t->plan->format->marker), s = buf_str(&t->held);
    size_t at;
    bool more;
    *go_on = begins_loose(t, &at, &more);
    if (*go_on) {
        t->state = PARSE_OPEN;
        t->loose = m.n || !t->plan->strict_layout;
        t->at = at;
        return ERR_OK;
    }
    if (more || !m.n)
        return more ? ERR_OK : give_text(t, s.n);
    at = str_find(s, m);
    *go_on = at < s.n;
    if (!*go_on)
        return give_text(t, s.n - keep_back(t, s));
    size_t text = at;
    while (text > 0 && is_space(s.p[text - 1]))
        text--;
    enum err e = give_text(t, text);    /* white space before a call is no text of its own */
    t->state = PARSE_OPEN;
    t->at = at - text + m.n;
    return e;
}

/* It was no call: what was looked at is text, and what follows may begin with a marker again. */
static enum err no_call(struct tool_parser *t)
{
    t->state = PARSE_TEXT;
    t->call_at = 0;
    t->loose = false;
    return give_text(t, t->at);
}

/* ---- calls ---- */

static bool skip_space(struct tool_parser *t)
{
    while (t->at < t->held.n && is_space(t->held.p[t->at]))
        t->at++;
    return t->at < t->held.n;
}

static enum err in_open(struct tool_parser *t, bool *go_on)
{
    const struct tool_format *f = t->plan->format;
    *go_on = skip_space(t);
    if (!*go_on)
        return ERR_OK;
    char c = t->held.p[t->at];
    bool list = f->list && !t->loose && t->call_at == 0;        /* its bracket comes once, before the first */
    if (list && c == '[') {
        t->call_at = ++t->at;
        return ERR_OK;
    }
    if (list || c != '{')
        return no_call(t);
    t->state = PARSE_CALL;
    t->call_at = t->at;
    t->depth = t->sent = t->args_end = 0;
    t->in_string = t->escaped = t->named = false;
    return ERR_OK;
}

static const struct tool *tool_of(const struct tool_plan *p, str name)
{
    for (size_t i = 0; i < p->chat->n_tools; i++)
        if (str_eq(p->chat->tools[i].name, name))
            return &p->chat->tools[i];
    return NULL;
}

/* {"name": "f", "arguments": in exactly this form: where the arguments begin. 0: not yet. */
static size_t head_of_call(const struct tool_parser *t, str *name)
{
    str s = held_from(t, t->call_at), start = S("{\"name\": \""), key = str_of(t->plan->format->arguments);
    if (!str_starts(s, start))
        return 0;
    str rest = str_skip(s, start.n);
    size_t quote = str_index(rest, '"'), at = start.n + quote;
    *name = str_slice(rest.p, quote);
    rest = str_skip(rest, quote);
    if (!str_starts(rest, S("\", \"")) || !str_starts(str_skip(rest, 4), key) || !str_starts(str_skip(rest, 4 + key.n), S("\": ")))
        return 0;
    return at + 4 + key.n + 3;
}

/* As it comes: the name once, then what is there of the arguments, which end one brace before the call does. */
static enum err give_pieces(struct tool_parser *t, size_t end)
{
    str name;
    size_t head = head_of_call(t, &name);
    enum err e = ERR_OK;
    if (!t->named && (!head || !tool_of(t->plan, name) || t->call_at + head >= end))
        return ERR_OK;
    if (!t->named) {
        e = t->sink.on_call(t->sink.ctx, t->calls, name);
        t->named = true;
        t->sent = t->call_at + head;
    }
    if (!e && end > t->sent)
        e = t->sink.on_arguments(t->sink.ctx, t->calls, str_slice(t->held.p + t->sent, end - t->sent));
    t->sent = end > t->sent ? end : t->sent;
    return e;
}

/* A whole call that no grammar vouches for. False: it is none. A strict tool is promised arguments by its schema, so such a call is none of it. */
static bool is_call(struct tool_parser *t, struct arena *a, str text, str *name, str *arguments)
{
    json v, args;
    str key = str_of(t->plan->format->arguments);
    if (json_parse(a, text, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_text(a, json_member(v, S("name")), name) != ERR_OK)
        return false;
    const struct tool *tool = tool_of(t->plan, *name);
    if (!tool || tool->strict == 1)
        return false;
    args = json_member(v, key);
    if (json_type(args) == JSON_NONE)   /* models mix the two up */
        args = json_member(v, str_eq(key, S("arguments")) ? S("parameters") : S("arguments"));
    *arguments = json_span(args);
    return json_type(args) == JSON_OBJECT;
}

static enum err give_whole(struct tool_parser *t, bool *is_one)
{
    struct arena a;
    str name, arguments;
    arena_init(&a, 64u << 20);
    enum err e = ERR_OK;
    *is_one = t->calls < TOOLS_MAX_CALLS && is_call(t, &a, str_slice(t->held.p + t->call_at, t->at - t->call_at), &name, &arguments);
    if (*is_one)
        e = t->sink.on_call(t->sink.ctx, t->calls, name);
    if (*is_one && !e)
        e = t->sink.on_arguments(t->sink.ctx, t->calls, arguments);
    arena_free(&a);
    return e;
}

/* One byte of the call's JSON; true: that was its last brace. */
static bool call_byte(struct tool_parser *t, char c)
{
    if (t->in_string) {
        t->in_string = t->escaped || c != '"';
        t->escaped = !t->escaped && c == '\\';
        return false;
    }
    t->in_string = c == '"';
    t->depth += c == '{' || c == '[';
    if (c != '}' && c != ']')
        return false;
    t->depth -= t->depth > 0;
    return t->depth == 0;
}

static enum err in_call(struct tool_parser *t, bool *go_on)
{
    bool ended = false, one = true;
    enum err e = ERR_OK;
    while (t->at < t->held.n && !ended) {
        size_t depth = t->depth;
        ended = call_byte(t, t->held.p[t->at++]);
        if (depth == 2 && t->depth == 1 && !t->args_end)
            t->args_end = t->at;
    }
    if (t->plan->strict_layout && !t->loose)
        e = give_pieces(t, t->args_end ? t->args_end : t->at);
    *go_on = ended;
    if (e || !ended)
        return e;
    if (!t->named)
        e = give_whole(t, &one);
    if (!one)
        return no_call(t);
    t->calls++;
    t->state = PARSE_AFTER;
    buf_drop(&t->held, t->at);
    t->at = t->call_at = 0;
    return e;
}

/* What ends a call, or the list: without the white space before it, which models leave out. */
static str close_of(const struct tool_parser *t)
{
    str close = t->loose ? S("```") : str_of(t->plan->format->close);
    while (close.n && is_space(close.p[0]))
        close = str_skip(close, 1);
    return close;
}

/* After a call: its end, and then another call, or text. */
static enum err in_after(struct tool_parser *t, bool *go_on)
{
    str close = close_of(t);
    *go_on = skip_space(t);
    if (!*go_on)
        return ERR_OK;
    str rest = held_from(t, t->at);
    bool next = t->loose ? rest.p[0] == '{' && t->plan->many : t->plan->format->list && rest.p[0] == ',';
    if (next) {
        t->state = PARSE_OPEN;
        t->at += !t->loose;
        t->call_at = t->at;
        return ERR_OK;
    }
    *go_on = !is_beginning(rest, close);
    if (!*go_on)
        return ERR_OK;
    t->at += close.n && str_starts(rest, close) ? close.n : 0;
    t->state = PARSE_TEXT;
    t->loose = false;
    buf_drop(&t->held, t->at);
    t->at = 0;
    return ERR_OK;
}

enum err tool_parser_push(struct tool_parser *t, str text)
{
    static enum err (*const run[])(struct tool_parser *, bool *) = { in_text, in_open, in_call, in_after };
    enum err e = buf_put(&t->held, text);
    for (bool go_on = true; go_on && !e && t->held.n;)
        e = run[t->state](t, &go_on);
    return e;
}

bool tool_parser_cut(const struct tool_parser *t) { return t->state == PARSE_CALL && t->named; }

enum err tool_parser_end(struct tool_parser *t)
{
    bool blank = true;
    for (size_t i = 0; i < t->held.n; i++)
        blank &= is_space(t->held.p[i]);
    if (tool_parser_cut(t) || (blank && t->calls))
        return ERR_OK;
    t->state = PARSE_TEXT;
    return give_text(t, t->held.n);
}
