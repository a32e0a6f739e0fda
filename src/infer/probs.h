/* infer/probs.h: probabilities of tokens in the shapes of the OpenAI API. Includes: core, llama (in the .c).
 *
 * Chat ("logprobs": {"content": [{"token", "logprob", "bytes", "top_logprobs"}]}) and completions ("tokens", "token_logprobs",
 * "top_logprobs", "text_offset"): OpenAI API reference. A token's text may be a part of a character: `token` then has U+FFFD in its
 * place, and `bytes` what it is. */
#ifndef HEARTH_INFER_PROBS_H
#define HEARTH_INFER_PROBS_H

#include "core/buf.h"
#include "infer/sampler.h"

/* `probs` has n records of 1 + top. *offset: characters of the answer before the first of them; moved on. */
enum err probs_write(struct buf *b, const struct llama_vocab *vocab, bool is_chat, int32_t top, const struct token_prob *probs, size_t n, int64_t *offset);
/* Bytes that a token stands for in a text. */
size_t probs_token_bytes(const struct llama_vocab *vocab, int32_t token);

#endif
