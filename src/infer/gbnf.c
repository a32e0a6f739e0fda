/* The text is parsed to a tree of items, and nodes are made of the tree from the end to the beginning: each item is told what comes
 * after it, so only loops need a node before what it leads to. */
#include "infer/gbnf.h"

#include "infer/charset.h"

#include <stdio.h>

enum { NEST_MAX = 64, RULES_MAX = 1 << 16, REPEAT_MAX = 1 << 17, SHARE_FROM = 8, MADE_MAX = 4 * GBNF_MAX_NODES };
#define NO_MAX UINT32_MAX

enum item_kind { ITEM_TEXT, ITEM_SET, ITEM_RULE, ITEM_SEQUENCE, ITEM_CHOICE, ITEM_REPEAT };
struct item {
    enum item_kind kind;
    struct item *first, *next;          /* children; the next sibling */
    uint32_t min, max;                  /* REPEAT; RULE: min is its number */
    str text;                           /* TEXT: its bytes */
    struct charset set;                 /* SET: settled */
};

struct rule { str name; struct item *body; size_t at; };

struct parser {
    struct arena *tmp;                  /* the tree */
    struct arena *a;                    /* the automaton */
    str text;
    size_t at;
    int nesting;
    bool tokens;
    struct rule *rules;
    uint32_t n_rules, cap_rules, *index, cap_index;     /* index: open hash of names, number + 1 */
    struct gbnf *g;
    uint32_t cap_nodes, cap_starts;
    uint32_t made;                      /* items, repetitions counted: an empty one takes time and no node */
    struct gbnf_error *why;
};

static enum err wrong(struct parser *p, size_t at, const char *what)
{
    p->why->at = at;
    snprintf(p->why->what, sizeof p->why->what, "%s", what);
    return ERR_SYNTAX;
}

static enum err too_large(struct parser *p)
{
    p->why->at = p->at;
    snprintf(p->why->what, sizeof p->why->what, "the grammar is too large");
    return ERR_LIMIT;
}

static char peek(const struct parser *p) { return p->at < p->text.n ? p->text.p[p->at] : 0; }
static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

static void space(struct parser *p, bool lines)
{
    for (; p->at < p->text.n; p->at++) {
        char c = p->text.p[p->at];
        if (c == '#')
            while (p->at + 1 < p->text.n && p->text.p[p->at + 1] != '\n')
                p->at++;
        else if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r')))
            return;
    }
}

/* ---- rules by name ---- */

static uint32_t hash_name(str s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h;
}

static enum err grow_rules(struct parser *p)
{
    uint32_t cap = p->cap_rules ? p->cap_rules * 2 : 64;
    struct rule *rules = arena_new(p->tmp, struct rule, cap);
    uint32_t *index = arena_new(p->tmp, uint32_t, cap * 2);
    if (cap > RULES_MAX || !rules || !index)
        return too_large(p);
    if (p->n_rules)
        memcpy(rules, p->rules, p->n_rules * sizeof *rules);
    p->rules = rules;
    p->cap_rules = cap;
    p->index = index;
    p->cap_index = cap * 2;
    for (uint32_t i = 0; i < p->n_rules; i++) {
        uint32_t at = hash_name(rules[i].name) & (p->cap_index - 1);
        while (index[at])
            at = (at + 1) & (p->cap_index - 1);
        index[at] = i + 1;
    }
    return ERR_OK;
}

/* The number of the rule with this name, which may be defined later. */
static enum err rule_number(struct parser *p, str name, uint32_t *out)
{
    if (p->n_rules == p->cap_rules) {
        enum err e = grow_rules(p);
        if (e)
            return e;
    }
    uint32_t at = hash_name(name) & (p->cap_index - 1);
    for (; p->index[at]; at = (at + 1) & (p->cap_index - 1))
        if (str_eq(p->rules[p->index[at] - 1].name, name)) {
            *out = p->index[at] - 1;
            return ERR_OK;
        }
    p->rules[p->n_rules] = (struct rule){ .name = name, .at = p->at };
    p->index[at] = p->n_rules + 1;
    *out = p->n_rules++;
    return ERR_OK;
}

