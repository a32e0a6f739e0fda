/* ledger/row.h: the fields of a ledger row, in one table. Includes: core, wire.
 *
 * This list is the SQL schema, the canonical form that is hashed, `hearth show --json` and docs/ledger.md at once. A new
 * field goes at the end and raises LEDGER_SCHEMA; nothing is ever removed or moved. What does not apply is NULL.
 *
 * The canonical form of a row is a JSON object without spaces: "seq", "schema", "kind" and then every field that is not
 * NULL, in this order; integers as they are, doubles in shortest round-trip form, text escaped minimally, digests as hex.
 * row_hash = SHA-256(previous row_hash || canonical form); the first row follows 32 zero bytes.
 *
 * Types: I integer, F double, T text, D digest (32 bytes). Names of OpenTelemetry's GenAI conventions stand where they exist. */
#ifndef HEARTH_LEDGER_ROW_H
#define HEARTH_LEDGER_ROW_H

#include "core/hash.h"
#include "core/str.h"

#define LEDGER_SCHEMA 2

enum row_kind { ROW_INTENT, ROW_END, ROW_SCORE, ROW_DECISION, ROW_EVENT };

/*    type, name, OpenTelemetry name or "", what it is */
#define ROW_FIELDS_1(X)                                                                                                \
    X(I, at_us,             "",                                    "wall clock when the row was made, µs since 1970")   \
    X(T, call_id,           "",                                    "one request of a client (UUIDv7)")                  \
    X(I, attempt,           "",                                    "which try at a model this is, from 1; 0: the call was refused before any") \
    X(T, parent_call,       "",                                    "the call that this one belongs to")                 \
    X(T, workflow,          "gen_ai.workflow.name",                "set by a workflow; not used yet")                   \
    X(T, conversation,      "gen_ai.conversation.id",              "what the client says it belongs to (x-hearth-conversation)") \
    X(T, operation,         "gen_ai.operation.name",               "chat, text_completion, embeddings, count_tokens, load_model, unload_model") \
    X(T, dialect,           "",                                    "the API the client spoke")                          \
    X(T, task,              "",                                    "by name, or by the rules of auto")                  \
    X(T, risk,              "",                                    "low, medium, high")                                 \
    X(T, data_class,        "",                                    "public, internal, private")                         \
    X(T, model_asked,       "gen_ai.request.model",                "what the client asked for")                         \
    X(T, model,             "",                                    "hearth's name of the model chosen")                 \
    X(T, model_id,          "",                                    "the name sent to the provider")                     \
    X(T, model_served,      "gen_ai.response.model",               "what the provider says answered")                   \
    X(T, provider,          "gen_ai.provider.name",                "")                                                  \
    X(T, zone,              "",                                    "machine, private, cloud")                           \
    X(T, endpoint,          "server.address",                      "its URL, or embedded")                              \
    X(D, fingerprint,       "",                                    "what the model really is: key of table model; NULL: unknown") \
    X(T, response_id,       "gen_ai.response.id",                  "the provider's")                                    \
    X(T, system_fingerprint,"openai.response.system_fingerprint",  "what the provider says of its system")              \
    X(T, decision,          "",                                    "why this model: model, task-reference, …")          \
    X(T, candidates,        "",                                    "the models that were possible")                     \
    X(D, policy,            "",                                    "key of table config")                               \
    X(T, stage,             "",                                    "canary stage")                                      \
    X(F, stage_weight,      "",                                    "share of calls that the candidate gets")            \
    X(T, arm,               "",                                    "primary, shadow, audit")                            \
    X(T, prompt_name,       "gen_ai.prompt.name",                  "of the registry")                                   \
    X(T, prompt_version,    "gen_ai.prompt.version",               "")                                                  \
    X(D, prompt_hash,       "",                                    "of the template")                                   \
    X(D, variables_hash,    "",                                    "salted")                                            \
    X(D, rendered_hash,     "",                                    "of the messages that the prompt came to; salted") \
    X(D, input_ids_hash,    "",                                    "of the token ids; salted")                          \
    X(F, temperature,       "gen_ai.request.temperature",          "as asked; NULL: not said")                          \
    X(F, top_p,             "gen_ai.request.top_p",                "")                                                  \
    X(I, top_k,             "gen_ai.request.top_k",                "")                                                  \
    X(F, min_p,             "",                                    "")                                                  \
    X(I, max_tokens,        "gen_ai.request.max_tokens",           "")                                                  \
    X(I, seed,              "gen_ai.request.seed",                 "")                                                  \
    X(I, choices,           "gen_ai.request.choice.count",         "n")                                                 \
    X(F, frequency_penalty, "gen_ai.request.frequency_penalty",    "")                                                  \
    X(F, presence_penalty,  "gen_ai.request.presence_penalty",     "")                                                  \
    X(T, stop,              "gen_ai.request.stop_sequences",       "JSON array")                                        \
    X(I, stream,            "gen_ai.request.stream",               "1 or 0")                                            \
    X(T, output_type,       "gen_ai.output.type",                  "")                                                  \
    X(T, outcome,           "",                                    "ok, error, cut, refused, cancelled")                \
    X(T, finish_reason,     "gen_ai.response.finish_reasons",      "as the provider says it")                           \
    X(I, http_status,       "http.response.status_code",           "what the client got")                               \
    X(T, error_type,        "error.type",                          "hearth's own code")                                 \
    X(T, error_detail,      "",                                    "the upstream's code or type of it; never a text")                             \
    X(I, input_tokens,      "gen_ai.usage.input_tokens",           "with the cached ones")                              \
    X(I, output_tokens,     "gen_ai.usage.output_tokens",          "")                                                  \
    X(I, cached_tokens,     "gen_ai.usage.cache_read.input_tokens", "read from a cache")                                \
    X(I, cache_write_tokens,"gen_ai.usage.cache_creation.input_tokens", "written to one")                               \
    X(I, reasoning_tokens,  "gen_ai.usage.reasoning.output_tokens", "")                                                 \
    X(I, cost_micros,       "",                                    "millionths of a dollar; NULL: no price known")      \
    X(T, price_version,     "",                                    "")                                                  \
    X(F, energy_j,          "",                                    "not measured yet")                                  \
    X(I, overhead_us,       "",                                    "hearth's own part before the attempt was sent")     \
    X(I, queue_us,          "",                                    "until a local engine was ready for it")             \
    X(I, connect_us,        "",                                    "0: a kept connection")                              \
    X(I, first_us,          "gen_ai.client.operation.time_to_first_chunk", "from the attempt's start to the first visible byte") \
    X(I, total_us,          "gen_ai.client.operation.duration",    "from the request's head to the end of the answer")  \
    X(T, key_id,            "",                                    "virtual key")                                       \
    X(T, client,            "",                                    "peer and user agent")                               \
    X(I, client_retry,      "",                                    "the client says this is its n-th retry")            \
    X(T, trace,             "",                                    "W3C traceparent")                                   \
    X(I, request_bytes,     "",                                    "")                                                  \
    X(I, response_bytes,    "",                                    "")                                                  \
    X(D, request_hash,      "",                                    "of the client's body; salted, or keyed for private calls") \
    X(D, upstream_hash,     "",                                    "of the body sent, where it differs; salted or keyed") \
    X(D, response_hash,     "",                                    "of the bytes the client was given; salted or keyed") \
    X(I, request_body,      "",                                    "table body; NULL: not kept")                        \
    X(I, response_body,     "",                                    "table body; NULL: not kept")                        \
    X(T, guard_version,     "",                                    "whose rules looked for personal data: the version of hearth; NULL: nothing was searched") \
    X(T, guard_counts,      "",                                    "JSON object: masked by type, or seen, where nothing is masked") \
    X(T, grader,            "gen_ai.evaluation.name",              "score rows: who graded")                            \
    X(F, score,             "gen_ai.evaluation.score.value",       "")                                                  \
    X(T, label,             "gen_ai.evaluation.score.label",       "")                                                  \
    X(D, explanation_hash,  "",                                    "")                                                  \
    X(I, evidence_n,        "",                                    "canary evidence after this row")                    \
    X(T, evidence_counts,   "",                                    "")                                                  \
    X(F, log_ep,            "",                                    "")                                                  \
    X(F, log_er,            "",                                    "")                                                  \
    X(T, detector,          "",                                    "")                                                  \
    X(T, event,             "",                                    "event and decision rows: what happened")            \
    X(T, detail,            "",                                    "JSON object that belongs to the event")

