/* Parameters of a request, and libllama's sampler chain made from them. Greedy choice is our own loop: libllama's builds a table of
 * the whole vocabulary for each token first. */
#include "infer/sampler.h"

#include "infer/stop.h"

#include <llama.h>
#include <math.h>

/* ---- what a request may ask for ---- */

/* Fields that would change the answer and are not done here: fine while they ask for nothing. */
static const struct { const char *name; double neutral; } unsupported[] = {
    { "tools", NAN }, { "functions", NAN }, { "best_of", 1 }, { "echo", NAN }, { "suffix", NAN }, { "audio", NAN }, { "typical_p", 1 }, { "tfs_z", 1 }, { "mirostat", 0 }, { "grammar", NAN }, { "json_schema", NAN },
    { "guided_json", NAN }, { "guided_regex", NAN }, { "guided_choice", NAN }, { "guided_grammar", NAN }, { "lora", NAN },
};

/* null, false, "", [], {} and the neutral number ask for nothing. */
static bool asks_for_nothing(json v, double neutral)
{
    double number;
    switch (json_type(v)) {
    case JSON_NONE: case JSON_NULL: case JSON_FALSE: return true;
    case JSON_STRING: return json_is(v, S(""));
    case JSON_ARRAY: case JSON_OBJECT: return json_count(v) == 0;
    case JSON_NUMBER: return json_f64(v, &number) && number == neutral;
    case JSON_TRUE: break;
    }
    return false;
}

static enum err refuse(struct wire_error *why, enum err e, str message, const char *param)
{
    *why = (struct wire_error){ e, message, str_of(param) };
    return e;
}

static enum err check_supported(struct arena *a, const struct call *c, struct wire_error *why)
{
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++)
        if (!asks_for_nothing(json_member(c->root, str_of(unsupported[i].name)), unsupported[i].neutral))
            return refuse(why, ERR_UNSUPPORTED, arena_printf(a, "'%s' is not supported by this engine", unsupported[i].name), unsupported[i].name);
    json format = c->response_format;
    if (json_type(format) != JSON_NONE && json_type(format) != JSON_NULL && !json_is(json_member(format, S("type")), S("text")))
        return refuse(why, ERR_UNSUPPORTED, S("'response_format' other than text is not supported by this engine"), "response_format");
    if (json_type(c->tool_choice) == JSON_OBJECT || json_is(c->tool_choice, S("required")))
        return refuse(why, ERR_UNSUPPORTED, S("'tool_choice' is not supported by this engine"), "tool_choice");
    if (c->has_image)
        return refuse(why, ERR_UNSUPPORTED, S("messages may hold text only: this engine reads no images, audio or files"), "messages");
    return ERR_OK;
}

static enum err read_double(double given, double least, bool open, double most, double *out)
{
    if (isnan(given))
        return ERR_OK;
    if (given < least || given > most || (open && given == least))
        return ERR_RANGE;
    *out = given;
    return ERR_OK;
}

/* Any 64-bit seed; libllama takes 32 bits, of which one value means "random". */
static uint32_t seed_32(uint64_t seed)
{
    uint32_t s = (uint32_t)(seed ^ seed >> 32);
    return s == LLAMA_DEFAULT_SEED ? 0 : s;
}

/* {"1234": -100}: ids of tokens as keys. */
static enum err read_bias(struct arena *a, json map, int32_t n_vocab, struct sampling *s, struct wire_error *why)
{
    size_t n = json_type(map) == JSON_OBJECT ? json_count(map) : 0;
    struct token_bias *list = arena_new(a, struct token_bias, n + 1);
    if (n > SAMPLING_MAX_BIAS)
        return refuse(why, ERR_RANGE, S("'logit_bias' may name 1024 tokens at most"), "logit_bias");
    if (!list)
        return ERR_LIMIT;
    for (json m = json_first(map); n && json_type(m) != JSON_NONE; m = json_next(m)) {
        uint64_t token;
        double bias;
        str key;
        if (json_text(a, json_key(m), &key) != ERR_OK || !str_u64(key, &token) || token >= (uint64_t)n_vocab)
            return refuse(why, ERR_RANGE, S("a key of 'logit_bias' must be the id of a token of this model"), "logit_bias");
        if (!json_f64(m, &bias) || !(bias >= -100 && bias <= 100))
            return refuse(why, ERR_RANGE, S("a value of 'logit_bias' must be a number from -100 to 100"), "logit_bias");
        list[s->n_bias++] = (struct token_bias){ (int32_t)token, bias <= -100 ? -INFINITY : (float)bias };
    }
    s->bias = list;
    return ERR_OK;
}

