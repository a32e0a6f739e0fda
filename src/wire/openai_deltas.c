/* wire/openai_deltas.c: chat completions as pieces of an answer: read from an upstream, written for a client. */
#include "wire/openai_chat.h"

#include "wire/codec.h"

enum { CHOICES = 8 };                   /* answers at a time that are translated; a forward has no such bound */

/* ---- reading ---- */

static str finish_word(json v, bool called)
{
    static const str words[] = { S("stop"), S("length"), S("tool_calls"), S("content_filter") };
    if (json_is(v, S("function_call")) || (called && json_is(v, S("stop"))))
        return S("tool_calls");         /* some servers say stop after a call */
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (json_is(v, words[i]))
            return words[i];
    return S("stop");
}

struct choice_in { int64_t index; json said, logprobs; };

static void give_text(struct arena *scratch, const struct choice_in *in, enum delta_kind kind, json v, json logprobs, const struct delta_sink *sink)
{
    str text;
    if (json_text(scratch, v, &text) == ERR_OK && text.n)
        delta_give(sink, &(struct delta){ .kind = kind, .choice = in->index, .text = text, .logprobs = logprobs });
}

/* A fragment belongs to the call of its `index`; a server that leaves it out sends calls whole, or continues the last. */
static enum err give_calls(struct openai_reader *s, struct arena *scratch, const struct choice_in *in, const struct delta_sink *sink)
{
    int64_t *begun = &s->tools[in->index], position = 0;
    json calls = json_member(in->said, S("tool_calls"));
    for (json v = json_first(calls); json_type(v) != JSON_NONE; v = json_next(v), position++) {
        json f = json_member(v, S("function"));
        str id = codec_text(scratch, json_member(v, S("id"))), name = codec_text(scratch, json_member(f, S("name")));
        int64_t index;
        if (!json_i64(json_member(v, S("index")), &index))
            index = id.n || name.n ? *begun : *begun - 1;
        if (index < 0 || index > *begun)
            return ERR_UPSTREAM;        /* calls are numbered without gaps */
        if (index == *begun) {
            ++*begun;
            if (!id.n)                  /* every other API wants one */
                id = arena_printf(scratch, "call_%lld_%lld", (long long)in->index, (long long)index);
            delta_give(sink, &(struct delta){ .kind = DELTA_TOOL_START, .choice = in->index, .index = index, .id = id, .name = name });
        }
        json args = json_member(f, S("arguments"));
        str text = json_type(args) == JSON_OBJECT ? json_span(args) : codec_text(scratch, args);
        if (text.n)
            delta_give(sink, &(struct delta){ .kind = DELTA_TOOL_ARGS, .choice = in->index, .index = index, .text = text });
    }
    return ERR_OK;
}

static enum err give_choice(struct openai_reader *s, struct arena *scratch, json choice, json said, const struct delta_sink *sink)
{
    struct choice_in in = { .said = said, .logprobs = json_member(choice, S("logprobs")) };
    (void)json_i64(json_member(choice, S("index")), &in.index);
    if (in.index < 0 || in.index >= CHOICES)
        return ERR_UPSTREAM;
    json reasoning = json_member(said, S("reasoning_content"));
    give_text(scratch, &in, DELTA_THINKING, codec_absent(reasoning) ? json_member(said, S("reasoning")) : reasoning, JSON_ABSENT, sink);
    give_text(scratch, &in, DELTA_REFUSAL, json_member(said, S("refusal")), JSON_ABSENT, sink);
    give_text(scratch, &in, DELTA_TEXT, json_member(said, S("content")), in.logprobs, sink);
    give_text(scratch, &in, DELTA_TEXT, json_member(choice, S("text")), in.logprobs, sink);
    enum err e = give_calls(s, scratch, &in, sink);
    json finish = json_member(choice, S("finish_reason"));
    if (!e && json_type(finish) == JSON_STRING && json_span(finish).n > 2 && !(s->finished >> in.index & 1)) {
        s->finished |= (uint8_t)(1u << in.index);
        delta_give(sink, &(struct delta){ .kind = DELTA_FINISH, .choice = in.index, .text = finish_word(finish, s->tools[in.index] > 0),
                                          .name = codec_text(scratch, json_member(choice, S("stop_reason"))) });        /* vLLM: the stop string met */
    }
    return e;
}

