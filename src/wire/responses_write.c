/* wire/responses_write.c: what a client of the Responses API is given. An item for each block of the answer. */
#include "wire/responses.h"

#include "wire/codec.h"

enum { BODY_MAX = 64 << 20 };

static void put_null(struct json_out *o, str key)
{
    json_put_key(o, key);
    json_put_null(o);
}

static void put_number(struct json_out *o, str key, int64_t v)
{
    json_put_key(o, key);
    json_put_i64(o, v > 0 ? v : 0);
}

/* The request's own value, or what stands for "not said". */
static void put_asked(struct json_out *o, const struct call *c, str key, str otherwise)
{
    json v = c ? json_member(c->root, key) : JSON_ABSENT;
    json_put_key(o, key);
    json_put_raw(o, codec_absent(v) ? otherwise : json_span(v));
}

void responses_writer_free(struct responses_writer *w)
{
    if (w->init)
        answer_free(&w->answer);
    w->init = false;
}

/* ---- items ---- */

static void put_item_id(struct json_out *o, const struct responses_writer *w, enum block_kind kind, size_t index)
{
    static const str prefix[] = { S("msg_"), S("msg_"), S("rs_"), S("fc_") };    /* by enum block_kind */
    char id[96];
    str own = str_starts(w->id, S("resp_")) ? str_skip(w->id, 5) : w->id;
    int n = snprintf(id, sizeof id, "%.*s%.*s_%zu", STR_ARG(prefix[kind]), (int)(own.n < 48 ? own.n : 48), own.p, index);
    json_put_str(o, str_slice(id, (size_t)n));
}

static void put_part(struct json_out *o, enum block_kind kind, str text)
{
    json_open(o, '{');
    if (kind == BLOCK_REFUSAL) {
        json_put_text(o, S("type"), S("refusal"));
        json_put_text(o, S("refusal"), text);
    } else if (kind == BLOCK_THINKING) {
        json_put_text(o, S("type"), S("summary_text"));
        json_put_text(o, S("text"), text);
    } else {
        json_put_text(o, S("type"), S("output_text"));
        json_put_text(o, S("text"), text);
        json_put_key(o, S("annotations"));
        json_put_raw(o, S("[]"));
        json_put_key(o, S("logprobs"));
        json_put_raw(o, S("[]"));
    }
    json_close(o, '}');
}

enum item { ITEM_BEGUN, ITEM_DONE, ITEM_CUT };

/* ITEM_BEGUN: without its text, which follows. */
static void put_item(struct json_out *o, const struct responses_writer *w, const struct answer_block *k, size_t index, enum item state)
{
    static const str states[] = { S("in_progress"), S("completed"), S("incomplete") };
    bool done = state != ITEM_BEGUN;
    str text = done ? buf_str(&k->text) : S("");
    json_open(o, '{');
    json_put_key(o, S("id"));
    put_item_id(o, w, k->kind, index);
    json_put_text(o, S("type"), k->kind == BLOCK_TOOL ? S("function_call") : k->kind == BLOCK_THINKING ? S("reasoning") : S("message"));
    json_put_text(o, S("status"), states[state]);
    if (k->kind == BLOCK_TOOL) {
        json_put_text(o, S("call_id"), k->id);
        json_put_text(o, S("name"), k->name);
        json_put_text(o, S("arguments"), done && !text.n ? S("{}") : text);
    } else {
        if (k->kind != BLOCK_THINKING)
            json_put_text(o, S("role"), S("assistant"));
        json_put_key(o, k->kind == BLOCK_THINKING ? S("summary") : S("content"));
        json_open(o, '[');
        if (done)
            put_part(o, k->kind, text);
        json_close(o, ']');
    }
    json_close(o, '}');
}

/* ---- the response object ---- */

static void put_usage(struct json_out *o, const struct reply *r)
{
    json_put_key(o, S("usage"));
    json_open(o, '{');
    put_number(o, S("input_tokens"), r->prompt_tokens);
    json_put_key(o, S("input_tokens_details"));
    json_open(o, '{');
    put_number(o, S("cached_tokens"), r->cached_tokens);
    put_number(o, S("cache_write_tokens"), r->cache_write_tokens);
    json_close(o, '}');
    put_number(o, S("output_tokens"), r->completion_tokens);
    json_put_key(o, S("output_tokens_details"));
    json_open(o, '{');
    put_number(o, S("reasoning_tokens"), r->reasoning_tokens);
    json_close(o, '}');
    put_number(o, S("total_tokens"), (r->prompt_tokens > 0 ? r->prompt_tokens : 0) + (r->completion_tokens > 0 ? r->completion_tokens : 0));
    json_close(o, '}');
}

