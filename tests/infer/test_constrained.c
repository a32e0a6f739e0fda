/* Tokens by a grammar, against libllama's own grammar sampler as the judge, with tiny models: the same tokens are allowed, and the same one is
 * drawn as by libllama's chain with the grammar at its head. And requests: which field says what. */
#include "infer/constraint.h"
#include "infer/sampler.h"
#include "wire/openai.h"

#include "tiny.h"

#include <llama.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void quiet(enum ggml_log_level level, const char *text, void *ctx) { (void)level, (void)text, (void)ctx; }

struct bench { struct llama_model *model; struct llama_context *ctx; const struct llama_vocab *vocab; struct vocabulary *tokens; int32_t n; };

static void bench_open(struct bench *b, const char *path)
{
    struct llama_context_params p = llama_context_default_params();
    b->model = llama_model_load_from_file(path, llama_model_default_params());
    assert_non_null(b->model);
    p.n_ctx = 512;
    p.n_threads = p.n_threads_batch = 1;
    b->ctx = llama_init_from_model(b->model, p);
    assert_non_null(b->ctx);
    b->vocab = llama_model_get_vocab(b->model);
    b->n = llama_vocab_n_tokens(b->vocab);
    assert_int_equal(sampler_vocabulary(b->vocab, &b->tokens), ERR_OK);
}

static void bench_close(struct bench *b)
{
    vocabulary_free(b->tokens);
    llama_free(b->ctx);
    llama_model_free(b->model);
}

static void decode(struct bench *b, llama_token *tokens, int32_t n) { assert_int_equal(llama_decode(b->ctx, llama_batch_get_one(tokens, n)), 0); }

static void begin(struct bench *b, const char *prompt)
{
    llama_token tokens[128];
    llama_memory_clear(llama_get_memory(b->ctx), true);
    int32_t n = llama_tokenize(b->vocab, prompt, (int32_t)strlen(prompt), tokens, 128, true, false);
    assert_true(n > 0);
    decode(b, tokens, n);
}

static const char *const grammars[] = {
    "root ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\npair ::= \"\\\"\" [a-z ]{1,6} \"\\\":\" [0-9]{1,4}\nws ::= [ ]?",
    "root ::= ([^a-m\\n] | \"the\" | \"\\u20ac\"){1,40} \"!\"", "root ::= \"(\" root \")\" | [xyz]{2,5}", "root ::= (\"the \" | \"of \" | \"and \")+ \"that\"", "root ::= [a-z ]+ (\".\" [ ] [a-z ]+)* [.!]",
};

static struct llama_sampler *reference(const struct bench *b, const char *grammar, const struct sampling *s)
{
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    llama_sampler_chain_add(chain, llama_sampler_init_grammar(b->vocab, grammar, "root"));
    if (s->frequency_penalty != 0)
        llama_sampler_chain_add(chain, llama_sampler_init_penalties(b->n, 8192, (float)s->repeat_penalty, (float)s->frequency_penalty, (float)s->presence_penalty));
    if (s->temperature <= 0) {
        llama_sampler_chain_add(chain, llama_sampler_init_greedy());
        return chain;
    }
    if (s->top_k)
        llama_sampler_chain_add(chain, llama_sampler_init_top_k(s->top_k));
    if (s->top_p < 1)
        llama_sampler_chain_add(chain, llama_sampler_init_top_p((float)s->top_p, 1));
    if (s->min_p > 0)
        llama_sampler_chain_add(chain, llama_sampler_init_min_p((float)s->min_p, 1));
    llama_sampler_chain_add(chain, llama_sampler_init_temp((float)s->temperature));
    llama_sampler_chain_add(chain, llama_sampler_init_dist(s->seed));
    return chain;
}

