/* wire/anthropic_decode.c: a client's Messages request, and the conversation in it. */
#include "wire/anthropic.h"

#include "wire/codec.h"

enum { MESSAGES_MAX = 100000, TOOLS_MAX = 4096 };

static const struct codec_number numbers[] = {
    { "temperature", CODEC_AT(temperature), false, 0, 1 },
    { "top_p", CODEC_AT(top_p), false, 0, 1 },
    { "top_k", CODEC_AT(top_k), true, 0, 1e6 },
    { "max_tokens", CODEC_AT(max_tokens), true, 0, 9.3e18 },
};

static const str known[] = { S("model"), S("messages"), S("system"), S("stream"), S("stop_sequences"), S("tools"), S("tool_choice"), S("thinking"), S("metadata"),
                             S("output_config"), S("temperature"), S("top_p"), S("top_k"), S("max_tokens") };

/* ---- reading ---- */

/* A string, or a list of objects that each have a type: NULL, or what is wrong. */
static const char *read_content(struct call *c, json v)
{
    if (json_type(v) == JSON_STRING)
        return NULL;
    if (json_type(v) != JSON_ARRAY)
        return "must be a string or a list of content blocks";
    for (json b = json_first(v); json_type(b) != JSON_NONE; b = json_next(b)) {
        json type = json_member(b, S("type"));
        if (json_type(type) != JSON_STRING)
            return "each block needs a type";
        if (json_is(type, S("text")) && json_type(json_member(b, S("text"))) != JSON_STRING)
            return "a text block needs its text";
        c->has_image |= json_is(type, S("image"));
    }
    return NULL;
}

/* A complaint about message i, or a field of it. */
static enum err bad_message(struct arena *a, size_t i, const char *field, const char *what, struct wire_error *why)
{
    char param[48];
    snprintf(param, sizeof param, "messages.%zu%s", i, field);
    return codec_bad(a, why, ERR_SYNTAX, param, what);
}

