/* What a chat request says to each kind of OpenAI-compatible server, and what such a server says of its tokens. */
#include "wire/anthropic.h"
#include "wire/openai_chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEAD "{\"model\":\"x\",\"max_tokens\":9,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define TOOLS ",\"tools\":[{\"name\":\"pick\",\"input_schema\":{\"type\":\"object\"}}]"

static const struct row {
    enum openai_flavour flavour;
    const char *body;
    enum err err;
    const char *has[3], *lacks[4], *dropped;        /* of the request; err: has[0] is in the refusal */
} rows[] = {
    { OPENAI_PLAIN, HEAD ",\"top_k\":5}", ERR_OK, { "\"include_usage\":true}" }, { "top_k", "hearth", "continuous", "return_progress" }, "top_k" },
    { OPENAI_ENGINE, HEAD ",\"top_k\":5}", ERR_OK, { "\"top_k\":5", "\"hearth_prompt_tokens\":true" }, { "continuous", "return_progress" }, "" },
    { OPENAI_VLLM, HEAD ",\"top_k\":5}", ERR_OK, { "\"top_k\":5", "\"include_usage\":true,\"continuous_usage_stats\":true" }, { "hearth", "return_progress" }, "" },
    { OPENAI_LLAMACPP, HEAD ",\"top_k\":5}", ERR_OK, { "\"top_k\":5", "\"return_progress\":true" }, { "hearth", "continuous" }, "" },
    { OPENAI_OLLAMA, HEAD ",\"top_k\":5,\"metadata\":{\"user_id\":\"u\"}}", ERR_OK, { "\"include_usage\":true}" }, { "top_k", "\"u\"", "hearth", "return_progress" }, "user, top_k" },
    { OPENAI_OLLAMA, HEAD TOOLS ",\"tool_choice\":{\"type\":\"auto\"}}", ERR_OK, { "\"pick\"", "\"tool_choice\":\"auto\"" }, { "parallel" }, "" },
    { OPENAI_OLLAMA, HEAD TOOLS ",\"tool_choice\":{\"type\":\"none\"}}", ERR_OK, { "\"messages\"" }, { "pick", "tool_choice" }, "" },
    { OPENAI_OLLAMA, HEAD TOOLS ",\"tool_choice\":{\"type\":\"any\"}}", ERR_UNSUPPORTED, { "decides itself" }, { NULL }, "" },
    { OPENAI_VLLM, HEAD TOOLS ",\"tool_choice\":{\"type\":\"any\"}}", ERR_OK, { "\"tool_choice\":\"required\"" }, { NULL }, "" },
};

static void each_server_is_asked_in_its_own_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *t = &rows[i];
        struct arena a;
        struct call c;
        struct chat chat;
        struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
        struct buf b;
        arena_init(&a, 1 << 20);
        buf_init(&b, 1 << 20);
        assert_int_equal(anthropic_decode(&a, OP_CHAT, str_of(t->body), &c, &why), ERR_OK);
        assert_int_equal(anthropic_to_chat(&a, &c, &chat, &why), ERR_OK);
        chat.early_count = true;
        assert_int_equal(openai_from_chat(&a, &chat, S("m"), t->flavour, &b, &why), t->err);
        str said = t->err ? why.message : buf_str(&b);
        for (size_t k = 0; k < 3 && t->has[k]; k++)
            if (str_find(said, str_of(t->has[k])) == said.n)
                fail_msg("row %zu: %s is not in %.*s", i, t->has[k], STR_ARG(said));
        for (size_t k = 0; k < 4 && t->lacks[k]; k++)
            if (str_find(said, str_of(t->lacks[k])) < said.n)
                fail_msg("row %zu: %s is in %.*s", i, t->lacks[k], STR_ARG(said));
        str dropped = chat_dropped(&a, &chat);
        if (!str_eq(dropped, str_of(t->dropped)))
            fail_msg("row %zu: dropped %.*s", i, STR_ARG(dropped));
        buf_free(&b);
        arena_free(&a);
    }
}

