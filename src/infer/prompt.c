#include "infer/prompt.h"

#include "wire/openai_chat.h"

/* Tools are offered, demanded, or were used before. */
static bool has_tools(const struct call *c)
{
    for (size_t i = 0; i < c->n_messages; i++)
        if (c->messages[i].role == ROLE_TOOL || json_count(json_member(c->messages[i].whole, S("tool_calls"))))
            return true;
    return json_count(c->tools) || json_type(c->tool_choice) == JSON_OBJECT || json_is(c->tool_choice, S("required"));
}

static enum err with_tools(struct arena *a, const struct model *m, const struct prompt_limits *lim, struct rng *r, const struct call *c,
                           struct tool_plan *plan, struct token_list *out, struct wire_error *why)
{
    struct chat *chat = arena_new(a, struct chat, 1);
    struct tool_prompt p;
    if (!chat)
        return ERR_LIMIT;
    enum err e = openai_to_chat(a, c, chat, why);
    if (!e)
        e = tool_plan_make(a, m->chat.tools, chat, plan, why);
    if (!e)
        e = tools_prompt(a, plan, m->chat.family, &p, why);
    if (e)
        return e;
    plan->marker = *plan->format->marker ? m->chat.marker : -1;
    return p.whole ? template_whole(a, &m->chat, m->vocab, lim, p.whole, p.n_whole, out, why)
                   : template_messages(a, &m->chat, m->vocab, lim, r, p.messages, p.n, out, why);
}

enum err prompt_of_call(struct arena *a, const struct model *m, const struct prompt_limits *lim, struct rng *r, const struct call *c,
                        struct tool_plan *plan, struct token_list *out, struct wire_error *why)
{
    *plan = (struct tool_plan){ .choice = TOOLS_NONE, .marker = -1 };
    if (c->op != OP_CHAT)
        return template_text(a, m->vocab, lim, true, c->prompt, out, why);
    return has_tools(c) ? with_tools(a, m, lim, r, c, plan, out, why) : template_chat(a, &m->chat, m->vocab, lim, r, c, out, why);
}
