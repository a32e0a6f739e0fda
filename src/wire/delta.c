/* wire/delta.c: the pieces of an answer put together again, for clients that want it whole. */
#include "wire/delta.h"

#include <assert.h>

#include "core/arena.h"

void answer_init(struct answer *w, struct arena *a, size_t max) { *w = (struct answer){ .a = a, .max = max }; }

void answer_free(struct answer *w)
{
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->choices[i].n; k++)
            buf_free(&w->choices[i].blocks[k].text);
    w->n = 0;
}

static struct answer_choice *choice_of(struct answer *w, int64_t index)
{
    if (index < 0 || index >= ANSWER_MAX_CHOICES)
        return NULL;
    size_t need = (size_t)index + 1;
    if (need > w->n) {
        struct answer_choice *more = arena_new(w->a, struct answer_choice, need);
        if (!more)
            return NULL;
        if (w->n)
            memcpy(more, w->choices, w->n * sizeof *more);
        w->choices = more;
        w->n = need;
    }
    return &w->choices[index];
}

static struct answer_block *block_new(struct answer *w, struct answer_choice *c, enum block_kind kind)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 4;
        struct answer_block *more = arena_new(w->a, struct answer_block, cap);
        if (!more)
            return NULL;
        if (c->blocks)
            memcpy(more, c->blocks, c->n * sizeof *more);
        c->blocks = more;
        c->cap = cap;
    }
    assert(c->blocks);                  /* there is room: it was full, or it was made above */
    struct answer_block *b = &c->blocks[c->n++];
    *b = (struct answer_block){ .kind = kind };
    buf_init(&b->text, w->max);
    return b;
}

/* The last block when it is of this kind and still open for more, else a new one. */
static struct answer_block *block_of(struct answer *w, struct answer_choice *c, enum block_kind kind)
{
    struct answer_block *last = c->n ? &c->blocks[c->n - 1] : NULL;
    bool open = last && last->kind == kind && !(kind == BLOCK_THINKING && (last->signature.n || last->id.n));
    return open ? last : block_new(w, c, kind);
}

static struct answer_block *tool_at(struct answer_choice *c, int64_t index)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->blocks[i].kind == BLOCK_TOOL && index-- == 0)
            return &c->blocks[i];
    return NULL;
}

static enum err add_text(struct answer *w, struct answer_block *b, str text)
{
    if (!b)
        return ERR_LIMIT;
    if (text.n > w->max - w->used)
        return ERR_LIMIT;
    w->used += text.n;
    return buf_put(&b->text, text);
}

/* OpenAI's logprobs of a choice are {"content":[…]}: the lists of all pieces in one. */
static enum err add_logprobs(struct answer *w, struct answer_choice *c, json logprobs)
{
    json list = json_member(logprobs, S("content"));
    if (!json_count(list))
        return ERR_OK;
    str more = json_span(list);
    more = str_slice(more.p + 1, more.n - 2);
    c->logprobs = c->logprobs.n ? arena_printf(w->a, "%.*s,%.*s", STR_ARG(c->logprobs), STR_ARG(more)) : arena_str(w->a, more);
    return c->logprobs.p ? ERR_OK : ERR_LIMIT;
}

static enum err add_thinking(struct answer *w, struct answer_choice *c, const struct delta *d)
{
    struct answer_block *b = block_of(w, c, BLOCK_THINKING);
    if (b && d->id.n) {
        if (b->text.n)
            b = block_new(w, c, BLOCK_THINKING);
        if (b && !(b->id = arena_str(w->a, d->id)).p)
            return ERR_LIMIT;
    }
    return add_text(w, b, d->text);
}

static enum err add_tool(struct answer *w, struct answer_choice *c, const struct delta *d)
{
    struct answer_block *b = block_new(w, c, BLOCK_TOOL);
    if (!b)
        return ERR_LIMIT;
    b->id = arena_str(w->a, d->id);
    b->name = arena_str(w->a, d->name);
    return b->id.p && b->name.p ? ERR_OK : ERR_LIMIT;
}

static enum err add_finish(struct answer *w, struct answer_choice *c, const struct delta *d)
{
    c->finish = arena_str(w->a, d->text);
    if (d->name.n)
        c->stop_sequence = arena_str(w->a, d->name);
    return c->finish.p ? ERR_OK : ERR_LIMIT;
}

void answer_add(struct answer *w, const struct delta *d)
{
    if (w->err || d->kind == DELTA_USAGE || d->kind == DELTA_END)
        return;
    struct answer_choice *c = choice_of(w, d->choice);
    if (!c) {
        w->err = ERR_LIMIT;
        return;
    }
    switch (d->kind) {
    case DELTA_TEXT:
        w->err = add_text(w, block_of(w, c, BLOCK_TEXT), d->text);
        if (!w->err)
            w->err = add_logprobs(w, c, d->logprobs);
        break;
    case DELTA_REFUSAL:    w->err = add_text(w, block_of(w, c, BLOCK_REFUSAL), d->text); break;
    case DELTA_THINKING:   w->err = add_thinking(w, c, d); break;
    case DELTA_SIGNATURE: {
        struct answer_block *b = block_of(w, c, BLOCK_THINKING);
        w->err = b && (b->signature = arena_str(w->a, d->text)).p ? ERR_OK : ERR_LIMIT;
        break;
    }
    case DELTA_TOOL_START: w->err = add_tool(w, c, d); break;
    case DELTA_TOOL_ARGS: {
        struct answer_block *b = tool_at(c, d->index);
        w->err = b ? add_text(w, b, d->text) : ERR_UPSTREAM;
        break;
    }
    case DELTA_FINISH:     w->err = add_finish(w, c, d); break;
    default:               break;
    }
    if (!w->err && w->a->failed)
        w->err = ERR_LIMIT;
}
