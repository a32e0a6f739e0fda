#include "infer/constraint.h"

#include "core/hash.h"
#include "infer/regex.h"

#include <stdio.h>
#include <stdlib.h>

/* Where it may be said: a field, or one inside `within`. */
static const struct { const char *within, *field; enum constraint_kind kind; } places[] = {
    { "structured_outputs", "json", CONSTRAINT_SCHEMA }, { "structured_outputs", "regex", CONSTRAINT_REGEX }, { "structured_outputs", "choice", CONSTRAINT_CHOICE },
    { "structured_outputs", "grammar", CONSTRAINT_GRAMMAR }, { "structured_outputs", "json_object", CONSTRAINT_OBJECT },
    { NULL, "guided_json", CONSTRAINT_SCHEMA }, { NULL, "guided_regex", CONSTRAINT_REGEX }, { NULL, "guided_choice", CONSTRAINT_CHOICE }, { NULL, "guided_grammar", CONSTRAINT_GRAMMAR },
    { NULL, "json_schema", CONSTRAINT_SCHEMA }, { NULL, "grammar", CONSTRAINT_GRAMMAR },
};

/* Parts of those that would make another answer. */
static const struct { const char *within, *field; } unknown[] = {
    { "structured_outputs", "structural_tag" }, { "structured_outputs", "whitespace_pattern" }, { "structured_outputs", "disable_any_whitespace" }, { NULL, "guided_whitespace_pattern" }, { NULL, "structural_tag" },
};

static enum err refuse(struct arena *a, struct wire_error *why, enum err e, const char *within, const char *field, const char *what)
{
    str param = arena_printf(a, "%s%s%s", within ? within : "", within ? "." : "", field);
    *why = (struct wire_error){ e, arena_printf(a, "%.*s: %s", STR_ARG(param), what), param };
    return e;
}

/* null, false, "", [] and, but for a schema, {} ask for nothing. */
static bool asks(json v, enum constraint_kind kind)
{
    switch (json_type(v)) {
    case JSON_NONE: case JSON_NULL: case JSON_FALSE: return false;
    case JSON_STRING: return !json_is(v, S(""));
    case JSON_ARRAY: return json_count(v) > 0;
    case JSON_OBJECT: return kind == CONSTRAINT_SCHEMA || json_count(v) > 0;
    default: return true;
    }
}

/* vLLM takes a schema as a string, too. */
static enum err parse_schema(struct arena *a, const char *within, const char *field, json *v, struct wire_error *why)
{
    str text;
    if (json_type(*v) == JSON_STRING && (json_text(a, *v, &text) != ERR_OK || json_parse(a, text, &JSON_DEFAULT_LIMITS, v, NULL) != ERR_OK))
        return refuse(a, why, ERR_SYNTAX, within, field, "must be a JSON schema, or a string that holds one");
    return json_type(*v) == JSON_OBJECT || json_type(*v) == JSON_TRUE ? ERR_OK : refuse(a, why, ERR_SYNTAX, within, field, "must be a JSON schema: an object");
}

static enum err check_type(struct arena *a, const char *within, const char *field, struct constraint *k, struct wire_error *why)
{
    if (k->kind == CONSTRAINT_SCHEMA)
        return parse_schema(a, within, field, &k->value, why);
    if ((k->kind == CONSTRAINT_REGEX || k->kind == CONSTRAINT_GRAMMAR) && json_type(k->value) != JSON_STRING)
        return refuse(a, why, ERR_SYNTAX, within, field, "must be a string");
    if (k->kind == CONSTRAINT_OBJECT && json_type(k->value) != JSON_TRUE)
        return refuse(a, why, ERR_SYNTAX, within, field, "must be true or false");
    if (k->kind != CONSTRAINT_CHOICE)
        return ERR_OK;
    if (json_type(k->value) != JSON_ARRAY)
        return refuse(a, why, ERR_SYNTAX, within, field, "must be a list of strings");
    if (json_count(k->value) > CONSTRAINT_MAX_CHOICES)
        return refuse(a, why, ERR_RANGE, within, field, "at most 10000 choices");
    for (json v = json_first(k->value); json_type(v) != JSON_NONE; v = json_next(v))
        if (json_type(v) != JSON_STRING || json_is(v, S("")))
            return refuse(a, why, ERR_SYNTAX, within, field, "must be a list of strings that are not empty");
    return ERR_OK;
}

