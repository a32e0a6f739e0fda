/* wire/openai_to_chat.c: the conversation in a chat completions request. */
#include "wire/openai_chat.h"

#include "wire/codec.h"

enum { TOOLS_MAX = 4096 };

/* Fields that openai_decode() or this file reads; the engine's and vLLM's own among them. Others are dropped by name. */
static const str known[] = {
    S("model"), S("messages"), S("stream"), S("stream_options"), S("stop"), S("tools"), S("tool_choice"), S("response_format"), S("logit_bias"), S("logprobs"),
    S("top_logprobs"), S("temperature"), S("top_p"), S("min_p"), S("frequency_penalty"), S("presence_penalty"), S("top_k"), S("max_tokens"),
    S("max_completion_tokens"), S("seed"), S("n"), S("parallel_tool_calls"), S("reasoning_effort"), S("user"), S("metadata"),
};

static enum err refuse(struct arena *a, struct wire_error *why, const char *param, const char *what) { return codec_bad(a, why, ERR_UNSUPPORTED, param, what); }

/* ---- parts ---- */

static enum err to_image(struct arena *a, json v, const char *param, struct part *p, struct wire_error *why)
{
    json image = json_member(v, S("image_url"));
    str url;
    p->kind = PART_IMAGE;
    enum err e = json_text(a, json_type(image) == JSON_STRING ? image : json_member(image, S("url")), &url);
    if (e)
        return e == ERR_SYNTAX ? codec_bad(a, why, e, param, "an image_url needs its url") : e;
    p->detail = codec_text(a, json_member(image, S("detail")));
    if (part_data_url(url, &p->media_type, &p->data))
        return ERR_OK;
    if (!str_starts(url, S("https://")) && !str_starts(url, S("http://")))
        return codec_bad(a, why, ERR_SYNTAX, param, "an image must be a data: URL in base64, or an http(s) URL");
    p->url = url;
    return ERR_OK;
}

static enum err to_part(struct arena *a, json v, const char *param, struct part *p, struct chat *out, struct wire_error *why)
{
    json type = json_member(v, S("type"));
    *p = (struct part){ .kind = PART_TEXT, .cache_control = json_member(v, S("cache_control")) };
    if (json_is(type, S("text")))
        return json_text(a, json_member(v, S("text")), &p->text);
    if (json_is(type, S("refusal")))
        return json_text(a, json_member(v, S("refusal")), &p->text) ? codec_bad(a, why, ERR_SYNTAX, param, "a refusal needs its text") : ERR_OK;
    if (json_is(type, S("image_url"))) {
        out->has_image = true;
        return to_image(a, v, param, p, why);
    }
    str name = codec_text(a, type);
    *why = (struct wire_error){ ERR_UNSUPPORTED, arena_printf(a, "%s: this model takes no parts of type %.*s", param, STR_ARG(name)), arena_str(a, str_of(param)) };
    return ERR_UNSUPPORTED;
}

