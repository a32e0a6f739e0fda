/* The walker: which strings of a body are seen, in every API; what makes it unsure; and that what nobody replaces stays byte for byte. */
#include "guard/walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena mem;

static int setup(void **state)
{
    (void)state;
    arena_init(&mem, 64 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&mem);
    return 0;
}

/* What was seen, as "text|" for texts, "k:text|" for keys, "n:…|" for numbers, with "name=" before what has a name. */
static str seen(const struct walk *w)
{
    str all = S("");
    for (size_t i = 0; i < w->n; i++) {
        const struct walk_text *t = &w->texts[i];
        all = arena_cat(&mem, (str[]){ all, t->is_key ? S("k:") : t->is_number ? S("n:") : S(""), t->key, t->key.n ? S("=") : S(""), t->text, S("|") }, 6);
    }
    return all;
}

static const struct { const char *body, *texts; } bodies[] = {
    { "{}", "" },
    { "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}", "hello|" },
    { "{\"messages\":[{\"role\":\"user\",\"name\":\"Maria\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}]}", "Maria|a|b|" },
    /* escapes are decoded, in keys as well */
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"maria\\u0040keller.de \\\"x\\\"\"}]}", "maria@keller.de \"x\"|" },
    /* unknown fields, at every level */
    { "{\"x_note\":\"n\",\"messages\":[{\"role\":\"user\",\"content\":\"c\",\"x\":{\"y\":[\"z\",{\"a1\":\"w\"}]}}]}", "n|c|z|k:a1|w|" },
    /* known fields with unknown contents are texts */
    { "{\"model\":\"m\",\"x\":{\"model\":\"10.20.30.40\"}}", "10.20.30.40|" },
    { "{\"model\":\"maria keller\",\"messages\":[{\"role\":\"maria\",\"content\":null}],\"service_tier\":\"maria@keller.de\"}", "maria keller|maria|maria@keller.de|" },
    /* ids by field and form */
    { "{\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"call_abc123\",\"content\":\"r\"},{\"role\":\"tool\",\"tool_call_id\":\"maria@keller.de\",\"content\":\"s\"},"
      "{\"role\":\"tool\",\"tool_call_id\":\"call_maria@x\",\"content\":\"call_abc123\"}]}", "r|maria@keller.de|s|call_maria@x|call_abc123|" },
    /* OpenAI: arguments are JSON in a string, decoded and walked, names and numbers included */
    { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"send\",\"arguments\":\"{\\\"to\\\":\\\"m\\\\u0040k.de\\\",\\\"n\\\":4930901820,\\\"s\\\":12}\"}}]}]}",
      "send|k:to|to=m@k.de|k:n|n:n=4930901820|k:s|" },
    /* and JSON within that */
    { "{\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\" [{\\\"a\\\":\\\"{\\\\\\\"b\\\\\\\":\\\\\\\"deep\\\\\\\"}\\\"}] \"}]}", "k:a|k:b|b=deep|" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"{not json}\"},{\"role\":\"user\",\"content\":\"[1, 2\"},{\"role\":\"user\",\"content\":\"{}\"}]}", "{not json}|[1, 2|" },
    /* schemas: texts and odd names, not plain ones */
    { "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{\"m@k.de\":{\"type\":\"string\",\"enum\":[\"e\"],\"default\":\"f\"},"
      "\"plain\":{\"description\":\"g\"}}}}}]}", "f|d|object|k:m@k.de|string|e|f|g|" },
    /* and names that could be taken for placeholders */
    { "{\"x\":{\"iban_wkbfp\":1,\"plain_name\":2},\"input_schema\":{\"email_address\":{},\"email_kqzzm\":{}}}", "k:iban_wkbfp|k:email_kqzzm|" },
    /* Anthropic: system, tool_use input (data), tool_result, text documents */
    { "{\"model\":\"claude-x\",\"max_tokens\":10,\"system\":[{\"type\":\"text\",\"text\":\"s\",\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\","
      "\"id\":\"toolu_01\",\"name\":\"f\",\"input\":{\"id\":\"call_9\",\"model\":\"m\",\"phones\":[1234567,\"p\"]}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_01\",\"content\":\"r\"}]}]}",
      "s|f|k:id|id=call_9|k:model|model=m|k:phones|n:phones=1234567|phones=p|r|" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"t\"}}]}]}", "text/plain|t|" },
    { "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"c2ln\"}]}]}", "t|c2ln|" },
    /* Ollama */
    { "{\"model\":\"m\",\"prompt\":\"p\",\"suffix\":\"s\",\"system\":\"y\",\"template\":\"t\",\"format\":\"json\",\"options\":{\"stop\":[\"x\"],\"seed\":1234567890}}", "p|s|y|t|x|n:1234567890|" },
    { "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"who\":\"w\"}}}]}]}", "|f|k:who|who=w|" },
    /* Responses */
    { "{\"instructions\":\"i\",\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"t\"}]},{\"type\":\"function_call\",\"call_id\":\"call_1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\\\"b\\\"}\"},"
      "{\"type\":\"function_call_output\",\"call_id\":\"call_1\",\"output\":\"o\"}],\"previous_response_id\":\"resp_1\"}", "i|t|f|k:a|a=b|o|" },
    /* embeddings, and numbers that are phones */
    { "{\"input\":[\"a\",\"b\"],\"x\":-4930901820,\"y\":493090.1820,\"z\":123456}", "a|b|n:4930901820|" },
    { "{\"input\":\"a\",\"dimensions\":256}", "a|" },
    /* who calls is left out, at the top only */
    { "{\"user\":\"u\",\"messages\":[{\"role\":\"user\",\"content\":\"c\",\"metadata\":{\"a\":\"kept\"}}],\"metadata\":{\"user_id\":\"x\"}}", "c|kept|" },
};

