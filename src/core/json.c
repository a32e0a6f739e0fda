/* core/json.c: one pass over the text, no recursion. The table of nodes is in the order of the text, a container's `next`
 * leads past its contents, and a member is two nodes, key and value, one after the other. */
#include "core/json.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { KEY = 8, ESCAPED = 16, TYPE = 7 };       /* bits of `kind` */

struct json_node {
    uint32_t start, size;               /* span in the text */
    uint32_t next;                      /* the node after this value and all that is in it */
    uint32_t kind : 5, count : 27;      /* type, KEY, ESCAPED; members or elements */
};
static_assert(sizeof(struct json_node) == 16, "a node is 16 bytes");
enum { COUNT_MAX = (1 << 27) - 1 };

struct parser {
    struct arena *a;
    const unsigned char *p;             /* the text */
    size_t n, at;
    struct json_node *nodes;
    uint32_t used, cap, max, depth_max;
    const char *what;
};

static enum err wrong(struct parser *q, size_t at, const char *what)
{
    q->at = at;
    q->what = what;
    return ERR_SYNTAX;
}

static enum err add(struct parser *q, size_t start, uint32_t kind, uint32_t *index)
{
    if (q->used == q->cap) {
        uint32_t cap = q->cap ? q->cap * 2 : 32;
        if (cap > q->max)
            cap = q->max;
        if (q->used >= cap)
            return ERR_LIMIT;
        struct json_node *grown = arena_grow(q->a, q->nodes, q->cap * sizeof *grown, cap * sizeof *grown, _Alignof(struct json_node));
        if (!grown)
            return ERR_LIMIT;
        q->nodes = grown;
        q->cap = cap;
    }
    q->nodes[q->used] = (struct json_node){ .start = (uint32_t)start, .next = q->used + 1, .kind = kind & 31u };
    *index = q->used++;
    return ERR_OK;
}

static void space(struct parser *q)
{
    while (q->at < q->n && (q->p[q->at] == ' ' || q->p[q->at] == '\n' || q->p[q->at] == '\r' || q->p[q->at] == '\t'))
        q->at++;
}

