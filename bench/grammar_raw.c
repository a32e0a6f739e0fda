/* What a grammar costs beside a decode step: the same loop without one, with ours, and with libllama's own sampler over the whole vocabulary.
 *
 *   grammar_raw MODEL [--tokens N]
 *
 * For each case a JSON line: CPU milliseconds of one thread for a token, apart for llama_decode() and for choosing. An answer that has come to its end
 * begins anew. */
#include "infer/constraint.h"
#include "infer/sampler.h"

#include <getopt.h>
#include <llama.h>
#include <stdlib.h>
#include <time.h>

static const char *const schemas[][2] = {
    { "list of records", "{\"type\":\"array\",\"minItems\":99,\"items\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":120},\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
                         "\"maxItems\":3},\"kind\":{\"enum\":[\"person\",\"shop\",\"city\"]}},\"required\":[\"name\",\"age\",\"tags\",\"kind\"]}}" },
    { "strings of bounded length", "{\"type\":\"array\",\"minItems\":99,\"items\":{\"type\":\"string\",\"minLength\":20,\"maxLength\":200}}" },
    { "numbers and dates", "{\"type\":\"array\",\"minItems\":99,\"items\":{\"type\":\"object\",\"properties\":{\"price\":{\"type\":\"number\",\"minimum\":0,\"maximum\":1000},\"day\":{\"type\":\"string\",\"format\":\"date\"},\"id\":{\"type\":\"string\",\"pattern\":\"^[A-Z]{3}-[0-9]{4}$\"}},"
                           "\"required\":[\"price\",\"day\",\"id\"]}}" },
    { "any object", NULL },
};

static void quiet(enum ggml_log_level level, const char *text, void *ctx) { (void)level, (void)text, (void)ctx; }

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static str rules_of(struct arena *a, const char *schema)
{
    struct rules o;
    struct schema_error why;
    char name[SCHEMA_NAME];
    json v;
    rules_init(&o);
    snprintf(name, sizeof name, "%s", rules_use(&o, PRIMITIVE_OBJECT));
    if (schema && (json_parse(a, str_of(schema), &JSON_DEFAULT_LIMITS, &v, NULL) || schema_write(a, &o, v, STR_NONE, name, &why)))
        exit(1);
    rules_put(&o, "root ::= %s\n", name);
    if (rules_finish(&o))
        exit(1);
    str text = str_of(arena_cstr(a, buf_str(&o.b)));
    rules_free(&o);
    return text;
}

struct run {
    struct llama_context *ctx;
    const struct llama_vocab *vocab;
    struct sampling sampling;
    const char *theirs;                 /* libllama's grammar, or NULL */
    double decode, choose;
    int tokens;
};

static struct llama_sampler *chain_of(const struct run *r)
{
    struct llama_sampler *c = llama_sampler_chain_init(llama_sampler_chain_default_params());
    llama_sampler_chain_add(c, llama_sampler_init_grammar(r->vocab, r->theirs, "root"));
    llama_sampler_chain_add(c, llama_sampler_init_top_k(40));
    llama_sampler_chain_add(c, llama_sampler_init_top_p(0.95f, 1));
    llama_sampler_chain_add(c, llama_sampler_init_min_p(0.05f, 1));
    llama_sampler_chain_add(c, llama_sampler_init_temp(0.7f));
    llama_sampler_chain_add(c, llama_sampler_init_dist(r->sampling.seed));
    return c;
}

