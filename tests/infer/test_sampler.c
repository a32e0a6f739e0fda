/* Parameters of a request: allow-list, ranges, defaults. */
#include "infer/sampler.h"
#include "wire/openai.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static enum err read_fields(struct arena *a, const char *fields, struct sampling *out, struct wire_error *why)
{
    struct call c;
    struct rng r = rand_seeded(1);
    str body = arena_printf(a, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]%s%s}", *fields ? "," : "", fields);
    enum err e = openai_decode(a, OP_CHAT, body, &c, why);
    return e == ERR_OK ? sampling_read(a, &c, 1000, &r, out, why) : e;
}

static const struct { const char *fields; enum err want; const char *param; } rows[] = {
    { "", ERR_OK, "" },
    { "\"temperature\":0", ERR_OK, "" }, { "\"temperature\":2", ERR_OK, "" },
    { "\"temperature\":2.01", ERR_RANGE, "temperature" }, { "\"temperature\":-0.1", ERR_RANGE, "temperature" },
    { "\"top_p\":1", ERR_OK, "" }, { "\"top_p\":0.0001", ERR_OK, "" }, { "\"top_p\":0", ERR_RANGE, "top_p" }, { "\"top_p\":1.1", ERR_RANGE, "top_p" },
    { "\"min_p\":0", ERR_OK, "" }, { "\"min_p\":1", ERR_OK, "" }, { "\"min_p\":-1", ERR_RANGE, "min_p" }, { "\"min_p\":1.5", ERR_RANGE, "min_p" },
    { "\"top_k\":0", ERR_OK, "" }, { "\"top_k\":1000", ERR_OK, "" }, { "\"top_k\":-1", ERR_RANGE, "top_k" }, { "\"top_k\":1001", ERR_RANGE, "top_k" },
    { "\"max_tokens\":1", ERR_OK, "" }, { "\"max_tokens\":0", ERR_RANGE, "max_tokens" }, { "\"max_tokens\":-1", ERR_RANGE, "max_tokens" },
    { "\"max_tokens\":9007199254740993", ERR_OK, "" },
    { "\"seed\":-5", ERR_OK, "" }, { "\"seed\":4294967295", ERR_OK, "" },
    { "\"stop\":\"x\"", ERR_OK, "" }, { "\"stop\":[\"a\",\"b\"]", ERR_OK, "" }, { "\"stop\":\"\"", ERR_RANGE, "stop" },
    { "\"n\":1", ERR_OK, "" }, { "\"n\":16", ERR_OK, "" }, { "\"n\":17", ERR_RANGE, "n" },
    { "\"frequency_penalty\":0", ERR_OK, "" }, { "\"presence_penalty\":0.0", ERR_OK, "" },
    { "\"frequency_penalty\":0.5", ERR_OK, "" }, { "\"frequency_penalty\":2.1", ERR_RANGE, "frequency_penalty" }, { "\"presence_penalty\":-2.5", ERR_RANGE, "presence_penalty" },
    { "\"logit_bias\":{}", ERR_OK, "" }, { "\"logit_bias\":null", ERR_OK, "" }, { "\"logit_bias\":{\"999\":5}", ERR_OK, "" },
    { "\"logit_bias\":{\"1000\":5}", ERR_RANGE, "logit_bias" }, { "\"logit_bias\":{\"x\":5}", ERR_RANGE, "logit_bias" }, { "\"logit_bias\":{\"1\":101}", ERR_RANGE, "logit_bias" },
    { "\"logit_bias\":{\"1\":\"2\"}", ERR_RANGE, "logit_bias" },
    { "\"logprobs\":false", ERR_OK, "" }, { "\"logprobs\":true", ERR_OK, "" }, { "\"logprobs\":true,\"top_logprobs\":20", ERR_OK, "" }, { "\"logprobs\":true,\"top_logprobs\":21", ERR_RANGE, "top_logprobs" },
    { "\"functions\":[]", ERR_OK, "" }, { "\"functions\":[{\"name\":\"f\"}]", ERR_UNSUPPORTED, "functions" },
    { "\"repeat_penalty\":1.1", ERR_OK, "" }, { "\"repetition_penalty\":0", ERR_RANGE, "repetition_penalty" }, { "\"mirostat\":2", ERR_UNSUPPORTED, "mirostat" }, { "\"lora\":[{\"id\":0}]", ERR_UNSUPPORTED, "lora" },
    { "\"user\":\"u\",\"store\":true,\"metadata\":{\"a\":\"b\"}", ERR_OK, "" },
};

