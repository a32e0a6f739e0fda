/* guard/sanitize.c: escapes are decoded within the text's own memory, with a list of what was there, so a file of 64 MB costs its size and the spans.
 * Writing goes over that text once, from left to right, and puts the escapes back as they stood. */
#include "guard/sanitize.h"

#include "guard/placeholder.h"
#include "guard/rules.h"

#include <assert.h>

#define SLASH "\xEE\x81\x9C"            /* U+E05C: a backslash in the vault */
#define NUMBER "\xEE\x81\x9D"           /* U+E05D: before a number of JSON */
enum { MARK = 3, PART_MAX = PLACEHOLDER_VALUE_MAX - 96, CONTEXT = 40, TOKEN_MAX = PLACEHOLDER_MAX + 2, NUMBER_LEAST = 7, NUMBER_MOST = 32 };
enum { LOOK_AHEAD = 16 << 10, LOOK_BACK = 256 << 10 };          /* of a piece: what is looked at and not yet put; where it may be cut */
_Static_assert((int)N_RULES <= (int)SANITIZE_RULES, "one count for each rule");

/* ---- kinds ---- */

static const char *const kind_names[SANITIZE_KINDS] = { "text", "table", "code", "json" };
const char *sanitize_kind_name(enum sanitize_kind k) { return (unsigned)k < SANITIZE_KINDS ? kind_names[k] : ""; }

static const struct { str ending; enum sanitize_kind kind; } endings[] = {
    { S(".json"), SANITIZE_JSON },  { S(".jsonl"), SANITIZE_JSON }, { S(".ndjson"), SANITIZE_JSON }, { S(".ipynb"), SANITIZE_JSON }, { S(".geojson"), SANITIZE_JSON },
    { S(".har"), SANITIZE_JSON },   { S(".csv"), SANITIZE_TABLE },  { S(".tsv"), SANITIZE_TABLE },   { S(".tab"), SANITIZE_TABLE },  { S(".txt"), SANITIZE_TEXT },
    { S(".md"), SANITIZE_TEXT },    { S(".log"), SANITIZE_TEXT },   { S(".rst"), SANITIZE_TEXT },    { S(".c"), SANITIZE_CODE },     { S(".h"), SANITIZE_CODE },
    { S(".cc"), SANITIZE_CODE },    { S(".cpp"), SANITIZE_CODE },   { S(".hpp"), SANITIZE_CODE },    { S(".cs"), SANITIZE_CODE },    { S(".go"), SANITIZE_CODE },
    { S(".java"), SANITIZE_CODE },  { S(".js"), SANITIZE_CODE },    { S(".jsx"), SANITIZE_CODE },    { S(".ts"), SANITIZE_CODE },    { S(".tsx"), SANITIZE_CODE },
    { S(".kt"), SANITIZE_CODE },    { S(".lua"), SANITIZE_CODE },   { S(".php"), SANITIZE_CODE },    { S(".pl"), SANITIZE_CODE },    { S(".py"), SANITIZE_CODE },
    { S(".rb"), SANITIZE_CODE },    { S(".rs"), SANITIZE_CODE },    { S(".scala"), SANITIZE_CODE },  { S(".sh"), SANITIZE_CODE },    { S(".swift"), SANITIZE_CODE },
};

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_wordy(char c) { return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'z') || (unsigned char)c >= 0x80; }

enum sanitize_kind sanitize_kind_of(str name, str head)
{
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (name.n > endings[i].ending.n && str_ieq(str_skip(name, name.n - endings[i].ending.n), endings[i].ending))
            return endings[i].kind;
    size_t i = 0, k;
    while (i < head.n && is_space(head.p[i]))
        i++;
    for (k = i + 1; k < head.n && is_space(head.p[k]);)
        k++;
    return k < head.n && (head.p[i] == '{' || head.p[i] == '[') && memchr("\"{}[]", head.p[k], 5) ? SANITIZE_JSON : SANITIZE_TEXT;
}

bool sanitize_is_binary(str head) { return head.n && memchr(head.p, '\0', head.n) != NULL; }

/* ---- decoding ---- */

