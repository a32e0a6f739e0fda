/* guard/own.c: words sorted by their first token and what follows it, a hash over the first tokens, and patterns one after the other. */
#include "guard/own.h"

#include "guard/pattern.h"

#include <stdlib.h>

enum { MATCHES_LEAST = 10000, MATCHES_EACH = 16 };      /* of patterns: so many in any text, and one more for so many bytes of it */
enum { CONTEXT_BEFORE = 80, CONTEXT_BEHIND = 40 };
enum { SCORE_WORD = 100, SCORE_PATTERN = 90, SCORE_WITH_CONTEXT = 95, SCORE_WITHOUT = 40 };

/* ---- characters ---- */

enum kind { OTHER, LETTER, ALONE };     /* alone: a word of its own, as far as borders go */

static const struct { uint32_t from, to; enum kind kind; } kinds[] = {
    { 0x80, 0xA9, OTHER },       { 0xAB, 0xB4, OTHER },       { 0xB6, 0xB9, OTHER },       { 0xBB, 0xBF, OTHER },       { 0xD7, 0xD7, OTHER },       { 0xF7, 0xF7, OTHER },
    { 0xE00, 0xEFF, ALONE },     { 0x1000, 0x109F, ALONE },   { 0x1780, 0x17FF, ALONE },   { 0x2000, 0x206F, OTHER },   { 0x20A0, 0x20CF, OTHER },   { 0x2190, 0x2BFF, OTHER },
    { 0x2E00, 0x2E7F, OTHER },   { 0x2E80, 0x2FFF, ALONE },   { 0x3000, 0x3004, OTHER },   { 0x3005, 0x3007, ALONE },   { 0x3008, 0x3020, OTHER },   { 0x3021, 0x302F, ALONE },
    { 0x3030, 0x3030, OTHER },   { 0x3031, 0x9FFF, ALONE },   { 0xAC00, 0xD7AF, ALONE },   { 0xF900, 0xFAFF, ALONE },   { 0xFE10, 0xFE1F, OTHER },   { 0xFE30, 0xFE6F, OTHER },
    { 0xFEFF, 0xFF0F, OTHER },   { 0xFF1A, 0xFF20, OTHER },   { 0xFF3B, 0xFF40, OTHER },   { 0xFF5B, 0xFF65, OTHER },   { 0xFF66, 0xFF9F, ALONE },   { 0x1F000, 0x1FAFF, OTHER },
    { 0x20000, 0x3FFFF, ALONE },
};

/* The character at `i` of valid UTF-8, and its length. */
static uint32_t character(const char *p, size_t i, size_t *n)
{
    unsigned char c = (unsigned char)p[i];
    *n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    uint32_t v = c < 0x80 ? c : c & (0xFFu >> (*n + 1));
    for (size_t k = 1; k < *n; k++)
        v = v << 6 | ((unsigned char)p[i + k] & 0x3F);
    return v;
}

static enum kind kind_of(uint32_t v)
{
    size_t low = 0, high = sizeof kinds / sizeof *kinds;
    if (v < 0x80)
        return is((char)v, C_ALNUM) ? LETTER : OTHER;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (kinds[mid].to < v)
            low = mid + 1;
        else
            high = mid;
    }
    return low < sizeof kinds / sizeof *kinds && kinds[low].from <= v ? kinds[low].kind : LETTER;
}

static enum kind kind_at(str s, size_t i, size_t *n) { return kind_of(character(s.p, i, n)); }

static enum kind kind_before(str s, size_t i)
{
    size_t n;
    if (!i)
        return OTHER;
    for (i--; i && ((unsigned char)s.p[i] & 0xC0) == 0x80;)
        i--;
    return kind_at(s, i, &n);
}

