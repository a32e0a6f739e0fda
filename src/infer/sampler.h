/* infer/sampler.h: how the next token is chosen. Includes: core, wire, llama.
 *
 * Parameters come by an allow-list with ranges: what the engine does not do is refused by name, never ignored, when
 * it would change the answer. Nothing of a request reaches libllama but the values checked here.
 *
 * With a grammar, a token is drawn from those that fit it: the distribution is that of the model with all others taken out first, before
 * top_k, top_p and temperature (libllama's and other servers' way of drawing first, and again where it does not fit, gives likely tokens
 * more than that share when the rest is cut off). It is exact, and yet the mask of all tokens is seldom needed: of the likeliest tokens
 * so many are tried as top_k asks for, and only where too few of them fit are all looked at. */
#ifndef HEARTH_INFER_SAMPLER_H
#define HEARTH_INFER_SAMPLER_H

#include "core/rand.h"
#include "infer/grammar.h"
#include "wire/call.h"

struct llama_vocab;
struct llama_context;

struct sampling {
    double temperature;                 /* 0: always the likeliest token */
    double top_p, min_p;
    int32_t top_k;                      /* 0: all */
    uint32_t seed;
    int64_t max_tokens;                 /* PARAM_UNSET: what is left of the context */
    double frequency_penalty, presence_penalty, repeat_penalty;     /* of tokens that were generated before; 0, 0, 1: none */
    const struct token_bias *bias;      /* lives with the request */
    size_t n_bias;
    int32_t top;                        /* probabilities wanted: the token's own and so many of the likeliest; -1: none */
    int32_t choices;                    /* answers wanted */
    struct grammar *grammar;            /* what the answer must be; NULL: anything. Lives with the request */
    const struct vocabulary *vocabulary;        /* of the model; needed with a grammar */
    int32_t shown;                      /* a control token whose name is part of the text; -1: none */
};
struct token_bias { int32_t token; float bias; };
struct token_prob { int32_t token; float logprob; };
/* Chosen for small local models, which wander at OpenAI's temperature of 1; part of a model's identity. */
#define SAMPLING_DEFAULTS ((struct sampling){ .temperature = 0.7, .top_p = 0.95, .min_p = 0.05, .top_k = 40, .max_tokens = PARAM_UNSET, .repeat_penalty = 1, .top = -1, .choices = 1, .shown = -1 })
#define SAMPLING_MAX_TOP_K 1000
#define SAMPLING_MAX_TOP 20             /* OpenAI's most */
#define SAMPLING_MAX_BIAS 1024
#define SAMPLING_MAX_CHOICES 16

/* Without a seed, one is drawn from `r`. `n_vocab`: token ids of a bias are below. ERR_RANGE, ERR_UNSUPPORTED: *why names the parameter. */
enum err sampling_read(struct arena *a, const struct call *c, int32_t n_vocab, struct rng *r, struct sampling *out, struct wire_error *why);

/* The model's tokens by what they add to a text; control tokens by their number (gbnf_token). */
enum err sampler_vocabulary(const struct llama_vocab *vocab, struct vocabulary **out);

struct sampler;
enum err sampler_new(const struct llama_vocab *vocab, const struct sampling *s, struct sampler **out);     /* ERR_MEMORY */
void sampler_free(struct sampler *s);                                                               /* NULL is fine */
/* The next token from output `at` of the latest decode; the grammar goes on with it. Negative: none fits (ERR_GRAMMAR). For several positions of
 * one decode it is called in their order, as long as each draws the token that stands at the next. */
int32_t sampler_next(struct sampler *s, struct llama_context *ctx, int32_t at);
int32_t sampler_likeliest(const float *scores, int32_t n);      /* the first of those with the highest score */
bool sampler_is_done(const struct sampler *s);                  /* the grammar has come to its end: nothing may follow */
/* After sampler_next(): natural logarithms of probabilities in the model's distribution, with biases and before temperature,
 * penalties, truncation and grammar. out[0] is `token`, then come the `top` likeliest in order. */
void sampler_probs(struct sampler *s, struct llama_context *ctx, int32_t at, int32_t token, int32_t top, struct token_prob *out);

#endif
