/* guard/tagger.c: which words are looked at, what each looks like, and spans of those that are tagged alike. */
#include "guard/tagger.h"

#include "guard/names.h"

__asm__(".section .rodata\n"
        ".balign 4\n"
        "hearth_tagger: .incbin \"" TAGGER_BIN "\"\n"
        ".previous\n");
extern const unsigned char hearth_tagger[];

/* Thresholds of the average margin, in the order of the file. */
enum least {
    LEAST_NAME,     /* of several words, of which one is known as a name */
    LEAST_STRANGE,  /* of several words, of which none is */
    LEAST_WORD,     /* of one word, which is known as a name */
    LEAST_STRANGER, /* of one word, which is not */
    LEAST_SIGNS,
    LEAST_ADDRESS,
    N_LEAST
};

enum { GAP_MAX = 16, WORD_MAX = 32, NEAR_LAST = 8, GROW_MAX = 24 };

/* ---- characters ---- */

static unsigned char byte_at(const struct hunt *h, size_t i) { return (unsigned char)hunt_at(h, i); }

/* The character at `i`, which is valid UTF-8, and its length; 0 behind the text. */
static uint32_t sign_at(const struct hunt *h, size_t i, size_t *n)
{
    unsigned char c = byte_at(h, i);
    *n = i >= h->n ? 0 : c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    uint32_t x = *n < 2 ? c : c & (0x7Fu >> *n);
    for (size_t k = 1; k < *n; k++)
        x = x << 6 | (byte_at(h, i + k) & 0x3F);
    return x;
}

static size_t sign_back(const struct hunt *h, size_t i)
{
    size_t n = i > 0;
    while (n < i && n < 4 && (byte_at(h, i - n) & 0xC0) == 0x80)
        n++;
    return n;
}

/* Scripts without capitals and spaces of their own. */
enum script { SCRIPT_NONE, SCRIPT_LATIN, SCRIPT_DIGIT, SCRIPT_HAN, SCRIPT_KANA, SCRIPT_KATAKANA, SCRIPT_HANGUL, SCRIPT_MARK };
static enum script script_of(uint32_t x)
{
    if (x < 0x80)
        return is((char)x, C_DIGIT) ? SCRIPT_DIGIT : is((char)x, C_ALPHA) ? SCRIPT_LATIN : SCRIPT_NONE;
    if (x < 0x3041)
        return SCRIPT_MARK;
    return x < 0x30A0                  ? SCRIPT_KANA
           : x < 0x3100                ? SCRIPT_KATAKANA
           : x >= 0x4E00 && x < 0xA000 ? SCRIPT_HAN
           : x >= 0xAC00 && x < 0xD7A4 ? SCRIPT_HANGUL
                                       : SCRIPT_MARK;
}
static bool is_sign(uint32_t x) { return script_of(x) >= SCRIPT_HAN && script_of(x) <= SCRIPT_HANGUL; }

/* Capitals above ASCII: of Latin, Greek and Cyrillic letters. */
static bool is_capital(uint32_t x)
{
    if (x < 0x100)
        return (x >= 'A' && x <= 'Z') || (x >= 0xC0 && x < 0xDF && x != 0xD7);
    if (x < 0x180)
        return (x >= 0x139 && x < 0x149) || x > 0x178 ? x & 1 : !(x & 1);
    return (x >= 0x388 && x < 0x3AC) || (x >= 0x400 && x < 0x430) || (x >= 0x1E00 && x < 0x1F00 && !(x & 1));
}

/* Bytes at `i` that part words: one below 128, or a mark of punctuation above it. 0: a word is there, or nothing. */
static size_t gap_at(const struct hunt *h, size_t i)
{
    unsigned char c = byte_at(h, i), d = byte_at(h, i + 1);
    if (i >= h->n || is((char)c, C_ALNUM | C_UNDER))
        return 0;
    if (c < 0x80)
        return 1;
    if (c == 0xC2)
        return 2;
    return (c == 0xE2 && (d == 0x80 || d == 0x81)) || (c == 0xE3 && d == 0x80) ||
                   (c == 0xEF && (d == 0xBC || d == 0xBD))
               ? 3
               : 0;
}

static size_t gap_before(const struct hunt *h, size_t i)
{
    size_t n = sign_back(h, i);
    return n && gap_at(h, i - n) == n ? n : 0;
}

