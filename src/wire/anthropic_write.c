/* wire/anthropic_write.c: what a client of the Messages API is given. */
#include "wire/anthropic.h"

#include "wire/codec.h"

enum { BODY_MAX = 64 << 20, OPEN_NONE = 0, OPEN_TEXT, OPEN_THINKING, OPEN_TOOL };

static void put_count(struct json_out *o, str key, int64_t n)
{
    json_put_key(o, key);
    json_put_i64(o, n > 0 ? n : 0);
}

/* ---- usage and reasons ---- */

/* The other way round from read_usage(): what came from the cache is not input here. */
static void put_usage(struct json_out *o, const struct reply *r, int64_t guess, int64_t output)
{
    int64_t cached = r->cached_tokens > 0 ? r->cached_tokens : 0, written = r->cache_write_tokens > 0 ? r->cache_write_tokens : 0;
    int64_t input = r->prompt_tokens == TOKENS_UNKNOWN ? guess : r->prompt_tokens - cached - written;
    json_put_key(o, S("usage"));
    json_open(o, '{');
    put_count(o, S("input_tokens"), input);
    put_count(o, S("cache_creation_input_tokens"), written);
    put_count(o, S("cache_read_input_tokens"), cached);
    put_count(o, S("output_tokens"), output);
    json_close(o, '}');
}

static str stop_reason(str finish, str stop_sequence)
{
    if (str_eq(finish, S("length")))
        return S("max_tokens");
    if (str_eq(finish, S("tool_calls")) || str_eq(finish, S("function_call")))
        return S("tool_use");
    if (str_eq(finish, S("content_filter")))
        return S("refusal");
    return stop_sequence.n ? S("stop_sequence") : S("end_turn");
}

/* ---- a stream ---- */

static enum err event_open(struct json_out *o, struct buf *b, str type)
{
    enum err e = buf_put(b, S("event: "));
    if (!e)
        e = buf_put(b, type);
    if (!e)
        e = buf_put(b, S("\ndata: "));
    json_out_init(o, b);
    json_open(o, '{');
    json_put_text(o, S("type"), type);
    return e;
}

static enum err event_close(struct json_out *o)
{
    json_close(o, '}');
    return o->err ? o->err : buf_put(o->b, S("\n\n"));
}

static enum err write_start(struct anthropic_writer *w, struct buf *b, const struct reply *r)
{
    struct json_out o;
    enum err e = event_open(&o, b, S("message_start"));
    json_put_key(&o, S("message"));
    json_open(&o, '{');
    json_put_text(&o, S("id"), w->id);
    json_put_text(&o, S("type"), S("message"));
    json_put_text(&o, S("role"), S("assistant"));
    json_put_text(&o, S("model"), w->model);
    json_put_key(&o, S("content"));
    json_put_raw(&o, S("[]"));
    json_put_text_or_null(&o, S("stop_reason"), STR_NONE);
    json_put_text_or_null(&o, S("stop_sequence"), STR_NONE);
    put_usage(&o, r, w->input_tokens, 1);       /* as Anthropic does: the first token is on its way */
    json_close(&o, '}');
    w->started = true;
    return e ? e : event_close(&o);
}

static enum err write_block_stop(struct anthropic_writer *w, struct buf *b)
{
    struct json_out o;
    if (w->open == OPEN_NONE)
        return ERR_OK;
    enum err e = event_open(&o, b, S("content_block_stop"));
    json_put_key(&o, S("index"));
    json_put_i64(&o, w->block++);
    w->open = OPEN_NONE;
    return e ? e : event_close(&o);
}

/* Opens a block of this kind; `d` names the tool, or holds the sealed text of redacted thinking. */
static enum err write_block_start(struct anthropic_writer *w, struct buf *b, int kind, const struct delta *d)
{
    struct json_out o;
    enum err e = write_block_stop(w, b);
    if (!e)
        e = event_open(&o, b, S("content_block_start"));
    if (e)
        return e;
    json_put_key(&o, S("index"));
    json_put_i64(&o, w->block);
    json_put_key(&o, S("content_block"));
    json_open(&o, '{');
    if (kind == OPEN_TOOL) {
        json_put_text(&o, S("type"), S("tool_use"));
        json_put_text(&o, S("id"), d->id);
        json_put_text(&o, S("name"), d->name);
        json_put_key(&o, S("input"));
        json_put_raw(&o, S("{}"));
        w->tool = d->index;
    } else if (kind == OPEN_THINKING && d->id.n) {
        json_put_text(&o, S("type"), S("redacted_thinking"));
        json_put_text(&o, S("data"), d->id);
    } else if (kind == OPEN_THINKING) {
        json_put_text(&o, S("type"), S("thinking"));
        json_put_text(&o, S("thinking"), S(""));
        json_put_text(&o, S("signature"), S(""));
    } else {
        json_put_text(&o, S("type"), S("text"));
        json_put_text(&o, S("text"), S(""));
    }
    json_close(&o, '}');
    w->open = kind;
    return event_close(&o);
}

