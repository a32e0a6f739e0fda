/* The OpenAI codec: what requests mean, what goes upstream in their place, and what streams of real servers amount to. */
#include "wire/openai.h"
#include "wire/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena mem, scratch, files;

static int setup(void **state)
{
    (void)state;
    arena_init(&mem, 32 << 20);
    arena_init(&scratch, 32 << 20);
    arena_init(&files, 8 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&mem);
    arena_free(&scratch);
    arena_free(&files);
    return 0;
}

static void assert_str(str got, const char *want)
{
    if (!str_eq(got, str_of(want)))
        fail_msg("got \"%.*s\", want \"%s\"", STR_ARG(got), want);
}

/* ---- requests ---- */

#define M "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

static const struct { const char *body, *param; } refused[] = {
    { "", "" }, { "[]", "" }, { "{", "" }, { "{}", "messages" },
    { "{\"messages\":[]}", "messages" }, { "{\"messages\":{}}", "messages" },
    { "{\"messages\":[1]}", "messages[0]" },
    { "{\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}", "messages[0].role" },
    { "{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\",\"content\":5}]}", "messages[1].content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"content\":\"y\"}]}", "content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]}", "messages[0].content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\",\"te\\u0078t\":\"y\"}]}]}", "te\\u0078t" },
    { "{" M ",\"model\":1}", "model" }, { "{" M ",\"model\":\"a\",\"mod\\u0065l\":\"b\"}", "mod\\u0065l" },
    { "{" M ",\"stream\":1}", "stream" }, { "{" M ",\"stream_options\":[]}", "stream_options" },
    { "{" M ",\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}", "include_usage" },
    { "{" M ",\"future\":[{\"deep\":{\"a\":1,\"b\":{},\"a\":1}}]}", "a" }, { "{" M ",\"future\":1,\"future\":1}", "future" },
    { "{" M ",\"temperature\":2.1}", "temperature" }, { "{" M ",\"temperature\":\"1\"}", "temperature" }, { "{" M ",\"top_p\":-0.1}", "top_p" },
    { "{" M ",\"n\":0}", "n" }, { "{" M ",\"n\":1.5}", "n" }, { "{" M ",\"max_tokens\":-1}", "max_tokens" },
    { "{" M ",\"stop\":5}", "stop" }, { "{" M ",\"stop\":[1]}", "stop" }, { "{" M ",\"tools\":{}}", "tools" }, { "{" M ",\"tool_choice\":1}", "tool_choice" },
    { "{" M ",\"response_format\":\"json\"}", "response_format" }, { "{" M ",\"logit_bias\":[]}", "logit_bias" }, { "{" M ",\"logprobs\":1}", "logprobs" },
};

static void a_request_that_is_not_valid_is_refused_by_its_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct call c = { 0 };
        struct wire_error why = { 0 };
        arena_reset(&mem);
        enum err e = openai_decode(&mem, OP_CHAT, str_of(refused[i].body), &c, &why);
        if (err_http(e) != 400 || !str_eq(why.param, str_of(refused[i].param)) || !why.message.n)
            fail_msg("%s: %s, param \"%.*s\", \"%.*s\"", refused[i].body, err_name(e), STR_ARG(why.param), STR_ARG(why.message));
    }
}

static void what_hearth_reads_of_a_request(void **state)
{
    static const char body[] = "{\"model\":\"t\\u0065st\"," M ",\"temperature\":0,\"max_completion_tokens\":7,\"stop\":[\"a\",\"b\\n\"],\"seed\":-9007199254740993,\"stream\":true,"
                               "\"stream_options\":{\"include_usage\":true},\"top_logprobs\":3,\"logprobs\":true,\"top_k\":null}";
    struct call c;
    struct wire_error why = { 0 };
    (void)state;
    assert_int_equal(openai_decode(&mem, OP_CHAT, S(body), &c, &why), ERR_OK);
    assert_str(c.model, "test");
    assert_true(c.stream && c.include_usage && c.params.temperature == 0 && c.params.top_p != c.params.top_p);
    assert_int_equal(c.params.max_tokens, 7);
    assert_true(c.params.seed == INT64_C(-9007199254740993));
    assert_int_equal(c.params.logprobs, 3);
    assert_int_equal(c.params.top_k, PARAM_UNSET);
    assert_int_equal(c.params.n_stop, 2);
    assert_str(c.params.stop[1], "b\n");
    assert_int_equal(c.n_messages, 1);
    assert_int_equal(c.messages[0].role, ROLE_USER);
}

/* ---- the body upstream ---- */

