/* The side of the client: how each dialect's requests are read and its answers written. One row a dialect. */
#include "gate/request.h"

static int64_t seconds(const struct gate_req *r) { return r->wall_us / 1000000; }
static str prefixed(struct gate_req *r, const char *prefix) { return arena_printf(r->a, "%s%s", prefix, r->id); }
static str asked_model(const struct gate_req *r) { return r->call.model.n ? r->call.model : r->decision.model->name; }

/* ---- OpenAI chat and completions ---- */

static enum err openai_client_decode(struct gate_req *r)
{
    if (r->op == OP_EMBEDDING)
        return embed_decode(r->a, DIALECT_OPENAI, false, r->asked, &r->call, &r->why);
    return openai_decode(r->a, r->op, r->asked, &r->call, &r->why);
}

static void openai_client_begin(struct gate_req *r)
{
    r->speech->writer.openai = (struct openai_chat_writer){ .id = prefixed(r, "chatcmpl-"), .model = asked_model(r), .created = seconds(r),
                                                            .include_usage = r->call.include_usage, .is_chat = r->op == OP_CHAT };
}

static enum err openai_client_delta(struct gate_req *r, const struct delta *d)
{
    return openai_write_chat_delta(&r->speech->writer.openai, &r->speech->out, &r->reply, d);
}

static enum err openai_client_whole(struct gate_req *r, struct buf *out)
{
    return openai_write_chat_reply(out, &r->speech->writer.openai, &r->reply, &r->speech->answer);
}

static str openai_client_error(struct gate_req *r, enum err e, str message, str param) { return openai_error_body(r->a, e, message, param); }
static str openai_client_error_from(struct gate_req *r) { return openai_error_from(r->a, &r->reply); }
static str openai_client_error_event(struct gate_req *r, enum err e, str message) { return openai_error_event(r->a, e, message); }

/* ---- OpenAI responses ---- */

static enum err responses_client_decode(struct gate_req *r) { return responses_decode(r->a, r->asked, &r->call, &r->why); }

static void responses_client_begin(struct gate_req *r)
{
    r->speech->writer.responses = (struct responses_writer){ .id = prefixed(r, "resp_"), .model = asked_model(r), .created = seconds(r), .call = &r->call };
}

static enum err responses_client_delta(struct gate_req *r, const struct delta *d)
{
    return responses_write_delta(&r->speech->writer.responses, r->a, &r->speech->out, &r->reply, d);
}

static enum err responses_client_whole(struct gate_req *r, struct buf *out)
{
    return responses_write_reply(out, &r->speech->writer.responses, &r->reply, &r->speech->answer);
}

static str responses_client_error_event(struct gate_req *r, enum err e, str message)
{
    return r->speech && r->speech->begun ? responses_error_event(r->a, &r->speech->writer.responses, e, message) : openai_error_event(r->a, e, message);
}

/* ---- Anthropic messages ---- */

static enum err anthropic_client_decode(struct gate_req *r) { return anthropic_decode(r->a, r->op, r->asked, &r->call, &r->why); }

static void anthropic_client_begin(struct gate_req *r)
{
    /* The count is due before some upstreams tell it: a guess then, announced by a field of the reply and corrected by message_delta. */
    r->speech->writer.anthropic = (struct anthropic_writer){ .id = prefixed(r, "msg_"), .model = asked_model(r), .input_tokens = gate_guess(r) };
}

static enum err anthropic_client_delta(struct gate_req *r, const struct delta *d)
{
    return anthropic_write_delta(&r->speech->writer.anthropic, r->a, &r->speech->out, &r->reply, d);
}

static enum err anthropic_client_whole(struct gate_req *r, struct buf *out)
{
    return anthropic_write_reply(out, &r->speech->writer.anthropic, &r->reply, &r->speech->answer);
}

/* Clients of this API know a prompt that is too long by its words (Claude Code reads the numbers out of them). */
static str anthropic_words(struct gate_req *r)
{
    if (!str_eq(r->reply.error_code, S("context_length_exceeded")) || str_starts(r->reply.error_message, S("prompt is too long")))
        return r->reply.error_message;
    return arena_printf(r->a, "prompt is too long: %.*s", STR_ARG(r->reply.error_message));
}

static str request_id(const struct gate_req *r) { return str_slice(r->id, UUID_TEXT - 1); }

/* For dialects without a field for the parameter: it leads the words, unless it does already. */
static str with_param(struct gate_req *r, str message, str param)
{
    bool leads = str_starts(message, param) && str_starts(str_skip(message, param.n), S(":"));
    return !param.n || !message.n || leads ? message : arena_printf(r->a, "%.*s: %.*s", STR_ARG(param), STR_ARG(message));
}

