/* wire/openai_from_chat.c: a conversation as a chat completions request. */
#include "wire/openai_chat.h"

#include "wire/codec.h"
#include "wire/ollama.h"

/* ---- messages ---- */

static void put_text(struct json_out *o, str text)
{
    json_open(o, '{');
    json_put_text(o, S("type"), S("text"));
    json_put_text(o, S("text"), text);
    json_close(o, '}');
}

static void put_image(struct json_out *o, const struct part *p)
{
    json_open(o, '{');
    json_put_text(o, S("type"), S("image_url"));
    json_put_key(o, S("image_url"));
    json_open(o, '{');
    json_put_key(o, S("url"));
    if (p->data.n) {
        /* data and its type are base64 and a token: nothing in them needs an escape, but a client may send anything */
        struct buf *b = o->b;
        json_put_raw(o, S("\"data:"));
        if (!o->err)
            o->err = json_escape(b, p->media_type);
        if (!o->err)
            o->err = buf_put(b, S(";base64,"));
        if (!o->err)
            o->err = json_escape(b, p->data);
        if (!o->err)
            o->err = buf_putc(b, '"');
    } else {
        json_put_str(o, p->url);
    }
    if (p->detail.n)
        json_put_text(o, S("detail"), p->detail);
    json_close(o, '}');
    json_close(o, '}');
}

static size_t count(const struct turn *t, enum part_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->parts[i].kind == kind;
    return n;
}

static void put_calls(struct json_out *o, const struct turn *t)
{
    json_put_key(o, S("tool_calls"));
    json_open(o, '[');
    for (size_t i = 0; i < t->n; i++) {
        const struct part *p = &t->parts[i];
        if (p->kind != PART_TOOL_CALL)
            continue;
        json_open(o, '{');
        json_put_text(o, S("id"), p->id);
        json_put_text(o, S("type"), S("function"));
        json_put_key(o, S("function"));
        json_open(o, '{');
        json_put_text(o, S("name"), p->name);
        json_put_text(o, S("arguments"), p->text.n ? p->text : S("{}"));
        json_close(o, '}');
        json_close(o, '}');
    }
    json_close(o, ']');
}

/* Text and images as parts; one text alone is a string, which every server takes. */
static enum err put_content(struct arena *a, struct json_out *o, const struct turn *t)
{
    str text;
    json_put_key(o, S("content"));
    if (count(t, PART_IMAGE)) {
        json_open(o, '[');
        for (size_t i = 0; i < t->n; i++)
            if (t->parts[i].kind == PART_IMAGE)
                put_image(o, &t->parts[i]);
            else if (t->parts[i].kind == PART_TEXT)
                put_text(o, t->parts[i].text);
        json_close(o, ']');
        return ERR_OK;
    }
    if (!count(t, PART_TEXT) && count(t, PART_TOOL_CALL)) {
        json_put_null(o);
        return ERR_OK;
    }
    enum err e = turn_text(a, t, &text);
    if (!e)
        json_put_str(o, text);
    return e;
}

static void put_reasoning(struct json_out *o, struct chat *c, const struct turn *t, enum openai_flavour flavour)
{
    bool plain = flavour == OPENAI_PLAIN;
    str field = flavour == OPENAI_OLLAMA ? S("reasoning") : S("reasoning_content");
    for (size_t i = 0; i < t->n; i++) {
        const struct part *p = &t->parts[i];
        if (p->kind != PART_THINKING)
            continue;
        if (plain || p->redacted || !p->text.n) {
            chat_drop(c, S("thinking"));
            continue;
        }
        json_put_text(o, field, p->text);
        plain = true;                   /* there is one field: what else was thought is dropped by name */
    }
}

static enum err put_turn(struct arena *a, struct json_out *o, struct chat *c, const struct turn *t, enum openai_flavour flavour)
{
    json_open(o, '{');
    json_put_text(o, S("role"), role_name(t->role));
    if (t->name.n)
        json_put_text(o, S("name"), t->name);
    put_reasoning(o, c, t, flavour);
    enum err e = put_content(a, o, t);
    if (count(t, PART_TOOL_CALL))
        put_calls(o, t);
    json_close(o, '}');
    return e;
}

