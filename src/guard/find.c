/* guard/find.c: the finder: marks, the rules that start from them, and which of two spans that overlap stays. */
#include "guard/find.h"
#include "guard/own.h"
#include "guard/tagger.h"

#include <stdlib.h>

struct guard_finder {
    struct arena memory;            /* holds this struct, and the words */
    struct guard_options o;
    const struct words *words;
    const struct forms *forms;
    struct own *own;
    const struct dials *dials;
    const struct prefixes *prefixes;
    scan_fn *scan;
    const char *names[GUARD_OWN_MAX];
};

static const char *const type_names[GUARD_OWN] = { "EMAIL",      "PHONE",       "CREDIT_CARD",   "IBAN",   "US_SSN",  "NATIONAL_ID", "PASSPORT",
                                                       "IP_ADDRESS", "MAC_ADDRESS", "DATE_OF_BIRTH", "PERSON", "ADDRESS", "SECRET",      "CUSTOM" };

static const struct { const char *name; enum guard_type type; } rules[N_RULES] = {
    { "", GUARD_N_TYPES },
#define X(name, type) { #name, GUARD_##type },
    RULES(X)
#undef X
};

const char *guard_type_name(const struct guard_finder *f, enum guard_type t)
{
    if ((unsigned)t < GUARD_OWN)
        return type_names[t];
    const char *own = f && t < GUARD_N_TYPES ? f->names[t - GUARD_OWN] : NULL;
    return own ? own : "";
}

bool guard_own_name(str s)
{
    bool good = s.n >= 2 && s.n <= 24 && is(s.p[0], C_UPPER);
    for (size_t i = 1; i < s.n && good; i++)
        good = is(s.p[i], C_UPPER | C_DIGIT | C_UNDER);
    for (int t = 0; t < GUARD_OWN && good; t++)
        good = !str_eq(s, str_of(type_names[t]));
    return good;
}

const char *guard_rule_name(uint16_t rule) { return rule < N_RULES ? rules[rule].name : ""; }

/* ---- a finder ---- */

static bool types_are_right(const struct guard_options *o)
{
    bool good = o->n_own <= GUARD_OWN_MAX;
    for (size_t i = 0; i < o->n_allow && good; i++)
        good = o->allow[i].text.n && o->allow[i].text.n <= OWN_WORD_MAX && str_is_utf8(o->allow[i].text) && (unsigned)o->allow[i].type <= GUARD_N_TYPES;
    for (size_t i = 0; i < o->n_deny && good; i++)
        good = (unsigned)o->deny[i].type < GUARD_OWN + o->n_own;
    for (size_t i = 0; i < o->n_own && good; i++)
        good = guard_own_name(o->own[i].name);
    return good;
}

static const struct guard_word *words_copy(struct arena *a, const struct guard_word *w, size_t n)
{
    struct guard_word *copy = arena_new(a, struct guard_word, n);
    for (size_t i = 0; copy && i < n; i++)
        copy[i] = (struct guard_word){ arena_str(a, w[i].text), w[i].type };
    return copy;
}

enum err guard_finder_new(const struct guard_options *o, struct guard_finder **out)
{
    static const struct guard_options none;
    struct arena memory;
    enum err e = ERR_MEMORY;
    o = o ? o : &none;
    if (!types_are_right(o))
        return ERR_RANGE;
    arena_init(&memory, SIZE_MAX / 2);
    struct guard_finder *f = arena_new(&memory, struct guard_finder, 1);
    if (f) {
        f->o = *o;
        f->o.allow = words_copy(&memory, o->allow, o->n_allow);
        f->o.deny = NULL;           /* the words of both are in f->own */
        f->o.own = NULL;
        for (size_t i = 0; i < o->n_own; i++)
            f->names[i] = arena_cstr(&memory, o->own[i].name);
        f->o.max_bytes = o->max_bytes ? o->max_bytes : GUARD_TEXT_MAX;
        for (int t = 0; t < GUARD_N_TYPES; t++)
            f->o.least[t] = o->least[t] ? o->least[t] : GUARD_SCORE_LEAST;
        f->words = words_new(&memory);
        f->forms = forms_new(&memory);
        f->dials = dials_new(&memory);
        f->prefixes = prefixes_new(&memory);
        f->scan = scan_has_avx2() && !o->scalar ? scan_avx2 : scan_plain;
        e = own_new(&memory, o, &f->own);
    }
    if (e || memory.failed) {
        own_free(f ? f->own : NULL);
        arena_free(&memory);
        return e ? e : ERR_MEMORY;
    }
    f->memory = memory;
    *out = f;
    return ERR_OK;
}

