/* Parsed to a tree, which can be measured and narrowed, and written. */
#include "infer/regex.h"

#include "infer/charset.h"

#include <stdio.h>

enum { NEST_MAX = 40, REPEAT_MAX = 100000, PATTERN_MAX = 64 << 10 };
#define NO_MAX UINT32_MAX

enum kind { RE_SET, RE_SEQUENCE, RE_CHOICE, RE_REPEAT };
struct regex {
    enum kind kind;
    struct regex *first, *next;         /* children; the next sibling */
    uint32_t min, max;                  /* REPEAT */
    struct charset set;                 /* SET: settled */
};

struct reader {
    struct arena *a;
    str text;
    size_t at;
    int nesting;
    bool search;
    struct gbnf_error *why;
};

static enum err fail(struct reader *r, enum err e, size_t at, const char *what)
{
    r->why->at = at;
    snprintf(r->why->what, sizeof r->why->what, "%s", what);
    return e;
}

static enum err wrong(struct reader *r, size_t at, const char *what) { return fail(r, ERR_SYNTAX, at, what); }
static enum err unsupported(struct reader *r, size_t at, const char *what) { return fail(r, ERR_UNSUPPORTED, at, what); }
static enum err full(struct reader *r) { return fail(r, ERR_LIMIT, r->at, "the pattern is too large"); }

static char peek(const struct reader *r, size_t ahead) { return r->at + ahead < r->text.n ? r->text.p[r->at + ahead] : 0; }
static bool starts(const struct reader *r, const char *s) { return str_starts(str_skip(r->text, r->at), str_of(s)); }

static struct regex *node(struct reader *r, enum kind kind)
{
    struct regex *n = arena_new(r->a, struct regex, 1);
    if (n)
        n->kind = kind;
    else
        (void)full(r);
    return n;
}

/* ---- classes ---- */

static const struct char_range digits[] = { { '0', '9' } }, words[] = { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } }, spaces[] = { { 9, 13 }, { ' ', ' ' } };
/* What some dialect may take for one, too: their complements are safe. */
static const struct char_range wide_digits[] = { { '0', '9' }, { 0x660, CHAR_LAST } }, wide_words[] = { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' }, { 0x80, CHAR_LAST } },
    wide_spaces[] = { { 9, 13 }, { 0x1C, ' ' }, { 0x85, 0x85 }, { 0xA0, 0xA0 }, { 0x1680, 0x1680 }, { 0x180E, 0x180E }, { 0x2000, 0x200B }, { 0x2028, 0x2029 }, { 0x202F, 0x202F },
                      { 0x205F, 0x205F }, { 0x3000, 0x3000 }, { 0xFEFF, 0xFEFF } };
#define LIST(list) (list), sizeof (list) / sizeof *(list)
static const struct predefined { char letter; const struct char_range *list; size_t n; const struct char_range *wide; size_t n_wide; } predefined[] = {
    { 'd', LIST(digits), LIST(wide_digits) }, { 'w', LIST(words), LIST(wide_words) }, { 's', LIST(spaces), LIST(wide_spaces) },
};

/* \d and its like at r->at. `wide`: as much as may be meant, since it will be turned around. */
static enum err add_predefined(struct reader *r, char letter, bool wide, struct charset *to, bool *found)
{
    for (size_t i = 0; i < sizeof predefined / sizeof *predefined; i++) {
        const struct predefined *p = &predefined[i];
        bool negated = letter == p->letter - 32, most = wide != negated;
        struct charset s = { .p = NULL };
        if (letter != p->letter && !negated)
            continue;
        *found = true;
        enum err e = ERR_OK;
        for (size_t k = 0; k < (most ? p->n_wide : p->n) && !e; k++)
            e = charset_add(r->a, &s, (most ? p->wide : p->list)[k].lo, (most ? p->wide : p->list)[k].hi);
        if (!e)
            e = charset_settle(r->a, &s, negated);
        if (!e)
            e = charset_add_all(r->a, to, &s);
        return e ? full(r) : ERR_OK;
    }
    *found = false;
    return ERR_OK;
}

static bool hex(const struct reader *r, size_t from, size_t n, uint32_t *out)
{
    *out = 0;
    for (size_t i = from; i < from + n; i++) {
        char c = peek(r, i);
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0)
            return false;
        *out = *out << 4 | (uint32_t)d;
    }
    return n > 0 && n < 7;
}

