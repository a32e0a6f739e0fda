/* A schema becomes a view: the list of all schemas that must hold together, its references and its allOf resolved. Each view that differs has a
 * rule. Rules name others, whose bodies are written later, so nothing here recurses, and a schema that refers to itself meets
 * a view that has its rule already. */
#include "infer/schema_state.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- rules ---- */

static const struct { const char *name, *body; uint32_t uses; } primitives[PRIMITIVE_COUNT] = {
#define USES(p) (1u << PRIMITIVE_##p)
    [PRIMITIVE_VALUE] = { "json-value", "json-object | \"[\" json-ws (json-value (\",\" json-ws json-value)* json-ws)? \"]\" | json-string | json-number | \"true\" | \"false\" | \"null\"",
                          USES(OBJECT) | USES(STRING) | USES(NUMBER) | USES(WS) },
    [PRIMITIVE_OBJECT] = { "json-object", "\"{\" json-ws (json-string \":\" \" \"? json-value (\",\" json-ws json-string \":\" \" \"? json-value)* json-ws)? \"}\"", USES(VALUE) | USES(STRING) | USES(WS) },
    [PRIMITIVE_STRING] = { "json-string", "\"\\\"\" json-char* \"\\\"\"", USES(CHAR) },
    /* Half of a surrogate pair is no character. */
    [PRIMITIVE_CHAR] = { "json-char", "[^\\x01-\\x1F\\x22\\x5C] | \"\\\\\" ([\\x22\\x5C/bfnrt] | \"u\" ([0-9a-cA-CeEfF] [0-9a-fA-F]{3} | [dD] ([0-7] [0-9a-fA-F]{2} | "
                         "[89abAB] [0-9a-fA-F]{2} \"\\\\u\" [dD] [c-fC-F] [0-9a-fA-F]{2})))", 0 },
    [PRIMITIVE_NUMBER] = { "json-number", "\"-\"? (\"0\" | [1-9] [0-9]{0,14}) (\".\" [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?", 0 },
    [PRIMITIVE_INTEGER] = { "json-integer", "\"-\"? (\"0\" | [1-9] [0-9]{0,14})", 0 },
    [PRIMITIVE_WS] = { "json-ws", "(\" \" | \"\\n\" [ \\t]{0,20})?", 0 },
    [PRIMITIVE_KEY] = { "json-key", "[^\\x01-\\x1F\\x22\\x5C]{0,64} \"\\\"\"", 0 },
    [PRIMITIVE_NEVER] = { "json-never", "\"!\" json-never", 0 },
};

void rules_init(struct rules *o)
{
    *o = (struct rules){ .err = ERR_OK };
    buf_init(&o->b, 4u << 20);
}

void rules_free(struct rules *o) { buf_free(&o->b); }

void rules_put(struct rules *o, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    if (o->err)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    o->err = n < 0 || n >= (int)sizeof text ? ERR_INTERNAL : buf_put(&o->b, str_slice(text, (size_t)n));
}

void rules_put_text(struct rules *o, str text)
{
    rules_put(o, "\"");
    for (size_t i = 0; i < text.n && !o->err; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '"' || c == '\\')
            rules_put(o, "\\%c", c);
        else if (c < 0x20)
            rules_put(o, "\\x%02X", c);
        else
            o->err = buf_putc(&o->b, (char)c);
    }
    rules_put(o, "\"");
}

const char *rules_use(struct rules *o, enum primitive p)
{
    o->primitives |= 1u << p;
    return primitives[p].name;
}

enum err rules_finish(struct rules *o)
{
    for (uint32_t before = 0; before != o->primitives;) {
        before = o->primitives;
        for (int i = 0; i < PRIMITIVE_COUNT; i++)
            o->primitives |= before >> i & 1 ? primitives[i].uses : 0;
    }
    for (int i = 0; i < PRIMITIVE_COUNT; i++)
        if (o->primitives >> i & 1) {
            rules_put(o, "%s ::= ", primitives[i].name);
            o->err = o->err ? o->err : buf_put(&o->b, str_of(primitives[i].body));
            rules_put(o, "\n");
        }
    return o->err;
}

/* ---- complaints ---- */

