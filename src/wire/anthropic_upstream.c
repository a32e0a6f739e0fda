/* wire/anthropic_upstream.c: a conversation as a Messages request. */
#include "wire/anthropic.h"

#include "wire/codec.h"

#include <math.h>

enum { BUDGET_LEAST = 1024 };           /* Anthropic's own least ("Extended thinking") */

static enum err refuse(struct arena *a, struct wire_error *why, const char *param, const char *what) { return codec_bad(a, why, ERR_UNSUPPORTED, param, what); }

/* What would give another answer is refused, what only hints is dropped by name. */
static enum err check(struct arena *a, struct chat *c, struct wire_error *why)
{
    const struct params *p = &c->params;
    if (p->n != PARAM_UNSET && p->n > 1)
        return refuse(a, why, "n", "this model gives one answer at a time");
    if (p->logprobs != PARAM_UNSET)
        return refuse(a, why, "logprobs", "this model does not tell them");
    if (json_count(c->logit_bias))
        return refuse(a, why, "logit_bias", "this model does not take it");
    if (c->format == FORMAT_JSON)
        return refuse(a, why, "response_format", "this model takes json_schema, not json_object");
    if (p->temperature > 1)
        return codec_bad(a, why, ERR_RANGE, "temperature", "this model takes 0 to 1");
    if (p->seed != PARAM_UNSET)
        chat_drop(c, S("seed"));
    if (p->min_p == p->min_p)
        chat_drop(c, S("min_p"));
    if (p->frequency_penalty == p->frequency_penalty && p->frequency_penalty != 0)
        chat_drop(c, S("frequency_penalty"));
    if (p->presence_penalty == p->presence_penalty && p->presence_penalty != 0)
        chat_drop(c, S("presence_penalty"));
    if (json_count(c->metadata))
        chat_drop(c, S("metadata"));
    return ERR_OK;
}

static void put_mark(struct json_out *o, json cache_control)
{
    if (codec_absent(cache_control))
        return;
    json_put_key(o, S("cache_control"));
    json_put_raw(o, json_span(cache_control));
}

/* ---- content ---- */

static void put_image(struct json_out *o, const struct part *p)
{
    json_open(o, '{');
    json_put_text(o, S("type"), S("image"));
    json_put_key(o, S("source"));
    json_open(o, '{');
    if (p->data.n) {
        json_put_text(o, S("type"), S("base64"));
        json_put_text(o, S("media_type"), p->media_type);
        json_put_text(o, S("data"), p->data);
    } else {
        json_put_text(o, S("type"), S("url"));
        json_put_text(o, S("url"), p->url);
    }
    json_close(o, '}');
    put_mark(o, p->cache_control);
    json_close(o, '}');
}

static void put_text(struct json_out *o, str text, json mark)
{
    json_open(o, '{');
    json_put_text(o, S("type"), S("text"));
    json_put_text(o, S("text"), text);
    put_mark(o, mark);
    json_close(o, '}');
}

static void put_result(struct json_out *o, const struct part *p)
{
    json_open(o, '{');
    json_put_text(o, S("type"), S("tool_result"));
    json_put_text(o, S("tool_use_id"), p->id);
    json_put_key(o, S("content"));
    json_open(o, '[');
    if (p->text.n)                      /* empty texts are refused there */
        put_text(o, p->text, JSON_ABSENT);
    for (size_t i = 0; i < p->n_images; i++)
        put_image(o, &p->images[i]);
    json_close(o, ']');
    if (p->is_error) {
        json_put_key(o, S("is_error"));
        json_put_bool(o, true);
    }
    put_mark(o, p->cache_control);
    json_close(o, '}');
}

static void put_thinking(struct json_out *o, const struct part *p)
{
    json_open(o, '{');
    json_put_text(o, S("type"), p->redacted ? S("redacted_thinking") : S("thinking"));
    if (p->redacted) {
        json_put_text(o, S("data"), p->data);
    } else {
        json_put_text(o, S("thinking"), p->text);
        json_put_text(o, S("signature"), p->signature);
    }
    json_close(o, '}');
}

static enum err put_call(struct arena *a, struct json_out *o, const struct part *p, struct wire_error *why)
{
    struct arena scratch;
    json v;
    arena_init(&scratch, 64 << 20);
    /* Arguments are a text that a model wrote; here they must be an object. */
    enum err e = json_parse(&scratch, p->text, &JSON_DEFAULT_LIMITS, &v, NULL);
    bool is_object = e == ERR_OK && json_type(v) == JSON_OBJECT;
    arena_free(&scratch);
    if (e == ERR_LIMIT)
        return e;
    if (!is_object && p->text.n)
        return refuse(a, why, "messages", "the arguments of a tool call must be a JSON object for this model");
    json_open(o, '{');
    json_put_text(o, S("type"), S("tool_use"));
    json_put_text(o, S("id"), p->id);
    json_put_text(o, S("name"), p->name);
    json_put_key(o, S("input"));
    json_put_raw(o, is_object ? p->text : S("{}"));
    put_mark(o, p->cache_control);
    json_close(o, '}');
    return ERR_OK;
}