static enum err to_content(struct arena *a, json content, const char *param, struct turn *t, struct chat *out, struct wire_error *why)
{
    if (codec_absent(content))
        return ERR_OK;
    if (json_type(content) == JSON_STRING) {
        t->parts[t->n++] = (struct part){ .kind = PART_TEXT };
        return json_text(a, content, &t->parts[t->n - 1].text);
    }
    for (json v = json_first(content); json_type(v) != JSON_NONE; v = json_next(v)) {
        enum err e = to_part(a, v, param, &t->parts[t->n++], out, why);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* ---- turns ---- */

static enum err to_calls(struct arena *a, json calls, const char *param, struct turn *t, struct wire_error *why)
{
    for (json v = json_first(calls); json_type(v) != JSON_NONE; v = json_next(v)) {
        struct part *p = &t->parts[t->n++];
        json type = json_member(v, S("type")), function = json_member(v, S("function"));
        *p = (struct part){ .kind = PART_TOOL_CALL };
        if (!codec_absent(type) && !json_is(type, S("function")))
            return refuse(a, why, param, "this model takes tool calls of type function only");
        if (json_text(a, json_member(v, S("id")), &p->id) || json_text(a, json_member(function, S("name")), &p->name) ||
            json_text(a, json_member(function, S("arguments")), &p->text))
            return codec_bad(a, why, ERR_SYNTAX, param, "a tool call needs id, function.name and function.arguments");
    }
    return ERR_OK;
}

/* What vLLM, DeepSeek and OpenRouter call the thinking of an earlier answer. */
static void to_reasoning(struct arena *a, json whole, struct turn *t)
{
    str text = codec_text(a, json_member(whole, S("reasoning_content")));
    if (!text.n)
        text = codec_text(a, json_member(whole, S("reasoning")));
    if (text.n)
        t->parts[t->n++] = (struct part){ .kind = PART_THINKING, .text = text };
}

static enum err to_result(struct arena *a, const struct message *m, const char *param, struct turn *t, struct wire_error *why)
{
    struct part *p = &t->parts[t->n++];
    *p = (struct part){ .kind = PART_TOOL_RESULT, .name = codec_text(a, json_member(m->whole, S("name"))) };
    if (json_text(a, json_member(m->whole, S("tool_call_id")), &p->id))
        return codec_bad(a, why, ERR_SYNTAX, param, "a tool message needs its tool_call_id");
    enum err e = message_text(a, m, &p->text);
    return e == ERR_UNSUPPORTED ? refuse(a, why, param, "a tool message takes text only") : e;
}

static enum err to_turn(struct arena *a, const struct message *m, size_t i, struct turn *t, struct chat *out, struct wire_error *why)
{
    char param[48];
    json calls = json_member(m->whole, S("tool_calls"));
    snprintf(param, sizeof param, "messages[%zu]", i);
    *t = (struct turn){ .role = m->role, .parts = arena_new(a, struct part, json_count(m->content) + json_count(calls) + 3) };
    if (!t->parts)
        return ERR_LIMIT;
    if (m->role == ROLE_TOOL)
        return to_result(a, m, param, t, why);
    t->name = codec_text(a, json_member(m->whole, S("name")));
    if (m->role == ROLE_ASSISTANT)
        to_reasoning(a, m->whole, t);
    if (json_count(json_member(m->whole, S("function_call"))) || json_count(json_member(m->whole, S("audio"))))
        return refuse(a, why, param, "function_call and audio are not given to this model: use tool_calls");
    enum err e = to_content(a, m->content, param, t, out, why);
    return e ? e : to_calls(a, calls, param, t, why);
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
        struct tool *t = &out->tools[out->n_tools];
        json f = json_member(v, S("function")), schema = json_member(f, S("parameters"));
        bool strict = false;
        char param[32];
        snprintf(param, sizeof param, "tools[%zu]", out->n_tools++);
        *t = (struct tool){ .strict = -1, .description = codec_text(a, json_member(f, S("description"))), .cache_control = json_member(v, S("cache_control")) };
        if (!json_is(json_member(v, S("type")), S("function")))
            return refuse(a, why, param, "this model takes tools of type function only");
        if (json_text(a, json_member(f, S("name")), &t->name))
            return codec_bad(a, why, ERR_SYNTAX, param, "a function needs its name");
        if (json_type(schema) == JSON_OBJECT)
            t->schema = schema;
        if (json_bool(json_member(f, S("strict")), &strict))
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
    if (json_is(json_member(v, S("type")), S("function")) && json_text(a, json_member(json_member(v, S("function")), S("name")), &out->tool_name) == ERR_OK)
        return ERR_OK;
    return refuse(a, why, "tool_choice", "this model takes auto, none, required or one function");
}

static enum err to_format(struct arena *a, json v, struct chat *out, struct wire_error *why)
{
    json type = json_member(v, S("type")), spec = json_member(v, S("json_schema"));
    bool strict = false;
    if (codec_absent(v) || json_is(type, S("text")))
        return ERR_OK;
    if (json_is(type, S("json_object"))) {
        out->format = FORMAT_JSON;
        return ERR_OK;
    }
    out->schema = json_member(spec, S("schema"));
    out->schema_name = codec_text(a, json_member(spec, S("name")));
    if (!json_is(type, S("json_schema")) || json_type(out->schema) != JSON_OBJECT)
        return refuse(a, why, "response_format", "this model takes text, json_object or json_schema with a schema");
    out->format = FORMAT_SCHEMA;
    if (json_bool(json_member(spec, S("strict")), &strict))
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
    return ERR_OK;
}

/* Fields whose loss would give another answer, in words of OpenAI that no other API has. */
static enum err check(struct arena *a, const struct call *c, struct wire_error *why)
{
    static const char *const refused[] = { "functions", "function_call", "audio", "web_search_options", "prediction" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!codec_absent(json_member(c->root, str_of(refused[i]))))
            return refuse(a, why, refused[i], "this model does not take it");
    for (json v = json_first(json_member(c->root, S("modalities"))); json_type(v) != JSON_NONE; v = json_next(v))
        if (!json_is(v, S("text")))
            return refuse(a, why, "modalities", "this model answers with text");
    return ERR_OK;
}

static enum err make_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    bool parallel = false;
    chat_init(out);
    out->params = c->params;
    out->stream = c->stream;
    out->include_usage = c->include_usage;
    out->logit_bias = c->logit_bias;
    out->effort = codec_text(a, json_member(c->root, S("reasoning_effort")));
    out->user = codec_text(a, json_member(c->root, S("user")));
    out->metadata = json_member(c->root, S("metadata"));
    if (json_bool(json_member(c->root, S("parallel_tool_calls")), &parallel))
        out->parallel_tools = parallel;
    enum err e = check(a, c, why);
    if (e)
        return e;
    if (!(out->turns = arena_new(a, struct turn, c->n_messages + 1)))
        return ERR_LIMIT;
    for (size_t i = 0; i < c->n_messages; i++)
        if ((e = to_turn(a, &c->messages[i], i, &out->turns[out->n_turns++], out, why)))
            return e;
    if ((e = to_tools(a, c, out, why)) || (e = to_tool_choice(a, c->tool_choice, out, why)) || (e = to_format(a, c->response_format, out, why)))
        return e;
    return to_dropped(a, c, out);
}

enum err openai_to_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why)
{
    enum err e = make_chat(a, c, out, why);
    return codec_end_why(a, e, why);
}