static enum err walk_exact(const char *body, struct walk *w)
{
    return walk_body(&mem, str_of(body), NULL, w);
}

static void every_string_is_seen(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct walk w;
        assert_int_equal(walk_exact(bodies[i].body, &w), ERR_OK);
        str got = seen(&w);
        if (!str_eq(got, str_of(bodies[i].texts)))
            print_error("case %zu: %.*s\n", i, STR_ARG(got));
        assert_true(str_eq(got, str_of(bodies[i].texts)));
        assert_false(w.unsure);
        struct buf out;
        buf_init(&out, 1 << 20);
        assert_int_equal(walk_write(&w, &out), ERR_OK);
        assert_true(w.n_dropped || str_eq(buf_str(&out), str_of(bodies[i].body)));
        buf_free(&out);
    }
}

/* Replaces every text `from` by `to`. */
static str replaced(const char *body, str from, str to)
{
    struct walk w;
    struct buf out;
    assert_int_equal(walk_exact(body, &w), ERR_OK);
    for (size_t i = 0; i < w.n; i++)
        if (str_eq(w.texts[i].text, from))
            w.texts[i].to = to;
    buf_init(&out, 1 << 20);
    assert_int_equal(walk_write(&w, &out), ERR_OK);
    str s = arena_str(&mem, buf_str(&out));
    buf_free(&out);
    json root;
    assert_int_equal(json_parse(&mem, s, &JSON_DEFAULT_LIMITS, &root, NULL), ERR_OK);
    return s;
}