/* One answer: until its end, or all tokens are made. */
static void answer(struct run *r, llama_token *prompt, int32_t n, int most)
{
    struct sampler *ours = NULL;
    struct llama_sampler *theirs = r->theirs ? chain_of(r) : NULL;
    llama_token token;
    if (!theirs && sampler_new(r->vocab, &r->sampling, &ours))
        exit(1);
    llama_memory_clear(llama_get_memory(r->ctx), true);
    llama_decode(r->ctx, llama_batch_get_one(prompt, n));
    for (int i = 0; r->tokens < most && i < 300; i++, r->tokens++) {
        double start = cpu_ms();
        token = theirs ? llama_sampler_sample(theirs, r->ctx, -1) : sampler_next(ours, r->ctx, -1);
        double chosen = cpu_ms();
        if (token < 0 || llama_vocab_is_eog(r->vocab, token) || (ours && sampler_is_done(ours)))
            break;
        llama_decode(r->ctx, llama_batch_get_one(&token, 1));
        r->choose += chosen - start;
        r->decode += cpu_ms() - chosen;
    }
    sampler_free(ours);
    if (theirs)
        llama_sampler_free(theirs);
    r->sampling.seed++;
}

static void measure(struct run *r, const char *name, const char *way, llama_token *prompt, int32_t n, int most)
{
    r->decode = r->choose = 0;
    r->tokens = 0;
    r->sampling.seed = 7;
    while (r->tokens < most)
        answer(r, prompt, n, most);
    printf("{\"case\":\"%s\",\"way\":\"%s\",\"decode_ms\":%.3f,\"choose_ms\":%.3f}\n", name, way, r->decode / r->tokens, r->choose / r->tokens);
    fflush(stdout);
}

static void measure_all(struct run *r, const struct vocabulary *v, llama_token *prompt, int32_t n, int most)
{
    struct arena a;
    arena_init(&a, 64 << 20);
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        struct grammar *g;
        struct gbnf_error why;
        str rules = rules_of(&a, schemas[i][1]);
        if (grammar_new(rules, false, GRAMMAR_MEMORY, &g, &why))
            exit(1);
        r->sampling = SAMPLING_DEFAULTS;
        measure(r, schemas[i][0], "none", prompt, n, most);
        r->sampling.top_k = 0;
        measure(r, schemas[i][0], "none, top_k 0", prompt, n, most);
        r->sampling = SAMPLING_DEFAULTS;
        r->sampling.grammar = g;
        r->sampling.vocabulary = v;
        measure(r, schemas[i][0], "ours", prompt, n, most);
        r->sampling.top_k = 0;
        measure(r, schemas[i][0], "ours, top_k 0", prompt, n, most);
        r->theirs = rules.p;
        measure(r, schemas[i][0], "libllama's", prompt, n, most / 4);
        r->theirs = NULL;
        grammar_free(g);
    }
    arena_free(&a);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = { { "tokens", required_argument, NULL, 'n' }, { 0 } };
    static const char text[] = "<|im_start|>user\nDescribe some people and shops as JSON.<|im_end|>\n<|im_start|>assistant\n";
    struct llama_context_params p = llama_context_default_params();
    llama_token prompt[256];
    struct vocabulary *v;
    struct run r = { .theirs = NULL };
    int most = 128;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 'n')
            return 2;
        most = (int)strtol(optarg, NULL, 10);
    }
    if (optind + 1 != argc)
        return 2;
    llama_log_set(quiet, NULL);
    struct llama_model *m = llama_model_load_from_file(argv[optind], llama_model_default_params());
    if (!m)
        return 1;
    p.n_ctx = 1024;
    p.n_threads = p.n_threads_batch = 1;
    r.ctx = llama_init_from_model(m, p);
    r.vocab = llama_model_get_vocab(m);
    int32_t n = llama_tokenize(r.vocab, text, sizeof text - 1, prompt, 256, true, true);
    double start = cpu_ms();
    if (!r.ctx || n < 0 || sampler_vocabulary(r.vocab, &v))
        return 1;
    printf("{\"case\":\"the vocabulary's tree\",\"tokens\":%d,\"ms\":%.0f}\n", llama_vocab_n_tokens(r.vocab), cpu_ms() - start);
    measure_all(&r, v, prompt, n, most);
    vocabulary_free(v);
    llama_free(r.ctx);
    llama_model_free(m);
    return 0;
}