/* The small form of a letter of two bytes, which has two bytes as well. */
static uint32_t small(uint32_t v)
{
    if ((v >= 0xC0 && v <= 0xDE && v != 0xD7) || (v >= 0x391 && v <= 0x3A9) || (v >= 0x410 && v <= 0x42F))
        return v + 0x20;
    if ((v >= 0x139 && v <= 0x148) || (v >= 0x179 && v <= 0x17E))
        return v + (v & 1);
    if (v == 0x130 || v == 0x131)
        return v;
    if ((v >= 0x100 && v <= 0x137) || (v >= 0x14A && v <= 0x177) || (v >= 0x460 && v <= 0x481) || (v >= 0x48A && v <= 0x4BF) || (v >= 0x4D0 && v <= 0x52F))
        return v | 1;
    if (v >= 0x400 && v <= 0x40F)
        return v + 0x50;
    switch (v) {
    case 0x178: return 0xFF;
    case 0x386: return 0x3AC;
    case 0x388:
    case 0x389:
    case 0x38A: return v + 37;
    case 0x38C: return 0x3CC;
    case 0x38E:
    case 0x38F: return v + 63;
    case 0x3C2: return 0x3C3;           /* the sigma at the end of a word */
    default: return v;
    }
}

/* `s` in small letters; as long as it is. Half a character at its end stays as it is. */
static str folded(str s, char *to)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        to[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : (char)c;
        if (c < 0xC3 || c > 0xD4 || i + 1 == s.n)
            continue;
        size_t n;
        uint32_t v = small(character(s.p, i, &n));
        to[i++] = (char)(0xC0 | v >> 6);
        to[i] = (char)(0x80 | (v & 0x3F));
    }
    return (str){ to, s.n };
}

/* The end of the token that begins at `i`: a run of letters and digits, or one character of a script without spaces; `i` where none begins. */
static size_t token_end(str s, size_t i)
{
    size_t n, end = i;
    enum kind k = kind_at(s, i, &n);
    if (k != LETTER)
        return k == ALONE ? i + n : i;
    while (end < s.n) {
        if (is(s.p[end], C_ALNUM))
            end++;
        else if ((unsigned char)s.p[end] >= 0x80 && kind_at(s, end, &n) == LETTER)
            end += n;
        else
            break;
    }
    return end;
}

/* ---- words ---- */

/* `text` is folded, from the first token on; `lead` is what stands before that. `first`: the length of the token. */
struct own_word { str lead, text; uint32_t first, order; uint8_t type; enum rule rule; };
struct group { uint32_t low, high, longest; };

struct own_pattern { struct pattern *re; enum guard_type type; str *context; size_t n_context; };

struct own {
    struct own_word *all;
    uint32_t n;
    struct group *groups;               /* of words with the same first token */
    uint32_t *slots, mask;              /* by its hash; 0: none, else the number of a group, from 1 */
    uint64_t starts[1024];              /* by its first three bytes: most tokens begin no word */
    bool some_short, some_high;         /* a token of fewer bytes, or with one above ASCII among them */
    struct own_pattern patterns[GUARD_OWN_MAX];
    size_t n_patterns;
};

static inline unsigned start_of(const char *p)
{
    uint32_t x = (unsigned char)p[0] | (uint32_t)(unsigned char)p[1] << 8 | (uint32_t)(unsigned char)p[2] << 16;
    return (x | 0x202020) * 2654435761u >> 16;
}

static bool has_high(const char *p) { return (p[0] | p[1] | p[2]) & 0x80; }

static str first_of(const struct own_word *w) { return (str){ w->text.p, w->first }; }

static int by_text(const void *x, const void *y)
{
    const struct own_word *a = x, *b = y;
    int c = str_cmp(first_of(a), first_of(b));
    if (!c)
        c = str_cmp(a->text, b->text);
    if (!c)
        c = str_cmp(a->lead, b->lead);
    return c ? c : a->order < b->order ? -1 : 1;
}

/* What stands before the first letter or digit of a word; all of it where there is none. */
static size_t lead_of(str text)
{
    size_t lead = 0, n;
    while (lead < text.n && kind_at(text, lead, &n) == OTHER)
        lead += n;
    return lead;
}