/* ---- what stands around ---- */

static inline uint32_t mixed(uint32_t a, uint32_t b)
{
    return (uint32_t)((((uint64_t)a << 32 | b) * 0x9E3779B97F4A7C15u) >> 29);
}

enum kind { KIND_NONE, KIND_SMALL, KIND_CAPITAL, KIND_CAPS, KIND_NUMBER, KIND_INITIAL, KIND_MIXED, KIND_HIGH };

enum {
    BITS_SEEN = W_MONTH | W_NAME | W_ADDRESS | W_GREETING | W_CLOSING | W_COMMON | W_STREET | W_COMPANY | W_PLACE |
                W_PARTICLE | W_INTRO | W_GIVEN
};

static enum kind kind_of(const struct hunt *h, size_t begin, size_t end)
{
    unsigned classes = 0;
    for (size_t i = begin + 1; i < end; i++)
        classes |= scan_class[byte_at(h, i)];
    char c = h->p[begin];
    if (is(c, C_DIGIT))
        return classes & C_LETTER ? KIND_MIXED : KIND_NUMBER;
    if (classes & (C_DIGIT | C_UNDER) || is(c, C_UNDER))
        return KIND_MIXED;
    if (is(c, C_LOWER))
        return classes & C_UPPER ? KIND_MIXED : KIND_SMALL;
    if (is(c, C_HIGH))
        return KIND_HIGH;
    return end - begin == 1 ? KIND_INITIAL : classes & (C_LOWER | C_HIGH) ? KIND_CAPITAL : KIND_CAPS;
}

/* What the word itself is: `id` is its hash, or of what it is like where it may be a name. */
static void look_at(struct tagger *t, struct tagger_look *l)
{
    const struct hunt *h = t->h;
    str word = hunt_str(h, l->begin, l->end);
    struct tagger_look *seen = &t->seen[l->end % (sizeof t->seen / sizeof *t->seen)];
    if (seen->end == l->end && seen->begin == l->begin && word.n) {
        uint32_t gap = l->gap;
        *l = *seen;
        l->gap = gap;
        return;
    }
    l->kind = word.n ? kind_of(h, l->begin, l->end) : KIND_NONE;
    l->bits = l->kind == KIND_NUMBER || l->kind == KIND_NONE ? 0 : words_find_name(h->words, word) & BITS_SEEN;
    l->names = l->kind == KIND_CAPITAL || l->kind == KIND_HIGH ? names_find(word) : 0;
    if (l->kind == KIND_SMALL || l->kind == KIND_MIXED || l->bits)
        l->id = words_hash(word);
    else
        l->id = mixed(l->kind + 16u * l->names, l->kind == KIND_NUMBER ? (uint32_t)word.n : 0);
    *seen = *l;
}

/* The word behind `end`, or before `begin`, where no more than GAP_MAX bytes and one end of a line part them. */
static struct tagger_look look_right(struct tagger *t, size_t end)
{
    const struct hunt *h = t->h;
    struct tagger_look l = { .begin = end, .gap = 1 };
    uint32_t last = 0;
    for (size_t n, lines = 0; l.begin - end < GAP_MAX && lines < 2 && (n = gap_at(h, l.begin)); l.begin += n) {
        uint32_t c = byte_at(h, l.begin + n - 1);
        lines += c == '\n';
        l.gap = c == last ? l.gap : mixed(l.gap, c);
        last = c;
    }
    if (l.begin == h->n && last != '\n')
        l.gap = mixed(l.gap, '\n');             /* a text ends as a line does */
    l.end = l.begin;
    while (l.end < h->n && l.end - l.begin < WORD_MAX && is(h->p[l.end], C_WORD) && !gap_at(h, l.end))
        l.end++;
    look_at(t, &l);
    return l;
}

static struct tagger_look look_left(struct tagger *t, size_t begin)
{
    const struct hunt *h = t->h;
    struct tagger_look l = { .end = begin, .gap = 1 };
    uint32_t last = 0;
    for (size_t n, lines = 0; begin - l.end < GAP_MAX && lines < 2 && (n = gap_before(h, l.end)); l.end -= n) {
        uint32_t c = byte_at(h, l.end - 1);
        lines += c == '\n';
        l.gap = c == last ? l.gap : mixed(l.gap, c);
        last = c;
    }
    if (!l.end && last != '\n')
        l.gap = mixed(l.gap, '\n');
    l.begin = l.end;
    while (l.begin && l.end - l.begin < WORD_MAX && is(h->p[l.begin - 1], C_WORD) && !gap_before(h, l.begin))
        l.begin--;
    while (l.begin < l.end && (byte_at(h, l.begin) & 0xC0) == 0x80)
        l.begin++; /* the limit cut a character */
    look_at(t, &l);
    return l;
}