void guard_finder_free(struct guard_finder *f)
{
    if (!f)
        return;
    own_free(f->own);
    struct arena memory = f->memory;        /* the struct lies in what is freed */
    arena_free(&memory);
}

/* ---- one search ---- */

static bool goes_on(char c) { return ((unsigned char)c & 0xC0) == 0x80; }

void hunt_add(struct hunt *h, size_t begin, size_t end, enum rule rule, unsigned score)
{
    struct guard_span *grown = arena_more(h->a, h->spans, h->n_spans, &h->cap);
    if (!grown) {
        h->e = ERR_LIMIT;
        return;
    }
    h->spans = grown;
    while (end < h->n && goes_on(h->p[end]))
        end++;                      /* a window of a rule may end inside of a character */
    while (begin && goes_on(h->p[begin]))
        begin--;
    h->spans[h->n_spans++] = (struct guard_span){ begin, end, rules[rule].type, (uint16_t)rule, (uint8_t)score };
}

static void hunt_mark(struct hunt *h, size_t at, bool is_long)
{
    char c = h->p[at];
    if (c == '@')
        rule_email(h, at, 1);
    else if (c == ':')
        rule_colon(h, at);
    else if (c == '=')
        rule_field(h, at);
    else if (is_long && rule_token(h, at))
        return;
    else if (is(c, C_DIGIT) && at >= h->dull)
        rule_digits(h, at);
    else if (is(c, C_UPPER | C_HIGH) && (!at || h->p[at - 1] == ' ' || h->p[at - 1] == '\n' || h->p[at - 1] == '(' || h->p[at - 1] == '-'))
        rule_capital(h, at);            /* most capitals stand elsewhere */
}

static void hunt_marks(struct hunt *h)
{
    struct scan s = { 0 };
    uint16_t at[SCAN_CHUNK];
    for (size_t base = 0; base < h->n && !h->e; base += SCAN_CHUNK) {
        size_t n = h->n - base < SCAN_CHUNK ? h->n - base : SCAN_CHUNK;
        size_t found = h->scan(&s, h->p + base, n, at);
        for (size_t i = 0; i < found && !h->e; i++)
            if (base + (at[i] & (SCAN_IS_LONG - 1)) >= h->done)
                hunt_mark(h, base + (at[i] & (SCAN_IS_LONG - 1)), at[i] & SCAN_IS_LONG);
    }
}

/* ---- which spans stay ---- */

static int by_begin(const void *x, const void *y)
{
    const struct guard_span *a = x, *b = y;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end > b->end ? -1 : 1;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->rule < b->rule ? -1 : a->rule > b->rule;
}

static bool is_wanted(const struct guard_finder *f, const struct hunt *h, const struct guard_span *s)
{
    if (s->score < f->o.least[s->type])
        return false;
    for (size_t i = 0; i < f->o.n_allow; i++)
        if ((f->o.allow[i].type == s->type || f->o.allow[i].type == GUARD_N_TYPES) && str_ieq(f->o.allow[i].text, hunt_str(h, s->begin, s->end)))
            return false;
    return true;
}

/* Of two that overlap the surer one says the type, of equals the longer; the span is that of both. */
static bool is_better(const struct guard_span *a, const struct guard_span *b)
{
    return a->score != b->score ? a->score > b->score : a->end - a->begin > b->end - b->begin;
}

static void spans_filter(const struct guard_finder *f, struct hunt *h)
{
    size_t n = 0;
    while (n < h->n_spans && is_wanted(f, h, &h->spans[n]))
        n++;
    for (size_t i = n + 1; i < h->n_spans; i++)
        if (is_wanted(f, h, &h->spans[i]))
            h->spans[n++] = h->spans[i];
    h->n_spans = n;
}