static const struct { const char *body, *want; } bodies[] = {
    { "{\"model\":\"a\"," M "}", "{\"model\":\"M\"," M "}" },
    { "{ \"x\" : 12345678901234567890 , " M " , \"y\":[1.0, 1e2] }", "{\"x\" : 12345678901234567890 , " M " , \"y\":[1.0, 1e2],\"model\":\"M\"}" },
    { "{\"hearth\":{\"a\":1}," M ",\"h\\u0065arth_x\":2,\"model\":\"a\"}", "{" M ",\"model\":\"M\"}" },
    { "{" M ",\"stream\":true}", "{" M ",\"stream\":true,\"model\":\"M\",\"stream_options\":{\"include_usage\":true}}" },
    { "{" M ",\"stream\":true,\"stream_options\":{},\"model\":\"b\"}", "{" M ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\":\"M\"}" },
    { "{" M ",\"stream\":true,\"stream_options\":{\"z\": 1},\"model\":\"b\"}", "{" M ",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"z\": 1},\"model\":\"M\"}" },
    { "{" M ",\"stream\":true,\"stream_options\":{\"include_usage\": false ,\"z\":1},\"model\":\"b\"}",
      "{" M ",\"stream\":true,\"stream_options\":{\"include_usage\": true ,\"z\":1},\"model\":\"M\"}" },
    { "{" M ",\"stream\":true,\"stream_options\":null,\"model\":\"b\"}", "{" M ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\":\"M\"}" },
    { "{" M ",\"model\":null}", "{" M ",\"model\":\"M\"}" },
};

static void only_model_and_our_own_fields_are_changed_upstream(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct call c;
        struct wire_error why = { 0 };
        str slices[OPENAI_MAX_SLICES];
        struct buf b = { .max = 1 << 16 };
        size_t n = 0;
        arena_reset(&mem);
        assert_int_equal(openai_decode(&mem, OP_CHAT, str_of(bodies[i].body), &c, &why), ERR_OK);
        assert_int_equal(openai_upstream_body(&mem, &c, S("M"), slices, &n), ERR_OK);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(buf_put(&b, slices[k]), ERR_OK);
        assert_str(buf_str(&b), bodies[i].want);
        buf_free(&b);
    }
}

/* ---- streams of servers ---- */

static const struct {
    const char *file, *model, *finish;
    int64_t prompt, completion, cached;
    bool finished, done, error, completion_api;
} streams[] = {
    { "openai-chat", "gpt-4o-mini-2024-07-18", "stop", 19, 4, 0, true, true, false, false },
    { "openai-tools", "gpt-4o-mini-2024-07-18", "tool_calls", 1200, 40, 1024, true, true, false, false },
    { "openai-two-choices", "gpt-4o-mini-2024-07-18", NULL, 19, 4, 0, true, true, false, false },
    { "azure-chat", "gpt-4o-mini-2024-07-18", "content_filter", -1, -1, -1, true, true, false, false },
    { "llamacpp-chat", "qwen2.5-coder-0.5b-instruct", "length", 24, 3, -1, true, true, false, false },
    { "vllm-reasoning", "Qwen/Qwen3-8B", "stop", 31, 6, 16, true, true, false, false },
    { "vllm-completion", "bigcode/starcoder2-3b", "length", 9, 4, -1, true, true, false, true },
    { "crlf-odd", "small-latest", "stop", 5, 2, -1, true, false, false, false },
    { "cut", "gpt-4o-mini-2024-07-18", "", -1, -1, -1, false, false, false, false },
    { "openrouter-error", "acme/large", "", -1, -1, -1, false, false, true, false },
};

static str file_text(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "tests/wire/golden/%s.sse", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *p = arena_alloc(&files, 1 << 16, 1);
    size_t n = fread(p, 1, 1 << 16, f);
    (void)fclose(f);
    return (str){ p, n };
}

static void read_stream(str all, size_t first, struct reply *r, bool *error)
{
    struct sse s;
    struct sse_event ev;
    sse_init(&s, 1 << 20);
    reply_init(r);
    for (size_t at = 0; at < all.n && !*error; at += first, first = all.n) {
        sse_feed(&s, str_slice(all.p + at, first < all.n - at ? first : all.n - at));
        while (sse_next(&s, &ev) == ERR_OK)
            if (ev.has_data) {
                enum openai_event kind = openai_read_event(&mem, &scratch, ev.data, r);
                assert_int_not_equal(kind, EVENT_INVALID);
                *error |= kind == EVENT_ERROR;
            }
    }
    sse_free(&s);
}

