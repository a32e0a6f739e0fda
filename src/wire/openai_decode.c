/* wire/openai_decode.c: a client's request. */
#include "wire/openai.h"

#include "wire/codec.h"

enum { MESSAGES_MAX = 100000 };

/* ---- parameters ---- */

#define AT CODEC_AT

static const struct codec_number numbers[] = {
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

/* Chat says whether and how many; completions only how many. */
static enum err read_logprobs(struct arena *a, struct call *c, struct wire_error *why)
{
    static const struct codec_number count = { "logprobs", AT(logprobs), true, 0, 1e6 }, top = { "top_logprobs", AT(logprobs), true, 0, 1e6 };
    json v = json_member(c->root, S("logprobs"));
    bool wanted = false;
    if (c->op != OP_CHAT)
        return codec_number(a, &count, v, &c->params, why);
    enum err e = codec_bool(a, v, "logprobs", &wanted, why);
    if (!e)
        e = codec_number(a, &top, json_member(c->root, S("top_logprobs")), &c->params, why);
    if (!e && wanted && c->params.logprobs == PARAM_UNSET)
        c->params.logprobs = 0;
    if (!e && !wanted)
        c->params.logprobs = PARAM_UNSET;
    return e;
}

static enum err read_params(struct arena *a, struct call *c, struct wire_error *why)
{
    struct params *p = &c->params;
    params_init(p);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        enum err e = codec_number(a, &numbers[i], json_member(c->root, str_of(numbers[i].name)), p, why);
        if (e)
            return e;
    }
    enum err e = read_logprobs(a, c, why);
    return e ? e : codec_stop(a, json_member(c->root, S("stop")), "stop", p, why);
}

/* stream, and what is asked of it. */
static enum err read_stream(struct arena *a, struct call *c, struct wire_error *why)
{
    json options = json_member(c->root, S("stream_options"));
    enum json_type t = json_type(options);
    enum err e = codec_bool(a, json_member(c->root, S("stream")), "stream", &c->stream, why);
    if (e || t == JSON_NONE || t == JSON_NULL)
        return e;
    if (t != JSON_OBJECT)
        return codec_bad(a, why, ERR_SYNTAX, "stream_options", "must be an object");
    return codec_bool(a, json_member(options, S("include_usage")), "stream_options.include_usage", &c->include_usage, why);
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
            return codec_bad(a, why, ERR_SYNTAX, values[i].name, values[i].what);
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

/* NULL, or what is wrong with them. */
static const char *read_parts(struct call *c, json parts)
{
    for (json p = json_first(parts); json_type(p) != JSON_NONE; p = json_next(p)) {
        json type = json_member(p, S("type"));
        if (json_type(type) != JSON_STRING)
            return "each part needs a type";
        if (!json_is(type, S("text")))
            c->has_image = true;
        else if (json_type(json_member(p, S("text"))) != JSON_STRING)
            return "a text part needs its text";
    }
    return NULL;
}

/* A complaint about message i, or a field of it. */
static enum err bad_message(struct arena *a, size_t i, const char *field, const char *what, struct wire_error *why)
{
    char param[48];
    snprintf(param, sizeof param, "messages[%zu]%s", i, field);
    return codec_bad(a, why, ERR_SYNTAX, param, what);
}

static enum err read_message(struct arena *a, struct call *c, json v, size_t i, struct wire_error *why)
{
    struct message *m = &c->messages[i];
    *m = (struct message){ .whole = v, .content = json_member(v, S("content")) };
    if (json_type(v) != JSON_OBJECT)
        return bad_message(a, i, "", "must be an object", why);
    if (!role_of(json_member(v, S("role")), &m->role))
        return bad_message(a, i, ".role", "must be system, developer, user, assistant or tool", why);
    enum json_type t = json_type(m->content);
    const char *wrong = NULL;
    if (t == JSON_ARRAY)
        wrong = read_parts(c, m->content);
    else if (t != JSON_STRING && ((t != JSON_NONE && t != JSON_NULL) || m->role != ROLE_ASSISTANT))
        wrong = "must be a string or a list of parts";
    return wrong ? bad_message(a, i, ".content", wrong, why) : ERR_OK;
}

static enum err read_messages(struct arena *a, struct call *c, struct wire_error *why)
{
    json list = json_member(c->root, S("messages"));
    size_t n = json_count(list), i = 0;
    if (json_type(list) != JSON_ARRAY || !n)
        return codec_bad(a, why, ERR_SYNTAX, "messages", "must be a list with at least one message");
    if (n > MESSAGES_MAX)
        return codec_bad(a, why, ERR_RANGE, "messages", "too many");
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
    return json_type(v) == JSON_NONE ? codec_bad(a, why, ERR_SYNTAX, "prompt", "is missing")
                                     : codec_bad(a, why, ERR_UNSUPPORTED, "prompt", "one text at a time; lists and token ids are not taken");
}

/* ---- the whole ---- */

static enum err decode(struct arena *a, enum op op, str body, struct call *out, struct wire_error *why)
{
    struct call *c = out;
    *c = (struct call){ .dialect = DIALECT_OPENAI, .op = op, .body = body };
    enum err e = codec_root(a, c, why);
    if (e)
        return e;
    json model = json_member(c->root, S("model"));
    if (json_type(model) != JSON_NONE && json_type(model) != JSON_NULL && (e = json_text(a, model, &c->model)))
        return e == ERR_SYNTAX ? codec_bad(a, why, e, "model", "must be a string") : e;
    if (op_is_tokens(op))
        return ERR_OK;
    if ((e = read_stream(a, c, why)) || (e = read_params(a, c, why)) || (e = read_values(a, c, why)))
        return e;
    return op == OP_CHAT ? read_messages(a, c, why) : read_prompt(a, c, why);
}

enum err openai_decode(struct arena *a, enum op op, str body, struct call *out, struct wire_error *why)
{
    enum err e = decode(a, op, body, out, why);
    return codec_end_why(a, e, why);
}

enum err openai_upstream_body(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n)
{
    return codec_forward(a, c, model_id, true, slices, n);
}