static enum err read_format(struct arena *a, json format, struct constraint *k, struct wire_error *why)
{
    json type = json_member(format, S("type")), spec = json_member(format, S("json_schema")), schema = json_member(spec, S("schema"));
    *k = (struct constraint){ .kind = CONSTRAINT_NONE, .param = S("response_format") };
    if (json_type(format) == JSON_NONE || json_type(format) == JSON_NULL || json_is(type, S("text")))
        return ERR_OK;
    if (json_is(type, S("json_object"))) {
        schema = json_member(format, S("schema"));
        k->kind = asks(schema, CONSTRAINT_SCHEMA) ? CONSTRAINT_SCHEMA : CONSTRAINT_OBJECT;
        k->value = schema;
        return k->kind == CONSTRAINT_SCHEMA ? parse_schema(a, "response_format", "schema", &k->value, why) : ERR_OK;
    }
    if (!json_is(type, S("json_schema")))
        return refuse(a, why, ERR_UNSUPPORTED, "response_format", "type", "must be text, json_object or json_schema");
    if (json_type(schema) == JSON_NONE)
        return refuse(a, why, ERR_SYNTAX, "response_format", "json_schema.schema", "is missing");
    k->kind = CONSTRAINT_SCHEMA;
    k->value = schema;
    return parse_schema(a, "response_format", "json_schema.schema", &k->value, why);
}

enum err constraint_find(struct arena *a, const struct call *c, struct constraint *out, struct wire_error *why)
{
    struct constraint k;
    enum err e = read_format(a, c->response_format, &k, why);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown && !e; i++) {
        json from = unknown[i].within ? json_member(c->root, str_of(unknown[i].within)) : c->root;
        if (asks(json_member(from, str_of(unknown[i].field)), CONSTRAINT_NONE))
            return refuse(a, why, ERR_UNSUPPORTED, unknown[i].within, unknown[i].field, "is not supported by this engine");
    }
    for (size_t i = 0; i < sizeof places / sizeof *places && !e; i++) {
        json from = places[i].within ? json_member(c->root, str_of(places[i].within)) : c->root, v = json_member(from, str_of(places[i].field));
        if (!asks(v, places[i].kind))
            continue;
        if (k.kind != CONSTRAINT_NONE)
            return refuse(a, why, ERR_UNSUPPORTED, places[i].within, places[i].field, "the answer is bound by another field already: one of them can be honoured");
        k = (struct constraint){ places[i].kind, v, arena_printf(a, "%s%s%s", places[i].within ? places[i].within : "", places[i].within ? "." : "", places[i].field) };
        e = check_type(a, places[i].within, places[i].field, &k, why);
    }
    if (!e)
        *out = k;
    return e;
}

/* ---- rules ---- */

static enum err complain(struct arena *a, const struct constraint *k, enum err e, const struct gbnf_error *wrong, struct wire_error *why)
{
    *why = (struct wire_error){ e, arena_printf(a, "%.*s: at character %zu: %s", STR_ARG(k->param), wrong->at, wrong->what), k->param };
    return e;
}

static enum err write_regex(struct arena *a, const struct constraint *k, struct rules *o, const char *name, struct wire_error *why)
{
    struct regex *r;
    struct gbnf_error wrong = { 0, "" };
    str pattern;
    enum err e = json_text(a, k->value, &pattern);
    if (e)
        return e;
    if ((e = regex_read(a, pattern, false, &r, &wrong)))
        return complain(a, k, e, &wrong, why);
    rules_put(o, "%s ::= ", name);
    if (!o->err)
        o->err = regex_write(&o->b, r, false);
    rules_put(o, "\n");
    return o->err;
}

