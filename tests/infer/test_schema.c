/* Schemas: which texts are made of them, which are not, and what cannot be honoured. */
#include "infer/schema.h"

#include "infer/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static enum err convert(struct arena *a, const char *schema, struct rules *o, struct schema_error *why)
{
    json v;
    char name[SCHEMA_NAME];
    struct json_error wrong;
    enum err e = json_parse(a, str_of(schema), &JSON_DEFAULT_LIMITS, &v, &wrong);
    if (e)
        fail_msg("%s: not JSON: %s at %zu", schema, wrong.what, wrong.at);
    rules_init(o);
    e = schema_write(a, o, v, STR_NONE, name, why);
    if (!e) {
        rules_put(o, "root ::= %s\n", name);
        e = rules_finish(o);
    }
    return e;
}

/* NULL: nothing fits the schema. */
static struct grammar *make(const char *schema)
{
    struct arena a;
    struct rules o;
    struct schema_error why;
    struct gbnf_error wrong;
    struct grammar *g = NULL;
    arena_init(&a, 64 << 20);
    enum err e = convert(&a, schema, &o, &why);
    if (e)
        fail_msg("%s: %s: %.*s", schema, err_name(e), STR_ARG(why.message));
    e = grammar_new(buf_str(&o.b), false, GRAMMAR_MEMORY, &g, &wrong);
    if (e && !strstr(wrong.what, "no text of finite length"))
        fail_msg("%s: %s at %zu in %.*s", schema, wrong.what, wrong.at, STR_ARG(buf_str(&o.b)));
    rules_free(&o);
    arena_free(&a);
    return g;
}

static bool whole(struct grammar *g, const char *text)
{
    struct grammar_run r;
    grammar_begin(g, &r);
    bool ok = grammar_take(&r, str_of(text)) && grammar_may_end(&r);
    grammar_end(&r);
    return ok;
}

