/* Parameters of a request, and libllama's sampler chain made from them. Greedy choice is our own loop: libllama's builds a table of
 * the whole vocabulary for each token first. */
#include "infer/sampler.h"

#include "infer/stop.h"

#include <llama.h>
#include <math.h>

/* ---- what a request may ask for ---- */

/* Fields that would change the answer and are not done here: fine while they ask for nothing. */
static const struct { const char *name; double neutral; } unsupported[] = {
    { "functions", NAN }, { "function_call", NAN }, { "best_of", 1 }, { "echo", NAN }, { "suffix", NAN }, { "audio", NAN }, { "typical_p", 1 }, { "tfs_z", 1 }, { "mirostat", 0 }, { "lora", NAN },
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
    struct llama_sampler *penalties;    /* with a grammar: apart, since they come before the choice of candidates */
    const llama_token *suppressed;      /* tokens that the model's file says are never to be generated */
    int32_t n_suppressed, n_vocab, top_k;
    const struct token_bias *bias;
    size_t n_bias;
    const struct llama_vocab *vocab;
    struct grammar_run run;             /* run.g NULL: no grammar */
    const struct vocabulary *vocabulary;
    llama_token_data *candidates;       /* room for the whole vocabulary */
    float *scores;                      /* of all tokens after penalties */
};

enum { PENALTY_TOKENS = 8192 };         /* so far back repetitions are counted */
enum { TRIED = 32 };                    /* so many tokens more than wanted are tried before all are looked at */

static bool has_penalty(const struct sampling *s) { return s->frequency_penalty != 0 || s->presence_penalty != 0 || s->repeat_penalty != 1; }

static struct llama_sampler *penalties_new(const struct sampling *s, int32_t n_vocab)
{
    return llama_sampler_init_penalties(n_vocab, PENALTY_TOKENS, (float)s->repeat_penalty, (float)s->frequency_penalty, (float)s->presence_penalty);
}