/* BerriAI/litellm#41265, #31950, #14612: arguments of tools, results of tools. */
static void litellm_41265_arguments_and_results_of_tools_are_replaced(void **state)
{
    (void)state;
    static const struct { const char *body; str from, to; const char *after; } cases[] = {
        { "{\"a\" : \"x\", \"b\":[ 1.50, \"y\" ]}", S("x"), S("q\"\n"), "{\"a\" : \"q\\\"\\n\", \"b\":[ 1.50, \"y\" ]}" },
        { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"arguments\":\"{ \\\"to\\\" : \\\"x\\\", \\\"n\\\":1 }\"}}]}]}", S("x"), S("[A]\""),
          "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"arguments\":\"{ \\\"to\\\" : \\\"[A]\\\\\\\"\\\", \\\"n\\\":1 }\"}}]}]}" },
        { "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", S("x"), S("[A]"), "{\"messages\":[{\"role\":\"tool\",\"content\":\"[A]\"}]}" },
        { "{\"messages\":[{\"content\":\"{\\\"a\\\":\\\"{\\\\\\\"b\\\\\\\":\\\\\\\"x\\\\\\\"}\\\"}\"}]}", S("x"), S("y"), "{\"messages\":[{\"content\":\"{\\\"a\\\":\\\"{\\\\\\\"b\\\\\\\":\\\\\\\"y\\\\\\\"}\\\"}\"}]}" },
        { "{\"arguments\":{\"m@k.de\":1}}", S("m@k.de"), S("[A]"), "{\"arguments\":{\"[A]\":1}}" },
        { "{\"arguments\":{\"n\": -12345678 }}", S("12345678"), S("98765432"), "{\"arguments\":{\"n\": -98765432 }}" },
        /* what says who calls */
        { "{ \"user\":\"u\", \"a\":\"x\"}", S(""), S(""), "{ \"a\":\"x\"}" },
        { "{\"a\":\"x\", \"user\":\"u\" }", S(""), S(""), "{\"a\":\"x\" }" },
        { "{\"a\":\"x\", \"user\":\"u\",\"metadata\":{},\"safety_identifier\":\"s\"}", S("x"), S("y"), "{\"a\":\"y\"}" },
        { "{\"user\":\"u\",\"a\":\"x\",\"metadata\":{},\"b\":1,\"prompt_cache_key\":\"s\"}", S("x"), S("y"), "{\"a\":\"y\",\"b\":1}" },
        { "{\"user\":\"u\",\"metadata\":{}}", S(""), S(""), "{}" },
        { "{\"us\\u0065r\":\"u\"}", S(""), S(""), "{}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str got = replaced(cases[i].body, cases[i].from, cases[i].to);
        if (!str_eq(got, str_of(cases[i].after)))
            print_error("case %zu: %.*s\n", i, STR_ARG(got));
        assert_true(str_eq(got, str_of(cases[i].after)));
    }
}

static void who_calls_may_be_kept(void **state)
{
    (void)state;
    struct walk w;
    assert_int_equal(walk_body(&mem, S("{\"user\":\"u\"}"), &(struct walk_options){ .keep_user = true }, &w), ERR_OK);
    assert_true(str_eq(seen(&w), S("u|")) && w.n_dropped == 0);
    assert_int_equal(walk_body(&mem, S("{\"user\":\"u\"}"), NULL, &w), ERR_OK);
    assert_true(w.n == 0 && w.n_dropped == 1 && str_eq(w.dropped[0], S("user")));
}

static void what_cannot_be_read_makes_it_unsure(void **state)
{
    (void)state;
    char blob[2048];
    memset(blob, 'A', sizeof blob);
    static const struct { const char *body; bool unsure; } cases[] = {
        { "{\"messages\":[{\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/y.png\"}}]}]}", true },
        { "{\"messages\":[{\"content\":[{\"type\":\"input_audio\",\"input_audio\":{}}]}]}", true },
        { "{\"messages\":[{\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"data\":\"AAAA\"}}]}]}", true },
        { "{\"messages\":[{\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"data\":\"AAAA\"}}]}]}", true },
        { "{\"messages\":[{\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"text\",\"data\":\"AAAA\"}}]}]}", false },
        { "{\"messages\":[{\"content\":[{\"type\":\"tool_result\",\"content\":[{\"type\":\"image\"}]}]}]}", true },
        { "{\"messages\":[{\"content\":\"x\",\"images\":[\"AAAA\"]}]}", true },
        { "{\"messages\":[{\"content\":\"x\",\"images\":[]}]}", false },
        { "{\"input\":[{\"type\":\"input_file\",\"file_id\":\"file-1\"}]}", true },
        { "{\"messages\":[{\"content\":\"see data:image/png;base64,AAAA\"}]}", true },
        { "{\"prompt\":[1,2,3]}", true },
        { "{\"input\":[[1,2],[3]]}", true },
        { "{\"prompt\":\"x\",\"context\":[1,2]}", true },
        { "{\"input\":[\"a\"]}", false },
        { "{\"tools\":[{\"type\":\"function\",\"function\":{\"parameters\":{\"properties\":{\"image\":{\"type\":\"image\"},\"images\":[1]}}}}]}", false },
    };
    struct walk w;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(walk_exact(cases[i].body, &w), ERR_OK);
        if (w.unsure != cases[i].unsure)
            print_error("case %zu: %.*s\n", i, STR_ARG(w.unsure_of));
        assert_int_equal(w.unsure, cases[i].unsure);
    }
    static const struct { const char *body; bool unsure; } blobs[] = {
        { "{\"x\":\"%.*s\"}", true },
        { "{\"messages\":[{\"content\":[{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"%.*s\"}]}]}", false },
        { "{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"\",\"signature\":\"%.*s\"}]}]}", true },
        { "{\"input\":[{\"type\":\"reasoning\",\"encrypted_content\":\"%.*s\"}]}", false },
    };
    for (size_t i = 0; i < sizeof blobs / sizeof *blobs; i++) {
        char body[4096];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(body, sizeof body, blobs[i].body, 1000, blob);
#pragma GCC diagnostic pop
        assert_int_equal(walk_exact(body, &w), ERR_OK);
        assert_int_equal(w.unsure, blobs[i].unsure);
    }
    /* JSON within JSON, deeper than is read */
    str s = S("[\"x\"]");
    for (int i = 0; i < WALK_NESTED + 2; i++) {
        struct buf b;
        struct json_out o;
        buf_init(&b, 1 << 20);
        json_out_init(&o, &b);
        json_open(&o, '[');
        json_put_str(&o, s);
        json_close(&o, ']');
        s = arena_str(&mem, buf_str(&b));
        buf_free(&b);
    }
    assert_int_equal(walk_value(&mem, s, &w), ERR_OK);
    assert_true(w.unsure);
}