/* Where a value stands in its document: a.b[2]. */
static void put_path(struct buf *b, json target)
{
    json at = { target.doc, 0 };
    while (at.at < target.at) {
        json next = JSON_ABSENT;
        size_t index = 0;
        for (json v = json_first(at); json_type(v) != JSON_NONE && v.at <= target.at; v = json_next(v), index++)
            next = v;
        if (json_type(next) == JSON_NONE)
            return;
        str key = json_span(json_key(next));
        if (key.n > 2)
            (void)buf_printf(b, "%s%.*s", b->n ? "." : "", (int)(key.n - 2 < 64 ? key.n - 2 : 64), key.p + 1);
        else if (json_type(at) == JSON_ARRAY)
            (void)buf_printf(b, "[%zu]", json_type(at) == JSON_ARRAY && index ? index - 1 : 0);
        at = next;
    }
}

enum err schema_fail(struct converter *c, enum err e, json at, const char *keyword, const char *what)
{
    struct buf b = { .max = 1 << 12 };
    (void)buf_put(&b, c->prefix);
    if (at.doc)
        put_path(&b, at);
    if (keyword)
        (void)buf_printf(&b, "%s%s", b.n ? "." : "", keyword);
    str param = arena_str(c->a, buf_str(&b));
    buf_free(&b);
    *c->why = (struct schema_error){ e, arena_printf(c->a, "%.*s: %s", STR_ARG(param), what), param };
    return e;
}

enum err schema_full(struct converter *c) { return schema_fail(c, ERR_LIMIT, c->root, NULL, "the schema is too large"); }

enum err schema_spend(struct converter *c, size_t work)
{
    c->work += work + 1;
    return c->work > WORK_MAX ? schema_full(c) : ERR_OK;
}

json schema_member(struct converter *c, json object, const char *key)
{
    c->work += json_count(object);
    return json_member(object, str_of(key));
}

/* ---- keywords ---- */

enum { T_NULL = 1, T_BOOL = 2, T_OBJECT = 4, T_ARRAY = 8, T_NUMBER = 16, T_INTEGER = 32, T_STRING = 64, T_ALL = 127 };

/* What cannot be honoured, and the values with which it asks for nothing. */
enum { NOTHING_FALSE = 1, NOTHING_TRUE = 2, NOTHING_EMPTY = 4 };
static const struct { const char *name; unsigned nothing; } refused[] = {
    { "not", NOTHING_FALSE }, { "if", 0 }, { "dependentRequired", NOTHING_EMPTY }, { "dependentSchemas", NOTHING_EMPTY }, { "dependencies", NOTHING_EMPTY }, { "patternProperties", NOTHING_EMPTY },
    { "propertyNames", NOTHING_TRUE | NOTHING_EMPTY }, { "contains", 0 }, { "unevaluatedItems", NOTHING_TRUE | NOTHING_EMPTY }, { "$dynamicRef", 0 }, { "$recursiveRef", 0 }, { "uniqueItems", NOTHING_FALSE },
};

/* The type that a keyword is about. */
static const struct { const char *name; unsigned type; } about[] = {
    { "properties", T_OBJECT }, { "required", T_OBJECT }, { "additionalProperties", T_OBJECT }, { "minProperties", T_OBJECT }, { "maxProperties", T_OBJECT }, { "unevaluatedProperties", T_OBJECT },
    { "items", T_ARRAY }, { "prefixItems", T_ARRAY }, { "minItems", T_ARRAY }, { "maxItems", T_ARRAY }, { "additionalItems", T_ARRAY },
    { "minLength", T_STRING }, { "maxLength", T_STRING }, { "pattern", T_STRING }, { "format", T_STRING },
    { "minimum", T_NUMBER | T_INTEGER }, { "maximum", T_NUMBER | T_INTEGER }, { "exclusiveMinimum", T_NUMBER | T_INTEGER }, { "exclusiveMaximum", T_NUMBER | T_INTEGER }, { "multipleOf", T_NUMBER | T_INTEGER },
};

static bool asks_nothing(json v, unsigned nothing)
{
    switch (json_type(v)) {
    case JSON_NONE: return true;
    case JSON_FALSE: return nothing & NOTHING_FALSE;
    case JSON_TRUE: return nothing & NOTHING_TRUE;
    case JSON_OBJECT: return nothing & NOTHING_EMPTY && json_count(v) == 0;
    default: return false;
    }
}