static void parameters_are_taken_by_an_allow_list_and_in_their_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena a;
        struct sampling s;
        struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
        arena_init(&a, 1 << 20);
        enum err e = read_fields(&a, rows[i].fields, &s, &why);
        bool fits = rows[i].want == ERR_OK ? e == ERR_OK : err_http(e) == 400 && str_starts(why.param, str_of(rows[i].param)) && why.message.n > 0;
        if (!fits)
            fail_msg("%s: %s, param '%.*s'", rows[i].fields, err_name(e), STR_ARG(why.param));
        arena_free(&a);
    }
}

static void what_is_not_given_has_a_default(void **state)
{
    (void)state;
    struct arena a;
    struct sampling s, d = SAMPLING_DEFAULTS;
    struct wire_error why;
    arena_init(&a, 1 << 20);
    assert_int_equal(read_fields(&a, "", &s, &why), ERR_OK);
    assert_true(s.temperature == d.temperature && s.top_p == d.top_p && s.min_p == d.min_p && s.top_k == d.top_k);
    assert_true(s.max_tokens == PARAM_UNSET);
    assert_int_equal(read_fields(&a, "\"temperature\":0,\"top_p\":0.5,\"min_p\":0,\"top_k\":7,\"max_tokens\":9", &s, &why), ERR_OK);
    assert_true(s.temperature == 0 && s.top_p == 0.5 && s.min_p == 0 && s.top_k == 7 && s.max_tokens == 9);
    arena_free(&a);
}

static void a_seed_is_kept_and_never_becomes_libllamas_random_one(void **state)
{
    (void)state;
    static const struct { const char *fields; uint32_t want; } seeds[] = {
        { "\"seed\":0", 0 }, { "\"seed\":42", 42 }, { "\"seed\":4294967295", 0 }, { "\"seed\":-1", 0 } };
    struct arena a;
    struct sampling s;
    struct wire_error why;
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        assert_int_equal(read_fields(&a, seeds[i].fields, &s, &why), ERR_OK);
        assert_int_equal(s.seed, seeds[i].want);
        assert_int_not_equal(s.seed, UINT32_MAX);
    }
    arena_free(&a);
}

static void the_likeliest_is_the_first_with_the_highest_score(void **state)
{
    enum { N = 3000 };
    static const int32_t at[] = { 0, 1, 15, 16, 1022, 1023, 1024, 1025, 2047, 2048, 2500, N - 1 };
    float *scores = malloc(N * sizeof *scores);
    (void)state;
    for (size_t k = 0; k < sizeof at / sizeof *at; k++)
        for (int32_t n = at[k] + 1; n <= N; n += 331) {
            for (int32_t i = 0; i < n; i++)
                scores[i] = i % 7 ? -(float)(i % 100) - 1 : -INFINITY;
            scores[at[k]] = scores[n - 1] = 2;          /* the last is as likely */
            assert_int_equal(sampler_likeliest(scores, n), at[k]);
        }
    for (int32_t i = 0; i < N; i++)
        scores[i] = -INFINITY;
    assert_int_equal(sampler_likeliest(scores, N), 0);
    assert_int_equal(sampler_likeliest(scores, 1), 0);
    free(scores);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_taken_by_an_allow_list_and_in_their_ranges),
        cmocka_unit_test(what_is_not_given_has_a_default),
        cmocka_unit_test(a_seed_is_kept_and_never_becomes_libllamas_random_one),
        cmocka_unit_test(the_likeliest_is_the_first_with_the_highest_score),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