static enum err read_name(struct parser *p, str *out)
{
    size_t from = p->at;
    while (is_name(peek(p)))
        p->at++;
    *out = str_slice(p->text.p + from, p->at - from);
    return out->n ? ERR_OK : wrong(p, p->at, "a rule's name is expected here");
}

/* ---- characters ---- */

static enum err read_hex(struct parser *p, int digits, uint32_t *out)
{
    uint32_t v = 0;
    for (; digits; digits--, p->at++) {
        char c = peek(p);
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0)
            return wrong(p, p->at, "a hexadecimal digit is expected here");
        v = v << 4 | (uint32_t)d;
    }
    if (v == 0 || v > CHAR_LAST || (v >= 0xD800 && v <= 0xDFFF))
        return wrong(p, p->at, "there is no such character");
    *out = v;
    return ERR_OK;
}

static enum err read_escape(struct parser *p, uint32_t *out)
{
    char c = p->at + 1 < p->text.n ? p->text.p[p->at + 1] : 0;
    p->at += 2;
    switch (c) {
    case 'x': return read_hex(p, 2, out);
    case 'u': return read_hex(p, 4, out);
    case 'U': return read_hex(p, 8, out);
    case 't': *out = '\t'; return ERR_OK;
    case 'r': *out = '\r'; return ERR_OK;
    case 'n': *out = '\n'; return ERR_OK;
    case '\\': case '"': case '[': case ']': case '-': *out = (unsigned char)c; return ERR_OK;
    default: return wrong(p, p->at - 2, "there is no such escape");
    }
}

/* One character at p->at, whose text was checked to be UTF-8. */
static enum err read_char(struct parser *p, uint32_t *out)
{
    unsigned char c = (unsigned char)peek(p);
    if (p->at >= p->text.n || c == 0 || c == '\n')
        return wrong(p, p->at, "the line ends inside a literal or a class");
    if (c == '\\')
        return read_escape(p, out);
    p->at += char_read(str_skip(p->text, p->at), out);
    return ERR_OK;
}

static struct item *item_new(struct parser *p, enum item_kind kind)
{
    struct item *it = arena_new(p->tmp, struct item, 1);
    if (it)
        it->kind = kind;
    else
        (void)too_large(p);
    return it;
}

/* "…" */
static enum err read_text(struct parser *p, struct item **out)
{
    struct item *it = item_new(p, ITEM_TEXT);
    size_t end = ++p->at;
    while (end < p->text.n && p->text.p[end] != '"')
        end += p->text.p[end] == '\\' ? 2 : 1;
    char *to = arena_alloc(p->tmp, end - p->at + 4, 1);     /* an escape is never shorter than its character */
    if (!it || !to)
        return too_large(p);
    it->text = (str){ to, 0 };
    while (peek(p) != '"') {
        uint32_t c;
        enum err e = read_char(p, &c);
        if (e)
            return e;
        it->text.n += char_utf8(c, to + it->text.n);
    }
    p->at++;
    *out = it;
    return ERR_OK;
}

/* […] */
static enum err read_set(struct parser *p, struct item **out)
{
    struct item *it = item_new(p, ITEM_SET);
    bool negated = p->at + 1 < p->text.n && p->text.p[p->at + 1] == '^';
    if (!it)
        return ERR_LIMIT;
    p->at += 1 + negated;
    while (peek(p) != ']') {
        uint32_t lo, hi;
        enum err e = read_char(p, &lo);
        hi = lo;
        if (!e && peek(p) == '-' && p->at + 1 < p->text.n && p->text.p[p->at + 1] != ']') {
            p->at++;
            e = read_char(p, &hi);
        }
        if (e)
            return e;
        if (hi < lo)
            return wrong(p, p->at, "a range in a class must rise");
        if (charset_add(p->tmp, &it->set, lo, hi))
            return too_large(p);
    }
    p->at++;
    if (charset_settle(p->tmp, &it->set, negated))
        return too_large(p);
    if (!it->set.n)
        return wrong(p, p->at - 1, "a class must have a character");
    *out = it;
    return ERR_OK;
}

/* ---- the tree ---- */