/* All tokens that libllama's grammar leaves, and ours. */
static void same_tokens(struct bench *b, struct llama_sampler *judge, struct grammar_run *run)
{
    static llama_token_data data[200000];
    llama_token_data_array all = { data, (size_t)b->n, -1, false };
    struct token_mask m;
    for (int32_t i = 0; i < b->n; i++)
        data[i] = (llama_token_data){ i, 0, 0 };
    llama_sampler_apply(judge, &all);
    assert_true(grammar_mask(run, b->tokens, &m));
    for (int32_t i = 0; i < b->n; i++) {
        bool theirs = data[i].logit > -INFINITY, ours = llama_vocab_is_eog(b->vocab, i) ? grammar_may_end(run) : token_mask_has(&m, (uint32_t)i);
        if (llama_vocab_is_control(b->vocab, i) && !llama_vocab_is_eog(b->vocab, i))
            assert_false(ours);         /* libllama lets a model write the names of its control tokens with them */
        else if (theirs != ours && (ours || (vocabulary_piece(b->tokens, (uint32_t)i).n && str_is_utf8(vocabulary_piece(b->tokens, (uint32_t)i)))))        /* it also takes bytes that no character begins with */
            fail_msg("token %d '%.*s': libllama %d, ours %d", i, STR_ARG(vocabulary_piece(b->tokens, (uint32_t)i)), theirs, ours);
    }
}

/* Without the tokens about which libllama is more generous. */
static void leave_out(struct bench *b)
{
    float *logits = llama_get_logits_ith(b->ctx, -1);
    for (int32_t i = 0; i < b->n; i++) {
        str piece = vocabulary_piece(b->tokens, (uint32_t)i);
        if (!llama_vocab_is_eog(b->vocab, i) && (!piece.n || !str_is_utf8(piece)))
            logits[i] = -INFINITY;
    }
}

/* Generates with both and compares, token by token. */
static void same_choice(struct bench *b, const char *text, struct sampling s, int32_t steps)
{
    struct grammar *g;
    struct gbnf_error why;
    struct grammar_run run;
    struct sampler *ours;
    assert_int_equal(grammar_new(str_of(text), false, GRAMMAR_MEMORY, &g, &why), ERR_OK);
    s.grammar = g;
    s.vocabulary = b->tokens;
    assert_int_equal(sampler_new(b->vocab, &s, &ours), ERR_OK);
    struct llama_sampler *chain = reference(b, text, &s), *judge = llama_sampler_init_grammar(b->vocab, text, "root");
    grammar_begin(g, &run);
    begin(b, "the word of it");
    for (int32_t i = 0; i < steps; i++) {
        same_tokens(b, judge, &run);
        leave_out(b);
        llama_token want = llama_sampler_sample(chain, b->ctx, -1), got = sampler_next(ours, b->ctx, -1);
        if (want != got)
            fail_msg("%s, top_k %d, temperature %g, step %d: %d, libllama takes %d", text, s.top_k, s.temperature, i, got, want);
        if (llama_vocab_is_eog(b->vocab, got))
            break;
        llama_sampler_accept(judge, got);
        assert_true(grammar_take(&run, vocabulary_piece(b->tokens, (uint32_t)got)));
        assert_int_equal(sampler_is_done(ours), grammar_must_end(&run));
        if (sampler_is_done(ours))
            break;
        decode(b, &got, 1);
    }
    grammar_end(&run);
    sampler_free(ours);
    llama_sampler_free(chain);
    llama_sampler_free(judge);
    grammar_free(g);
}

static void the_same_tokens_are_drawn_as_by_libllama(void **state)
{
    (void)state;
    static const struct { double temperature, top_p, min_p; int32_t top_k; double penalty; } ways[] = { { 0, 1, 0, 40, 0 }, { 1, 0.95, 0.05, 40, 0 }, { 1.5, 1, 0, 0, 0 }, { 1, 0.8, 0, 0, 0 }, { 1, 1, 0, 5, 0 }, { 0, 1, 0, 0, 1 }, { 1, 0.95, 0.05, 40, 0.5 } };
    const char *models[] = { "bpe-chatml", "spm-chatml", NULL };
    for (size_t m = 0; m < 3; m++) {
        const char *path = models[m] ? tiny_model(models[m]) : real_model();
        struct bench b;
        if (!path)
            continue;
        bench_open(&b, path);
        for (size_t k = 0; k < sizeof grammars / sizeof *grammars; k++)
            for (size_t w = 0; w < (models[m] ? sizeof ways / sizeof *ways : 2); w++) {
                struct sampling s = SAMPLING_DEFAULTS;
                s.temperature = ways[w].temperature;
                s.top_p = ways[w].top_p;
                s.min_p = ways[w].min_p;
                s.top_k = ways[w].top_k;
                s.frequency_penalty = ways[w].penalty;
                s.seed = (uint32_t)(k * 17 + w);
                same_choice(&b, grammars[k], s, models[m] ? 40 : 8);
            }
        bench_close(&b);
    }
}

