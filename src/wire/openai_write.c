/* wire/openai_write.c: what hearth and its engine answer. */
#include "wire/openai.h"

enum { BODY_MAX = 64 << 20 };

static void text_or_null(struct json_out *o, str s)
{
    if (s.n)
        json_put_str(o, s);
    else
        json_put_null(o);
}

/* {"error":{…}} */
static void put_error(struct json_out *o, str message, str type, str param, str code)
{
    json_open(o, '{');
    json_put_key(o, S("error"));
    json_open(o, '{');
    json_put_key(o, S("message"));
    json_put_str(o, message);
    json_put_key(o, S("type"));
    json_put_str(o, type);
    json_put_key(o, S("param"));
    text_or_null(o, param);
    json_put_key(o, S("code"));
    text_or_null(o, code);
    json_close(o, '}');
    json_close(o, '}');
}

/* Moves what was written into the arena. When there is no room, a constant says so: an error must not fail. */
static str settle(struct arena *a, struct json_out *o, str otherwise)
{
    str s = o->err ? STR_NONE : arena_str(a, buf_str(o->b));
    buf_free(o->b);
    return s.p ? s : otherwise;
}

static const str no_memory = S("{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":\"out_of_memory\"}}");

str openai_error_body(struct arena *a, enum err e, str message, str param)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    put_error(&o, message.n ? message : str_of(err_text(e)), str_of(err_type(e)), param, str_of(err_code(e)));
    return settle(a, &o, no_memory);
}

/* What OpenAI calls an error of this status. */
static str type_of_status(int status)
{
    switch (status) {
    case 401: return str_of(err_type(ERR_AUTH));
    case 403: return str_of(err_type(ERR_FORBIDDEN));
    case 429: return str_of(err_type(ERR_BUSY));
    default:  return str_of(err_type(status >= 400 && status < 500 ? ERR_SYNTAX : ERR_UPSTREAM));
    }
}

str openai_error_from(struct arena *a, const struct reply *r)
{
    struct buf b;
    struct json_out o;
    bool client = r->error_status >= 400 && r->error_status < 500;
    str message = r->error_message.n ? r->error_message : arena_printf(a, "the upstream answered with status %d", r->error_status);
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    put_error(&o, message, r->error_type.n ? r->error_type : type_of_status(r->error_status), STR_NONE,
              r->error_code.n ? r->error_code : client ? STR_NONE : str_of(err_code(ERR_UPSTREAM)));
    return settle(a, &o, no_memory);
}

str openai_error_event(struct arena *a, enum err e, str message)
{
    str body = openai_error_body(a, e, message, STR_NONE);
    str ev = arena_printf(a, "data: %.*s\n\n", STR_ARG(body));
    return ev.p ? ev : S("data: {\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":\"out_of_memory\"}}\n\n");
}

/* ---- models ---- */

static void put_model(struct json_out *o, const struct openai_model *m)
{
    json_open(o, '{');
    json_put_key(o, S("id"));
    json_put_str(o, m->id);
    json_put_key(o, S("object"));
    json_put_str(o, S("model"));
    json_put_key(o, S("created"));
    json_put_i64(o, m->created);
    json_put_key(o, S("owned_by"));
    json_put_str(o, m->owned_by);
    if (m->meta.n) {
        json_put_key(o, S("hearth"));
        json_put_raw(o, m->meta);
    }
    json_close(o, '}');
}

str openai_models_body(struct arena *a, const struct openai_model *m, size_t n)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("object"));
    json_put_str(&o, S("list"));
    json_put_key(&o, S("data"));
    json_open(&o, '[');
    for (size_t i = 0; i < n; i++)
        put_model(&o, &m[i]);
    json_close(&o, ']');
    json_close(&o, '}');
    return settle(a, &o, no_memory);
}

str openai_model_body(struct arena *a, const struct openai_model *m)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    put_model(&o, m);
    return settle(a, &o, no_memory);
}

/* ---- the engine's stream ---- */

