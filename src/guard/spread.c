/* guard/spread.c: what was found once is found wherever it stands: "Maria Keller" in a field is also "Maria", "KELLER" and "keller, maria" in the text below it.
 * Names of one word count only where they are written with a capital. One pass over the text, against a table of the words that such a term starts with. */
#include "guard/hunt.h"

enum { TERM_LEAST = 3, TERMS_MAX = 1 << 20 };

/* `lead`: bytes of the text before its first word, by which it is looked up. */
struct term { str text; enum rule rule; uint8_t type, score, lead; bool capital; uint32_t next; };

struct terms {
    struct term *all;
    uint32_t n, cap;
    uint32_t *slots, mask;          /* by the hash of the first word; 0: none, else the number of a term, from 1 */
    uint64_t starts[256];           /* by the first three bytes, lower case: most words are no start of a term */
    uint64_t shorts[4];             /* by the first byte alone, lower case: of first words that have fewer */
    bool some_short;
};

static size_t first_word(str s) { return run_on(s.p, s.n, 0, C_WORD, SIZE_MAX); }

/* Of the first three bytes, without case. */
static inline unsigned start_of(uint32_t x) { return ((x & 0xFFFFFF) | 0x202020) * 2654435761u >> 18; }

static inline uint32_t three(const char *p) { return (unsigned char)p[0] | (uint32_t)(unsigned char)p[1] << 8 | (uint32_t)(unsigned char)p[2] << 16; }

static inline uint32_t four(const char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap32(x);
#endif
    return x;
}

static void term_add(struct hunt *h, struct terms *t, str text, enum rule rule, enum guard_type type, unsigned score, bool capital)
{
    if (t->n == t->cap || h->e)
        return;
    size_t lead = 0, n;
    while (lead < text.n && !is(text.p[lead], C_WORD))
        lead++;
    n = first_word(str_skip(text, lead));
    uint32_t slot = words_hash(str_slice(text.p + lead, n)) & t->mask;
    for (uint32_t i = t->slots[slot]; i; i = t->all[i - 1].next)
        if (str_ieq(t->all[i - 1].text, text) && t->all[i - 1].type == type)
            return;
    t->all[t->n++] = (struct term){ text, rule, (uint8_t)type, (uint8_t)score, (uint8_t)lead, capital, t->slots[slot] };
    t->slots[slot] = t->n;
    if (n >= 3) {
        unsigned start = start_of(three(text.p + lead));
        t->starts[start >> 6] |= (uint64_t)1 << (start & 63);
    } else if (n) {
        t->shorts[(unsigned char)(text.p[lead] | 0x20) >> 6] |= (uint64_t)1 << ((text.p[lead] | 0x20) & 63);
        t->some_short = true;
    }
}

/* A name, in any case unless a `capital` must begin it, and its `parts`: words that are long enough and nothing else. */
static void add_name(struct hunt *h, struct terms *t, str name, unsigned score, bool parts, bool capital)
{
    if (str_index(name, ' ') < name.n)
        term_add(h, t, name, RULE_person_again, GUARD_PERSON, score, capital);
    for (str rest = name, word; rest.n;) {
        (void)str_cut(rest, ' ', &word, &rest);
        if (word.n && word.p[word.n - 1] == ',')
            word.n--;
        if (parts && word.n >= TERM_LEAST && is(word.p[0], C_UPPER | C_HIGH) && word.p[word.n - 1] != '.' &&
            !(words_find(h->words, word) & (W_COMMON | W_PARTICLE | W_GREETING | W_MONTH | W_COMPANY | W_STREET)))
            term_add(h, t, word, RULE_person_again, GUARD_PERSON, score - 10, true);
    }
}

/* The words of "maria.keller@", "keller_maria81@"; those of "maria81@" only when the name that stands before it has them. None of an office's ("info@") or of
 * a list's ("bash-maintainers@"), which would make a name of what it is about. */
static void add_local(struct hunt *h, struct terms *t, str mail, str name)
{
    str local = str_slice(mail.p, str_index(mail, '@')), words[2] = { { 0 } };
    size_t at = 0, n = 0, k;
    for (; at < local.n && n < 2; at += k + 1) {
        for (k = 0; at + k < local.n && is(local.p[at + k], C_LETTER); k++)
            ;
        if (k >= TERM_LEAST)
            words[n++] = str_slice(local.p + at, k);
    }
    bool office = n && (words_find(h->words, words[0]) || (n == 2 && words_find(h->words, words[1]) & W_COMMON));
    for (size_t i = 0; i < n && !office; i++) {
        bool named = false;
        for (str rest = name, word; rest.n && !named;) {
            (void)str_cut(rest, ' ', &word, &rest);
            named = str_ieq(word, words[i]);
        }
        if ((n == 2 || named) && !words_find(h->words, words[i]))
            term_add(h, t, words[i], RULE_person_again, GUARD_PERSON, 60, true);
    }
}

