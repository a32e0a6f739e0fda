/* What a grammar's automaton is asked before it is used: can every rule come to an end, and how deep are its calls then; does one begin
 * with itself; which bytes are the same to it. Each is one walk over the nodes, however they are linked. */
#include "infer/gbnf.h"

#include <stdio.h>

/* Who leads to a node: one list for all nodes, cut by `from`. A call is led to by what follows it and by the start of its rule. */
struct back { uint32_t *from, *list; };

static size_t leads_to(const struct gbnf *g, uint32_t n, uint32_t to[2])
{
    const struct gbnf_node *v = &g->nodes[n];
    switch (v->kind) {
    case GBNF_BYTE:  to[0] = v->a; return 1;
    case GBNF_SPLIT: to[0] = v->a; to[1] = v->b; return 2;
    case GBNF_CALL:  to[0] = g->starts[v->a]; to[1] = v->b; return 2;
    case GBNF_TAIL:  to[0] = g->starts[v->a]; return 1;
    default:         return 0;
    }
}

static enum err back_make(struct arena *tmp, const struct gbnf *g, struct back *b)
{
    uint32_t to[2], sum = 0;
    b->from = arena_new(tmp, uint32_t, g->n_nodes + 2);
    if (!b->from)
        return ERR_LIMIT;
    for (uint32_t n = 0; n < g->n_nodes; n++)
        for (size_t i = leads_to(g, n, to); i-- > 0;)
            b->from[to[i] + 2]++;
    for (uint32_t n = 2; n < g->n_nodes + 2; n++) {
        sum += b->from[n];
        b->from[n] = sum;
    }
    b->list = arena_new(tmp, uint32_t, sum + 1);
    if (!b->list)
        return ERR_LIMIT;
    for (uint32_t n = 0; n < g->n_nodes; n++)
        for (size_t i = leads_to(g, n, to); i-- > 0;)
            b->list[b->from[to[i] + 1]++] = n;
    return ERR_OK;
}

/* ---- heights ---- */

/* Spreads from node 0 backwards, level by level: the lowest height of a node is known when it is first reached. Without `bytes`, only
 * what can be passed without reading a byte is reached, and calls cost nothing. */
struct spread {
    const struct gbnf *g;
    const struct back *back;
    uint8_t *height;                    /* GBNF_NEVER: not reached yet */
    uint32_t *stack, n_stack;
    uint32_t bucket[GBNF_NEVER + 1], *link;     /* calls that are reached at a later level: lists of node + 1 */
    bool bytes;
};

static void reach(struct spread *s, uint32_t n, unsigned level)
{
    if (s->height[n] != GBNF_NEVER)
        return;
    s->height[n] = (uint8_t)level;
    s->stack[s->n_stack++] = n;
}

static void reach_call(struct spread *s, uint32_t n, unsigned level)
{
    const struct gbnf_node *v = &s->g->nodes[n];
    unsigned inner = s->height[s->g->starts[v->a]], after = s->height[v->b];
    if (inner == GBNF_NEVER || after == GBNF_NEVER || s->height[n] != GBNF_NEVER)
        return;
    inner += s->bytes;
    unsigned needs = inner > after ? inner : after;
    if (needs <= level) {
        reach(s, n, level);
    } else if (needs < GBNF_NEVER && !s->link[n]) {
        s->link[n] = s->bucket[needs] ? s->bucket[needs] : UINT32_MAX;
        s->bucket[needs] = n + 1;
    }
}

static void spread(struct spread *s)
{
    for (unsigned level = 0; level < GBNF_NEVER; level++) {
        if (level == 0)
            reach(s, 0, 0);
        for (uint32_t n = s->bucket[level]; n && n != UINT32_MAX; n = s->link[n - 1])
            reach(s, n - 1, level);
        while (s->n_stack) {
            uint32_t v = s->stack[--s->n_stack];
            for (uint32_t i = s->back->from[v]; i < s->back->from[v + 1]; i++) {
                uint32_t n = s->back->list[i];
                uint8_t kind = s->g->nodes[n].kind;
                if (kind == GBNF_CALL)
                    reach_call(s, n, level);
                else if (kind != GBNF_BYTE || s->bytes)
                    reach(s, n, level);
            }
        }
    }
}

static enum err heights(struct arena *tmp, const struct gbnf *g, const struct back *b, bool bytes, uint8_t **out)
{
    struct spread s = { .g = g, .back = b, .bytes = bytes, .height = arena_alloc(tmp, g->n_nodes, 1),
                        .stack = arena_new(tmp, uint32_t, g->n_nodes), .link = arena_new(tmp, uint32_t, g->n_nodes) };
    if (!s.height || !s.stack || !s.link)
        return ERR_LIMIT;
    memset(s.height, GBNF_NEVER, g->n_nodes);
    spread(&s);
    *out = s.height;
    return ERR_OK;
}

