/* wire/ollama_upstream.c: a conversation as a request of /api/chat. */
#include "wire/ollama.h"

#include "wire/codec.h"

static enum err refuse(struct arena *a, struct wire_error *why, const char *param, const char *what) { return codec_bad(a, why, ERR_UNSUPPORTED, param, what); }

enum err ollama_check(struct arena *a, struct chat *c, bool tells_logprobs, struct wire_error *why)
{
    const struct params *p = &c->params;
    if (p->n != PARAM_UNSET && p->n > 1)
        return refuse(a, why, "n", "this model gives one answer at a time");
    if (!tells_logprobs && p->logprobs != PARAM_UNSET)
        return refuse(a, why, "logprobs", "this model does not tell them");
    if (json_count(c->logit_bias))
        return refuse(a, why, "logit_bias", "this model does not take it");
    if (c->n_tools && (c->tool_choice == TOOLS_REQUIRED || c->tool_choice == TOOLS_NAMED))
        return refuse(a, why, "tool_choice", "this model decides itself whether to call a tool");
    if (c->parallel_tools == 0)
        chat_drop(c, S("parallel_tool_calls"));
    if (c->user.n)
        chat_drop(c, S("user"));
    if (json_count(c->metadata))
        chat_drop(c, S("metadata"));
    return ERR_OK;
}

/* ---- messages ---- */

static enum err put_images(struct arena *a, struct json_out *o, const struct part *parts, size_t n, struct wire_error *why)
{
    bool begun = false;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].kind != PART_IMAGE)
            continue;
        if (!parts[i].data.n)
            return refuse(a, why, "messages", "this model takes images as base64 only: hearth does not fetch a URL");
        if (!begun) {
            json_put_key(o, S("images"));
            json_open(o, '[');
        }
        begun = true;
        json_put_str(o, parts[i].data);
    }
    if (begun)
        json_close(o, ']');
    return ERR_OK;
}

