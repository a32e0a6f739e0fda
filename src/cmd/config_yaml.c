/* The tree is built from libyaml's events with a stack of open maps and lists, so its depth is limited by a number and
 * not by the C stack. Before libyaml sees the text, the braces of "${NAME}" are replaced by two private-use characters,
 * which a plain scalar may hold anywhere; the tree's texts have them changed back. Columns count characters, so places stay right. */
#include "cmd/config_yaml.h"

#include <assert.h>
#include <yaml.h>

#define OPEN  "\xEE\x80\x80"                /* U+E000 for the brace after a dollar */
#define CLOSE "\xEE\x80\x81"                /* U+E001 for its partner */

void yaml_complain(struct yaml_report *r, struct yaml_place at, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    if (r->n++ >= r->max)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    str text = { line, str_utf8_whole(str_of(line)) };
    /* A full buffer loses sentences, never the fact: `n` has counted. */
    if (at.line)
        buf_printf(r->out, "%.*s:%u:%u: %.*s\n", STR_ARG(r->file), at.line, at.column, STR_ARG(text));
    else
        buf_printf(r->out, "%.*s: %.*s\n", STR_ARG(r->file), STR_ARG(text));
}

void yaml_complain_end(struct yaml_report *r)
{
    if (r->n > r->max)
        buf_printf(r->out, "%.*s: and %u more mistakes\n", STR_ARG(r->file), r->n - r->max);
}

const struct yaml_node *yaml_member(const struct yaml_node *map, str key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    for (const struct yaml_node *m = map->first; m; m = m->next)
        if (str_eq(m->key, key))
            return m;
    return NULL;
}

bool yaml_is_null(const struct yaml_node *n)
{
    return n->kind == YAML_SCALAR && n->plain && (n->text.n == 0 || str_eq(n->text, S("~")) || str_ieq(n->text, S("null")));
}

/* ---- before libyaml ---- */

static bool is_name_byte(char c, bool first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (!first && c >= '0' && c <= '9');
}

/* Length of the reference "${NAME}" or "${NAME:-default}" at the start of `s`, else 0. */
static size_t reference(str s)
{
    size_t i = 2;
    if (!str_starts(s, S("${")))
        return 0;
    while (i < s.n && is_name_byte(s.p[i], i == 2))
        i++;
    if (i == 2 || i == s.n)
        return 0;
    if (s.p[i] == '}')
        return i + 1;
    if (!str_starts(str_skip(s, i), S(":-")))
        return 0;
    for (; i < s.n && s.p[i] != '\n'; i++)
        if (s.p[i] == '}')
            return i + 1;
    return 0;
}

static enum err hide_braces(struct arena *a, str text, str *out)
{
    size_t refs = 0, n = 0;
    for (size_t i = 0; i < text.n; i++)
        refs += text.p[i] == '$';
    char *to = arena_alloc(a, text.n + refs * 4 + 1, 1);
    if (!to)
        return ERR_LIMIT;
    for (size_t i = 0; i < text.n;) {
        size_t len = text.p[i] == '$' ? reference(str_skip(text, i)) : 0;
        if (len) {
            to[n++] = '$';
            memcpy(to + n, OPEN, 3);
            memcpy(to + n + 3, text.p + i + 2, len - 3);
            memcpy(to + n + len, CLOSE, 3);
            n += len + 3;
            i += len;
            continue;
        }
        if (str_starts(str_skip(text, i), S("$$")))
            to[n++] = text.p[i++];
        to[n++] = text.p[i++];
    }
    *out = (str){ to, n };
    return ERR_OK;
}

static enum err show_braces(struct arena *a, const char *p, size_t len, str *out)
{
    char *to = arena_alloc(a, len + 1, 1);
    size_t n = 0;
    if (!to)
        return ERR_LIMIT;
    for (size_t i = 0; i < len;) {
        str rest = { p + i, len - i };
        if (str_starts(rest, S(OPEN)) || str_starts(rest, S(CLOSE))) {
            to[n++] = str_starts(rest, S(OPEN)) ? '{' : '}';
            i += 3;
        } else {
            to[n++] = p[i++];
        }
    }
    to[n] = 0;
    *out = (str){ to, n };
    return ERR_OK;
}

