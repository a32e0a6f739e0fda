/* wire/openai_decode.c: a client's request, and the body that goes upstream in its place. */
#include "wire/openai.h"

#include <assert.h>
#include <math.h>

enum { MESSAGES_MAX = 100000 };

static enum err bad(struct arena *a, struct wire_error *why, enum err e, const char *param, const char *what)
{
    str m = arena_printf(a, "%s: %s", param, what);
    *why = (struct wire_error){ e, m.p ? m : str_of(what), arena_str(a, str_of(param)) };
    return e;
}

/* ---- parameters ---- */

struct number { const char *name; size_t offset; bool integer; double low, high; };
#define AT(field) offsetof(struct params, field)

static const struct number numbers[] = {
    { "temperature", AT(temperature), false, 0, 2 },
    { "top_p", AT(top_p), false, 0, 1 },
    { "min_p", AT(min_p), false, 0, 1 },
    { "frequency_penalty", AT(frequency_penalty), false, -2, 2 },
    { "presence_penalty", AT(presence_penalty), false, -2, 2 },
    { "top_k", AT(top_k), true, -1, 1e6 },
    { "max_tokens", AT(max_tokens), true, 0, 9.3e18 },
    { "max_completion_tokens", AT(max_tokens), true, 0, 9.3e18 },
    { "seed", AT(seed), true, -9.3e18, 9.3e18 },
    { "n", AT(n), true, 1, 128 },
};

static enum err read_number(struct arena *a, const struct number *d, json v, struct params *p, struct wire_error *why)
{
    double real;
    char text[96];
    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return ERR_OK;
    if (!json_f64(v, &real))
        return bad(a, why, ERR_SYNTAX, d->name, "must be a number");
    if (real < d->low || real > d->high) {
        snprintf(text, sizeof text, "must be from %g to %g", d->low, d->high);
        return bad(a, why, ERR_RANGE, d->name, text);
    }
    if (!d->integer)
        *(double *)((char *)p + d->offset) = real;
    else if (!json_i64(v, (int64_t *)((char *)p + d->offset)))
        return bad(a, why, ERR_SYNTAX, d->name, "must be an integer");
    return ERR_OK;
}

static enum err read_stop(struct arena *a, json v, struct params *p, struct wire_error *why)
{
    bool list = json_type(v) == JSON_ARRAY;
    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return ERR_OK;
    if (list && json_count(v) > CALL_MAX_STOP)
        return bad(a, why, ERR_RANGE, "stop", "at most 16 strings");
    for (json s = list ? json_first(v) : v; json_type(s) != JSON_NONE; s = list ? json_next(s) : JSON_ABSENT) {
        enum err e = json_text(a, s, &p->stop[p->n_stop]);
        if (e == ERR_SYNTAX)
            return bad(a, why, ERR_SYNTAX, "stop", "must be a string or a list of strings");
        if (e)
            return e;
        if (!p->stop[p->n_stop].n)
            return bad(a, why, ERR_RANGE, "stop", "an empty string would stop everything");
        p->n_stop++;
    }
    return ERR_OK;
}

static enum err read_bool(struct arena *a, json v, const char *name, bool *out, struct wire_error *why)
{
    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return ERR_OK;
    return json_bool(v, out) ? ERR_OK : bad(a, why, ERR_SYNTAX, name, "must be true or false");
}

/* Chat says whether and how many; completions only how many. */
static enum err read_logprobs(struct arena *a, struct call *c, struct wire_error *why)
{
    static const struct number count = { "logprobs", AT(logprobs), true, 0, 1e6 }, top = { "top_logprobs", AT(logprobs), true, 0, 1e6 };
    json v = json_member(c->root, S("logprobs"));
    bool wanted = false;
    if (c->op != OP_CHAT)
        return read_number(a, &count, v, &c->params, why);
    enum err e = read_bool(a, v, "logprobs", &wanted, why);
    if (!e)
        e = read_number(a, &top, json_member(c->root, S("top_logprobs")), &c->params, why);
    if (!e && wanted && c->params.logprobs == PARAM_UNSET)
        c->params.logprobs = 0;
    if (!e && !wanted)
        c->params.logprobs = PARAM_UNSET;
    return e;
}