enum { RUNS = 3, NEAR = 8, MERGE_MAX = 1 << 14 };

/* Puts s[i] where it belongs among the NEAR before it, none of them before `from`. False: it belongs further in front. */
static bool span_insert(struct guard_span *s, size_t from, size_t i)
{
    struct guard_span moved = s[i];
    size_t k = i, least = i - from > NEAR ? i - NEAR : from;
    while (k > least && by_begin(&s[k - 1], &moved) > 0)
        k--;
    if (k == least && k > from)
        return false;
    memmove(&s[k + 1], &s[k], (i - k) * sizeof *s);
    s[k] = moved;
    return true;
}

/* What was found lies nearly in order three times over: in the cells of tables, at the marks, and where it spread to. These are merged; qsort() does anything else, and so many that a
 * second array would keep much memory of a file's. */
static void spans_sort(struct hunt *h)
{
    struct guard_span *s = h->spans, *to;
    size_t n = h->n_spans, at[RUNS] = { 0 }, ends[RUNS] = { 0 }, run = 0;
    for (size_t i = 1; i < n && run < RUNS; i++) {
        if (by_begin(&s[i - 1], &s[i]) <= 0 || (s[i].begin >= s[at[run]].begin && span_insert(s, at[run], i)))
            continue;
        ends[run++] = i;
        if (run < RUNS)
            at[run] = i;
    }
    if (run == 0)
        return;
    if (run == RUNS || n > MERGE_MAX || !(to = arena_alloc(h->a, n * sizeof *to, _Alignof(struct guard_span)))) {
        qsort(s, n, sizeof *s, by_begin);
        return;
    }
    ends[run] = n;
    for (size_t k = 0; k < n; k++) {
        size_t least = RUNS;
        for (size_t r = 0; r <= run; r++)
            if (at[r] < ends[r] && (least == RUNS || by_begin(&s[at[r]], &s[at[least]]) < 0))
                least = r;
        to[k] = s[at[least]++];
    }
    h->spans = to;
    h->cap = n;
}

static void spans_settle(struct hunt *h)
{
    spans_sort(h);
    struct guard_span *s = h->spans;
    size_t kept = 0;
    for (size_t i = 0; i < h->n_spans; i++) {
        struct guard_span *last = kept ? &s[kept - 1] : NULL;
        if (last && last->end > s[i].begin) {
            size_t begin = last->begin, end = last->end > s[i].end ? last->end : s[i].end;
            if (is_better(&s[i], last))
                *last = s[i];
            last->begin = begin;                /* of what one of them covers nothing may stay uncovered */
            last->end = end;
        } else if (last && last->type == GUARD_PERSON && s[i].type == GUARD_PERSON && s[i].begin == last->end + 1 && h->p[last->end] == ' ') {
            last->end = s[i].end;               /* two words of one name */
        } else {
            s[kept++] = s[i];
        }
    }
    h->n_spans = kept;
}

/* Beside what is known by now; and what that makes known spreads, too. */
static void hunt_learnt(const struct guard_finder *f, struct hunt *h)
{
    if (h->e)
        return;
    spans_filter(f, h);
    spans_sort(h);
    size_t known = h->n_spans;
    hunt_tag(h);
    if (h->n_spans == known || h->e)
        return;
    spans_filter(f, h);
    hunt_spread(h, known);
}

enum err guard_find(const struct guard_finder *f, struct arena *a, str text, struct guard_span **out, size_t *n)
{
    struct hunt h = { .words = f->words, .forms = f->forms, .dials = f->dials, .prefixes = f->prefixes, .scan = f->scan, .a = a, .p = text.p, .n = text.n };
    if (text.n > f->o.max_bytes)
        return ERR_LIMIT;
    if (!str_is_utf8(text))
        return ERR_SYNTAX;
    hunt_tables(&h);
    hunt_marks(&h);
    spans_filter(f, &h);            /* what the owner allows does not spread */
    hunt_spread(&h, 0);
    hunt_own(&h, f->own);
    if (!f->o.no_tagger)
        hunt_learnt(f, &h);
    if (h.e)
        return h.e;
    spans_filter(f, &h);
    spans_settle(&h);
    *n = h.n_spans;
    *out = h.spans;
    return ERR_OK;
}