/* ---- left recursion ---- */

/* Tarjan's strongly connected components over the ways that read no byte. A call whose rule's start is in its own component would be
 * made again before anything is read. The stack of the walk is an array, since a chain of rules may be long. */
struct walk {
    const struct gbnf *g;
    const uint8_t *empty;               /* GBNF_NEVER: no end without a byte */
    uint32_t *order, *low, *component;  /* of nodes, from 1; 0: not seen, or still open */
    uint32_t *path, n_path, *open, n_open;
    uint8_t *tried;
    uint32_t orders, components;
};

static bool way(const struct walk *w, uint32_t n, unsigned which, uint32_t *to)
{
    const struct gbnf_node *v = &w->g->nodes[n];
    if (v->kind == GBNF_SPLIT) {
        *to = which == 0 ? v->a : v->b;
        return which < 2;
    }
    if (v->kind != GBNF_CALL && v->kind != GBNF_TAIL)
        return false;
    *to = which == 0 ? w->g->starts[v->a] : v->b;
    return which == 0 || (which == 1 && v->kind == GBNF_CALL && w->empty[w->g->starts[v->a]] != GBNF_NEVER);
}

static void enter(struct walk *w, uint32_t n)
{
    w->order[n] = w->low[n] = ++w->orders;
    w->path[w->n_path++] = n;
    w->open[w->n_open++] = n;
}

static void leave(struct walk *w, uint32_t n)
{
    w->n_path--;
    if (w->n_path && w->low[n] < w->low[w->path[w->n_path - 1]])
        w->low[w->path[w->n_path - 1]] = w->low[n];
    if (w->low[n] != w->order[n])
        return;
    uint32_t last;
    w->components++;
    do {
        last = w->open[--w->n_open];
        w->component[last] = w->components;
    } while (last != n);
}

static void walk_from(struct walk *w, uint32_t start)
{
    enter(w, start);
    while (w->n_path) {
        uint32_t n = w->path[w->n_path - 1], to;
        if (!way(w, n, w->tried[n]++, &to))
            leave(w, n);
        else if (!w->order[to])
            enter(w, to);
        else if (!w->component[to] && w->order[to] < w->low[n])
            w->low[n] = w->order[to];
    }
}

static enum err check_recursion(struct arena *tmp, const struct gbnf *g, const uint8_t *empty, const str *names, struct gbnf_error *why)
{
    uint32_t n = g->n_nodes;
    struct walk w = { .g = g, .empty = empty, .order = arena_new(tmp, uint32_t, n), .low = arena_new(tmp, uint32_t, n), .component = arena_new(tmp, uint32_t, n),
                      .path = arena_new(tmp, uint32_t, n), .open = arena_new(tmp, uint32_t, n), .tried = arena_new(tmp, uint8_t, n) };
    if (!w.order || !w.low || !w.component || !w.path || !w.open || !w.tried)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++)
        if (!w.order[i])
            walk_from(&w, i);
    for (uint32_t i = 0; i < n; i++) {
        const struct gbnf_node *v = &g->nodes[i];
        if (v->kind != GBNF_CALL || w.component[i] != w.component[g->starts[v->a]])
            continue;
        str name = names[v->a];
        snprintf(why->what, sizeof why->what, "rule '%.*s' begins with itself (left recursion)", (int)(name.n < 60 ? name.n : 60), name.p);
        return ERR_SYNTAX;
    }
    return ERR_OK;
}

/* ---- bytes ---- */

static void find_classes(struct gbnf *g)
{
    bool begins[257] = { true };
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].kind == GBNF_BYTE)
            begins[g->nodes[i].lo] = begins[g->nodes[i].hi + 1] = true;
    g->n_classes = 0;
    for (int b = 0; b < 256; b++) {
        if (begins[b])
            g->member[g->n_classes++] = (uint8_t)b;
        g->class_of[b] = (uint8_t)(g->n_classes - 1);
    }
}

enum err gbnf_check(struct arena *tmp, struct gbnf *g, const str *names, struct gbnf_error *why)
{
    struct back b;
    uint8_t *empty, *height;
    snprintf(why->what, sizeof why->what, "the grammar is too large");
    why->at = 0;
    enum err e = back_make(tmp, g, &b);
    if (!e)
        e = heights(tmp, g, &b, false, &empty);
    if (!e)
        e = check_recursion(tmp, g, empty, names, why);
    if (!e)
        e = heights(tmp, g, &b, true, &height);
    if (e)
        return e;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        g->nodes[i].height = height[i];
    if (height[g->starts[0]] > GBNF_MAX_DEPTH) {
        snprintf(why->what, sizeof why->what, "no text of finite length fits, or none with less than %d rules within each other", GBNF_MAX_DEPTH);
        return ERR_SYNTAX;
    }
    find_classes(g);
    return ERR_OK;
}
