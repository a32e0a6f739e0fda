/* fuzz: wire core */
/* A request of any API that is taken becomes, for every API, valid JSON or a refusal with its words. The first byte chooses the client's API. */
#include "wire/anthropic.h"
#include "wire/ollama.h"
#include "wire/openai_chat.h"
#include "wire/responses.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static enum err decode(struct arena *a, int which, str body, struct call *c, struct wire_error *why)
{
    switch (which) {
    case 0:  return openai_decode(a, OP_CHAT, body, c, why);
    case 1:  return anthropic_decode(a, OP_CHAT, body, c, why);
    case 2:  return ollama_decode(a, OP_CHAT, false, body, c, why);
    case 3:  return ollama_decode(a, OP_CHAT, true, body, c, why);
    default: return responses_decode(a, body, c, why);
    }
}

static enum err to_chat(struct arena *a, const struct call *c, struct chat *chat, struct wire_error *why)
{
    switch (c->dialect) {
    case DIALECT_OPENAI:    return openai_to_chat(a, c, chat, why);
    case DIALECT_ANTHROPIC: return anthropic_to_chat(a, c, chat, why);
    case DIALECT_RESPONSES: return responses_to_chat(a, c, chat, why);
    default:                return ollama_to_chat(a, c, chat, why);
    }
}

static void check(struct arena *a, const struct call *c, int which)
{
    struct chat chat;
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    struct buf b = { .max = 64 << 20 };
    json v;
    enum err e = to_chat(a, c, &chat, &why);
    if (e == ERR_OK)
        e = which <= OPENAI_OLLAMA ? openai_from_chat(a, &chat, S("m\"x"), (enum openai_flavour)which, &b, &why)
            : which == OPENAI_OLLAMA + 1 ? anthropic_from_chat(a, &chat, S("m\"x"), 4096, &b, &why) : ollama_from_chat(a, &chat, S("m\"x"), &b, &why);
    if (e == ERR_OK) {
        assert(json_parse(a, buf_str(&b), &(struct json_limits){ 256, 8u << 20, 128u << 20 }, &v, NULL) == ERR_OK);
        assert(json_is(json_member(v, S("model")), S("m\"x")));
        str dropped = chat_dropped(a, &chat), key;
        for (size_t i = 0; i < dropped.n; i++)
            assert((unsigned char)dropped.p[i] >= ' ' && (unsigned char)dropped.p[i] < 0x7F);
        assert(!json_has_duplicate(v, &key));
    } else if (e != ERR_LIMIT) {
        assert(why.message.n);
    }
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    struct call c;
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    if (!n)
        return 0;
    arena_init(&a, 64 << 20);
    enum err e = decode(&a, p[0] % 5, (str){ (const char *)p + 1, n - 1 }, &c, &why);
    for (int which = 0; which <= OPENAI_OLLAMA + 2 && e == ERR_OK; which++)
        check(&a, &c, which);
    if (e != ERR_OK && e != ERR_LIMIT)
        assert(why.message.n);
    arena_free(&a);
    return 0;
}