static enum err read_params(struct arena *a, struct call *c, struct wire_error *why)
{
    struct params *p = &c->params;
    p->temperature = p->top_p = p->min_p = p->frequency_penalty = p->presence_penalty = NAN;
    p->top_k = p->max_tokens = p->seed = p->n = p->logprobs = PARAM_UNSET;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        enum err e = read_number(a, &numbers[i], json_member(c->root, str_of(numbers[i].name)), p, why);
        if (e)
            return e;
    }
    enum err e = read_logprobs(a, c, why);
    return e ? e : read_stop(a, json_member(c->root, S("stop")), p, why);
}

/* stream, and what is asked of it. Two include_usage could be read as two wishes. */
static enum err read_stream(struct arena *a, struct call *c, struct wire_error *why)
{
    json options = json_member(c->root, S("stream_options"));
    enum json_type t = json_type(options);
    str twice;
    enum err e = read_bool(a, json_member(c->root, S("stream")), "stream", &c->stream, why);
    if (e || t == JSON_NONE || t == JSON_NULL)
        return e;
    if (t != JSON_OBJECT)
        return bad(a, why, ERR_SYNTAX, "stream_options", "must be an object");
    if (json_has_duplicate(options, &twice))
        return bad(a, why, ERR_SYNTAX, "stream_options", "a field stands twice");
    return read_bool(a, json_member(options, S("include_usage")), "stream_options.include_usage", &c->include_usage, why);
}

/* Fields that stay JSON: their type only. */
static enum err read_values(struct arena *a, struct call *c, struct wire_error *why)
{
    const struct { const char *name; json *to; enum json_type one, other; const char *what; } values[] = {
        { "tools", &c->tools, JSON_ARRAY, JSON_ARRAY, "must be a list" },
        { "tool_choice", &c->tool_choice, JSON_STRING, JSON_OBJECT, "must be a string or an object" },
        { "response_format", &c->response_format, JSON_OBJECT, JSON_OBJECT, "must be an object" },
        { "logit_bias", &c->logit_bias, JSON_OBJECT, JSON_OBJECT, "must be an object" },
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        json v = json_member(c->root, str_of(values[i].name));
        enum json_type t = json_type(v);
        if (t == JSON_NONE || t == JSON_NULL)
            continue;
        if (t != values[i].one && t != values[i].other)
            return bad(a, why, ERR_SYNTAX, values[i].name, values[i].what);
        *values[i].to = v;
    }
    return ERR_OK;
}

/* ---- messages ---- */

static bool role_of(json v, enum role *out)
{
    static const struct { str name; enum role role; } roles[] = {
        { S("system"), ROLE_SYSTEM }, { S("developer"), ROLE_SYSTEM }, { S("user"), ROLE_USER }, { S("assistant"), ROLE_ASSISTANT },
        { S("tool"), ROLE_TOOL }, { S("function"), ROLE_TOOL },
    };
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (json_is(v, roles[i].name)) {
            *out = roles[i].role;
            return true;
        }
    return false;
}

static enum err read_parts(struct arena *a, struct call *c, json parts, const char *param, struct wire_error *why)
{
    str twice;
    for (json p = json_first(parts); json_type(p) != JSON_NONE; p = json_next(p)) {
        json type = json_member(p, S("type"));
        if (json_type(type) != JSON_STRING)
            return bad(a, why, ERR_SYNTAX, param, "each part needs a type");
        if (json_has_duplicate(p, &twice))
            return bad(a, why, ERR_SYNTAX, param, "a field of a part stands twice");
        if (!json_is(type, S("text")))
            c->has_image = true;
        else if (json_type(json_member(p, S("text"))) != JSON_STRING)
            return bad(a, why, ERR_SYNTAX, param, "a text part needs its text");
    }
    return ERR_OK;
}

static enum err read_message(struct arena *a, struct call *c, json v, size_t i, struct wire_error *why)
{
    struct message *m = &c->messages[i];
    char param[48];
    str twice;
    *m = (struct message){ .whole = v, .content = json_member(v, S("content")) };
    snprintf(param, sizeof param, "messages[%zu]", i);
    if (json_type(v) != JSON_OBJECT)
        return bad(a, why, ERR_SYNTAX, param, "must be an object");
    /* Whoever guards or counts reads the first of two, an upstream may read the last. */
    if (json_has_duplicate(v, &twice))
        return bad(a, why, ERR_SYNTAX, param, "a field stands twice");
    snprintf(param, sizeof param, "messages[%zu].role", i);
    if (!role_of(json_member(v, S("role")), &m->role))
        return bad(a, why, ERR_SYNTAX, param, "must be system, developer, user, assistant or tool");
    snprintf(param, sizeof param, "messages[%zu].content", i);
    enum json_type t = json_type(m->content);
    if (t == JSON_ARRAY)
        return read_parts(a, c, m->content, param, why);
    if (t == JSON_STRING || ((t == JSON_NONE || t == JSON_NULL) && m->role == ROLE_ASSISTANT))
        return ERR_OK;
    return bad(a, why, ERR_SYNTAX, param, "must be a string or a list of parts");
}

