/* wire/responses_decode.c: a request of the Responses API, and the conversation in it. */
#include "wire/responses.h"

#include "wire/codec.h"

enum { ITEMS_MAX = 100000, TOOLS_MAX = 4096 };

static const struct codec_number numbers[] = {
    { "temperature", CODEC_AT(temperature), false, 0, 2 },
    { "top_p", CODEC_AT(top_p), false, 0, 1 },
    { "max_output_tokens", CODEC_AT(max_tokens), true, 0, 9.3e18 },
};

static const str known[] = {
    S("model"), S("input"), S("instructions"), S("stream"), S("tools"), S("tool_choice"), S("parallel_tool_calls"), S("text"), S("reasoning"), S("temperature"), S("top_p"),
    S("max_output_tokens"), S("metadata"), S("user"), S("store"), S("truncation"), S("previous_response_id"), S("conversation"), S("background"), S("prompt"), S("top_logprobs"),
};

static enum err refuse(struct arena *a, struct wire_error *why, const char *param, const char *what) { return codec_bad(a, why, ERR_UNSUPPORTED, param, what); }

/* ---- reading ---- */

/* hearth keeps no conversations: what rests on one would be another question without it. */
static enum err check(struct arena *a, const struct call *c, struct wire_error *why)
{
    static const char *const refused[] = { "previous_response_id", "conversation", "prompt" };
    json truncation = json_member(c->root, S("truncation")), top = json_member(c->root, S("top_logprobs"));
    int64_t n = 0;
    bool background = false;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!codec_absent(json_member(c->root, str_of(refused[i]))))
            return refuse(a, why, refused[i], "responses are not kept here: send the whole conversation as input");
    enum err e = codec_bool(a, json_member(c->root, S("background")), "background", &background, why);
    if (e)
        return e;
    if (background)
        return refuse(a, why, "background", "responses are given while the client waits");
    if (!codec_absent(truncation) && !json_is(truncation, S("disabled")))
        return refuse(a, why, "truncation", "nothing is cut from a conversation here: only disabled");
    if (json_i64(top, &n) && n > 0)
        return refuse(a, why, "top_logprobs", "they are given by chat completions only");
    return ERR_OK;
}

static enum err decode(struct arena *a, str body, struct call *out, struct wire_error *why)
{
    struct call *c = out;
    *c = (struct call){ .dialect = DIALECT_RESPONSES, .op = OP_CHAT, .body = body, .include_usage = true };
    params_init(&c->params);
    enum err e = codec_root(a, c, why);
    if (e)
        return e;
    json model = json_member(c->root, S("model")), input = json_member(c->root, S("input"));
    if (!codec_absent(model) && (e = json_text(a, model, &c->model)))
        return e == ERR_SYNTAX ? codec_bad(a, why, e, "model", "must be a string") : e;
    if ((e = codec_bool(a, json_member(c->root, S("stream")), "stream", &c->stream, why)) || (e = check(a, c, why)))
        return e;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((e = codec_number(a, &numbers[i], json_member(c->root, str_of(numbers[i].name)), &c->params, why)))
            return e;
    if (json_type(input) != JSON_STRING && (json_type(input) != JSON_ARRAY || !json_count(input)))
        return codec_bad(a, why, ERR_SYNTAX, "input", "must be a text or a list of items");
    if (json_count(input) > ITEMS_MAX)
        return codec_bad(a, why, ERR_RANGE, "input", "too many items");
    c->tools = json_type(json_member(c->root, S("tools"))) == JSON_ARRAY ? json_member(c->root, S("tools")) : JSON_ABSENT;
    c->tool_choice = codec_absent(json_member(c->root, S("tool_choice"))) ? JSON_ABSENT : json_member(c->root, S("tool_choice"));
    return ERR_OK;
}

enum err responses_decode(struct arena *a, str body, struct call *out, struct wire_error *why)
{
    enum err e = decode(a, body, out, why);
    return codec_end_why(a, e, why);
}

/* ---- items to turns ---- */

