/* What servers say of their models: replies as the real ones give them (shortened), and replies that nobody should believe. */
#include "fleet/facts.h"

#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct arena a;

static int set_up(void **state) { (void)state; arena_init(&a, 16 << 20); return 0; }
static int tear_down(void **state) { (void)state; arena_free(&a); return 0; }

static enum err read_as(enum question q, const char *id, int status, const char *body, struct facts *f)
{
    return facts_read(&a, q, str_of(id), status, str_of(body), f);
}

static void assert_text(str got, const char *want)
{
    if (!str_eq(got, str_of(want)))
        fail_msg("got %.*s, want %s", STR_ARG(got), want);
}

static void llama_server_is_known_by_its_props_and_its_list(void **state)
{
    struct facts f;
    (void)state;
    facts_init(&f);
    assert_int_equal(read_as(ASK_PROPS, "m", 200, "{\"default_generation_settings\":{\"n_ctx\":2048,\"params\":{}},\"total_slots\":4,\"model_alias\":\"m\",\"model_path\":\"/models/t.gguf\","
                             "\"model_ftype\":\"Q8_0\",\"modalities\":{\"vision\":false},\"chat_template\":\"{{ x }}\",\"build_info\":\"b1-86a2835\",\"is_sleeping\":false}", &f), ERR_OK);
    assert_int_equal(read_as(ASK_MODELS, "m", 200, "{\"models\":[{\"name\":\"m\",\"digest\":\"\"}],\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"meta\":{\"n_vocab\":256,"
                             "\"n_ctx_train\":512,\"n_params\":1234567,\"size\":2345678}}]}", &f), ERR_OK);
    assert_true(f.said && !f.missing && !f.remote);
    assert_text(f.path, "/models/t.gguf");
    assert_text(f.quantization, "Q8_0");
    assert_text(f.version, "b1-86a2835");
    assert_int_equal(f.template_sha256.n, 64);
    assert_int_equal(f.context, 2048);
    assert_int_equal(f.slots, 4);
    assert_int_equal(f.n_params, 1234567);
    assert_int_equal(f.size, 2345678);
    assert_int_equal(f.weights.n, 0);
}

static void vllm_says_its_root_and_its_version(void **state)
{
    struct facts f;
    (void)state;
    facts_init(&f);
    assert_int_equal(read_as(ASK_VERSION, "q", 200, "{\"version\":\"0.32.0\"}", &f), ERR_OK);
    assert_false(f.said);
    assert_int_equal(read_as(ASK_MODELS, "q", 200, "{\"object\":\"list\",\"data\":[{\"id\":\"other\",\"root\":\"x/y\"},{\"id\":\"q\",\"object\":\"model\",\"owned_by\":\"vllm\",\"root\":\"Qwen/Qwen2.5-7B\","
                             "\"parent\":null,\"max_model_len\":1024}]}", &f), ERR_OK);
    assert_int_equal(read_as(ASK_SERVER_INFO, "q", 404, "{\"detail\":\"Not Found\"}", &f), ERR_OK);
    assert_text(f.root, "Qwen/Qwen2.5-7B");
    assert_true(f.said);
    assert_int_equal(f.context, 1024);
    assert_int_equal(read_as(ASK_SERVER_INFO, "q", 200, "{\"vllm_config\":{\"model_config\":{\"model\":\"Qwen/Qwen2.5-7B\",\"revision\":\"abc\",\"quantization\":\"awq\",\"dtype\":\"torch.bfloat16\"}}}", &f), ERR_OK);
    assert_text(f.revision, "abc");
    assert_text(f.quantization, "awq");
    assert_int_equal(read_as(ASK_SLEEPING, "q", 404, "", &f), ERR_OK);
    assert_false(f.sleeps || f.sleeping);
    assert_int_equal(read_as(ASK_SLEEPING, "q", 200, "{\"is_sleeping\":true}", &f), ERR_OK);
    assert_true(f.sleeps && f.sleeping);
    assert_int_equal(read_as(ASK_SLEEPING, "q", 200, "{\"is_sleeping\":false}", &f), ERR_OK);
    assert_true(f.sleeps && !f.sleeping);
}

