/* wire/openai_decode.c: a client's request, and the body that goes upstream in its place. */
#include "wire/openai.h"

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
    { "max_tokens", AT(max_tokens), true, 1, 9.3e18 },
    { "max_completion_tokens", AT(max_tokens), true, 1, 9.3e18 },
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

static enum err read_bool(struct arena *a, json root, const char *name, bool *out, struct wire_error *why)
{
    json v = json_member(root, str_of(name));
    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return ERR_OK;
    return json_bool(v, out) ? ERR_OK : bad(a, why, ERR_SYNTAX, name, "must be true or false");
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
    json lp = json_member(c->root, S("logprobs")), top = json_member(c->root, S("top_logprobs"));
    bool yes = false;
    if (json_bool(lp, &yes) ? yes && !json_i64(top, &p->logprobs) : false)
        p->logprobs = 0;
    if (json_type(lp) == JSON_NUMBER && !json_i64(lp, &p->logprobs))
        return bad(a, why, ERR_SYNTAX, "logprobs", "must be an integer");
    return read_stop(a, json_member(c->root, S("stop")), p, why);
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

static enum err read_content(struct arena *a, struct call *c, const struct message *m, const char *param, struct wire_error *why)
{
    enum json_type t = json_type(m->content);
    if (t == JSON_STRING || ((t == JSON_NONE || t == JSON_NULL) && m->role == ROLE_ASSISTANT))
        return ERR_OK;
    if (t != JSON_ARRAY)
        return bad(a, why, ERR_SYNTAX, param, "must be a string or a list of parts");
    for (json p = json_first(m->content); json_type(p) != JSON_NONE; p = json_next(p)) {
        if (json_type(json_member(p, S("type"))) != JSON_STRING)
            return bad(a, why, ERR_SYNTAX, param, "each part needs a type");
        c->has_image |= !json_is(json_member(p, S("type")), S("text"));
    }
    return ERR_OK;
}

static enum err read_messages(struct arena *a, struct call *c, struct wire_error *why)
{
    json list = json_member(c->root, S("messages"));
    size_t n = json_count(list), i = 0;
    char param[48];
    if (json_type(list) != JSON_ARRAY || !n)
        return bad(a, why, ERR_SYNTAX, "messages", "must be a list with at least one message");
    if (n > MESSAGES_MAX)
        return bad(a, why, ERR_RANGE, "messages", "too many");
    c->messages = arena_new(a, struct message, n);
    if (!c->messages)
        return ERR_LIMIT;
    for (json v = json_first(list); json_type(v) != JSON_NONE; v = json_next(v), i++) {
        struct message *m = &c->messages[i];
        m->whole = v;
        m->content = json_member(v, S("content"));
        snprintf(param, sizeof param, "messages[%zu].role", i);
        if (json_type(v) != JSON_OBJECT || !role_of(json_member(v, S("role")), &m->role))
            return bad(a, why, ERR_SYNTAX, param, "must be system, developer, user, assistant or tool");
        snprintf(param, sizeof param, "messages[%zu].content", i);
        enum err e = read_content(a, c, m, param, why);
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

/* Fields that hearth reads: one that stands twice could be read differently by the upstream. */
static bool is_read(str key)
{
    static const str others[] = { S("model"), S("messages"), S("prompt"), S("stream"), S("stream_options"), S("stop"), S("tools"), S("tool_choice"),
                                  S("response_format"), S("logit_bias"), S("logprobs"), S("top_logprobs") };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_eq(key, others[i]))
            return true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (str_eq(key, str_of(numbers[i].name)))
            return true;
    return str_starts(key, S("hearth"));
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
    for (json v = json_first(c->root); json_type(v) != JSON_NONE; v = json_next(v)) {
        str key;
        if ((e = json_text(a, json_key(v), &key)))
            return e;
        if (is_read(key) && json_member(c->root, key).at != v.at) {
            *why = (struct wire_error){ ERR_SYNTAX, arena_printf(a, "%.*s: stands twice in the body", STR_ARG(key)), key };
            return ERR_SYNTAX;
        }
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
    if ((e = read_bool(a, c->root, "stream", &c->stream, why)) || (e = read_params(a, c, why)))
        return e;
    (void)json_bool(json_member(json_member(c->root, S("stream_options")), S("include_usage")), &c->include_usage);
    c->tools = json_member(c->root, S("tools"));
    c->tool_choice = json_member(c->root, S("tool_choice"));
    c->response_format = json_member(c->root, S("response_format"));
    c->logit_bias = json_member(c->root, S("logit_bias"));
    return op == OP_CHAT ? read_messages(a, c, why) : read_prompt(a, c, why);
}

/* ---- the body upstream ---- */

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

/* One member that stays; `value` replaces its value when it is not empty. */
static void cut_member(struct cutter *c, json v, str value)
{
    str key = json_span(json_key(v)), was = json_span(v);
    if (!c->from) {
        if (c->comma)
            cut_put(c, S(","));
        c->from = key.p;
    }
    c->comma = true;
    c->to = was.p + was.n;
    if (!value.n)
        return;
    c->to = was.p;
    cut_flush(c);
    cut_put(c, value);
    c->from = c->to = was.p + was.n;
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

/* stream_options with include_usage: true and everything else that it held. Empty: it may stay as it is. */
static enum err with_usage(struct arena *a, json v, str *out)
{
    bool yes = false;
    *out = STR_NONE;
    if (json_bool(json_member(v, S("include_usage")), &yes) && yes)
        return ERR_OK;
    str all = S("{\"include_usage\":true");
    for (json m = json_type(v) == JSON_OBJECT ? json_first(v) : JSON_ABSENT; json_type(m) != JSON_NONE; m = json_next(m))
        if (!json_is(json_key(m), S("include_usage"))) {
            all = arena_printf(a, "%.*s,%.*s:%.*s", STR_ARG(all), STR_ARG(json_span(json_key(m))), STR_ARG(json_span(m)));
            if (!all.p)
                return ERR_LIMIT;
        }
    *out = arena_printf(a, "%.*s}", STR_ARG(all));
    return out->p ? ERR_OK : ERR_LIMIT;
}

static bool is_ours(json key)
{
    str raw = json_span(key);           /* hearth's own names need no escapes */
    return str_starts(raw, S("\"hearth"));
}

enum err openai_upstream_body(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n)
{
    struct cutter cut = { .out = slices };
    bool has_model = false, has_options = false;
    str model, options = STR_NONE;
    enum err e = quoted(a, model_id, &model);
    if (e)
        return e;
    cut_put(&cut, S("{"));
    for (json v = json_first(c->root); json_type(v) != JSON_NONE; v = json_next(v)) {
        json key = json_key(v);
        if (is_ours(key)) {
            cut_flush(&cut);
        } else if (json_is(key, S("model"))) {
            has_model = true;
            cut_member(&cut, v, model);
        } else if (c->stream && json_is(key, S("stream_options"))) {
            has_options = true;
            if ((e = with_usage(a, v, &options)))
                return e;
            cut_member(&cut, v, options);
        } else {
            cut_member(&cut, v, STR_NONE);
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
