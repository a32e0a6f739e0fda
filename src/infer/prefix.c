/* A sorted array of pointers, a few hundred at most. */
#include "infer/prefix.h"

#include <assert.h>

size_t prefix_common(const int32_t *a, size_t na, const int32_t *b, size_t nb)
{
    size_t n = na < nb ? na : nb, i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Where `owner`'s `tokens` stand relative to entry `e`: < 0 before it. A prefix stands before what it is a prefix of. */
static int compare(uint64_t owner, const int32_t *tokens, size_t n, const struct prefix_entry *e)
{
    if (owner != e->owner)
        return owner < e->owner ? -1 : 1;
    size_t same = prefix_common(tokens, n, e->tokens, e->n);
    if (same < n && same < e->n)
        return tokens[same] < e->tokens[same] ? -1 : 1;
    return n < e->n ? -1 : n > e->n;
}

/* The first entry that does not stand before `tokens`. */
static size_t place(const struct prefix_index *x, uint64_t owner, const int32_t *tokens, size_t n)
{
    size_t low = 0, high = x->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(owner, tokens, n, x->list[mid]) > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static size_t common_with(const struct prefix_index *x, size_t i, uint64_t owner, const int32_t *tokens, size_t n)
{
    const struct prefix_entry *e = x->list[i];
    return e->owner == owner ? prefix_common(tokens, n, e->tokens, e->n) : 0;
}

struct prefix_match prefix_find(const struct prefix_index *x, uint64_t owner, const int32_t *tokens, size_t n)
{
    size_t at = place(x, owner, tokens, n);
    size_t before = at > 0 ? common_with(x, at - 1, owner, tokens, n) : 0;
    size_t after = at < x->n ? common_with(x, at, owner, tokens, n) : 0;
    struct prefix_match m = { before > after ? before : after, at, at };
    if (m.n == 0)
        return m;
    while (m.first > 0 && common_with(x, m.first - 1, owner, tokens, n) == m.n)
        m.first--;
    while (m.end < x->n && common_with(x, m.end, owner, tokens, n) == m.n)
        m.end++;
    return m;
}

enum err prefix_add(struct prefix_index *x, struct prefix_entry *e)
{
    if (x->n == x->cap)
        return ERR_BUSY;
    size_t at = place(x, e->owner, e->tokens, e->n);
    memmove(x->list + at + 1, x->list + at, (x->n - at) * sizeof *x->list);
    x->list[at] = e;
    x->n++;
    prefix_touch(x, e);
    return ERR_OK;
}

void prefix_remove(struct prefix_index *x, struct prefix_entry *e)
{
    size_t at = place(x, e->owner, e->tokens, e->n);
    while (at < x->n && x->list[at] != e)       /* past its equals */
        at++;
    assert(at < x->n);
    x->n--;
    memmove(x->list + at, x->list + at + 1, (x->n - at) * sizeof *x->list);
}

void prefix_touch(struct prefix_index *x, struct prefix_entry *e)
{
    e->used = ++x->uses;
}