static enum err read_count(struct parser *p, uint32_t *out)
{
    uint32_t v = 0;
    if (peek(p) < '0' || peek(p) > '9')
        return wrong(p, p->at, "a number is expected here");
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
        if ((v = v * 10 + (uint32_t)(peek(p) - '0')) > REPEAT_MAX)
            return wrong(p, p->at, "too many repetitions");
    *out = v;
    return ERR_OK;
}

static enum err read_bounds(struct parser *p, uint32_t *min, uint32_t *max)
{
    p->at++;
    space(p, false);
    enum err e = read_count(p, min);
    space(p, false);
    *max = *min;
    if (!e && peek(p) == ',') {
        p->at++;
        space(p, false);
        *max = NO_MAX;
        if (peek(p) != '}')
            e = read_count(p, max);
        space(p, false);
    }
    if (e)
        return e;
    if (peek(p) != '}')
        return wrong(p, p->at, "'}' is expected here");
    p->at++;
    return *max < *min ? wrong(p, p->at - 1, "the bounds of a repetition must rise") : ERR_OK;
}

/* What may stand behind an item, any number of times. */
static enum err read_repeats(struct parser *p, struct item **it)
{
    for (;;) {
        uint32_t min = 0, max = NO_MAX;
        enum err e = ERR_OK;
        switch (peek(p)) {
        case '*': p->at++; break;
        case '+': p->at++, min = 1; break;
        case '?': p->at++, max = 1; break;
        case '{': e = read_bounds(p, &min, &max); break;
        default: return ERR_OK;
        }
        struct item *r = e ? NULL : item_new(p, ITEM_REPEAT);
        if (!r)
            return e ? e : ERR_LIMIT;
        r->first = *it;
        r->min = min;
        r->max = max;
        *it = r;
        space(p, p->nesting > 0);
    }
}

static enum err read_choice(struct parser *p, struct item **out);

static enum err read_group(struct parser *p, struct item **out)
{
    size_t open = p->at++;
    if (p->nesting >= NEST_MAX)
        return wrong(p, open, "groups are nested too deeply");
    p->nesting++;
    space(p, true);
    enum err e = read_choice(p, out);
    if (e)
        return e;
    if (peek(p) != ')')
        return wrong(p, p->at, "')' is expected here");
    p->at++;
    p->nesting--;
    return ERR_OK;
}

void gbnf_token(uint32_t token, char to[GBNF_TOKEN])
{
    to[0] = (char)0xFF;
    to[1] = (char)(token >> 16);
    to[2] = (char)(token >> 8);
    to[3] = (char)token;
}

/* <[12]> */
static enum err read_token(struct parser *p, struct item **out)
{
    struct item *it = item_new(p, ITEM_TEXT);
    char *to = arena_alloc(p->tmp, GBNF_TOKEN, 1);
    uint64_t number;
    size_t from = p->at + 2, end = from;
    if (!it || !to)
        return too_large(p);
    if (!p->tokens)
        return wrong(p, p->at, "terminals that name tokens are not supported");
    while (end < p->text.n && p->text.p[end] >= '0' && p->text.p[end] <= '9')
        end++;
    if (!str_starts(str_skip(p->text, p->at), S("<[")) || !str_starts(str_skip(p->text, end), S("]>")) || !str_u64(str_slice(p->text.p + from, end - from), &number) || number > 0xFFFFFF)
        return wrong(p, p->at, "a token is written <[number]>");
    gbnf_token((uint32_t)number, to);
    it->text = (str){ to, GBNF_TOKEN };
    p->at = end + 2;
    *out = it;
    return ERR_OK;
}

static enum err read_item(struct parser *p, struct item **out)
{
    char c = peek(p);
    if (c == '"')
        return read_text(p, out);
    if (c == '[')
        return read_set(p, out);
    if (c == '(')
        return read_group(p, out);
    if (c == '<' || c == '!')
        return read_token(p, out);
    if (c == '*' || c == '+' || c == '?' || c == '{')
        return wrong(p, p->at, "there is nothing to repeat here");
    struct item *it = item_new(p, c == '.' ? ITEM_SET : ITEM_RULE);
    str name;
    if (!it)
        return ERR_LIMIT;
    *out = it;
    if (c == '.') {
        p->at++;
        return charset_settle(p->tmp, &it->set, true) ? too_large(p) : ERR_OK;
    }
    enum err e = read_name(p, &name);
    return e ? e : rule_number(p, name, &it->min);
}