static void a_grammar_without_a_token_ends_with_an_error(void **state)
{
    (void)state;
    struct bench b;
    struct grammar *g;
    struct gbnf_error why;
    struct sampler *s;
    struct sampling p = SAMPLING_DEFAULTS;
    bench_open(&b, tiny_model("bpe-chatml"));
    assert_int_equal(grammar_new(S("root ::= <[9999999]>"), true, GRAMMAR_MEMORY, &g, &why), ERR_OK);
    p.grammar = g;
    p.vocabulary = b.tokens;
    for (int k = 0; k < 4; k++) {
        p.temperature = k & 1;
        p.top_k = k & 2 ? 0 : 40;
        assert_int_equal(sampler_new(b.vocab, &p, &s), ERR_OK);
        begin(&b, "the");
        assert_true(sampler_next(s, b.ctx, -1) < 0);
        sampler_free(s);
    }
    grammar_free(g);
    /* All that fits is forbidden by a bias. */
    struct token_bias bias[1] = { { 0, -INFINITY } };
    assert_int_equal(grammar_new(S("root ::= \"~\""), false, GRAMMAR_MEMORY, &g, &why), ERR_OK);
    for (bias[0].token = 0; !str_eq(vocabulary_piece(b.tokens, (uint32_t)bias[0].token), S("~")); bias[0].token++)
        ;
    p.grammar = g;
    p.bias = bias;
    p.n_bias = 1;
    assert_int_equal(sampler_new(b.vocab, &p, &s), ERR_OK);
    begin(&b, "the");
    assert_true(sampler_next(s, b.ctx, -1) < 0);
    sampler_free(s);
    grammar_free(g);
    bench_close(&b);
}

/* ---- requests ---- */

static const struct { const char *fields; enum err want; enum constraint_kind kind; const char *param; } requests[] = {
    { "", ERR_OK, CONSTRAINT_NONE, "" }, { "\"response_format\":{\"type\":\"text\"},\"grammar\":\"\",\"guided_json\":null,\"structured_outputs\":{}", ERR_OK, CONSTRAINT_NONE, "" },
    { "\"response_format\":{\"type\":\"json_object\"}", ERR_OK, CONSTRAINT_OBJECT, "response_format" }, { "\"response_format\":{\"type\":\"json_object\",\"schema\":{}}", ERR_OK, CONSTRAINT_SCHEMA, "response_format" },
    { "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":{}}}", ERR_OK, CONSTRAINT_SCHEMA, "response_format" }, { "\"response_format\":{\"type\":\"json_schema\"}", ERR_SYNTAX, 0, "response_format.json_schema.schema" },
    { "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":[]}}", ERR_SYNTAX, 0, "response_format.json_schema.schema" }, { "\"response_format\":{\"type\":\"structural_tag\"}", ERR_UNSUPPORTED, 0, "response_format.type" },
    { "\"structured_outputs\":{\"regex\":\"a\"}", ERR_OK, CONSTRAINT_REGEX, "structured_outputs.regex" }, { "\"structured_outputs\":{\"json_object\":true}", ERR_OK, CONSTRAINT_OBJECT, "structured_outputs.json_object" }, { "\"structured_outputs\":{\"json_object\":7}", ERR_SYNTAX, 0, "structured_outputs.json_object" },
    { "\"structured_outputs\":{\"json\":\"{}\"}", ERR_OK, CONSTRAINT_SCHEMA, "structured_outputs.json" }, { "\"structured_outputs\":{\"json\":\"{\"}", ERR_SYNTAX, 0, "structured_outputs.json" }, { "\"structured_outputs\":{\"structural_tag\":\"x\"}", ERR_UNSUPPORTED, 0, "structured_outputs.structural_tag" },
    { "\"structured_outputs\":{\"disable_any_whitespace\":false}", ERR_OK, CONSTRAINT_NONE, "" }, { "\"structured_outputs\":{\"whitespace_pattern\":\"x\"}", ERR_UNSUPPORTED, 0, "structured_outputs.whitespace_pattern" },
    { "\"guided_regex\":7", ERR_SYNTAX, 0, "guided_regex" }, { "\"guided_choice\":[\"a\",\"b\"]", ERR_OK, CONSTRAINT_CHOICE, "guided_choice" }, { "\"guided_choice\":[\"a\",1]", ERR_SYNTAX, 0, "guided_choice" }, { "\"guided_choice\":\"a\"", ERR_SYNTAX, 0, "guided_choice" }, { "\"guided_choice\":[\"\"]", ERR_SYNTAX, 0, "guided_choice" },
    { "\"grammar\":\"root ::= \\\"a\\\"\"", ERR_OK, CONSTRAINT_GRAMMAR, "grammar" }, { "\"guided_grammar\":\"x\"", ERR_OK, CONSTRAINT_GRAMMAR, "guided_grammar" }, { "\"json_schema\":{}", ERR_OK, CONSTRAINT_SCHEMA, "json_schema" },
    { "\"json_schema\":{},\"grammar\":\"x\"", ERR_UNSUPPORTED, 0, "grammar" }, { "\"response_format\":{\"type\":\"json_object\"},\"guided_regex\":\"x\"", ERR_UNSUPPORTED, 0, "guided_regex" }, { "\"guided_whitespace_pattern\":\"x\"", ERR_UNSUPPORTED, 0, "guided_whitespace_pattern" },
};

