/* Regular expressions: the texts that are made of them, what is not supported and where, and lengths. */
#include "infer/regex.h"

#include "infer/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct grammar *make(const char *pattern, bool search, bool in_json, uint32_t min, uint32_t max)
{
    struct arena a;
    struct buf b = { .max = 1 << 20 };
    struct regex *r;
    struct gbnf_error why;
    struct grammar *g = NULL;
    arena_init(&a, 1 << 24);
    enum err e = regex_read(&a, str_of(pattern), search, &r, &why);
    if (e)
        fail_msg("%s: %s at %zu: %s", pattern, err_name(e), why.at, why.what);
    if (regex_limit(r, min, max)) {
        assert_int_equal(buf_put(&b, S("root ::= ")) || regex_write(&b, r, in_json), ERR_OK);
        if (grammar_new(buf_str(&b), false, GRAMMAR_MEMORY, &g, &why))
            fail_msg("%s: %.*s: %s", pattern, STR_ARG(buf_str(&b)), why.what);
    }
    buf_free(&b);
    arena_free(&a);
    return g;
}

static bool whole(struct grammar *g, str text)
{
    struct grammar_run r;
    grammar_begin(g, &r);
    bool ok = grammar_take(&r, text) && grammar_may_end(&r);
    grammar_end(&r);
    return ok;
}

/* Texts apart by semicolons. */
static void check(struct grammar *g, const char *pattern, const char *texts, bool want)
{
    str rest = str_of(texts), one;
    for (bool more = texts != NULL; more;) {
        more = str_cut(rest, ';', &one, &rest);
        if (whole(g, one) != want)
            fail_msg("%s: '%.*s' is %smade", pattern, STR_ARG(one), want ? "not " : "");
    }
}

static const struct { const char *pattern; bool search; const char *yes, *no; } rows[] = {
    { "abc", false, "abc", "ab;abcd;xabc" }, { "abc", true, "abc;xabcx;x\nabc", "ab" }, { "^abc$", true, "abc", "xabc;abcx" }, { "^abc", true, "abc;abcx", "xabc" }, { "abc$", true, "abc;xabc", "abcx" },
    { "a|b$|^c", true, "xay;xb;cx", "xbx;xc" }, { "^(a|b)$", true, "a;b", "c;ab" }, { "^$", true, "", "a" }, { "", true, ";abc", NULL }, { "", false, "", "a" }, { "a||b", false, ";a;b", "ab" },
    { "[a-c]+", false, "a;abc", ";d" }, { "[^a-c]", false, "d;\n;\xf0\x9f\xa6\x99", "a;;dd" }, { "[\\]\\-a]", false, "];-;a", "b" }, { "[a\\-z]", false, "a;-;z", "b" }, { "[-a]", false, "-;a", "b" }, { "[a-]", false, "-;a", "b" },
    { "\\d{3}", false, "123", "12;12a;\xd9\xa1\xd9\xa1\xd9\xa1" }, { "\\w+", false, "aZ_9", "-; ;\xc3\xa9" }, { "\\s", false, " ;\t;\n", "a;\xc2\xa0" }, { "\\D", false, "a;-;\xc3\xa9", "1;\xd9\xa1" }, { "\\W", false, "-; ", "a;_;\xc3\xa9" }, { "\\S", false, "a;\xc3\xa9", " ;\xc2\xa0;\xe3\x80\x80" },
    { "[\\d.]+", false, "1.5", "a" }, { "[^\\s\"]+", false, "ab", "a b;\";\xc2\xa0" }, { "[^\\w]", false, "-", "a;\xc3\xa9" }, { "[\\S\\s]", false, "a; ", "ab" }, { "[^\\D]", false, "5", "a" },
    { ".", false, "a;\xc3\xa9;\"", "\n;\r;\xe2\x80\xa8;" }, { "a*", false, ";aaa", "b" }, { "a?b", false, "b;ab", "aab" }, { "a{2}", false, "aa", "a;aaa" }, { "a{2,}", false, "aa;aaaa", "a" }, { "a{1,2}b", false, "ab;aab", "b;aaab" }, { "(ab){2,3}", false, "abab;ababab", "ab" },
    { "a+?b*?", false, "aab;a", "b" }, { "(?:a)(?<n>b)(?P<m>c)", false, "abc", "a" }, { "a{x}", false, "a{x}", "a" }, { "{", false, "{", "" }, { "x{1", false, "x{1", "x" }, { "]}", false, "]}", "" },
    { "\\t\\n\\r\\f\\v", false, "\t\n\r\f\v", " " }, { "\\x41\\u0042\\u{43}\\u{1F600}\\ud83d\\ude00", false, "ABC\xf0\x9f\x98\x80\xf0\x9f\x98\x80", "ABC" }, { "\\.\\*\\/\\-\\$\\^\\(\\)\\[\\{\\|\\\\", false, ".*/-$^()[{|\\", "a" },
    { "[\\b]", false, "\b", "b" }, { "\xc3\xa9+", false, "\xc3\xa9\xc3\xa9", "e" }, { "(a(b(c)?)?)?", false, ";a;ab;abc", "ac" }, { "(a|ab)(c|bcd)", false, "ac;abc;abcd;abbcd", "ab" },
};

