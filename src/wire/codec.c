/* wire/codec.c: reading bodies with clear complaints. */
#include "wire/codec.h"

enum err codec_bad(struct arena *a, struct wire_error *why, enum err e, const char *param, const char *what)
{
    str m = arena_printf(a, "%s: %s", param, what);
    *why = (struct wire_error){ e, m.p ? m : str_of(what), arena_str(a, str_of(param)) };
    return e;
}

enum err codec_end_why(const struct arena *a, enum err e, struct wire_error *why)
{
    if (!a->failed)
        return e;
    *why = (struct wire_error){ ERR_LIMIT, STR_NONE, STR_NONE };
    return ERR_LIMIT;
}

enum err codec_number(struct arena *a, const struct codec_number *d, json v, struct params *p, struct wire_error *why)
{
    double real;
    char text[96];
    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return ERR_OK;
    if (!json_f64(v, &real))
        return codec_bad(a, why, ERR_SYNTAX, d->name, "must be a number");
    if (real < d->low || real > d->high) {
        snprintf(text, sizeof text, "must be from %g to %g", d->low, d->high);
        return codec_bad(a, why, ERR_RANGE, d->name, text);
    }
    if (!d->integer)
        *(double *)((char *)p + d->offset) = real;
    else if (!json_i64(v, (int64_t *)((char *)p + d->offset)))
        return codec_bad(a, why, ERR_SYNTAX, d->name, "must be an integer");
    return ERR_OK;
}

enum err codec_stop(struct arena *a, json v, const char *name, struct params *p, struct wire_error *why)
{
    bool list = json_type(v) == JSON_ARRAY;
    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return ERR_OK;
    if (list && json_count(v) > CALL_MAX_STOP)
        return codec_bad(a, why, ERR_RANGE, name, "at most 16 strings");
    for (json s = list ? json_first(v) : v; json_type(s) != JSON_NONE; s = list ? json_next(s) : JSON_ABSENT) {
        enum err e = json_text(a, s, &p->stop[p->n_stop]);
        if (e == ERR_SYNTAX)
            return codec_bad(a, why, ERR_SYNTAX, name, "must be a string or a list of strings");
        if (e)
            return e;
        if (!p->stop[p->n_stop].n)
            return codec_bad(a, why, ERR_RANGE, name, "an empty string would stop everything");
        p->n_stop++;
    }
    return ERR_OK;
}

enum err codec_bool(struct arena *a, json v, const char *name, bool *out, struct wire_error *why)
{
    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return ERR_OK;
    return json_bool(v, out) ? ERR_OK : codec_bad(a, why, ERR_SYNTAX, name, "must be true or false");
}

enum err codec_root(struct arena *a, struct call *c, struct wire_error *why)
{
    struct json_error where;
    str twice;
    enum err e = json_parse(a, c->body, &JSON_DEFAULT_LIMITS, &c->root, &where);
    if (e == ERR_SYNTAX) {
        *why = (struct wire_error){ e, arena_printf(a, "the body is not valid JSON: %s at byte %zu", where.what, where.at), STR_NONE };
        return e;
    }
    if (e)
        return e;
    if (json_type(c->root) != JSON_OBJECT) {
        *why = (struct wire_error){ ERR_SYNTAX, S("the body must be a JSON object"), STR_NONE };
        c->root = JSON_ABSENT;
        return ERR_SYNTAX;
    }
    if (json_find_duplicate(c->root, &twice)) {
        str key = str_slice(twice.p, twice.n < 64 ? twice.n : 64);
        *why = (struct wire_error){ ERR_SYNTAX, arena_printf(a, "the key \"%.*s\" stands twice in one object, at byte %zu", STR_ARG(key), (size_t)(twice.p - c->body.p)), key };
        return ERR_SYNTAX;
    }
    return ERR_OK;
}

void codec_note(struct arena *a, struct arena *scratch, json v, str *to)
{
    str text;
    if (!to->n && json_text(scratch, v, &text) == ERR_OK && text.n)
        *to = arena_str(a, text);
}

void codec_tokens(json v, int64_t *to)
{
    int64_t n;
    if (json_i64(v, &n) && n >= 0)
        *to = n;
}

str codec_text(struct arena *scratch, json v)
{
    str text = S("");
    (void)json_text(scratch, v, &text);
    return text;
}

str codec_settle(struct arena *a, struct buf *b, enum err e, str otherwise)
{
    str s = e ? STR_NONE : arena_str(a, buf_str(b));
    buf_free(b);
    return s.p ? s : otherwise;
}