/* An escape, or a byte that is no UTF-8: where it stood, how many bytes it took, and what is shown instead. */
struct record { size_t at, raw, n; char c[4]; };

struct view {
    char *p;                            /* decoded */
    size_t n, raw_n;
    uint32_t *at;                       /* where each record is, in the decoded text */
    size_t n_at;
    char *raw;                          /* of each record its length, its bytes, and its length again */
    size_t n_raw;
};

static int hex(char c) { return is_digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

static int hex_at(str s, size_t digits)
{
    int v = 0;
    if (s.n < digits)
        return -1;
    for (size_t i = 0; i < digits; i++) {
        if (hex(s.p[i]) < 0)
            return -1;
        v = v << 4 | hex(s.p[i]);
    }
    return v;
}

static size_t utf8_put(unsigned v, char c[4])
{
    if (v < 0x80) {
        c[0] = (char)v;
        return 1;
    }
    size_t n = v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; v >>= 6)
        c[i] = (char)(0x80 | (v & 0x3F));
    c[0] = (char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | v);
    return n;
}

static size_t utf8_length(char c) { return (unsigned char)c < 0xC0 ? 1 : (unsigned char)c < 0xE0 ? 2 : (unsigned char)c < 0xF0 ? 3 : 4; }

/* "\u00e9", with its other half where it is one of a pair. */
static bool read_u(str s, struct record *r)
{
    int v = hex_at(str_skip(s, 2), 4), low;
    if (v < 0 || (v >= 0xDC00 && v < 0xE000))
        return false;
    r->raw = 6;
    if (v >= 0xD800 && v < 0xDC00) {
        low = s.n >= 12 && s.p[6] == '\\' && s.p[7] == 'u' ? hex_at(str_skip(s, 8), 4) : -1;
        if (low < 0xDC00 || low >= 0xE000)
            return false;
        v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
        r->raw = 12;
    }
    r->n = utf8_put((unsigned)v, r->c);
    return true;
}

static bool read_escape(str s, struct record *r)
{
    static const char names[] = "nrtbf\"'/\\", means[] = "\n\r\t\b\f\"'/\\";
    if (s.n < 2)
        return false;
    if (s.p[1] == 'u')
        return read_u(s, r);
    if (s.p[1] == 'x') {
        int v = hex_at(str_skip(s, 2), 2);
        r->raw = 4;
        r->n = 1;
        r->c[0] = (char)v;
        return v >= 0 && v < 0x80;
    }
    const char *k = s.p[1] ? strchr(names, s.p[1]) : NULL;
    r->raw = 2;
    r->n = 1;
    r->c[0] = k ? means[k - names] : '\0';
    return k != NULL;
}

/* The first record from `from` on. */
static bool next_record(str s, bool escapes, bool valid, size_t from, struct record *r)
{
    for (size_t i = from; i < s.n; i++) {
        if (valid) {
            const char *q = escapes ? memchr(s.p + i, '\\', s.n - i) : NULL;
            if (!q)
                return false;
            i = (size_t)(q - s.p);
        }
        r->at = i;
        if (s.p[i] == '\\' && escapes && read_escape(str_skip(s, i), r))
            return true;
        size_t n = valid ? 1 : utf8_length(s.p[i]);
        if (!valid && (n > s.n - i || !str_is_utf8((str){ s.p + i, n }))) {
            r->raw = r->n = 1;
            r->c[0] = '?';
            return true;
        }
        i += n - 1;
    }
    return false;
}

