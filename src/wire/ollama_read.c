/* wire/ollama_read.c: what an Ollama upstream answers. A whole reply is the one line of a stream that has everything. */
#include "wire/ollama.h"

#include "wire/codec.h"

static void give_text(struct arena *scratch, enum delta_kind kind, json v, struct reply *r, const struct delta_sink *sink)
{
    str text = codec_text(scratch, v);
    if (!text.n)
        return;
    r->started = true;
    delta_give(sink, &(struct delta){ .kind = kind, .text = text });
}

static void give_calls(struct ollama_reader *s, struct arena *scratch, json calls, struct reply *r, const struct delta_sink *sink)
{
    for (json v = json_first(calls); json_type(v) != JSON_NONE; v = json_next(v)) {
        json f = json_member(v, S("function")), args = json_member(f, S("arguments"));
        str id = codec_text(scratch, json_member(v, S("id")));
        if (!id.n)
            id = arena_printf(scratch, "call_%.*s_%lld", STR_ARG(s->call), (long long)s->tools);
        r->started = true;
        delta_give(sink, &(struct delta){ .kind = DELTA_TOOL_START, .index = s->tools, .id = id, .name = codec_text(scratch, json_member(f, S("name"))) });
        str text = json_type(args) == JSON_STRING ? codec_text(scratch, args) : json_type(args) == JSON_OBJECT ? json_span(args) : S("{}");
        delta_give(sink, &(struct delta){ .kind = DELTA_TOOL_ARGS, .index = s->tools++, .text = text });
    }
}

/* The last line: why it ended and what it took. */
static void give_done(struct ollama_reader *s, struct arena *a, struct arena *scratch, json v, struct reply *r, const struct delta_sink *sink)
{
    json why = json_member(v, S("done_reason"));
    codec_tokens(json_member(v, S("prompt_eval_count")), &r->prompt_tokens);
    codec_tokens(json_member(v, S("eval_count")), &r->completion_tokens);
    codec_note(a, scratch, why, &r->finish_reason);
    r->ended = r->begun = 1;
    r->finished = r->done = true;
    delta_give(sink, &(struct delta){ .kind = DELTA_FINISH, .text = json_is(why, S("length")) ? S("length") : s->tools ? S("tool_calls") : S("stop") });
    delta_give(sink, &(struct delta){ .kind = DELTA_USAGE });
    delta_give(sink, &(struct delta){ .kind = DELTA_END });
}

static enum wire_event read_line(struct ollama_reader *s, struct arena *a, struct arena *scratch, str line, struct reply *r, const struct delta_sink *sink)
{
    json v;
    bool done = false;
    arena_reset(scratch);
    if (json_parse(scratch, line, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT)
        return WIRE_INVALID;
    json error = json_member(v, S("error")), message = json_member(v, S("message"));
    if (!codec_absent(error)) {
        r->has_error = true;
        codec_note(a, scratch, json_type(error) == JSON_OBJECT ? json_member(error, S("message")) : error, &r->error_message);
        return WIRE_ERROR;
    }
    if (json_type(message) != JSON_OBJECT && json_type(json_member(v, S("response"))) != JSON_STRING && codec_absent(json_member(v, S("done"))))
        return WIRE_INVALID;
    codec_note(a, scratch, json_member(v, S("model")), &r->model);
    r->begun = 1;
    if (!s->begun)
        delta_give(sink, &(struct delta){ .kind = DELTA_START });
    s->begun = true;
    give_text(scratch, DELTA_THINKING, json_member(message, S("thinking")), r, sink);
    give_text(scratch, DELTA_THINKING, json_member(v, S("thinking")), r, sink);
    give_text(scratch, DELTA_TEXT, json_member(message, S("content")), r, sink);
    give_text(scratch, DELTA_TEXT, json_member(v, S("response")), r, sink);
    give_calls(s, scratch, json_member(message, S("tool_calls")), r, sink);
    if (!json_bool(json_member(v, S("done")), &done) || !done)
        return WIRE_DELTA;
    give_done(s, a, scratch, v, r, sink);
    return WIRE_DONE;
}

enum wire_event ollama_read_line(struct ollama_reader *s, struct arena *a, struct arena *scratch, str line, struct reply *r, const struct delta_sink *sink)
{
    enum wire_event k = read_line(s, a, scratch, line, r, sink);
    return codec_end_event(a, scratch, k);
}

static enum err read_reply(struct ollama_reader *s, struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink)
{
    return ollama_read_line(s, a, scratch, body, r, sink) == WIRE_DONE ? ERR_OK : ERR_UPSTREAM;
}

enum err ollama_read_reply(struct ollama_reader *s, struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink)
{
    enum err e = read_reply(s, a, scratch, body, r, sink);
    return codec_end(a, scratch, e);
}

void ollama_read_error(struct arena *a, struct arena *scratch, int status, str body, struct reply *r) { openai_read_error(a, scratch, status, body, r); }