/* Parts are given out from one array: they are only ever added to the last turn. */
struct builder {
    struct arena *a;
    struct chat *out;
    struct wire_error *why;
    struct part *parts;
    size_t used;
    char param[32];
};

static struct turn *turn_for(struct builder *b, enum role role, bool joins)
{
    struct chat *c = b->out;
    if (joins && c->n_turns && c->turns[c->n_turns - 1].role == role)
        return &c->turns[c->n_turns - 1];
    struct turn *t = &c->turns[c->n_turns++];
    *t = (struct turn){ .role = role, .parts = b->parts + b->used };
    return t;
}

static struct part *part_for(struct builder *b, struct turn *t, enum part_kind kind)
{
    struct part *p = &b->parts[b->used++];
    *p = (struct part){ .kind = kind };
    t->n++;
    return p;
}

static enum err add_image(struct builder *b, struct turn *t, json v)
{
    str url;
    if (json_text(b->a, json_member(v, S("image_url")), &url))
        return refuse(b->a, b->why, b->param, "an input_image needs its image_url: files are not kept here");
    struct part *p = part_for(b, t, PART_IMAGE);
    p->detail = codec_text(b->a, json_member(v, S("detail")));
    b->out->has_image = true;
    if (!part_data_url(url, &p->media_type, &p->data))
        p->url = url;
    return p->data.n || str_starts(url, S("https://")) || str_starts(url, S("http://"))
               ? ERR_OK
               : codec_bad(b->a, b->why, ERR_SYNTAX, b->param, "an image must be a data: URL in base64, or an http(s) URL");
}

static enum err add_content(struct builder *b, struct turn *t, json content)
{
    if (json_type(content) == JSON_STRING)
        return json_text(b->a, content, &part_for(b, t, PART_TEXT)->text);
    if (json_type(content) != JSON_ARRAY)
        return codec_bad(b->a, b->why, ERR_SYNTAX, b->param, "a message needs its content");
    for (json v = json_first(content); json_type(v) != JSON_NONE; v = json_next(v)) {
        json type = json_member(v, S("type"));
        enum err e;
        if (json_is(type, S("input_text")) || json_is(type, S("output_text")) || json_is(type, S("text")))
            e = json_text(b->a, json_member(v, S("text")), &part_for(b, t, PART_TEXT)->text);
        else if (json_is(type, S("refusal")))
            e = json_text(b->a, json_member(v, S("refusal")), &part_for(b, t, PART_TEXT)->text);
        else if (json_is(type, S("input_image")))
            e = add_image(b, t, v);
        else
            e = refuse(b->a, b->why, b->param, "this model takes input_text and input_image only");
        if (e)
            return e == ERR_SYNTAX ? codec_bad(b->a, b->why, e, b->param, "a part needs its text") : e;
    }
    return ERR_OK;
}

static enum err add_message(struct builder *b, json v)
{
    json role = json_member(v, S("role"));
    enum role r;
    if (json_is(role, S("user")))
        r = ROLE_USER;
    else if (json_is(role, S("assistant")))
        r = ROLE_ASSISTANT;
    else if (json_is(role, S("system")) || json_is(role, S("developer")))
        r = ROLE_SYSTEM;
    else
        return codec_bad(b->a, b->why, ERR_SYNTAX, b->param, "the role must be user, assistant, system or developer");
    return add_content(b, turn_for(b, r, r == ROLE_ASSISTANT), json_member(v, S("content")));
}

static enum err add_call(struct builder *b, json v)
{
    struct part *p = part_for(b, turn_for(b, ROLE_ASSISTANT, true), PART_TOOL_CALL);
    if (json_text(b->a, json_member(v, S("call_id")), &p->id) || json_text(b->a, json_member(v, S("name")), &p->name) ||
        json_text(b->a, json_member(v, S("arguments")), &p->text))
        return codec_bad(b->a, b->why, ERR_SYNTAX, b->param, "a function_call needs call_id, name and arguments");
    return ERR_OK;
}

