/* wire/anthropic_read.c: what an Anthropic upstream answers. */
#include "wire/anthropic.h"

#include "wire/codec.h"

/* Anthropic's prompt tokens leave out what came from the cache or went into it; OpenAI's, and a reply's here, include both. */
static void read_usage(json u, struct reply *r)
{
    int64_t input = TOKENS_UNKNOWN, read = r->cached_tokens, write = r->cache_write_tokens;
    if (json_type(u) != JSON_OBJECT)
        return;
    codec_tokens(json_member(u, S("input_tokens")), &input);
    codec_tokens(json_member(u, S("cache_read_input_tokens")), &read);
    codec_tokens(json_member(u, S("cache_creation_input_tokens")), &write);
    codec_tokens(json_member(u, S("output_tokens")), &r->completion_tokens);
    codec_tokens(json_member(json_member(u, S("output_tokens_details")), S("thinking_tokens")), &r->reasoning_tokens);
    if (input == TOKENS_UNKNOWN)
        return;
    r->cached_tokens = read;
    r->cache_write_tokens = write;
    r->prompt_tokens = input + (read > 0 ? read : 0) + (write > 0 ? write : 0);
}

/* OpenAI's word for why it ended. */
static str finish_of(json stop_reason)
{
    static const struct { str theirs, ours; } words[] = {
        { S("end_turn"), S("stop") },      { S("stop_sequence"), S("stop") },       { S("max_tokens"), S("length") },
        { S("tool_use"), S("tool_calls") }, { S("refusal"), S("content_filter") },  { S("model_context_window_exceeded"), S("length") },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (json_is(stop_reason, words[i].theirs))
            return words[i].ours;
    return S("stop");                   /* pause_turn, and what comes later */
}

static void read_error_object(struct arena *a, struct arena *scratch, json v, struct reply *r)
{
    json error = json_member(v, S("error"));
    r->has_error = true;
    codec_note(a, scratch, json_member(error, S("message")), &r->error_message);
    codec_note(a, scratch, json_member(error, S("type")), &r->error_type);
}

static void give_begin(const struct delta_sink *sink, bool *begun)
{
    if (!*begun)
        delta_give(sink, &(struct delta){ .kind = DELTA_START });
    *begun = true;
}

static void give_finish(struct arena *scratch, json stop_reason, json stop_sequence, struct reply *r, struct arena *a, const struct delta_sink *sink)
{
    r->ended = r->begun = 1;
    r->finished = true;
    codec_note(a, scratch, stop_reason, &r->finish_reason);
    delta_give(sink, &(struct delta){ .kind = DELTA_FINISH, .text = finish_of(stop_reason), .name = codec_text(scratch, stop_sequence) });
}

/* ---- a stream ---- */

static enum wire_event block_start(struct anthropic_reader *s, struct arena *scratch, json v, struct reply *r, const struct delta_sink *sink)
{
    json block = json_member(v, S("content_block")), type = json_member(block, S("type"));
    int64_t index = -1;
    (void)json_i64(json_member(v, S("index")), &index);
    give_begin(sink, &s->begun);
    if (json_is(type, S("tool_use"))) {
        if (index < 0 || index >= (int64_t)(sizeof s->block_tool / sizeof *s->block_tool))
            return WIRE_INVALID;
        s->block_tool[index] = ++s->tools;
        r->started = true;
        delta_give(sink, &(struct delta){ .kind = DELTA_TOOL_START, .index = s->tools - 1, .id = codec_text(scratch, json_member(block, S("id"))),
                                          .name = codec_text(scratch, json_member(block, S("name"))) });
        /* Compatible servers may give the whole input at once. */
        if (json_count(json_member(block, S("input"))))
            delta_give(sink, &(struct delta){ .kind = DELTA_TOOL_ARGS, .index = s->tools - 1, .text = json_span(json_member(block, S("input"))) });
    } else if (json_is(type, S("redacted_thinking"))) {
        delta_give(sink, &(struct delta){ .kind = DELTA_THINKING, .id = codec_text(scratch, json_member(block, S("data"))) });
    } else {
        bool thinking = json_is(type, S("thinking"));
        str text = codec_text(scratch, json_member(block, thinking ? S("thinking") : S("text")));
        if (text.n)
            delta_give(sink, &(struct delta){ .kind = thinking ? DELTA_THINKING : DELTA_TEXT, .text = text });
        r->started |= text.n > 0;
    }
    return WIRE_DELTA;
}

static enum wire_event block_delta(struct anthropic_reader *s, struct arena *scratch, json v, struct reply *r, const struct delta_sink *sink)
{
    json d = json_member(v, S("delta")), type = json_member(d, S("type"));
    struct delta out = { .kind = DELTA_TEXT };
    int64_t index = -1;
    (void)json_i64(json_member(v, S("index")), &index);
    if (json_is(type, S("text_delta"))) {
        out.text = codec_text(scratch, json_member(d, S("text")));
    } else if (json_is(type, S("thinking_delta"))) {
        out.kind = DELTA_THINKING;
        out.text = codec_text(scratch, json_member(d, S("thinking")));
    } else if (json_is(type, S("signature_delta"))) {
        out.kind = DELTA_SIGNATURE;
        out.text = codec_text(scratch, json_member(d, S("signature")));
    } else if (json_is(type, S("input_json_delta"))) {
        if (index < 0 || index >= (int64_t)(sizeof s->block_tool / sizeof *s->block_tool) || !s->block_tool[index])
            return WIRE_INVALID;
        out.kind = DELTA_TOOL_ARGS;
        out.index = s->block_tool[index] - 1;
        out.text = codec_text(scratch, json_member(d, S("partial_json")));
    }
    give_begin(sink, &s->begun);
    if (!out.text.n)
        return WIRE_DELTA;              /* also kinds of later years: citations */
    r->started = true;
    delta_give(sink, &out);
    return WIRE_DELTA;
}

static enum wire_event message_delta(struct anthropic_reader *s, struct arena *a, struct arena *scratch, json v, struct reply *r, const struct delta_sink *sink)
{
    json d = json_member(v, S("delta")), stop = json_member(d, S("stop_reason"));
    give_begin(sink, &s->begun);
    read_usage(json_member(v, S("usage")), r);
    if (json_type(stop) != JSON_STRING)
        return WIRE_DELTA;
    give_finish(scratch, stop, json_member(d, S("stop_sequence")), r, a, sink);
    delta_give(sink, &(struct delta){ .kind = DELTA_USAGE });
    return WIRE_FINISH;
}

/* The name of the event is in its data too; a server that leaves the event line out is read all the same. */
static enum wire_event read_event(struct anthropic_reader *s, struct arena *a, struct arena *scratch, str event, str data, struct reply *r, const struct delta_sink *sink)
{
    json v;
    arena_reset(scratch);
    if (json_parse(scratch, data, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT)
        return WIRE_INVALID;
    json type = json_member(v, S("type"));
    if (json_is(type, S("error")) || str_eq(event, S("error"))) {
        read_error_object(a, scratch, v, r);
        return WIRE_ERROR;
    }
    if (json_is(type, S("message_start"))) {
        json m = json_member(v, S("message"));
        codec_note(a, scratch, json_member(m, S("id")), &r->id);
        codec_note(a, scratch, json_member(m, S("model")), &r->model);
        read_usage(json_member(m, S("usage")), r);
        r->begun = 1;
        give_begin(sink, &s->begun);
        return WIRE_DELTA;
    }
    if (json_is(type, S("content_block_start")))
        return block_start(s, scratch, v, r, sink);
    if (json_is(type, S("content_block_delta")))
        return block_delta(s, scratch, v, r, sink);
    if (json_is(type, S("message_delta")))
        return message_delta(s, a, scratch, v, r, sink);
    if (!json_is(type, S("message_stop")))
        return json_type(type) == JSON_STRING ? WIRE_DELTA : WIRE_INVALID;      /* ping, content_block_stop, later kinds */
    r->done = true;
    delta_give(sink, &(struct delta){ .kind = DELTA_END });
    return WIRE_DONE;
}

enum wire_event anthropic_read_event(struct anthropic_reader *s, struct arena *a, struct arena *scratch, str event, str data, struct reply *r, const struct delta_sink *sink)
{
    enum wire_event k = read_event(s, a, scratch, event, data, r, sink);
    return codec_end_event(a, scratch, k);
}

/* ---- a whole reply ---- */

static void whole_block(struct arena *scratch, json b, int64_t *tools, struct reply *r, const struct delta_sink *sink)
{
    json type = json_member(b, S("type"));
    if (json_is(type, S("text"))) {
        delta_give(sink, &(struct delta){ .kind = DELTA_TEXT, .text = codec_text(scratch, json_member(b, S("text"))) });
    } else if (json_is(type, S("thinking"))) {
        str signature = codec_text(scratch, json_member(b, S("signature")));
        delta_give(sink, &(struct delta){ .kind = DELTA_THINKING, .text = codec_text(scratch, json_member(b, S("thinking"))) });
        if (signature.n)
            delta_give(sink, &(struct delta){ .kind = DELTA_SIGNATURE, .text = signature });
    } else if (json_is(type, S("redacted_thinking"))) {
        delta_give(sink, &(struct delta){ .kind = DELTA_THINKING, .id = codec_text(scratch, json_member(b, S("data"))) });
    } else if (json_is(type, S("tool_use"))) {
        delta_give(sink, &(struct delta){ .kind = DELTA_TOOL_START, .index = *tools, .id = codec_text(scratch, json_member(b, S("id"))),
                                          .name = codec_text(scratch, json_member(b, S("name"))) });
        delta_give(sink, &(struct delta){ .kind = DELTA_TOOL_ARGS, .index = (*tools)++, .text = json_span(json_member(b, S("input"))) });
    } else {
        return;
    }
    r->started = true;
}

static enum err read_reply(struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink)
{
    json v;
    int64_t tools = 0;
    arena_reset(scratch);
    if (json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return ERR_UPSTREAM;
    json content = json_member(v, S("content"));
    if (json_is(json_member(v, S("type")), S("error")))
        read_error_object(a, scratch, v, r);
    if (!json_is(json_member(v, S("type")), S("message")) || json_type(content) != JSON_ARRAY)
        return ERR_UPSTREAM;
    codec_note(a, scratch, json_member(v, S("id")), &r->id);
    codec_note(a, scratch, json_member(v, S("model")), &r->model);
    read_usage(json_member(v, S("usage")), r);
    delta_give(sink, &(struct delta){ .kind = DELTA_START });
    for (json b = json_first(content); json_type(b) != JSON_NONE; b = json_next(b))
        whole_block(scratch, b, &tools, r, sink);
    give_finish(scratch, json_member(v, S("stop_reason")), json_member(v, S("stop_sequence")), r, a, sink);
    delta_give(sink, &(struct delta){ .kind = DELTA_USAGE });
    delta_give(sink, &(struct delta){ .kind = DELTA_END });
    r->done = true;
    return ERR_OK;
}

enum err anthropic_read_reply(struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink)
{
    enum err e = read_reply(a, scratch, body, r, sink);
    return codec_end(a, scratch, e);
}

enum err anthropic_read_count(struct arena *scratch, str body, struct reply *r)
{
    json v;
    arena_reset(scratch);
    if (json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return ERR_UPSTREAM;
    codec_tokens(json_member(v, S("input_tokens")), &r->prompt_tokens);
    r->finished = r->done = true;
    return r->prompt_tokens == TOKENS_UNKNOWN ? ERR_UPSTREAM : ERR_OK;
}

void anthropic_read_error(struct arena *a, struct arena *scratch, int status, str body, struct reply *r)
{
    openai_read_error(a, scratch, status, body, r);     /* the same members, and the same guesses where it is neither */
}