/* Up to "choices":[ : id, object, created, model, fingerprint. */
static void put_common(struct json_out *o, const struct openai_writer *w, str object)
{
    json_open(o, '{');
    json_put_key(o, S("id"));
    json_put_str(o, w->id);
    json_put_key(o, S("object"));
    json_put_str(o, object);
    json_put_key(o, S("created"));
    json_put_i64(o, w->created);
    json_put_key(o, S("model"));
    json_put_str(o, w->model);
    json_put_key(o, S("system_fingerprint"));
    text_or_null(o, w->fingerprint);
    json_put_key(o, S("choices"));
    json_open(o, '[');
}

static void put_number(struct json_out *o, str key, int64_t v)
{
    json_put_key(o, key);
    json_put_i64(o, v);
}

static void put_usage(struct json_out *o, const struct openai_usage *u)
{
    json_open(o, '{');
    put_number(o, S("prompt_tokens"), u->prompt);
    put_number(o, S("completion_tokens"), u->completion);
    put_number(o, S("total_tokens"), u->prompt + u->completion);
    json_put_key(o, S("prompt_tokens_details"));
    json_open(o, '{');
    put_number(o, S("cached_tokens"), u->cached);
    json_close(o, '}');
    json_put_key(o, S("completion_tokens_details"));
    json_open(o, '{');
    put_number(o, S("accepted_prediction_tokens"), u->accepted);
    put_number(o, S("rejected_prediction_tokens"), u->rejected);
    json_close(o, '}');
    json_close(o, '}');
}

struct delta {
    int64_t choice;
    bool role;
    const str *text;
    const struct openai_call *call;     /* with an id: its beginning */
    size_t call_index;
    str finish, logprobs;
};

/* In a stream (index from 0) the id and the name stand in the first piece only; a whole call has no index. */
static void put_call(struct json_out *o, const struct openai_call *c, int64_t index)
{
    json_open(o, '{');
    if (index >= 0) {
        json_put_key(o, S("index"));
        json_put_i64(o, index);
    }
    if (c->id.n) {
        json_put_text(o, S("id"), c->id);
        json_put_text(o, S("type"), S("function"));
    }
    json_put_key(o, S("function"));
    json_open(o, '{');
    if (c->id.n)
        json_put_text(o, S("name"), c->name);
    json_put_text(o, S("arguments"), c->arguments);
    json_close(o, '}');
    json_close(o, '}');
}

static void put_chat_delta(struct json_out *o, const struct delta *d)
{
    json_put_key(o, S("delta"));
    json_open(o, '{');
    if (d->role)
        json_put_text(o, S("role"), S("assistant"));
    if (d->text || d->role)
        json_put_text(o, S("content"), d->text ? *d->text : S(""));
    if (d->call) {
        json_put_key(o, S("tool_calls"));
        json_open(o, '[');
        put_call(o, d->call, (int64_t)d->call_index);
        json_close(o, ']');
    }
    json_close(o, '}');
}

static void put_logprobs(struct json_out *o, str logprobs)
{
    json_put_key(o, S("logprobs"));
    if (logprobs.n)
        json_put_raw(o, logprobs);
    else
        json_put_null(o);
}