static void a_pattern_makes_its_texts_and_no_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct grammar *g = make(rows[i].pattern, rows[i].search, false, 0, REGEX_ANY_LENGTH);
        check(g, rows[i].pattern, rows[i].yes, true);
        check(g, rows[i].pattern, rows[i].no, false);
        grammar_free(g);
    }
}

static const struct { const char *pattern; enum err want; size_t at; const char *what; } refused[] = {
    { "a(?=b)", ERR_UNSUPPORTED, 1, "ahead" }, { "(?!b)", ERR_UNSUPPORTED, 0, "ahead" }, { "(?<=b)", ERR_UNSUPPORTED, 0, "behind" }, { "ab(?<!b)", ERR_UNSUPPORTED, 2, "behind" }, { "(a)\\1", ERR_UNSUPPORTED, 3, "back references" }, { "(?P=n)", ERR_UNSUPPORTED, 0, "back references" },
    { "\\bword", ERR_UNSUPPORTED, 0, "word boundaries" }, { "\\p{L}", ERR_UNSUPPORTED, 0, "Unicode properties" }, { "(?i)a", ERR_UNSUPPORTED, 0, "flags" }, { "(?>a)", ERR_UNSUPPORTED, 0, "atomic" }, { "a++", ERR_UNSUPPORTED, 1, "possessive" }, { "a^b", ERR_UNSUPPORTED, 1, "anchors" }, { "(^a)", ERR_UNSUPPORTED, 1, "anchors" },
    { "(a$)", ERR_UNSUPPORTED, 2, "anchors" }, { "a$b", ERR_UNSUPPORTED, 1, "anchors" }, { "\\A", ERR_UNSUPPORTED, 0, "not supported" }, { "\\k<n>", ERR_UNSUPPORTED, 0, "not supported" }, { "[[:alpha:]]", ERR_UNSUPPORTED, 1, "POSIX" }, { "[]a]", ERR_UNSUPPORTED, 0, "differently" }, { "[^]a]", ERR_UNSUPPORTED, 0, "differently" },
    { "a{,3}", ERR_UNSUPPORTED, 1, "differently" }, { "\\0", ERR_UNSUPPORTED, 0, "octal" }, { "(a", ERR_SYNTAX, 0, "not closed" }, { "a)", ERR_SYNTAX, 1, "not open" }, { "[a", ERR_SYNTAX, 0, "not closed" }, { "[z-a]", ERR_SYNTAX, 1, "must rise" }, { "[a-\\d]", ERR_SYNTAX, 1, "end of a range" }, { "[\\d-z]", ERR_SYNTAX, 1, "end of a range" },
    { "*a", ERR_SYNTAX, 0, "nothing to repeat" }, { "a**", ERR_SYNTAX, 2, "nothing to repeat" }, { "a|*", ERR_SYNTAX, 2, "nothing to repeat" }, { "^*", ERR_SYNTAX, 1, "nothing to repeat" }, { "a{3,2}", ERR_SYNTAX, 1, "must rise" }, { "a{200000}", ERR_LIMIT, 1, "repetitions" }, { "a\\", ERR_SYNTAX, 1, "backslash" },
    { "\\x4", ERR_SYNTAX, 0, "no character" }, { "\\ud83d", ERR_SYNTAX, 0, "no character" }, { "\\u{110000}", ERR_SYNTAX, 0, "no character" }, { "(?<n", ERR_SYNTAX, 0, "not closed" }, { "[^\\S\\s]", ERR_SYNTAX, 0, "no character" }, { "\xff", ERR_SYNTAX, 0, "UTF-8" },
    { "((((((((((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))))))))))", ERR_SYNTAX, 40, "nested too deeply" },
};