#define TAGS(more) "{\"models\":[{\"name\":\"big:7b\",\"model\":\"big:7b\",\"digest\":\"" HEX_B "\"},{\"name\":\"small:latest\",\"model\":\"small:latest\",\"modified_at\":\"2026-01-01T00:00:00Z\"," \
                   "\"size\":98765,\"digest\":\"" HEX_A "\",\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"llama\",\"families\":[\"llama\"],\"parameter_size\":\"134.52M\"," \
                   "\"quantization_level\":\"Q4_1\"}" more "}]}"

static void ollama_is_known_by_its_manifest_and_its_weights(void **state)
{
    struct facts f;
    (void)state;
    facts_init(&f);
    assert_int_equal(read_as(ASK_TAGS, "small", 200, TAGS(""), &f), ERR_OK);
    assert_true(f.said && !f.missing && !f.remote);
    assert_text(f.manifest, HEX_A);
    assert_text(f.quantization, "Q4_1");
    assert_text(f.parameters, "134.52M");
    assert_int_equal(f.size, 98765);
    assert_int_equal(read_as(ASK_SHOW, "small", 200, "{\"modelfile\":\"# made by ollama show\\nFROM /root/.ollama/models/blobs/sha256-" HEX_B "\\nTEMPLATE x\",\"template\":\"{{ .Prompt }}\","
                             "\"details\":{\"parent_model\":\"\",\"quantization_level\":\"Q4_1\"},\"model_info\":{\"general.file_type\":3}}", &f), ERR_OK);
    assert_text(f.weights, HEX_B);
    assert_int_equal(f.template_sha256.n, 64);
    assert_int_equal(read_as(ASK_TAGS, "small:q4", 200, TAGS(""), &f), ERR_OK);
    assert_true(f.missing);
    assert_int_equal(f.manifest.n, 0);
}

static void the_order_of_an_ollamas_parameters_says_nothing(void **state)
{
    static const struct { const char *parameters; bool same; } cases[] = {
        { "stop \\\"<a>\\\"\\nstop \\\"<b>\\\"\\ntemperature 0.1", true }, { "temperature 0.1\\nstop \\\"<a>\\\"\\nstop \\\"<b>\\\"", true },
        { "temperature 0.1\\nstop \\\"<a>\\\"", false }, { "temperature 0.2\\nstop \\\"<a>\\\"\\nstop \\\"<b>\\\"", false }, { "\\n", false } };
    str first = S("");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct facts f;
        char body[200];
        facts_init(&f);
        snprintf(body, sizeof body, "{\"parameters\":\"%s\"}", cases[i].parameters);
        assert_int_equal(read_as(ASK_SHOW, "small", 200, body, &f), ERR_OK);
        assert_int_equal(f.options_sha256.n, 64);
        first = i ? first : f.options_sha256;
        if (str_eq(f.options_sha256, first) != cases[i].same)
            fail_msg("%s", body);
    }
}

static void a_model_that_an_ollama_passes_on_is_remote_whatever_is_written_there(void **state)
{
    static const struct { const char *reply; bool remote; } cases[] = {
        { TAGS(""), false }, { TAGS(",\"remote_host\":\"\""), false }, { TAGS(",\"remote_host\":null"), false },
        { TAGS(",\"remote_host\":\"https://ollama.com:443\",\"remote_model\":\"gpt-oss:120b\""), true }, { TAGS(",\"remote_model\":\"x\""), true },
        { TAGS(",\"remote_host\":{\"url\":\"x\"}"), true }, { TAGS(",\"remote_host\":true"), true } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct facts f;
        facts_init(&f);
        assert_int_equal(read_as(ASK_TAGS, "small", 200, cases[i].reply, &f), ERR_OK);
        if (f.remote != cases[i].remote)
            fail_msg("%s", cases[i].reply);
    }
}

