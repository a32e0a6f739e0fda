/* Stacks of calls are trees that grow from the root: a stack is a number, equal stacks have equal numbers, and a place is a node and a
 * stack. The set of places after a byte is closed over everything that reads no byte, sorted, and looked up: that is a state. */
#include "infer/grammar.h"

#include <stdlib.h>

enum { DEAD = 0, UNKNOWN = UINT32_MAX, VISITED = GRAMMAR_MAX_PLACES * 4 };

struct place { uint32_t node, stack; };
struct stack { uint32_t node, below, chain; uint16_t depth; };  /* goes on at `node` when the call returns; chain: of its hash, number + 1 */
struct state {
    uint32_t first, n;                  /* its places: only those that read a byte */
    uint32_t chain;
    bool may_end;
    uint64_t *mask;
    uint32_t allowed;                   /* bits in the mask */
};

/* Everything that is remembered of what was met; thrown away as a whole. */
struct memo {
    struct arena mem;
    struct place *places;
    struct stack *stacks;
    struct state *states;
    uint32_t *ways;                     /* n_classes of each state */
    uint32_t n_places, cap_places, n_stacks, cap_stacks, n_states, cap_states, *state_hash, *stack_hash, cap_state_hash, cap_stack_hash;
};

struct grammar {
    struct arena mem;
    struct gbnf gbnf;
    struct memo memo;
    struct grammar_run *runs;
    size_t memory;
    int64_t budget;
    bool failed;                        /* in the current operation */
    uint32_t start;
    /* room for closing a set of places */
    struct place todo[GRAMMAR_MAX_PLACES], found[GRAMMAR_MAX_PLACES], visited[VISITED];
    uint32_t mark[VISITED], round, n_todo, n_found, n_visited;
    bool may_end;
};