static bool at_item(const struct parser *p)
{
    char c = peek(p);
    return is_name(c) || (c && strchr("\"[(<!.*+?{", c));
}

static enum err read_sequence(struct parser *p, struct item **out)
{
    struct item *seq = item_new(p, ITEM_SEQUENCE), **end = seq ? &seq->first : NULL;
    if (!seq)
        return ERR_LIMIT;
    while (at_item(p)) {
        struct item *it = NULL;
        enum err e = read_item(p, &it);
        if (e)
            return e;
        space(p, p->nesting > 0);
        if ((e = read_repeats(p, &it)))
            return e;
        *end = it;
        end = &it->next;
    }
    *out = seq;
    return ERR_OK;
}

/* At the end of a line: does the next one begin with another alternative? */
static bool goes_on(struct parser *p)
{
    size_t back = p->at;
    space(p, true);
    if (peek(p) == '|')
        return true;
    p->at = back;
    return false;
}

static enum err read_choice(struct parser *p, struct item **out)
{
    struct item *choice = item_new(p, ITEM_CHOICE), **end = choice ? &choice->first : NULL;
    if (!choice)
        return ERR_LIMIT;
    for (;;) {
        enum err e = read_sequence(p, end);
        if (e)
            return e;
        end = &(*end)->next;
        if (!goes_on(p))
            break;
        p->at++;
        space(p, true);
    }
    *out = choice;
    return ERR_OK;
}

static enum err read_rules(struct parser *p)
{
    for (space(p, true); p->at < p->text.n; space(p, true)) {
        str name;
        uint32_t number;
        size_t at = p->at;
        enum err e = read_name(p, &name);
        if (!e)
            e = rule_number(p, name, &number);
        if (e)
            return e;
        space(p, false);
        if (!str_starts(str_skip(p->text, p->at), S("::=")))
            return wrong(p, p->at, "'::=' is expected here");
        p->at += 3;
        space(p, true);
        struct item *body;
        if ((e = read_choice(p, &body)))
            return e;
        if (p->rules[number].body)
            return wrong(p, at, "this rule is defined twice");
        p->rules[number].body = body;
        p->rules[number].at = at;
        space(p, false);
        if (p->at < p->text.n && peek(p) != '\n' && peek(p) != '\r')
            return wrong(p, p->at, "something is here that cannot stand in a rule");
    }
    return ERR_OK;
}

/* ---- nodes ---- */

static enum err node_new(struct parser *p, struct gbnf_node n, uint32_t *out)
{
    struct gbnf *g = p->g;
    if (g->n_nodes == p->cap_nodes) {
        uint32_t cap = p->cap_nodes ? p->cap_nodes * 2 : 1024;
        struct gbnf_node *grown = cap > GBNF_MAX_NODES ? NULL : arena_grow(p->a, g->nodes, p->cap_nodes * sizeof *grown, cap * sizeof *grown, _Alignof(struct gbnf_node));
        if (!grown)
            return too_large(p);
        g->nodes = grown;
        p->cap_nodes = cap;
    }
    n.height = GBNF_NEVER;
    g->nodes[g->n_nodes] = n;
    *out = g->n_nodes++;
    return ERR_OK;
}

/* Either what was made before (*to), or `other`. */
static enum err add_choice(struct parser *p, bool first, uint32_t other, uint32_t *to)
{
    if (!first)
        return node_new(p, (struct gbnf_node){ .kind = GBNF_SPLIT, .a = other, .b = *to }, to);
    *to = other;
    return ERR_OK;
}

/* lo to hi are of one length in UTF-8 and differ so that every combination of the bytes between them is in the range. */
static enum err make_bytes(struct parser *p, uint32_t lo, uint32_t hi, uint32_t next, uint32_t *out)
{
    char low[4], high[4];
    size_t n = char_utf8(lo, low);
    char_utf8(hi, high);
    enum err e = ERR_OK;
    *out = next;
    for (size_t i = n; i-- > 0 && !e;)
        e = node_new(p, (struct gbnf_node){ .kind = GBNF_BYTE, .lo = (uint8_t)low[i], .hi = (uint8_t)high[i], .a = *out }, out);
    return e;
}