/* \uHHHH, two of them for a surrogate pair, \u{H…}, \xHH. */
static enum err read_hex_escape(struct reader *r, uint32_t *out)
{
    size_t at = r->at, n = 2;
    uint32_t low;
    bool ok;
    if (peek(r, 1) == 'x') {
        ok = hex(r, 2, 2, out);
        n = 4;
    } else if (peek(r, 2) == '{') {
        size_t close = 3;
        while (peek(r, close) && peek(r, close) != '}')
            close++;
        ok = peek(r, close) == '}' && hex(r, 3, close - 3, out);
        n = close + 1;
    } else {
        ok = hex(r, 2, 4, out);
        n = 6;
        if (ok && *out >= 0xD800 && *out < 0xDC00 && peek(r, 6) == '\\' && peek(r, 7) == 'u' && hex(r, 8, 4, &low) && low >= 0xDC00 && low <= 0xDFFF) {
            *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
            n = 12;
        }
    }
    if (!ok || *out == 0 || *out > CHAR_LAST || (*out >= 0xD800 && *out <= 0xDFFF))
        return wrong(r, at, "this escape is no character");
    r->at += n;
    return ERR_OK;
}

/* An escape that is one character, at r->at. */
static enum err read_escape(struct reader *r, bool in_class, uint32_t *out)
{
    static const char from[] = "tnrfv", to[] = "\t\n\r\f\v";
    char c = peek(r, 1);
    const char *known = c ? strchr(from, c) : NULL;
    if (c == 'u' || c == 'x')
        return read_hex_escape(r, out);
    if (in_class && c == 'b') {
        *out = '\b';
    } else if (known) {
        *out = (unsigned char)to[known - from];
    } else if (r->at + 1 >= r->text.n) {
        return wrong(r, r->at, "the pattern ends with a backslash");
    } else if (c >= '0' && c <= '9') {
        return unsupported(r, r->at, "back references and octal escapes are not supported");
    } else if (c == 'b' || c == 'B') {
        return unsupported(r, r->at, "word boundaries are not supported");
    } else if (c == 'p' || c == 'P') {
        return unsupported(r, r->at, "classes of Unicode properties are not supported");
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80) {
        return unsupported(r, r->at, "this escape is not supported");
    } else {
        *out = (unsigned char)c;
    }
    r->at += 2;
    return ERR_OK;
}

static enum err read_char(struct reader *r, bool in_class, uint32_t *out)
{
    if (peek(r, 0) == '\\')
        return read_escape(r, in_class, out);
    r->at += char_read(str_skip(r->text, r->at), out);
    return ERR_OK;
}

/* One character, a range, or \d and its like, inside a class. */
static enum err read_member(struct reader *r, bool negated, struct charset *s)
{
    size_t at = r->at;
    uint32_t lo, hi;
    bool found = false;
    enum err e = peek(r, 0) == '\\' ? add_predefined(r, peek(r, 1), negated, s, &found) : ERR_OK;
    if (e)
        return e;
    if (found) {
        r->at += 2;
        return peek(r, 0) == '-' && peek(r, 1) != ']' ? wrong(r, at, "a class cannot be the end of a range") : ERR_OK;
    }
    if ((e = read_char(r, true, &lo)))
        return e;
    hi = lo;
    if (peek(r, 0) == '-' && peek(r, 1) && peek(r, 1) != ']') {
        r->at++;
        if (peek(r, 0) == '\\' && peek(r, 1) && strchr("dDwWsS", peek(r, 1)))
            return wrong(r, at, "a class cannot be the end of a range");
        if ((e = read_char(r, true, &hi)))
            return e;
    }
    if (hi < lo)
        return wrong(r, at, "a range in a class must rise");
    return charset_add(r->a, s, lo, hi) ? full(r) : ERR_OK;
}

