/* fuzz: wire core */
/* Embeddings: a request that is taken becomes valid JSON for each API, and so does a reply that is taken. The first byte chooses which. */
#include "wire/embed.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct json_limits wide = { 256, 8u << 20, 128u << 20 };

static void check_request(struct arena *a, enum dialect d, bool old, str body)
{
    struct call c;
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    enum err e = embed_decode(a, d, old, body, &c, &why);
    if (e != ERR_OK) {
        assert(e == ERR_LIMIT || why.message.n);
        return;
    }
    for (int to = 0; to < 2; to++) {
        struct buf b = { .max = 64 << 20 };
        json v;
        e = embed_translate(a, &c, to ? DIALECT_OLLAMA : DIALECT_OPENAI, S("m\"x"), &b, &why);
        if (e == ERR_OK)
            assert(json_parse(a, buf_str(&b), &wide, &v, NULL) == ERR_OK && json_is(json_member(v, S("model")), S("m\"x")) && json_type(json_member(v, S("input"))) != JSON_NONE);
        buf_free(&b);
    }
}

static void check_reply(struct arena *a, enum dialect from, enum dialect to, bool base64, str body)
{
    struct arena scratch;
    struct reply r;
    struct call c = { .dialect = to, .op = OP_EMBEDDING, .base64 = base64 };
    struct buf b = { .max = 64 << 20 };
    json v;
    arena_init(&scratch, 64 << 20);
    reply_init(&r);
    if (embed_read(a, &scratch, from, body, &r) == ERR_OK && embed_write(&scratch, &c, from, body, S("m\"x"), &r, &b) == ERR_OK)
        assert(json_parse(a, buf_str(&b), &wide, &v, NULL) == ERR_OK && json_is(json_member(v, S("model")), S("m\"x")));
    buf_free(&b);
    arena_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    if (!n)
        return 0;
    str body = { (const char *)p + 1, n - 1 };
    arena_init(&a, 64 << 20);
    switch (p[0] % 6) {
    case 0: check_request(&a, DIALECT_OPENAI, false, body); break;
    case 1: check_request(&a, DIALECT_OLLAMA, false, body); break;
    case 2: check_request(&a, DIALECT_OLLAMA, true, body); break;
    case 3: check_reply(&a, DIALECT_OLLAMA, DIALECT_OPENAI, true, body); break;
    case 4: check_reply(&a, DIALECT_OLLAMA, DIALECT_OPENAI, false, body); break;
    default: check_reply(&a, DIALECT_OPENAI, DIALECT_OLLAMA, false, body);
    }
    arena_free(&a);
    return 0;
}