/* An `if` without consequence, and unique items of a list that has one at most. */
static bool is_idle(struct converter *c, json s, const char *keyword)
{
    int64_t most;
    if (strcmp(keyword, "if") == 0)
        return json_type(schema_member(c, s, "then")) == JSON_NONE && json_type(schema_member(c, s, "else")) == JSON_NONE;
    return strcmp(keyword, "uniqueItems") == 0 && json_i64(schema_member(c, s, "maxItems"), &most) && most <= 1;
}

static enum err check_keywords(struct converter *c, json s)
{
    str twice;
    enum err e = schema_spend(c, json_count(s) * 8);
    if (e)
        return e;
    if (json_has_duplicate(s, &twice))
        return schema_fail(c, ERR_SYNTAX, s, NULL, "a keyword stands twice");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!asks_nothing(schema_member(c, s, refused[i].name), refused[i].nothing) && !is_idle(c, s, refused[i].name))
            return schema_fail(c, ERR_UNSUPPORTED, s, refused[i].name, "this keyword cannot be honoured by this engine");
    return ERR_OK;
}

static unsigned type_of_word(json v)
{
    static const struct { const char *name; unsigned type; } words[] = {
        { "null", T_NULL }, { "boolean", T_BOOL }, { "object", T_OBJECT }, { "array", T_ARRAY }, { "number", T_NUMBER | T_INTEGER }, { "integer", T_INTEGER }, { "string", T_STRING },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (json_is(v, str_of(words[i].name)))
            return words[i].type;
    return 0;
}

/* 0: the part does not say. */
static enum err types_of_part(struct converter *c, json s, unsigned *out)
{
    json type = schema_member(c, s, "type");
    *out = 0;
    if (json_type(type) == JSON_NONE)
        return ERR_OK;
    bool list = json_type(type) == JSON_ARRAY;
    for (json v = list ? json_first(type) : type; json_type(v) != JSON_NONE; v = list ? json_next(v) : JSON_ABSENT) {
        unsigned one = type_of_word(v);
        if (!one)
            return schema_fail(c, ERR_SYNTAX, s, "type", "must be null, boolean, object, array, number, integer or string, or a list of them");
        *out |= one;
    }
    if (!*out)
        return schema_fail(c, ERR_SYNTAX, s, "type", "must name a type");
    if (json_type(schema_member(c, s, "nullable")) == JSON_TRUE)
        *out |= T_NULL;
    return ERR_OK;
}

/* The types that all parts allow; where none says, those that their keywords are about. *said: something says it. */
static enum err types_of(struct converter *c, const struct view *v, unsigned *out, bool *said)
{
    unsigned all = T_ALL, meant = 0;
    *said = false;
    for (uint32_t i = 0; i < v->n; i++) {
        unsigned one;
        enum err e = types_of_part(c, v->p[i].s, &one);
        if (e)
            return e;
        *said |= one != 0;
        all &= one ? one : T_ALL;
        for (size_t k = 0; k < sizeof about / sizeof *about; k++)
            meant |= json_type(schema_member(c, v->p[i].s, about[k].name)) != JSON_NONE ? about[k].type : 0;
    }
    *out = *said ? all : meant ? meant : T_ALL;
    *said |= meant != 0;
    return ERR_OK;
}

/* ---- views ---- */

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

/* The next name of a JSON pointer (RFC 6901), whose letters may be escaped as in a URL. False: there is none, or no memory. */
static bool next_name(struct arena *a, str *pointer, str *out)
{
    str head, tail;
    if (!pointer->n || pointer->p[0] != '/')
        return false;
    bool more = str_cut(str_skip(*pointer, 1), '/', &head, &tail);
    *pointer = more ? str_slice(tail.p - 1, tail.n + 1) : STR_NONE;
    char *to = arena_alloc(a, head.n + 1, 1);
    if (!to)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < head.n; i++) {
        char ch = head.p[i];
        if (ch == '%' && i + 2 < head.n && hex_digit(head.p[i + 1]) >= 0 && hex_digit(head.p[i + 2]) >= 0) {
            ch = (char)(hex_digit(head.p[i + 1]) << 4 | hex_digit(head.p[i + 2]));
            i += 2;
        } else if (ch == '~' && i + 1 < head.n && (head.p[i + 1] == '0' || head.p[i + 1] == '1')) {
            ch = head.p[++i] == '0' ? '~' : '/';
        }
        to[n++] = ch;
    }
    *out = (str){ to, n };
    return true;
}