static enum err add_output(struct builder *b, json v)
{
    json output = json_member(v, S("output"));
    struct turn *t = turn_for(b, ROLE_TOOL, true);
    struct part *p = part_for(b, t, PART_TOOL_RESULT);
    p->text = S("");
    if (json_text(b->a, json_member(v, S("call_id")), &p->id))
        return codec_bad(b->a, b->why, ERR_SYNTAX, b->param, "a function_call_output needs its call_id");
    if (json_type(output) == JSON_STRING)
        return json_text(b->a, output, &p->text);
    for (json part = json_first(output); json_type(part) != JSON_NONE; part = json_next(part)) {
        str text;
        if (!json_is(json_member(part, S("type")), S("input_text")) || json_text(b->a, json_member(part, S("text")), &text))
            return refuse(b->a, b->why, b->param, "this model takes text as a function's output only");
        p->text = arena_printf(b->a, "%.*s%s%.*s", STR_ARG(p->text), p->text.n ? "\n" : "", STR_ARG(text));
        if (!p->text.p)
            return ERR_LIMIT;
    }
    return ERR_OK;
}

/* What can be read of earlier thinking; what is encrypted only its maker can read. */
static enum err add_reasoning(struct builder *b, json v)
{
    json list = json_count(json_member(v, S("content"))) ? json_member(v, S("content")) : json_member(v, S("summary"));
    str text = S("");
    for (json part = json_first(list); json_type(part) != JSON_NONE; part = json_next(part)) {
        str more = codec_text(b->a, json_member(part, S("text")));
        text = arena_printf(b->a, "%.*s%s%.*s", STR_ARG(text), text.n ? "\n" : "", STR_ARG(more));
        if (!text.p)
            return ERR_LIMIT;
    }
    if (text.n)
        part_for(b, turn_for(b, ROLE_ASSISTANT, true), PART_THINKING)->text = text;
    else if (!codec_absent(json_member(v, S("encrypted_content"))))
        chat_drop(b->out, S("reasoning.encrypted_content"));
    return ERR_OK;
}

static enum err add_item(struct builder *b, json v)
{
    json type = json_member(v, S("type"));
    if (json_type(v) != JSON_OBJECT)
        return codec_bad(b->a, b->why, ERR_SYNTAX, b->param, "must be an object");
    if (codec_absent(type) || json_is(type, S("message")))
        return add_message(b, v);
    if (json_is(type, S("function_call")))
        return add_call(b, v);
    if (json_is(type, S("function_call_output")))
        return add_output(b, v);
    if (json_is(type, S("reasoning")))
        return add_reasoning(b, v);
    str name = codec_text(b->a, type);
    *b->why = (struct wire_error){ ERR_UNSUPPORTED, arena_printf(b->a, "%s: this model takes no items of type %.*s", b->param, STR_ARG(name)), arena_str(b->a, str_of(b->param)) };
    return ERR_UNSUPPORTED;
}

static enum err to_turns(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    json input = json_member(c->root, S("input")), instructions = json_member(c->root, S("instructions"));
    size_t n = 2, i = 0;
    struct builder b = { .a = a, .out = out, .why = why };
    for (json v = json_first(input); json_type(v) != JSON_NONE; v = json_next(v))
        n += 1 + json_count(json_member(v, S("content")));
    b.parts = arena_new(a, struct part, n);
    out->turns = arena_new(a, struct turn, json_count(input) + 2);
    if (!b.parts || !out->turns)
        return ERR_LIMIT;
    if (json_type(instructions) == JSON_STRING)
        part_for(&b, turn_for(&b, ROLE_SYSTEM, false), PART_TEXT)->text = codec_text(a, instructions);
    else if (!codec_absent(instructions))
        return codec_bad(a, why, ERR_SYNTAX, "instructions", "must be a text");
    if (json_type(input) == JSON_STRING)
        return json_text(a, input, &part_for(&b, turn_for(&b, ROLE_USER, false), PART_TEXT)->text);
    for (json v = json_first(input); json_type(v) != JSON_NONE; v = json_next(v), i++) {
        snprintf(b.param, sizeof b.param, "input[%zu]", i);
        enum err e = add_item(&b, v);
        if (e)
            return e;
    }
    return ERR_OK;
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
        bool strict = false;
        *t = (struct tool){ .strict = -1, .description = codec_text(a, json_member(v, S("description"))) };
        if (!json_is(json_member(v, S("type")), S("function")))
            return refuse(a, why, "tools", "this model takes tools of type function only: it has none of OpenAI's own");
        if (json_text(a, json_member(v, S("name")), &t->name))
            return codec_bad(a, why, ERR_SYNTAX, "tools", "a function needs its name");
        if (json_type(json_member(v, S("parameters"))) == JSON_OBJECT)
            t->schema = json_member(v, S("parameters"));
        if (json_bool(json_member(v, S("strict")), &strict))
            t->strict = strict;
    }
    return ERR_OK;
}