static enum err read_messages(struct arena *a, struct call *c, struct wire_error *why)
{
    json list = json_member(c->root, S("messages"));
    size_t n = json_count(list), i = 0;
    if (json_type(list) != JSON_ARRAY || !n)
        return bad(a, why, ERR_SYNTAX, "messages", "must be a list with at least one message");
    if (n > MESSAGES_MAX)
        return bad(a, why, ERR_RANGE, "messages", "too many");
    c->messages = arena_new(a, struct message, n);
    if (!c->messages)
        return ERR_LIMIT;
    for (json v = json_first(list); json_type(v) != JSON_NONE; v = json_next(v), i++) {
        enum err e = read_message(a, c, v, i, why);
        if (e)
            return e;
    }
    c->n_messages = n;
    return ERR_OK;
}

static enum err read_prompt(struct arena *a, struct call *c, struct wire_error *why)
{
    json v = json_member(c->root, S("prompt"));
    if (json_type(v) == JSON_ARRAY && json_count(v) == 1)
        v = json_first(v);
    enum err e = json_text(a, v, &c->prompt);
    if (e != ERR_SYNTAX)
        return e;
    return json_type(v) == JSON_NONE ? bad(a, why, ERR_SYNTAX, "prompt", "is missing")
                                     : bad(a, why, ERR_UNSUPPORTED, "prompt", "one text at a time; lists and token ids are not taken");
}

/* ---- the whole ---- */

/* The fields that hearth reads, each with a bit. -1: not one of them. */
static int known_bit(json key)
{
    static const str others[] = { S("model"), S("messages"), S("prompt"), S("stream"), S("stream_options"), S("stop"), S("tools"), S("tool_choice"),
                                  S("response_format"), S("logit_bias"), S("logprobs"), S("top_logprobs") };
    enum { OTHERS = sizeof others / sizeof *others, ALL = OTHERS + sizeof numbers / sizeof *numbers };
    static_assert(ALL <= 64, "a bit each");
    for (int i = 0; i < ALL; i++)
        if (json_is(key, i < OTHERS ? others[i] : str_of(numbers[i - OTHERS].name)))
            return i;
    return -1;
}

static enum err read_root(struct arena *a, struct call *c, struct wire_error *why)
{
    struct json_error where;
    enum err e = json_parse(a, c->body, &JSON_DEFAULT_LIMITS, &c->root, &where);
    if (e == ERR_SYNTAX) {
        *why = (struct wire_error){ e, arena_printf(a, "the body is not valid JSON: %s at byte %zu", where.what, where.at), STR_NONE };
        return e;
    }
    if (e)
        return e;
    if (json_type(c->root) != JSON_OBJECT) {
        *why = (struct wire_error){ ERR_SYNTAX, S("the body must be a JSON object"), STR_NONE };
        c->root = JSON_ABSENT;
        return ERR_SYNTAX;
    }
    uint64_t seen = 0;
    for (json v = json_first(c->root); json_type(v) != JSON_NONE; v = json_next(v)) {
        int bit = known_bit(json_key(v));
        if (bit >= 0 && seen >> bit & 1) {
            str key = STR_NONE;
            (void)json_text(a, json_key(v), &key);
            *why = (struct wire_error){ ERR_SYNTAX, arena_printf(a, "%.*s: stands twice in the body", STR_ARG(key)), key };
            return ERR_SYNTAX;
        }
        seen |= bit >= 0 ? UINT64_C(1) << bit : 0;
    }
    return ERR_OK;
}