static enum err decode(struct sanitizer *s, struct arena *a, char *p, size_t n, struct view *v)
{
    str text = { p, n };
    struct record r;
    bool escapes = s->kind >= SANITIZE_CODE && memchr(p, '\\', n), valid = str_is_utf8(text);
    size_t count = 0, bytes = 0;
    *v = (struct view){ .p = p, .n = n, .raw_n = n };
    for (size_t i = 0; next_record(text, escapes, valid, i, &r); i = r.at + r.raw, count++)
        bytes += r.raw + 2;
    if (!count)
        return ERR_OK;
    v->at = arena_alloc(a, count * sizeof *v->at, _Alignof(uint32_t));
    v->raw = arena_alloc(a, bytes, 1);
    if (!v->at || !v->raw || n > UINT32_MAX)
        return ERR_LIMIT;
    size_t from = 0, to = 0;            /* read, and written: never ahead of it */
    while (next_record(text, escapes, valid, from, &r)) {
        memmove(p + to, p + from, r.at - from);
        to += r.at - from;
        v->at[v->n_at++] = (uint32_t)to;
        v->raw[v->n_raw] = v->raw[v->n_raw + r.raw + 1] = (char)r.raw;
        memcpy(v->raw + v->n_raw + 1, p + r.at, r.raw);
        v->n_raw += r.raw + 2;
        s->odd_bytes += r.raw == 1;
        from = r.at + r.raw;
        memcpy(p + to, r.c, r.n);
        to += r.n;
    }
    memmove(p + to, p + from, n - from);
    v->n = to + (n - from);
    return ERR_OK;
}

/* The text as it was, from its end to its beginning. */
static void encode_again(struct sanitizer *s, struct view *v)
{
    size_t from = v->n, to = v->raw_n, raw = v->n_raw;
    for (size_t i = v->n_at; i-- > 0;) {
        size_t behind = v->at[i] + utf8_length(v->p[v->at[i]]), n = (unsigned char)v->raw[raw - 1];
        to -= from - behind;
        memmove(v->p + to, v->p + behind, from - behind);
        to -= n;
        memcpy(v->p + to, v->raw + raw - 1 - n, n);
        raw -= n + 2;
        from = v->at[i];
        s->odd_bytes -= n == 1;
    }
}

/* ---- writing ---- */

struct cursor { size_t at, record, raw; };      /* in the decoded text; the next record, and where its bytes are */

struct writer {
    struct sanitizer *s;
    struct arena *a;
    const struct view *v;
    struct cursor c;
    const struct guard_span *spans;
    size_t n_spans;
    char value[PLACEHOLDER_VALUE_MAX];
    struct arena tokens;
};

static enum err put(struct sanitizer *s, str bytes)
{
    s->started = true;
    return bytes.n ? s->put(s->ctx, bytes) : ERR_OK;
}

static void count_columns(struct sanitizer *s, str t)
{
    for (size_t i = 0; i < t.n; i++) {
        s->column += ((unsigned char)t.p[i] & 0xC0) != 0x80;
        if (t.p[i] == '\n') {
            s->line++;
            s->column = 0;
        }
    }
}

/* Which quotes are open behind `t`, and where that is. */
static void follow(struct sanitizer *s, str t)
{
    if (s->on_place)
        count_columns(s, t);
    if (s->kind != SANITIZE_JSON && s->kind != SANITIZE_TABLE)
        return;
    for (size_t i = 0; i < t.n; i++) {
        if (t.p[i] == '"')
            s->quoted = !s->quoted;
        else if (t.p[i] == '\n' && s->kind == SANITIZE_JSON)
            s->quoted = false;          /* no string of JSON holds one: whatever it was ends here */
    }
}

/* The next stretch of the text as it stands in the file, up to `to`: plain bytes, or one record. */
static str stretch(const struct view *v, struct cursor *c, size_t to, bool *is_record)
{
    size_t next = c->record < v->n_at ? v->at[c->record] : v->n;
    *is_record = next == c->at && c->record < v->n_at;
    if (!*is_record) {
        str s = { v->p + c->at, (next < to ? next : to) - c->at };
        c->at += s.n;
        return s;
    }
    str s = { v->raw + c->raw + 1, (unsigned char)v->raw[c->raw] };
    c->at += utf8_length(v->p[c->at]);
    c->raw += s.n + 2;
    c->record++;
    return s;
}

/* The same for the writer's own cursor, with what follows from its having passed. */
static str pass(struct writer *w, size_t to)
{
    bool is_record;
    str s = stretch(w->v, &w->c, to, &is_record);
    if (!is_record)
        follow(w->s, s);
    else
        w->s->column += s.n;
    return s;
}

