/* wire/ollama_decode.c: a request of Ollama's API, and the conversation in it. */
#include "wire/ollama.h"

#include "wire/codec.h"

enum { MESSAGES_MAX = 100000, TOOLS_MAX = 4096 };

static const struct codec_number numbers[] = {
    { "temperature", CODEC_AT(temperature), false, 0, 2 },
    { "top_p", CODEC_AT(top_p), false, 0, 1 },
    { "min_p", CODEC_AT(min_p), false, 0, 1 },
    { "frequency_penalty", CODEC_AT(frequency_penalty), false, -2, 2 },
    { "presence_penalty", CODEC_AT(presence_penalty), false, -2, 2 },
    { "top_k", CODEC_AT(top_k), true, -1, 1e6 },
    { "num_predict", CODEC_AT(max_tokens), true, -2, 9.3e18 },
    { "seed", CODEC_AT(seed), true, -9.3e18, 9.3e18 },
};

static const str known[] = { S("model"), S("messages"), S("prompt"), S("system"), S("images"), S("stream"), S("tools"), S("format"), S("options"), S("think"), S("raw"),
                             S("suffix"), S("template"), S("context"), S("logprobs"), S("top_logprobs") };

static enum err refuse(struct arena *a, struct wire_error *why, const char *param, const char *what) { return codec_bad(a, why, ERR_UNSUPPORTED, param, what); }

/* ---- reading ---- */

static enum err read_options(struct arena *a, struct call *c, struct wire_error *why)
{
    json options = json_member(c->root, S("options"));
    if (codec_absent(options))
        return ERR_OK;
    if (json_type(options) != JSON_OBJECT)
        return codec_bad(a, why, ERR_SYNTAX, "options", "must be an object");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        enum err e = codec_number(a, &numbers[i], json_member(options, str_of(numbers[i].name)), &c->params, why);
        if (e)
            return e;
    }
    if (c->params.max_tokens < 0)       /* -1 and -2: no limit */
        c->params.max_tokens = PARAM_UNSET;
    return codec_stop(a, json_member(options, S("stop")), "options.stop", &c->params, why);
}

/* 0, "0", "0s", "0m0s": Go's durations. */
static bool is_zero(json keep_alive)
{
    double seconds;
    str text = json_span(keep_alive);
    if (json_type(keep_alive) != JSON_STRING)
        return json_f64(keep_alive, &seconds) && seconds == 0;
    bool zero = str_index(text, '0') < text.n;
    for (size_t i = 0; i < text.n; i++)
        zero = zero && (text.p[i] < '1' || text.p[i] > '9');
    return zero;
}

/* There is nothing to answer: the client wants the model in memory, or out of it. Which one it has to say. */
static enum err read_load(struct arena *a, struct call *c, const char *missing, struct wire_error *why)
{
    if (!c->model.n)
        return codec_bad(a, why, ERR_SYNTAX, missing, "is empty, and no model is named that could be loaded");
    c->op = is_zero(json_member(c->root, S("keep_alive"))) ? OP_UNLOAD : OP_LOAD;
    c->stream = false;
    return ERR_OK;
}

static enum err read_message(struct arena *a, struct call *c, json v, size_t i, struct wire_error *why)
{
    static const struct { str name; enum role role; } roles[] = {
        { S("system"), ROLE_SYSTEM }, { S("user"), ROLE_USER }, { S("assistant"), ROLE_ASSISTANT }, { S("tool"), ROLE_TOOL } };
    struct message *m = &c->messages[i];
    char param[48];
    bool found = false;
    *m = (struct message){ .whole = v, .content = json_member(v, S("content")) };
    snprintf(param, sizeof param, "messages[%zu]", i);
    if (json_type(v) != JSON_OBJECT)
        return codec_bad(a, why, ERR_SYNTAX, param, "must be an object");
    for (size_t k = 0; k < sizeof roles / sizeof *roles && !found; k++)
        if ((found = json_is(json_member(v, S("role")), roles[k].name)))
            m->role = roles[k].role;
    if (!found)
        return codec_bad(a, why, ERR_SYNTAX, param, "the role must be system, user, assistant or tool");
    if (!codec_absent(m->content) && json_type(m->content) != JSON_STRING)
        return codec_bad(a, why, ERR_SYNTAX, param, "the content must be a string");
    c->has_image |= json_count(json_member(v, S("images"))) > 0;
    return ERR_OK;
}