/* llama-server calls it repeat_penalty, vLLM repetition_penalty. */
static enum err read_penalties(const struct call *c, struct sampling *s, struct wire_error *why)
{
    static const char *const names[] = { "repeat_penalty", "repetition_penalty" };
    if (read_double(c->params.frequency_penalty, -2, false, 2, &s->frequency_penalty) != ERR_OK)
        return refuse(why, ERR_RANGE, S("'frequency_penalty' must be from -2 to 2"), "frequency_penalty");
    if (read_double(c->params.presence_penalty, -2, false, 2, &s->presence_penalty) != ERR_OK)
        return refuse(why, ERR_RANGE, S("'presence_penalty' must be from -2 to 2"), "presence_penalty");
    for (size_t i = 0; i < 2; i++) {
        json v = json_member(c->root, str_of(names[i]));
        double x;
        if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
            continue;
        if (!json_f64(v, &x) || !(x > 0 && x <= 2))
            return refuse(why, ERR_RANGE, S("a penalty of repetitions must be above 0 and at most 2"), names[i]);
        s->repeat_penalty = x;
    }
    return ERR_OK;
}

static enum err read_counts(const struct call *c, struct sampling *s, struct wire_error *why)
{
    const struct params *p = &c->params;
    if (p->logprobs != PARAM_UNSET && (p->logprobs < 0 || p->logprobs > SAMPLING_MAX_TOP))
        return refuse(why, ERR_RANGE, S("probabilities of at most 20 alternatives can be given"), c->op == OP_CHAT ? "top_logprobs" : "logprobs");
    if (p->n != PARAM_UNSET && (p->n < 1 || p->n > SAMPLING_MAX_CHOICES))
        return refuse(why, ERR_RANGE, S("'n' must be from 1 to 16 on this engine"), "n");
    s->top = p->logprobs == PARAM_UNSET ? -1 : (int32_t)p->logprobs;
    s->choices = p->n == PARAM_UNSET ? 1 : (int32_t)p->n;
    return ERR_OK;
}

enum err sampling_read(struct arena *a, const struct call *c, int32_t n_vocab, struct rng *r, struct sampling *out, struct wire_error *why)
{
    const struct params *p = &c->params;
    struct sampling s = SAMPLING_DEFAULTS;
    enum err e = check_supported(a, c, why);
    if (e != ERR_OK)
        return e;
    if (read_double(p->temperature, 0, false, 2, &s.temperature) != ERR_OK)
        return refuse(why, ERR_RANGE, S("'temperature' must be from 0 to 2"), "temperature");
    if (read_double(p->top_p, 0, true, 1, &s.top_p) != ERR_OK)
        return refuse(why, ERR_RANGE, S("'top_p' must be above 0 and at most 1"), "top_p");
    if (read_double(p->min_p, 0, false, 1, &s.min_p) != ERR_OK)
        return refuse(why, ERR_RANGE, S("'min_p' must be from 0 to 1"), "min_p");
    if (p->top_k != PARAM_UNSET && (p->top_k < 0 || p->top_k > SAMPLING_MAX_TOP_K))
        return refuse(why, ERR_RANGE, S("'top_k' must be from 0 (all) to 1000"), "top_k");
    if (p->max_tokens != PARAM_UNSET && p->max_tokens < 1)
        return refuse(why, ERR_RANGE, S("'max_tokens' must be at least 1"), "max_tokens");
    for (size_t i = 0; i < p->n_stop; i++)
        if (p->stop[i].n == 0 || p->stop[i].n > STOP_MAX_TEXT)
            return refuse(why, ERR_RANGE, S("a stop string must have 1 to 256 bytes"), "stop");
    if ((e = read_penalties(c, &s, why)) != ERR_OK || (e = read_counts(c, &s, why)) != ERR_OK || (e = read_bias(a, c->logit_bias, n_vocab, &s, why)) != ERR_OK)
        return e;
    if (p->top_k != PARAM_UNSET)
        s.top_k = (int32_t)p->top_k;
    s.max_tokens = p->max_tokens;
    s.seed = seed_32(p->seed != PARAM_UNSET ? (uint64_t)p->seed : rand_u64(r));
    *out = s;
    return ERR_OK;
}