/* yes and no: texts apart by line ends. */
static const struct { const char *schema, *yes, *no; } rows[] = {
    { "true", "1\n\"x\"\n[1, {\"a\": null}]\n{}", "nope\n\n{a:1}\n01" },
    { "{}", "true\n[[[]]]\n-1.5e3", "tru\n1." },
    { "{\"type\":\"string\"}", "\"\"\n\"a\\n\\u00e9\\ud83d\\ude00\"\n\"\xc3\xa9\"", "1\n\"\\ud83d\"\n\"\\x\"\n\"\t\"\n\"a" },
    { "{\"type\":[\"integer\",\"null\"]}", "0\n-7\nnull\n123456789012345", "1.5\n\"1\"\n007\n1234567890123456" },
    { "{\"type\":\"number\"}", "0\n-0.5\n1e10\n1.25E-3", "1.\n.5\n+1\n1e999\nNaN" },
    { "{\"type\":\"boolean\"}", "true\nfalse", "null\nTrue" }, { "{\"type\":\"null\"}", "null", "0" },
    { "{\"type\":\"integer\",\"nullable\":true}", "1\nnull", "\"\"" },
    { "{\"enum\":[\"a\",1,null,[1,\"x\"],{\"k\":true}]}", "\"a\"\n1\nnull\n[1, \"x\"]\n{\"k\": true}", "\"b\"\n2\n[]\n\"a" },
    { "{\"type\":\"string\",\"enum\":[\"a\",1,\"\\\"q\\\"\"]}", "\"a\"\n\"\\\"q\\\"\"", "1" }, { "{\"const\":\"x y\"}", "\"x y\"", "\"x\"" }, { "{\"const\":0}", "0", "1" },
    { "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"ab\"\n\"abc\"\n\"\\n\\\"\"\n\"\xc3\xa9\xf0\x9f\xa6\x99\"\n\"\\ud83d\\ude00x\"", "\"a\"\n\"abcd\"\n\"\"" },
    { "{\"type\":\"string\",\"maxLength\":0}", "\"\"", "\"a\"" }, { "{\"type\":\"string\",\"minLength\":3}", "\"abcdefgh\"", "\"ab\"" },
    { "{\"type\":\"string\",\"pattern\":\"^[a-z]{2}-\\\\d+$\"}", "\"ab-1\"\n\"zz-900\"", "\"ab\"\n\"AB-1\"\n\"ab-1x\"" }, { "{\"type\":\"string\",\"pattern\":\"b+\"}", "\"abbc\"\n\"b\"", "\"ac\"\n\"\"" },
    { "{\"type\":\"string\",\"pattern\":\"^a\"}", "\"a\"\n\"a\\n\\\\\"", "\"ba\"" }, { "{\"type\":\"string\",\"pattern\":\"^[\\\"\\\\\\\\]$\"}", "\"\\\"\"\n\"\\\\\"", "\"a\"\n\"\"\"" },
    { "{\"type\":\"string\",\"pattern\":\"^[a-z]+$\",\"maxLength\":3,\"minLength\":2}", "\"ab\"\n\"abc\"", "\"a\"\n\"abcd\"" },
    { "{\"type\":\"string\",\"format\":\"date\"}", "\"2024-02-29\"\n\"1999-12-31\"\n\"2000-02-29\"", "\"2023-02-29\"\n\"1900-02-29\"\n\"2024-13-01\"\n\"2024-04-31\"" },
    { "{\"type\":\"string\",\"format\":\"date-time\"}", "\"2024-02-29T23:59:59Z\"\n\"2024-01-01T00:00:00.25+01:30\"", "\"2024-02-29 23:59:59Z\"\n\"2024-02-29T24:00:00Z\"" },
    { "{\"type\":\"string\",\"format\":\"uuid\"}", "\"123e4567-e89b-12d3-a456-426614174000\"", "\"123e4567e89b12d3a456426614174000\"" }, { "{\"type\":\"string\",\"format\":\"ipv4\"}", "\"255.0.10.9\"", "\"256.1.1.1\"\n\"01.1.1.1\"" },
    { "{\"type\":\"string\",\"format\":\"email\"}", "\"a.b@example.com\"", "\"a@b\"\n\"@x.yz\"" }, { "{\"type\":\"string\",\"format\":\"duration\"}", "\"P1Y2M3DT4H5M6S\"\n\"PT5M\"\n\"P2W\"", "\"P\"\n\"PT\"\n\"P1W2D\"" },
    { "{\"type\":\"integer\",\"minimum\":0,\"maximum\":9}", "0\n9", "-0\n10\n-1" }, { "{\"type\":\"integer\",\"minimum\":-12,\"maximum\":105}", "-12\n-1\n0\n99\n100\n105", "-13\n106\n-0" },
    { "{\"type\":\"integer\",\"minimum\":37,\"maximum\":1204}", "37\n40\n99\n100\n999\n1000\n1199\n1204", "36\n1205\n1210\n2000\n04" }, { "{\"type\":\"integer\",\"exclusiveMinimum\":5}", "6\n99999", "5\n-6" },
    { "{\"type\":\"integer\",\"exclusiveMaximum\":0}", "-1\n-500", "0\n1" }, { "{\"type\":\"integer\",\"minimum\":1.5,\"maximum\":3.5}", "2\n3", "1\n4" }, { "{\"type\":\"integer\",\"minimum\":1,\"exclusiveMinimum\":true,\"maximum\":3}", "2\n3", "1" },
    { "{\"type\":\"integer\",\"minimum\":9,\"maximum\":8}", "", "8\n9" }, { "{\"type\":\"integer\",\"minimum\":-9223372036854775808,\"maximum\":9223372036854775807}", "0\n-999999999999999", "9999999999999999" },
    { "{\"type\":\"integer\",\"format\":\"int32\"}", "2147483647\n-2147483648", "2147483648" },
    { "{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":-14,\"maximum\":20}", "-14\n-7\n0\n7\n14", "1\n21" }, { "{\"type\":\"integer\",\"multipleOf\":5}", "0\n-15\n100005", "3\n-12" }, { "{\"type\":\"number\",\"multipleOf\":1}", "3", "3.5" },
    { "{\"type\":\"integer\",\"multipleOf\":12,\"minimum\":0}", "0\n12\n120", "-12\n13" }, { "{\"type\":\"integer\",\"multipleOf\":12,\"minimum\":1}", "12", "0\n-12" },
    { "{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "0\n1\n0.5\n0.00000001\n1.0\n0.0", "1.01\n-0.1\n-0\n1e0\n2" }, { "{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1}", "0.5\n0.01\n0.99", "0\n1\n0.0\n1.0\n0.000" },
    { "{\"type\":\"number\",\"minimum\":-2.5,\"maximum\":3.25}", "-2.5\n-2.49\n0\n3\n3.25\n3.250\n-1\n3.1", "-2.51\n3.26\n3.251\n-3\n4" }, { "{\"type\":\"number\",\"minimum\":1.25,\"maximum\":1.75}", "1.25\n1.3\n1.75\n1.7\n1.250", "1\n1.2\n1.76\n2\n1.24\n1.751" },
    { "{\"type\":\"number\",\"minimum\":-2,\"maximum\":-1}", "-1\n-2\n-1.5\n-2.0", "1\n-2.1\n-0.9\n0" }, { "{\"type\":\"number\",\"exclusiveMinimum\":1.5,\"exclusiveMaximum\":1.6}", "1.51\n1.599", "1.5\n1.6\n1.50" },
    { "{\"type\":\"number\",\"minimum\":100}", "100\n999999999\n100.5", "99.99\n-100" }, { "{\"type\":\"number\",\"maximum\":1.5e2}", "150\n-3.5\n149.9", "150.1" }, { "{\"type\":\"number\",\"minimum\":2,\"maximum\":1}", "", "1\n2" },
    { "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}", "[1]\n[1, 2,3]\n[ 1]", "[]\n[1,2,3,4]\n[1.5]\n[1,]" }, { "{\"type\":\"array\",\"maxItems\":0}", "[]", "[1]" },
    { "{\"type\":\"array\"}", "[]\n[1, \"a\", {}]", "{}\n[" }, { "{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"minItems\":2}", "[1, \"a\"]", "[1]\n[1, 2]\n[1, \"a\", 3]" },
    { "{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"}],\"items\":{\"type\":\"boolean\"}}", "[]\n[1]\n[1, true, false]", "[true]\n[1, 2]" }, { "{\"items\":[{\"const\":1},{\"const\":2}],\"additionalItems\":false}", "[]\n[1]\n[1, 2]", "[2]\n[1, 2, 3]" },
    { "{\"type\":\"array\",\"prefixItems\":[{\"const\":1}],\"items\":false}", "[1]\n[]", "[1, 1]" }, { "{\"type\":\"array\",\"items\":{\"const\":1},\"uniqueItems\":true,\"maxItems\":1}", "[1]", "[1, 1]" },
    { "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},\"required\":[\"a\"]}", "{\"a\": 1}\n{\"a\":1,\"b\":\"x\"}\n{ \"a\": 1, \"b\": \"\" }\n{\n  \"a\": 1\n}", "{}\n{\"b\":\"x\"}\n{\"b\":\"\",\"a\":1}\n{\"a\":1,\"c\":2}\n{\"a\":1,}" },
    { "{\"properties\":{\"a\":{},\"b\":{},\"c\":{}}}", "{}\n{\"a\":1}\n{\"c\":1}\n{\"a\":1,\"c\":2}\n{\"b\":null,\"c\":[]}", "{\"c\":1,\"a\":1}\n{,\"a\":1}" },
    { "{\"type\":\"object\"}", "{}\n{\"x\": {\"y\": [1]}}", "[]" }, { "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}", "{}\n{\"x\": 1, \"y\": 2}", "{\"x\": \"1\"}\n{\"\": 1}" }, { "{\"type\":\"object\",\"additionalProperties\":false}", "{}\n{ }", "{\"a\":1}" },
    { "{\"properties\":{\"ab\":{\"const\":1},\"abc\":{\"const\":2},\"b\":{\"const\":3}},\"additionalProperties\":{\"const\":4}}", "{\"ab\":1,\"b\":3,\"x\":4}\n{\"a\":4}\n{\"abcd\":4,\"abd\":4,\"ba\":4}", "{\"ab\":4}\n{\"b\":4}\n{\"abc\":4}\n{\"x\":1}\n{\"\\u0061b\":4}" },
    { "{\"properties\":{\"\xc3\xa9\":{\"const\":1}},\"additionalProperties\":{\"const\":2}}", "{\"\xc3\xa9\":1}\n{\"e\":2}", "{\"\xc3\xa9\":2}" }, { "{\"properties\":{\"a\\\"\\n\":{\"const\":1}}}", "{\"a\\\"\\n\":1}", "{\"a\":1}" },
    { "{\"required\":[\"x\",\"x\"]}", "{\"x\":1}\n{\"x\":[],\"z\":1}", "{}\n{\"y\":1}" }, { "{\"properties\":{\"a\":{}},\"required\":[\"b\"]}", "{\"a\":1,\"b\":2}\n{\"b\":2}", "{\"a\":1}" },
    { "{\"type\":\"object\",\"minProperties\":2,\"maxProperties\":3}", "{\"a\":1,\"b\":2}\n{\"a\":1,\"b\":2,\"c\":3}", "{}\n{\"a\":1}\n{\"a\":1,\"b\":2,\"c\":3,\"d\":4}" }, { "{\"properties\":{\"a\":{}},\"required\":[\"a\"],\"additionalProperties\":true,\"maxProperties\":2}", "{\"a\":1}\n{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2,\"c\":3}" },
    { "{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\",\"maxLength\":1}]}", "1\n\"a\"", "\"ab\"\nnull" }, { "{\"oneOf\":[{\"const\":1},{\"const\":2}]}", "1\n2", "3" },
    { "{\"type\":\"integer\",\"anyOf\":[{\"minimum\":5},{\"maximum\":-5}]}", "5\n-5\n100", "0\n4" }, { "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}],\"oneOf\":[{\"maxLength\":1},{\"minimum\":3}]}", "\"a\"\n\"ab\"\n3\n4", "null" },
    { "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{}},\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}", "{\"a\":1}\n{\"b\":1}\n{\"a\":1,\"b\":2}", "{}" },
    { "{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"number\"}},\"required\":[\"a\"]},{\"properties\":{\"a\":{\"minimum\":0},\"b\":{\"type\":\"null\"}}}]}", "{\"a\":1}\n{\"a\":0.5,\"b\":null}", "{\"a\":-1}\n{}" },
    { "{\"allOf\":[{\"properties\":{\"a\":{}},\"additionalProperties\":false},{\"properties\":{\"a\":{\"const\":1},\"b\":{}}}]}", "{\"a\":1}\n{}", "{\"b\":1}\n{\"a\":2}" },
    { "{\"allOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", "", "1\n\"a\"" }, { "{\"allOf\":[{\"enum\":[1,2,3]},{\"enum\":[3,2.0]}]}", "2\n3", "1" },
    { "{\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}},\"$ref\":\"#/$defs/n\"}", "{\"v\":1,\"next\":null}\n{\"v\":1,\"next\":{\"v\":2,\"next\":null}}", "{\"v\":1}\n{\"v\":1,\"next\":{}}" },
    { "{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", "[]\n[[], [[]]]", "[1]" }, { "{\"definitions\":{\"a/b ~\":{\"const\":1}},\"$ref\":\"#/definitions/a~1b%20~0\"}", "1", "2" }, { "{\"properties\":{\"a\":{\"const\":1},\"b\":{\"$ref\":\"#/properties/a\"}}}", "{\"a\":1,\"b\":1}", "{\"b\":2}" },
    { "{\"$ref\":\"#/$defs/a\",\"minimum\":2,\"$defs\":{\"a\":{\"type\":\"integer\"}}}", "2", "1" }, { "{\"$ref\":\"#\"}", "1\n[]", "x" }, { "{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\",\"type\":\"null\"}},\"$ref\":\"#/$defs/a\"}", "null", "1" },
    { "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "", "{}\n{\"a\":{}}" }, { "false", "", "1" }, { "{\"properties\":{\"a\":false,\"b\":true}}", "{}\n{\"b\":1}", "{\"a\":1}" },
    { "{\"title\":\"T\",\"description\":\"D\",\"default\":1,\"examples\":[1],\"x-mine\":{\"not\":1},\"discriminator\":{},\"type\":\"null\",\"not\":false,\"uniqueItems\":false,\"patternProperties\":{}}", "null", "1" },
    { "{\"allOf\":[{\"properties\":{\"a\":{}}}],\"properties\":{\"b\":{}},\"unevaluatedProperties\":false}", "{\"b\":1,\"a\":1}\n{\"a\":1}", "{\"c\":1}" }, { "{\"allOf\":[{\"unevaluatedProperties\":false}]}", "{}", "{\"a\":1}\n1" },
    { "{\"type\":\"object\",\"properties\":{\"a\":{}},\"unevaluatedProperties\":false}", "{\"a\":1}", "{\"b\":1}" },
};

