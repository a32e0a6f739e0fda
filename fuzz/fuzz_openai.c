/* fuzz: wire core */
/* A request that is taken goes upstream as JSON that differs only where it may; replies and events of any shape are survived. */
#include "wire/openai.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check_upstream(struct arena *a, const struct call *c)
{
    str slices[OPENAI_MAX_SLICES];
    size_t n = 0;
    struct buf b = { .max = 8 << 20 };
    json v;
    if (openai_upstream_body(a, c, S("other \"model\""), slices, &n) != ERR_OK)
        return;
    for (size_t i = 0; i < n; i++)
        (void)buf_put(&b, slices[i]);
    assert(json_parse(a, buf_str(&b), &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK);
    assert(json_is(json_member(v, S("model")), S("other \"model\"")));
    for (json m = json_first(c->root); json_type(m) != JSON_NONE; m = json_next(m)) {
        str key, raw = json_span(json_key(m));
        assert(json_text(a, json_key(m), &key) == ERR_OK);
        if (str_starts(raw, S("\"hearth")) || str_eq(key, S("model")) || str_eq(key, S("stream_options")) || json_member(c->root, key).at != m.at)
            continue;
        assert(str_eq(json_span(json_member(v, key)), json_span(m)));
    }
    bool usage = false;
    if (c->stream)
        assert(json_bool(json_member(json_member(v, S("stream_options")), S("include_usage")), &usage) && usage);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a, scratch;
    struct call c;
    struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
    struct reply r;
    str in = { (const char *)p, n };
    arena_init(&a, 32 << 20);
    arena_init(&scratch, 32 << 20);
    for (int op = OP_CHAT; op <= OP_COMPLETION; op++)
        if (openai_decode(&a, (enum op)op, in, &c, &why) == ERR_OK)
            check_upstream(&a, &c);
    if (openai_decode(&a, OP_TOKENIZE, in, &c, &why) == ERR_OK)
        check_upstream(&a, &c);
    reply_init(&r);
    (void)openai_read_event(&a, &scratch, in, &r);
    reply_init(&r);
    (void)openai_read_reply(&a, &scratch, in, &r);
    struct reply counted;
    reply_init(&counted);
    assert((openai_read_count(&scratch, in, &counted) == ERR_OK) == (counted.prompt_tokens >= 0));
    for (int op = OP_TOKENIZE; op <= OP_DETOKENIZE; op++) {
        reply_init(&r);
        assert(openai_read_tokens(&scratch, (enum op)op, in, &r) != ERR_OK || r.prompt_tokens == TOKENS_UNKNOWN);
    }
    reply_init(&r);
    openai_read_error(&a, &scratch, 500, in, &r);
    json v;
    assert(json_parse(&a, openai_error_from(&a, &r), &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK);
    arena_free(&a);
    arena_free(&scratch);
    return 0;
}
