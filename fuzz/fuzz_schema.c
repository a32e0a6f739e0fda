/* fuzz: grammar core */
/* A schema is refused with a reason, or becomes a grammar whose texts are JSON of a type that it names. The bytes after its first line break
 * lead the walk. */
#include "infer/grammar.h"
#include "infer/schema.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool step(struct grammar_run *r, struct buf *text, uint8_t choice, bool *ended)
{
    char allowed[256];
    size_t n = 0;
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        if (grammar_fits(r, str_slice(&c, 1)))
            allowed[n++] = c;
    }
    assert(r->failed || n || grammar_may_end(r));
    *ended = grammar_may_end(r) && (n == 0 || choice & 1);
    if (*ended || !n)
        return false;
    char c = allowed[choice % n];
    return grammar_take(r, str_slice(&c, 1)) && buf_putc(text, c) == ERR_OK;
}

static bool type_fits(json schema, json v)
{
    static const char *const names[] = { [JSON_NULL] = "null", [JSON_FALSE] = "boolean", [JSON_TRUE] = "boolean", [JSON_NUMBER] = "number", [JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object" };
    json type = json_member(schema, S("type"));
    double x;
    if (json_type(type) != JSON_STRING || json_type(json_member(schema, S("nullable"))) == JSON_TRUE)
        return true;
    return json_is(type, str_of(names[json_type(v)])) || (json_is(type, S("integer")) && json_f64(v, &x));
}

static void check(struct arena *a, json schema, struct grammar *g, str choices)
{
    struct grammar_run r;
    struct buf text = { .max = 1 << 20 };
    json v;
    bool ended = false;
    grammar_begin(g, &r);
    for (size_t i = 0; i < choices.n && i < 300 && step(&r, &text, (uint8_t)choices.p[i], &ended); i++)
        ;
    grammar_end(&r);
    if (ended) {
        assert(json_parse(a, arena_str(a, buf_str(&text)), &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK);
        assert(type_fits(schema, v));
    }
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    struct rules o;
    struct schema_error wrong;
    struct gbnf_error why;
    struct grammar *g = NULL;
    json schema;
    char name[SCHEMA_NAME];
    str text, choices;
    (void)str_cut((str){ (const char *)p, n }, '\n', &text, &choices);
    arena_init(&a, 128 << 20);
    rules_init(&o);
    if (json_parse(&a, text, &JSON_DEFAULT_LIMITS, &schema, NULL) == ERR_OK) {
        enum err e = schema_write(&a, &o, schema, S("schema"), name, &wrong);
        if (e) {
            assert(wrong.message.n && str_starts(wrong.param, S("schema")) && err_http(e) < 500);
        } else {
            rules_put(&o, "root ::= %s\n", name);
            e = rules_finish(&o);
            if (e == ERR_OK && (e = grammar_new(buf_str(&o.b), false, 4 << 20, &g, &why)) == ERR_OK)
                check(&a, schema, g, choices);
            else
                assert(e == ERR_LIMIT || strstr(why.what, "no text of finite length"));
            grammar_free(e ? NULL : g);
        }
    }
    rules_free(&o);
    arena_free(&a);
    return 0;
}
