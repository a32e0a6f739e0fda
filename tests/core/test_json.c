/* JSON: what is accepted, what is refused and where, spans, look-ups, limits, and the writer. */
#include "core/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static enum err parse(struct arena *a, str text, json *v, struct json_error *why)
{
    return json_parse(a, text, &JSON_DEFAULT_LIMITS, v, why);
}

static void documents_of_the_grammar_are_accepted(void **state)
{
    static const str good[] = {
        S("{}"), S("[]"), S(" [ ] "), S("null"), S("true"), S("false"), S("0"), S("-0"), S("-0.0e-0"), S("1e9"), S("1E+9"), S("\"\""), S("\"\\u0000\""),
        S("\"\\ud83d\\ude00\""), S("\"\xF0\x9F\x98\x80\""), S("[1,2,3]"), S("{\"a\":{\"b\":[{}]},\"a\":1}"), S("\t\r\n 1 \n"), S("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
        S("[[],[],{}]"), S("123456789012345678901234567890"), S("\"\xEF\xBF\xBF\""), S("\"\x7F\""), S("{\"\":0}"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct arena a;
        json v;
        arena_init(&a, 1 << 20);
        if (parse(&a, good[i], &v, NULL) != ERR_OK)
            fail_msg("refused: %.*s", STR_ARG(good[i]));
        arena_free(&a);
    }
}

static void what_is_not_json_is_refused_where_it_goes_wrong(void **state)
{
    static const struct { str text; size_t at; } bad[] = {
        { S(""), 0 }, { S(" "), 1 }, { S("{"), 1 }, { S("["), 1 }, { S("[1,]"), 3 }, { S("{\"a\":1,}"), 7 }, { S("{,}"), 1 }, { S("[,1]"), 1 },
        { S("01"), 0 }, { S("-"), 1 }, { S("-a"), 1 }, { S("1."), 2 }, { S(".1"), 0 }, { S("1e"), 2 }, { S("1e+"), 3 }, { S("+1"), 0 }, { S("NaN"), 0 },
        { S("Infinity"), 0 }, { S("nul"), 0 }, { S("True"), 0 }, { S("1 2"), 2 }, { S("\"a"), 2 }, { S("\"\\x\""), 2 }, { S("\"\\u12\""), 1 },
        { S("\"\\ud800\""), 1 }, { S("\"\\udc00\""), 1 }, { S("\"\\ud800\\u0041\""), 1 }, { S("\"\n\""), 1 }, { S("\"\0\""), 1 }, { S("'a'"), 0 }, { S("{a:1}"), 1 },
        { S("{\"a\" 1}"), 5 }, { S("[1 2]"), 3 }, { S("[1}"), 2 }, { S("{\"a\":1]"), 6 }, { S("]"), 0 }, { S("\"\xFF\""), 1 }, { S("\"\xC0\x80\""), 1 },
        { S("\"\xED\xA0\x80\""), 1 }, { S("\"\xF4\x90\x80\x80\""), 1 }, { S("\"\xE2\x82"), 1 }, { S("\xEF\xBB\xBF{}"), 0 }, { S("/**/1"), 0 }, { S("\"\\"), 2 },
        { S("1\0"), 1 }, { S("\f1"), 0 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena a;
        struct json_error why = { 0 };
        json v;
        arena_init(&a, 1 << 20);
        char *exact = malloc(bad[i].text.n + !bad[i].text.n);        /* so that ASan sees one byte too many */
        memcpy(exact, bad[i].text.p, bad[i].text.n);
        if (parse(&a, (str){ exact, bad[i].text.n }, &v, &why) != ERR_SYNTAX)
            fail_msg("accepted: %.*s", STR_ARG(bad[i].text));
        if (why.at != bad[i].at)
            fail_msg("%.*s: wrong at %zu, not at %zu (%s)", STR_ARG(bad[i].text), bad[i].at, why.at, why.what);
        free(exact);
        arena_free(&a);
    }
}

static void a_document_can_be_walked_and_its_spans_are_its_own_bytes(void **state)
{
    struct arena a;
    json v, m;
    str text, dup;
    int64_t i;
    double d;
    bool b;
    (void)state;
    arena_init(&a, 1 << 20);
    assert_int_equal(parse(&a, S(" {\"a\" : [1, 2.50 ,\"x\\u0041\"],\"k\\u0065y\":{\"z\":true},\"n\":-9223372036854775808, \"a\":null } "), &v, NULL), ERR_OK);
    assert_int_equal(json_count(v), 4);
    assert_true(str_eq(json_span(json_member(v, S("a"))), S("[1, 2.50 ,\"x\\u0041\"]")));
    assert_true(str_eq(json_span(json_at(json_member(v, S("a")), 1)), S("2.50")));
    assert_true(json_f64(json_at(json_member(v, S("a")), 1), &d) && d == 2.5);
    assert_false(json_i64(json_at(json_member(v, S("a")), 1), &i));
    assert_int_equal(json_text(&a, json_at(json_member(v, S("a")), 2), &text), ERR_OK);
    assert_true(str_eq(text, S("xA")) && json_is(json_at(json_member(v, S("a")), 2), S("xA")));
    assert_int_equal(json_type(json_at(json_member(v, S("a")), 3)), JSON_NONE);
    assert_true(json_bool(json_member(json_member(v, S("key")), S("z")), &b) && b);
    assert_true(json_i64(json_member(v, S("n")), &i) && i == INT64_MIN);
    assert_int_equal(json_type(json_member(json_member(v, S("none")), S("x"))), JSON_NONE);
    assert_true(json_has_duplicate(v, &dup) && str_eq(dup, S("a")));
    assert_false(json_has_duplicate(json_member(v, S("key")), &dup));
    int n = 0;
    for (m = json_first(v); json_type(m) != JSON_NONE; m = json_next(m))
        n += json_type(json_key(m)) == JSON_STRING;
    assert_int_equal(n, 4);
    n = 0;
    for (m = json_first(json_member(v, S("a"))); json_type(m) != JSON_NONE; m = json_next(m))
        n++;
    assert_int_equal(n, 3);
    arena_free(&a);
}

static void walking_stops_at_the_end_of_the_inner_container(void **state)
{
    struct arena a;
    json v;
    (void)state;
    arena_init(&a, 1 << 20);
    assert_int_equal(parse(&a, S("[[[1]],[2],{\"a\":{\"b\":3},\"c\":[4,5]},6]"), &v, NULL), ERR_OK);
    size_t n = 0;
    for (json m = json_first(v); json_type(m) != JSON_NONE; m = json_next(m))
        n++;
    assert_int_equal(n, 4);
    assert_int_equal(json_type(json_next(json_first(json_at(v, 0)))), JSON_NONE);
    assert_int_equal(json_type(json_next(json_member(json_member(json_at(v, 2), S("a")), S("b")))), JSON_NONE);
    assert_true(str_eq(json_span(json_next(json_member(json_at(v, 2), S("a")))), S("[4,5]")));
    arena_free(&a);
}

static void duplicates_are_seen_among_many_keys_and_behind_escapes(void **state)
{
    struct arena a;
    struct buf b;
    json v;
    str dup;
    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        arena_init(&a, 1 << 20);
        buf_init(&b, 1 << 20);
        buf_put(&b, S("{"));
        for (int i = 0; i < 100; i++)
            buf_printf(&b, "\"k%d\":%d,", i, i);
        buf_put(&b, twice ? S("\"\\u006b50\":1}") : S("\"k100\":1}"));
        assert_int_equal(parse(&a, buf_str(&b), &v, NULL), ERR_OK);
        assert_int_equal(json_has_duplicate(v, &dup), twice);
        if (twice)
            assert_true(str_eq(dup, S("k50")));
        arena_free(&a);
        buf_free(&b);
    }
}

static void a_duplicate_is_found_however_deep_it_lies(void **state)
{
    static const struct { str text, key; } cases[] = {
        { S("[]"), S("") }, { S("1"), S("") }, { S("{\"a\":{\"a\":{\"a\":[{\"a\":1},{\"a\":1}]}}}"), S("") }, { S("{\"a\":1,\"b\":2,\"a\":3}"), S("a") },
        { S("[[{\"x\":[{}]}],{\"y\":{\"z\":1,\"\\u007a\":2}}]"), S("\\u007a") }, { S("{\"a\":[1,2,{\"b\":\"b\",\"c\":{},\"b\":null}]}"), S("b") }, { S("{\"\":0,\"\":0}"), S("") },
    };
    struct arena a;
    json v;
    str dup;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena_init(&a, 1 << 16);
        assert_int_equal(parse(&a, cases[i].text, &v, NULL), ERR_OK);
        bool found = json_find_duplicate(v, &dup);
        assert_int_equal(found, cases[i].key.n || i == 6);
        assert_true(!found || str_eq(dup, cases[i].key));
        arena_free(&a);
    }
    arena_init(&a, 1 << 16);            /* of the part that is asked about, and of nothing beside it */
    assert_int_equal(parse(&a, S("{\"one\":{\"k\":1},\"two\":{\"k\":1,\"k\":2}}"), &v, NULL), ERR_OK);
    assert_false(json_find_duplicate(json_member(v, S("one")), &dup));
    assert_true(json_find_duplicate(json_member(v, S("two")), &dup));
    assert_false(json_find_duplicate(JSON_ABSENT, &dup));
    arena_free(&a);
}

static void depth_nodes_bytes_and_memory_are_limited(void **state)
{
    char deep[JSON_MAX_DEPTH * 2 + 2];
    struct arena a;
    json v;
    (void)state;
    for (unsigned depth = 1; depth <= JSON_MAX_DEPTH + 1; depth++) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        arena_init(&a, 1 << 20);
        enum err e = json_parse(&a, (str){ deep, 2 * depth }, &(struct json_limits){ 100000, 100000, 100000 }, &v, NULL);
        assert_int_equal(e, depth <= JSON_MAX_DEPTH ? ERR_OK : ERR_LIMIT);
        arena_free(&a);
    }
    str text = S("{\"a\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34],\"b\":2}");
    arena_init(&a, 1 << 20);
    assert_int_equal(json_parse(&a, text, &(struct json_limits){ 10, 38, 1000 }, &v, NULL), ERR_LIMIT);
    assert_int_equal(json_parse(&a, text, &(struct json_limits){ 10, 39, 1000 }, &v, NULL), ERR_OK);
    assert_int_equal(json_parse(&a, text, &(struct json_limits){ 10, 39, text.n - 1 }, &v, NULL), ERR_LIMIT);
    arena_free(&a);
    for (size_t limit = 0;; limit++) {          /* every amount of memory from none to enough */
        char *mem = malloc(limit + !limit);
        struct arena fixed = { .base = mem, .at = mem, .end = mem + limit };
        enum err e = parse(&fixed, text, &v, NULL);
        free(mem);
        if (e == ERR_OK)
            break;
        assert_int_equal(e, ERR_LIMIT);
    }
}