static enum err resolve(struct converter *c, json s, json *out)
{
    str ref, name;
    json at = c->root;
    enum err e = json_text(c->a, schema_member(c, s, "$ref"), &ref);
    if (e)
        return e == ERR_SYNTAX ? schema_fail(c, e, s, "$ref", "must be a string") : schema_full(c);
    if (!str_starts(ref, S("#")) || (ref.n > 1 && ref.p[1] != '/'))
        return schema_fail(c, ERR_UNSUPPORTED, s, "$ref", "only references within the schema can be followed: # and a JSON pointer");
    for (str rest = str_skip(ref, 1); next_name(c->a, &rest, &name);) {
        uint64_t index;
        if (json_type(at) == JSON_ARRAY)
            at = str_u64(name, &index) ? json_at(at, (size_t)index) : JSON_ABSENT;
        else
            at = json_member(at, name);
        c->work += 100;
    }
    if (json_type(at) == JSON_NONE)
        return schema_fail(c, ERR_SYNTAX, s, "$ref", "there is no such place in the schema");
    *out = at;
    return schema_spend(c, 0);
}

static enum err add_part(struct converter *c, struct view *v, json schema);

/* Schemas that a part refers to or lists must hold with it. */
static enum err add_below(struct converter *c, struct view *v, json schema)
{
    json target, all = schema_member(c, schema, "allOf");
    enum err e = ERR_OK;
    if (json_type(schema_member(c, schema, "$ref")) != JSON_NONE) {
        e = resolve(c, schema, &target);
        e = e ? e : add_part(c, v, target);
    }
    if (!e && json_type(all) != JSON_NONE && json_type(all) != JSON_ARRAY)
        return schema_fail(c, ERR_SYNTAX, schema, "allOf", "must be a list of schemas");
    for (json s = json_first(all); json_type(s) != JSON_NONE && !e; s = json_next(s))
        e = add_part(c, v, s);
    return e;
}

/* The parts of a view are a list that never holds one twice, so references in a circle end here. */
static enum err add_part(struct converter *c, struct view *v, json schema)
{
    if (json_type(schema) == JSON_TRUE)
        return ERR_OK;
    if (json_type(schema) == JSON_FALSE) {
        v->never = true;
        return ERR_OK;
    }
    if (json_type(schema) != JSON_OBJECT)
        return schema_fail(c, ERR_SYNTAX, schema, NULL, "a schema must be an object, true or false");
    for (uint32_t i = 0; i < v->n; i++)
        if (v->p[i].s.at == schema.at)
            return ERR_OK;
    if (v->n == VIEW_MAX)
        return schema_fail(c, ERR_LIMIT, schema, NULL, "too many schemas must hold together here");
    enum err e = check_keywords(c, schema);
    if (e)
        return e;
    v->p[v->n++] = (struct part){ schema, DONE_REF | DONE_ALL };
    return add_below(c, v, schema);
}

enum err view_add(struct converter *c, struct view *v, json schema)
{
    v->tops++;
    return add_part(c, v, schema);
}

/* Does a part say anything that is not done, or only told to people? */
static bool part_says(struct part p)
{
    static const struct { const char *name; unsigned done; } silent[] = {
        { "$ref", DONE_REF }, { "allOf", DONE_ALL }, { "anyOf", DONE_ANY }, { "oneOf", DONE_ONE }, { "title", 0 }, { "description", 0 }, { "default", 0 }, { "examples", 0 }, { "example", 0 },
        { "$schema", 0 }, { "$id", 0 }, { "$comment", 0 }, { "$defs", 0 }, { "definitions", 0 }, { "deprecated", 0 }, { "readOnly", 0 }, { "writeOnly", 0 },
    };
    for (json m = json_first(p.s); json_type(m) != JSON_NONE; m = json_next(m)) {
        bool is_silent = false;
        for (size_t i = 0; i < sizeof silent / sizeof *silent && !is_silent; i++)
            is_silent = json_is(json_key(m), str_of(silent[i].name)) && (p.done & silent[i].done) == silent[i].done;
        if (!is_silent)
            return true;
    }
    return false;
}

static uint32_t view_hash(const struct view *v)
{
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < v->n; i++)
        h = (h ^ (v->p[i].s.at * 32 + v->p[i].done)) * 16777619u;
    return h;
}

static bool view_same(const struct view *a, const struct view *b)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; i < a->n && same; i++)
        same = a->p[i].s.at == b->p[i].s.at && a->p[i].done == b->p[i].done;
    return same;
}