static void odd_answers_leave_things_unknown(void **state)
{
    static const struct { int status; const char *body; enum err want; } cases[] = {
        { 200, "", ERR_UPSTREAM }, { 200, "<html>", ERR_UPSTREAM }, { 200, "[]", ERR_UPSTREAM }, { 200, "null", ERR_UPSTREAM }, { 200, "{}", ERR_OK }, { 500, "boom", ERR_OK }, { 404, "", ERR_OK },
        { 0, "{}", ERR_UPSTREAM }, { 100, "{}", ERR_UPSTREAM }, { 200, "{\"data\":{}}", ERR_OK }, { 200, "{\"data\":[null,1,\"x\"],\"models\":[[],1]}", ERR_OK },
        { 200, "{\"model_path\":7,\"total_slots\":\"x\",\"model_ftype\":[],\"version\":{},\"digest\":\"zz\",\"is_sleeping\":\"yes\"}", ERR_OK },
        { 200, "{\"models\":[{\"name\":\"m\",\"digest\":\"sha256:XYZ\",\"size\":-4}]}", ERR_OK }, { 200, "{\"total_slots\":-1,\"n_ctx\":1e99}", ERR_OK } };
    (void)state;
    for (int q = ASK_PROPS; q < QUESTIONS; q++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct facts f;
            facts_init(&f);
            enum err e = read_as((enum question)q, "m", cases[i].status, cases[i].body, &f);
            bool read = q == ASK_PROPS || q == ASK_MODELS || q == ASK_VERSION || q == ASK_API_VERSION || q == ASK_SERVER_INFO || q == ASK_TAGS || q == ASK_SHOW || q == ASK_SLEEPING;
            if (read || cases[i].want == ERR_OK || cases[i].status != 200)
                assert_int_equal(e, cases[i].want);
            assert_true(f.size == -1 && f.slots == -1 && !f.weights.n && !f.manifest.n && !f.said && !f.sleeping);
        }
}

static void an_identity_says_null_where_nothing_is_known_and_its_order_is_fixed(void **state)
{
    struct facts f;
    str one, two, three;
    struct digest d = { { 1, 2 } };
    json v;
    (void)state;
    facts_init(&f);
    assert_int_equal(facts_identity(&a, kind_of(FLEET_VLLM), &f, NULL, &one), ERR_OK);
    assert_int_equal(json_parse(&a, one, &JSON_DEFAULT_LIMITS, &v, NULL), ERR_OK);
    assert_int_equal(json_type(json_member(v, S("weights_sha256"))), JSON_NULL);
    assert_int_equal(json_type(json_member(v, S("parameters"))), JSON_NULL);
    assert_true(json_is(json_member(v, S("engine")), S("vllm")));
    f.quantization = S("Q4_1");
    assert_int_equal(facts_identity(&a, kind_of(FLEET_VLLM), &f, &d, &two), ERR_OK);
    assert_int_equal(facts_identity(&a, kind_of(FLEET_VLLM), &f, &d, &three), ERR_OK);
    assert_true(str_eq(two, three));
    assert_text(facts_differences(&a, one, two), "weights_sha256, quantization");
    assert_text(facts_differences(&a, two, three), "");
    assert_text(facts_differences(&a, S(""), three), "everything");
    assert_text(facts_differences(&a, S("{\"a\":1}"), S("{\"b\":1}")), "a, b");
}

static void an_engine_needs_props_that_can_be_read(void **state)
{
    struct digest d = { { 1 } };
    str out;
    (void)state;
    assert_int_equal(facts_engine_identity(&a, S("{\"quantization\":\"Q4_1\",\"pid\":7,\"context\":512}"), &d, S(""), &out), ERR_OK);
    assert_text(out, "{\"weights_sha256\":\"0100000000000000000000000000000000000000000000000000000000000000\",\"quantization\":\"Q4_1\",\"context\":512}");
    assert_int_equal(facts_engine_identity(&a, S("nonsense"), &d, S(""), &out), ERR_UPSTREAM);
    assert_int_equal(facts_engine_identity(&a, S("[]"), &d, S(""), &out), ERR_UPSTREAM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(llama_server_is_known_by_its_props_and_its_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(vllm_says_its_root_and_its_version, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ollama_is_known_by_its_manifest_and_its_weights, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_order_of_an_ollamas_parameters_says_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_model_that_an_ollama_passes_on_is_remote_whatever_is_written_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(odd_answers_leave_things_unknown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_identity_says_null_where_nothing_is_known_and_its_order_is_fixed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_engine_needs_props_that_can_be_read, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