static enum err put_until(struct writer *w, size_t to)
{
    enum err e = ERR_OK;
    while (w->c.at < to && !e)
        e = put(w->s, pass(w, to));
    return e;
}

/* The bytes up to `to` as the vault keeps them; the cursor is behind them then, and nothing is put. */
static str take_value(struct writer *w, size_t to, bool number)
{
    size_t n = 0;
    if (number) {
        memcpy(w->value, NUMBER, MARK);
        n = MARK;
    }
    while (w->c.at < to) {
        str s = pass(w, to);
        for (size_t i = 0; i < s.n; i++) {
            assert(n + MARK <= sizeof w->value);
            if (s.p[i] == '\\') {
                memcpy(w->value + n, SLASH, MARK);
                n += MARK;
            } else {
                w->value[n++] = s.p[i];
            }
        }
    }
    return (str){ w->value, n };
}

static enum err put_token(struct writer *w, const struct guard_span *span, size_t to, bool number)
{
    struct sanitizer *s = w->s;
    struct vault_ask ask = { .realm = s->search->realm, .type = span->type, .value = take_value(w, to, number), .form = VAULT_PLACEHOLDER, .at_us = s->at_us };
    struct vault_token token = { .text = str_of(guard_type_name(s->search->names, span->type)) };
    enum err e = ERR_OK;
    if (span->type >= GUARD_OWN)
        ask.name = token.text;
    ask.keep = s->policy->rules.types[span->type].restore == GUARD_RESTORE;
    arena_reset(&w->tokens);
    if (s->search->vault)
        e = vault_ask_token(s->search->vault, &w->tokens, &ask, &token);
    s->placeholders++;
    s->lost += !ask.keep;
    const str parts[] = { number ? S("\"[") : S("["), token.text, number ? S("]\"") : S("]") };
    for (size_t i = 0; i < 3 && !e; i++)
        e = put(s, parts[i]);
    return e == ERR_LIMIT ? ERR_MEMORY : e;
}

/* ---- parts of a span ---- */

/* Steps over one character. False: it stays as it is, and parts a value. */
static bool step(const struct writer *w, struct cursor *c)
{
    const struct view *v = w->v;
    char ch = v->p[c->at];
    bool is_record;
    size_t n = utf8_length(ch);
    bool mark = n == MARK && (memcmp(v->p + c->at, SLASH, MARK) == 0 || memcmp(v->p + c->at, NUMBER, MARK) == 0);
    str s = stretch(v, c, c->at + n, &is_record);
    if (is_record && s.n == 1)
        return false;                   /* no UTF-8 */
    if (w->s->kind == SANITIZE_TABLE && !w->s->quoted && memchr(",;\t|", ch, 4))
        return false;
    if (w->s->kind == SANITIZE_JSON && !w->s->quoted && memchr("{}[]:,", ch, 6))
        return false;
    return (unsigned char)ch >= 0x20 && ch != '"' && ch != '\\' && !mark;
}

static bool is_number_like(str s)
{
    size_t i = 0;
    while (i < s.n && memchr("0123456789+-.eE", s.p[i], 15))
        i++;
    return i == s.n;
}

/* What stands between the strings of JSON: literals and numbers with fractions stay. *number: it is an integer, all of it up to *end. */
static bool stays(const struct writer *w, size_t begin, size_t *end, bool *number)
{
    const struct view *v = w->v;
    str part = { v->p + begin, *end - begin };
    size_t to = begin;
    if (str_eq(part, S("true")) || str_eq(part, S("false")) || str_eq(part, S("null")))
        return true;
    while (to < v->n && is_digit(v->p[to]))
        to++;
    if (to == begin || to < *end)
        return is_number_like(part);
    if ((begin && memchr("-.+eE", v->p[begin - 1], 5)) || (to < v->n && memchr(".eE", v->p[to], 3)) || to - begin < NUMBER_LEAST || to - begin > NUMBER_MOST)
        return true;
    *number = !(begin && is_wordy(v->p[begin - 1])) && !(to < v->n && is_wordy(v->p[to]));
    *end = *number ? to : *end;
    return false;
}

