/* Strings by length, pattern or format; constants. */
#include "infer/schema_state.h"

#include "infer/regex.h"

#include <stdio.h>

/* RFC 3339, 4122, 2673, 5321, 1123, 3986, in so far as what is made of them is valid: years from 1000 to 2999, a 29th of February in leap years,
 * no leap seconds, short host names. NULL: says nothing of the text's form. */
#define HOUR   "(?:[01][0-9]|2[0-3])"
#define TIME   HOUR ":[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-]" HOUR ":[0-5][0-9])"
#define DATE   "(?:[12][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))" \
               "|(?:[12][0-9](?:0[48]|[2468][048]|[13579][26])|1[26]00|2[048]00)-02-29)"
#define BYTE   "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define LABEL  "[A-Za-z0-9](?:[A-Za-z0-9-]{0,20}[A-Za-z0-9])?"
#define HOST   LABEL "(?:\\." LABEL "){0,3}"
#define NUMBER_OF(unit) "[0-9]{1,4}" unit

static const struct { const char *name, *pattern; } formats[] = {
    { "date", DATE }, { "time", TIME }, { "date-time", DATE "T" TIME },
    { "duration", "P(?:" NUMBER_OF("W") "|(?:" NUMBER_OF("Y") "(?:" NUMBER_OF("M") "(?:" NUMBER_OF("D") ")?)?|" NUMBER_OF("M") "(?:" NUMBER_OF("D") ")?|" NUMBER_OF("D") ")"
                  "(?:T(?:" NUMBER_OF("H") "(?:" NUMBER_OF("M") "(?:" NUMBER_OF("S") ")?)?|" NUMBER_OF("M") "(?:" NUMBER_OF("S") ")?|" NUMBER_OF("S") "))?"
                  "|T(?:" NUMBER_OF("H") "(?:" NUMBER_OF("M") "(?:" NUMBER_OF("S") ")?)?|" NUMBER_OF("M") "(?:" NUMBER_OF("S") ")?|" NUMBER_OF("S") "))" },
    { "uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}" },
    { "ipv4", "(?:" BYTE "\\.){3}" BYTE }, { "ipv6", "(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|::(?:[0-9a-fA-F]{1,4}:){0,5}[0-9a-fA-F]{1,4}" },
    { "email", "[A-Za-z0-9_%+-]{1,20}(?:\\.[A-Za-z0-9_%+-]{1,20}){0,2}@(?:" LABEL "\\.){1,3}[A-Za-z]{2,12}" }, { "hostname", HOST },
    { "uri", "https?://" HOST "(?::[1-9][0-9]{0,3})?(?:/[A-Za-z0-9._~-]{0,40}){0,8}(?:\\?[A-Za-z0-9._~=&-]{0,80})?" },
    { "password", NULL }, { "byte", NULL }, { "binary", NULL }, { "float", NULL }, { "double", NULL }, { "int32", NULL }, { "int64", NULL }, { "regex", NULL }, { "json", NULL }, { "json-string", NULL },
};

struct text_rules {
    str pattern, format;                /* empty: none */
    json pattern_in, format_in, min_in, max_in;     /* the parts that say so */
    uint32_t min, max;
};

/* The one text that the parts have for a keyword. */
static enum err read_text(struct converter *c, const struct view *v, const char *keyword, str *out, json *in)
{
    for (uint32_t i = 0; i < v->n; i++) {
        json s = v->p[i].s, t = schema_member(c, s, keyword);
        str text;
        if (json_type(t) == JSON_NONE)
            continue;
        enum err e = json_text(c->a, t, &text);
        if (e)
            return e == ERR_SYNTAX ? schema_fail(c, e, s, keyword, "must be a string") : schema_full(c);
        if (json_type(*in) != JSON_NONE && !str_eq(*out, text))
            return schema_fail(c, ERR_UNSUPPORTED, s, keyword, "cannot be honoured together with another one");
        *out = text;
        *in = s;
    }
    return ERR_OK;
}

static enum err read_format(struct converter *c, const struct view *v, struct text_rules *r)
{
    str name = STR_NONE;
    enum err e = read_text(c, v, "format", &name, &r->format_in);
    if (e || json_type(r->format_in) == JSON_NONE)
        return e;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (str_eq(name, str_of(formats[i].name))) {
            r->format = str_of(formats[i].pattern);
            return ERR_OK;
        }
    return schema_fail(c, ERR_UNSUPPORTED, r->format_in, "format", "this format is not one that can be made");
}

static enum err read_rules(struct converter *c, const struct view *v, struct text_rules *r)
{
    *r = (struct text_rules){ .max = UINT32_MAX };
    enum err e = view_count(c, v, "minLength", false, &r->min, &r->min_in);
    e = e ? e : view_count(c, v, "maxLength", true, &r->max, &r->max_in);
    e = e ? e : read_text(c, v, "pattern", &r->pattern, &r->pattern_in);
    e = e ? e : read_format(c, v, r);
    if (!e && r->format.n && json_type(r->pattern_in) != JSON_NONE)
        return schema_fail(c, ERR_UNSUPPORTED, r->pattern_in, "pattern", "cannot be honoured together with a format");
    return e;
}