static int hex4(const unsigned char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* The escape at q->at, which is a backslash. A surrogate must be a pair: alone it has no UTF-8. */
static enum err escape(struct parser *q)
{
    size_t at = q->at;
    if (at + 1 >= q->n)
        return wrong(q, q->n, "the text ends inside a string");
    unsigned char c = q->p[at + 1];
    if (c != 'u') {
        if (!c || !strchr("\"\\/bfnrt", c))
            return wrong(q, at + 1, "there is no such escape");
        q->at += 2;
        return ERR_OK;
    }
    int u = at + 6 <= q->n ? hex4(q->p + at + 2) : -1;
    if (u < 0)
        return wrong(q, at, "\\u needs four hexadecimal digits");
    q->at += 6;
    if (u < 0xD800 || u > 0xDFFF)
        return ERR_OK;
    int low = u < 0xDC00 && at + 12 <= q->n && q->p[at + 6] == '\\' && q->p[at + 7] == 'u' ? hex4(q->p + at + 8) : -1;
    if (low < 0xDC00 || low > 0xDFFF)
        return wrong(q, at, "half of a surrogate pair");
    q->at += 6;
    return ERR_OK;
}

/* A character above ASCII. */
static enum err wide(struct parser *q)
{
    unsigned char c = q->p[q->at];
    size_t n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (q->n - q->at < n || !str_is_utf8((str){ (const char *)q->p + q->at, n }))
        return wrong(q, q->at, "not UTF-8");
    q->at += n;
    return ERR_OK;
}

static enum err string(struct parser *q, uint32_t extra)
{
    uint32_t i;
    size_t start = q->at++;
    enum err e = add(q, start, JSON_STRING | extra, &i);
    if (e)
        return e;
    for (;;) {
        q->at += json_plain((str){ (const char *)q->p + q->at, q->n - q->at });
        if (q->at >= q->n)
            return wrong(q, q->n, "the text ends inside a string");
        unsigned char c = q->p[q->at];
        if (c == '"')
            break;
        if (c < 0x20)
            return wrong(q, q->at, "a control character inside a string");
        if (c == '\\') {
            q->nodes[i].kind |= ESCAPED;
            e = escape(q);
        } else {
            e = wide(q);
        }
        if (e)
            return e;
    }
    q->at++;
    q->nodes[i].size = (uint32_t)(q->at - start);
    return ERR_OK;
}

static size_t digits(struct parser *q)
{
    size_t from = q->at;
    while (q->at < q->n && q->p[q->at] >= '0' && q->p[q->at] <= '9')
        q->at++;
    return q->at - from;
}

static enum err number(struct parser *q)
{
    uint32_t i;
    size_t start = q->at;
    enum err e = add(q, start, JSON_NUMBER, &i);
    if (e)
        return e;
    if (q->p[q->at] == '-')
        q->at++;
    bool zero = q->at < q->n && q->p[q->at] == '0';
    size_t n = digits(q);
    if (!n)
        return wrong(q, q->at, "expected a digit");
    if (zero && n > 1)
        return wrong(q, q->at - n, "a number with a leading zero");
    if (q->at < q->n && q->p[q->at] == '.') {
        q->at++;
        if (!digits(q))
            return wrong(q, q->at, "expected a digit after the point");
    }
    if (q->at < q->n && (q->p[q->at] | 32) == 'e') {
        q->at++;
        if (q->at < q->n && (q->p[q->at] == '+' || q->p[q->at] == '-'))
            q->at++;
        if (!digits(q))
            return wrong(q, q->at, "expected a digit in the exponent");
    }
    q->nodes[i].size = (uint32_t)(q->at - start);
    return ERR_OK;
}

static enum err word(struct parser *q, str text, uint32_t type)
{
    uint32_t i;
    if (q->n - q->at < text.n || memcmp(q->p + q->at, text.p, text.n) != 0)
        return wrong(q, q->at, "expected a value");
    enum err e = add(q, q->at, type, &i);
    if (e)
        return e;
    q->at += text.n;
    q->nodes[i].size = (uint32_t)text.n;
    return ERR_OK;
}

static enum err scalar(struct parser *q)
{
    switch (q->p[q->at]) {
    case '"': return string(q, 0);
    case 't': return word(q, S("true"), JSON_TRUE);
    case 'f': return word(q, S("false"), JSON_FALSE);
    case 'n': return word(q, S("null"), JSON_NULL);
    case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9': return number(q);
    default:  return wrong(q, q->at, "expected a value");
    }
}

/* A member's key and colon; the value comes next. */
static enum err key(struct parser *q)
{
    space(q);
    if (q->at >= q->n || q->p[q->at] != '"')
        return wrong(q, q->at, "expected a key in quotes");
    enum err e = string(q, KEY);
    if (e)
        return e;
    space(q);
    if (q->at >= q->n || q->p[q->at] != ':')
        return wrong(q, q->at, "expected ':'");
    q->at++;
    return ERR_OK;
}

/* Inside container `top`, after a value: on to the next one (*more), or the container's end. */
static enum err separator(struct parser *q, uint32_t top, bool first, bool *more)
{
    struct json_node *c = &q->nodes[top];
    bool object = (c->kind & TYPE) == JSON_OBJECT;
    unsigned char end = object ? '}' : ']';
    space(q);
    if (q->at < q->n && q->p[q->at] == end) {
        q->at++;
        c->size = (uint32_t)(q->at - c->start);
        c->next = q->used;
        *more = false;
        return ERR_OK;
    }
    if (!first) {
        if (q->at >= q->n || q->p[q->at] != ',')
            return wrong(q, q->at, object ? "expected ',' or '}'" : "expected ',' or ']'");
        q->at++;
    }
    if (c->count == COUNT_MAX)
        return ERR_LIMIT;
    c->count++;
    *more = true;
    return object ? key(q) : ERR_OK;
}

static enum err parse(struct parser *q)
{
    uint32_t stack[JSON_MAX_DEPTH], depth = 0, i;
    for (;;) {
        bool opened = false, more = false;
        enum err e;
        space(q);
        if (q->at >= q->n)
            return wrong(q, q->n, "the text ends where a value should be");
        unsigned char c = q->p[q->at];
        if (c == '{' || c == '[') {
            if (depth >= q->depth_max) {
                q->what = "nested too deeply";
                return ERR_LIMIT;
            }
            if ((e = add(q, q->at++, c == '{' ? JSON_OBJECT : JSON_ARRAY, &i)))
                return e;
            stack[depth++] = i;
            opened = true;
        } else if ((e = scalar(q))) {
            return e;
        }
        while (depth && !more) {
            if ((e = separator(q, stack[depth - 1], opened, &more)))
                return e;
            opened = false;
            depth -= !more;
        }
        if (!more)
            return ERR_OK;
    }
}

enum err json_parse(struct arena *a, str text, const struct json_limits *lim, json *out, struct json_error *why)
{
    struct parser q = { .a = a, .p = (const unsigned char *)text.p, .n = text.n, .max = lim->nodes,
                        .depth_max = lim->depth < JSON_MAX_DEPTH ? lim->depth : JSON_MAX_DEPTH };
    enum err e = text.n > lim->bytes || text.n >= UINT32_MAX ? ERR_LIMIT : ERR_OK;
    struct json_doc *doc = e ? NULL : arena_new(a, struct json_doc, 1);
    if (!doc)
        e = ERR_LIMIT;
    if (!e)
        e = parse(&q);
    if (!e) {
        space(&q);
        if (q.at < q.n)
            e = wrong(&q, q.at, "something stands after the value");
    }
    if (e) {
        if (why)
            *why = (struct json_error){ q.at, q.what ? q.what : "larger than the limit" };
        return e;
    }
    *doc = (struct json_doc){ text, q.nodes, q.used };
    *out = (json){ doc, 0 };
    return ERR_OK;
}

/* ---- looking ---- */

static const struct json_node *node(json v) { return v.doc ? &v.doc->nodes[v.at] : NULL; }

enum json_type json_type(json v)
{
    const struct json_node *n = node(v);
    return n ? (enum json_type)(n->kind & TYPE) : JSON_NONE;
}

str json_span(json v)
{
    const struct json_node *n = node(v);
    return n ? (str){ v.doc->text.p + n->start, n->size } : STR_NONE;
}

size_t json_count(json v)
{
    const struct json_node *n = node(v);
    return n ? n->count : 0;
}

json json_first(json v)
{
    if (!json_count(v))
        return JSON_ABSENT;
    return (json){ v.doc, v.at + (json_type(v) == JSON_OBJECT ? 2 : 1) };
}

/* What follows a value is a key exactly when the value is a member. An element that is followed by a key has left its
 * array, so the container's end must be found: it is where the nearest enclosing `next` points. */
json json_next(json v)
{
    const struct json_node *n = node(v);
    if (!n || v.at == 0)
        return JSON_ABSENT;
    bool member = v.doc->nodes[v.at - 1].kind & KEY;
    uint32_t next = n->next;
    if (next >= v.doc->n)
        return JSON_ABSENT;
    bool is_key = v.doc->nodes[next].kind & KEY;
    /* Between two siblings stands exactly one comma and no bracket. */
    const char *gap = v.doc->text.p + n->start + n->size;
    const char *end = v.doc->text.p + v.doc->nodes[next].start;
    for (; gap < end; gap++)
        if (*gap == ']' || *gap == '}')
            return JSON_ABSENT;
    assert(member == is_key);
    return (json){ v.doc, next + (is_key && member) };
}

json json_key(json member)
{
    if (!member.doc || !member.at || !(member.doc->nodes[member.at - 1].kind & KEY))
        return JSON_ABSENT;
    return (json){ member.doc, member.at - 1 };
}

json json_at(json array, size_t i)
{
    if (i >= json_count(array))
        return JSON_ABSENT;
    json v = json_first(array);
    while (i--)
        v = (json){ v.doc, node(v)->next + (json_type(array) == JSON_OBJECT) };
    return v;
}

/* One escape at *p (a backslash): its UTF-8 into out; the length. The text was validated. */
static size_t unescape(const char **p, char out[4])
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *s = *p;
    if (s[1] != 'u') {
        out[0] = to[strchr(from, s[1]) - from];
        *p += 2;
        return 1;
    }
    uint32_t c = (uint32_t)hex4((const unsigned char *)s + 2);
    *p += 6;
    if (c >= 0xD800 && c <= 0xDBFF) {
        c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)hex4((const unsigned char *)s + 8) - 0xDC00);
        *p += 6;
    }
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(lead[n] | c);
    return n;
}