/* ---- features ---- */

static void put(struct tagger_word *w, unsigned *n, uint32_t a, uint32_t b)
{
    if (*n < TAGGER_FEATURES) {
        w->features[*n] = (uint16_t)(mixed(mixed(a, *n + 1), b) >> 7);
        ++*n;
    }
}

static unsigned shape_of(const struct hunt *h, size_t begin, size_t end)
{
    unsigned shape = 0;
    for (size_t i = begin + 1; i < end; i++)
        shape |= is(h->p[i], C_UPPER) ? 1 : is(h->p[i], C_HIGH) ? 2 : h->p[i] == '-' ? 4 : h->p[i] == '\'' ? 8 : 0;
    return shape | (is(h->p[begin], C_HIGH) ? 16 : 0) | (end - begin < 3 ? (unsigned)(end - begin) << 5 : 0);
}

static uint32_t bytes_of(const struct hunt *h, size_t begin, size_t end)
{
    uint32_t x = 0;
    for (size_t i = begin; i < end; i++)
        x = x << 8 | (byte_at(h, i) | 0x20);
    return x;
}

/* What the line starts with, where that is near: a mark of a comment, of a list, a letter. */
static uint32_t line_start(const struct hunt *h, size_t at)
{
    size_t least = at > 96 ? at - 96 : 0, i = at;
    while (i > least && h->p[i - 1] != '\n')
        i--;
    if (i == least && least)
        return 1;
    while (i < at && (h->p[i] == ' ' || h->p[i] == '\t'))
        i++;
    char c = h->p[i];
    return is(c, C_UPPER) ? 'A' : is(c, C_LOWER) ? 'a' : is(c, C_DIGIT) ? '0' : (unsigned char)c;
}

static void see_word(struct tagger *t, struct tagger_word *w)
{
    const struct hunt *h = t->h;
    struct tagger_look own = { .begin = w->begin, .end = w->end }, l1 = look_left(t, w->begin),
                       r1 = look_right(t, w->end), l2, r2;
    l2 = l1.kind ? look_left(t, l1.begin) : (struct tagger_look){ .id = 7 };
    r2 = r1.kind ? look_right(t, r1.end) : (struct tagger_look){ .id = 7 };
    look_at(t, &own);
    w->what = (own.names & (NAMES_GIVEN | NAMES_SURNAME) && !(own.names & NAMES_WORD) ? WORD_KNOWN : 0) |
              (h->p[w->end - 1] == '.' ? WORD_INITIAL : 0);
    size_t n = w->end - w->begin;
    uint32_t left = l1.kind | l1.names << 4, right = r1.kind | r1.names << 4, x = own.names,
             shape = shape_of(h, w->begin, w->end), is_own = x | own.bits << 3,
             last = w->begin - t->last_end < NEAR_LAST ? t->last + 1 : 0;
    unsigned k = 0;
    put(w, &k, shape, 0);
    put(w, &k, x, shape);
    put(w, &k, is_own, 0);
    put(w, &k, bytes_of(h, w->end - (n < 3 ? n : 3), w->end), 0);
    put(w, &k, bytes_of(h, w->end - (n < 4 ? n : 4), w->end), 0);
    put(w, &k, bytes_of(h, w->end - (n < 2 ? n : 2), w->end), (uint32_t)(n < 12 ? n / 2 : 6));
    put(w, &k, bytes_of(h, w->begin, w->begin + (n < 3 ? n : 3)), 0);
    put(w, &k, l1.id, l1.gap);
    put(w, &k, mixed(l1.id, l1.gap), x);
    put(w, &k, r1.id, r1.gap);
    put(w, &k, mixed(r1.id, r1.gap), x);
    put(w, &k, mixed(l2.id, l2.gap), mixed(l1.id, l1.gap));
    put(w, &k, mixed(r2.id, r2.gap), mixed(r1.id, r1.gap));
    put(w, &k, l1.gap, r1.gap);
    put(w, &k, mixed(l1.gap, r1.gap), x | shape << 3);
    put(w, &k, mixed(left, l1.gap), x | right << 3);
    put(w, &k, mixed(left, l1.gap), is_own);
    put(w, &k, mixed(right, r1.gap), is_own);
    put(w, &k, mixed(right, r1.gap), mixed(x, r2.kind | r2.names << 4));
    put(w, &k, l1.bits, mixed(r1.bits, x));
    put(w, &k, last, mixed(l1.gap, x));
    put(w, &k, last, mixed(r1.id, r1.gap));
    put(w, &k, line_start(h, w->begin), mixed(l1.kind, x));
    put(w, &k, mixed(l1.id, r1.id), 0);
    put(w, &k, l2.id, l2.gap);
    put(w, &k, r2.id, r2.gap);
    put(w, &k, l1.kind | l2.kind << 4 | r1.kind << 8 | r2.kind << 12, x);
    put(w, &k, l1.bits, mixed(l1.gap, l2.bits));
    put(w, &k, x & NAMES_WORD || own.bits || !x ? words_hash(hunt_str(h, w->begin, w->end)) : 0, 0);
    put(w, &k, x & NAMES_WORD || own.bits || !x ? words_hash(hunt_str(h, w->begin, w->end)) : 0,
        mixed(l1.kind, l1.gap));
}