static enum err chain_new(const struct sampling *s, int32_t n_vocab, struct llama_sampler **out)
{
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (!chain)
        return ERR_MEMORY;
    if (has_penalty(s) && !s->grammar)
        llama_sampler_chain_add(chain, penalties_new(s, n_vocab));
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

static enum err grammar_parts_new(struct sampler *s, const struct sampling *p)
{
    s->vocabulary = p->vocabulary;
    s->top_k = p->temperature <= 0 ? 1 : p->top_k;
    s->candidates = calloc((size_t)s->n_vocab, sizeof *s->candidates);
    if (has_penalty(p)) {
        s->penalties = penalties_new(p, s->n_vocab);
        s->scores = calloc((size_t)s->n_vocab, sizeof *s->scores);
    }
    if (!s->candidates || (has_penalty(p) && (!s->penalties || !s->scores)))
        return ERR_MEMORY;
    grammar_begin(p->grammar, &s->run);
    return ERR_OK;
}

enum err sampler_new(const struct llama_vocab *vocab, const struct sampling *s, struct sampler **out)
{
    struct sampler *made = calloc(1, sizeof *made);
    if (!made)
        return ERR_MEMORY;
    made->vocab = vocab;
    made->n_vocab = llama_vocab_n_tokens(vocab);
    made->suppressed = llama_vocab_get_suppress_tokens(vocab, &made->n_suppressed);
    made->bias = s->bias;
    made->n_bias = s->n_bias;
    enum err e = s->temperature > 0 || (has_penalty(s) && !s->grammar) ? chain_new(s, made->n_vocab, &made->chain) : ERR_OK;
    if (!e && s->grammar)
        e = grammar_parts_new(made, s);
    if (e)
        sampler_free(made);
    else
        *out = made;
    return e;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    if (s->chain)
        llama_sampler_free(s->chain);
    if (s->penalties)
        llama_sampler_free(s->penalties);
    grammar_end(&s->run);
    free(s->candidates);
    free(s->scores);
    free(s);
}

/* ---- with a grammar ---- */

/* What of the vocabulary is no text, but may have to be generated, has a number in place of one; what is not to be generated at all, nothing. */
static enum err piece_of(struct arena *a, const struct llama_vocab *vocab, llama_token t, str *out)
{
    char small[64];
    *out = STR_NONE;
    if (llama_vocab_is_eog(vocab, t) || (llama_vocab_get_attr(vocab, t) & (LLAMA_TOKEN_ATTR_UNUSED | LLAMA_TOKEN_ATTR_UNKNOWN)))
        return ERR_OK;
    if (llama_vocab_is_control(vocab, t)) {
        gbnf_token((uint32_t)t, small);
        *out = arena_str(a, str_slice(small, GBNF_TOKEN));
        return out->p ? ERR_OK : ERR_MEMORY;
    }
    int32_t n = llama_token_to_piece(vocab, t, small, sizeof small, 0, false);
    char *text = arena_alloc(a, (size_t)(n < 0 ? -n : n) + 1, 1);
    if (!text)
        return ERR_MEMORY;
    if (n < 0)
        n = llama_token_to_piece(vocab, t, text, -n, 0, false);
    else
        memcpy(text, small, (size_t)n);
    if (n > 0 && !memchr(text, 0xFF, (size_t)n))        /* a byte of no text: only numbers begin with it */
        *out = str_slice(text, (size_t)n);
    return ERR_OK;
}

enum err sampler_vocabulary(const struct llama_vocab *vocab, struct vocabulary **out)
{
    struct arena a;
    int32_t n = llama_vocab_n_tokens(vocab);
    uint32_t n_ends = 0;
    arena_init(&a, 1u << 30);
    str *pieces = arena_new(&a, str, (size_t)n);
    uint32_t *ends = arena_new(&a, uint32_t, (size_t)n);
    enum err e = pieces && ends ? ERR_OK : ERR_MEMORY;
    for (int32_t i = 0; i < n && !e; i++) {
        e = piece_of(&a, vocab, i, &pieces[i]);
        if (llama_vocab_is_eog(vocab, i))
            ends[n_ends++] = (uint32_t)i;
    }
    if (!e)
        e = vocabulary_new(pieces, (uint32_t)n, ends, n_ends, out);
    arena_free(&a);
    return e;
}

/* a before b: the likelier first, and of two that are as likely the one with the lower number. */
static bool before(const llama_token_data *a, const llama_token_data *b) { return a->logit != b->logit ? a->logit > b->logit : a->id < b->id; }

static int by_logit(const void *x, const void *y) { return before(x, y) ? -1 : 1; }

/* A heap whose root comes last: put the root where it belongs. */
static void sink(llama_token_data *heap, size_t n, size_t at)
{
    for (size_t child; (child = at * 2 + 1) < n; at = child) {
        if (child + 1 < n && before(&heap[child], &heap[child + 1]))
            child++;
        if (!before(&heap[at], &heap[child]))
            return;
        llama_token_data t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
    }
}

/* The most likely `most` of all tokens, or of those in the mask; in order. Tokens of no likelihood are none. */
struct top { llama_token_data *list; size_t n, most; };

static void top_add(struct top *t, int32_t token, float score)
{
    llama_token_data d = { token, score, 0 };
    if (!(score > -INFINITY) || (t->n == t->most && !before(&d, &t->list[0])))
        return;
    if (t->n < t->most) {
        t->list[t->n++] = d;
        if (t->n == t->most)
            for (size_t i = t->n / 2; i-- > 0;)
                sink(t->list, t->n, i);
        return;
    }
    t->list[0] = d;
    sink(t->list, t->n, 0);
}

static size_t top_of_all(struct sampler *s, const float *scores, size_t most)
{
    struct top t = { s->candidates, 0, most };
    float least = -INFINITY;            /* most tokens are not among them: one comparison each */
    for (int32_t i = 0; i < s->n_vocab; i++)
        if (scores[i] > least) {
            top_add(&t, i, scores[i]);
            least = t.n == most ? t.list[0].logit : least;
        }
    qsort(t.list, t.n, sizeof *t.list, by_logit);
    return t.n;
}

static bool fits(struct sampler *s, int32_t token)
{
    if (llama_vocab_is_eog(s->vocab, token))
        return grammar_may_end(&s->run);
    str piece = vocabulary_piece(s->vocabulary, (uint32_t)token);
    return piece.n && grammar_fits(&s->run, piece);
}

/* The candidates are the `wanted` likeliest tokens that fit. False: too few of the likeliest of all did. */
static bool try_likeliest(struct sampler *s, const float *scores, size_t wanted, size_t *n)
{
    size_t tried = top_of_all(s, scores, wanted + TRIED < (size_t)s->n_vocab ? wanted + TRIED : (size_t)s->n_vocab);
    *n = 0;
    for (size_t i = 0; i < tried && *n < wanted; i++)
        if (fits(s, s->candidates[i].id))
            s->candidates[(*n)++] = s->candidates[i];
    return *n == wanted;
}

/* All tokens that fit are looked at. `wanted` 0: all of them are candidates. */
static size_t take_masked(struct sampler *s, const float *scores, size_t wanted, const struct token_mask *m)
{
    struct top t = { s->candidates, 0, wanted ? wanted : (size_t)s->n_vocab + 1 };
    uint32_t n_ends, end = 0;
    const uint32_t *ends = vocabulary_ends(s->vocabulary, &n_ends);
    n_ends = grammar_may_end(&s->run) ? n_ends : 0;
    for (uint32_t word = 0; word <= (uint32_t)s->n_vocab / 64; word++) {
        uint64_t bits = m->bits[word];
        for (; end < n_ends && ends[end] / 64 == word; end++)
            bits |= UINT64_C(1) << (ends[end] & 63);
        for (; bits; bits &= bits - 1) {
            int32_t token = (int32_t)(word * 64) + __builtin_ctzll(bits);
            top_add(&t, token, scores[token]);
        }
    }
    if (wanted)
        qsort(t.list, t.n, sizeof *t.list, by_logit);
    return t.n;
}

static const float *penalized(struct sampler *s, const float *logits)
{
    if (!s->penalties)
        return logits;
    llama_token_data_array all = { s->candidates, (size_t)s->n_vocab, -1, false };
    for (int32_t i = 0; i < s->n_vocab; i++)
        s->candidates[i] = (llama_token_data){ i, logits[i], 0 };
    llama_sampler_apply(s->penalties, &all);
    for (size_t i = 0; i < all.size; i++)
        s->scores[all.data[i].id] = all.data[i].logit;
    return s->scores;
}

static int32_t next_by_grammar(struct sampler *s, const float *logits)
{
    const float *scores = penalized(s, logits);
    size_t wanted = (size_t)s->top_k, n = 0;
    struct token_mask m;
    bool known = grammar_known_mask(&s->run, &m), found = wanted && (!known || m.n > 4 * (wanted + TRIED)) && try_likeliest(s, scores, wanted, &n);
    if (!found && grammar_mask(&s->run, s->vocabulary, &m))
        n = take_masked(s, scores, wanted, &m);
    if (s->run.failed || n == 0)
        return LLAMA_TOKEN_NULL;
    llama_token_data_array list = { s->candidates, n, 0, wanted > 0 };
    if (s->chain)
        llama_sampler_apply(s->chain, &list);
    int32_t token = list.data[list.selected < 0 ? 0 : list.selected].id;
    if (s->chain)
        llama_sampler_accept(s->chain, token);
    if (s->penalties)
        llama_sampler_accept(s->penalties, token);
    if (!llama_vocab_is_eog(s->vocab, token) && !grammar_take(&s->run, vocabulary_piece(s->vocabulary, (uint32_t)token)))
        return LLAMA_TOKEN_NULL;
    return token;
}

bool sampler_is_done(const struct sampler *s) { return s->run.g && grammar_must_end(&s->run); }

/* Pieces are compared with the best so far in lanes, which the compiler makes vectors of: 151,936 scores one by one took 0.6 ms. */
int32_t sampler_likeliest(const float *scores, int32_t n)
{
    enum { LANES = 16, PIECE = 64 * LANES };
    int32_t best = 0, i = 0;
    for (; i + PIECE <= n; i += PIECE) {
        float most[LANES];
        bool higher = false;
        for (int32_t k = 0; k < LANES; k++)
            most[k] = scores[best];
        for (int32_t at = i; at < i + PIECE; at += LANES)
            for (int32_t k = 0; k < LANES; k++)
                most[k] = scores[at + k] > most[k] ? scores[at + k] : most[k];
        for (int32_t k = 0; k < LANES; k++)
            higher |= most[k] > scores[best];
        for (int32_t at = i; higher && at < i + PIECE; at++)
            best = scores[at] > scores[best] ? at : best;
    }
    for (; i < n; i++)
        best = scores[i] > scores[best] ? i : best;
    return best;
}

int32_t sampler_next(struct sampler *s, struct llama_context *ctx, int32_t at)
{
    float *logits = llama_get_logits_ith(ctx, at);
    for (int32_t i = 0; i < s->n_suppressed; i++)
        if (s->suppressed[i] >= 0 && s->suppressed[i] < s->n_vocab)
            logits[s->suppressed[i]] = -INFINITY;
    for (size_t i = 0; i < s->n_bias; i++)
        logits[s->bias[i].token] += s->bias[i].bias;
    if (s->run.g)
        return next_by_grammar(s, logits);
    if (s->chain)
        return llama_sampler_sample(s->chain, ctx, at);
    return sampler_likeliest(logits, s->n_vocab);
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