static enum err read_messages(struct arena *a, struct call *c, struct wire_error *why)
{
    json list = json_member(c->root, S("messages"));
    size_t n = json_count(list), i = 0;
    if (codec_absent(list) || (json_type(list) == JSON_ARRAY && !n))
        return read_load(a, c, "messages", why);
    if (json_type(list) != JSON_ARRAY)
        return codec_bad(a, why, ERR_SYNTAX, "messages", "must be a list of messages");
    if (n > MESSAGES_MAX)
        return codec_bad(a, why, ERR_RANGE, "messages", "too many");
    if (!(c->messages = arena_new(a, struct message, n)))
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
    json prompt = json_member(c->root, S("prompt"));
    bool raw = false;
    c->has_image = json_count(json_member(c->root, S("images"))) > 0;
    enum err e = codec_bool(a, json_member(c->root, S("raw")), "raw", &raw, why);
    if (raw)
        c->op = OP_COMPLETION;
    if (!e && !codec_absent(prompt) && (e = json_text(a, prompt, &c->prompt)) == ERR_SYNTAX)
        return codec_bad(a, why, e, "prompt", "must be a string");
    return e || c->prompt.n ? e : read_load(a, c, "prompt", why);
}

static enum err decode(struct arena *a, enum op op, bool generate, str body, struct call *out, struct wire_error *why)
{
    struct call *c = out;
    *c = (struct call){ .dialect = DIALECT_OLLAMA, .op = op, .body = body, .include_usage = true, .generate = generate, .stream = true };
    params_init(&c->params);
    enum err e = codec_root(a, c, why);
    if (e)
        return e;
    json model = json_member(c->root, S("model"));
    if (!codec_absent(model) && (e = json_text(a, model, &c->model)))
        return e == ERR_SYNTAX ? codec_bad(a, why, e, "model", "must be a string") : e;
    if ((e = codec_bool(a, json_member(c->root, S("stream")), "stream", &c->stream, why)) || (e = read_options(a, c, why)))
        return e;
    if (json_type(json_member(c->root, S("tools"))) == JSON_ARRAY)
        c->tools = json_member(c->root, S("tools"));
    return generate ? read_prompt(a, c, why) : read_messages(a, c, why);
}

enum err ollama_decode(struct arena *a, enum op op, bool generate, str body, struct call *out, struct wire_error *why)
{
    enum err e = decode(a, op, generate, body, out, why);
    return codec_end_why(a, e, why);
}

enum err ollama_upstream_body(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n)
{
    return codec_forward(a, c, model_id, false, slices, n);
}

/* ---- turns ---- */

/* Images come bare: their type is in their first bytes. */
static str image_type(str base64)
{
    static const struct { str begin, type; } magic[] = {
        { S("iVBORw0KGgo"), S("image/png") }, { S("/9j/"), S("image/jpeg") }, { S("R0lGOD"), S("image/gif") }, { S("UklGR"), S("image/webp") } };
    for (size_t i = 0; i < sizeof magic / sizeof *magic; i++)
        if (str_starts(base64, magic[i].begin))
            return magic[i].type;
    return S("image/png");
}

static enum err to_images(struct arena *a, json images, const char *param, struct turn *t, struct wire_error *why)
{
    for (json v = json_first(images); json_type(v) != JSON_NONE; v = json_next(v)) {
        struct part *p = &t->parts[t->n++];
        *p = (struct part){ .kind = PART_IMAGE };
        if (json_text(a, v, &p->data) || !p->data.n)
            return codec_bad(a, why, ERR_SYNTAX, param, "images must be base64 texts");
        p->media_type = image_type(p->data);
    }
    return ERR_OK;
}