static void what_is_made_fits_the_schema(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct grammar *g = make(rows[i].schema);
        for (int yes = 1; yes >= 0; yes--) {
            str rest = str_of(yes ? rows[i].yes : rows[i].no), line;
            /* A text with a line end in it stands alone. */
            for (bool more = rest.n > 0; more;) {
                char text[200];
                size_t braces = 0, n = 0;
                for (; n < rest.n && (rest.p[n] != '\n' || braces); n++)
                    braces += rest.p[n] == '{' && n + 1 < rest.n && rest.p[n + 1] == '\n' ? 1 : rest.p[n] == '}' && braces ? (size_t)-1 : 0;
                line = str_slice(rest.p, n);
                more = n < rest.n;
                rest = str_skip(rest, n + 1);
                snprintf(text, sizeof text, "%.*s", STR_ARG(line));
                if (!g ? yes : whole(g, text) != (bool)yes)
                    fail_msg("%s: '%s' is %staken", rows[i].schema, text, yes ? "not " : "");
            }
        }
        grammar_free(g);
    }
}

static const struct { const char *schema; enum err want; const char *param; } refused[] = {
    { "{\"not\":{\"type\":\"null\"}}", ERR_UNSUPPORTED, "not" }, { "{\"properties\":{\"x\":{\"type\":\"number\",\"multipleOf\":0.01}}}", ERR_UNSUPPORTED, "properties.x.multipleOf" },
    { "{\"items\":{\"anyOf\":[{},{\"if\":{}, \"then\":{}},{\"if\":{\"type\":\"null\"}}]}}", ERR_UNSUPPORTED, "items.anyOf[1].if" }, { "{\"type\":\"array\",\"uniqueItems\":true}", ERR_UNSUPPORTED, "uniqueItems" },
    { "{\"patternProperties\":{\"a\":{}}}", ERR_UNSUPPORTED, "patternProperties" }, { "{\"if\":{},\"contains\":{}}", ERR_UNSUPPORTED, "contains" }, { "{\"contains\":{\"type\":\"null\"}}", ERR_UNSUPPORTED, "contains" }, { "{\"dependentRequired\":{\"a\":[\"b\"]}}", ERR_UNSUPPORTED, "dependentRequired" },
    { "{\"propertyNames\":{\"maxLength\":3}}", ERR_UNSUPPORTED, "propertyNames" }, { "{\"$defs\":{\"a\":{\"not\":{\"type\":\"null\"}}},\"properties\":{\"q\":{\"$ref\":\"#/$defs/a\"}}}", ERR_UNSUPPORTED, "$defs.a.not" }, { "{\"$defs\":{\"a\":{\"not\":{}}}}", ERR_OK, "" },
    { "{\"$ref\":\"other.json\"}", ERR_UNSUPPORTED, "$ref" }, { "{\"$ref\":\"#anchor\"}", ERR_UNSUPPORTED, "$ref" }, { "{\"$ref\":\"#/$defs/none\"}", ERR_SYNTAX, "$ref" }, { "{\"$ref\":7}", ERR_SYNTAX, "$ref" },
    { "{\"type\":\"text\"}", ERR_SYNTAX, "type" }, { "{\"type\":[]}", ERR_SYNTAX, "type" }, { "{\"type\":{}}", ERR_SYNTAX, "type" }, { "7", ERR_SYNTAX, "" }, { "{\"properties\":{\"a\":7}}", ERR_SYNTAX, "properties.a" }, { "{\"properties\":[]}", ERR_SYNTAX, "properties" },
    { "{\"required\":true}", ERR_SYNTAX, "required" }, { "{\"required\":[1]}", ERR_SYNTAX, "required" }, { "{\"enum\":[]}", ERR_SYNTAX, "enum" }, { "{\"enum\":{}}", ERR_SYNTAX, "enum" }, { "{\"anyOf\":[]}", ERR_SYNTAX, "anyOf" }, { "{\"allOf\":{}}", ERR_SYNTAX, "allOf" },
    { "{\"type\":\"string\",\"pattern\":\"(?=a)\"}", ERR_UNSUPPORTED, "pattern" }, { "{\"type\":\"string\",\"pattern\":\"(\"}", ERR_SYNTAX, "pattern" }, { "{\"type\":\"string\",\"pattern\":7}", ERR_SYNTAX, "pattern" }, { "{\"type\":\"string\",\"format\":\"isbn\"}", ERR_UNSUPPORTED, "format" },
    { "{\"type\":\"string\",\"pattern\":\"^abc$\",\"maxLength\":2}", ERR_UNSUPPORTED, "pattern" }, { "{\"type\":\"string\",\"format\":\"uuid\",\"maxLength\":5}", ERR_UNSUPPORTED, "format" }, { "{\"type\":\"string\",\"format\":\"date\",\"pattern\":\"^2\"}", ERR_UNSUPPORTED, "pattern" },
    { "{\"type\":\"string\",\"maxLength\":10001}", ERR_RANGE, "maxLength" }, { "{\"type\":\"string\",\"maxLength\":-1}", ERR_SYNTAX, "maxLength" }, { "{\"type\":\"string\",\"minLength\":\"1\"}", ERR_SYNTAX, "minLength" }, { "{\"type\":\"string\",\"minLength\":1.5}", ERR_SYNTAX, "minLength" },
    { "{\"type\":\"array\",\"maxItems\":99999}", ERR_RANGE, "maxItems" }, { "{\"type\":\"integer\",\"minimum\":1e16}", ERR_UNSUPPORTED, "minimum" }, { "{\"type\":\"number\",\"minimum\":0.12345678901234567}", ERR_UNSUPPORTED, "minimum" }, { "{\"type\":\"number\",\"maximum\":\"3\"}", ERR_SYNTAX, "maximum" },
    { "{\"type\":\"integer\",\"multipleOf\":0}", ERR_SYNTAX, "multipleOf" }, { "{\"type\":\"integer\",\"multipleOf\":1000}", ERR_UNSUPPORTED, "multipleOf" }, { "{\"type\":\"integer\",\"multipleOf\":3,\"maximum\":100}", ERR_UNSUPPORTED, "multipleOf" },
    { "{\"properties\":{\"a\":{},\"b\":{}},\"minProperties\":1}", ERR_UNSUPPORTED, "minProperties" }, { "{\"properties\":{\"a\":{},\"b\":{}},\"maxProperties\":1}", ERR_UNSUPPORTED, "maxProperties" }, { "{\"type\":\"string\",\"enum\":[\"a\"],\"pattern\":\"b\"}", ERR_UNSUPPORTED, "pattern" },
    { "{\"type\":\"object\",\"type\":\"array\"}", ERR_SYNTAX, "" }, { "{\"properties\":{\"a\":{},\"a\":{}}}", ERR_SYNTAX, "properties" }, { "{\"items\":[7]}", ERR_SYNTAX, "items[0]" }, { "{\"allOf\":[{\"unevaluatedProperties\":false},{\"properties\":{\"a\":{}}}]}", ERR_UNSUPPORTED, "allOf[0].unevaluatedProperties" },
};