static enum err read_class(struct reader *r, struct regex **out)
{
    size_t at = r->at++;
    struct regex *n = node(r, RE_SET);
    bool negated = peek(r, 0) == '^';
    if (!n)
        return ERR_LIMIT;
    r->at += negated;
    if (peek(r, 0) == ']')
        return unsupported(r, at, "a class that begins with ']' is read differently by the dialects: write \\]");
    while (peek(r, 0) != ']') {
        if (r->at >= r->text.n)
            return wrong(r, at, "this class is not closed");
        if (starts(r, "[:"))
            return unsupported(r, r->at, "classes of POSIX are not supported");
        enum err e = read_member(r, negated, &n->set);
        if (e)
            return e;
    }
    r->at++;
    if (charset_settle(r->a, &n->set, negated))
        return full(r);
    *out = n;
    return n->set.n ? ERR_OK : wrong(r, at, "this class has no character");
}

/* ---- the tree ---- */

static enum err read_choice(struct reader *r, struct regex **out);

/* What follows "(" when it is "?". */
static enum err read_group_kind(struct reader *r)
{
    static const struct { const char *text, *what; } no[] = {
        { "?=", "looking ahead is not supported" }, { "?!", "looking ahead is not supported" }, { "?<=", "looking behind is not supported" }, { "?<!", "looking behind is not supported" },
        { "?P=", "back references are not supported" }, { "?>", "atomic groups are not supported" }, { "?#", "comments are not supported" },
    };
    size_t at = r->at - 1;
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (starts(r, no[i].text))
            return unsupported(r, at, no[i].what);
    if (starts(r, "?:")) {
        r->at += 2;
        return ERR_OK;
    }
    if (!starts(r, "?<") && !starts(r, "?P<"))
        return peek(r, 0) == '?' ? unsupported(r, at, "flags are not supported") : ERR_OK;
    while (r->at < r->text.n && peek(r, 0) != '>')
        r->at++;
    if (r->at >= r->text.n)
        return wrong(r, at, "the name of this group is not closed");
    r->at++;
    return ERR_OK;
}

static enum err read_group(struct reader *r, struct regex **out)
{
    size_t at = r->at++;
    if (r->nesting >= NEST_MAX)
        return wrong(r, at, "groups are nested too deeply");
    enum err e = read_group_kind(r);
    if (e)
        return e;
    r->nesting++;
    if ((e = read_choice(r, out)))
        return e;
    if (peek(r, 0) != ')')
        return wrong(r, at, "this group is not closed");
    r->at++;
    r->nesting--;
    return ERR_OK;
}

static enum err read_dot(struct reader *r, struct regex **out)
{
    struct regex *n = node(r, RE_SET);
    if (!n)
        return ERR_LIMIT;
    r->at++;
    *out = n;
    return charset_add(r->a, &n->set, '\n', '\n') || charset_add(r->a, &n->set, '\r', '\r') || charset_add(r->a, &n->set, 0x2028, 0x2029) || charset_settle(r->a, &n->set, true)
               ? full(r) : ERR_OK;
}

static enum err read_one(struct reader *r, struct regex **out)
{
    struct regex *n = node(r, RE_SET);
    bool found = false;
    uint32_t c;
    if (!n)
        return ERR_LIMIT;
    *out = n;
    enum err e = peek(r, 0) == '\\' ? add_predefined(r, peek(r, 1), false, &n->set, &found) : ERR_OK;
    if (e)
        return e;
    if (found) {
        r->at += 2;
        return charset_settle(r->a, &n->set, false) ? full(r) : ERR_OK;
    }
    if ((e = read_char(r, false, &c)))
        return e;
    return charset_add(r->a, &n->set, c, c) ? full(r) : ERR_OK;
}