static enum err put_part(struct arena *a, struct json_out *o, struct chat *c, const struct part *p, struct wire_error *why)
{
    switch (p->kind) {
    case PART_TEXT:
        if (p->text.n)
            put_text(o, p->text, p->cache_control);
        return ERR_OK;
    case PART_IMAGE:
        if (p->detail.n)
            chat_drop(c, S("image_url.detail"));
        put_image(o, p);
        return ERR_OK;
    case PART_TOOL_CALL:   return put_call(a, o, p, why);
    case PART_TOOL_RESULT: put_result(o, p); return ERR_OK;
    case PART_THINKING:
        /* Only what Anthropic signed is taken back. */
        if (p->redacted || p->signature.n)
            put_thinking(o, p);
        else
            chat_drop(c, S("reasoning"));
        return ERR_OK;
    }
    return ERR_INTERNAL;
}

/* System turns, wherever they stand, are the one `system` there. */
static void put_system(struct json_out *o, const struct chat *c)
{
    bool begun = false;
    for (size_t i = 0; i < c->n_turns; i++)
        for (size_t k = 0; c->turns[i].role == ROLE_SYSTEM && k < c->turns[i].n; k++) {
            const struct part *p = &c->turns[i].parts[k];
            if (p->kind != PART_TEXT || !p->text.n)
                continue;
            if (!begun) {
                json_put_key(o, S("system"));
                json_open(o, '[');
            }
            begun = true;
            put_text(o, p->text, p->cache_control);
        }
    if (begun)
        json_close(o, ']');
}

/* Turns that are the same role there become one message: results of tools and what the user says after them belong together. */
static enum err put_messages(struct arena *a, struct json_out *o, struct chat *c, struct wire_error *why)
{
    int open = -1;
    json_put_key(o, S("messages"));
    json_open(o, '[');
    for (size_t i = 0; i < c->n_turns; i++) {
        const struct turn *t = &c->turns[i];
        int role = t->role == ROLE_ASSISTANT;
        if (t->role == ROLE_SYSTEM)
            continue;
        if (t->name.n)
            chat_drop(c, S("messages.name"));
        if (open != role) {
            if (open >= 0) {
                json_close(o, ']');
                json_close(o, '}');
            }
            json_open(o, '{');
            json_put_text(o, S("role"), role ? S("assistant") : S("user"));
            json_put_key(o, S("content"));
            json_open(o, '[');
            open = role;
        }
        for (size_t k = 0; k < t->n; k++) {
            enum err e = put_part(a, o, c, &t->parts[k], why);
            if (e)
                return e;
        }
    }
    if (open < 0)
        return codec_bad(a, why, ERR_SYNTAX, "messages", "this model needs a message of the user");
    json_close(o, ']');
    json_close(o, '}');
    json_close(o, ']');
    return ERR_OK;
}

/* ---- tools, thinking, numbers ---- */

static void put_tools(struct json_out *o, const struct chat *c)
{
    if (!c->n_tools)
        return;
    json_put_key(o, S("tools"));
    json_open(o, '[');
    for (size_t i = 0; i < c->n_tools; i++) {
        const struct tool *t = &c->tools[i];
        json_open(o, '{');
        json_put_text(o, S("name"), t->name);
        if (t->description.n)
            json_put_text(o, S("description"), t->description);
        json_put_key(o, S("input_schema"));
        json_put_raw(o, codec_absent(t->schema) ? S("{\"type\":\"object\",\"properties\":{}}") : json_span(t->schema));
        if (t->strict == 1) {
            json_put_key(o, S("strict"));
            json_put_bool(o, true);
        }
        put_mark(o, t->cache_control);
        json_close(o, '}');
    }
    json_close(o, ']');
}

static void put_tool_choice(struct json_out *o, const struct chat *c)
{
    static const str types[] = { S("auto"), S("auto"), S("none"), S("any"), S("tool") };        /* by enum tool_choice */
    bool single = c->parallel_tools == 0 && c->tool_choice != TOOLS_NONE;
    if (!c->n_tools || (c->tool_choice == TOOLS_UNSET && !single))
        return;
    json_put_key(o, S("tool_choice"));
    json_open(o, '{');
    json_put_text(o, S("type"), types[c->tool_choice]);
    if (c->tool_choice == TOOLS_NAMED)
        json_put_text(o, S("name"), c->tool_name);
    if (single) {
        json_put_key(o, S("disable_parallel_tool_use"));
        json_put_bool(o, true);
    }
    json_close(o, '}');
}