static const struct answer_choice *first_choice(const struct answer *answer)
{
    static const struct answer_choice nothing;
    return answer && answer->n ? &answer->choices[0] : &nothing;
}

/* Why it is not complete, in this API's words; empty: it is. */
static str incomplete(str finish)
{
    return str_eq(finish, S("length")) ? S("max_output_tokens") : str_eq(finish, S("content_filter")) ? S("content_filter") : S("");
}

static void put_error(struct json_out *o, enum err e, str message)
{
    json_put_key(o, S("error"));
    if (e == ERR_OK) {
        json_put_null(o);
        return;
    }
    json_open(o, '{');
    json_put_text(o, S("code"), e == ERR_BUSY ? S("rate_limit_exceeded") : S("server_error"));
    json_put_text(o, S("message"), message.n ? message : str_of(err_text(e)));
    json_close(o, '}');
}

static void put_outcome(struct json_out *o, str status, str why)
{
    json_put_text(o, S("status"), status);
    json_put_key(o, S("incomplete_details"));
    if (!why.n) {
        json_put_null(o);
        return;
    }
    json_open(o, '{');
    json_put_text(o, S("reason"), why);
    json_close(o, '}');
}

/* `answer` NULL: nothing of it yet. */
static void put_response(struct json_out *o, const struct responses_writer *w, const struct reply *r, const struct answer *answer, str status, enum err e, str message)
{
    const struct answer_choice *c = first_choice(answer);
    bool ended = str_eq(status, S("completed"));
    str why = ended ? incomplete(c->finish) : S("");
    json_open(o, '{');
    json_put_text(o, S("id"), w->id);
    json_put_text(o, S("object"), S("response"));
    json_put_key(o, S("created_at"));
    json_put_i64(o, w->created);
    put_outcome(o, why.n ? S("incomplete") : status, why);
    put_error(o, e, message);
    json_put_text(o, S("model"), w->model);
    json_put_key(o, S("output"));
    json_open(o, '[');
    for (size_t i = 0; i < c->n; i++)
        put_item(o, w, &c->blocks[i], i, i + 1 == c->n && (!ended || why.n) ? ITEM_CUT : ITEM_DONE);
    json_close(o, ']');
    put_asked(o, w->call, S("instructions"), S("null"));
    put_asked(o, w->call, S("max_output_tokens"), S("null"));
    put_asked(o, w->call, S("metadata"), S("{}"));
    put_asked(o, w->call, S("parallel_tool_calls"), S("true"));
    put_asked(o, w->call, S("reasoning"), S("null"));
    put_asked(o, w->call, S("temperature"), S("null"));
    put_asked(o, w->call, S("text"), S("{\"format\":{\"type\":\"text\"}}"));
    put_asked(o, w->call, S("tool_choice"), S("\"auto\""));
    put_asked(o, w->call, S("tools"), S("[]"));
    put_asked(o, w->call, S("top_p"), S("null"));
    json_put_text(o, S("truncation"), S("disabled"));
    put_null(o, S("previous_response_id"));
    json_put_key(o, S("store"));
    json_put_bool(o, false);
    if (ended && reply_has_usage(r))
        put_usage(o, r);
    else
        put_null(o, S("usage"));
    json_close(o, '}');
}

/* ---- a stream ---- */

static enum err event_open(struct responses_writer *w, struct json_out *o, struct buf *b, str type)
{
    enum err e = buf_put(b, S("event: "));
    if (!e)
        e = buf_put(b, type);
    if (!e)
        e = buf_put(b, S("\ndata: "));
    json_out_init(o, b);
    o->err = e;
    json_open(o, '{');
    json_put_text(o, S("type"), type);
    json_put_key(o, S("sequence_number"));
    json_put_i64(o, w->sequence++);
    return e;
}

static enum err event_close(struct json_out *o)
{
    json_close(o, '}');
    return o->err ? o->err : buf_put(o->b, S("\n\n"));
}