static enum err write_piece(struct anthropic_writer *w, struct buf *b, str type, str field, str text)
{
    struct json_out o;
    enum err e = event_open(&o, b, S("content_block_delta"));
    json_put_key(&o, S("index"));
    json_put_i64(&o, w->block);
    json_put_key(&o, S("delta"));
    json_open(&o, '{');
    json_put_text(&o, S("type"), type);
    json_put_text(&o, field, text);
    json_close(&o, '}');
    return e ? e : event_close(&o);
}

static enum err write_in(struct anthropic_writer *w, struct buf *b, int kind, const struct delta *d, str type, str field)
{
    enum err e = w->open == kind ? ERR_OK : write_block_start(w, b, kind, &(struct delta){ .kind = d->kind });
    return e || !d->text.n ? e : write_piece(w, b, type, field, d->text);
}

static enum err write_thinking(struct anthropic_writer *w, struct buf *b, const struct delta *d)
{
    if (!d->id.n)
        return write_in(w, b, OPEN_THINKING, d, S("thinking_delta"), S("thinking"));
    enum err e = write_block_start(w, b, OPEN_THINKING, d);
    return e ? e : write_block_stop(w, b);
}

/* Blocks follow each other here: a piece of a tool call that is not the open one has no place any more. */
static enum err write_args(struct anthropic_writer *w, struct buf *b, const struct delta *d)
{
    if (w->open != OPEN_TOOL || w->tool != d->index)
        return ERR_UPSTREAM;
    return d->text.n ? write_piece(w, b, S("input_json_delta"), S("partial_json"), d->text) : ERR_OK;
}

static enum err write_end(struct anthropic_writer *w, struct buf *b, const struct reply *r)
{
    struct json_out o;
    enum err e = write_block_stop(w, b);
    if (!e)
        e = event_open(&o, b, S("message_delta"));
    if (e)
        return e;
    json_put_key(&o, S("delta"));
    json_open(&o, '{');
    json_put_text(&o, S("stop_reason"), stop_reason(w->finish, w->stop_sequence));
    json_put_text_or_null(&o, S("stop_sequence"), w->stop_sequence);
    json_close(&o, '}');
    put_usage(&o, r, w->input_tokens, r->completion_tokens);
    if ((e = event_close(&o)) || (e = event_open(&o, b, S("message_stop"))))
        return e;
    w->stopped = true;
    return event_close(&o);
}

static enum err write_delta(struct anthropic_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d)
{
    if (d->kind == DELTA_START)
        return ERR_OK;                  /* message_start says how long the prompt is: it waits until the upstream may know */
    enum err e = w->started || w->stopped ? ERR_OK : write_start(w, b, r);
    if (e || w->stopped || d->choice > 0)
        return e;                       /* this API has one choice */
    switch (d->kind) {
    case DELTA_START:
    case DELTA_USAGE:      return ERR_OK;       /* known with the end */
    case DELTA_TEXT:
    case DELTA_REFUSAL:    return write_in(w, b, OPEN_TEXT, d, S("text_delta"), S("text"));
    case DELTA_THINKING:   return write_thinking(w, b, d);
    case DELTA_SIGNATURE:  return write_in(w, b, OPEN_THINKING, d, S("signature_delta"), S("signature"));
    case DELTA_TOOL_START: return write_block_start(w, b, OPEN_TOOL, d);
    case DELTA_TOOL_ARGS:  return write_args(w, b, d);
    case DELTA_FINISH:
        w->finish = arena_str(a, d->text);
        w->stop_sequence = d->name.n ? arena_str(a, d->name) : STR_NONE;
        return ERR_OK;
    case DELTA_END:        return write_end(w, b, r);
    }
    return ERR_INTERNAL;
}

enum err anthropic_write_delta(struct anthropic_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d)
{
    enum err e = write_delta(w, a, b, r, d);
    return codec_end(a, NULL, e);
}

enum err anthropic_write_ping(struct buf *b) { return buf_put(b, S("event: ping\ndata: {\"type\":\"ping\"}\n\n")); }

/* ---- a whole reply ---- */

static void put_block(struct json_out *o, const struct answer_block *k)
{
    json_open(o, '{');
    switch (k->kind) {
    case BLOCK_TEXT:
    case BLOCK_REFUSAL:
        json_put_text(o, S("type"), S("text"));
        json_put_text(o, S("text"), buf_str(&k->text));
        break;
    case BLOCK_THINKING:
        json_put_text(o, S("type"), k->id.n ? S("redacted_thinking") : S("thinking"));
        if (k->id.n) {
            json_put_text(o, S("data"), k->id);
        } else {
            json_put_text(o, S("thinking"), buf_str(&k->text));
            json_put_text(o, S("signature"), k->signature);
        }
        break;
    case BLOCK_TOOL: {
        str args = buf_str(&k->text);
        json_put_text(o, S("type"), S("tool_use"));
        json_put_text(o, S("id"), k->id);
        json_put_text(o, S("name"), k->name);
        json_put_key(o, S("input"));
        json_put_raw(o, args.n ? args : S("{}"));
        break;
    }
    }
    json_close(o, '}');
}