static bool terms_room(struct hunt *h, struct terms *t, size_t n)
{
    size_t slots = 64;
    n = n > TERMS_MAX ? TERMS_MAX : n;
    while (slots < 2 * n)
        slots *= 2;
    t->all = arena_alloc(h->a, n * sizeof *t->all, _Alignof(struct term));
    t->slots = arena_new(h->a, uint32_t, slots);
    t->cap = (uint32_t)n;
    t->mask = (uint32_t)slots - 1;
    if (!t->all || !t->slots)
        h->e = ERR_LIMIT;
    return !h->e;
}

/* Whether the term stands where a word begins at `begin`. */
static bool stands_at(const struct hunt *h, const struct term *x, size_t begin)
{
    if (x->lead > begin || x->text.n > h->n - (begin - x->lead))
        return false;
    size_t from = begin - x->lead, end = from + x->text.n;
    if (!str_ieq(x->text, hunt_str(h, from, end)) || (x->capital && !is(h->p[begin], C_UPPER | C_HIGH)))
        return false;
    return !is(h->p[end - 1], C_WORD) || !is(hunt_at(h, end), C_WORD);
}

static void match_at(struct hunt *h, const struct terms *t, size_t begin, size_t word)
{
    const struct term *best = NULL;
    for (uint32_t i = t->slots[words_hash(hunt_str(h, begin, begin + word)) & t->mask]; i; i = t->all[i - 1].next)
        if ((!best || t->all[i - 1].text.n > best->text.n) && stands_at(h, &t->all[i - 1], begin))
            best = &t->all[i - 1];
    if (!best)
        return;
    size_t from = begin - best->lead, end = from + best->text.n;
    if (best->rule == RULE_person_again) {
        if (hunt_at(h, end) == '@')
            return;                             /* a part of an address that is none of a person's */
        if (best->capital && str_index(best->text, ' ') == best->text.n)
            hunt_name_around(h, best->score > 60, &from, &end);
    }
    hunt_add(h, from, end, best->rule, best->score);
    if (!h->e)
        h->spans[h->n_spans - 1].type = (enum guard_type)best->type;
}

static size_t word_length(const struct hunt *h, size_t i) { return hunt_run(h, i, C_WORD, SIZE_MAX); }

/* Which of `n` words, given by their places behind `base`, a term may start with: writes these over them; their number. */
static size_t starts_of(const struct hunt *h, const struct terms *t, size_t base, size_t n, uint16_t *at)
{
    const char *p = h->p + base;
    const size_t room = h->n - base;
    const uint64_t *const starts = t->starts;
    const bool some_short = t->some_short;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        size_t begin = at[i];
        unsigned start = start_of(room - begin >= 4 ? four(p + begin) : room - begin == 3 ? three(p + begin) : 0);
        unsigned first = (unsigned char)(p[begin] | 0x20);
        bool is_short = some_short && t->shorts[first >> 6] >> (first & 63) & 1;
        at[kept] = (uint16_t)begin;
        kept += is_short || (starts[start >> 6] >> (start & 63) & 1);
    }
    return kept;
}

static void match_all(struct hunt *h, const struct terms *t)
{
    struct scan s = { .what = SCAN_WORDS };
    uint16_t at[SCAN_CHUNK];
    for (size_t base = 0; base < h->n && !h->e; base += SCAN_CHUNK) {
        size_t n = h->n - base < SCAN_CHUNK ? h->n - base : SCAN_CHUNK, found = h->scan(&s, h->p + base, n, at);
        found = starts_of(h, t, base, found, at);
        for (size_t i = 0; i < found && !h->e; i++)
            match_at(h, t, base + at[i], word_length(h, base + at[i]));
    }
}

void hunt_spread(struct hunt *h, size_t first)
{
    struct terms *t;
    size_t room = 0, found = h->n_spans;
    for (size_t i = first; i < found; i++)
        room += h->spans[i].type == GUARD_PERSON ? 8 : h->spans[i].type == GUARD_EMAIL ? 4 : 0;
    if (!room || h->e)
        return;
    t = arena_new(h->a, struct terms, 1);
    if (!t)
        h->e = ERR_LIMIT;
    if (!t || !terms_room(h, t, room))
        return;
    for (size_t i = first; i < found; i++) {
        str text = hunt_str(h, h->spans[i].begin, h->spans[i].end);
        if (h->spans[i].type == GUARD_PERSON)
            add_name(h, t, text, h->spans[i].rule == RULE_person_list || h->spans[i].rule == RULE_person_tagger ? h->spans[i].score : 75, h->spans[i].score >= 70 && h->spans[i].rule != RULE_person_mail, h->spans[i].rule == RULE_person_tagger);
        else if (h->spans[i].rule == RULE_email)
            add_local(h, t, text, i + 1 < found && h->spans[i + 1].rule == RULE_person_mail ? hunt_str(h, h->spans[i + 1].begin, h->spans[i + 1].end) : STR_NONE);
    }
    match_all(h, t);
}