static enum err write_response(struct responses_writer *w, struct buf *b, const struct reply *r, const struct answer *answer, str type, str status, enum err e, str message)
{
    struct json_out o;
    (void)event_open(w, &o, b, type);
    json_put_key(&o, S("response"));
    put_response(&o, w, r, answer, status, e, message);
    return event_close(&o);
}

static const struct answer_block *last_block(const struct responses_writer *w, size_t *index)
{
    const struct answer_choice *c = first_choice(&w->answer);
    *index = c->n ? c->n - 1 : 0;
    return c->n ? &c->blocks[c->n - 1] : NULL;
}

static enum err write_item(struct responses_writer *w, struct buf *b, str type, const struct answer_block *k, size_t index, bool done)
{
    struct json_out o;
    (void)event_open(w, &o, b, type);
    json_put_key(&o, S("output_index"));
    json_put_i64(&o, (int64_t)index);
    json_put_key(&o, S("item"));
    put_item(&o, w, k, index, !done ? ITEM_BEGUN : incomplete(first_choice(&w->answer)->finish).n ? ITEM_CUT : ITEM_DONE);
    return event_close(&o);
}

static void put_place(struct json_out *o, const struct responses_writer *w, const struct answer_block *k, size_t index)
{
    json_put_key(o, S("item_id"));
    put_item_id(o, w, k->kind, index);
    json_put_key(o, S("output_index"));
    json_put_i64(o, (int64_t)index);
    if (k->kind != BLOCK_TOOL) {
        json_put_key(o, k->kind == BLOCK_THINKING ? S("summary_index") : S("content_index"));
        json_put_i64(o, 0);
    }
}

static enum err write_part(struct responses_writer *w, struct buf *b, str type, const struct answer_block *k, size_t index, str text)
{
    struct json_out o;
    (void)event_open(w, &o, b, type);
    put_place(&o, w, k, index);
    json_put_key(&o, S("part"));
    put_part(&o, k->kind, text);
    return event_close(&o);
}

/* A delta or the whole text of an item: the names of the events and of their field, by enum block_kind. */
static const struct { str part_added, part_done, delta, done, field; } names[] = {
    { S("response.content_part.added"), S("response.content_part.done"), S("response.output_text.delta"), S("response.output_text.done"), S("text") },
    { S("response.content_part.added"), S("response.content_part.done"), S("response.refusal.delta"), S("response.refusal.done"), S("refusal") },
    { S("response.reasoning_summary_part.added"), S("response.reasoning_summary_part.done"), S("response.reasoning_summary_text.delta"),
      S("response.reasoning_summary_text.done"), S("text") },
    { STR_NONE, STR_NONE, S("response.function_call_arguments.delta"), S("response.function_call_arguments.done"), S("arguments") },
};

static enum err write_text(struct responses_writer *w, struct buf *b, const struct answer_block *k, size_t index, str text, bool done)
{
    struct json_out o;
    (void)event_open(w, &o, b, done ? names[k->kind].done : names[k->kind].delta);
    put_place(&o, w, k, index);
    json_put_text(&o, done ? names[k->kind].field : S("delta"), text);
    if (k->kind == BLOCK_TOOL && done)
        json_put_text(&o, S("name"), k->name);
    if (k->kind == BLOCK_TEXT) {
        json_put_key(&o, S("logprobs"));
        json_put_raw(&o, S("[]"));
    }
    return event_close(&o);
}

static enum err close_item(struct responses_writer *w, struct buf *b)
{
    size_t index;
    const struct answer_block *k = last_block(w, &index);
    if (!w->open || !k)
        return ERR_OK;
    w->open = false;
    str text = buf_str(&k->text);
    enum err e = write_text(w, b, k, index, k->kind == BLOCK_TOOL && !text.n ? S("{}") : text, true);
    if (!e && k->kind != BLOCK_TOOL)
        e = write_part(w, b, names[k->kind].part_done, k, index, text);
    return e ? e : write_item(w, b, S("response.output_item.done"), k, index, true);
}

