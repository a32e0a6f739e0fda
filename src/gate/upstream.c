/* The side of the upstream: how each API is asked and its answers read. One row a dialect. */
#include "gate/request.h"

/* For an Anthropic model that a client asks without a limit: its API requires one. */
#define MAX_TOKENS_DEFAULT 4096

static bool has_path(const struct gate_req *r) { return str_ends(r->decision.model->provider->url, S("/v1")); }

/* ---- OpenAI, and what is compatible ---- */

/* What a server does beside OpenAI's API: whose fields it takes, and where it counts the tokens of a chat request (beside /v1: that path is its own). */
static const struct own { str count; enum openai_flavour flavour; bool beside, tokens; } owns[] = {     /* by enum provider_api; tokens: /tokenize and /detokenize, beside /v1 */
    [API_EMBEDDED] = { S("/count"), OPENAI_ENGINE, false, true },
    [API_OPENAI] = { S(""), OPENAI_PLAIN, false, false },
    [API_VLLM] = { S("/tokenize"), OPENAI_VLLM, true, true },
    [API_LLAMACPP] = { S("/chat/completions/input_tokens"), OPENAI_LLAMACPP, false, true },
    [API_OLLAMA] = { S(""), OPENAI_OLLAMA, false, false },
    [API_ANTHROPIC] = { S(""), OPENAI_PLAIN, false, false },
};
static const struct own *own(const struct gate_req *r) { return &owns[r->decision.model->provider->api]; }

/* OpenAI itself and Azure's service of it: their newer models refuse max_tokens. Others may know nothing else. */
static bool is_openai(str url) { return str_starts(url, S("https://api.openai.com")) || str_find(url, S(".openai.azure.com")) < url.n; }

static enum err openai_up_from_chat(struct gate_req *r, str id)
{
    r->speech->chat.newer_limit = own(r)->flavour == OPENAI_PLAIN && is_openai(r->decision.model->provider->url);
    return openai_from_chat(r->a, &r->speech->chat, id, own(r)->flavour, &r->speech->body, &r->why);
}

static str openai_up_target(const struct gate_req *r)
{
    if (op_is_tokens(r->op))
        return r->op == OP_TOKENIZE ? S("/tokenize") : S("/detokenize");
    return r->op == OP_COMPLETION ? S("/completions") : r->op == OP_EMBEDDING ? S("/embeddings") : r->op == OP_COUNT ? own(r)->count : S("/chat/completions");
}

/* What an engine of ours is told of the call (infer/serve.h). The client's own bytes go to it as they are, and say nothing of these. */
static str engine_fields(struct gate_req *r)
{
    const struct decision *d = &r->decision;
    bool shares = d->task && d->task->share_prefix && d->data != DATA_PRIVATE;
    return arena_printf(r->a, "X-Hearth-Caller: %.*s\r\n%s%s%s%.*s%s", STR_ARG(r->key ? r->key->name : S("-")), r->batch ? "X-Hearth-Priority: batch\r\n" : "",
                        r->deterministic ? "X-Hearth-Deterministic: true\r\n" : "", shares ? "X-Hearth-Share: " : "", STR_ARG(shares ? d->task->name : S("")), shares ? "\r\n" : "");
}

static str openai_up_fields(struct gate_req *r)
{
    str key = r->decision.model->provider->key;
    if (r->decision.model->provider->api == API_EMBEDDED)
        return engine_fields(r);
    return key.n ? arena_printf(r->a, "Authorization: Bearer %.*s\r\n", STR_ARG(key)) : S("");
}

static enum wire_event openai_up_event(struct gate_req *r, str event, str data, const struct delta_sink *sink)
{
    (void)event;
    return sink ? openai_read_deltas(&r->speech->reader.openai, r->a, &r->loop->scratch, data, &r->reply, sink)
                : (enum wire_event)openai_read_event(r->a, &r->loop->scratch, data, &r->reply);
}
_Static_assert((int)EVENT_DELTA == (int)WIRE_DELTA && (int)EVENT_FINISH == (int)WIRE_FINISH && (int)EVENT_USAGE == (int)WIRE_USAGE && (int)EVENT_DONE == (int)WIRE_DONE &&
                   (int)EVENT_ERROR == (int)WIRE_ERROR && (int)EVENT_INVALID == (int)WIRE_INVALID, "one order");

static enum err openai_up_reply(struct gate_req *r, str body, const struct delta_sink *sink)
{
    if (r->op == OP_COUNT)
        return openai_read_count(&r->loop->scratch, body, &r->reply);
    if (op_is_tokens(r->op))
        return openai_read_tokens(&r->loop->scratch, r->op, body, &r->reply);
    return sink ? openai_read_reply_deltas(r->a, &r->loop->scratch, body, &r->reply, sink) : openai_read_reply(r->a, &r->loop->scratch, body, &r->reply);
}

static void openai_up_error(struct gate_req *r, int status, str body) { openai_read_error(r->a, &r->loop->scratch, status, body, &r->reply); }

/* ---- Anthropic ---- */

static enum err anthropic_up_from_chat(struct gate_req *r, str id)
{
    return anthropic_from_chat(r->a, &r->speech->chat, id, MAX_TOKENS_DEFAULT, &r->speech->body, &r->why);
}