static enum err put_chunk(struct buf *b, const struct openai_writer *w, const struct delta *d, const struct openai_usage *u)
{
    struct json_out o;
    enum err e = buf_put(b, S("data: "));
    if (e)
        return e;
    json_out_init(&o, b);
    put_common(&o, w, w->is_chat ? S("chat.completion.chunk") : S("text_completion"));
    if (d) {
        json_open(&o, '{');
        json_put_key(&o, S("index"));
        json_put_i64(&o, d->choice);
        if (w->is_chat) {
            put_chat_delta(&o, d);
        } else {
            json_put_key(&o, S("text"));
            json_put_str(&o, d->text ? *d->text : S(""));
        }
        put_logprobs(&o, d->logprobs);
        json_put_key(&o, S("finish_reason"));
        text_or_null(&o, d->finish);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    if (d && d->role && w->prompt_tokens > 0) {
        json_put_key(&o, S("hearth"));
        json_open(&o, '{');
        json_put_key(&o, S("prompt_tokens"));
        json_put_i64(&o, w->prompt_tokens);
        json_close(&o, '}');
    }
    if (w->include_usage) {
        json_put_key(&o, S("usage"));
        if (u)
            put_usage(&o, u);
        else
            json_put_null(&o);
    }
    json_close(&o, '}');
    return o.err ? o.err : buf_put(b, S("\n\n"));
}

enum err openai_write_first(struct buf *b, const struct openai_writer *w, int64_t choice)
{
    return put_chunk(b, w, &(struct delta){ .choice = choice, .role = true }, NULL);
}

enum err openai_write_delta(struct buf *b, const struct openai_writer *w, int64_t choice, str text, str logprobs)
{
    return put_chunk(b, w, &(struct delta){ .choice = choice, .text = &text, .logprobs = logprobs }, NULL);
}

enum err openai_write_call(struct buf *b, const struct openai_writer *w, int64_t choice, size_t index, str id, str name)
{
    return put_chunk(b, w, &(struct delta){ .choice = choice, .call = &(struct openai_call){ id, name, S("") }, .call_index = index }, NULL);
}

enum err openai_write_arguments(struct buf *b, const struct openai_writer *w, int64_t choice, size_t index, str fragment)
{
    return put_chunk(b, w, &(struct delta){ .choice = choice, .call = &(struct openai_call){ .arguments = fragment }, .call_index = index }, NULL);
}

enum err openai_write_finish(struct buf *b, const struct openai_writer *w, int64_t choice, str finish_reason)
{
    return put_chunk(b, w, &(struct delta){ .choice = choice, .finish = finish_reason }, NULL);
}

enum err openai_write_usage(struct buf *b, const struct openai_writer *w, const struct openai_usage *u) { return put_chunk(b, w, NULL, u); }
enum err openai_write_done(struct buf *b) { return buf_put(b, S("data: [DONE]\n\n")); }

static void put_whole_calls(struct json_out *o, const struct openai_choice *c)
{
    if (!c->n_calls)
        return;
    json_put_key(o, S("tool_calls"));
    json_open(o, '[');
    for (size_t i = 0; i < c->n_calls; i++)
        put_call(o, &c->calls[i], -1);
    json_close(o, ']');
}

static void put_whole_choice(struct json_out *o, const struct openai_writer *w, size_t i, const struct openai_choice *c)
{
    json_open(o, '{');
    json_put_key(o, S("index"));
    json_put_i64(o, (int64_t)i);
    if (w->is_chat) {
        json_put_key(o, S("message"));
        json_open(o, '{');
        json_put_text(o, S("role"), S("assistant"));
        json_put_key(o, S("content"));
        if (c->text.n || !c->n_calls)
            json_put_str(o, c->text);
        else
            json_put_null(o);
        json_put_key(o, S("refusal"));
        json_put_null(o);
        put_whole_calls(o, c);
        json_close(o, '}');
    } else {
        json_put_key(o, S("text"));
        json_put_str(o, c->text);
    }
    put_logprobs(o, c->logprobs);
    json_put_key(o, S("finish_reason"));
    text_or_null(o, c->finish_reason);
    json_close(o, '}');
}

enum err openai_write_reply(struct buf *b, const struct openai_writer *w, const struct openai_choice *choices, size_t n, const struct openai_usage *u)
{
    struct json_out o;
    json_out_init(&o, b);
    put_common(&o, w, w->is_chat ? S("chat.completion") : S("text_completion"));
    for (size_t i = 0; i < n; i++)
        put_whole_choice(&o, w, i, &choices[i]);
    json_close(&o, ']');
    json_put_key(&o, S("usage"));
    put_usage(&o, u);
    json_close(&o, '}');
    return o.err;
}
