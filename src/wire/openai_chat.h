/* wire/openai_chat.h: OpenAI's chat completions to and from the middle (wire/chat.h, wire/delta.h), and completions. Includes: core, wire. Pure.
 *
 * wire/openai.h forwards bytes where both sides speak it; this is for when only one does. Source: as there, and the extensions of vLLM
 * (top_k, min_p, reasoning_content), llama-server and OpenRouter (reasoning). */
#ifndef HEARTH_WIRE_OPENAI_CHAT_H
#define HEARTH_WIRE_OPENAI_CHAT_H

#include "wire/chat.h"
#include "wire/delta.h"
#include "wire/openai.h"

enum err openai_to_chat(struct arena *a, const struct call *c, struct chat *out, struct wire_error *why);
/* Whose fields beside OpenAI's own may be used. A stream asks for usage. */
enum openai_flavour {
    OPENAI_PLAIN,                       /* nobody's: top_k, min_p and thinking are dropped */
    OPENAI_ENGINE,                      /* ours */
    OPENAI_VLLM,
    OPENAI_LLAMACPP,                    /* llama-server */
    OPENAI_OLLAMA                       /* Ollama below /v1 (openai/openai.go, ChatCompletionRequest): it ignores what it does not know, so that is not sent */
};
enum err openai_from_chat(struct arena *a, struct chat *c, str model_id, enum openai_flavour flavour, struct buf *out, struct wire_error *why);

struct openai_reader { bool begun; int64_t tools[8]; uint8_t finished; };        /* one stream; zeroed before its first event */
enum wire_event openai_read_deltas(struct openai_reader *s, struct arena *a, struct arena *scratch, str data, struct reply *r, const struct delta_sink *sink);
enum err openai_read_reply_deltas(struct arena *a, struct arena *scratch, str body, struct reply *r, const struct delta_sink *sink);

struct openai_chat_writer {
    str id, model, fingerprint;         /* "chatcmpl-…" */
    int64_t created;
    bool include_usage, is_chat;
    bool role_given[8];                 /* state, by choice */
};
enum err openai_write_chat_delta(struct openai_chat_writer *w, struct buf *b, const struct reply *r, const struct delta *d);     /* [DONE] with DELTA_END */
enum err openai_write_chat_reply(struct buf *b, const struct openai_chat_writer *w, const struct reply *r, const struct answer *answer);

#endif