/* One part of a span, without spaces around it, from the cursor on. */
static enum err put_part(struct writer *w, const struct guard_span *span, size_t end)
{
    bool number = false, wordy = false;
    size_t begin = w->c.at;
    for (size_t i = begin; i < end && !wordy; i++)
        wordy = is_wordy(w->v->p[i]);
    if (!wordy || (w->s->kind == SANITIZE_JSON && !w->s->quoted && stays(w, begin, &end, &number)))
        return put_until(w, end);
    return put_token(w, span, end, number);
}

static enum err put_parts(struct writer *w, const struct guard_span *span)
{
    enum err e = ERR_OK;
    while (w->c.at < span->end && !e) {
        struct cursor c = w->c, before;
        size_t until = c.at, begin = c.at;
        if (w->v->p[c.at] == ' ') {
            e = put_until(w, c.at + 1);
            continue;
        }
        while (c.at < span->end && c.at - begin + 14 * (c.record - w->c.record) < PART_MAX) {
            before = c;
            if (!step(w, &c)) {
                c = before;
                break;
            }
            if (w->v->p[before.at] != ' ')
                until = c.at;
        }
        if (until == begin) {
            (void)step(w, &c);
            e = put_until(w, c.at);
        } else {
            e = put_part(w, span, until);
        }
    }
    return e;
}

/* ---- spans ---- */

static enum err is_known(struct writer *w, str value, bool *known)
{
    struct vault *vault = w->s->search->vault;
    if (value.n > 2 && value.p[0] == '[')
        value = str_skip(value, 1);
    if (value.n > 1 && value.p[value.n - 1] == ']')
        value.n--;
    *known = false;
    if (!(vault ? placeholder_may_be_stem(value) : placeholder_is_stem(w->s->search->names, value)))
        return ERR_OK;
    arena_reset(&w->tokens);
    enum err e = vault ? vault_knows(vault, &w->tokens, w->s->search->realm, value) : ERR_OK;
    *known = e == ERR_OK;
    return e == ERR_NOTFOUND ? ERR_OK : e;
}

static enum err context_put(struct buf *b, const struct writer *w, size_t from, size_t to, size_t near)
{
    enum err e = ERR_OK;
    size_t i = near;
    while (i && w->spans[i - 1].end > from)
        i--;
    for (; i < w->n_spans && w->spans[i].begin < to && !e; i++) {
        if (w->spans[i].begin > from)
            e = buf_put(b, (str){ w->v->p + from, w->spans[i].begin - from });
        if (!e)
            e = buf_printf(b, "[%s]", guard_type_name(w->s->search->names, w->spans[i].type));
        from = w->spans[i].end;
    }
    return e || from >= to ? e : buf_put(b, (str){ w->v->p + from, to - from });
}

static enum err tell_place(struct writer *w, size_t k)
{
    const struct guard_span *x = &w->spans[k];
    const struct view *v = w->v;
    size_t from = x->begin, to = x->end;
    struct buf b = { .max = 1 << 16 };
    while (from && x->begin - from < CONTEXT && v->p[from - 1] != '\n')
        from--;
    while (to < v->n && to - x->end < CONTEXT && v->p[to] != '\n')
        to++;
    while (from < x->begin && ((unsigned char)v->p[from] & 0xC0) == 0x80)
        from++;
    while (to > x->end && to < v->n && ((unsigned char)v->p[to] & 0xC0) == 0x80)
        to--;
    enum err e = context_put(&b, w, from, to, k);
    if (!e)
        w->s->on_place(w->s->ctx, &(struct sanitize_place){ w->s->line + 1, w->s->column + 1, x->type, x->rule, x->score, buf_str(&b), { v->p + x->begin, x->end - x->begin } });
    buf_free(&b);
    return e == ERR_LIMIT ? ERR_MEMORY : e;
}