static struct yaml_place place_of(str text, size_t offset)
{
    struct yaml_place at = { 1, 1 };
    for (size_t i = 0; i < offset && i < text.n; i++) {
        if (text.p[i] == '\n')
            at = (struct yaml_place){ at.line + 1, 1 };
        else if (((unsigned char)text.p[i] & 0xC0) != 0x80)
            at.column++;
    }
    return at;
}

/* Length of the UTF-8 sequence at the start of `s`, 0 when it is none. */
static size_t utf8_step(str s)
{
    for (size_t len = 1; len <= 4 && len <= s.n; len++)
        if (str_is_utf8((str){ s.p, len }))
            return len;
    return 0;
}

/* The characters that may stand in a configuration: libyaml's own complaints about others have no place. */
static enum err check_characters(str text, struct yaml_report *r)
{
    for (size_t i = 0, len; i < text.n; i += len) {
        str rest = str_skip(text, i);
        unsigned char c = (unsigned char)*rest.p;
        const char *what = NULL;
        len = c < 0x80 ? 1 : utf8_step(rest);
        if (!len)
            what = "this is not UTF-8";
        else if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F)
            what = "a control character cannot stand here";
        else if (str_starts(rest, S(OPEN)) || str_starts(rest, S(CLOSE)))
            what = "the characters U+E000 and U+E001 cannot stand here";
        if (what) {
            yaml_complain(r, place_of(text, i), "%s", what);
            return ERR_SYNTAX;
        }
    }
    return ERR_OK;
}

/* ---- the tree ---- */

struct frame {
    struct yaml_node *node, **tail;
    bool have_key;                      /* in a map: the next node is the value of `key` */
    str key;
    struct yaml_place key_at;
};

struct builder {
    struct arena *a;
    struct yaml_report *report;
    struct frame stack[YAML_DEPTH];
    uint32_t depth, nodes, documents;
    struct yaml_node *root;
};

static struct yaml_place place(const yaml_mark_t *m)
{
    return (struct yaml_place){ (uint32_t)m->line + 1, (uint32_t)m->column + 1 };
}

static int by_key(const void *x, const void *y)
{
    const struct yaml_node *const *l = x, *const *r = y;
    int c = str_cmp((*l)->key, (*r)->key);
    if (c)
        return c;
    return (*l)->key_at.line != (*r)->key_at.line ? ((*l)->key_at.line < (*r)->key_at.line ? -1 : 1)
                                                  : ((*l)->key_at.column < (*r)->key_at.column ? -1 : 1);
}

static enum err check_duplicates(struct builder *b, const struct yaml_node *map)
{
    struct arena *a = b->a;
    size_t n = 0;
    assert(map);
    if (map->n < 2)
        return ERR_OK;
    const struct yaml_node **sorted = arena_alloc(a, map->n * sizeof *sorted, _Alignof(struct yaml_node *));
    if (!sorted)
        return ERR_LIMIT;
    for (const struct yaml_node *m = map->first; m; m = m->next)
        sorted[n++] = m;
    qsort(sorted, n, sizeof *sorted, by_key);
    for (size_t i = 1; i < n; i++)
        if (str_eq(sorted[i]->key, sorted[i - 1]->key))
            yaml_complain(b->report, sorted[i]->key_at, "the key '%.*s' stands twice (first at %u:%u)", STR_ARG(sorted[i]->key),
                          sorted[i - 1]->key_at.line, sorted[i - 1]->key_at.column);
    return ERR_OK;
}

/* Puts a finished or just opened node where it belongs: as root, element, key or value. */
static enum err attach(struct builder *b, struct yaml_node *n)
{
    struct frame *f = b->depth ? &b->stack[b->depth - 1] : NULL;
    if (!f) {
        b->root = n;
        return ERR_OK;
    }
    assert(f->node);
    if (f->node->kind == YAML_MAP && !f->have_key) {
        if (n->kind != YAML_SCALAR) {
            yaml_complain(b->report, n->at, "a key must be a word");
            return ERR_SYNTAX;
        }
        f->have_key = true;
        f->key = n->text;
        f->key_at = n->at;
        return ERR_OK;
    }
    n->key = f->key;
    n->key_at = f->key_at;
    f->have_key = false;
    *f->tail = n;
    f->tail = &n->next;
    f->node->n++;
    return ERR_OK;
}