static void counts_are_read_in_either_form(void **state)
{
    (void)state;
    static const struct { const char *body; enum err err; int64_t n; } counts[] = {
        { "{\"count\":17,\"max_model_len\":1024,\"tokens\":[1,2]}", ERR_OK, 17 },
        { "{\"object\":\"response.input_tokens\",\"input_tokens\":3}", ERR_OK, 3 },
        { "{\"count\":-1}", ERR_UPSTREAM, TOKENS_UNKNOWN },
        { "{\"tokens\":[1,2]}", ERR_UPSTREAM, TOKENS_UNKNOWN },
        { "[]", ERR_UPSTREAM, TOKENS_UNKNOWN },
        { "{\"count\":1", ERR_UPSTREAM, TOKENS_UNKNOWN },
    };
    struct arena scratch;
    arena_init(&scratch, 1 << 20);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct reply r;
        reply_init(&r);
        assert_false(reply_has_usage(&r));
        assert_int_equal(openai_read_count(&scratch, str_of(counts[i].body), &r), counts[i].err);
        assert_int_equal(r.prompt_tokens, counts[i].n);
        assert_int_equal(reply_has_usage(&r), counts[i].n != TOKENS_UNKNOWN);
    }
    arena_free(&scratch);
}

static void questions_about_tokens_are_read_only_as_far_as_needed(void **state)
{
    (void)state;
    static const struct { const char *body; enum err err; const char *model; } asked[] = {
        { "{\"content\":\"x\"}", ERR_OK, "" },
        { "{\"model\":\"m\",\"prompt\":[1],\"n\":900,\"stream\":7}", ERR_OK, "m" },      /* what is in it is between client and server */
        { "{\"model\":7,\"content\":\"x\"}", ERR_SYNTAX, "" },
        { "{\"model\":\"a\",\"model\":\"b\"}", ERR_SYNTAX, "" },
        { "[]", ERR_SYNTAX, "" },
    };
    static const struct { enum op op; const char *body; enum err err; } said[] = {
        { OP_TOKENIZE, "{\"tokens\":[1,2]}", ERR_OK },
        { OP_TOKENIZE, "{\"tokens\":[],\"count\":0}", ERR_OK },
        { OP_TOKENIZE, "{\"tokens\":2}", ERR_UPSTREAM },
        { OP_TOKENIZE, "{\"content\":\"x\"}", ERR_UPSTREAM },
        { OP_DETOKENIZE, "{\"content\":\"x\"}", ERR_OK },
        { OP_DETOKENIZE, "{\"prompt\":\"\"}", ERR_OK },
        { OP_DETOKENIZE, "{\"tokens\":[1]}", ERR_UPSTREAM },
        { OP_DETOKENIZE, "{\"content\":", ERR_UPSTREAM },
    };
    struct arena a;
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        for (int op = OP_TOKENIZE; op <= OP_DETOKENIZE; op++) {
            struct call c;
            struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
            assert_int_equal(openai_decode(&a, (enum op)op, str_of(asked[i].body), &c, &why), asked[i].err);
            assert_true(asked[i].err != ERR_OK || (str_eq(c.model, str_of(asked[i].model)) && c.op == (enum op)op && !c.stream));
        }
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct reply r;
        reply_init(&r);
        assert_int_equal(openai_read_tokens(&a, said[i].op, str_of(said[i].body), &r), said[i].err);
        assert_false(reply_has_usage(&r));
    }
    arena_free(&a);
}

static void a_stream_says_early_how_long_the_prompt_is(void **state)
{
    (void)state;
    static const char *const events[] = {
        "{\"hearth\":{\"prompt_tokens\":17},\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":{\"prompt_tokens\":17,\"completion_tokens\":0}}",
        "{\"choices\":[{\"index\":0,\"delta\":{}}],\"prompt_progress\":{\"total\":17,\"cache\":0,\"processed\":8,\"time_ms\":1}}",
    };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        struct arena a, scratch;
        struct reply r;
        arena_init(&a, 1 << 20);
        arena_init(&scratch, 1 << 20);
        reply_init(&r);
        assert_int_equal(openai_read_event(&a, &scratch, str_of(events[i]), &r), EVENT_DELTA);
        assert_int_equal(r.prompt_tokens, 17);
        assert_false(r.started);
        arena_free(&scratch);
        arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_server_is_asked_in_its_own_words),
        cmocka_unit_test(counts_are_read_in_either_form),
        cmocka_unit_test(questions_about_tokens_are_read_only_as_far_as_needed),
        cmocka_unit_test(a_stream_says_early_how_long_the_prompt_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