static void what_cannot_be_honoured_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct arena a;
        struct rules o;
        struct schema_error why;
        arena_init(&a, 64 << 20);
        enum err e = convert(&a, refused[i].schema, &o, &why);
        if (e != refused[i].want || (e && (!str_eq(why.param, str_of(refused[i].param)) || !why.message.n)))
            fail_msg("%s: %s, %.*s: %.*s", refused[i].schema, err_name(e), STR_ARG(why.param), STR_ARG(why.message));
        rules_free(&o);
        arena_free(&a);
    }
}

/* ---- hostile ---- */

static void put_times(struct buf *b, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)buf_put(b, str_of(text));
}

static void large_and_tangled_schemas_end_at_a_bound(void **state)
{
    (void)state;
    for (int which = 0; which < 7; which++) {
        struct arena a;
        struct rules o;
        struct schema_error why;
        struct gbnf_error wrong;
        struct grammar *g = NULL;
        struct buf b = { .max = 64 << 20 };
        arena_init(&a, 512 << 20);
        switch (which) {
        case 0:                         /* two to the power of 20 combinations */
            (void)buf_put(&b, S("{\"allOf\":["));
            put_times(&b, "{\"anyOf\":[{\"minimum\":1},{\"maximum\":5}]},", 20);
            (void)buf_put(&b, S("{}]}"));
            break;
        case 1:
            put_times(&b, "{\"items\":", 120);
            (void)buf_put(&b, S("{}"));
            put_times(&b, "}", 120);
            break;
        case 2:
            (void)buf_put(&b, S("{\"properties\":{"));
            for (int i = 0; i < 20000; i++)
                (void)buf_printf(&b, "%s\"name%d\":{\"type\":\"string\",\"maxLength\":%d}", i ? "," : "", i, i % 100);
            (void)buf_put(&b, S("}}"));
            break;
        case 3:
            (void)buf_put(&b, S("{\"required\":["));
            for (int i = 0; i < 100000; i++)
                (void)buf_printf(&b, "%s\"name%d\"", i ? "," : "", i % 50000);
            (void)buf_put(&b, S("]}"));
            break;
        case 4:
            (void)buf_put(&b, S("{\"allOf\":["));
            put_times(&b, "{\"type\":\"integer\"},", 100);
            (void)buf_put(&b, S("{}]}"));
            break;
        case 5:
            (void)buf_put(&b, S("{\"enum\":["));
            for (int i = 0; i < 100000; i++)
                (void)buf_printf(&b, "%s%d", i ? "," : "", i);
            (void)buf_put(&b, S("]}"));
            break;
        default:
            (void)buf_put(&b, S("{\"type\":\"array\",\"minItems\":9999,\"items\":{\"type\":\"array\",\"minItems\":9999,\"items\":{\"type\":\"array\",\"minItems\":9999,\"items\":{\"type\":\"string\",\"minLength\":9999}}}}"));
        }
        (void)buf_putc(&b, 0);
        enum err e = convert(&a, b.p, &o, &why);
        assert_true(e == ERR_OK || e == ERR_LIMIT);
        if (!e)
            e = grammar_new(buf_str(&o.b), false, GRAMMAR_MEMORY, &g, &wrong);
        if (e && e != ERR_LIMIT)
            assert_true(which == 1 || strstr(wrong.what, "no text") != NULL);
        grammar_free(e ? NULL : g);
        rules_free(&o);
        buf_free(&b);
        arena_free(&a);
    }
}