bool guard_word_fits(str s) { return s.n && s.n <= OWN_WORD_MAX && str_is_utf8(s) && lead_of(s) < s.n; }

static enum err add_word(struct arena *a, struct own *w, str text, enum guard_type type, enum rule rule)
{
    if (!guard_word_fits(text))
        return ERR_RANGE;
    size_t lead = lead_of(text);
    char *to = arena_alloc(a, text.n, 1);
    if (!to)
        return ERR_MEMORY;
    str s = folded(text, to);
    w->all[w->n] = (struct own_word){ { s.p, lead }, str_skip(s, lead), (uint32_t)(token_end(text, lead) - lead), w->n, (uint8_t)type, rule };
    w->n++;
    return ERR_OK;
}

/* Of a word that is of several types the first one counts. */
static void drop_twins(struct own *w)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n; i++)
        if (!n || !str_eq(w->all[n - 1].text, w->all[i].text) || !str_eq(w->all[n - 1].lead, w->all[i].lead))
            w->all[n++] = w->all[i];
    w->n = n;
}

static void add_group(struct own *w, uint32_t number, uint32_t low, uint32_t high)
{
    const struct own_word *x = &w->all[low];
    struct group *g = &w->groups[number];
    *g = (struct group){ low, high, 0 };
    for (uint32_t i = low; i < high; i++)
        g->longest = w->all[i].text.n > g->longest ? (uint32_t)w->all[i].text.n : g->longest;
    uint32_t slot = words_hash(first_of(x)) & w->mask;
    while (w->slots[slot])
        slot = (slot + 1) & w->mask;
    w->slots[slot] = number + 1;
    w->some_short = w->some_short || x->first < 3;
    if (x->first >= 3)
        w->starts[start_of(x->text.p) >> 6] |= (uint64_t)1 << (start_of(x->text.p) & 63);
    w->some_high = w->some_high || (x->first >= 3 && has_high(x->text.p));
}

static enum err index_words(struct arena *a, struct own *w)
{
    size_t slots = 64, groups = 0;
    if (w->n > 1)
        qsort(w->all, w->n, sizeof *w->all, by_text);
    drop_twins(w);
    while (slots < 2 * (size_t)w->n)
        slots *= 2;
    w->mask = (uint32_t)slots - 1;
    w->slots = arena_new(a, uint32_t, slots);
    w->groups = arena_new(a, struct group, w->n + 1);
    if (!w->slots || !w->groups)
        return ERR_MEMORY;
    for (uint32_t low = 0, high; low < w->n; low = high) {
        for (high = low + 1; high < w->n && str_eq(first_of(&w->all[low]), first_of(&w->all[high]));)
            high++;
        add_group(w, (uint32_t)groups++, low, high);
    }
    return ERR_OK;
}

static const struct group *group_of(const struct own *w, str token)
{
    for (uint32_t slot = words_hash(token) & w->mask; w->slots[slot]; slot = (slot + 1) & w->mask) {
        const struct group *g = &w->groups[w->slots[slot] - 1];
        if (str_eq(first_of(&w->all[g->low]), token))
            return g;
    }
    return NULL;
}

/* Whether a word whose letters are those of the text from `at` on stands there whole. */
static bool stands(const struct own_word *x, str text, size_t at)
{
    char lead[OWN_WORD_MAX];
    size_t end = at + x->text.n, n;
    if (x->lead.n > at || (x->lead.n && !str_eq(folded((str){ text.p + at - x->lead.n, x->lead.n }, lead), x->lead)))
        return false;
    return end == text.n || kind_before(text, end) != LETTER || kind_at(text, end, &n) != LETTER;
}