static uint32_t sign_or_end(const struct hunt *h, size_t i, size_t *n)
{
    uint32_t x = sign_at(h, i, n);
    return *n ? x : '\n';
}

/* The character at `w` with three on either side, ends of lines where the text ends; of the character before it six of these are known. */
static void read_signs(struct tagger *t, const struct tagger_word *w)
{
    const struct hunt *h = t->h;
    uint32_t *c = t->signs;
    size_t n, i = w->begin;
    if (t->signs_end == w->begin && w->begin) {
        memmove(c, c + 1, 6 * sizeof *c);
        c[6] = sign_or_end(h, t->signs_next, &n);
        t->signs_next += n;
    } else {
        for (int k = 0; k < 7; k++)
            c[k] = '\n';
        c[3] = sign_at(h, i, &n);
        for (int k = 2; k >= 0 && i; k--) {
            i -= sign_back(h, i);
            c[k] = sign_at(h, i, &n);
        }
        t->signs_next = w->end;
        for (int k = 4; k < 7; k++, t->signs_next += n)
            c[k] = sign_or_end(h, t->signs_next, &n);
    }
    t->signs_end = w->end;
}

/* A character of a script without spaces, by those beside it. */
static void see_sign(struct tagger *t, struct tagger_word *w)
{
    uint32_t s[7], *c = t->signs;
    w->what = WORD_SIGN;
    read_signs(t, w);
    uint32_t scripts = 0, last = w->begin - t->last_end < 4 ? t->last + 1 : 0;
    for (int k = 0; k < 7; k++) {
        s[k] = script_of(c[k]) | (c[k] < 0x80 ? c[k] << 4 : 0);
        scripts = scripts << 4 | script_of(c[k]);
    }
    unsigned k = 0;
    put(w, &k, c[3], 1u << 31);
    put(w, &k, c[2], c[3]);
    put(w, &k, c[3], c[4]);
    put(w, &k, c[2], 1u << 30);
    put(w, &k, c[4], 1u << 29);
    put(w, &k, c[1], c[2]);
    put(w, &k, c[4], c[5]);
    put(w, &k, mixed(c[2], c[3]), c[4]);
    put(w, &k, mixed(c[1], c[2]), c[3]);
    put(w, &k, mixed(c[3], c[4]), c[5]);
    put(w, &k, mixed(c[0], c[1]), c[2]);
    put(w, &k, mixed(c[4], c[5]), c[6]);
    put(w, &k, scripts, 0);
    put(w, &k, scripts, last);
    put(w, &k, last, c[3]);
    put(w, &k, last, c[2]);
    put(w, &k, last, c[4]);
    put(w, &k, mixed(last, s[2]), s[4]);
    put(w, &k, mixed(last, s[1]), mixed(s[2], s[3]));
    put(w, &k, mixed(last, s[4]), mixed(s[5], s[3]));
    put(w, &k, c[1], c[3]);
    put(w, &k, c[3], c[5]);
    put(w, &k, c[5], 1u << 28);
    put(w, &k, c[1], 1u << 27);
    put(w, &k, mixed(last, c[3]), c[4]);
    put(w, &k, mixed(last, c[2]), c[3]);
    put(w, &k, mixed(last, c[4]), c[5]);
    put(w, &k, mixed(s[2], c[3]), s[4]);
    put(w, &k, mixed(s[2], c[4]), s[5]);
    put(w, &k, mixed(c[1], c[2]), mixed(c[4], c[5]));
}