static void streams_of_servers_are_understood_wherever_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        str all = file_text(streams[i].file);
        for (size_t first = 1; first <= all.n; first++) {
            struct reply r;
            bool error = false;
            arena_reset(&mem);
            read_stream(all, first, &r, &error);
            assert_int_equal(error, streams[i].error);
            assert_str(r.model, streams[i].model);
            if (streams[i].finish)
                assert_str(r.finish_reason, streams[i].finish);
            assert_true(r.started);
            assert_int_equal(r.finished, streams[i].finished);
            assert_int_equal(r.done, streams[i].done);
            assert_int_equal(r.prompt_tokens, streams[i].prompt);
            assert_int_equal(r.completion_tokens, streams[i].completion);
            assert_int_equal(r.cached_tokens, streams[i].cached);
            if (error)
                assert_int_equal(r.error_status, 502);
        }
    }
}

/* ---- errors of servers ---- */

static const struct { int status; const char *body, *message, *type, *code; } errors[] = {
    { 400, "{\"error\":{\"message\":\"too long\",\"type\":\"invalid_request_error\",\"param\":\"messages\",\"code\":\"context_length_exceeded\"}}", "too long", "invalid_request_error", "context_length_exceeded" },
    { 400, "{\"object\":\"error\",\"message\":\"no\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}", "no", "BadRequestError", "400" },
    { 404, "{\"error\":\"model 'x' not found\"}", "model 'x' not found", "", "" },
    { 422, "{\"detail\":\"wrong\"}", "wrong", "", "" },
    { 400, "[{\"error\":{\"code\":400,\"message\":\"bad\",\"status\":\"INVALID_ARGUMENT\"}}]", "bad", "", "400" },
    { 502, "<html>Bad Gateway</html>", "", "", "" },
    { 500, "", "", "", "" },
};

static void errors_of_servers_keep_what_they_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct reply r;
        arena_reset(&mem);
        reply_init(&r);
        openai_read_error(&mem, &scratch, errors[i].status, str_of(errors[i].body), &r);
        assert_str(r.error_message, errors[i].message);
        assert_str(r.error_type, errors[i].type);
        assert_str(r.error_code, errors[i].code);
        assert_int_equal(r.error_status, errors[i].status);
        str out = openai_error_from(&mem, &r);
        json v;
        assert_int_equal(json_parse(&mem, out, &JSON_DEFAULT_LIMITS, &v, NULL), ERR_OK);
        v = json_member(v, S("error"));
        assert_int_equal(json_type(json_member(v, S("message"))), JSON_STRING);
        assert_int_equal(json_type(json_member(v, S("type"))), JSON_STRING);
        enum json_type code = json_type(json_member(v, S("code")));
        assert_true(code == JSON_STRING || code == JSON_NULL);
    }
}

/* ---- what the engine writes reads back ---- */

static void what_the_engine_writes_is_a_stream_of_this_api(void **state)
{
    struct openai_writer w = { S("chatcmpl-1"), S("m \"x\""), S("fp"), 1, true, true, 0 };
    struct openai_usage u = { .prompt = 11, .completion = 2, .cached = 5, .accepted = 3, .rejected = 4 };
    struct buf b = { .max = 1 << 16 };
    struct reply r;
    bool error = false;
    (void)state;
    arena_reset(&mem);
    assert_int_equal(openai_write_first(&b, &w, 0) | openai_write_delta(&b, &w, 0, S("Gr\xC3\xBC\xC3\x9F" "e\n\""), STR_NONE) | openai_write_finish(&b, &w, 0, S("stop")) |
                         openai_write_usage(&b, &w, &u) | openai_write_done(&b), ERR_OK);
    read_stream(buf_str(&b), b.n, &r, &error);
    assert_false(error);
    assert_true(r.finished && r.done && r.started);
    assert_str(r.model, "m \"x\"");
    assert_str(r.finish_reason, "stop");
    assert_int_equal(r.prompt_tokens, 11);
    assert_int_equal(r.cached_tokens, 5);
    assert_int_equal(r.accepted_tokens, 3);
    assert_int_equal(r.rejected_tokens, 4);
    buf_clear(&b);
    str text = S("hi"), finish = S("length");
    assert_int_equal(openai_write_reply(&b, &w, &(struct openai_choice){ .text = text, .finish_reason = finish }, 1, &u), ERR_OK);
    reply_init(&r);
    assert_int_equal(openai_read_reply(&mem, &scratch, buf_str(&b), &r), ERR_OK);
    assert_str(r.finish_reason, "length");
    assert_int_equal(r.completion_tokens, 2);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_is_not_valid_is_refused_by_its_field),
        cmocka_unit_test(what_hearth_reads_of_a_request),
        cmocka_unit_test(only_model_and_our_own_fields_are_changed_upstream),
        cmocka_unit_test(streams_of_servers_are_understood_wherever_they_are_cut),
        cmocka_unit_test(errors_of_servers_keep_what_they_say),
        cmocka_unit_test(what_the_engine_writes_is_a_stream_of_this_api),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