static enum err put_span(struct writer *w, size_t k)
{
    struct guard_span x = w->spans[k];
    struct sanitizer *s = w->s;
    bool known;
    /* A number of JSON is replaced as a whole. */
    while (s->kind == SANITIZE_JSON && x.begin > w->c.at && is_digit(w->v->p[x.begin]) && is_digit(w->v->p[x.begin - 1]) && w->spans[k].begin - x.begin < NUMBER_MOST)
        x.begin--;
    enum err e = put_until(w, x.begin);
    if (!e && x.begin < w->spans[k].begin && s->quoted)
        e = put_until(w, x.begin = w->spans[k].begin);
    if (!e)
        e = is_known(w, (str){ w->v->p + x.begin, x.end - x.begin }, &known);
    if (e || known)
        return e ? e : put_until(w, x.end);
    s->found[x.type]++;
    s->rules[x.rule % SANITIZE_RULES]++;
    if (s->on_place && (e = tell_place(w, k)))
        return e;
    return put_parts(w, &x);
}

/* ---- a run ---- */

/* Is there a line's end of the file, and no escape, at `at`? */
static bool is_real(const struct view *v, size_t at)
{
    size_t low = 0, high = v->n_at;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v->at[mid] < at)
            low = mid + 1;
        else
            high = mid;
    }
    return low == v->n_at || v->at[low] != at;
}

/* The last span that begins before `at`; n: none. */
static size_t span_before(const struct guard_span *s, size_t n, size_t at)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s[mid].begin < at)
            low = mid + 1;
        else
            high = mid;
    }
    return low ? low - 1 : n;
}

/* Up to where a piece is put: behind a line, else behind a comma or space, else anywhere; never within what was found. */
static size_t cut_at(const struct view *v, const struct guard_span *spans, size_t n_spans, size_t skip)
{
    size_t limit = v->n - (v->n / 4 < LOOK_AHEAD ? v->n / 4 : LOOK_AHEAD), best = 0, i;
    size_t least = limit > LOOK_BACK ? limit - LOOK_BACK : 0;
    least = least > skip ? least : skip;
    for (i = limit; i > least; i--) {
        size_t k = span_before(spans, n_spans, i);
        if (k < n_spans && spans[k].end > i) {
            i = spans[k].begin + 1;
            continue;
        }
        if (v->p[i - 1] == '\n' && is_real(v, i - 1))
            return i;
        if (!best && (v->p[i - 1] == ',' || is_space(v->p[i - 1])))
            best = i;
    }
    if (best)
        return best;
    size_t k = span_before(spans, n_spans, limit);
    if (k < n_spans && spans[k].end > limit)
        limit = spans[k].begin > skip ? spans[k].begin : spans[k].end;
    while (limit > skip + 1 && limit < v->n && ((unsigned char)v->p[limit] & 0xC0) == 0x80)
        limit--;
    return limit;
}

static enum err put_all(struct writer *w, size_t cut)
{
    enum err e = ERR_OK;
    for (size_t k = 0; k < w->n_spans && w->spans[k].begin < cut && !e; k++) {
        const struct guard_span *x = &w->spans[k];
        if (x->begin >= w->c.at && x->end <= cut && guard_policy_masks(w->s->policy, x->type, x->score, (str){ w->v->p + x->begin, x->end - x->begin }))
            e = put_span(w, k);
    }
    return e ? e : put_until(w, cut);
}

/* The bytes behind the cut, as they stood, for the next piece; of a table its head before them. */
static enum err keep_rest(struct writer *w, str tail, struct buf *text)
{
    struct sanitizer *s = w->s;
    struct buf rest = { .max = text->max };
    enum err e = buf_reserve(&rest, s->head_n + text->n);
    if (!e)
        e = buf_put(&rest, (str){ s->head, s->head_n });
    while (w->c.at < w->v->n && !e) {
        bool is_record;
        e = buf_put(&rest, stretch(w->v, &w->c, w->v->n, &is_record));
    }
    if (!e)
        e = buf_put(&rest, tail);
    s->skip = s->head_n;
    if (!e) {
        buf_clear(text);
        e = buf_put(text, buf_str(&rest));
    }
    buf_free(&rest);
    return e == ERR_LIMIT ? ERR_MEMORY : e;
}

static void keep_head(struct sanitizer *s, str text)
{
    size_t n = str_index(text, '\n') + 1;
    if (s->kind != SANITIZE_TABLE || s->started || n > text.n || n > sizeof s->head)
        return;
    memcpy(s->head, text.p, n);
    s->head_n = n;
}