static uint32_t mix(uint32_t a, uint32_t b)
{
    uint64_t h = ((uint64_t)a << 32 | b) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

/* Makes room for one more element of `size`. */
static bool grow(struct grammar *g, void **list, uint32_t n, uint32_t *cap, size_t size)
{
    uint32_t to = *cap ? *cap * 2 : 256;
    if (n < *cap)
        return true;
    void *grown = arena_grow(&g->memo.mem, *list, *cap * size, to * size, 8);
    if (!grown)
        return !(g->failed = true);
    *list = grown;
    *cap = to;
    return true;
}

/* ---- stacks ---- */

static bool stack_rehash(struct grammar *g)
{
    struct memo *m = &g->memo;
    uint32_t cap = m->cap_stack_hash ? m->cap_stack_hash * 4 : 1024;
    uint32_t *hash = arena_new(&m->mem, uint32_t, cap);
    if (!hash)
        return !(g->failed = true);
    for (uint32_t i = 1; i < m->n_stacks; i++) {
        uint32_t at = mix(m->stacks[i].node, m->stacks[i].below) & (cap - 1);
        m->stacks[i].chain = hash[at];
        hash[at] = i + 1;
    }
    m->stack_hash = hash;
    m->cap_stack_hash = cap;
    return true;
}

static bool stack_push(struct grammar *g, uint32_t node, uint32_t below, uint32_t *out)
{
    struct memo *m = &g->memo;
    if (m->n_stacks >= m->cap_stack_hash && !stack_rehash(g))
        return false;
    uint32_t at = mix(node, below) & (m->cap_stack_hash - 1);
    for (uint32_t i = m->stack_hash[at]; i; i = m->stacks[i - 1].chain)
        if (m->stacks[i - 1].node == node && m->stacks[i - 1].below == below) {
            *out = i - 1;
            return true;
        }
    if (!grow(g, (void **)&m->stacks, m->n_stacks, &m->cap_stacks, sizeof *m->stacks))
        return false;
    m->stacks[m->n_stacks] = (struct stack){ node, below, m->stack_hash[at], (uint16_t)(m->stacks[below].depth + 1) };
    m->stack_hash[at] = m->n_stacks + 1;
    *out = m->n_stacks++;
    return true;
}

/* ---- closing a set of places ---- */

static void close_begin(struct grammar *g)
{
    if (++g->round == 0) {
        memset(g->mark, 0, sizeof g->mark);
        g->round = 1;
    }
    g->n_todo = g->n_found = g->n_visited = 0;
    g->may_end = false;
}

/* Notes a place that may be at, unless it was noted before or its end would lie too deep. */
static void close_add(struct grammar *g, uint32_t node, uint32_t stack)
{
    uint32_t at = mix(node, stack) % VISITED;
    if (g->gbnf.nodes[node].height + g->memo.stacks[stack].depth > GBNF_MAX_DEPTH)
        return;
    for (; g->mark[at] == g->round; at = (at + 1) % VISITED)
        if (g->visited[at].node == node && g->visited[at].stack == stack)
            return;
    if (g->n_todo == GRAMMAR_MAX_PLACES || g->n_visited == VISITED / 2 || --g->budget < 0) {
        g->failed = true;
        return;
    }
    g->n_visited++;
    g->mark[at] = g->round;
    g->visited[at] = g->todo[g->n_todo++] = (struct place){ node, stack };
}

static void close_call(struct grammar *g, const struct gbnf_node *v, uint32_t stack)
{
    uint32_t pushed;
    if (stack_push(g, v->b, stack, &pushed))
        close_add(g, g->gbnf.starts[v->a], pushed);
}

static void close_all(struct grammar *g)
{
    while (g->n_todo && !g->failed) {
        struct place p = g->todo[--g->n_todo];
        const struct gbnf_node *v = &g->gbnf.nodes[p.node];
        switch (v->kind) {
        case GBNF_BYTE:
            if (g->n_found == GRAMMAR_MAX_PLACES)
                g->failed = true;
            else
                g->found[g->n_found++] = p;
            break;
        case GBNF_SPLIT:
            close_add(g, v->b, p.stack);
            close_add(g, v->a, p.stack);
            break;
        case GBNF_CALL: close_call(g, v, p.stack); break;
        case GBNF_TAIL: close_add(g, g->gbnf.starts[v->a], p.stack); break;
        default:
            if (p.stack == 0)
                g->may_end = true;
            else
                close_add(g, g->memo.stacks[p.stack].node, g->memo.stacks[p.stack].below);
        }
    }
}

/* ---- states ---- */

static int by_place(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    return a->stack < b->stack ? -1 : a->stack > b->stack;
}

static uint32_t places_hash(const struct place *p, uint32_t n, bool may_end)
{
    uint32_t h = n * 2 + may_end;
    for (uint32_t i = 0; i < n; i++)
        h = mix(h ^ p[i].node, p[i].stack);
    return h;
}

static bool state_rehash(struct grammar *g)
{
    struct memo *m = &g->memo;
    uint32_t cap = m->cap_state_hash ? m->cap_state_hash * 4 : 1024;
    uint32_t *hash = arena_new(&m->mem, uint32_t, cap);
    if (!hash)
        return !(g->failed = true);
    for (uint32_t i = 1; i < m->n_states; i++) {
        uint32_t at = places_hash(m->places + m->states[i].first, m->states[i].n, m->states[i].may_end) & (cap - 1);
        m->states[i].chain = hash[at];
        hash[at] = i + 1;
    }
    m->state_hash = hash;
    m->cap_state_hash = cap;
    return true;
}

/* A new state of the places at the end of the list, of which there are n. */
static bool state_add(struct grammar *g, uint32_t n, uint32_t hash, uint32_t *out)
{
    struct memo *m = &g->memo;
    uint32_t cap = m->cap_states;
    if (!grow(g, (void **)&m->states, m->n_states, &m->cap_states, sizeof *m->states))
        return false;
    if (cap != m->cap_states) {
        size_t row = g->gbnf.n_classes * sizeof *m->ways;
        uint32_t *ways = arena_grow(&m->mem, m->ways, cap * row, m->cap_states * row, _Alignof(uint32_t));
        if (!ways)
            return !(g->failed = true);
        m->ways = ways;
    }
    struct state *s = &m->states[m->n_states];
    *s = (struct state){ .first = m->n_places, .n = n, .may_end = g->may_end };
    if (m->cap_state_hash) {
        uint32_t at = hash & (m->cap_state_hash - 1);
        s->chain = m->state_hash[at];
        m->state_hash[at] = m->n_states + 1;
    }
    memset(m->ways + (size_t)m->n_states * g->gbnf.n_classes, m->n_states == DEAD ? 0 : 0xFF, g->gbnf.n_classes * sizeof *m->ways);
    *out = m->n_states++;
    return true;
}

/* The number of the state that was closed. */
static bool state_find(struct grammar *g, uint32_t *out)
{
    struct memo *m = &g->memo;
    uint32_t n = g->n_found;
    if (n == 0 && !g->may_end) {
        *out = DEAD;
        return true;
    }
    qsort(g->found, n, sizeof *g->found, by_place);
    if (m->n_states >= m->cap_state_hash && !state_rehash(g))
        return false;
    uint32_t hash = places_hash(g->found, n, g->may_end);
    for (uint32_t i = m->state_hash[hash & (m->cap_state_hash - 1)]; i; i = m->states[i - 1].chain) {
        const struct state *s = &m->states[i - 1];
        if (s->n == n && s->may_end == g->may_end && (n == 0 || memcmp(m->places + s->first, g->found, n * sizeof *g->found) == 0)) {
            *out = i - 1;
            return true;
        }
    }
    while (m->n_places + n > m->cap_places)
        if (!grow(g, (void **)&m->places, m->cap_places, &m->cap_places, sizeof *m->places))
            return false;
    if (!state_add(g, n, hash, out))
        return false;
    if (n)
        memcpy(m->places + m->n_places, g->found, n * sizeof *g->found);
    m->n_places += n;
    return true;
}

static uint32_t make_way(struct grammar *g, uint32_t state, unsigned class)
{
    uint32_t to = DEAD;
    uint8_t byte = g->gbnf.member[class];
    close_begin(g);
    for (uint32_t i = 0; i < g->memo.states[state].n && !g->failed; i++) {
        struct place p = g->memo.places[g->memo.states[state].first + i];
        const struct gbnf_node *v = &g->gbnf.nodes[p.node];
        g->budget--;
        if (v->lo <= byte && byte <= v->hi)
            close_add(g, v->a, p.stack);
    }
    close_all(g);
    if (g->failed || !state_find(g, &to))
        return DEAD;
    g->memo.ways[(size_t)state * g->gbnf.n_classes + class] = to;
    return to;
}

static inline uint32_t step(struct grammar *g, uint32_t state, uint8_t byte)
{
    unsigned class = g->gbnf.class_of[byte];
    uint32_t to = g->memo.ways[(size_t)state * g->gbnf.n_classes + class];
    return to != UNKNOWN ? to : make_way(g, state, class);
}

/* ---- the memo's life ---- */

/* The empty stack and the dead state are the first of their kind. */
static bool memo_begin(struct grammar *g)
{
    struct memo *m = &g->memo;
    uint32_t dead;
    arena_init(&m->mem, g->memory);
    if (!grow(g, (void **)&m->stacks, 0, &m->cap_stacks, sizeof *m->stacks))
        return false;
    m->stacks[m->n_stacks++] = (struct stack){ 0, 0, 0, 0 };
    g->may_end = false;
    return state_add(g, 0, 0, &dead);
}

/* A stack of the old memo in the new one. */
static bool stack_move(struct grammar *g, const struct memo *old, uint32_t stack, uint32_t *out)
{
    uint32_t nodes[GBNF_MAX_DEPTH + 1], n = 0;
    for (; stack; stack = old->stacks[stack].below)
        nodes[n++] = old->stacks[stack].node;
    *out = 0;
    while (n-- > 0)
        if (!stack_push(g, nodes[n], *out, out))
            return false;
    return true;
}

static bool state_move(struct grammar *g, const struct memo *old, uint32_t *state)
{
    const struct state *s = &old->states[*state];
    g->n_found = s->n;
    g->may_end = s->may_end;
    for (uint32_t i = 0; i < s->n; i++) {
        g->found[i].node = old->places[s->first + i].node;
        if (!stack_move(g, old, old->places[s->first + i].stack, &g->found[i].stack))
            return false;
    }
    return state_find(g, state);
}

/* What was met has become much: only where the runs are, and where each begins, is kept. */
static void memo_renew(struct grammar *g)
{
    struct memo old = g->memo;
    g->memo = (struct memo){ .places = NULL };
    g->failed = false;
    bool ok = memo_begin(g) && state_move(g, &old, &g->start);
    for (struct grammar_run *r = g->runs; r; r = r->next)
        r->failed |= !ok || !state_move(g, &old, &r->state);
    arena_free(&old.mem);
}

/* Before anything that may meet new states. */
static bool begin_work(struct grammar_run *r)
{
    struct grammar *g = r->g;
    if (!r->failed && g->memo.mem.budget < g->memory / 2)
        memo_renew(g);
    g->budget = GRAMMAR_BUDGET;
    g->failed = false;
    return !r->failed;
}

static void end_work(struct grammar_run *r)
{
    r->left -= GRAMMAR_BUDGET - r->g->budget;
    r->failed |= r->g->failed || r->left < 0;
}

/* ---- the public part ---- */

enum err grammar_new(str text, bool tokens, size_t memory, struct grammar **out, struct gbnf_error *why)
{
    struct grammar *g = calloc(1, sizeof *g);
    *why = (struct gbnf_error){ 0, "" };
    if (!g)
        return ERR_MEMORY;
    arena_init(&g->mem, 64u << 20);
    enum err e = gbnf_compile(&g->mem, text, tokens, &g->gbnf, why);
    g->memory = memory;
    g->budget = GRAMMAR_BUDGET;
    if (!e && memo_begin(g)) {
        close_begin(g);
        close_add(g, g->gbnf.starts[0], 0);
        close_all(g);
        if (!g->failed)
            (void)state_find(g, &g->start);
    }
    if (!e && g->failed) {
        *why = (struct gbnf_error){ 0, "too much may come at its beginning" };
        e = ERR_LIMIT;
    }
    if (e)
        grammar_free(g);
    else
        *out = g;
    return e;
}

void grammar_free(struct grammar *g)
{
    if (g) {
        arena_free(&g->memo.mem);
        arena_free(&g->mem);
    }
    free(g);
}

void grammar_begin(struct grammar *g, struct grammar_run *r)
{
    *r = (struct grammar_run){ .g = g, .state = g->start, .left = GRAMMAR_RUN_BUDGET, .next = g->runs, .back = &g->runs };
    if (g->runs)
        g->runs->back = &r->next;
    g->runs = r;
}

void grammar_end(struct grammar_run *r)
{
    if (!r->g)
        return;
    *r->back = r->next;
    if (r->next)
        r->next->back = r->back;
    *r = (struct grammar_run){ .g = NULL };
}

bool grammar_may_end(const struct grammar_run *r) { return !r->failed && r->g->memo.states[r->state].may_end; }
bool grammar_must_end(const struct grammar_run *r) { return grammar_may_end(r) && r->g->memo.states[r->state].n == 0; }

static bool go(struct grammar_run *r, str bytes, uint32_t *to)
{
    uint32_t state = r->state;
    for (size_t i = 0; i < bytes.n && state != DEAD; i++)
        state = step(r->g, state, (uint8_t)bytes.p[i]);
    end_work(r);
    *to = state;
    return state != DEAD && !r->failed;
}

bool grammar_fits(struct grammar_run *r, str bytes)
{
    uint32_t to;
    return begin_work(r) && go(r, bytes, &to);
}

bool grammar_take(struct grammar_run *r, str bytes)
{
    uint32_t to;
    if (!begin_work(r) || !go(r, bytes, &to))
        return false;
    r->state = to;
    r->left += GRAMMAR_ALLOWANCE;
    return true;
}

/* ---- tokens ---- */

/* Nodes of the tree in the order of its bytes: a node, then all below it, then its next brother. */
struct branch {
    uint32_t skip;                      /* the node after all below this one */
    uint32_t first;                     /* tokens that end here: in `sorted` */
    uint16_t n;
    uint8_t byte, depth;                /* depth: 1 for the first byte */
};
struct vocabulary {
    struct arena mem;
    str *pieces;
    struct branch *tree;
    uint32_t *sorted, *ends, n, n_tree, n_sorted, n_ends;
};

static int by_piece(const void *x, const void *y, void *pieces)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    int order = str_cmp(((const str *)pieces)[a], ((const str *)pieces)[b]);
    return order ? order : a < b ? -1 : a > b;
}