/* The longest word of the group that stands at `at`, or NULL. Those that go on as the text does are a run, which gets narrower with each byte. */
static const struct own_word *longest(const struct own *w, const struct group *g, str text, size_t at)
{
    char buf[OWN_WORD_MAX];
    const struct own_word *best = NULL;
    uint32_t low = g->low, high = g->high;
    size_t room = text.n - at < g->longest ? text.n - at : g->longest;
    str s = folded((str){ text.p + at, room }, buf);
    for (size_t depth = w->all[low].first; low < high; depth++) {
        for (; low < high && w->all[low].text.n == depth; low++)
            if (stands(&w->all[low], text, at))
                best = &w->all[low];
        if (depth == s.n)
            break;
        uint32_t ends[2];
        for (unsigned k = 0; k < 2; k++) {      /* the first one whose next byte is this one, and the first where it is more */
            uint32_t from = low, to = high;
            while (from < to) {
                uint32_t mid = from + (to - from) / 2;
                if ((unsigned char)w->all[mid].text.p[depth] < (unsigned char)s.p[depth] + k)
                    from = mid + 1;
                else
                    to = mid;
            }
            ends[k] = from;
        }
        low = ends[0];
        high = ends[1];
    }
    return best;
}

static void word_at(struct hunt *h, const struct own *w, size_t at, size_t end)
{
    str text = { h->p, h->n };
    char buf[OWN_WORD_MAX];
    if (end - at < 3 ? !w->some_short : has_high(h->p + at) ? !w->some_high : !(w->starts[start_of(h->p + at) >> 6] >> (start_of(h->p + at) & 63) & 1))
        return;
    const struct group *g = end - at > OWN_WORD_MAX ? NULL : group_of(w, folded((str){ h->p + at, end - at }, buf));
    const struct own_word *x = g ? longest(w, g, text, at) : NULL;
    if (!x)
        return;
    hunt_add(h, at - x->lead.n, at + x->text.n, x->rule, SCORE_WORD);
    if (!h->e)
        h->spans[h->n_spans - 1].type = (enum guard_type)x->type;
}

/* The tokens of a run of letters, digits, "_" and bytes above ASCII. */
static void words_of_run(struct hunt *h, const struct own *w, size_t i)
{
    str text = { h->p, h->n };
    while (i < h->n && is(h->p[i], C_WORD) && !h->e) {
        size_t end = token_end(text, i), n;
        if (end > i)
            word_at(h, w, i, end);
        else
            (void)character(h->p, i, &n);
        i = end > i ? end : i + n;
    }
}

static void find_words(struct hunt *h, const struct own *w)
{
    struct scan s = { .what = SCAN_WORDS };
    uint16_t at[SCAN_CHUNK];
    for (size_t base = 0; base < h->n && !h->e; base += SCAN_CHUNK) {
        size_t n = h->n - base < SCAN_CHUNK ? h->n - base : SCAN_CHUNK, found = h->scan(&s, h->p + base, n, at);
        for (size_t i = 0; i < found && !h->e; i++)
            words_of_run(h, w, base + at[i]);
    }
}

/* ---- patterns ---- */

/* Whether one of the words stands near, whole. */
static bool has_context(const struct hunt *h, const struct own_pattern *p, size_t begin, size_t end)
{
    size_t from = begin > CONTEXT_BEFORE ? begin - CONTEXT_BEFORE : 0, to = h->n - end < CONTEXT_BEHIND ? h->n : end + CONTEXT_BEHIND, n;
    char buf[CONTEXT_BEFORE + PATTERN_WINDOW + CONTEXT_BEHIND + 8];
    while (from < begin && ((unsigned char)h->p[from] & 0xC0) == 0x80)
        from++;
    while (to < h->n && ((unsigned char)h->p[to] & 0xC0) == 0x80)
        to++;
    if (to - from > sizeof buf)
        to = from + sizeof buf;
    str text = { h->p, h->n }, near = folded((str){ h->p + from, to - from }, buf);
    for (size_t k = 0; k < p->n_context; k++) {
        str word = p->context[k];
        for (size_t i = str_find(near, word); i < near.n;) {
            size_t at = from + i, behind = at + word.n, step;
            bool ends = behind == h->n || kind_before(text, behind) != LETTER || kind_at(text, behind, &n) != LETTER;
            if (ends && (kind_before(text, at) != LETTER || kind_at(text, at, &n) != LETTER))
                return true;
            step = str_find(str_skip(near, i + 1), word);
            i += 1 + step;
        }
    }
    return false;
}