static void the_fields_of_three_servers_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct arena a;
        struct call c;
        struct constraint k = { .kind = CONSTRAINT_NONE };
        struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
        arena_init(&a, 1 << 20);
        str body = arena_printf(&a, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]%s%s}", *requests[i].fields ? "," : "", requests[i].fields);
        assert_int_equal(openai_decode(&a, OP_CHAT, body, &c, &why), ERR_OK);
        enum err e = constraint_find(&a, &c, &k, &why);
        bool fits = e == requests[i].want && (e ? str_eq(why.param, str_of(requests[i].param)) && why.message.n : k.kind == requests[i].kind && (k.kind == CONSTRAINT_NONE || str_eq(k.param, str_of(requests[i].param))));
        if (!fits)
            fail_msg("%s: %s, kind %d, param '%.*s'", requests[i].fields, err_name(e), (int)k.kind, STR_ARG(e ? why.param : k.param));
        arena_free(&a);
    }
}

static void grammars_are_kept_while_they_are_used_and_a_while_longer(void **state)
{
    (void)state;
    struct grammar_cache cache = { .uses = 0 };
    struct cached_grammar *held[GRAMMAR_CACHE + 2], *again;
    struct gbnf_error why;
    char text[32];
    for (int i = 0; i < GRAMMAR_CACHE + 2; i++) {
        snprintf(text, sizeof text, "root ::= \"%d\"", i);
        assert_int_equal(grammar_cache_get(&cache, str_of(text), false, &held[i], &why), ERR_OK);
    }
    assert_int_equal(grammar_cache_get(&cache, S("root ::= \"3\""), false, &again, &why), ERR_OK);
    assert_ptr_equal(again, held[3]);
    assert_int_equal(grammar_cache_get(&cache, S("root ::= \"3\""), true, &again, &why), ERR_OK);
    assert_ptr_not_equal(again, held[3]);
    grammar_cache_put(again);
    grammar_cache_put(held[3]);
    for (int i = 0; i < GRAMMAR_CACHE + 2; i++)
        grammar_cache_put(held[i]);
    assert_int_equal(grammar_cache_get(&cache, S("root ::= \"new\""), false, &again, &why), ERR_OK);
    struct grammar_run r;
    grammar_begin(grammar_cache_grammar(again), &r);
    assert_true(grammar_take(&r, S("new")) && grammar_must_end(&r));
    grammar_end(&r);
    grammar_cache_put(again);
    assert_int_equal(grammar_cache_get(&cache, S("root ::="), false, &again, &why), ERR_OK);
    grammar_cache_put(again);
    assert_int_equal(grammar_cache_get(&cache, S("root"), false, &again, &why), ERR_SYNTAX);
    grammar_cache_free(&cache);
}

static int start(void **state)
{
    (void)state;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_tokens_are_drawn_as_by_libllama),
        cmocka_unit_test(a_grammar_without_a_token_ends_with_an_error),
        cmocka_unit_test(the_fields_of_three_servers_are_read),
        cmocka_unit_test(grammars_are_kept_while_they_are_used_and_a_while_longer),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