/* Where the view is in the table of entries, or where it would be. */
static uint32_t *view_slot(struct converter *c, const struct view *v)
{
    uint32_t at = view_hash(v) & (c->cap_hash - 1);
    while (c->hash[at] && !view_same(&c->entries[c->hash[at] - 1].view, v))
        at = (at + 1) & (c->cap_hash - 1);
    return &c->hash[at];
}

static enum err grow_entries(struct converter *c)
{
    uint32_t cap = c->cap_entries ? c->cap_entries * 2 : 64;
    struct view_entry *entries = arena_new(c->a, struct view_entry, cap);
    uint32_t *hash = arena_new(c->a, uint32_t, cap * 2);
    if (!entries || !hash)
        return schema_full(c);
    if (c->n_entries)
        memcpy(entries, c->entries, c->n_entries * sizeof *entries);
    c->entries = entries;
    c->hash = hash;
    c->cap_entries = cap;
    c->cap_hash = cap * 2;
    for (uint32_t i = 0; i < c->n_entries; i++)
        *view_slot(c, &entries[i].view) = i + 1;
    return ERR_OK;
}

enum err view_rule(struct converter *c, const struct view *given, char name[SCHEMA_NAME])
{
    struct view v = { .p = arena_new(c->a, struct part, given->n + 1), .never = given->never };
    if (!v.p || schema_spend(c, given->n * 16))
        return schema_full(c);
    for (uint32_t i = 0; i < given->n; i++)
        if (part_says(given->p[i]))
            v.p[v.n++] = given->p[i];
    if (given->tops == 1 && given->n && v.n && v.p[0].s.at == given->p[0].s.at && json_type(schema_member(c, v.p[0].s, "unevaluatedProperties")) != JSON_NONE)
        v.p[0].done |= DONE_TOP;
    if (v.never || v.n == 0) {
        snprintf(name, SCHEMA_NAME, "%s", rules_use(c->o, v.never ? PRIMITIVE_NEVER : PRIMITIVE_VALUE));
        return ERR_OK;
    }
    if (c->n_entries == c->cap_entries && grow_entries(c))
        return ERR_LIMIT;
    uint32_t *slot = view_slot(c, &v);
    if (!*slot) {
        if (c->o->n >= SCHEMA_MAX_RULES)
            return schema_full(c);
        c->entries[c->n_entries++] = (struct view_entry){ v, c->o->n++ };
        *slot = c->n_entries;
    }
    snprintf(name, SCHEMA_NAME, "r%u", c->entries[*slot - 1].rule);
    return ERR_OK;
}

enum err view_count(struct converter *c, const struct view *v, const char *keyword, bool most, uint32_t *out, json *given)
{
    for (uint32_t i = 0; i < v->n; i++) {
        json s = v->p[i].s, count = schema_member(c, s, keyword);
        int64_t n;
        double real;
        if (json_type(count) == JSON_NONE)
            continue;
        if (!json_i64(count, &n)) {             /* 2.0 is an integer, too */
            if (!json_f64(count, &real) || real < 0 || real > 1e9 || real != (double)(int64_t)real)
                return schema_fail(c, ERR_SYNTAX, s, keyword, "must be a whole number that is not negative");
            n = (int64_t)real;
        }
        if (n < 0)
            return schema_fail(c, ERR_SYNTAX, s, keyword, "must be a whole number that is not negative");
        if (n > SCHEMA_MAX_REPEAT)
            return schema_fail(c, ERR_RANGE, s, keyword, "more than 10000 cannot be counted by this engine");
        if (json_type(*given) == JSON_NONE || (most ? (uint32_t)n < *out : (uint32_t)n > *out)) {
            *out = (uint32_t)n;
            *given = s;
        }
    }
    return ERR_OK;
}

/* ---- bodies ---- */