bool string_is_plain(struct converter *c, const struct view *v)
{
    static const char *const keywords[] = { "minLength", "maxLength", "pattern", "format" };
    for (uint32_t i = 0; i < v->n; i++)
        for (size_t k = 0; k < sizeof keywords / sizeof *keywords; k++)
            if (json_type(schema_member(c, v->p[i].s, keywords[k])) != JSON_NONE)
                return false;
    return true;
}

static enum err write_pattern(struct converter *c, const struct text_rules *r, const char *name)
{
    struct regex *re;
    struct gbnf_error wrong;
    bool own = json_type(r->pattern_in) != JSON_NONE;
    const char *keyword = own ? "pattern" : "format";
    json in = own ? r->pattern_in : r->format_in;
    char what[GBNF_WHY + 64];
    enum err e = regex_read(c->a, own ? r->pattern : r->format, own, &re, &wrong);
    if (e) {
        snprintf(what, sizeof what, "at character %zu: %s", wrong.at, wrong.what);
        return schema_fail(c, e, in, keyword, what);
    }
    if (!regex_limit(re, r->min, r->max))
        return schema_fail(c, ERR_UNSUPPORTED, in, keyword, "no text of the asked length was found for it");
    rules_put(c->o, "%s ::= \"\\\"\" ", name);
    e = c->o->err ? c->o->err : regex_write(&c->o->b, re, true);
    rules_put(c->o, " \"\\\"\"\n");
    if (e == ERR_UNSUPPORTED)
        return schema_fail(c, e, in, keyword, "a class has only characters that are not written in JSON as they are");
    return e ? schema_full(c) : ERR_OK;
}

enum err write_string(struct converter *c, const struct view *v, const char *name)
{
    struct text_rules r;
    enum err e = read_rules(c, v, &r);
    if (e)
        return e;
    if (json_type(r.pattern_in) != JSON_NONE || r.format.n)
        return write_pattern(c, &r, name);
    const char *one = rules_use(c->o, PRIMITIVE_CHAR);
    if (r.min > r.max)
        rules_put(c->o, "%s ::= %s\n", name, rules_use(c->o, PRIMITIVE_NEVER));
    else if (r.max == UINT32_MAX)
        rules_put(c->o, "%s ::= \"\\\"\" %s{%u,} \"\\\"\"\n", name, one, r.min);
    else
        rules_put(c->o, "%s ::= \"\\\"\" %s{%u,%u} \"\\\"\"\n", name, one, r.min, r.max);
    return ERR_OK;
}

/* ---- constants ---- */

/* A new line where there is an indent; else what stands after a comma is a space. */
static enum err put_break(struct buf *b, int indent, int depth, bool comma)
{
    enum err e = comma && !indent ? buf_putc(b, ' ') : ERR_OK;
    if (indent)
        e = buf_putc(b, '\n');
    for (int i = 0; i < indent * depth && !e; i++)
        e = buf_putc(b, ' ');
    return e;
}

/* Nesting is bounded by the parser of the request. */
static enum err put_value(struct arena *a, struct buf *b, json v, int indent, int depth)
{
    enum json_type t = json_type(v);
    str text;
    if (t == JSON_STRING) {
        enum err e = json_text(a, v, &text);
        e = e ? e : buf_putc(b, '"');
        e = e ? e : json_escape(b, text);
        return e ? e : buf_putc(b, '"');
    }
    if (t != JSON_ARRAY && t != JSON_OBJECT)
        return buf_put(b, json_span(v));
    enum err e = buf_putc(b, t == JSON_ARRAY ? '[' : '{');
    for (json m = json_first(v); json_type(m) != JSON_NONE && !e; m = json_next(m)) {
        bool first = m.at == json_first(v).at;
        e = first ? ERR_OK : buf_putc(b, ',');
        e = e ? e : put_break(b, indent, depth + 1, !first);
        if (!e && t == JSON_OBJECT)
            e = put_value(a, b, json_key(m), 0, 0);
        if (!e && t == JSON_OBJECT)
            e = buf_put(b, S(": "));
        e = e ? e : put_value(a, b, m, indent, depth + 1);
    }
    if (!e && json_count(v))
        e = put_break(b, indent, depth, false);
    return e ? e : buf_putc(b, t == JSON_ARRAY ? ']' : '}');
}

enum err json_write_spaced(struct arena *a, struct buf *b, json v, int indent) { return put_value(a, b, v, indent, 0); }

enum err write_constant(struct converter *c, json value)
{
    struct buf b = { .max = 1 << 20 };
    enum err e = json_write_spaced(c->a, &b, value, 0);
    if (!e)
        rules_put_text(c->o, buf_str(&b));
    buf_free(&b);
    return e || schema_spend(c, json_span(value).n / 8) ? schema_full(c) : ERR_OK;
}