/* Since schema 2. */
#define ROW_FIELDS_2(X)                                                                                                \
    X(I, accepted_tokens,   "",                                    "of output_tokens, those that were drafted before they were chosen") \
    X(I, rejected_tokens,   "",                                    "drafted and not chosen")                            \
    X(I, deterministic,     "",                                    "1: asked for the same bytes at any load")

#define ROW_FIELDS(X) ROW_FIELDS_1(X) ROW_FIELDS_2(X)

#define ROW_NULL_I INT64_MIN
/* A double is NULL when it is NAN; a text when .p is NULL; a digest when its pointer is NULL. */

#define ROW_C_I int64_t
#define ROW_C_F double
#define ROW_C_T str
#define ROW_C_D const struct digest *

struct ledger_row {
    enum row_kind kind;
#define X(type, name, otel, help) ROW_C_##type name;
    ROW_FIELDS(X)
#undef X
};

void row_init(struct ledger_row *r, enum row_kind kind);        /* every field NULL */
const char *row_kind_name(enum row_kind k);                     /* "intent", "end", "score", "decision", "event" */

struct row_field { const char *name; char type; size_t offset; const char *otel, *help; str key; /* as the canonical form has it: ,"name": */ };
extern const struct row_field row_fields[];
extern const size_t row_n_fields;

#endif