static bool read_number(struct reader *r, size_t *ahead, uint32_t *out)
{
    size_t from = *ahead;
    for (*out = 0; peek(r, *ahead) >= '0' && peek(r, *ahead) <= '9'; ++*ahead)
        *out = *out > REPEAT_MAX ? *out : *out * 10 + (uint32_t)(peek(r, *ahead) - '0');
    return *ahead > from;
}

/* {m}, {m,} or {m,n}; any other brace is a character. */
static bool read_braces(struct reader *r, uint32_t *min, uint32_t *max, size_t *size)
{
    size_t ahead = 1;
    if (peek(r, 0) != '{' || !read_number(r, &ahead, min))
        return false;
    *max = *min;
    if (peek(r, ahead) == ',') {
        ahead++;
        if (!read_number(r, &ahead, max))
            *max = NO_MAX;
    }
    *size = ahead + 1;
    return peek(r, ahead) == '}';
}

static bool read_quantifier(struct reader *r, uint32_t *min, uint32_t *max, size_t *size)
{
    *size = 1;
    *min = peek(r, 0) == '+';
    *max = peek(r, 0) == '?' ? 1 : NO_MAX;
    if (peek(r, 0) == '*' || peek(r, 0) == '+' || peek(r, 0) == '?')
        return true;
    return read_braces(r, min, max, size);
}

static enum err read_repeat(struct reader *r, struct regex **it)
{
    uint32_t min, max;
    size_t size, at = r->at;
    if (starts(r, "{,"))
        return unsupported(r, at, "'{,' is read differently by the dialects: write {0,n} or \\{");
    if (!read_quantifier(r, &min, &max, &size))
        return ERR_OK;
    if (min > REPEAT_MAX || (max != NO_MAX && max > REPEAT_MAX))
        return fail(r, ERR_LIMIT, at, "at most 100000 repetitions");
    if (max < min)
        return wrong(r, at, "the bounds of a repetition must rise");
    r->at += size;
    if (peek(r, 0) == '?')              /* lazy: the same texts */
        r->at++;
    else if (peek(r, 0) == '+')
        return unsupported(r, at, "possessive quantifiers are not supported");
    if (read_quantifier(r, &(uint32_t){ 0 }, &(uint32_t){ 0 }, &size))
        return wrong(r, r->at, "there is nothing to repeat here");
    struct regex *n = node(r, RE_REPEAT);
    if (!n)
        return ERR_LIMIT;
    n->first = *it;
    n->min = min;
    n->max = max;
    *it = n;
    return ERR_OK;
}

/* Any characters, any number of them: what may stand around a match that is searched. */
static struct regex *anything(struct reader *r)
{
    struct regex *n = node(r, RE_REPEAT), *set = node(r, RE_SET);
    if (!n || !set || charset_settle(r->a, &set->set, true))
        return NULL;
    n->first = set;
    n->max = NO_MAX;
    return n;
}

static bool at_end_anchor(const struct reader *r)
{
    char after = peek(r, 1);
    return peek(r, 0) == '$' && r->nesting == 0 && (r->at + 1 == r->text.n || after == '|');
}

/* One item with what repeats it. */
static enum err read_item(struct reader *r, struct regex **out)
{
    uint32_t min, max;
    size_t size;
    char c = peek(r, 0);
    if (c == '^' || c == '$')
        return unsupported(r, r->at, "anchors are supported at the ends of the pattern and of its alternatives only");
    if (read_quantifier(r, &min, &max, &size))
        return wrong(r, r->at, "there is nothing to repeat here");
    enum err e = c == '(' ? read_group(r, out) : c == '[' ? read_class(r, out) : c == '.' ? read_dot(r, out) : read_one(r, out);
    return e ? e : read_repeat(r, out);
}