/* anyOf or oneOf of one part: a rule for each branch, with everything else that must hold. */
static enum err write_branches(struct converter *c, const struct view *v, uint32_t which, bool one, uint32_t rule)
{
    const char *keyword = one ? "oneOf" : "anyOf", *between = " ";
    json list = schema_member(c, v->p[which].s, keyword);
    if (json_type(list) != JSON_ARRAY || !json_count(list))
        return schema_fail(c, ERR_SYNTAX, v->p[which].s, keyword, "must be a list with at least one schema");
    rules_put(c->o, "r%u ::=", rule);
    for (json s = json_first(list); json_type(s) != JSON_NONE; s = json_next(s), between = " | ") {
        struct part parts[VIEW_MAX];
        struct view branch = { .p = parts, .n = v->n };
        char name[SCHEMA_NAME];
        memcpy(parts, v->p, v->n * sizeof *parts);
        parts[which].done |= one ? DONE_ONE : DONE_ANY;
        enum err e = add_part(c, &branch, s);
        e = e ? e : view_rule(c, &branch, name);
        if (e)
            return e;
        rules_put(c->o, "%s%s", between, name);
    }
    rules_put(c->o, "\n");
    return ERR_OK;
}

static bool find_branches(struct converter *c, const struct view *v, uint32_t *which, bool *one)
{
    for (uint32_t i = 0; i < v->n; i++)
        for (int k = 0; k < 2; k++)
            if (!(v->p[i].done & (k ? DONE_ONE : DONE_ANY)) && json_type(schema_member(c, v->p[i].s, k ? "oneOf" : "anyOf")) != JSON_NONE) {
                *which = i;
                *one = k;
                return true;
            }
    return false;
}

static bool has_object_keywords(struct converter *c, const struct view *v)
{
    static const char *const keywords[] = { "properties", "required", "additionalProperties", "minProperties", "maxProperties", "unevaluatedProperties" };
    for (uint32_t i = 0; i < v->n; i++)
        for (size_t k = 0; k < sizeof keywords / sizeof *keywords; k++)
            if (json_type(schema_member(c, v->p[i].s, keywords[k])) != JSON_NONE)
                return true;
    return false;
}

/* The rule's line names what each type becomes; the lines of those follow. */
static enum err write_types(struct converter *c, const struct view *v, unsigned types, uint32_t rule)
{
    struct rules *o = c->o;
    char object[24], array[24], text[24], number[24];
    bool integer = !(types & T_NUMBER), plain_number = number_is_plain(c, v), plain_text = string_is_plain(c, v), plain_object = !has_object_keywords(c, v);
    snprintf(object, sizeof object, "r%uo", rule);
    snprintf(array, sizeof array, "r%ua", rule);
    snprintf(text, sizeof text, "r%us", rule);
    snprintf(number, sizeof number, "r%un", rule);
    bool is_number = types & (T_NUMBER | T_INTEGER);
    const char *alternatives[] = {
        types & T_OBJECT ? plain_object ? rules_use(o, PRIMITIVE_OBJECT) : object : NULL, types & T_ARRAY ? array : NULL,
        types & T_STRING ? plain_text ? rules_use(o, PRIMITIVE_STRING) : text : NULL,
        is_number ? !plain_number ? number : rules_use(o, integer ? PRIMITIVE_INTEGER : PRIMITIVE_NUMBER) : NULL,
        types & T_BOOL ? "\"true\" | \"false\"" : NULL, types & T_NULL ? "\"null\"" : NULL, types ? NULL : rules_use(o, PRIMITIVE_NEVER),
    };
    const char *between = " ";
    rules_put(o, "r%u ::=", rule);
    for (size_t i = 0; i < sizeof alternatives / sizeof *alternatives; i++)
        if (alternatives[i]) {
            rules_put(o, "%s%s", between, alternatives[i]);
            between = " | ";
        }
    rules_put(o, "\n");
    enum err e = types & T_OBJECT && !plain_object ? write_object(c, v, object) : ERR_OK;
    e = !e && types & T_ARRAY ? write_array(c, v, array) : e;
    e = !e && types & T_STRING && !plain_text ? write_string(c, v, text) : e;
    return !e && is_number && !plain_number ? write_number(c, v, integer, number) : e;
}

static unsigned type_of_value(json v)
{
    int64_t whole;
    double real;
    switch (json_type(v)) {
    case JSON_NULL: return T_NULL;
    case JSON_TRUE: case JSON_FALSE: return T_BOOL;
    case JSON_STRING: return T_STRING;
    case JSON_ARRAY: return T_ARRAY;
    case JSON_OBJECT: return T_OBJECT;
    default: return json_i64(v, &whole) || (json_f64(v, &real) && real == floor(real)) ? T_INTEGER : T_NUMBER;
    }
}