/* Arguments were put together from pieces: only an object may stand in the reply. */
static bool args_are_objects(struct arena *a, const struct answer_choice *c)
{
    for (size_t i = 0; i < c->n; i++) {
        str args = buf_str(&c->blocks[i].text);
        json v;
        if (c->blocks[i].kind == BLOCK_TOOL && args.n && (json_parse(a, args, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT))
            return false;
    }
    return true;
}

enum err anthropic_write_reply(struct buf *b, const struct anthropic_writer *w, const struct reply *r, const struct answer *answer)
{
    static const struct answer_choice nothing;
    const struct answer_choice *c = answer->n ? &answer->choices[0] : &nothing;
    struct json_out o;
    if (!args_are_objects(answer->a, c))
        return ERR_UPSTREAM;
    json_out_init(&o, b);
    json_open(&o, '{');
    json_put_text(&o, S("id"), w->id);
    json_put_text(&o, S("type"), S("message"));
    json_put_text(&o, S("role"), S("assistant"));
    json_put_text(&o, S("model"), w->model);
    json_put_key(&o, S("content"));
    json_open(&o, '[');
    for (size_t i = 0; i < c->n; i++)
        put_block(&o, &c->blocks[i]);
    json_close(&o, ']');
    json_put_text(&o, S("stop_reason"), stop_reason(c->finish, c->stop_sequence));
    json_put_text_or_null(&o, S("stop_sequence"), c->stop_sequence);
    put_usage(&o, r, w->input_tokens, r->completion_tokens);
    json_close(&o, '}');
    return o.err;
}

str anthropic_count_body(struct arena *a, int64_t tokens) { return arena_printf(a, "{\"input_tokens\":%lld}", (long long)tokens); }

/* ---- errors ---- */

/* Anthropic API reference, "Errors". */
static str type_of_status(int status)
{
    switch (status) {
    case 401: return S("authentication_error");
    case 402: return S("billing_error");
    case 403: return S("permission_error");
    case 404: return S("not_found_error");
    case 413: return S("request_too_large");
    case 429: return S("rate_limit_error");
    case 504: return S("timeout_error");
    case 529: return S("overloaded_error");
    default:  return status >= 400 && status < 500 ? S("invalid_request_error") : S("api_error");
    }
}

static str error_body(struct arena *a, str type, str message, str request_id)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_text(&o, S("type"), S("error"));
    json_put_key(&o, S("error"));
    json_open(&o, '{');
    json_put_text(&o, S("type"), type);
    json_put_text(&o, S("message"), message);
    json_close(&o, '}');
    json_put_text_or_null(&o, S("request_id"), request_id);
    json_close(&o, '}');
    return codec_settle(a, &b, o.err, S("{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"out of memory\"},\"request_id\":null}"));
}

str anthropic_error_body(struct arena *a, enum err e, str message, str request_id)
{
    return error_body(a, type_of_status(err_http(e)), message.n ? message : str_of(err_text(e)), request_id);
}

str anthropic_error_from(struct arena *a, const struct reply *r, str request_id)
{
    str message = r->error_message.n ? r->error_message : arena_printf(a, "the upstream answered with status %d", r->error_status);
    return error_body(a, type_of_status(r->error_status), message, request_id);
}

str anthropic_error_event(struct arena *a, enum err e, str message, str request_id)
{
    str body = anthropic_error_body(a, e, message, request_id);
    str ev = arena_printf(a, "event: error\ndata: %.*s\n\n", STR_ARG(body));
    return ev.p ? ev : S("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"out of memory\"}}\n\n");
}

/* ---- models ---- */

static void put_model(struct json_out *o, const struct openai_model *m)
{
    json_open(o, '{');
    json_put_text(o, S("type"), S("model"));
    json_put_text(o, S("id"), m->id);
    json_put_text(o, S("display_name"), m->id);
    json_put_text(o, S("created_at"), S("1970-01-01T00:00:00Z"));     /* "an epoch value if the release date is unknown" */
    json_close(o, '}');
}

str anthropic_models_body(struct arena *a, const struct openai_model *m, size_t n)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("data"));
    json_open(&o, '[');
    for (size_t i = 0; i < n; i++)
        put_model(&o, &m[i]);
    json_close(&o, ']');
    json_put_key(&o, S("has_more"));
    json_put_bool(&o, false);
    json_put_text_or_null(&o, S("first_id"), n ? m[0].id : STR_NONE);
    json_put_text_or_null(&o, S("last_id"), n ? m[n - 1].id : STR_NONE);
    json_close(&o, '}');
    return codec_settle(a, &b, o.err, S("{\"data\":[],\"has_more\":false,\"first_id\":null,\"last_id\":null}"));
}

str anthropic_model_body(struct arena *a, const struct openai_model *m)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, BODY_MAX);
    json_out_init(&o, &b);
    put_model(&o, m);
    return codec_settle(a, &b, o.err, S("{}"));
}