static str inside(json v)
{
    str s = json_span(v);
    return (str){ s.p + 1, s.n - 2 };
}

bool json_is(json v, str text)
{
    if (json_type(v) != JSON_STRING)
        return false;
    str raw = inside(v);
    if (!(node(v)->kind & ESCAPED))
        return str_eq(raw, text);
    const char *p = raw.p, *end = raw.p + raw.n;
    while (p < end) {
        char c[4];
        size_t n = 1;
        if (*p == '\\')
            n = unescape(&p, c);
        else
            c[0] = *p++;
        if (text.n < n || memcmp(text.p, c, n) != 0)
            return false;
        text = str_skip(text, n);
    }
    return text.n == 0;
}

json json_member(json object, str name)
{
    if (json_type(object) != JSON_OBJECT)
        return JSON_ABSENT;
    const struct json_node *nodes = object.doc->nodes;
    uint32_t at = object.at + 1;        /* a key; its value follows it */
    for (uint32_t i = nodes[object.at].count; i--; at = nodes[at + 1].next) {
        const struct json_node *k = &nodes[at];
        bool same = k->kind & ESCAPED ? json_is((json){ object.doc, at }, name)
                                      : k->size == name.n + 2 && memcmp(object.doc->text.p + k->start + 1, name.p, name.n) == 0;
        if (same)
            return (json){ object.doc, at + 1 };
    }
    return JSON_ABSENT;
}