static bool same_value(struct converter *c, json a, json b)
{
    double x, y;
    str s, t;
    c->work += 4;
    if (json_f64(a, &x) && json_f64(b, &y))
        return x == y;
    if (json_text(c->a, a, &s) == ERR_OK && json_text(c->a, b, &t) == ERR_OK)
        return str_eq(s, t);
    return json_type(a) == json_type(b) && str_eq(json_span(a), json_span(b));
}

/* Is it one of what each part names? */
static bool is_named(struct converter *c, const struct view *v, json value)
{
    for (uint32_t i = 0; i < v->n; i++) {
        json one = schema_member(c, v->p[i].s, "const"), list = schema_member(c, v->p[i].s, "enum");
        bool found = json_type(list) == JSON_NONE;
        if (json_type(one) != JSON_NONE && !same_value(c, one, value))
            return false;
        for (json x = json_first(list); json_type(x) != JSON_NONE && !found; x = json_next(x))
            found = same_value(c, x, value);
        if (!found)
            return false;
    }
    return true;
}

static enum err write_one_constant(struct converter *c, const struct view *v, json value, unsigned types, bool *any)
{
    enum err e = schema_spend(c, 1);
    if (e || !(type_of_value(value) & types) || !is_named(c, v, value))
        return e;
    rules_put(c->o, *any ? " | " : " ");
    *any = true;
    return write_constant(c, value);
}

/* Only the values that are named, as far as their type fits. */
static enum err write_named(struct converter *c, const struct view *v, json from, unsigned types, uint32_t rule)
{
    json list = schema_member(c, from, "enum"), one = schema_member(c, from, "const");
    bool any = false;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < v->n; i++)
        for (size_t k = 0; k < sizeof about / sizeof *about; k++)
            if (json_type(schema_member(c, v->p[i].s, about[k].name)) != JSON_NONE && about[k].type & types)
                return schema_fail(c, ERR_UNSUPPORTED, v->p[i].s, about[k].name, "cannot be honoured together with enum or const");
    if (json_type(one) == JSON_NONE && (json_type(list) != JSON_ARRAY || !json_count(list)))
        return schema_fail(c, ERR_SYNTAX, from, "enum", "must be a list with at least one value");
    rules_put(c->o, "r%u ::=", rule);
    if (json_type(one) != JSON_NONE)
        e = write_one_constant(c, v, one, types, &any);
    for (json x = json_first(list); json_type(one) == JSON_NONE && json_type(x) != JSON_NONE && !e; x = json_next(x))
        e = write_one_constant(c, v, x, types, &any);
    rules_put(c->o, "%s%s\n", any ? "" : " ", any ? "" : rules_use(c->o, PRIMITIVE_NEVER));
    return e;
}

static enum err write_view(struct converter *c, const struct view *v, uint32_t rule)
{
    unsigned types;
    uint32_t which;
    bool one, said;
    enum err e = schema_spend(c, 8);
    if (e)
        return e;
    if (find_branches(c, v, &which, &one))
        return write_branches(c, v, which, one, rule);
    if ((e = types_of(c, v, &types, &said)))
        return e;
    for (uint32_t i = 0; i < v->n; i++)
        if (json_type(schema_member(c, v->p[i].s, "enum")) != JSON_NONE || json_type(schema_member(c, v->p[i].s, "const")) != JSON_NONE)
            return write_named(c, v, v->p[i].s, said ? types : T_ALL, rule);
    if (!said) {
        rules_put(c->o, "r%u ::= %s\n", rule, rules_use(c->o, PRIMITIVE_VALUE));
        return ERR_OK;
    }
    return write_types(c, v, types, rule);
}

enum err schema_write(struct arena *a, struct rules *o, json schema, str prefix, char name[SCHEMA_NAME], struct schema_error *why)
{
    struct converter c = { .a = a, .o = o, .root = schema, .prefix = prefix, .why = why, .first_rule = o->n };
    struct part parts[VIEW_MAX];
    struct view v = { .p = parts };
    *why = (struct schema_error){ ERR_OK, STR_NONE, STR_NONE };
    enum err e = view_add(&c, &v, schema);
    e = e ? e : view_rule(&c, &v, name);
    for (uint32_t i = 0; i < c.n_entries && !e; i++)
        e = write_view(&c, &c.entries[i].view, c.entries[i].rule);
    if (!e && o->err)
        e = schema_full(&c);
    return e;
}