static void find_pattern(struct hunt *h, const struct own_pattern *p)
{
    size_t from = 0, begin, end, most = MATCHES_LEAST + h->n / MATCHES_EACH;
    enum pattern_found f = PATTERN_NONE;
    while (!h->e && (f = pattern_find(p->re, h->p, h->n, from, &begin, &end)) == PATTERN_MATCH) {
        if (!most--) {
            h->e = ERR_LIMIT;
            return;
        }
        hunt_add(h, begin, end, RULE_own_pattern, !p->n_context ? SCORE_PATTERN : has_context(h, p, begin, end) ? SCORE_WITH_CONTEXT : SCORE_WITHOUT);
        if (!h->e)
            h->spans[h->n_spans - 1].type = p->type;
        from = end;
    }
    if (f == PATTERN_ERROR)
        h->e = ERR_MEMORY;
}

static enum err add_pattern(struct arena *a, struct own *w, const struct guard_own *t, enum guard_type type)
{
    char why[PATTERN_WHY];
    struct own_pattern *p = &w->patterns[w->n_patterns];
    *p = (struct own_pattern){ .type = type, .context = arena_new(a, str, t->n_context + 1), .n_context = t->n_context };
    if (!p->context)
        return ERR_MEMORY;
    for (size_t i = 0; i < t->n_context; i++) {
        char *to = arena_alloc(a, t->context[i].n + 1, 1);
        if (!to)
            return ERR_MEMORY;
        if (!guard_word_fits(t->context[i]))
            return ERR_RANGE;
        p->context[i] = folded(t->context[i], to);
    }
    if (!(p->re = pattern_new(t->pattern.p, t->pattern.n, why)))
        return ERR_RANGE;
    w->n_patterns++;
    return ERR_OK;
}

/* ---- all of it ---- */

static enum err fill(struct arena *a, const struct guard_options *o, struct own *w)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < o->n_deny && !e; i++)
        e = add_word(a, w, o->deny[i].text, o->deny[i].type, RULE_custom);
    for (size_t t = 0; t < o->n_own && !e; t++) {
        for (size_t i = 0; i < o->own[t].n_words && !e; i++)
            e = add_word(a, w, o->own[t].words[i], (enum guard_type)(GUARD_OWN + t), RULE_own_word);
        if (o->own[t].pattern.n && !e)
            e = add_pattern(a, w, &o->own[t], (enum guard_type)(GUARD_OWN + t));
    }
    return e ? e : index_words(a, w);
}

enum err own_new(struct arena *a, const struct guard_options *o, struct own **out)
{
    size_t n = o->n_deny;
    *out = NULL;
    for (size_t t = 0; t < o->n_own; t++)
        n += o->own[t].n_words;
    if (n > GUARD_WORDS_MAX || o->n_own > GUARD_OWN_MAX)
        return ERR_RANGE;
    if (!n && !o->n_own)
        return ERR_OK;
    struct own *w = arena_new(a, struct own, 1);
    if (!w || !(w->all = arena_new(a, struct own_word, n + 1)))
        return ERR_MEMORY;
    enum err e = fill(a, o, w);
    if (e)
        own_free(w);
    else
        *out = w;
    return e;
}

void own_free(struct own *w)
{
    for (size_t i = 0; w && i < w->n_patterns; i++)
        pattern_free(w->patterns[i].re);
}

void hunt_own(struct hunt *h, const struct own *w)
{
    if (w && w->n && !h->e)
        find_words(h, w);
    for (size_t i = 0; w && i < w->n_patterns && !h->e; i++)
        find_pattern(h, &w->patterns[i]);
}