enum err sanitizer_run(struct sanitizer *s, struct arena *a, struct buf *text, bool last)
{
    struct view v;
    struct guard_span *spans = NULL;
    size_t n = 0, whole = last ? text->n : str_utf8_whole(buf_str(text));
    if (!text->n)
        return ERR_OK;
    enum err e = decode(s, a, text->p, whole, &v);
    if (e)
        return e;
    e = s->search->find(s->search->ctx, a, (str){ v.p, v.n }, &spans, &n);
    if (e) {
        encode_again(s, &v);
        return e;
    }
    struct writer *w = arena_new(a, struct writer, 1);
    if (!w) {
        encode_again(s, &v);
        return ERR_LIMIT;
    }
    *w = (struct writer){ .s = s, .a = a, .v = &v, .c = { .at = s->skip }, .spans = spans, .n_spans = n };
    arena_init(&w->tokens, 1 << 20);
    if (!last)
        keep_head(s, (str){ v.p, v.n });
    e = put_all(w, last ? v.n : cut_at(&v, spans, n, s->skip));
    if (!e && !last)
        e = keep_rest(w, (str){ text->p + whole, text->n - whole }, text);
    else if (!e)
        buf_clear(text);
    arena_free(&w->tokens);
    s->started = true;
    return e;
}

/* ---- the way back ---- */

static enum err put_value(struct sanitize_restorer *r, str value)
{
    enum err e = ERR_OK;
    if (str_starts(value, S(NUMBER)))
        value = str_skip(value, MARK);
    while (value.n && !e) {
        size_t at = str_find(value, S(SLASH));
        e = r->put(r->ctx, (str){ value.p, at });
        value = str_skip(value, at);
        if (!e && value.n) {
            e = r->put(r->ctx, S("\\"));
            value = str_skip(value, MARK);
        }
    }
    return e;
}

/* The placeholder whose bracket is at `at`, in *out. ERR_NOTFOUND: none that is known. */
static enum err token_at(struct sanitize_restorer *r, struct arena *a, str text, size_t at, size_t *end, struct restore_entry *out)
{
    str s = str_skip(text, at + 1);
    s.n = s.n < TOKEN_MAX ? s.n : TOKEN_MAX;
    size_t n = str_index(s, ']');
    if (n == s.n || !placeholder_may_be_stem((str){ s.p, n }))
        return ERR_NOTFOUND;
    *end = at + n + 2;
    enum err e = vault_value(r->vault, a, r->realm, (str){ s.p, n }, out);
    r->unknown += e == ERR_NOTFOUND && placeholder_is_stem(NULL, (str){ s.p, n });
    return e;
}

enum err sanitize_restore(struct sanitize_restorer *r, struct arena *a, struct buf *text, bool last)
{
    str t = buf_str(text);
    size_t from = 0, limit = t.n;
    enum err e = ERR_OK;
    if (!last) {
        limit = t.n > 2 * TOKEN_MAX ? t.n - 2 * TOKEN_MAX : 0;
        limit -= limit && t.p[limit - 1] == '"';        /* it may belong to a number's placeholder */
    }
    for (size_t at = 0; at < limit && !e;) {
        struct restore_entry found;
        size_t end;
        at += str_index(str_skip(t, at), '[');
        if (at >= limit)
            break;
        arena_reset(a);
        e = token_at(r, a, t, at, &end, &found);
        if (e == ERR_NOTFOUND) {
            e = ERR_OK;
            at++;
            continue;
        }
        if (e)
            return e;
        bool number = str_starts(found.value, S(NUMBER)) && at > from && t.p[at - 1] == '"' && end < t.n && t.p[end] == '"';
        e = r->put(r->ctx, (str){ t.p + from, at - number - from });
        if (!e)
            e = put_value(r, found.value);
        r->restored++;
        at = from = end + number;
    }
    if (from < limit && !e)
        e = r->put(r->ctx, (str){ t.p + from, limit - from });
    buf_drop(text, from > limit ? from : limit);
    return e;
}