static enum err to_tool_choice(struct arena *a, json v, struct chat *out, struct wire_error *why)
{
    static const struct { str word; enum tool_choice choice; } words[] = { { S("auto"), TOOLS_AUTO }, { S("none"), TOOLS_NONE }, { S("required"), TOOLS_REQUIRED } };
    if (codec_absent(v))
        return ERR_OK;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (json_is(v, words[i].word)) {
            out->tool_choice = words[i].choice;
            return ERR_OK;
        }
    out->tool_choice = TOOLS_NAMED;
    if (json_is(json_member(v, S("type")), S("function")) && json_text(a, json_member(v, S("name")), &out->tool_name) == ERR_OK)
        return ERR_OK;
    return refuse(a, why, "tool_choice", "this model takes auto, none, required or one function");
}

static enum err to_format(struct arena *a, json v, struct chat *out, struct wire_error *why)
{
    json type = json_member(v, S("type"));
    bool strict = false;
    if (codec_absent(v) || json_is(type, S("text")))
        return ERR_OK;
    if (json_is(type, S("json_object"))) {
        out->format = FORMAT_JSON;
        return ERR_OK;
    }
    out->schema = json_member(v, S("schema"));
    out->schema_name = codec_text(a, json_member(v, S("name")));
    if (!json_is(type, S("json_schema")) || json_type(out->schema) != JSON_OBJECT)
        return refuse(a, why, "text.format", "this model takes text, json_object or json_schema with a schema");
    out->format = FORMAT_SCHEMA;
    if (json_bool(json_member(v, S("strict")), &strict))
        out->schema_strict = strict;
    return ERR_OK;
}

static enum err to_dropped(struct arena *a, const struct call *c, struct chat *out)
{
    for (json v = json_first(c->root); json_type(v) != JSON_NONE; v = json_next(v)) {
        bool read = codec_absent(v);
        str key;
        for (size_t i = 0; i < sizeof known / sizeof *known && !read; i++)
            read = json_is(json_key(v), known[i]);
        if (read)
            continue;
        enum err e = json_text(a, json_key(v), &key);
        if (e)
            return e;
        if (!str_starts(key, S("hearth")))
            chat_drop(out, key);
    }
    if (!codec_absent(json_member(json_member(c->root, S("text")), S("verbosity"))))
        chat_drop(out, S("text.verbosity"));
    return ERR_OK;
}

static enum err make_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    bool parallel = false;
    chat_init(out);
    out->params = c->params;
    out->stream = c->stream;
    out->include_usage = true;
    out->effort = codec_text(a, json_member(json_member(c->root, S("reasoning")), S("effort")));
    out->user = codec_text(a, json_member(c->root, S("user")));
    out->metadata = json_member(c->root, S("metadata"));
    if (json_bool(json_member(c->root, S("parallel_tool_calls")), &parallel))
        out->parallel_tools = parallel;
    enum err e = to_turns(a, c, out, why);
    if (!e)
        e = to_tools(a, c, out, why);
    if (!e)
        e = to_tool_choice(a, c->tool_choice, out, why);
    if (!e)
        e = to_format(a, json_member(json_member(c->root, S("text")), S("format")), out, why);
    return e ? e : to_dropped(a, c, out);
}

enum err responses_to_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    enum err e = make_chat(a, c, out, why);
    return codec_end_why(a, e, why);
}