static enum err read_sequence(struct reader *r, struct regex **out)
{
    struct regex *seq = node(r, RE_SEQUENCE), **end = seq ? &seq->first : NULL;
    bool outer = r->nesting == 0, from_start = outer && peek(r, 0) == '^', to_end = false;
    if (!seq)
        return ERR_LIMIT;
    r->at += from_start;
    if (outer && r->search && !from_start) {
        if (!(*end = anything(r)))
            return full(r);
        end = &(*end)->next;
    }
    while (r->at < r->text.n && peek(r, 0) != '|' && peek(r, 0) != ')' && !to_end) {
        if ((to_end = at_end_anchor(r))) {
            r->at++;
            continue;
        }
        enum err e = read_item(r, end);
        if (e)
            return e;
        end = &(*end)->next;
    }
    if (outer && r->search && !to_end && !(*end = anything(r)))
        return full(r);
    *out = seq;
    return ERR_OK;
}

static enum err read_choice(struct reader *r, struct regex **out)
{
    struct regex *choice = node(r, RE_CHOICE), **end = choice ? &choice->first : NULL;
    if (!choice)
        return ERR_LIMIT;
    for (;;) {
        enum err e = read_sequence(r, end);
        if (e)
            return e;
        end = &(*end)->next;
        if (peek(r, 0) != '|')
            break;
        r->at++;
    }
    *out = choice;
    return ERR_OK;
}

enum err regex_read(struct arena *a, str pattern, bool search, struct regex **out, struct gbnf_error *why)
{
    struct reader r = { .a = a, .text = pattern, .search = search, .why = why };
    if (pattern.n > PATTERN_MAX)
        return full(&r);
    if (!str_is_utf8(pattern) || memchr(pattern.p ? pattern.p : "", 0, pattern.n))
        return wrong(&r, 0, "the pattern is not UTF-8, or holds U+0000");
    enum err e = read_choice(&r, out);
    return e ? e : r.at < pattern.n ? wrong(&r, r.at, "this group is not open") : ERR_OK;
}

/* ---- lengths ---- */

static uint32_t plus(uint32_t a, uint32_t b) { return a > NO_MAX - b ? NO_MAX : a + b; }
static uint32_t times(uint32_t a, uint32_t b) { return a == 0 || b == 0 ? 0 : a > NO_MAX / b ? NO_MAX : a * b; }

void regex_length(const struct regex *r, uint32_t *min, uint32_t *max)
{
    uint32_t lo, hi;
    if (r->kind == RE_SET) {
        *min = *max = 1;
        return;
    }
    *min = r->kind == RE_CHOICE ? NO_MAX : 0;
    *max = 0;
    for (const struct regex *c = r->first; c; c = c->next) {
        regex_length(c, &lo, &hi);
        if (r->kind == RE_CHOICE) {
            *min = lo < *min ? lo : *min;
            *max = hi > *max ? hi : *max;
        } else if (r->kind == RE_SEQUENCE) {
            *min = plus(*min, lo);
            *max = plus(*max, hi);
        } else {
            *min = times(lo, r->min);
            *max = times(hi, r->max);
        }
    }
}

/* Repetitions of one length are counted anew. Others are given up, unless they are none or one. */
static bool limit_repeat(struct regex *r, uint32_t min, uint32_t max)
{
    uint32_t lo, hi;
    regex_length(r->first, &lo, &hi);
    if (lo == hi && lo > 0) {
        uint32_t least = min / lo + (min % lo != 0), most = max == NO_MAX ? NO_MAX : max / lo;
        r->min = least > r->min ? least : r->min;
        r->max = most < r->max ? most : r->max;
        return r->min <= r->max;
    }
    if (r->min <= 1 && r->max >= 1 && regex_limit(r->first, min, max)) {
        r->min = r->min > 0 || min > 0;
        r->max = 1;
        return true;
    }
    r->max = 0;
    return r->min == 0 && min == 0;
}