/* One message a result; images cannot stand in one and follow as what the user shows. */
static void put_results(struct json_out *o, struct chat *c, const struct turn *t)
{
    size_t images = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct part *p = &t->parts[i];
        json_open(o, '{');
        json_put_text(o, S("role"), S("tool"));
        json_put_text(o, S("tool_call_id"), p->id);
        json_put_text(o, S("content"), p->text);
        json_close(o, '}');
        images += p->n_images;
        if (p->is_error)
            chat_drop(c, S("tool_result.is_error"));
    }
    if (!images)
        return;
    json_open(o, '{');
    json_put_text(o, S("role"), S("user"));
    json_put_key(o, S("content"));
    json_open(o, '[');
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->parts[i].n_images; k++)
            put_image(o, &t->parts[i].images[k]);
    json_close(o, ']');
    json_close(o, '}');
}

static bool has_marks(const struct chat *c)
{
    for (size_t i = 0; i < c->n_turns; i++)
        for (size_t k = 0; k < c->turns[i].n; k++)
            if (!codec_absent(c->turns[i].parts[k].cache_control))
                return true;
    for (size_t i = 0; i < c->n_tools; i++)
        if (!codec_absent(c->tools[i].cache_control))
            return true;
    return false;
}

/* ---- the rest ---- */

static void put_tools(struct json_out *o, const struct chat *c)
{
    static const str words[] = { S(""), S("auto"), S("none"), S("required") };  /* by enum tool_choice */
    if (!c->n_tools)
        return;
    json_put_key(o, S("tools"));
    json_open(o, '[');
    for (size_t i = 0; i < c->n_tools; i++) {
        const struct tool *t = &c->tools[i];
        json_open(o, '{');
        json_put_text(o, S("type"), S("function"));
        json_put_key(o, S("function"));
        json_open(o, '{');
        json_put_text(o, S("name"), t->name);
        if (t->description.n)
            json_put_text(o, S("description"), t->description);
        if (!codec_absent(t->schema)) {
            json_put_key(o, S("parameters"));
            json_put_raw(o, json_span(t->schema));
        }
        if (t->strict >= 0) {
            json_put_key(o, S("strict"));
            json_put_bool(o, t->strict);
        }
        json_close(o, '}');
        json_close(o, '}');
    }
    json_close(o, ']');
    if (c->tool_choice == TOOLS_NAMED) {
        json_put_key(o, S("tool_choice"));
        json_open(o, '{');
        json_put_text(o, S("type"), S("function"));
        json_put_key(o, S("function"));
        json_open(o, '{');
        json_put_text(o, S("name"), c->tool_name);
        json_close(o, '}');
        json_close(o, '}');
    } else if (c->tool_choice != TOOLS_UNSET) {
        json_put_text(o, S("tool_choice"), words[c->tool_choice]);
    }
    if (c->parallel_tools >= 0) {
        json_put_key(o, S("parallel_tool_calls"));
        json_put_bool(o, c->parallel_tools);
    }
}

static void put_format(struct json_out *o, const struct chat *c)
{
    if (c->format == FORMAT_TEXT)
        return;
    json_put_key(o, S("response_format"));
    json_open(o, '{');
    json_put_text(o, S("type"), c->format == FORMAT_JSON ? S("json_object") : S("json_schema"));
    if (c->format == FORMAT_SCHEMA) {
        json_put_key(o, S("json_schema"));
        json_open(o, '{');
        json_put_text(o, S("name"), c->schema_name.n ? c->schema_name : S("answer"));        /* required there */
        json_put_key(o, S("schema"));
        json_put_raw(o, json_span(c->schema));
        if (c->schema_strict >= 0) {
            json_put_key(o, S("strict"));
            json_put_bool(o, c->schema_strict);
        }
        json_close(o, '}');
    }
    json_close(o, '}');
}

static void put_f64(struct json_out *o, str key, double v)
{
    if (v != v)
        return;
    json_put_key(o, key);
    json_put_f64(o, v);
}

static void put_i64(struct json_out *o, str key, int64_t v)
{
    if (v == PARAM_UNSET)
        return;
    json_put_key(o, key);
    json_put_i64(o, v);
}

