#include "infer/tell.h"

enum { TEXT_MAX = 64 << 20 };

static enum err on_text(void *ctx, str text)
{
    struct telling *w = ctx;
    return w->out ? openai_write_delta(w->out, w->writer, w->index, text, STR_NONE) : buf_put(&w->text, text);
}

/* call_ and 24 letters; 9 letters for families that take no other. */
static str new_id(struct telling *w)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    char text[24];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = letters[rand_u64(w->rng) % (sizeof letters - 1)];
    return w->plan->format->ids ? arena_printf(w->a, "%.9s", text) : arena_printf(w->a, "call_%.24s", text);
}

static enum err on_call(void *ctx, size_t index, str name)
{
    struct telling *w = ctx;
    if (index >= TOOLS_MAX_CALLS)
        return ERR_LIMIT;
    w->calls[index] = (struct openai_call){ .id = new_id(w), .name = arena_str(w->a, name) };
    if (!w->calls[index].id.p || !w->calls[index].name.p)
        return ERR_LIMIT;
    return w->out ? openai_write_call(w->out, w->writer, w->index, index, w->calls[index].id, name) : ERR_OK;
}

static enum err on_arguments(void *ctx, size_t index, str fragment)
{
    struct telling *w = ctx;
    return w->out ? openai_write_arguments(w->out, w->writer, w->index, index, fragment) : buf_put(&w->arguments[index], fragment);
}

void tell_init(struct telling *w, const struct openai_writer *writer, const struct tool_plan *plan, struct arena *a, struct rng *rng, struct buf *out, int64_t index)
{
    *w = (struct telling){ .writer = writer, .plan = plan, .a = a, .rng = rng, .out = out, .index = index };
    buf_init(&w->text, TEXT_MAX);
    for (size_t i = 0; i < TOOLS_MAX_CALLS; i++)
        buf_init(&w->arguments[i], TEXT_MAX);
    if (plan)
        tool_parser_init(&w->parser, plan, &(struct tool_sink){ w, on_text, on_call, on_arguments });
}

void tell_free(struct telling *w)
{
    buf_free(&w->text);
    for (size_t i = 0; i < TOOLS_MAX_CALLS; i++)
        buf_free(&w->arguments[i]);
    if (w->plan)
        tool_parser_free(&w->parser);
}

enum err tell_put(struct telling *w, str text, str logprobs)
{
    if (w->plan)
        return tool_parser_push(&w->parser, text);
    return w->out ? openai_write_delta(w->out, w->writer, w->index, text, logprobs) : buf_put(&w->text, text);
}

/* A call that was cut off is told as far as it came, with the reason why it was: its arguments are no JSON. */
enum err tell_end(struct telling *w, str *finish)
{
    if (!w->plan)
        return ERR_OK;
    enum err e = tool_parser_end(&w->parser);
    if (w->parser.calls && !tool_parser_cut(&w->parser) && str_eq(*finish, S("stop")))
        *finish = S("tool_calls");
    return e;
}

struct openai_choice tell_choice(struct telling *w, str finish, str logprobs)
{
    size_t n = w->plan ? w->parser.calls + tool_parser_cut(&w->parser) : 0;
    for (size_t i = 0; i < n; i++)
        w->calls[i].arguments = buf_str(&w->arguments[i]);
    return (struct openai_choice){ buf_str(&w->text), finish, logprobs, w->calls, n };
}