static enum err read_message(struct arena *a, struct call *c, json v, size_t i, struct wire_error *why)
{
    struct message *m = &c->messages[i];
    json role = json_member(v, S("role"));
    *m = (struct message){ .whole = v, .content = json_member(v, S("content")) };
    if (json_type(v) != JSON_OBJECT)
        return bad_message(a, i, "", "must be an object", why);
    if (json_is(role, S("user")))
        m->role = ROLE_USER;
    else if (json_is(role, S("assistant")))
        m->role = ROLE_ASSISTANT;
    else if (json_is(role, S("system")))
        m->role = ROLE_SYSTEM;
    else
        return bad_message(a, i, ".role", "must be user, assistant or system", why);
    const char *wrong = read_content(c, m->content);
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

static enum err read_values(struct arena *a, struct call *c, struct wire_error *why)
{
    json system = json_member(c->root, S("system")), tools = json_member(c->root, S("tools")), choice = json_member(c->root, S("tool_choice"));
    if (!codec_absent(tools)) {
        if (json_type(tools) != JSON_ARRAY || json_count(tools) > TOOLS_MAX)
            return codec_bad(a, why, ERR_SYNTAX, "tools", "must be a list, of 4096 tools at most");
        c->tools = tools;
    }
    if (!codec_absent(choice)) {
        if (json_type(choice) != JSON_OBJECT)
            return codec_bad(a, why, ERR_SYNTAX, "tool_choice", "must be an object");
        c->tool_choice = choice;
    }
    const char *wrong = codec_absent(system) ? NULL : read_content(c, system);
    return wrong ? codec_bad(a, why, ERR_SYNTAX, "system", wrong) : ERR_OK;
}

static enum err decode(struct arena *a, enum op op, str body, struct call *out, struct wire_error *why)
{
    struct call *c = out;
    *c = (struct call){ .dialect = DIALECT_ANTHROPIC, .op = op, .body = body, .include_usage = true };
    params_init(&c->params);
    enum err e = codec_root(a, c, why);
    if (e)
        return e;
    json model = json_member(c->root, S("model"));
    if (!codec_absent(model) && (e = json_text(a, model, &c->model)))
        return e == ERR_SYNTAX ? codec_bad(a, why, e, "model", "must be a string") : e;
    if ((e = codec_bool(a, json_member(c->root, S("stream")), "stream", &c->stream, why)))
        return e;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((e = codec_number(a, &numbers[i], json_member(c->root, str_of(numbers[i].name)), &c->params, why)))
            return e;
    if (op != OP_COUNT && c->params.max_tokens == PARAM_UNSET)
        return codec_bad(a, why, ERR_SYNTAX, "max_tokens", "is missing");
    if ((e = codec_stop(a, json_member(c->root, S("stop_sequences")), "stop_sequences", &c->params, why)) || (e = read_values(a, c, why)))
        return e;
    return read_messages(a, c, why);
}

enum err anthropic_decode(struct arena *a, enum op op, str body, struct call *out, struct wire_error *why)
{
    enum err e = decode(a, op, body, out, why);
    return codec_end_why(a, e, why);
}

enum err anthropic_upstream_body(struct arena *a, const struct call *c, str model_id, str slices[OPENAI_MAX_SLICES], size_t *n)
{
    return codec_forward(a, c, model_id, false, slices, n);
}

/* ---- blocks to parts ---- */

/* An image's source; a file of Anthropic's store is nowhere else. */
static enum err to_image(struct arena *a, json block, const char *param, struct part *p, struct wire_error *why)
{
    json source = json_member(block, S("source"));
    p->kind = PART_IMAGE;
    if (json_is(json_member(source, S("type")), S("base64"))) {
        enum err e = json_text(a, json_member(source, S("media_type")), &p->media_type);
        if (!e)
            e = json_text(a, json_member(source, S("data")), &p->data);
        return e == ERR_SYNTAX ? codec_bad(a, why, e, param, "an image needs media_type and data") : e;
    }
    if (json_is(json_member(source, S("type")), S("url"))) {
        enum err e = json_text(a, json_member(source, S("url")), &p->url);
        return e == ERR_SYNTAX ? codec_bad(a, why, e, param, "an image needs its url") : e;
    }
    return codec_bad(a, why, ERR_UNSUPPORTED, param, "this model takes images as base64 or by URL only");
}

static enum err to_result_content(struct arena *a, json content, const char *param, struct part *p, struct wire_error *why)
{
    size_t n = json_count(content);
    p->text = S("");
    if (codec_absent(content))
        return ERR_OK;
    if (json_type(content) == JSON_STRING)
        return json_text(a, content, &p->text);
    if (json_type(content) != JSON_ARRAY || !(p->images = arena_new(a, struct part, n + 1)))
        return codec_bad(a, why, ERR_SYNTAX, param, "the content of a tool_result must be a string or a list of blocks");
    for (json b = json_first(content); json_type(b) != JSON_NONE; b = json_next(b)) {
        json type = json_member(b, S("type"));
        str text;
        enum err e;
        if (json_is(type, S("image"))) {
            e = to_image(a, b, param, &p->images[p->n_images++], why);
        } else if (json_is(type, S("text"))) {
            e = json_text(a, json_member(b, S("text")), &text);
            if (e == ERR_SYNTAX)
                return codec_bad(a, why, e, param, "a text block needs its text");
            if (!e && p->text.n)
                text = arena_printf(a, "%.*s\n%.*s", STR_ARG(p->text), STR_ARG(text));
            p->text = text;
            e = e ? e : text.p ? ERR_OK : ERR_LIMIT;
        } else {
            e = codec_bad(a, why, ERR_UNSUPPORTED, param, "this model takes text and images in a tool_result only");
        }
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err to_result(struct arena *a, json block, const char *param, struct part *p, struct chat *out, struct wire_error *why)
{
    json failed = json_member(block, S("is_error"));
    p->kind = PART_TOOL_RESULT;
    if (json_text(a, json_member(block, S("tool_use_id")), &p->id))
        return codec_bad(a, why, ERR_SYNTAX, param, "a tool_result needs its tool_use_id");
    enum err e = codec_bool(a, failed, "is_error", &p->is_error, why);
    if (!e)
        e = to_result_content(a, json_member(block, S("content")), param, p, why);
    out->has_image |= p->n_images > 0;
    return e;
}

static enum err to_tool_use(struct arena *a, json block, const char *param, struct part *p, struct wire_error *why)
{
    json input = json_member(block, S("input"));
    p->kind = PART_TOOL_CALL;
    if (json_text(a, json_member(block, S("id")), &p->id) || json_text(a, json_member(block, S("name")), &p->name) || json_type(input) != JSON_OBJECT)
        return codec_bad(a, why, ERR_SYNTAX, param, "a tool_use needs id, name and an input object");
    p->text = json_span(input);
    return ERR_OK;
}

static enum err to_thinking(struct arena *a, json block, const char *param, struct part *p, struct wire_error *why)
{
    p->kind = PART_THINKING;
    p->text = S("");
    p->redacted = json_is(json_member(block, S("type")), S("redacted_thinking"));
    if (p->redacted)
        return json_text(a, json_member(block, S("data")), &p->data) ? codec_bad(a, why, ERR_SYNTAX, param, "redacted_thinking needs its data") : ERR_OK;
    p->signature = codec_text(a, json_member(block, S("signature")));
    return json_text(a, json_member(block, S("thinking")), &p->text) ? codec_bad(a, why, ERR_SYNTAX, param, "a thinking block needs its thinking") : ERR_OK;
}

static enum err to_part(struct arena *a, json block, const char *param, struct part *p, struct chat *out, struct wire_error *why)
{
    json type = json_member(block, S("type"));
    *p = (struct part){ .cache_control = json_member(block, S("cache_control")) };
    if (!codec_absent(json_member(block, S("citations"))))
        chat_drop(out, S("citations"));
    if (json_is(type, S("text"))) {
        p->kind = PART_TEXT;
        return json_text(a, json_member(block, S("text")), &p->text);
    }
    if (json_is(type, S("image"))) {
        out->has_image = true;
        return to_image(a, block, param, p, why);
    }
    if (json_is(type, S("tool_use")))
        return to_tool_use(a, block, param, p, why);
    if (json_is(type, S("tool_result")))
        return to_result(a, block, param, p, out, why);
    if (json_is(type, S("thinking")) || json_is(type, S("redacted_thinking")))
        return to_thinking(a, block, param, p, why);
    str name = codec_text(a, type);
    *why = (struct wire_error){ ERR_UNSUPPORTED, arena_printf(a, "%s: this model takes no blocks of type %.*s", param, STR_ARG(name)), arena_str(a, str_of(param)) };
    return ERR_UNSUPPORTED;
}

static enum err to_parts(struct arena *a, json content, const char *param, struct turn *t, struct chat *out, struct wire_error *why)
{
    bool list = json_type(content) == JSON_ARRAY;
    if (!(t->parts = arena_new(a, struct part, list ? json_count(content) + 1 : 1)))
        return ERR_LIMIT;
    if (!list) {
        t->parts[t->n++] = (struct part){ .kind = PART_TEXT };
        return json_text(a, content, &t->parts[0].text);
    }
    for (json b = json_first(content); json_type(b) != JSON_NONE; b = json_next(b)) {
        enum err e = to_part(a, b, param, &t->parts[t->n++], out, why);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* Results go first, as a turn of their own: every other dialect wants them right after the calls. */
static void split_results(struct turn *t, struct turn *results, struct arena *a)
{
    size_t rest = 0;
    *results = (struct turn){ .role = ROLE_TOOL, .parts = arena_new(a, struct part, t->n + 1) };
    for (size_t i = 0; results->parts && i < t->n; i++)
        if (t->parts[i].kind == PART_TOOL_RESULT)
            results->parts[results->n++] = t->parts[i];
        else
            t->parts[rest++] = t->parts[i];
    if (results->parts)
        t->n = rest;
}

static enum err to_turns(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    json system = json_member(c->root, S("system"));
    out->turns = arena_new(a, struct turn, c->n_messages * 2 + 1);
    if (!out->turns)
        return ERR_LIMIT;
    if (!codec_absent(system)) {
        struct turn *t = &out->turns[out->n_turns++];
        *t = (struct turn){ .role = ROLE_SYSTEM };
        enum err e = to_parts(a, system, "system", t, out, why);
        if (e)
            return e;
    }
    for (size_t i = 0; i < c->n_messages; i++) {
        char param[48];
        struct turn t = { .role = c->messages[i].role }, results;
        snprintf(param, sizeof param, "messages.%zu.content", i);
        enum err e = to_parts(a, c->messages[i].content, param, &t, out, why);
        if (e)
            return e;
        split_results(&t, &results, a);
        if (!results.parts)
            return ERR_LIMIT;
        if (results.n)
            out->turns[out->n_turns++] = results;
        if (t.n || !results.n)
            out->turns[out->n_turns++] = t;
    }
    return ERR_OK;
}

/* ---- tools and the rest ---- */

static enum err to_tools(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    if (!(out->tools = arena_new(a, struct tool, json_count(c->tools) + 1)))
        return ERR_LIMIT;
    for (json v = json_first(c->tools); json_type(v) != JSON_NONE; v = json_next(v)) {
        struct tool *t = &out->tools[out->n_tools];
        json type = json_member(v, S("type")), schema = json_member(v, S("input_schema"));
        bool strict = false;
        char param[32];
        snprintf(param, sizeof param, "tools.%zu", out->n_tools++);
        *t = (struct tool){ .strict = -1, .cache_control = json_member(v, S("cache_control")), .description = codec_text(a, json_member(v, S("description"))) };
        if (!codec_absent(type) && !json_is(type, S("custom")))
            return codec_bad(a, why, ERR_UNSUPPORTED, param, "this model has no tools of its own: only tools of the type custom");
        if (json_text(a, json_member(v, S("name")), &t->name) || json_type(schema) != JSON_OBJECT)
            return codec_bad(a, why, ERR_SYNTAX, param, "a tool needs name and input_schema");
        t->schema = schema;
        if (json_bool(json_member(v, S("strict")), &strict))
            t->strict = strict;
    }
    return ERR_OK;
}

static enum err to_tool_choice(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    json type = json_member(c->tool_choice, S("type"));
    bool single = false;
    if (codec_absent(c->tool_choice))
        return ERR_OK;
    if (json_is(type, S("auto")))
        out->tool_choice = TOOLS_AUTO;
    else if (json_is(type, S("any")))
        out->tool_choice = TOOLS_REQUIRED;
    else if (json_is(type, S("none")))
        out->tool_choice = TOOLS_NONE;
    else if (json_is(type, S("tool")) && json_text(a, json_member(c->tool_choice, S("name")), &out->tool_name) == ERR_OK)
        out->tool_choice = TOOLS_NAMED;
    else
        return codec_bad(a, why, ERR_SYNTAX, "tool_choice", "must be auto, any, none, or tool with a name");
    if (json_bool(json_member(c->tool_choice, S("disable_parallel_tool_use")), &single))
        out->parallel_tools = !single;
    return ERR_OK;
}

static enum err to_thinking_wish(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    json v = json_member(c->root, S("thinking")), type = json_member(v, S("type"));
    if (codec_absent(v) || json_is(type, S("adaptive")) || json_is(type, S("between_tools")))
        return ERR_OK;                  /* left to the model */
    if (json_is(type, S("disabled"))) {
        out->thinking_budget = 0;
        return ERR_OK;
    }
    if (!json_is(type, S("enabled")) || !json_i64(json_member(v, S("budget_tokens")), &out->thinking_budget) || out->thinking_budget < 0)
        return codec_bad(a, why, ERR_SYNTAX, "thinking", "must be enabled with budget_tokens, adaptive or disabled");
    return ERR_OK;
}

static enum err to_output(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    json v = json_member(c->root, S("output_config")), format = json_member(v, S("format"));
    str effort = codec_text(a, json_member(v, S("effort")));
    /* This API's two highest words have no equal elsewhere. */
    out->effort = str_eq(effort, S("xhigh")) || str_eq(effort, S("max")) ? S("high") : effort;
    if (codec_absent(format))
        return ERR_OK;
    out->schema = json_member(format, S("schema"));
    if (!json_is(json_member(format, S("type")), S("json_schema")) || json_type(out->schema) != JSON_OBJECT)
        return codec_bad(a, why, ERR_SYNTAX, "output_config.format", "must be of type json_schema with a schema");
    out->format = FORMAT_SCHEMA;
    out->schema_strict = 1;
    return ERR_OK;
}

/* Top-level fields that nothing here reads; hearth's own are not for the model anyway. */
static enum err to_dropped(struct arena *a, const struct call *c, struct chat *out)
{
    for (json v = json_first(c->root); json_type(v) != JSON_NONE; v = json_next(v)) {
        bool read = false;
        str key;
        for (size_t i = 0; i < sizeof known / sizeof *known && !read; i++)
            read = json_is(json_key(v), known[i]);
        if (read || codec_absent(v))
            continue;
        enum err e = json_text(a, json_key(v), &key);
        if (e)
            return e;
        if (!str_starts(key, S("hearth")))
            chat_drop(out, key);
    }
    return ERR_OK;
}

static enum err make_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    chat_init(out);
    out->params = c->params;
    out->stream = c->stream;
    out->include_usage = true;
    out->user = codec_text(a, json_member(json_member(c->root, S("metadata")), S("user_id")));
    if (json_count(json_member(c->root, S("mcp_servers"))))     /* tools that another provider cannot reach: a different answer without them */
        return codec_bad(a, why, ERR_UNSUPPORTED, "mcp_servers", "this model cannot use them");
    enum err e = to_turns(a, c, out, why);
    if (!e)
        e = to_tools(a, c, out, why);
    if (!e)
        e = to_tool_choice(a, c, out, why);
    if (!e)
        e = to_thinking_wish(a, c, out, why);
    if (!e)
        e = to_output(a, c, out, why);
    return e ? e : to_dropped(a, c, out);
}

enum err anthropic_to_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    enum err e = make_chat(a, c, out, why);
    return codec_end_why(a, e, why);
}