static void what_is_written_reads_back(void **state)
{
    struct buf b;
    struct json_out o;
    struct arena a;
    json v;
    str text;
    double d;
    (void)state;
    buf_init(&b, 1 << 16);
    arena_init(&a, 1 << 16);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("s"));
    json_put_str(&o, S("a\"\\\b\f\n\r\t\x01é😀/\xFFz"));
    json_put_key(&o, S("l"));
    json_open(&o, '[');
    json_put_i64(&o, INT64_MIN);
    json_put_f64(&o, 0.1);
    json_put_f64(&o, NAN);
    json_put_bool(&o, true);
    json_put_raw(&o, S("{}"));
    json_close(&o, ']');
    json_put_key(&o, S("e"));
    json_open(&o, '{');
    json_close(&o, '}');
    json_close(&o, '}');
    assert_int_equal(o.err, ERR_OK);
    assert_true(str_eq(buf_str(&b), S("{\"s\":\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001é😀/\xEF\xBF\xBDz\",\"l\":[-9223372036854775808,0.1,null,true,{}],\"e\":{}}")));
    assert_int_equal(parse(&a, buf_str(&b), &v, NULL), ERR_OK);
    assert_int_equal(json_text(&a, json_member(v, S("s")), &text), ERR_OK);
    assert_true(str_eq(text, S("a\"\\\b\f\n\r\t\x01é😀/\xEF\xBF\xBDz")));
    static const double hard[] = { 0.1, 1e300, 5e-324, 1.7976931348623157e308, 1.0 / 3, 123456789.125, -0.0, 3.0 };
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
        buf_clear(&b);
        json_out_init(&o, &b);
        json_put_f64(&o, hard[i]);
        assert_int_equal(parse(&a, buf_str(&b), &v, NULL), ERR_OK);
        assert_true(json_f64(v, &d) && memcmp(&d, &hard[i], sizeof d) == 0);
    }
    buf_free(&b);
    buf_init(&b, 5);
    json_out_init(&o, &b);
    json_put_str(&o, S("longer than the cap"));
    assert_int_equal(o.err, ERR_LIMIT);
    buf_free(&b);
    arena_free(&a);
}

/* Every byte, at every place of texts of every length up to a few steps of the search, in memory of exactly that size. */
static void what_needs_no_escape_is_told_at_every_place(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 40; n++)
        for (size_t at = 0; at < n; at++)
            for (int c = 0; c < 256; c++) {
                char *text = malloc(n);
                memset(text, 'x', n);
                text[at] = (char)c;
                bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
                assert_int_equal(json_plain((str){ text, n }), plain ? n : at);
                free(text);
            }
    assert_int_equal(json_plain(STR_NONE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_of_the_grammar_are_accepted),
        cmocka_unit_test(what_is_not_json_is_refused_where_it_goes_wrong),
        cmocka_unit_test(a_document_can_be_walked_and_its_spans_are_its_own_bytes),
        cmocka_unit_test(walking_stops_at_the_end_of_the_inner_container),
        cmocka_unit_test(duplicates_are_seen_among_many_keys_and_behind_escapes),
        cmocka_unit_test(a_duplicate_is_found_however_deep_it_lies),
        cmocka_unit_test(depth_nodes_bytes_and_memory_are_limited),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(what_needs_no_escape_is_told_at_every_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