static void paths_begin_where_the_schema_was_found(void **state)
{
    (void)state;
    struct arena a;
    struct rules o;
    struct schema_error why;
    json v;
    char name[SCHEMA_NAME];
    arena_init(&a, 1 << 20);
    str body = S("{\"response_format\":{\"json_schema\":{\"schema\":{\"properties\":{\"x\":{\"type\":\"number\",\"multipleOf\":0.5}}}}}}");
    assert_int_equal(json_parse(&a, body, &JSON_DEFAULT_LIMITS, &v, NULL), ERR_OK);
    rules_init(&o);
    json schema = json_member(json_member(json_member(v, S("response_format")), S("json_schema")), S("schema"));
    assert_int_equal(schema_write(&a, &o, schema, STR_NONE, name, &why), ERR_UNSUPPORTED);
    assert_true(str_eq(why.param, S("response_format.json_schema.schema.properties.x.multipleOf")));
    assert_int_equal(schema_write(&a, &o, schema, S("here"), name, &why), ERR_UNSUPPORTED);
    assert_true(str_starts(why.param, S("here.response_format.")));
    rules_free(&o);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_fits_the_schema),
        cmocka_unit_test(what_cannot_be_honoured_is_named),
        cmocka_unit_test(large_and_tangled_schemas_end_at_a_bound),
        cmocka_unit_test(paths_begin_where_the_schema_was_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
