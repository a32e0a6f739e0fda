/* wire/openai_read.c: what an upstream answers: whole replies, events of a stream, errors of any shape. */
#include "wire/openai.h"

#include "wire/codec.h"

static void read_usage(json u, struct reply *r)
{
    if (json_type(u) != JSON_OBJECT)
        return;
    codec_tokens(json_member(u, S("prompt_tokens")), &r->prompt_tokens);
    codec_tokens(json_member(u, S("completion_tokens")), &r->completion_tokens);
    codec_tokens(json_member(json_member(u, S("prompt_tokens_details")), S("cached_tokens")), &r->cached_tokens);
    json details = json_member(u, S("completion_tokens_details"));
    codec_tokens(json_member(details, S("reasoning_tokens")), &r->reasoning_tokens);
    codec_tokens(json_member(details, S("accepted_prediction_tokens")), &r->accepted_tokens);
    codec_tokens(json_member(details, S("rejected_prediction_tokens")), &r->rejected_tokens);
}

static bool has_text(json v) { return json_type(v) == JSON_STRING && json_span(v).n > 2; }

/* Something a person would see, or a tool would be called with. */
static bool is_visible(json choice, json said)
{
    return has_text(json_member(said, S("content"))) || has_text(json_member(choice, S("text"))) || json_count(json_member(said, S("tool_calls"))) ||
           json_count(json_member(said, S("function_call"))) || has_text(json_member(said, S("reasoning_content"))) || has_text(json_member(said, S("reasoning"))) || has_text(json_member(said, S("refusal")));
}

/* True when the choice has its finish_reason now. */
static bool read_choice(struct arena *a, struct arena *scratch, json choice, json said, struct reply *r)
{
    int64_t index = 0;
    (void)json_i64(json_member(choice, S("index")), &index);
    uint64_t bit = UINT64_C(1) << (index >= 0 && index < 64 ? index : 63);
    r->begun |= bit;
    r->started |= is_visible(choice, said);
    json why = json_member(choice, S("finish_reason"));
    if (!has_text(why))                 /* some servers send "" for not yet */
        return false;
    r->ended |= bit;
    codec_note(a, scratch, why, &r->finish_reason);
    return true;
}

static void read_common(struct arena *a, struct arena *scratch, json v, struct reply *r)
{
    if (!r->id.n)
        codec_note(a, scratch, json_member(v, S("id")), &r->id);
    if (!r->model.n)
        codec_note(a, scratch, json_member(v, S("model")), &r->model);
    if (!r->fingerprint.n)
        codec_note(a, scratch, json_member(v, S("system_fingerprint")), &r->fingerprint);
    codec_tokens(json_member(json_member(v, S("hearth")), S("prompt_tokens")), &r->prompt_tokens);      /* our engine, asked to say it early */
    codec_tokens(json_member(json_member(v, S("prompt_progress")), S("total")), &r->prompt_tokens);     /* llama-server, asked for progress */
}

/* What the SDKs take for an error: `if chunk.get("error")` in Python. */
static bool is_truthy(json v)
{
    double number = 0;
    return json_count(v) || json_type(v) == JSON_TRUE || has_text(v) || (json_f64(v, &number) && number != 0);
}

static void read_error_value(struct arena *a, struct arena *scratch, json e, struct reply *r)
{
    r->has_error = true;
    if (json_type(e) == JSON_STRING) {
        codec_note(a, scratch, e, &r->error_message);
        return;
    }
    codec_note(a, scratch, json_member(e, S("message")), &r->error_message);
    codec_note(a, scratch, json_member(e, S("type")), &r->error_type);
    json code = json_member(e, S("code"));
    int64_t status = 0;
    if (json_type(code) == JSON_NUMBER && !r->error_code.n)
        r->error_code = arena_str(a, json_span(code));
    codec_note(a, scratch, code, &r->error_code);
    if (!r->error_status && json_i64(code, &status) && status >= 400 && status <= 599)
        r->error_status = (int)status;  /* OpenRouter and vLLM put the HTTP status here */
}

/* Absent, null, or a list of objects: anything else is no completion. */
static bool are_choices(json choices)
{
    enum json_type t = json_type(choices);
    if (t == JSON_NONE || t == JSON_NULL)
        return true;
    for (json c = json_first(choices); json_type(c) != JSON_NONE; c = json_next(c))
        if (json_type(c) != JSON_OBJECT)
            return false;
    return t == JSON_ARRAY;
}