/* What is left of `max` is shared among those that can be longer; what is missing to `min` is asked of the first that can give it. */
static bool limit_sequence(struct regex *r, uint32_t min, uint32_t max)
{
    uint32_t least, most, lo, hi, longer = 0;
    regex_length(r, &least, &most);
    if (least > max || most < min)
        return false;
    for (struct regex *c = r->first; c; c = c->next) {
        regex_length(c, &lo, &hi);
        longer += lo < hi;
    }
    uint32_t share = longer && max != NO_MAX ? (max - least) / longer : NO_MAX, left = longer && max != NO_MAX ? (max - least) % longer : 0, missing = min > least ? min - least : 0;
    for (struct regex *c = r->first; c; c = c->next) {
        regex_length(c, &lo, &hi);
        uint32_t mine = lo < hi && left ? plus(share, 1) : share;
        left -= mine != share;
        uint32_t top = plus(lo, mine) < hi ? plus(lo, mine) : hi, more = missing < top - lo ? missing : top - lo;
        if (lo < hi && !regex_limit(c, lo + more, top))
            return false;
        missing -= more;
    }
    return missing == 0;
}

bool regex_limit(struct regex *r, uint32_t min, uint32_t max)
{
    uint32_t lo, hi;
    regex_length(r, &lo, &hi);
    if (lo >= min && hi <= max)
        return true;
    if (r->kind == RE_SEQUENCE)
        return limit_sequence(r, min, max);
    if (r->kind == RE_REPEAT)
        return limit_repeat(r, min, max);
    if (r->kind != RE_CHOICE)
        return false;
    for (struct regex **at = &r->first; *at;) {
        regex_length(*at, &lo, &hi);
        if (lo <= max && hi >= min && regex_limit(*at, min, max))
            at = &(*at)->next;
        else
            *at = (*at)->next;          /* an alternative less */
    }
    return r->first != NULL;
}

/* ---- writing ---- */

static const struct { uint32_t c; const char *text; } escapes[] = {
    { '"', "\"\\\\\\\"\"" }, { '\\', "\"\\\\\\\\\"" }, { '\b', "\"\\\\b\"" }, { '\f', "\"\\\\f\"" }, { '\n', "\"\\\\n\"" }, { '\r', "\"\\\\r\"" }, { '\t', "\"\\\\t\"" },
};

/* A class inside a JSON string: what may stand there as it is, or one of the short escapes. */
static enum err write_json_set(struct buf *b, const struct charset *s)
{
    static const struct char_range plain[] = { { 0x20, '"' - 1 }, { '"' + 1, '\\' - 1 }, { '\\' + 1, CHAR_LAST } };
    enum err e = buf_putc(b, '(');
    bool any = false;
    for (uint32_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < sizeof plain / sizeof *plain && !e; k++) {
            uint32_t lo = s->p[i].lo > plain[k].lo ? s->p[i].lo : plain[k].lo, hi = s->p[i].hi < plain[k].hi ? s->p[i].hi : plain[k].hi;
            if (lo > hi)
                continue;
            e = any ? ERR_OK : buf_putc(b, '[');
            e = e ? e : charset_write_range(b, lo, hi);
            any = true;
        }
    if (any && !e)
        e = buf_putc(b, ']');
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes && !e; i++)
        if (charset_has(s, escapes[i].c)) {
            e = buf_printf(b, "%s%s", any ? "|" : "", escapes[i].text);
            any = true;
        }
    if (!e && !any)
        return ERR_UNSUPPORTED;
    return e ? e : buf_putc(b, ')');
}

static enum err write_bounds(struct buf *b, const struct regex *r)
{
    if (r->max != NO_MAX)
        return buf_printf(b, "{%u,%u}", r->min, r->max);
    return r->min == 0 ? buf_putc(b, '*') : buf_printf(b, "{%u,}", r->min);
}

enum err regex_write(struct buf *b, const struct regex *r, bool in_json)
{
    if (r->kind == RE_SET)
        return in_json ? write_json_set(b, &r->set) : charset_write(b, &r->set);
    enum err e = buf_putc(b, '(');
    for (const struct regex *c = r->first; c && !e; c = c->next) {
        e = regex_write(b, c, in_json);
        if (!e && c->next)
            e = buf_putc(b, r->kind == RE_CHOICE ? '|' : ' ');
    }
    if (!e && r->kind == RE_REPEAT)
        e = write_bounds(b, r);
    return e ? e : buf_putc(b, ')');
}