static void put_params(struct json_out *o, struct chat *c, enum openai_flavour flavour)
{
    const struct params *p = &c->params;
    bool plain = flavour == OPENAI_PLAIN || flavour == OPENAI_OLLAMA;
    put_f64(o, S("temperature"), p->temperature);
    put_f64(o, S("top_p"), p->top_p);
    put_f64(o, S("frequency_penalty"), p->frequency_penalty);
    put_f64(o, S("presence_penalty"), p->presence_penalty);
    put_i64(o, c->newer_limit ? S("max_completion_tokens") : S("max_tokens"), p->max_tokens);
    put_i64(o, S("seed"), p->seed);
    put_i64(o, S("n"), p->n);
    if (plain && p->top_k != PARAM_UNSET)
        chat_drop(c, S("top_k"));
    else
        put_i64(o, S("top_k"), p->top_k);
    if (plain && p->min_p == p->min_p)
        chat_drop(c, S("min_p"));
    else
        put_f64(o, S("min_p"), p->min_p);
    if (p->logprobs != PARAM_UNSET) {
        json_put_key(o, S("logprobs"));
        json_put_bool(o, true);
        if (p->logprobs > 0)
            put_i64(o, S("top_logprobs"), p->logprobs);
    }
    if (p->n_stop) {
        json_put_key(o, S("stop"));
        json_open(o, '[');
        for (size_t i = 0; i < p->n_stop; i++)
            json_put_str(o, p->stop[i]);
        json_close(o, ']');
    }
    if (json_count(c->logit_bias)) {
        json_put_key(o, S("logit_bias"));
        json_put_raw(o, json_span(c->logit_bias));
    }
}

/* Thinking is asked for by effort here, and models without it refuse the field: a budget that only allows it is a hint. */
static void put_wishes(struct json_out *o, struct chat *c, enum openai_flavour flavour)
{
    if (c->effort.n)
        json_put_text(o, S("reasoning_effort"), c->effort);
    else if (c->thinking_budget != PARAM_UNSET && c->thinking_budget > 0)
        chat_drop(c, S("thinking"));
    if (c->user.n)
        json_put_text(o, S("user"), c->user);
    if (json_count(c->metadata)) {
        json_put_key(o, S("metadata"));
        json_put_raw(o, json_span(c->metadata));
    }
    if (c->early_count && (flavour == OPENAI_ENGINE || flavour == OPENAI_LLAMACPP)) {
        json_put_key(o, flavour == OPENAI_ENGINE ? S("hearth_prompt_tokens") : S("return_progress"));
        json_put_bool(o, true);
    }
    if (c->stream) {
        json_put_key(o, S("stream"));
        json_put_bool(o, true);
        json_put_key(o, S("stream_options"));
        json_put_raw(o, c->early_count && flavour == OPENAI_VLLM ? S("{\"include_usage\":true,\"continuous_usage_stats\":true}") : S("{\"include_usage\":true}"));
    }
}

/* What Ollama would pass over below /v1 is not written there either. */
static enum err check_ollama(struct arena *a, struct chat *c, struct wire_error *why)
{
    enum err e = ollama_check(a, c, true, why);
    if (e)
        return e;
    if (c->tool_choice == TOOLS_NONE)
        c->n_tools = 0;
    c->parallel_tools = -1;
    c->user = STR_NONE;
    c->metadata = JSON_ABSENT;
    return ERR_OK;
}

static enum err write_body(struct arena *a, struct chat *c, str model_id, enum openai_flavour flavour, struct buf *out, struct wire_error *why)
{
    struct json_out o;
    enum err e = flavour == OPENAI_OLLAMA ? check_ollama(a, c, why) : ERR_OK;
    if (e)
        return e;
    if (has_marks(c))
        chat_drop(c, S("cache_control"));
    json_out_init(&o, out);
    json_open(&o, '{');
    json_put_text(&o, S("model"), model_id);
    json_put_key(&o, S("messages"));
    json_open(&o, '[');
    for (size_t i = 0; i < c->n_turns; i++) {
        if (c->turns[i].role == ROLE_TOOL) {
            put_results(&o, c, &c->turns[i]);
            continue;
        }
        if ((e = put_turn(a, &o, c, &c->turns[i], flavour)))
            return e;
    }
    json_close(&o, ']');
    put_tools(&o, c);
    put_format(&o, c);
    put_params(&o, c, flavour);
    put_wishes(&o, c, flavour);
    json_close(&o, '}');
    return o.err;
}

enum err openai_from_chat(struct arena *a, struct chat *c, str model_id, enum openai_flavour flavour, struct buf *out, struct wire_error *why)
{
    enum err e = write_body(a, c, model_id, flavour, out, why);
    return codec_end_why(a, e, why);
}