static enum openai_event read_event(struct arena *a, struct arena *scratch, str data, struct reply *r)
{
    json v;
    if (str_starts(data, S("[DONE]"))) {
        r->done = true;
        return EVENT_DONE;
    }
    arena_reset(scratch);
    if (json_parse(scratch, data, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT)
        return EVENT_INVALID;
    json error = json_member(v, S("error")), choices = json_member(v, S("choices")), usage = json_member(v, S("usage"));
    if (is_truthy(error)) {
        read_error_value(a, scratch, error, r);
        return EVENT_ERROR;
    }
    if (!are_choices(choices))
        return EVENT_INVALID;
    read_common(a, scratch, v, r);
    read_usage(usage, r);
    if (!json_count(choices))
        return json_type(usage) == JSON_OBJECT ? EVENT_USAGE : EVENT_DELTA;
    bool finish = false;
    for (json c = json_first(choices); json_type(c) != JSON_NONE; c = json_next(c))
        finish |= read_choice(a, scratch, c, json_member(c, S("delta")), r);
    r->finished = r->begun == r->ended;
    return finish ? EVENT_FINISH : EVENT_DELTA;
}

enum openai_event openai_read_event(struct arena *a, struct arena *scratch, str data, struct reply *r)
{
    enum openai_event k = read_event(a, scratch, data, r);
    return (enum openai_event)codec_end_event(a, scratch, (enum wire_event)k);
}

static enum err read_reply(struct arena *a, struct arena *scratch, str body, struct reply *r)
{
    json v;
    arena_reset(scratch);
    if (json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return ERR_UPSTREAM;
    json choices = json_member(v, S("choices")), error = json_member(v, S("error"));
    if (is_truthy(error))               /* OpenRouter: status 200, and the error in the body */
        read_error_value(a, scratch, error, r);
    if (!json_count(choices) || !are_choices(choices))
        return ERR_UPSTREAM;
    read_common(a, scratch, v, r);
    read_usage(json_member(v, S("usage")), r);
    for (json c = json_first(choices); json_type(c) != JSON_NONE; c = json_next(c)) {
        json message = json_member(c, S("message"));
        if (json_type(message) != JSON_OBJECT && json_type(json_member(c, S("text"))) != JSON_STRING)
            return ERR_UPSTREAM;
        (void)read_choice(a, scratch, c, message, r);
    }
    r->finished = r->done = true;
    return ERR_OK;
}

enum err openai_read_reply(struct arena *a, struct arena *scratch, str body, struct reply *r)
{
    enum err e = read_reply(a, scratch, body, r);
    return codec_end(a, scratch, e);
}

enum err openai_read_count(struct arena *scratch, str body, struct reply *r)
{
    json v;
    arena_reset(scratch);
    if (json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK) {
        codec_tokens(json_member(v, S("count")), &r->prompt_tokens);
        codec_tokens(json_member(v, S("input_tokens")), &r->prompt_tokens);
    }
    r->finished = r->done = true;
    return codec_end(scratch, NULL, r->prompt_tokens == TOKENS_UNKNOWN ? ERR_UPSTREAM : ERR_OK);
}

enum err openai_read_tokens(struct arena *scratch, enum op op, str body, struct reply *r)
{
    json v;
    arena_reset(scratch);
    bool parsed = json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK;
    bool good = parsed && (op == OP_TOKENIZE ? json_type(json_member(v, S("tokens"))) == JSON_ARRAY
                                             : json_type(json_member(v, S("content"))) == JSON_STRING || json_type(json_member(v, S("prompt"))) == JSON_STRING);
    r->finished = r->done = true;
    return codec_end(scratch, NULL, good ? ERR_OK : ERR_UPSTREAM);
}

void openai_read_error(struct arena *a, struct arena *scratch, int status, str body, struct reply *r)
{
    json v = JSON_ABSENT;
    r->has_error = true;
    r->error_status = status;
    arena_reset(scratch);
    if (json_parse(scratch, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return;                         /* HTML, or nothing: the status says it all */
    if (json_type(v) == JSON_ARRAY)
        v = json_first(v);              /* Gemini's OpenAI endpoint wraps its error in a list */
    json error = json_member(v, S("error"));
    read_error_value(a, scratch, is_truthy(error) ? error : v, r);
    json detail = json_member(v, S("detail"));
    codec_note(a, scratch, detail, &r->error_message);
    if (json_type(detail) == JSON_ARRAY)
        codec_note(a, scratch, json_member(json_first(detail), S("msg")), &r->error_message);
}