static enum err put_calls(struct arena *a, struct json_out *o, const struct turn *t, struct wire_error *why)
{
    bool begun = false;
    for (size_t i = 0; i < t->n; i++) {
        const struct part *p = &t->parts[i];
        json v;
        if (p->kind != PART_TOOL_CALL)
            continue;
        if (p->text.n && (json_parse(a, p->text, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT))
            return refuse(a, why, "messages", "the arguments of a tool call must be a JSON object for this model");
        if (!begun) {
            json_put_key(o, S("tool_calls"));
            json_open(o, '[');
        }
        begun = true;
        json_open(o, '{');
        json_put_key(o, S("function"));
        json_open(o, '{');
        json_put_text(o, S("name"), p->name);
        json_put_key(o, S("arguments"));
        json_put_raw(o, p->text.n ? p->text : S("{}"));
        json_close(o, '}');
        json_close(o, '}');
    }
    if (begun)
        json_close(o, ']');
    return ERR_OK;
}

/* The tool that a result is of: results carry ids elsewhere, names here. */
static str name_of_call(const struct chat *c, const struct part *result)
{
    for (size_t i = 0; i < c->n_turns && !result->name.n; i++)
        for (size_t k = 0; k < c->turns[i].n; k++)
            if (c->turns[i].parts[k].kind == PART_TOOL_CALL && str_eq(c->turns[i].parts[k].id, result->id))
                return c->turns[i].parts[k].name;
    return result->name;
}

static enum err put_results(struct arena *a, struct json_out *o, struct chat *c, const struct turn *t, struct wire_error *why)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct part *p = &t->parts[i];
        json_open(o, '{');
        json_put_text(o, S("role"), S("tool"));
        json_put_text(o, S("content"), p->text);
        json_put_text(o, S("tool_name"), name_of_call(c, p));
        enum err e = put_images(a, o, p->images, p->n_images, why);
        json_close(o, '}');
        if (p->is_error)
            chat_drop(c, S("tool_result.is_error"));
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err put_turn(struct arena *a, struct json_out *o, struct chat *c, const struct turn *t, struct wire_error *why)
{
    str text;
    enum err e = turn_text(a, t, &text);
    if (e)
        return e;
    json_open(o, '{');
    json_put_text(o, S("role"), role_name(t->role));
    json_put_text(o, S("content"), text);
    for (size_t i = 0; i < t->n; i++)
        if (t->parts[i].kind == PART_THINKING && t->parts[i].text.n) {
            json_put_text(o, S("thinking"), t->parts[i].text);
            break;
        }
    if (t->name.n)
        chat_drop(c, S("messages.name"));
    for (size_t i = 0; i < t->n; i++)
        if (!codec_absent(t->parts[i].cache_control))
            chat_drop(c, S("cache_control"));
    e = put_images(a, o, t->parts, t->n, why);
    if (!e)
        e = put_calls(a, o, t, why);
    json_close(o, '}');
    return e;
}

/* ---- the rest ---- */

static void put_tools(struct json_out *o, struct chat *c)
{
    if (!c->n_tools || c->tool_choice == TOOLS_NONE)
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
        json_put_key(o, S("parameters"));
        json_put_raw(o, codec_absent(t->schema) ? S("{\"type\":\"object\",\"properties\":{}}") : json_span(t->schema));
        json_close(o, '}');
        json_close(o, '}');
    }
    json_close(o, ']');
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

static void put_options(struct json_out *o, const struct params *p)
{
    json_put_key(o, S("options"));
    json_open(o, '{');
    put_f64(o, S("temperature"), p->temperature);
    put_f64(o, S("top_p"), p->top_p);
    put_f64(o, S("min_p"), p->min_p);
    put_f64(o, S("frequency_penalty"), p->frequency_penalty);
    put_f64(o, S("presence_penalty"), p->presence_penalty);
    put_i64(o, S("top_k"), p->top_k);
    put_i64(o, S("num_predict"), p->max_tokens);
    put_i64(o, S("seed"), p->seed);
    if (p->n_stop) {
        json_put_key(o, S("stop"));
        json_open(o, '[');
        for (size_t i = 0; i < p->n_stop; i++)
            json_put_str(o, p->stop[i]);
        json_close(o, ']');
    }
    json_close(o, '}');
}

static void put_wishes(struct json_out *o, struct chat *c)
{
    if (c->format == FORMAT_JSON)
        json_put_text(o, S("format"), S("json"));
    if (c->format == FORMAT_SCHEMA) {
        json_put_key(o, S("format"));
        json_put_raw(o, json_span(c->schema));
    }
    /* Models that do not think refuse the field: a budget that only allows it is a hint, as for OpenAI. */
    bool off = str_eq(c->effort, S("none")) || c->thinking_budget == 0;
    if (c->effort.n && !off) {
        json_put_key(o, S("think"));
        json_put_bool(o, true);
    } else if (!off && c->thinking_budget != PARAM_UNSET) {
        chat_drop(c, S("thinking"));
    }
    json_put_key(o, S("stream"));
    json_put_bool(o, c->stream);
}

static enum err write_body(struct arena *a, struct chat *c, str model_id, struct buf *out, struct wire_error *why)
{
    struct json_out o;
    enum err e = ollama_check(a, c, false, why);
    if (e)
        return e;
    json_out_init(&o, out);
    json_open(&o, '{');
    json_put_text(&o, S("model"), model_id);
    json_put_key(&o, S("messages"));
    json_open(&o, '[');
    for (size_t i = 0; i < c->n_turns && !e; i++)
        e = c->turns[i].role == ROLE_TOOL ? put_results(a, &o, c, &c->turns[i], why) : put_turn(a, &o, c, &c->turns[i], why);
    if (e)
        return e;
    json_close(&o, ']');
    put_tools(&o, c);
    put_options(&o, &c->params);
    put_wishes(&o, c);
    json_close(&o, '}');
    return o.err;
}

enum err ollama_from_chat(struct arena *a, struct chat *c, str model_id, struct buf *out, struct wire_error *why)
{
    enum err e = write_body(a, c, model_id, out, why);
    return codec_end_why(a, e, why);
}