/* Calls have no ids here, but everywhere else: by turn and place, so that the results after them find theirs. */
static enum err to_calls(struct arena *a, json calls, size_t turn, const char *param, struct turn *t, struct wire_error *why)
{
    size_t k = 0;
    for (json v = json_first(calls); json_type(v) != JSON_NONE; v = json_next(v), k++) {
        struct part *p = &t->parts[t->n++];
        json f = json_member(v, S("function")), args = json_member(f, S("arguments"));
        *p = (struct part){ .kind = PART_TOOL_CALL, .id = codec_text(a, json_member(v, S("id"))), .text = S("{}") };
        if (!p->id.n)
            p->id = arena_printf(a, "call_%zu_%zu", turn, k);
        if (json_text(a, json_member(f, S("name")), &p->name) || (!codec_absent(args) && json_type(args) != JSON_OBJECT))
            return codec_bad(a, why, ERR_SYNTAX, param, "a tool call needs function.name, and function.arguments as an object");
        if (json_type(args) == JSON_OBJECT)
            p->text = json_span(args);
    }
    return ERR_OK;
}

/* The call that a result answers: by its id, else the first of that name without a result, else the first without one. */
static str find_call(const struct chat *out, str id, str name, uint64_t *answered)
{
    for (size_t i = out->n_turns; !id.n && i-- > 0;) {
        const struct turn *t = &out->turns[i];
        size_t any = t->n, named = t->n;
        if (t->role != ROLE_ASSISTANT)
            continue;
        for (size_t k = t->n; k-- > 0;) {
            if (t->parts[k].kind != PART_TOOL_CALL || (k < 64 && *answered >> k & 1))
                continue;
            any = k;
            if (str_eq(t->parts[k].name, name))
                named = k;
        }
        size_t at = named < t->n ? named : any;
        if (at == t->n)
            break;
        *answered |= at < 64 ? UINT64_C(1) << at : 0;
        return t->parts[at].id;
    }
    return id;
}

static enum err to_result(struct arena *a, const struct message *m, const char *param, uint64_t *answered, struct chat *out, struct wire_error *why)
{
    struct turn *t = &out->turns[out->n_turns];
    if (!(t->parts = arena_new(a, struct part, 1)))
        return ERR_LIMIT;
    struct part *p = &t->parts[t->n++];
    *p = (struct part){ .kind = PART_TOOL_RESULT, .text = codec_text(a, m->content), .name = codec_text(a, json_member(m->whole, S("tool_name"))) };
    if (!p->name.n)
        p->name = codec_text(a, json_member(m->whole, S("name")));
    p->id = find_call(out, codec_text(a, json_member(m->whole, S("tool_call_id"))), p->name, answered);
    return p->id.n ? ERR_OK : codec_bad(a, why, ERR_SYNTAX, param, "a tool message must follow a call");
}

static enum err to_turns(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    uint64_t answered = 0;              /* of the last assistant turn's parts */
    if (!(out->turns = arena_new(a, struct turn, c->n_messages + 1)))
        return ERR_LIMIT;
    for (size_t i = 0; i < c->n_messages; i++, out->n_turns++) {
        const struct message *m = &c->messages[i];
        struct turn *t = &out->turns[i];
        json images = json_member(m->whole, S("images")), calls = json_member(m->whole, S("tool_calls"));
        str text = codec_text(a, m->content), thinking = codec_text(a, json_member(m->whole, S("thinking")));
        char param[48];
        enum err e;
        snprintf(param, sizeof param, "messages[%zu]", i);
        *t = (struct turn){ .role = m->role };
        if (m->role == ROLE_TOOL) {
            if ((e = to_result(a, m, param, &answered, out, why)))
                return e;
            continue;
        }
        answered = 0;
        if (!(t->parts = arena_new(a, struct part, json_count(images) + json_count(calls) + 2)))
            return ERR_LIMIT;
        if (thinking.n)
            t->parts[t->n++] = (struct part){ .kind = PART_THINKING, .text = thinking };
        if (text.n || !(json_count(calls) || json_count(images)))
            t->parts[t->n++] = (struct part){ .kind = PART_TEXT, .text = text };
        if ((e = to_images(a, images, param, t, why)) || (e = to_calls(a, calls, i, param, t, why)))
            return e;
    }
    return ERR_OK;
}