enum err openai_decode(struct arena *a, enum op op, str body, struct call *out, struct wire_error *why)
{
    struct call *c = out;
    *c = (struct call){ .dialect = DIALECT_OPENAI, .op = op, .body = body };
    enum err e = read_root(a, c, why);
    if (e)
        return e;
    json model = json_member(c->root, S("model"));
    if (json_type(model) != JSON_NONE && json_type(model) != JSON_NULL && (e = json_text(a, model, &c->model)))
        return e == ERR_SYNTAX ? bad(a, why, e, "model", "must be a string") : e;
    if ((e = read_stream(a, c, why)) || (e = read_params(a, c, why)) || (e = read_values(a, c, why)))
        return e;
    return op == OP_CHAT ? read_messages(a, c, why) : read_prompt(a, c, why);
}

/* ---- the body upstream ---- */

/* The original text is walked once; runs of it that stay are slices, and what replaces a value stands between two of them. */
struct cutter {
    str *out;
    size_t n;
    const char *from, *to;              /* the run of original bytes that is not written yet; from NULL: none */
    bool comma, full;
};

static void cut_put(struct cutter *c, str s)
{
    if (!s.n)
        return;
    if (c->n == OPENAI_MAX_SLICES)
        c->full = true;
    else
        c->out[c->n++] = s;
}

static void cut_flush(struct cutter *c)
{
    if (c->from)
        cut_put(c, (str){ c->from, (size_t)(c->to - c->from) });
    c->from = NULL;
}

/* A member that stays. */
static void cut_member(struct cutter *c, json v)
{
    str was = json_span(v);
    if (!c->from) {
        if (c->comma)
            cut_put(c, S(","));
        c->from = json_span(json_key(v)).p;
    }
    c->comma = true;
    c->to = was.p + was.n;
}

/* `text` in place of the bytes `was`, which lie in the member that was given last. */
static void cut_replace(struct cutter *c, str was, str text)
{
    const char *end = c->to;
    c->to = was.p;
    cut_flush(c);
    cut_put(c, text);
    c->from = was.p + was.n;
    c->to = end;
}

static enum err quoted(struct arena *a, str s, str *out)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, 1 << 16);
    json_out_init(&o, &b);
    json_put_str(&o, s);
    *out = arena_str(a, buf_str(&b));
    buf_free(&b);
    return o.err ? o.err : out->p ? ERR_OK : ERR_LIMIT;
}

/* include_usage: true within stream_options, and nothing else of it changed. */
static void cut_options(struct cutter *c, json options)
{
    bool yes = false;
    json usage = json_member(options, S("include_usage"));
    if (json_type(options) != JSON_OBJECT)
        cut_replace(c, json_span(options), S("{\"include_usage\":true}"));
    else if (json_type(usage) == JSON_NONE)
        cut_replace(c, (str){ json_span(options).p, 1 }, json_count(options) ? S("{\"include_usage\":true,") : S("{\"include_usage\":true"));
    else if (!json_bool(usage, &yes) || !yes)
        cut_replace(c, json_span(usage), S("true"));
}

/* A key that begins with "hearth", however it is escaped. */
static bool is_ours(struct arena *a, json key)
{
    str raw = json_span(key), text;
    if (str_index(raw, '\\') == raw.n)
        return str_starts(raw, S("\"hearth"));
    return json_text(a, key, &text) == ERR_OK && str_starts(text, S("hearth"));
}

enum err openai_upstream_body(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n)
{
    struct cutter cut = { .out = slices };
    bool has_model = false, has_options = false;
    str model;
    enum err e = quoted(a, model_id, &model);
    if (e)
        return e;
    cut_put(&cut, S("{"));
    for (json v = json_first(c->root); json_type(v) != JSON_NONE; v = json_next(v)) {
        json key = json_key(v);
        if (is_ours(a, key)) {
            cut_flush(&cut);
            continue;
        }
        cut_member(&cut, v);
        if (json_is(key, S("model"))) {
            has_model = true;
            cut_replace(&cut, json_span(v), model);
        } else if (c->stream && json_is(key, S("stream_options"))) {
            has_options = true;
            cut_options(&cut, v);
        }
    }
    cut_flush(&cut);
    if (!has_model) {
        cut_put(&cut, cut.comma ? S(",\"model\":") : S("\"model\":"));
        cut_put(&cut, model);
    }
    cut_put(&cut, c->stream && !has_options ? S(",\"stream_options\":{\"include_usage\":true}}") : S("}"));
    *n = cut.n;
    return cut.full ? ERR_LIMIT : ERR_OK;
}