static void what_is_not_supported_is_said_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct arena a;
        struct regex *r;
        struct gbnf_error why = { 0, "" };
        arena_init(&a, 1 << 20);
        enum err e = regex_read(&a, str_of(refused[i].pattern), false, &r, &why);
        if (e != refused[i].want || why.at != refused[i].at || !strstr(why.what, refused[i].what))
            fail_msg("%s: %s at %zu: %s", refused[i].pattern, err_name(e), why.at, why.what);
        arena_free(&a);
    }
}

static void inside_json_characters_are_escaped(void **state)
{
    (void)state;
    static const struct { const char *pattern, *yes, *no; } table[] = {
        { "[^a]", "b;\\\";\\\\;\\n;\\t;\xc3\xa9", "\";\\;\n;a" }, { "\"q\"", "\\\"q\\\"", "\"q\"" }, { "a\\nb", "a\\nb", "a\nb" }, { "\\\\d", "\\\\d", "\\d" }, { "[\"-#]", "\\\";#", "\"" }, { "[\\[-\\]]", "[;\\\\;]", "\\" }, { ".*", "x\\\"y;", "\"" },
    };
    struct arena a;
    struct buf b = { .max = 1 << 20 };
    struct regex *r;
    struct gbnf_error why;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct grammar *g = make(table[i].pattern, false, true, 0, REGEX_ANY_LENGTH);
        check(g, table[i].pattern, table[i].yes, true);
        check(g, table[i].pattern, table[i].no, false);
        grammar_free(g);
    }
    arena_init(&a, 1 << 20);
    assert_int_equal(regex_read(&a, S("[\\x01-\\x03]"), false, &r, &why), ERR_OK);
    assert_int_equal(regex_write(&b, r, true), ERR_UNSUPPORTED);
    buf_free(&b);
    arena_free(&a);
}

static void texts_can_be_limited_to_a_length(void **state)
{
    (void)state;
    static const struct { const char *pattern; bool search; uint32_t min, max; const char *yes, *no; } table[] = {
        { "[a-z]+", false, 2, 4, "ab;abcd", "a;abcde" }, { "x[a-z]*y[0-9]*", false, 4, 6, "xaby;xaay12", "xay1;xay" }, { "x[a-z]*y[0-9]*", false, 0, 4, "xy;xay;xay1", "xaay1;xaaay" }, { "(ab)+", false, 3, 7, "abab;ababab", "ab;abababab" },
        { "a|bcd|[ef]{1,9}", false, 2, 3, "bcd;ef;efe", "a;e;efef" }, { "(a+b?)?", false, 0, 2, ";a;aa", "aab;aaa" }, { "(\\w+ )*x", false, 0, 3, "x", "ab x" }, { "abc", true, 0, 3, "abc", "xabc" }, { "abc", true, 5, 6, "xxabc;xxabcx", "abc;xabcx;xxxabcx" },
        { "abc", false, 4, 9, NULL, NULL }, { "a{3}", false, 0, 2, NULL, NULL }, { "^a*$", true, 3, 3, "aaa", "aa" },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct grammar *g = make(table[i].pattern, table[i].search, false, table[i].min, table[i].max);
        assert_int_equal(g != NULL, table[i].yes != NULL);
        if (g)
            check(g, table[i].pattern, table[i].yes, true);
        if (g)
            check(g, table[i].pattern, table[i].no, false);
        grammar_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_makes_its_texts_and_no_others),
        cmocka_unit_test(what_is_not_supported_is_said_with_its_place),
        cmocka_unit_test(inside_json_characters_are_escaped),
        cmocka_unit_test(texts_can_be_limited_to_a_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