static enum wire_event read_deltas(struct openai_reader *s, struct arena *a, struct arena *scratch, str data, struct reply *r, const struct delta_sink *sink)
{
    enum openai_event kind = openai_read_event(a, scratch, data, r);
    json v;
    if (kind == EVENT_DONE)
        delta_give(sink, &(struct delta){ .kind = DELTA_END });
    if (kind == EVENT_DONE || kind == EVENT_ERROR || kind == EVENT_INVALID)
        return (enum wire_event)kind;
    arena_reset(scratch);
    if (json_parse(scratch, data, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return WIRE_INVALID;
    if (!s->begun)
        delta_give(sink, &(struct delta){ .kind = DELTA_START });
    s->begun = true;
    for (json c = json_first(json_member(v, S("choices"))); json_type(c) != JSON_NONE; c = json_next(c))
        if (give_choice(s, scratch, c, json_member(c, S("delta")), sink) != ERR_OK)
            return WIRE_INVALID;
    if (json_type(json_member(v, S("usage"))) == JSON_OBJECT && (kind == EVENT_USAGE || kind == EVENT_FINISH))
        delta_give(sink, &(struct delta){ .kind = DELTA_USAGE });
    return (enum wire_event)kind;
}

enum wire_event openai_read_deltas(struct openai_reader *s, struct arena *a, struct arena *scratch, str data, struct reply *r, const struct delta_sink *sink)
{
    enum wire_event k = read_deltas(s, a, scratch, data, r, sink);
    return codec_end_event(a, scratch, k);
}

static enum err read_reply_deltas(struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink)
{
    struct openai_reader s = { .begun = true };
    json v;
    enum err e = openai_read_reply(a, scratch, body, r);
    if (e)
        return e;
    arena_reset(scratch);
    if ((e = json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL)))
        return e;
    delta_give(sink, &(struct delta){ .kind = DELTA_START });
    for (json c = json_first(json_member(v, S("choices"))); json_type(c) != JSON_NONE; c = json_next(c))
        if ((e = give_choice(&s, scratch, c, json_member(c, S("message")), sink)))
            return e;
    delta_give(sink, &(struct delta){ .kind = DELTA_USAGE });
    delta_give(sink, &(struct delta){ .kind = DELTA_END });
    return ERR_OK;
}

enum err openai_read_reply_deltas(struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink)
{
    enum err e = read_reply_deltas(a, scratch, body, r, sink);
    return codec_end(a, scratch, e);
}

/* ---- writing ---- */

static void put_count(struct json_out *o, str key, int64_t n)
{
    json_put_key(o, key);
    json_put_i64(o, n > 0 ? n : 0);
}

/* Up to "choices":[ . */
static void put_common(struct json_out *o, const struct openai_chat_writer *w, str object)
{
    json_open(o, '{');
    json_put_text(o, S("id"), w->id);
    json_put_text(o, S("object"), object);
    json_put_key(o, S("created"));
    json_put_i64(o, w->created);
    json_put_text(o, S("model"), w->model);
    json_put_text_or_null(o, S("system_fingerprint"), w->fingerprint);
    json_put_key(o, S("choices"));
    json_open(o, '[');
}

static void put_usage(struct json_out *o, const struct reply *r)
{
    if (!reply_has_usage(r)) {
        json_put_null(o);
        return;
    }
    json_open(o, '{');
    put_count(o, S("prompt_tokens"), r->prompt_tokens);
    put_count(o, S("completion_tokens"), r->completion_tokens);
    put_count(o, S("total_tokens"), (r->prompt_tokens > 0 ? r->prompt_tokens : 0) + (r->completion_tokens > 0 ? r->completion_tokens : 0));
    json_put_key(o, S("prompt_tokens_details"));
    json_open(o, '{');
    put_count(o, S("cached_tokens"), r->cached_tokens);
    json_close(o, '}');
    json_put_key(o, S("completion_tokens_details"));
    json_open(o, '{');
    put_count(o, S("reasoning_tokens"), r->reasoning_tokens);
    json_close(o, '}');
    json_close(o, '}');
}

static void put_fragment(struct json_out *o, const struct delta *d)
{
    json_put_key(o, S("tool_calls"));
    json_open(o, '[');
    json_open(o, '{');
    json_put_key(o, S("index"));
    json_put_i64(o, d->index);
    if (d->kind == DELTA_TOOL_START) {
        json_put_text(o, S("id"), d->id);
        json_put_text(o, S("type"), S("function"));
    }
    json_put_key(o, S("function"));
    json_open(o, '{');
    if (d->kind == DELTA_TOOL_START)
        json_put_text(o, S("name"), d->name);
    json_put_text(o, S("arguments"), d->kind == DELTA_TOOL_START ? S("") : d->text);
    json_close(o, '}');
    json_close(o, '}');
    json_close(o, ']');
}

/* The `delta` object of a chunk. */
static void put_said(struct json_out *o, const struct delta *d, bool role)
{
    json_open(o, '{');
    if (role)
        json_put_text(o, S("role"), S("assistant"));
    switch (d->kind) {
    case DELTA_START:
        json_put_text(o, S("content"), S(""));
        break;
    case DELTA_TEXT:     json_put_text(o, S("content"), d->text); break;
    case DELTA_REFUSAL:  json_put_text(o, S("refusal"), d->text); break;
    case DELTA_THINKING: json_put_text(o, S("reasoning_content"), d->text); break;
    case DELTA_TOOL_START:
    case DELTA_TOOL_ARGS: put_fragment(o, d); break;
    default:             break;
    }
    json_close(o, '}');
}

static enum err write_chunk(struct openai_chat_writer *w, struct buf *b, const struct delta *d)
{
    struct json_out o;
    bool role = d->choice >= 0 && d->choice < CHOICES && !w->role_given[d->choice];
    enum err e = buf_put(b, S("data: "));
    if (e)
        return e;
    json_out_init(&o, b);
    put_common(&o, w, w->is_chat ? S("chat.completion.chunk") : S("text_completion"));
    json_open(&o, '{');
    json_put_key(&o, S("index"));
    json_put_i64(&o, d->choice);
    if (w->is_chat) {
        json_put_key(&o, S("delta"));
        put_said(&o, d, role);
    } else {
        json_put_text(&o, S("text"), d->kind == DELTA_TEXT ? d->text : S(""));
    }
    if (role)
        w->role_given[d->choice] = true;
    json_put_key(&o, S("logprobs"));
    if (d->kind == DELTA_TEXT && !codec_absent(d->logprobs))
        json_put_raw(&o, json_span(d->logprobs));
    else
        json_put_null(&o);
    json_put_text_or_null(&o, S("finish_reason"), d->kind == DELTA_FINISH ? d->text : STR_NONE);
    json_close(&o, '}');
    json_close(&o, ']');
    if (w->include_usage) {
        json_put_key(&o, S("usage"));
        json_put_null(&o);
    }
    json_close(&o, '}');
    return o.err ? o.err : buf_put(b, S("\n\n"));
}

static enum err write_usage(const struct openai_chat_writer *w, struct buf *b, const struct reply *r)
{
    struct json_out o;
    enum err e = buf_put(b, S("data: "));
    if (e)
        return e;
    json_out_init(&o, b);
    put_common(&o, w, w->is_chat ? S("chat.completion.chunk") : S("text_completion"));
    json_close(&o, ']');
    json_put_key(&o, S("usage"));
    put_usage(&o, r);
    json_close(&o, '}');
    return o.err ? o.err : buf_put(b, S("\n\n"));
}

/* The counts come last, whenever the upstream told them. */
enum err openai_write_chat_delta(struct openai_chat_writer *w, struct buf *b, const struct reply *r, const struct delta *d)
{
    enum err e = ERR_OK;
    switch (d->kind) {
    case DELTA_USAGE:
    case DELTA_SIGNATURE: return ERR_OK;        /* no word for it: openai_to_chat() could not take it back either */
    case DELTA_END:
        if (w->include_usage && reply_has_usage(r))
            e = write_usage(w, b, r);
        return e ? e : buf_put(b, S("data: [DONE]\n\n"));
    case DELTA_THINKING:
        return d->text.n ? write_chunk(w, b, d) : ERR_OK;
    default: return write_chunk(w, b, d);
    }
}

/* ---- a whole reply ---- */

static void put_blocks(struct json_out *o, const struct answer_choice *c, enum block_kind kind, str key)
{
    bool begun = false;
    for (size_t i = 0; i < c->n; i++) {
        const struct answer_block *k = &c->blocks[i];
        if (k->kind != kind || (kind == BLOCK_THINKING && !k->text.n))
            continue;
        if (!begun) {
            json_put_key(o, key);
            json_put_raw(o, S("\""));
        }
        begun = true;
        if (!o->err)
            o->err = json_escape(o->b, buf_str(&k->text));
    }
    if (begun && !o->err)
        o->err = buf_putc(o->b, '"');
    else if (!begun && kind != BLOCK_THINKING) {
        json_put_key(o, key);
        json_put_null(o);
    }
}

static void put_calls(struct json_out *o, const struct answer_choice *c)
{
    bool begun = false;
    for (size_t i = 0; i < c->n; i++) {
        const struct answer_block *k = &c->blocks[i];
        if (k->kind != BLOCK_TOOL)
            continue;
        if (!begun) {
            json_put_key(o, S("tool_calls"));
            json_open(o, '[');
        }
        begun = true;
        json_open(o, '{');
        json_put_text(o, S("id"), k->id);
        json_put_text(o, S("type"), S("function"));
        json_put_key(o, S("function"));
        json_open(o, '{');
        json_put_text(o, S("name"), k->name);
        json_put_text(o, S("arguments"), k->text.n ? buf_str(&k->text) : S("{}"));
        json_close(o, '}');
        json_close(o, '}');
    }
    if (begun)
        json_close(o, ']');
}

static void put_choice(struct json_out *o, const struct openai_chat_writer *w, const struct answer_choice *c, size_t i)
{
    json_open(o, '{');
    json_put_key(o, S("index"));
    json_put_i64(o, (int64_t)i);
    if (w->is_chat) {
        json_put_key(o, S("message"));
        json_open(o, '{');
        json_put_text(o, S("role"), S("assistant"));
        put_blocks(o, c, BLOCK_TEXT, S("content"));
        put_blocks(o, c, BLOCK_REFUSAL, S("refusal"));
        put_blocks(o, c, BLOCK_THINKING, S("reasoning_content"));
        put_calls(o, c);
        json_close(o, '}');
    } else {
        put_blocks(o, c, BLOCK_TEXT, S("text"));
    }
    json_put_key(o, S("logprobs"));
    if (c->logprobs.n) {
        json_open(o, '{');
        json_put_key(o, S("content"));
        json_open(o, '[');
        json_put_raw(o, c->logprobs);
        json_close(o, ']');
        json_close(o, '}');
    } else {
        json_put_null(o);
    }
    json_put_text(o, S("finish_reason"), c->finish.n ? c->finish : S("stop"));
    json_close(o, '}');
}

enum err openai_write_chat_reply(struct buf *b, const struct openai_chat_writer *w, const struct reply *r, const struct answer *answer)
{
    struct json_out o;
    json_out_init(&o, b);
    put_common(&o, w, w->is_chat ? S("chat.completion") : S("text_completion"));
    for (size_t i = 0; i < answer->n; i++)
        put_choice(&o, w, &answer->choices[i], i);
    json_close(&o, ']');
    json_put_key(&o, S("usage"));
    put_usage(&o, r);
    json_close(&o, '}');
    return o.err;
}