static size_t common_prefix(str a, str b)
{
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

/* The branches of the sorted tokens. `open` are those above the last one. */
static void tree_make(struct vocabulary *v)
{
    uint32_t open[256], depth = 0;
    str last = STR_NONE;
    for (uint32_t i = 0; i < v->n_sorted; i++) {
        str piece = v->pieces[v->sorted[i]];
        size_t same = common_prefix(last, piece);
        for (; depth > same; depth--)
            v->tree[open[depth - 1]].skip = v->n_tree;
        for (; depth < piece.n; depth++) {
            open[depth] = v->n_tree;
            v->tree[v->n_tree++] = (struct branch){ .first = i, .byte = (uint8_t)piece.p[depth], .depth = (uint8_t)(depth + 1) };
        }
        v->tree[open[depth - 1]].n++;
        last = piece;
    }
    for (; depth > 0; depth--)
        v->tree[open[depth - 1]].skip = v->n_tree;
}

enum err vocabulary_new(const str *pieces, uint32_t n, const uint32_t *ends, uint32_t n_ends, struct vocabulary **out)
{
    struct arena mem;
    size_t bytes = 0;
    arena_init(&mem, 1u << 30);
    struct vocabulary *v = arena_new(&mem, struct vocabulary, 1);
    if (!v || !(v->pieces = arena_new(&mem, str, n + 1)) || !(v->sorted = arena_new(&mem, uint32_t, n + 1)) || !(v->ends = arena_new(&mem, uint32_t, n_ends + 1)))
        goto full;
    v->n = n;
    for (uint32_t i = 0; i < n_ends; i++)
        v->ends[v->n_ends++] = ends[i];
    for (uint32_t i = 0; i < n; i++) {
        if (!pieces[i].n || pieces[i].n > 255)
            continue;
        if (!(v->pieces[i] = arena_str(&mem, pieces[i])).p)
            goto full;
        v->sorted[v->n_sorted++] = i;
        bytes += pieces[i].n;
    }
    if (!(v->tree = arena_new(&mem, struct branch, bytes + 1)))
        goto full;
    qsort_r(v->sorted, v->n_sorted, sizeof *v->sorted, by_piece, v->pieces);
    tree_make(v);
    v->mem = mem;
    *out = v;
    return ERR_OK;
full:
    arena_free(&mem);
    return ERR_MEMORY;
}

void vocabulary_free(struct vocabulary *v)
{
    if (!v)
        return;
    struct arena mem = v->mem;          /* it lies in itself */
    arena_free(&mem);
}

uint32_t vocabulary_size(const struct vocabulary *v) { return v->n; }
str vocabulary_piece(const struct vocabulary *v, uint32_t token) { return v->pieces[token]; }

const uint32_t *vocabulary_ends(const struct vocabulary *v, uint32_t *n)
{
    *n = v->n_ends;
    return v->ends;
}

bool grammar_known_mask(const struct grammar_run *r, struct token_mask *out)
{
    const struct state *s = &r->g->memo.states[r->state];
    *out = (struct token_mask){ s->mask, s->allowed };
    return s->mask && !r->failed;
}

bool grammar_mask(struct grammar_run *r, const struct vocabulary *v, struct token_mask *out)
{
    struct grammar *g = r->g;
    uint32_t states[257] = { 0 }, n = 0;
    if (grammar_known_mask(r, out))
        return true;
    uint64_t *bits = begin_work(r) ? arena_new(&g->memo.mem, uint64_t, v->n / 64 + 1) : NULL;
    states[0] = r->state;
    for (uint32_t i = 0; bits && i < v->n_tree && !g->failed;) {
        const struct branch *b = &v->tree[i];
        uint32_t to = states[b->depth] = step(g, states[b->depth - 1], b->byte);
        if (to == DEAD) {
            i = b->skip;
            continue;
        }
        for (uint32_t k = 0; k < b->n; k++) {
            uint32_t token = v->sorted[b->first + k];
            bits[token >> 6] |= UINT64_C(1) << (token & 63);
        }
        n += b->n;
        i++;
    }
    if (bits)
        end_work(r);
    r->failed |= !bits;
    if (r->failed)
        return false;
    g->memo.states[r->state].mask = bits;
    g->memo.states[r->state].allowed = n;
    *out = (struct token_mask){ bits, n };
    return true;
}
