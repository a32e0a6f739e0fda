/* fuzz: grammar wire core */
/* An answer with tools: however it is cut, the same texts and calls come out; a call has JSON for arguments unless it was cut off; without calls the
 * text is the answer. The first byte chooses the family and whether a grammar is said to vouch for the layout, the second where it is cut. */
#include "infer/tell.h"
#include "wire/openai_chat.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct result { str text; struct openai_call calls[TOOLS_MAX_CALLS]; size_t n; str finish; bool cut; };

static bool run(struct arena *a, const struct tool_plan *p, str text, size_t step, struct result *out)
{
    struct telling w;
    struct rng r = rand_seeded(1);
    struct openai_writer writer = { .is_chat = true };
    str finish = S("stop");
    enum err e = ERR_OK;
    tell_init(&w, &writer, p, a, &r, NULL, 0);
    for (size_t at = 0; at < text.n && !e; at += step)
        e = tell_put(&w, str_slice(text.p + at, text.n - at < step ? text.n - at : step), STR_NONE);
    e = e ? e : tell_end(&w, &finish);
    assert(e == ERR_OK || e == ERR_LIMIT);
    struct openai_choice c = tell_choice(&w, finish, STR_NONE);
    *out = (struct result){ .text = arena_str(a, c.text), .n = c.n_calls, .finish = finish, .cut = tool_parser_cut(&w.parser) };
    for (size_t i = 0; i < c.n_calls; i++)
        out->calls[i] = (struct openai_call){ .name = c.calls[i].name, .arguments = arena_str(a, c.calls[i].arguments) };
    tell_free(&w);
    return e == ERR_OK;
}

static void check(struct arena *a, const struct tool_plan *p, str text, size_t step)
{
    struct result whole, cut;
    json v;
    if (!run(a, p, text, text.n + 1, &whole) || !run(a, p, text, step, &cut))
        return;
    assert(whole.n == cut.n && str_eq(whole.text, cut.text) && str_eq(whole.finish, cut.finish));
    for (size_t i = 0; i < whole.n; i++) {
        assert(str_eq(whole.calls[i].name, cut.calls[i].name) && str_eq(whole.calls[i].arguments, cut.calls[i].arguments));
        assert(str_eq(whole.calls[i].name, S("get")) || str_eq(whole.calls[i].name, S("now")));
        if (!p->strict_layout)
            assert(json_parse(a, whole.calls[i].arguments, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK && json_type(v) == JSON_OBJECT);
    }
    assert(whole.n || str_eq(whole.text, text));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const formats[] = { "hermes", "llama3", "mistral", "generic" };
    static const str body = S("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get\"}},{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]}");
    struct arena a;
    struct call c;
    struct chat chat;
    struct tool_plan plan;
    struct wire_error why;
    if (n < 2)
        return 0;
    arena_init(&a, 256 << 20);
    assert(openai_decode(&a, OP_CHAT, body, &c, &why) == ERR_OK && openai_to_chat(&a, &c, &chat, &why) == ERR_OK);
    assert(tool_plan_make(&a, tool_format_named(str_of(formats[p[0] & 3])), &chat, &plan, &why) == ERR_OK);
    plan.strict_layout = p[0] & 4;
    plan.many = !(p[0] & 8);
    check(&a, &plan, (str){ (const char *)p + 2, n - 2 }, 1 + p[1] % 7);
    arena_free(&a);
    return 0;
}