/* The end of a run from `lo` that make_bytes() takes: of one length, and whatever follows the first byte in which the two ends differ goes from
 * 80 to BF in both. */
static uint32_t run_end(uint32_t lo, uint32_t hi)
{
    uint32_t last = lo < 0x80 ? 0x7F : lo < 0x800 ? 0x7FF : lo < 0x10000 ? 0xFFFF : CHAR_LAST;
    hi = hi < last ? hi : last;
    for (uint32_t bits = 6; lo >= 0x80 && bits <= 18; bits += 6) {
        uint32_t low = (1u << bits) - 1;
        if ((lo & ~low) == (hi & ~low))
            continue;
        if ((lo & low) == 0 && (hi & low) == low)
            continue;
        hi = (lo & low) != 0 ? lo | low : (hi & ~low) - 1;
        bits = 0;                       /* a shorter run: from the beginning */
    }
    return hi;
}

static enum err make_set(struct parser *p, const struct item *it, uint32_t next, uint32_t *out)
{
    bool first = true;
    for (uint32_t i = it->set.n; i-- > 0;)
        for (uint32_t lo = it->set.p[i].lo, end; lo <= it->set.p[i].hi; lo = end + 1) {
            uint32_t one;
            end = run_end(lo, it->set.p[i].hi);
            enum err e = make_bytes(p, lo, end, next, &one);
            if (!e)
                e = add_choice(p, first, one, out);
            if (e)
                return e;
            first = false;
        }
    return ERR_OK;
}

static enum err make_call(struct parser *p, uint32_t rule, uint32_t next, uint32_t *out)
{
    return node_new(p, (struct gbnf_node){ .kind = next ? GBNF_CALL : GBNF_TAIL, .a = rule, .b = next }, out);
}

static enum err make(struct parser *p, const struct item *it, uint32_t next, uint32_t *out);

static enum err rule_start(struct parser *p, uint32_t rule, uint32_t start)
{
    struct gbnf *g = p->g;
    if (rule >= p->cap_starts) {
        uint32_t cap = p->cap_starts ? p->cap_starts : 64;
        while (cap <= rule)
            cap *= 2;
        uint32_t *grown = arena_grow(p->a, g->starts, p->cap_starts * sizeof *grown, cap * sizeof *grown, _Alignof(uint32_t));
        if (!grown)
            return too_large(p);
        g->starts = grown;
        p->cap_starts = cap;
    }
    g->starts[rule] = start;
    g->n_rules = g->n_rules > rule ? g->n_rules : rule + 1;
    return ERR_OK;
}

/* What is repeated often and takes several nodes becomes a rule of its own, called each time. */
static enum err share(struct parser *p, const struct item *it, struct item *call)
{
    uint32_t start, rule;
    *call = (struct item){ .kind = ITEM_RULE };
    enum err e = make(p, it, 0, &start);
    rule = p->n_rules > p->g->n_rules ? p->n_rules : p->g->n_rules;
    call->min = rule;
    return e ? e : rule_start(p, rule, start);
}

static enum err make_repeat(struct parser *p, const struct item *it, uint32_t next, uint32_t *out)
{
    struct item call;
    const struct item *what = it->first;
    uint32_t optional = it->max == NO_MAX ? 0 : it->max - it->min;
    bool small = what->kind == ITEM_RULE || (what->kind == ITEM_SET && what->set.n == 1 && what->set.p[0].hi < 0x80);
    enum err e = ERR_OK;
    if (!small && (it->min >= SHARE_FROM || optional >= SHARE_FROM)) {
        e = share(p, what, &call);
        what = &call;
    }
    *out = next;
    if (!e && it->max == NO_MAX) {
        uint32_t loop, body;
        e = node_new(p, (struct gbnf_node){ .kind = GBNF_SPLIT, .b = next }, &loop);
        if (!e)
            e = make(p, what, loop, &body);
        if (!e)
            p->g->nodes[loop].a = body;
        *out = loop;
    }
    for (uint32_t i = 0; i < optional && !e; i++) {
        uint32_t body;
        e = make(p, what, *out, &body);
        if (!e)
            e = node_new(p, (struct gbnf_node){ .kind = GBNF_SPLIT, .a = body, .b = next }, out);
    }
    for (uint32_t i = 0; i < it->min && !e; i++)
        e = make(p, what, *out, out);
    return e;
}