static enum err open_node(struct builder *b, enum yaml_kind kind, const yaml_event_t *ev, bool named, struct yaml_node **out)
{
    if (named) {
        yaml_complain(b->report, place(&ev->start_mark), "anchors and tags (& and !) are not used in this file");
        return ERR_SYNTAX;
    }
    if (b->nodes++ >= YAML_NODES) {
        yaml_complain(b->report, place(&ev->start_mark), "more than %d values", YAML_NODES);
        return ERR_SYNTAX;
    }
    struct yaml_node *n = arena_new(b->a, struct yaml_node, 1);
    if (!n)
        return ERR_LIMIT;
    n->kind = kind;
    n->at = place(&ev->start_mark);
    *out = n;
    return ERR_OK;
}

static enum err push(struct builder *b, enum yaml_kind kind, const yaml_event_t *ev, bool named)
{
    struct yaml_node *n;
    enum err e = open_node(b, kind, ev, named, &n);
    if (!e)
        e = attach(b, n);
    if (!e && b->depth == YAML_DEPTH) {
        yaml_complain(b->report, n->at, "more than %d levels", YAML_DEPTH);
        e = ERR_SYNTAX;
    }
    if (!e)
        b->stack[b->depth++] = (struct frame){ .node = n, .tail = &n->first };
    return e;
}

static enum err scalar(struct builder *b, const yaml_event_t *ev)
{
    struct yaml_node *n;
    bool named = ev->data.scalar.anchor || ev->data.scalar.tag;
    enum err e = open_node(b, YAML_SCALAR, ev, named, &n);
    if (!e)
        e = show_braces(b->a, (const char *)ev->data.scalar.value, ev->data.scalar.length, &n->text);
    if (e)
        return e;
    n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return attach(b, n);
}

static enum err take_event(struct builder *b, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->documents++) {
            yaml_complain(b->report, place(&ev->start_mark), "a second document ('---') is not read");
            return ERR_SYNTAX;
        }
        return ERR_OK;
    case YAML_ALIAS_EVENT:
        yaml_complain(b->report, place(&ev->start_mark), "aliases (*) are not used in this file");
        return ERR_SYNTAX;
    case YAML_SCALAR_EVENT:
        return scalar(b, ev);
    case YAML_SEQUENCE_START_EVENT:
        return push(b, YAML_LIST, ev, ev->data.sequence_start.anchor || ev->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return push(b, YAML_MAP, ev, ev->data.mapping_start.anchor || ev->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
        b->depth--;
        return ERR_OK;
    case YAML_MAPPING_END_EVENT:
        return check_duplicates(b, b->stack[--b->depth].node);
    default:
        return ERR_OK;
    }
}

static enum err refused(const yaml_parser_t *p, str hidden, struct yaml_report *r)
{
    if (p->error == YAML_MEMORY_ERROR)
        return ERR_LIMIT;
    struct yaml_place at = p->error == YAML_READER_ERROR ? place_of(hidden, p->problem_offset) : place(&p->problem_mark);
    yaml_complain(r, at, "this is not valid YAML: %s", p->problem ? p->problem : "unknown error");
    return ERR_SYNTAX;
}

enum err yaml_read(struct arena *a, str text, struct yaml_report *r, struct yaml_node **out)
{
    struct builder b = { .a = a, .report = r };
    yaml_parser_t parser;
    str hidden;
    bool end = false;
    enum err e = check_characters(text, r);
    if (!e)
        e = hide_braces(a, text, &hidden);
    if (e)
        return e;
    if (!yaml_parser_initialize(&parser))
        return ERR_LIMIT;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)hidden.p, hidden.n);
    while (!e && !end) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&parser, &ev)) {
            e = refused(&parser, hidden, r);
            break;
        }
        end = ev.type == YAML_STREAM_END_EVENT;
        e = take_event(&b, &ev);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    if (!e && r->n)
        e = ERR_SYNTAX;
    /* A text of comments only may come as one empty scalar. */
    if (!e)
        *out = b.root && yaml_is_null(b.root) ? NULL : b.root;
    return e;
}