static enum err to_prompt(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    static const char *const refused[] = { "suffix", "template", "context" };
    json images = json_member(c->root, S("images"));
    str system = codec_text(a, json_member(c->root, S("system")));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        json v = json_member(c->root, str_of(refused[i]));
        if (json_count(v) || (json_type(v) == JSON_STRING && json_span(v).n > 2))
            return refuse(a, why, refused[i], "this model takes a prompt and a system text only");
    }
    out->turns = arena_new(a, struct turn, 2);
    struct part *parts = arena_new(a, struct part, json_count(images) + 2);
    if (!out->turns || !parts)
        return ERR_LIMIT;
    if (system.n) {
        parts[0] = (struct part){ .kind = PART_TEXT, .text = system };
        out->turns[out->n_turns++] = (struct turn){ .role = ROLE_SYSTEM, .parts = parts++, .n = 1 };
    }
    struct turn *t = &out->turns[out->n_turns++];
    *t = (struct turn){ .role = ROLE_USER, .parts = parts, .n = 1 };
    parts[0] = (struct part){ .kind = PART_TEXT, .text = c->prompt };
    return to_images(a, images, "images", t, why);
}

/* ---- the rest ---- */

static enum err to_tools(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    size_t n = json_count(c->tools);
    if (n > TOOLS_MAX)
        return codec_bad(a, why, ERR_RANGE, "tools", "at most 4096");
    if (!(out->tools = arena_new(a, struct tool, n + 1)))
        return ERR_LIMIT;
    for (json v = json_first(c->tools); json_type(v) != JSON_NONE; v = json_next(v)) {
        struct tool *t = &out->tools[out->n_tools++];
        json f = json_member(v, S("function")), schema = json_member(f, S("parameters"));
        *t = (struct tool){ .strict = -1, .description = codec_text(a, json_member(f, S("description"))) };
        if (json_text(a, json_member(f, S("name")), &t->name))
            return codec_bad(a, why, ERR_SYNTAX, "tools", "a function needs its name");
        if (json_type(schema) == JSON_OBJECT)
            t->schema = schema;
    }
    return ERR_OK;
}

static enum err to_wishes(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    json format = json_member(c->root, S("format")), think = json_member(c->root, S("think")), logprobs = json_member(c->root, S("logprobs"));
    bool yes = false;
    if (json_is(format, S("json"))) {
        out->format = FORMAT_JSON;
    } else if (json_type(format) == JSON_OBJECT) {
        out->format = FORMAT_SCHEMA;
        out->schema = format;
    } else if (!codec_absent(format) && !json_is(format, S(""))) {
        return codec_bad(a, why, ERR_SYNTAX, "format", "must be \"json\" or a JSON schema");
    }
    if (json_bool(logprobs, &yes) && yes)
        return refuse(a, why, "logprobs", "this model does not tell them in this API");
    if (json_type(think) == JSON_STRING)
        out->effort = codec_text(a, think);
    else if (json_bool(think, &yes))
        out->thinking_budget = yes ? effort_budget(S("medium")) : 0;
    return ERR_OK;
}

/* What no field of the conversation holds, at the top and in the options. */
static enum err drop_rest(struct arena *a, json object, const str *read, size_t n_read, const char *prefix, struct chat *out)
{
    for (json v = json_first(object); json_type(v) != JSON_NONE; v = json_next(v)) {
        bool is_read = codec_absent(v);
        str key;
        for (size_t i = 0; i < n_read && !is_read; i++)
            is_read = json_is(json_key(v), read[i]);
        if (is_read)
            continue;
        if (json_text(a, json_key(v), &key))
            return ERR_LIMIT;
        if (!str_starts(key, S("hearth")))
            chat_drop(out, *prefix ? arena_printf(a, "%s%.*s", prefix, STR_ARG(key)) : key);
    }
    return ERR_OK;
}

static enum err make_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    str options[sizeof numbers / sizeof *numbers + 1] = { S("stop") };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        options[i + 1] = str_of(numbers[i].name);
    chat_init(out);
    out->params = c->params;
    out->stream = c->stream;
    out->include_usage = true;
    out->has_image = c->has_image;
    enum err e = c->generate ? to_prompt(a, c, out, why) : to_turns(a, c, out, why);
    if (!e)
        e = to_tools(a, c, out, why);
    if (!e)
        e = to_wishes(a, c, out, why);
    if (!e)
        e = drop_rest(a, c->root, known, sizeof known / sizeof *known, "", out);
    return e ? e : drop_rest(a, json_member(c->root, S("options")), options, sizeof options / sizeof *options, "options.", out);
}

enum err ollama_to_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    enum err e = make_chat(a, c, out, why);
    return codec_end_why(a, e, why);
}