/* Children are a list from the first to the last, and nodes are made from the last to the first. */
static enum err make_sequence(struct parser *p, const struct item *it, uint32_t next, uint32_t *out)
{
    size_t n = 0;
    for (const struct item *c = it->first; c; c = c->next)
        n++;
    const struct item **list = arena_new(p->tmp, const struct item *, n + 1);
    if (!list)
        return too_large(p);
    n = 0;
    for (const struct item *c = it->first; c; c = c->next)
        list[n++] = c;
    enum err e = ERR_OK;
    *out = next;
    while (n-- > 0 && !e)
        e = make(p, list[n], *out, out);
    return e;
}

static enum err make_choice(struct parser *p, const struct item *it, uint32_t next, uint32_t *out)
{
    bool first = true;
    for (const struct item *c = it->first; c; c = c->next) {
        uint32_t one;
        enum err e = make(p, c, next, &one);
        if (!e)
            e = add_choice(p, first, one, out);
        if (e)
            return e;
        first = false;
    }
    return ERR_OK;
}

static enum err make(struct parser *p, const struct item *it, uint32_t next, uint32_t *out)
{
    enum err e = ERR_OK;
    if (++p->made > MADE_MAX)
        return too_large(p);
    switch (it->kind) {
    case ITEM_TEXT:
        *out = next;
        for (size_t i = it->text.n; i-- > 0 && !e;)
            e = node_new(p, (struct gbnf_node){ .kind = GBNF_BYTE, .lo = (uint8_t)it->text.p[i], .hi = (uint8_t)it->text.p[i], .a = *out }, out);
        return e;
    case ITEM_SET:      return make_set(p, it, next, out);
    case ITEM_RULE:     return make_call(p, it->min, next, out);
    case ITEM_SEQUENCE: return make_sequence(p, it, next, out);
    case ITEM_CHOICE:   return make_choice(p, it, next, out);
    case ITEM_REPEAT:   break;
    }
    return make_repeat(p, it, next, out);
}

static enum err make_rules(struct parser *p)
{
    uint32_t end;
    enum err e = node_new(p, (struct gbnf_node){ .kind = GBNF_END }, &end);
    for (uint32_t i = 0; i < p->n_rules && !e; i++) {
        uint32_t start;
        if (!p->rules[i].body) {
            p->why->at = p->rules[i].at;
            snprintf(p->why->what, sizeof p->why->what, "there is no rule '%.*s'", (int)(p->rules[i].name.n < 60 ? p->rules[i].name.n : 60), p->rules[i].name.p);
            return ERR_SYNTAX;
        }
        e = make(p, p->rules[i].body, 0, &start);
        if (!e)
            e = rule_start(p, i, start);
    }
    return e;
}

enum err gbnf_compile(struct arena *a, str text, bool tokens, struct gbnf *out, struct gbnf_error *why)
{
    struct arena tmp;
    struct gbnf g = { .nodes = NULL };
    struct parser p = { .tmp = &tmp, .a = a, .text = text, .tokens = tokens, .g = &g, .why = why };
    uint32_t root;
    arena_init(&tmp, 128u << 20);
    enum err e = text.n > GBNF_MAX_TEXT ? too_large(&p) : !str_is_utf8(text) ? wrong(&p, 0, "the grammar is not UTF-8") : rule_number(&p, S("root"), &root);
    if (!e)
        e = read_rules(&p);
    if (!e)
        e = make_rules(&p);
    str *names = e ? NULL : arena_new(&tmp, str, g.n_rules);
    if (!e && !names)
        e = too_large(&p);
    for (uint32_t i = 0; !e && i < g.n_rules; i++)
        names[i] = i < p.n_rules ? p.rules[i].name : S("(a group)");
    if (!e)
        e = gbnf_check(&tmp, &g, names, why);
    if (!e)
        *out = g;
    arena_free(&tmp);
    return e;
}