static void what_is_no_request_is_an_error(void **state)
{
    (void)state;
    struct walk w;
    static const char *const bad[] = { "", "[]", "\"x\"", "{\"a\":}", "{\"a\":\"\xFF\"}", "{\"a\":\"\\ud800\"}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(walk_exact(bad[i], &w), ERR_SYNTAX);
    struct walk_options tight = { .limits = { .depth = 4, .nodes = 100, .bytes = 30 } };
    assert_int_equal(walk_body(&mem, S("{\"a\":\"0123456789012345678901234567890\"}"), &tight, &w), ERR_LIMIT);
    assert_int_equal(walk_body(&mem, S("{\"a\":[[[[1]]]]}"), &tight, &w), ERR_LIMIT);
    for (size_t limit = 0;; limit++) {
        char *m = malloc(limit + 1);
        struct arena a = { .base = m, .at = m, .end = m + limit };
        enum err e = walk_body(&a, str_of(bodies[7].body), NULL, &w);
        free(m);
        if (e == ERR_OK)
            break;
        assert_int_equal(e, ERR_LIMIT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_string_is_seen), cmocka_unit_test(litellm_41265_arguments_and_results_of_tools_are_replaced), cmocka_unit_test(who_calls_may_be_kept),
        cmocka_unit_test(what_cannot_be_read_makes_it_unsure), cmocka_unit_test(what_is_no_request_is_an_error),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