/* ---- choosing ---- */

struct sampler {
    struct llama_sampler *chain;        /* NULL: greedy */
    const llama_token *suppressed;      /* tokens that the model's file says are never to be generated */
    int32_t n_suppressed, n_vocab;
    const struct token_bias *bias;
    size_t n_bias;
};

enum { PENALTY_TOKENS = 8192 };         /* so far back repetitions are counted */

static bool has_penalty(const struct sampling *s) { return s->frequency_penalty != 0 || s->presence_penalty != 0 || s->repeat_penalty != 1; }

static enum err chain_new(const struct sampling *s, int32_t n_vocab, struct llama_sampler **out)
{
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (!chain)
        return ERR_MEMORY;
    if (has_penalty(s))
        llama_sampler_chain_add(chain, llama_sampler_init_penalties(n_vocab, PENALTY_TOKENS, (float)s->repeat_penalty, (float)s->frequency_penalty, (float)s->presence_penalty));
    *out = chain;
    if (s->temperature <= 0) {
        llama_sampler_chain_add(chain, llama_sampler_init_greedy());
        return ERR_OK;
    }
    if (s->top_k > 0)
        llama_sampler_chain_add(chain, llama_sampler_init_top_k(s->top_k));
    if (s->top_p < 1)
        llama_sampler_chain_add(chain, llama_sampler_init_top_p((float)s->top_p, 1));
    if (s->min_p > 0)
        llama_sampler_chain_add(chain, llama_sampler_init_min_p((float)s->min_p, 1));
    llama_sampler_chain_add(chain, llama_sampler_init_temp((float)s->temperature));
    llama_sampler_chain_add(chain, llama_sampler_init_dist(s->seed));
    return ERR_OK;
}

enum err sampler_new(const struct llama_vocab *vocab, const struct sampling *s, struct sampler **out)
{
    struct sampler *made = calloc(1, sizeof *made);
    if (!made)
        return ERR_MEMORY;
    made->n_vocab = llama_vocab_n_tokens(vocab);
    made->suppressed = llama_vocab_get_suppress_tokens(vocab, &made->n_suppressed);
    made->bias = s->bias;
    made->n_bias = s->n_bias;
    if ((s->temperature > 0 || has_penalty(s)) && chain_new(s, made->n_vocab, &made->chain) != ERR_OK) {
        free(made);
        return ERR_MEMORY;
    }
    *out = made;
    return ERR_OK;
}

void sampler_free(struct sampler *s)
{
    if (s && s->chain)
        llama_sampler_free(s->chain);
    free(s);
}

int32_t sampler_next(struct sampler *s, struct llama_context *ctx, int32_t at)
{
    float *logits = llama_get_logits_ith(ctx, at);
    for (int32_t i = 0; i < s->n_suppressed; i++)
        if (s->suppressed[i] >= 0 && s->suppressed[i] < s->n_vocab)
            logits[s->suppressed[i]] = -INFINITY;
    for (size_t i = 0; i < s->n_bias; i++)
        logits[s->bias[i].token] += s->bias[i].bias;
    if (s->chain)
        return llama_sampler_sample(s->chain, ctx, at);
    int32_t best = 0;
    for (int32_t i = 1; i < s->n_vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

void sampler_probs(struct sampler *s, struct llama_context *ctx, int32_t at, int32_t token, int32_t top, struct token_prob *out)
{
    const float *logits = llama_get_logits_ith(ctx, at);
    float most = -INFINITY;
    double sum = 0;
    int32_t n = 0;
    for (int32_t i = 0; i < s->n_vocab; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        sum += exp((double)(logits[i] - most));
        if (top == 0 || (n == top && logits[i] <= out[n].logprob))
            continue;
        int32_t k = n < top ? ++n : n;          /* insertion into the few that are the likeliest so far: out[1] to out[n] */
        for (; k > 1 && logits[i] > out[k - 1].logprob; k--)
            out[k] = out[k - 1];
        out[k] = (struct token_prob){ i, logits[i] };
    }
    float norm = most + (float)log(sum);
    for (int32_t k = 1; k <= top; k++)
        out[k] = k <= n ? (struct token_prob){ out[k].token, out[k].logprob - norm } : (struct token_prob){ -1, -INFINITY };
    out[0] = (struct token_prob){ token, logits[token] - norm };
}