static str anthropic_client_error(struct gate_req *r, enum err e, str message, str param) { return anthropic_error_body(r->a, e, with_param(r, message, param), request_id(r)); }

static str anthropic_client_error_from(struct gate_req *r)
{
    struct reply said = r->reply;
    said.error_message = anthropic_words(r);
    return anthropic_error_from(r->a, &said, request_id(r));
}


static str anthropic_client_error_event(struct gate_req *r, enum err e, str message) { return anthropic_error_event(r->a, e, message, request_id(r)); }

/* ---- Ollama ---- */

/* Its clients add the tag that stands for none. */
str ollama_name(const struct policy *p, str name)
{
    static const str latest = S(":latest");
    return str_ends(name, latest) && !policy_model(p, name) ? str_slice(name.p, name.n - latest.n) : name;
}

static enum err ollama_client_decode(struct gate_req *r)
{
    str path = http_req_head(r->http)->path;
    bool generate = str_eq(path, S("/api/generate"));
    enum err e = r->op == OP_EMBEDDING ? embed_decode(r->a, DIALECT_OLLAMA, str_eq(path, S("/api/embeddings")), r->asked, &r->call, &r->why)
                                       : ollama_decode(r->a, r->op, generate, r->asked, &r->call, &r->why);
    if (e != ERR_OK)
        return e;
    r->op = r->call.op;
    r->call.model = ollama_name(&r->view->cfg->policy, r->call.model);
    return e;
}

struct ollama_writer ollama_client_writer(const struct gate_req *r)
{
    char at[CLOCK_TEXT];
    clock_text(r->wall_us, at);
    return (struct ollama_writer){ .model = asked_model(r), .created_at = arena_str(r->a, str_of(at)), .generate = r->call.generate,
                                   .begin_ns = r->begin_us * 1000, .load_ns = r->queue_us * 1000 };
}

static void ollama_client_begin(struct gate_req *r) { r->speech->writer.ollama = ollama_client_writer(r); }

static void ollama_client_times(struct gate_req *r)
{
    r->speech->writer.ollama.now_ns = clock_mono_us(&r->loop->gate->opt.clock) * 1000;
    r->speech->writer.ollama.first_ns = r->first_us * 1000;
}

static enum err ollama_client_delta(struct gate_req *r, const struct delta *d)
{
    ollama_client_times(r);
    return ollama_write_delta(&r->speech->writer.ollama, r->a, &r->speech->out, &r->reply, d);
}

static enum err ollama_client_whole(struct gate_req *r, struct buf *out)
{
    ollama_client_times(r);
    return ollama_write_reply(r->a, out, &r->speech->writer.ollama, &r->reply, &r->speech->answer);
}

static str ollama_client_error(struct gate_req *r, enum err e, str message, str param) { return ollama_error_body(r->a, e, with_param(r, message, param)); }

static str ollama_client_error_from(struct gate_req *r) { return ollama_error_from(r->a, &r->reply); }
static str ollama_client_error_event(struct gate_req *r, enum err e, str message) { return ollama_error_line(r->a, e, message); }

/* ---- the table ---- */

static const struct client_side sides[] = {
    [DIALECT_OPENAI] = { S("text/event-stream; charset=utf-8"), openai_client_decode, openai_to_chat, openai_client_begin, openai_client_delta, openai_client_whole,
                         S("data: [DONE]\n\n"), openai_client_error, openai_client_error_from, openai_client_error_event, S(": waiting\n\n") },
    [DIALECT_RESPONSES] = { S("text/event-stream; charset=utf-8"), responses_client_decode, responses_to_chat, responses_client_begin, responses_client_delta,
                            responses_client_whole, S(""), openai_client_error, openai_client_error_from, responses_client_error_event, S(": waiting\n\n") },
    [DIALECT_ANTHROPIC] = { S("text/event-stream; charset=utf-8"), anthropic_client_decode, anthropic_to_chat, anthropic_client_begin, anthropic_client_delta,
                            anthropic_client_whole, S("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), anthropic_client_error, anthropic_client_error_from, anthropic_client_error_event,
                            S("event: ping\ndata: {\"type\": \"ping\"}\n\n") },
    /* Ollama's last line is end mark and counts in one: a stream without it is cut. */
    [DIALECT_OLLAMA] = { S("application/x-ndjson"), ollama_client_decode, ollama_to_chat, ollama_client_begin, ollama_client_delta, ollama_client_whole,
                         S(""), ollama_client_error, ollama_client_error_from, ollama_client_error_event, S("") },
};

const struct client_side *client_side(enum dialect d) { return &sides[d]; }
