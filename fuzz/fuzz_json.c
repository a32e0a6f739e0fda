/* fuzz: core */
/* Our reader against json-c 0.16: both must take the same texts, and read the same from them. Known differences, checked apart:
 *   - json-c takes a lone surrogate escape (as U+FFFD), control bytes in strings, NaN, Infinity, True, vertical tabs and form feeds as space,
 *     ends its text at a NUL, and takes 00 and 1. for numbers and 'a' for a string; we refuse all of these
 *   - json-c takes "\u0000" in a key only up to the NUL, and keeps one of several equal keys, also of those that only the NUL made equal
 *   - json-c takes an escaped pair for a lone surrogate, again, when the low 16 bits of its character lie in D800-DFFF (\ud837\ude00)
 *   - numbers beyond 64 bits: json-c clamps integers, we keep the text */
#include "core/json.h"

#include <assert.h>
#define json_type json_c_type           /* both libraries have these names */
#define json_bool json_c_bool
#include <json-c/json.h>
#undef json_type
#undef json_bool
#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { DEPTH = 32 };

/* True when json-c keeps every member under its own key, so that the values can be compared. */
static bool keys_survive(struct arena *a, json object)
{
    str key;
    if (json_has_duplicate(object, &key))
        return false;
    for (json m = json_first(object); json_type(m) != JSON_NONE; m = json_next(m))
        if (json_text(a, json_key(m), &key) == ERR_OK && str_index(key, '\0') < key.n)
            return false;
    return true;
}

static unsigned hex4(const char *p)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    return v;
}

/* Is there a pair in this valid text that json-c looks at twice? */
static bool has_misread_pair(str s)
{
    for (size_t i = 0; i + 1 < s.n; i++) {
        if (s.p[i] != '\\')
            continue;
        i++;
        if (s.p[i] != 'u')
            continue;
        unsigned high = hex4(s.p + i + 1);
        if (high < 0xD800 || high > 0xDBFF)
            continue;
        unsigned c = 0x10000 + ((high & 0x3FF) << 10 | (hex4(s.p + i + 7) & 0x3FF));
        if ((c & 0xF800) == 0xD800)
            return true;
        i += 6;                         /* the low half is no escape of its own */
    }
    return false;
}

static bool same(struct arena *a, json v, struct json_object *o)
{
    str text;
    bool b;
    int64_t i;
    double d;
    switch (json_type(v)) {
    case JSON_NULL:   return o == NULL;
    case JSON_TRUE:
    case JSON_FALSE:  return json_object_is_type(o, json_type_boolean) && json_bool(v, &b) && b == json_object_get_boolean(o);
    case JSON_NUMBER:
        if (json_object_is_type(o, json_type_int))
            return json_i64(v, &i) ? i == json_object_get_int64(o) : json_f64(v, &d) && fabs(d) >= 9.2e18;
        return json_object_is_type(o, json_type_double) && json_f64(v, &d) && (d == json_object_get_double(o) || (isinf(d) && isinf(json_object_get_double(o))));
    case JSON_STRING:
        return json_object_is_type(o, json_type_string) && json_text(a, v, &text) == ERR_OK &&
               str_eq(text, (str){ json_object_get_string(o), (size_t)json_object_get_string_len(o) });
    case JSON_ARRAY: {
        size_t k = 0;
        if (!json_object_is_type(o, json_type_array) || json_object_array_length(o) != json_count(v))
            return false;
        for (json e = json_first(v); json_type(e) != JSON_NONE; e = json_next(e))
            if (!same(a, e, json_object_array_get_idx(o, k++)))
                return false;
        return k == json_count(v);
    }
    case JSON_OBJECT: {
        size_t k = 0;
        if (!json_object_is_type(o, json_type_object))
            return false;
        bool comparable = keys_survive(a, v);
        for (json m = json_first(v); json_type(m) != JSON_NONE; m = json_next(m), k++) {
            struct json_object *value;
            if (json_text(a, json_key(m), &text) != ERR_OK)
                return false;
            if (!comparable)
                continue;
            char *key = arena_cstr(a, text);
            if (!key || !json_object_object_get_ex(o, key, &value) || !same(a, m, value))
                return false;
        }
        return k == json_count(v);
    }
    default: return false;
    }
}

/* What json-c lets pass and RFC 8259 does not, by what we say of it and the byte where it stands. */
static bool is_known_lenience(str s, const struct json_error *why)
{
    unsigned char at = why->at < s.n ? (unsigned char)s.p[why->at] : 0;
    if (strcmp(why->what, "half of a surrogate pair") == 0 || strcmp(why->what, "a control character inside a string") == 0 ||
        strcmp(why->what, "a number with a leading zero") == 0 || strcmp(why->what, "expected a digit after the point") == 0)
        return true;
    if (strcmp(why->what, "not UTF-8") == 0)    /* overlong forms, surrogates, above U+10FFFF */
        return at == 0xC0 || at == 0xC1 || at == 0xE0 || at == 0xED || at == 0xF0 || at >= 0xF4;
    if (strcmp(why->what, "expected a value") == 0 || strcmp(why->what, "expected a digit") == 0)
        return (at | 32) == 'n' || (at | 32) == 'i' || (at | 32) == 't' || (at | 32) == 'f' || at == '.';  /* words in any case, NaN, Infinity, -.5 */
    return at == 0 || at == '\'' || at == '\f' || at == '\v';        /* a NUL ends its text; it takes more kinds of space */
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    struct json_error why;
    json v;
    arena_init(&a, 16 << 20);
    enum err e = json_parse(&a, (str){ (const char *)p, n }, &(struct json_limits){ DEPTH, 1 << 16, 1 << 20 }, &v, &why);
    struct json_tokener *t = json_tokener_new_ex(DEPTH + 1);
    json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *o = json_tokener_parse_ex(t, (const char *)p, (int)n);
    enum json_tokener_error je = json_tokener_get_error(t);
    if (je == json_tokener_continue && n) {     /* a number at the very end: only a byte after it ends it */
        o = json_tokener_parse_ex(t, "\n", 1);
        je = json_tokener_get_error(t);
    }
    bool theirs = n && je == json_tokener_success;
    if (e == ERR_OK) {
        assert(has_misread_pair((str){ (const char *)p, n }) || (theirs && same(&a, v, o)));
        struct buf b = { .max = 32 << 20 };
        struct json_out w;
        json_out_init(&w, &b);
        json_put_raw(&w, json_span(v));
        json again;
        assert(w.err == ERR_OK && json_parse(&a, buf_str(&b), &JSON_DEFAULT_LIMITS, &again, NULL) == ERR_OK);
        buf_free(&b);
    } else if (e == ERR_SYNTAX) {
        assert(why.at <= n);
        assert(!theirs || is_known_lenience((str){ (const char *)p, n }, &why));
    }
    json_object_put(o);
    json_tokener_free(t);
    arena_free(&a);
    return 0;
}