static enum err write_choice(struct arena *a, const struct constraint *k, struct rules *o, const char *name)
{
    const char *between = "";
    rules_put(o, "%s ::= ", name);
    for (json v = json_first(k->value); json_type(v) != JSON_NONE; v = json_next(v), between = " | ") {
        str text;
        enum err e = json_text(a, v, &text);
        if (e)
            return e;
        rules_put(o, "%s", between);
        rules_put_text(o, text);
    }
    rules_put(o, "\n");
    return o->err;
}

enum err constraint_write(struct arena *a, const struct constraint *k, struct rules *o, char name[SCHEMA_NAME], struct wire_error *why)
{
    struct schema_error wrong;
    bool own_text = k->value.at == 0;   /* it was a string: paths begin with its field */
    enum err e = ERR_OK;
    *why = (struct wire_error){ ERR_LIMIT, arena_printf(a, "%.*s: is too large", STR_ARG(k->param)), k->param };
    snprintf(name, SCHEMA_NAME, "r%u", o->n++);
    switch (k->kind) {
    case CONSTRAINT_OBJECT:
        snprintf(name, SCHEMA_NAME, "%s", rules_use(o, PRIMITIVE_OBJECT));
        break;
    case CONSTRAINT_SCHEMA:
        e = schema_write(a, o, k->value, own_text ? k->param : STR_NONE, name, &wrong);
        if (e)
            *why = (struct wire_error){ e, wrong.message, wrong.param };
        break;
    case CONSTRAINT_REGEX: e = write_regex(a, k, o, name, why); break;
    case CONSTRAINT_CHOICE: e = write_choice(a, k, o, name); break;
    default: break;
    }
    return e ? e : o->err;
}

/* ---- grammars in use ---- */

struct cached_grammar {
    struct digest digest;
    struct grammar *grammar;
    size_t users;
    uint64_t used;
    bool kept;                          /* it is in the list */
};

static struct digest digest_of(str text, bool own)
{
    struct digest d = sha256_of(text);
    d.b[0] ^= own;                      /* the same text, read differently */
    return d;
}

enum err grammar_cache_get(struct grammar_cache *cache, str text, bool own, struct cached_grammar **out, struct gbnf_error *why)
{
    struct digest digest = digest_of(text, own);
    size_t worst = GRAMMAR_CACHE;
    for (size_t i = 0; i < GRAMMAR_CACHE; i++) {
        struct cached_grammar *g = cache->list[i];
        if (g && memcmp(&g->digest, &digest, sizeof digest) == 0) {
            g->users++;
            g->used = ++cache->uses;
            *out = g;
            return ERR_OK;
        }
        if (!g || (g->users == 0 && (worst == GRAMMAR_CACHE || (cache->list[worst] && g->used < cache->list[worst]->used))))
            worst = i;
    }
    struct cached_grammar *made = calloc(1, sizeof *made);
    enum err e = made ? grammar_new(text, own, GRAMMAR_MEMORY, &made->grammar, why) : ERR_MEMORY;
    if (e) {
        free(made);
        return e;
    }
    made->digest = digest;
    made->users = 1;
    made->used = ++cache->uses;
    made->kept = worst < GRAMMAR_CACHE;
    if (made->kept) {
        if (cache->list[worst])
            grammar_free(cache->list[worst]->grammar);
        free(cache->list[worst]);
        cache->list[worst] = made;
    }
    *out = made;
    return ERR_OK;
}

struct grammar *grammar_cache_grammar(struct cached_grammar *g) { return g->grammar; }

void grammar_cache_put(struct cached_grammar *g)
{
    if (!g || --g->users || g->kept)
        return;
    grammar_free(g->grammar);
    free(g);
}

void grammar_cache_free(struct grammar_cache *cache)
{
    for (size_t i = 0; i < GRAMMAR_CACHE; i++)
        if (cache->list[i]) {
            grammar_free(cache->list[i]->grammar);
            free(cache->list[i]);
        }
    *cache = (struct grammar_cache){ .uses = 0 };
}
