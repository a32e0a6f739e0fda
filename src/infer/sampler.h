/* infer/sampler.h: how the next token is chosen. Includes: core, wire, llama.
 *
 * Parameters come by an allow-list with ranges: what the engine does not do is refused by name, never ignored, when
 * it would change the answer. Nothing of a request reaches libllama but the values checked here. */
#ifndef HEARTH_INFER_SAMPLER_H
#define HEARTH_INFER_SAMPLER_H

#include "core/rand.h"
#include "wire/call.h"

struct llama_vocab;
struct llama_context;

struct sampling {
    double temperature;                 /* 0: always the likeliest token */
    double top_p, min_p;
    int32_t top_k;                      /* 0: all */
    uint32_t seed;
    int64_t max_tokens;                 /* PARAM_UNSET: what is left of the context */
};
/* Chosen for small local models, which wander at OpenAI's temperature of 1; part of a model's identity. */
#define SAMPLING_DEFAULTS ((struct sampling){ .temperature = 0.7, .top_p = 0.95, .min_p = 0.05, .top_k = 40, .max_tokens = PARAM_UNSET })
#define SAMPLING_MAX_TOP_K 1000

/* Without a seed, one is drawn from `r`. ERR_RANGE, ERR_UNSUPPORTED: *why names the parameter. */
enum err sampling_read(struct arena *a, const struct call *c, struct rng *r, struct sampling *out, struct wire_error *why);

struct sampler;
enum err sampler_new(const struct llama_vocab *vocab, const struct sampling *s, struct sampler **out);     /* ERR_MEMORY */
void sampler_free(struct sampler *s);                                                               /* NULL is fine */
/* The next token from output `at` of the latest decode. */
int32_t sampler_next(struct sampler *s, struct llama_context *ctx, int32_t at);

#endif