/* ---- words ---- */

static bool is_inner(const struct hunt *h, size_t i)
{
    return (h->p[i] == '-' || h->p[i] == '\'') && is(hunt_at(h, i + 1), C_LETTER) && is(hunt_at(h, i + 2), C_LETTER);
}

/* Where the word at `begin` ends that may be a name; 0: it can be none, but is a part of a path, of an identifier or of an abbreviation. */
static size_t word_end(const struct hunt *h, size_t begin)
{
    unsigned small = 0, capitals = 0;
    size_t end = begin;
    while (end < h->n && end - begin < WORD_MAX && ((is(h->p[end], C_LETTER) && !gap_at(h, end)) || is_inner(h, end))) {
        small += is(h->p[end], C_LOWER | C_HIGH);
        capitals += is(h->p[end], C_UPPER) && end > begin && is(h->p[end - 1], C_LETTER);
        end++;
    }
    char c = hunt_at(h, end), next = hunt_at(h, end + 1), before = begin ? h->p[begin - 1] : '\n';
    bool initial = end - begin == 1 && c == '.';
    if (end - begin >= WORD_MAX || (end - begin < 2 && !initial) || is(c, C_DIGIT | C_UNDER) ||
        (c && strchr("([@=\\", c)) || (before && strchr("._/\\@#$%&~+", before)))
        return 0;
    if (!small && !initial)
        return 0;
    if (capitals && !(h->p[begin] == 'M' && (h->p[begin + 1] == 'c' || h->p[begin + 1] == 'a')))
        return 0;
    if (((c == '.' && !initial) || c == '/' || c == '-') && is(next, C_WORD))
        return 0;
    if ((c == ':' && next == ':') || (c == '-' && next == '>') ||
        (before == ':' && begin > 1 && h->p[begin - 2] == ':') ||
        (before == '-' && begin > 1 && is(h->p[begin - 2], C_WORD)))
        return 0;
    return end + initial;
}

void tagger_init(struct tagger *t, const struct hunt *h)
{
    *t = (struct tagger){ .h = h, .scan = { .what = SCAN_NAMES } };
    t->last_end = SIZE_MAX / 2; /* near nothing */
    t->base = (size_t)0 - SCAN_CHUNK;
}

/* The next mark that is not before t->next; h->n: there is none. */
static size_t next_mark(struct tagger *t)
{
    const struct hunt *h = t->h;
    for (;;) {
        while (t->i < t->found) {
            size_t at = t->base + t->at[t->i++];
            if (at >= t->next)
                return at;
        }
        t->base += SCAN_CHUNK;
        if (t->base >= h->n)
            return h->n;
        t->found = h->scan(&t->scan, h->p + t->base, h->n - t->base < SCAN_CHUNK ? h->n - t->base : SCAN_CHUNK, t->at);
        t->i = 0;
    }
}

bool tagger_next(struct tagger *t, struct tagger_word *w)
{
    const struct hunt *h = t->h;
    size_t at = t->next, n;
    for (;;) {
        if (!at || at >= h->n || at != t->next || !is(h->p[at], C_HIGH)) /* else within a run of bytes above ASCII */
            at = next_mark(t);
        if (at >= h->n)
            return false;
        uint32_t c = sign_at(h, at, &n);
        t->next = at + n;
        w->begin = at;
        w->end = t->next;
        if (is_sign(c)) {
            see_sign(t, w);
            return true;
        }
        size_t end = is_capital(c) && (!at || gap_before(h, at)) ? word_end(h, at) : 0;
        if (end) {
            t->next = w->end = end;
            see_word(t, w);
            return true;
        }
        at = t->next;
    }
}

/* ---- tags ---- */