static str anthropic_up_target(const struct gate_req *r)
{
    if (r->op == OP_COUNT)
        return has_path(r) ? S("/messages/count_tokens") : S("/v1/messages/count_tokens");
    return has_path(r) ? S("/messages") : S("/v1/messages");
}

/* A list may come in several fields. */
static str betas(struct gate_req *r)
{
    const struct http_head *h = http_req_head(r->http);
    str all = STR_NONE;
    for (size_t i = 0; i < h->n_fields; i++)
        if (str_ieq(h->fields[i].name, S("anthropic-beta")))
            all = all.n ? arena_printf(r->a, "%.*s, %.*s", STR_ARG(all), STR_ARG(h->fields[i].value)) : h->fields[i].value;
    return all;
}

/* The version and the betas are the client's own where it speaks this dialect. */
static str anthropic_up_fields(struct gate_req *r)
{
    str key = r->decision.model->provider->key, version = STR_NONE, beta = STR_NONE;
    if (r->dialect == DIALECT_ANTHROPIC) {
        version = http_get(http_req_head(r->http), S("anthropic-version"));
        beta = betas(r);
    }
    if (!version.n)
        version = S("2023-06-01");
    return arena_printf(r->a, "anthropic-version: %.*s\r\n%s%.*s%s%s%.*s%s", STR_ARG(version), key.n ? "x-api-key: " : "", STR_ARG(key), key.n ? "\r\n" : "",
                        beta.n ? "anthropic-beta: " : "", (int)beta.n, beta.n ? beta.p : "", beta.n ? "\r\n" : "");
}

static enum wire_event anthropic_up_event(struct gate_req *r, str event, str data, const struct delta_sink *sink)
{
    return anthropic_read_event(&r->speech->reader.anthropic, r->a, &r->loop->scratch, event, data, &r->reply, sink);
}

static enum err anthropic_up_reply(struct gate_req *r, str body, const struct delta_sink *sink)
{
    if (r->op == OP_COUNT)
        return anthropic_read_count(&r->loop->scratch, body, &r->reply);
    return anthropic_read_reply(r->a, &r->loop->scratch, body, &r->reply, sink);
}

static void anthropic_up_error(struct gate_req *r, int status, str body) { anthropic_read_error(r->a, &r->loop->scratch, status, body, &r->reply); }

/* ---- Ollama ---- */

static enum err ollama_up_from_chat(struct gate_req *r, str id) { return ollama_from_chat(r->a, &r->speech->chat, id, &r->speech->body, &r->why); }

static str ollama_up_target(const struct gate_req *r)
{
    bool generate = r->dialect == DIALECT_OLLAMA && r->call.generate;
    if (r->op == OP_EMBEDDING)
        return generate ? S("/api/embeddings") : S("/api/embed");
    return generate ? S("/api/generate") : S("/api/chat");
}

static enum wire_event ollama_up_event(struct gate_req *r, str event, str data, const struct delta_sink *sink)
{
    (void)event;
    return ollama_read_line(&r->speech->reader.ollama, r->a, &r->loop->scratch, data, &r->reply, sink);
}

static enum err ollama_up_reply(struct gate_req *r, str body, const struct delta_sink *sink)
{
    return ollama_read_reply(&r->speech->reader.ollama, r->a, &r->loop->scratch, body, &r->reply, sink);
}

static void ollama_up_error(struct gate_req *r, int status, str body) { ollama_read_error(r->a, &r->loop->scratch, status, body, &r->reply); }

/* ---- the table ---- */

static const struct upstream_side openai_side = { DIALECT_OPENAI, false, openai_upstream_body, openai_up_from_chat, openai_up_target, openai_up_fields,
                                                  openai_up_event, openai_up_reply, openai_up_error };
static const struct upstream_side anthropic_side = { DIALECT_ANTHROPIC, false, anthropic_upstream_body, anthropic_up_from_chat, anthropic_up_target, anthropic_up_fields,
                                                     anthropic_up_event, anthropic_up_reply, anthropic_up_error };
static const struct upstream_side ollama_side = { DIALECT_OLLAMA, true, ollama_upstream_body, ollama_up_from_chat, ollama_up_target, openai_up_fields,
                                                  ollama_up_event, ollama_up_reply, ollama_up_error };

bool upstream_counts(const struct gate_req *r) { return r->decision.model->provider->api == API_ANTHROPIC || own(r)->count.n; }
bool upstream_has_tokens(const struct gate_req *r) { return own(r)->tokens; }

bool upstream_is_beside(const struct gate_req *r)
{
    if (op_is_tokens(r->op))
        return r->decision.model->provider->api == API_EMBEDDED || has_path(r);
    return r->op == OP_COUNT && own(r)->beside && has_path(r);
}

const struct upstream_side *upstream_side(const struct gate_req *r)
{
    switch (r->decision.model->provider->api) {
    case API_ANTHROPIC:
        return &anthropic_side;
    case API_OLLAMA:                    /* with a URL that ends in /v1 it is asked in OpenAI's way */
        return has_path(r) ? &openai_side : &ollama_side;
    default:
        return &openai_side;
    }
}