/* A tool call without its signed thinking may not be continued with thinking on. */
static bool has_unsigned_calls(const struct chat *c)
{
    for (size_t i = 0; i < c->n_turns; i++) {
        bool calls = false, thought = false;
        for (size_t k = 0; k < c->turns[i].n; k++) {
            const struct part *p = &c->turns[i].parts[k];
            calls |= p->kind == PART_TOOL_CALL;
            thought |= p->kind == PART_THINKING && (p->redacted || p->signature.n);
        }
        if (calls && !thought)
            return true;
    }
    return false;
}

/* The tokens of thinking count as tokens of the answer, and must be fewer. 0: no thinking. */
static int64_t thinking_tokens(struct chat *c, int64_t max_tokens)
{
    int64_t budget = c->thinking_budget != PARAM_UNSET ? c->thinking_budget : c->effort.n ? effort_budget(c->effort) : 0;
    if (budget <= 0)
        return 0;
    if (budget < BUDGET_LEAST)
        budget = BUDGET_LEAST;
    if (budget >= max_tokens)
        budget = max_tokens - 1;
    bool forced = c->tool_choice == TOOLS_REQUIRED || c->tool_choice == TOOLS_NAMED;
    if (budget >= BUDGET_LEAST && !forced && !has_unsigned_calls(c))
        return budget;
    chat_drop(c, S("reasoning_effort"));
    return 0;
}

static void put_thinking_wish(struct json_out *o, struct chat *c, int64_t max_tokens)
{
    int64_t budget = thinking_tokens(c, max_tokens);
    if (!budget && c->thinking_budget != 0)
        return;
    json_put_key(o, S("thinking"));
    json_open(o, '{');
    json_put_text(o, S("type"), budget ? S("enabled") : S("disabled"));
    if (budget) {
        json_put_key(o, S("budget_tokens"));
        json_put_i64(o, budget);
        if (c->params.temperature == c->params.temperature && c->params.temperature != 1) {
            chat_drop(c, S("temperature"));      /* not taken together with thinking */
            c->params.temperature = NAN;
        }
    }
    json_close(o, '}');
}

static void put_params(struct json_out *o, const struct chat *c)
{
    const struct params *p = &c->params;
    if (p->temperature == p->temperature) {
        json_put_key(o, S("temperature"));
        json_put_f64(o, p->temperature);
    }
    if (p->top_p == p->top_p) {
        json_put_key(o, S("top_p"));
        json_put_f64(o, p->top_p);
    }
    if (p->top_k != PARAM_UNSET && p->top_k > 0) {
        json_put_key(o, S("top_k"));
        json_put_i64(o, p->top_k);
    }
    if (p->n_stop) {
        json_put_key(o, S("stop_sequences"));
        json_open(o, '[');
        for (size_t i = 0; i < p->n_stop; i++)
            json_put_str(o, p->stop[i]);
        json_close(o, ']');
    }
    if (c->user.n) {
        json_put_key(o, S("metadata"));
        json_open(o, '{');
        json_put_text(o, S("user_id"), c->user);
        json_close(o, '}');
    }
    if (c->format == FORMAT_SCHEMA) {
        json_put_key(o, S("output_config"));
        json_open(o, '{');
        json_put_key(o, S("format"));
        json_open(o, '{');
        json_put_text(o, S("type"), S("json_schema"));
        json_put_key(o, S("schema"));
        json_put_raw(o, json_span(c->schema));
        json_close(o, '}');
        json_close(o, '}');
    }
    if (c->stream) {
        json_put_key(o, S("stream"));
        json_put_bool(o, true);
    }
}

static enum err write_body(struct arena *a, struct chat *c, str model_id, int64_t max_tokens, struct buf *out, struct wire_error *why)
{
    struct json_out o;
    enum err e = check(a, c, why);
    if (e)
        return e;
    if (c->params.max_tokens != PARAM_UNSET)
        max_tokens = c->params.max_tokens;
    json_out_init(&o, out);
    json_open(&o, '{');
    json_put_text(&o, S("model"), model_id);
    json_put_key(&o, S("max_tokens"));
    json_put_i64(&o, max_tokens);
    put_system(&o, c);
    if ((e = put_messages(a, &o, c, why)))
        return e;
    put_tools(&o, c);
    put_tool_choice(&o, c);
    put_thinking_wish(&o, c, max_tokens);
    put_params(&o, c);
    json_close(&o, '}');
    return o.err;
}

enum err anthropic_from_chat(struct arena *a, struct chat *c, str model_id, int64_t max_tokens, struct buf *out, struct wire_error *why)
{
    enum err e = write_body(a, c, model_id, max_tokens, out, why);
    return codec_end_why(a, e, why);
}