static inline uint32_t number_at(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

enum tag tagger_tag(const struct tagger_word *w, int32_t *margin)
{
    const unsigned char *weights = hearth_tagger + 4 * N_LEAST;
    uint32_t even = 0, odd = 0; /* two sums each, of weights that are 128 too large, which is the same for all tags */
    for (int i = 0; i < TAGGER_FEATURES; i++) {
        uint32_t x = number_at(weights + w->features[i] * N_TAGS) ^ 0x80808080u;
        even += x & 0x00FF00FFu;
        odd += x >> 8 & 0x00FF00FFu;
    }
    int32_t sum[N_TAGS] = { (int32_t)(even & 0xFFFF), (int32_t)(odd & 0xFFFF), (int32_t)(even >> 16),
                            (int32_t)(odd >> 16) };
    int best = 0, next;
    for (int tag = 1; tag < N_TAGS; tag++)
        best = sum[tag] > sum[best] ? tag : best;
    next = best ? 0 : 1;
    for (int tag = 0; tag < N_TAGS; tag++)
        next = tag != best && sum[tag] > sum[next] ? tag : next;
    *margin = sum[best] - sum[next];
    return (enum tag)best;
}

static int32_t least_of(enum least l) { return (int32_t)number_at(hearth_tagger + 4 * l); }

/* Words tagged alike, so far. Initials count with the word behind them: `end` is behind the last word, `last` behind what follows it, 0 while there is no run. */
struct run {
    enum tag tag;
    size_t begin, end, last;
    int32_t margins;
    int words;
    unsigned what;
};

/* Whether what lies between two words of a name or an address belongs to it. */
static bool joins(const struct hunt *h, enum tag tag, size_t from, size_t to)
{
    if (from == to)
        return true;
    if (to - from > 20)
        return false;
    if (tag == TAG_ADDRESS) {
        size_t letters = 0;
        for (size_t i = from; i < to; i++) {
            if (h->p[i] == '\n' || h->p[i] == '"' || h->p[i] == '<' || h->p[i] == '|')
                return false;
            letters += is(h->p[i], C_LETTER);
        }
        return letters < 5;
    }
    if (str_eq(hunt_str(h, from, to), S("^")) || str_eq(hunt_str(h, from, to), S("\xE3\x80\x80")))
        return true;
    for (size_t i = from; i < to;) {
        if (h->p[i] != ' ')
            return false;
        i++;
        size_t k = hunt_run(h, i, C_LOWER, to - i);
        if (i + k < to && (k == 0 || h->p[i + k] != ' '))
            return false;
        if (k && !(words_find(h->words, hunt_str(h, i, i + k)) & W_PARTICLE))
            return false;
        i += k;
    }
    return true;
}

static bool is_of_number(char c) { return is(c, C_DIGIT) || (c && strchr(" ,-/.#", c)); }

static bool is_year(const struct hunt *h, size_t i)
{
    return (h->p[i] == '1' && h->p[i + 1] == '9') || (h->p[i] == '2' && h->p[i + 1] == '0');
}

/* What stands behind the numbers of an address in Japan and China: its length, or 0. */
static size_t unit_at(const struct hunt *h, size_t i)
{
    static const str units[] = { S("\xE4\xB8\x81\xE7\x9B\xAE"),
                                 S("\xE7\x95\xAA\xE5\x9C\xB0"),
                                 S("\xE7\x95\xAA"),
                                 S("\xE5\x8F\xB7"),
                                 S("\xE8\x99\x9F"),
                                 S("\xE9\x9A\x8E"),
                                 S("\xE5\xAE\xA4") };
    for (size_t k = 0; k < sizeof units / sizeof *units; k++)
        if (units[k].n <= h->n - i && !memcmp(h->p + i, units[k].p, units[k].n))
            return units[k].n;
    return 0;
}

/* Numbers of houses and codes on both sides belong to an address; without a number that is no year it is none. */
static bool address_grow(const struct hunt *h, struct run *r, size_t from, size_t until)
{
    bool digits = false;
    size_t i = r->end, end = r->end, begin = r->begin;
    for (size_t unit; i < until && i - r->end < GROW_MAX; i += unit) {
        unit = i == end ? unit_at(h, i) : 0;
        if (!unit && !is_of_number(h->p[i]))
            break;
        end = unit ? i + unit : is(h->p[i], C_DIGIT) ? i + 1 : end;
        unit += !unit;
    }
    end = end < until ? end : until;
    for (i = r->begin; i > from && r->begin - i < GROW_MAX && is_of_number(h->p[i - 1]); i--)
        begin = is(h->p[i - 1], C_DIGIT) ? i - 1 : begin;
    r->begin = begin;
    r->end = end;
    for (i = begin; i < end && !digits; i++) {
        size_t k = hunt_run(h, i, C_DIGIT, end - i);
        digits = k && !(k == 4 && is_year(h, i));
        i += k;
    }
    return digits;
}

static enum least least_for(const struct run *r)
{
    if (r->tag == TAG_ADDRESS)
        return LEAST_ADDRESS;
    if (r->what & WORD_SIGN)
        return LEAST_SIGNS;
    return r->words > 1 || r->what & WORD_INITIAL ? (r->what & WORD_KNOWN ? LEAST_NAME : LEAST_STRANGE)
           : r->what & WORD_KNOWN                 ? LEAST_WORD
                                                  : LEAST_STRANGER;
}

/* Whether the words of a run are enough: of an address two and a number, of a name without spaces two characters, and none of a name alone of which something
 * is ("Huffman's code"). */
static bool is_whole(const struct hunt *h, struct run *r, size_t from, size_t until)
{
    if (r->tag == TAG_ADDRESS)
        return r->words > 1 && address_grow(h, r, from, until);
    if (r->what & WORD_SIGN)
        return r->words > 1 && r->words < 6;
    return r->words > 1 || (r->words && !(hunt_at(h, r->end) == '\'' && hunt_at(h, r->end + 1) == 's'));
}

/* Ends a run, which lies between the known spans that end at `from` and begin at `until`. */
static void run_close(struct hunt *h, struct run *r, size_t from, size_t until)
{
    if (r->words && is_whole(h, r, from, until)) {
        int32_t least = least_of(least_for(r)), score = 50 + (r->margins / r->words - least) * 20 / (least > 20 ? least : 20);
        score = score < 30 ? 30 : score > 69 ? 69 : score;
        hunt_add(h, r->begin, r->end, r->tag == TAG_ADDRESS ? RULE_address_tagger : RULE_person_tagger, (unsigned)score);
    }
    *r = (struct run){ 0 };
}

static bool run_goes_on(const struct hunt *h, const struct run *r, enum tag tag, const struct tagger_word *w)
{
    return r->last && tag == r->tag && joins(h, tag, r->last, w->begin) &&
           (r->what & WORD_SIGN) == (w->what & WORD_SIGN);
}

/* An initial alone, or behind a name, is a part of none: "set N bytes to C." */
static void run_take(struct run *r, enum tag tag, const struct tagger_word *w, int32_t margin)
{
    if (!r->last)
        *r = (struct run){ .tag = tag, .begin = w->begin, .end = w->begin, .what = w->what & WORD_SIGN };
    if (!(w->what & WORD_INITIAL)) {
        r->what |= w->what | (r->last > r->end ? WORD_INITIAL : 0);
        r->end = w->end;
        r->margins += margin;
        r->words++;
    }
    r->last = w->end;
}

static enum tag known_tag(enum guard_type t)
{
    return t == GUARD_PERSON ? TAG_PERSON : t == GUARD_ADDRESS ? TAG_ADDRESS : TAG_OTHER;
}

void hunt_tag(struct hunt *h)
{
    struct tagger t;
    struct tagger_word w;
    struct run r = { 0 };
    size_t known = h->n_spans, k = 0, from = 0;
    tagger_init(&t, h);
    while (!h->e && tagger_next(&t, &w)) {
        size_t before = from, until = k < known ? h->spans[k].begin : h->n;
        while (k < known && h->spans[k].end <= w.begin)
            from = h->spans[k++].end;
        int32_t margin = 0;
        bool is_known = k < known && h->spans[k].begin < w.end;
        enum tag tag = is_known ? known_tag(h->spans[k].type) : tagger_tag(&w, &margin);
        t.last = tag;
        t.last_end = w.end;
        if (is_known || before != from || !run_goes_on(h, &r, tag, &w))
            run_close(h, &r, before, until);
        if (!is_known && (tag == TAG_PERSON || tag == TAG_ADDRESS))
            run_take(&r, tag, &w, margin);
    }
    run_close(h, &r, from, k < known ? h->spans[k].begin : h->n);
}