/* Adds the delta to the answer; where that begins a block, the item before it ends and a new one begins. */
static enum err add(struct responses_writer *w, struct buf *b, const struct delta *d, enum block_kind kind)
{
    size_t index, before;
    const struct answer_block *k = last_block(w, &before);
    bool fresh = !k || k->kind != kind || d->kind == DELTA_TOOL_START;
    enum err e = fresh ? close_item(w, b) : ERR_OK;
    answer_add(&w->answer, d);
    if (e || w->answer.err)
        return e ? e : w->answer.err;
    k = last_block(w, &index);
    if (!k || (d->kind == DELTA_TOOL_ARGS && k->kind != BLOCK_TOOL))
        return ERR_UPSTREAM;
    if (!w->open) {
        w->open = true;
        e = write_item(w, b, S("response.output_item.added"), k, index, false);
        if (!e && kind != BLOCK_TOOL)
            e = write_part(w, b, names[kind].part_added, k, index, S(""));
    }
    return e || !d->text.n ? e : write_text(w, b, k, index, d->text, false);
}

/* A fragment of a call that is not the last one has no open item any more. */
static bool is_last_tool(const struct responses_writer *w, const struct delta *d)
{
    const struct answer_choice *c = first_choice(&w->answer);
    int64_t tools = 0;
    for (size_t i = 0; i < c->n; i++)
        tools += c->blocks[i].kind == BLOCK_TOOL;
    return w->open && c->n && c->blocks[c->n - 1].kind == BLOCK_TOOL && d->index == tools - 1;
}

static enum err write_end(struct responses_writer *w, struct buf *b, const struct reply *r)
{
    enum err e = close_item(w, b);
    bool cut = incomplete(first_choice(&w->answer)->finish).n > 0;
    return e ? e : write_response(w, b, r, &w->answer, cut ? S("response.incomplete") : S("response.completed"), S("completed"), ERR_OK, STR_NONE);
}

static enum err write_delta(struct responses_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d)
{
    enum err e = ERR_OK;
    if (!w->init) {
        answer_init(&w->answer, a, BODY_MAX);
        w->init = true;
        e = write_response(w, b, r, NULL, S("response.created"), S("in_progress"), ERR_OK, STR_NONE);
        if (!e)
            e = write_response(w, b, r, NULL, S("response.in_progress"), S("in_progress"), ERR_OK, STR_NONE);
    }
    if (e || d->choice > 0)
        return e;
    switch (d->kind) {
    case DELTA_TEXT:       return add(w, b, d, BLOCK_TEXT);
    case DELTA_REFUSAL:    return add(w, b, d, BLOCK_REFUSAL);
    case DELTA_THINKING:   return d->text.n ? add(w, b, d, BLOCK_THINKING) : ERR_OK;
    case DELTA_TOOL_START: return add(w, b, d, BLOCK_TOOL);
    case DELTA_TOOL_ARGS:  return is_last_tool(w, d) ? add(w, b, d, BLOCK_TOOL) : ERR_UPSTREAM;
    case DELTA_FINISH:     answer_add(&w->answer, d); return w->answer.err;
    case DELTA_END:        return write_end(w, b, r);
    default:               return ERR_OK;
    }
}

enum err responses_write_delta(struct responses_writer *w, struct arena *a, struct buf *b, const struct reply *r, const struct delta *d)
{
    enum err e = write_delta(w, a, b, r, d);
    return codec_end(a, NULL, e);
}

enum err responses_write_reply(struct buf *b, const struct responses_writer *w, const struct reply *r, const struct answer *answer)
{
    struct json_out o;
    json_out_init(&o, b);
    put_response(&o, w, r, answer, S("completed"), ERR_OK, STR_NONE);
    return o.err;
}

str responses_error_event(struct arena *a, struct responses_writer *w, enum err e, str message)
{
    struct buf b;
    struct json_out o;
    struct reply none;
    reply_init(&none);
    buf_init(&b, BODY_MAX);
    enum err bad = write_response(w, &b, &none, w->init ? &w->answer : NULL, S("response.failed"), S("failed"), e, message);
    if (!bad) {
        (void)event_open(w, &o, &b, S("error"));
        json_put_text(&o, S("code"), *err_code(e) ? str_of(err_code(e)) : S("server_error"));
        json_put_text(&o, S("message"), message.n ? message : str_of(err_text(e)));
        put_null(&o, S("param"));
        bad = event_close(&o);
    }
    return codec_settle(a, &b, bad, S("event: error\ndata: {\"type\":\"error\",\"code\":\"out_of_memory\",\"message\":\"out of memory\",\"param\":null,\"sequence_number\":0}\n\n"));
}
