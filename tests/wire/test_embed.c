/* Embeddings between OpenAI's API and Ollama's: tables of what goes in and what comes out. */
#include "wire/embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct { enum dialect from; bool old; enum dialect to; const char *body; enum err want; const char *out; } requests[] = {
    { DIALECT_OPENAI, false, DIALECT_OLLAMA, "{\"model\":\"m\",\"input\":\"a\"}", ERR_OK, "{\"model\":\"x\",\"input\":\"a\"}" },
    { DIALECT_OPENAI, false, DIALECT_OLLAMA, "{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"dimensions\":8,\"encoding_format\":\"base64\"}", ERR_OK,
      "{\"model\":\"x\",\"input\":[\"a\",\"b\"],\"dimensions\":8}" },
    { DIALECT_OPENAI, false, DIALECT_OLLAMA, "{\"input\":[1,2]}", ERR_UNSUPPORTED, NULL },
    { DIALECT_OPENAI, false, DIALECT_OLLAMA, "{\"input\":[[1,2]]}", ERR_UNSUPPORTED, NULL },
    { DIALECT_OLLAMA, false, DIALECT_OPENAI, "{\"model\":\"m\",\"input\":[\"a\"],\"truncate\":true}", ERR_OK, "{\"model\":\"x\",\"input\":[\"a\"],\"encoding_format\":\"float\"}" },
    { DIALECT_OLLAMA, true, DIALECT_OPENAI, "{\"model\":\"m\",\"prompt\":\"a\"}", ERR_OK, "{\"model\":\"x\",\"input\":\"a\",\"encoding_format\":\"float\"}" },
    { DIALECT_OLLAMA, true, DIALECT_OPENAI, "{\"model\":\"m\",\"prompt\":[\"a\"]}", ERR_SYNTAX, NULL },
    { DIALECT_OLLAMA, false, DIALECT_OPENAI, "{\"model\":\"m\",\"input\":[1]}", ERR_SYNTAX, NULL },
    { DIALECT_OPENAI, false, DIALECT_OLLAMA, "{\"model\":\"m\"}", ERR_SYNTAX, NULL },
    { DIALECT_OPENAI, false, DIALECT_OLLAMA, "{\"model\":\"m\",\"input\":[]}", ERR_SYNTAX, NULL },
    { DIALECT_OPENAI, false, DIALECT_OLLAMA, "{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"int8\"}", ERR_RANGE, NULL },
    { DIALECT_OPENAI, false, DIALECT_OLLAMA, "{\"model\":\"m\",\"input\":\"a\",\"input\":\"b\"}", ERR_SYNTAX, NULL },
};

static void requests_cross_or_are_refused_with_a_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct arena a;
        struct call c;
        struct buf b = { .max = 1 << 16 };
        struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
        arena_init(&a, 1 << 20);
        enum err e = embed_decode(&a, requests[i].from, requests[i].old, str_of(requests[i].body), &c, &why);
        if (e == ERR_OK)
            e = embed_translate(&a, &c, requests[i].to, S("x"), &b, &why);
        if (e != requests[i].want || (e ? !why.message.n : !str_eq(buf_str(&b), str_of(requests[i].out))))
            fail_msg("%s: %s %.*s", requests[i].body, err_name(e), STR_ARG(buf_str(&b)));
        buf_free(&b);
        arena_free(&a);
    }
}

static const struct { enum dialect from, to; bool old, base64; const char *body; enum err want; const char *out; } replies[] = {
    { DIALECT_OLLAMA, DIALECT_OPENAI, false, false, "{\"embeddings\":[[0.10,-2e3],[1]],\"prompt_eval_count\":5}", ERR_OK,
      "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.10,-2e3]},{\"object\":\"embedding\",\"index\":1,\"embedding\":[1]}],"
      "\"model\":\"m\",\"usage\":{\"prompt_tokens\":5,\"total_tokens\":5}}" },
    /* 1.0f, -2.5f, 0.15625f as little-endian bytes: struct.pack("<3f", …) in Python */
    { DIALECT_OLLAMA, DIALECT_OPENAI, false, true, "{\"embeddings\":[[1,-2.5,0.15625]]}", ERR_OK,
      "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":\"AACAPwAAIMAAACA+\"}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":0,\"total_tokens\":0}}" },
    { DIALECT_OLLAMA, DIALECT_OPENAI, false, true, "{\"embeddings\":[[1]]}", ERR_OK,
      "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":\"AACAPw==\"}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":0,\"total_tokens\":0}}" },
    { DIALECT_OPENAI, DIALECT_OLLAMA, false, false, "{\"data\":[{\"embedding\":[0.5]},{\"embedding\":[2]}],\"usage\":{\"prompt_tokens\":3}}", ERR_OK,
      "{\"model\":\"m\",\"embeddings\":[[0.5],[2]],\"prompt_eval_count\":3}" },
    { DIALECT_OPENAI, DIALECT_OLLAMA, true, false, "{\"data\":[{\"embedding\":[0.5]}]}", ERR_OK, "{\"embedding\":[0.5]}" },
    { DIALECT_OPENAI, DIALECT_OLLAMA, false, false, "{\"data\":[{\"embedding\":\"AAAA\"}]}", ERR_UPSTREAM, NULL },
    { DIALECT_OPENAI, DIALECT_OLLAMA, false, false, "{\"data\":[]}", ERR_UPSTREAM, NULL },
    { DIALECT_OPENAI, DIALECT_OLLAMA, false, false, "{\"data\":[{\"embedding\":[[1,2],[3,4]]}]}", ERR_UPSTREAM, NULL },      /* llama-cpp-python without pooling: one for each token */
    { DIALECT_OLLAMA, DIALECT_OPENAI, false, true, "{\"embeddings\":[[[1,2]]]}", ERR_UPSTREAM, NULL },
    { DIALECT_OLLAMA, DIALECT_OPENAI, false, false, "{\"embeddings\":[1]}", ERR_UPSTREAM, NULL },
    { DIALECT_OLLAMA, DIALECT_OPENAI, false, false, "<html>", ERR_UPSTREAM, NULL },
};

static void replies_cross_with_their_numbers_as_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        struct arena a, scratch;
        struct reply r;
        struct call c = { .dialect = replies[i].to, .op = OP_EMBEDDING, .base64 = replies[i].base64, .generate = replies[i].old };
        struct buf b = { .max = 1 << 16 };
        arena_init(&a, 1 << 20);
        arena_init(&scratch, 1 << 20);
        reply_init(&r);
        enum err e = embed_read(&a, &scratch, replies[i].from, str_of(replies[i].body), &r);
        if (e == ERR_OK)
            e = embed_write(&scratch, &c, replies[i].from, str_of(replies[i].body), S("m"), &r, &b);
        if (e != replies[i].want || (!e && !str_eq(buf_str(&b), str_of(replies[i].out))))
            fail_msg("%s: %s %.*s", replies[i].body, err_name(e), STR_ARG(buf_str(&b)));
        buf_free(&b);
        arena_free(&a);
        arena_free(&scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_cross_or_are_refused_with_a_reason),
        cmocka_unit_test(replies_cross_with_their_numbers_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