enum err json_text(struct arena *a, json v, str *out)
{
    if (json_type(v) != JSON_STRING)
        return ERR_SYNTAX;
    str raw = inside(v);
    if (!(node(v)->kind & ESCAPED)) {
        *out = raw;
        return ERR_OK;
    }
    char *to = arena_alloc(a, raw.n, 1);        /* an escape is never shorter than what it means */
    if (!to)
        return ERR_LIMIT;
    size_t n = 0;
    const char *p = raw.p, *end = raw.p + raw.n;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash ? slash : end) - p);
        memcpy(to + n, p, plain);
        n += plain;
        p += plain;
        if (slash)
            n += unescape(&p, to + n);
    }
    *out = (str){ to, n };
    return ERR_OK;
}

static int by_text(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}

bool json_has_duplicate(json object, str *name)
{
    enum { FEW = 24 };
    size_t n = json_count(object);
    if (json_type(object) != JSON_OBJECT || n < 2)
        return false;
    /* Unescaped copies are needed only to compare; objects of a few members, which nearly all are, take no memory. */
    if (n <= FEW) {
        for (json v = json_first(object), w; json_type(v) != JSON_NONE; v = json_next(v))
            for (w = json_next(v); json_type(w) != JSON_NONE; w = json_next(w)) {
                json a = json_key(v), b = json_key(w);
                bool same = node(b)->kind & ESCAPED ? false : json_is(a, inside(b));
                if (node(b)->kind & ESCAPED) {
                    struct arena t;
                    str text;
                    arena_init(&t, SIZE_MAX);
                    same = json_text(&t, b, &text) != ERR_OK || json_is(a, text);
                    arena_free(&t);
                }
                if (same) {
                    *name = inside(b);
                    return true;
                }
            }
        return false;
    }
    struct arena t;
    arena_init(&t, SIZE_MAX);
    str *keys = arena_new(&t, str, n);
    const str *twice = NULL;
    size_t k = 0;
    bool whole = keys != NULL;
    for (json v = json_first(object); whole && json_type(v) != JSON_NONE; v = json_next(v))
        whole = json_text(&t, json_key(v), &keys[k++]) == ERR_OK;
    if (whole)
        qsort(keys, n, sizeof *keys, by_text);
    for (size_t i = 1; whole && i < n && !twice; i++)
        if (str_eq(keys[i - 1], keys[i]))
            twice = &keys[i];
    if (twice)
        *name = inside(json_key(json_member(object, *twice)));
    else if (!whole)
        *name = inside(json_key(json_first(object)));       /* without memory to look, the careful answer */
    arena_free(&t);
    return twice || !whole;
}

bool json_find_duplicate(json v, str *key)
{
    uint32_t end = v.doc ? node(v)->next : 0;
    for (uint32_t at = v.at; at < end; at++)
        if (json_has_duplicate((json){ v.doc, at }, key))
            return true;
    return false;
}

bool json_i64(json v, int64_t *out) { return json_type(v) == JSON_NUMBER && str_i64(json_span(v), out); }

bool json_bool(json v, bool *out)
{
    enum json_type t = json_type(v);
    if (t != JSON_TRUE && t != JSON_FALSE)
        return false;
    *out = t == JSON_TRUE;
    return true;
}

/* strtod reads the locale's point; the program never leaves the "C" locale (main() does not call setlocale). */
bool json_f64(json v, double *out)
{
    char text[64];
    str s = json_span(v);
    if (json_type(v) != JSON_NUMBER || !s.p)
        return false;
    char *copy = s.n < sizeof text ? text : malloc(s.n + 1);
    if (!copy)
        return false;
    memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    *out = strtod(copy, NULL);
    if (copy != text)
        free(copy);
    return true;
}
