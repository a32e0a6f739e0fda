/* wire/call.h: one request of a client, whatever API it came by, and what came back. Includes: core. Pure.
 *
 * A codec decodes a body into a `call` once; everything after that looks at the call. Its texts are spans of the body,
 * so what nobody touches can be forwarded byte for byte. A message's content stays JSON until somebody asks for it. */
#ifndef HEARTH_WIRE_CALL_H
#define HEARTH_WIRE_CALL_H

#include "core/json.h"
#include "wire/names.h"

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };

struct message {
    enum role role;
    json whole;                         /* the message object */
    json content;                       /* a string, an array of parts, null or absent */
};

#define CALL_MAX_STOP 16
#define PARAM_UNSET INT64_MIN           /* an integer that was not given; a double is NAN */

struct params {
    double temperature, top_p, min_p, frequency_penalty, presence_penalty;
    int64_t top_k, max_tokens, seed, n, logprobs;       /* logprobs: asked for so many alternatives */
    str stop[CALL_MAX_STOP];
    size_t n_stop;
};

void params_init(struct params *p);     /* everything unset */

struct call {
    enum dialect dialect;
    enum op op;
    str body;
    json root;
    str model;                          /* as asked; empty when none was named */
    bool stream;
    bool include_usage;                 /* the client itself asked for usage in a stream */
    struct params params;
    struct message *messages;           /* chat */
    size_t n_messages;
    json tools, tool_choice, response_format, logit_bias;    /* JSON_ABSENT where not given */
    str prompt;                         /* completions: one text */
    json input;                         /* embeddings: what is to become vectors */
    bool base64;                        /* embeddings: the client wants them so */
    bool has_image;                     /* any part that is not text */
    bool generate;                      /* Ollama: /api/generate or /api/embeddings: one prompt, and the reply has that shape */
};

/* What is wrong with a request, for the client: `param` names the field ("messages[2].role") or is empty. */
struct wire_error {
    enum err err;
    str message, param;
};

/* The text of a message: its string, or its text parts joined. ERR_UNSUPPORTED for parts that are not text. */
enum err message_text(struct arena *a, const struct message *m, str *out);
str role_name(enum role r);

#define TOKENS_UNKNOWN (-1)

/* What an upstream said of its answer. Strings are copied into the arena given to the codec that fills it. */
struct reply {
    str id, model, fingerprint, finish_reason;          /* empty: not said */
    /* TOKENS_UNKNOWN: not said. OpenAI's way of counting: the prompt's tokens include the cached ones. */
    int64_t prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, accepted_tokens, rejected_tokens;   /* the last two: drafted */
    uint64_t begun, ended;              /* choices by index, as far as 63 */
    bool started;                       /* something visible (content, tool call, reasoning) has come */
    bool finished;                      /* every choice that was begun has its finish_reason */
    bool done;                          /* the stream's own end mark has come */
    bool has_error;
    str error_message, error_type, error_code;
    int error_status;                   /* HTTP status, 0 when none is known */
};
void reply_init(struct reply *r);
bool reply_has_usage(const struct reply *r);            /* the upstream said what it took: else a client is told nothing, not zero */

#endif
