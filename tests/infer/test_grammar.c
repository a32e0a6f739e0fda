/* Grammars: what they take, what is wrong with them, tokens, and the bounds that hostile ones meet. */
#include "infer/grammar.h"

#include "core/buf.h"
#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct grammar *make(const char *text)
{
    struct grammar *g;
    struct gbnf_error why;
    enum err e = grammar_new(str_of(text), false, GRAMMAR_MEMORY, &g, &why);
    if (e)
        fail_msg("%s: %s at %zu: %s", text, err_name(e), why.at, why.what);
    return g;
}

/* 2: a whole text; 1: the beginning of one; 0: neither. Byte by byte and at once must agree. */
static int taken(struct grammar *g, str text)
{
    struct grammar_run r, whole;
    grammar_begin(g, &r);
    grammar_begin(g, &whole);
    bool ok = true, fits = grammar_fits(&whole, text), took = grammar_take(&whole, text);
    for (size_t i = 0; i < text.n && ok; i++)
        ok = grammar_take(&r, str_slice(text.p + i, 1));
    assert_true(ok == fits && fits == took);
    int result = ok ? 1 + grammar_may_end(&r) : 0;
    assert_true(!ok || grammar_may_end(&r) == grammar_may_end(&whole));
    grammar_end(&r);
    grammar_end(&whole);
    return result;
}

static const struct { const char *grammar, *text; int want; } rows[] = {
    { "root ::= \"yes\" | \"no\"", "yes", 2 }, { "root ::= \"yes\" | \"no\"", "ye", 1 }, { "root ::= \"yes\" | \"no\"", "yesno", 0 }, { "root ::= \"yes\" | \"no\"", "", 1 },
    { "root ::= [a-c]+ \"!\"?", "abcc!", 2 }, { "root ::= [a-c]+ \"!\"?", "", 1 }, { "root ::= [a-c]+ \"!\"?", "d", 0 }, { "root ::= [a-c]+", "a", 2 },
    { "root ::= [^a-z\\n]", "A", 2 }, { "root ::= [^a-z\\n]", "q", 0 }, { "root ::= [^a-z\\n]", "\n", 0 }, { "root ::= [^a-z]", "\xf0\x9f\xa6\x99", 2 }, { "root ::= [^a-z]", "\xf0\x9f", 1 },
    { "root ::= .", "\xc3\xa9", 2 }, { "root ::= .", "\xed\xa0\x80", 0 }, { "root ::= .", "\xff", 0 }, { "root ::= .", "\xc0\x80", 0 }, { "root ::= .", "\xf4\x8f\xbf\xbf", 2 }, { "root ::= .", "\xf4\x90\x80\x80", 0 },
    { "root ::= [\\u00e9-\\u20ac]", "\xc3\xa9", 2 }, { "root ::= [\\u00e9-\\u20ac]", "\xc3\xa8", 0 }, { "root ::= [\\u00e9-\\u20ac]", "\xe2\x82\xac", 2 }, { "root ::= [\\u00e9-\\u20ac]", "\xe2\x82\xad", 0 },
    { "root ::= [\\U0001F600-\\U0001F64F]", "\xf0\x9f\x98\x80", 2 }, { "root ::= [\\U0001F600-\\U0001F64F]", "\xf0\x9f\x99\x90", 0 },
    { "root ::= \"\\x41\\t\\n\\r\\\\\\\"\\[\\]\\-\"", "A\t\n\r\\\"[]-", 2 },
    { "root ::= \"a\"{3}", "aaa", 2 }, { "root ::= \"a\"{3}", "aaaa", 0 }, { "root ::= \"a\"{2,4}", "a", 1 }, { "root ::= \"a\"{2,4}", "aaaa", 2 }, { "root ::= \"a\"{2,4}", "aaaaa", 0 },
    { "root ::= \"a\"{2,}", "aaaaaaaa", 2 }, { "root ::= \"ab\"{0}", "", 2 }, { "root ::= (\"ab\" [0-9]){9,12}", "ab1ab2ab3ab4ab5ab6ab7ab8ab9", 2 }, { "root ::= (\"ab\" [0-9]){9,12}", "ab1ab2ab3ab4ab5ab6ab7ab8", 1 },
    { "root ::= x{2}\nx ::= \"a\" | \"b\" # comment\n", "ba", 2 }, { "# a comment\n\nroot ::= # here too\n \"a\"", "a", 2 },
    { "root ::= \"a\"\n  | \"b\"\n  | c\nc ::= \"c\"", "c", 2 }, { "root ::= (\n \"a\" |\n \"b\"\n)", "b", 2 }, { "root ::= under_score\nunder_score ::= \"_\"", "_", 2 },
    { "root ::= \"(\" root \")\" | \"x\"", "((x))", 2 }, { "root ::= \"(\" root \")\" | \"x\"", "((x)", 1 }, { "root ::= \"(\" root \")\" | \"x\"", "(x))", 0 },
    { "root ::= \"a\" root | \"\"", "aaaa", 2 }, { "root ::= (\"a\"? \"b\"?)*", "abbaab", 2 }, { "root ::= ((\"a\"*)*)*", "aaa", 2 }, { "root ::= root | \"a\"", "a", 2 },
    { "root ::= \"a\" root \"b\" root | \"\"", "aabb", 2 }, { "root ::= \"a\" root \"b\" root | \"\"", "abab", 2 }, { "root ::= \"a\" root \"b\" root | \"\"", "abb", 0 },
    { "root ::= a | b\na ::= \"x\" a\nb ::= \"y\"", "y", 2 }, { "root ::= a | b\na ::= \"x\" a\nb ::= \"y\"", "x", 0 },
    { "root ::= (\"\"|\"a\") (\"\"|\"b\")", "b", 2 }, { "root ::= | \"a\"", "", 2 }, { "root ::= \"\"", "", 2 },
};

static void a_grammar_takes_its_texts_and_no_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct grammar *g = make(rows[i].grammar);
        int got = taken(g, str_of(rows[i].text));
        if (got != rows[i].want)
            fail_msg("%s, '%s': %d, not %d", rows[i].grammar, rows[i].text, got, rows[i].want);
        grammar_free(g);
    }
}

static const struct { const char *grammar, *what; size_t at; } bad[] = {
    { "", "no rule 'root'", 0 }, { "a ::= \"x\"", "no rule 'root'", 0 }, { "root ::= b", "no rule 'b'", 10 }, { "root ::= \"a", "the line ends", 11 }, { "root ::= \"a\n\"", "the line ends", 11 },
    { "root ::= [a-", "the line ends", 12 }, { "root ::= [z-a]", "must rise", 13 }, { "root ::= []", "must have a character", 10 }, { "root ::= [^\\x01-\\U0010FFFF]", "must have a character", 26 },
    { "root ::= \"\\q\"", "no such escape", 10 }, { "root ::= \"\\xZ1\"", "hexadecimal", 12 }, { "root ::= \"\\ud800\"", "no such character", 16 }, { "root ::= \"\\x00\"", "no such character", 14 },
    { "root ::= (\"a\"", "')' is expected", 13 }, { "root ::= \"a\")", "something is here", 12 }, { "root := \"a\"", "'::=' is expected", 5 }, { "root ::= *", "nothing to repeat", 9 },
    { "root ::= \"a\"{2,1}", "must rise", 16 }, { "root ::= \"a\"{x}", "a number", 13 }, { "root ::= \"a\"{1;2}", "'}' is expected", 14 }, { "root ::= \"a\"{999999999}", "too many", 18 },
    { "root ::= \"a\"\nroot ::= \"b\"", "defined twice", 13 }, { "root ::= <[12]>", "name tokens", 9 }, { "root ::= \"a\" !<x>", "name tokens", 13 }, { "root ::= \"\xff\"", "UTF-8", 0 },
    { "root ::= root \"a\" | \"b\"", "'root' begins with itself", 0 }, { "root ::= a\na ::= b \"x\"\nb ::= c a \"y\" | \"z\"\nc ::= \"\" | \"q\"", "begins with itself", 0 },
    { "root ::= \"a\" root", "no text of finite length", 0 }, { "root ::= a b\na ::= \"x\"\nb ::= \"y\" b", "no text of finite length", 0 },
};

static void what_is_wrong_with_a_grammar_is_said(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct grammar *g = NULL;
        struct gbnf_error why;
        enum err e = grammar_new(str_of(bad[i].grammar), false, GRAMMAR_MEMORY, &g, &why);
        if (e != ERR_SYNTAX || !strstr(why.what, bad[i].what) || why.at != bad[i].at)
            fail_msg("%s: %s at %zu: %s", bad[i].grammar, err_name(e), why.at, why.what);
    }
}

/* A chain of rules that call the next one, the last of which has a text. */
static str chain(struct arena *a, size_t n)
{
    struct buf b = { .max = 4 << 20 };
    (void)buf_put(&b, S("root ::= \"<\" r0 \">\"\n"));
    for (size_t i = 0; i + 1 < n; i++)
        (void)buf_printf(&b, "r%zu ::= \"(\" r%zu \")\"\n", i, i + 1);
    (void)buf_printf(&b, "r%zu ::= \"x\"\n", n - 1);
    str s = arena_str(a, buf_str(&b));
    buf_free(&b);
    return s;
}

static void too_large_or_too_deep_is_refused_at_once(void **state)
{
    (void)state;
    static const struct { const char *grammar; enum err want; } table[] = {
        { "root ::= ((((((((\"a\"{7}){7}){7}){7}){7}){7}){7}){7}){7}", ERR_LIMIT }, { "root ::= (((((\"\"{99999}){99999}){99999}){99999}){99999})", ERR_LIMIT },
        { "root ::= \"a\"{131072} \"b\"{131072}", ERR_LIMIT }, { "root ::= [\\u0100-\\u20ac]{100000}", ERR_OK }, { "root ::= (((((((\"ab\"{30}){30}){30}){30}){30}){30}){30})", ERR_OK },
    };
    struct grammar *g;
    struct gbnf_error why;
    struct arena a;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        enum err e = grammar_new(str_of(table[i].grammar), false, GRAMMAR_MEMORY, &g, &why);
        if (e != table[i].want)
            fail_msg("%s: %s: %s", table[i].grammar, err_name(e), why.what);
        if (e == ERR_OK)
            grammar_free(g);
    }
    arena_init(&a, 64 << 20);
    char *nested = arena_alloc(&a, 200001, 1);
    memset(nested, '(', 200000);
    memcpy(nested, "root ::= ", 9);
    assert_int_equal(grammar_new(str_slice(nested, 200000), false, GRAMMAR_MEMORY, &g, &why), ERR_SYNTAX);
    assert_non_null(strstr(why.what, "nested too deeply"));
    assert_int_equal(grammar_new(chain(&a, 90), false, GRAMMAR_MEMORY, &g, &why), ERR_OK);
    assert_int_equal(taken(g, S("<((((((((((((((((((((((((((((")), 1);
    grammar_free(g);
    assert_int_equal(grammar_new(chain(&a, 110), false, GRAMMAR_MEMORY, &g, &why), ERR_SYNTAX);
    assert_int_equal(grammar_new(chain(&a, 30000), false, GRAMMAR_MEMORY, &g, &why), ERR_SYNTAX);
    assert_non_null(strstr(why.what, "within each other"));
    arena_free(&a);
}

static void nesting_ends_where_it_can_still_be_closed(void **state)
{
    (void)state;
    struct grammar *g = make("root ::= value\nvalue ::= \"[\" list \"]\" | \"(\" a \")\"\nlist ::= value | \"\"\na ::= b\nb ::= \"{\" c \"}\"\nc ::= \"!\"");
    struct grammar_run r;
    size_t deep = 0;
    grammar_begin(g, &r);
    while (grammar_take(&r, S("[")))
        deep++;
    assert_in_range(deep, 40, GBNF_MAX_DEPTH);
    while (deep--)
        assert_true(grammar_take(&r, S("]")));
    assert_true(grammar_must_end(&r));
    grammar_end(&r);
    grammar_free(g);
}

static void an_ambiguous_grammar_fails_and_does_not_stall(void **state)
{
    (void)state;
    static const char *const table[] = {
        "root ::= s\ns ::= \"a\" s \"x\" s | \"a\" s \"y\" s | \"a\" s \"z\" | \"a\"",
        "root ::= (\"a\"? \"a\"? \"a\"? \"a\"? \"a\"? \"a\"? \"a\"? \"a\"?){3000}",
        "root ::= a a a a a a a a\na ::= b b b b b b b b\nb ::= c c c c c c c c\nc ::= \"a\"? \"b\"? \"a\"? \"c\"?",
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct grammar *g;
        struct gbnf_error why;
        struct grammar_run r;
        enum err e = grammar_new(str_of(table[i]), false, GRAMMAR_MEMORY, &g, &why);
        assert_true(e == ERR_OK || e == ERR_LIMIT);
        if (e)
            continue;
        grammar_begin(g, &r);
        for (int k = 0; k < 200 && grammar_take(&r, S("a")); k++)
            ;
        grammar_end(&r);
        grammar_free(g);
    }
}

/* ---- tokens ---- */

static bool has(struct grammar_run *r, const struct vocabulary *v, uint32_t token)
{
    struct token_mask m;
    assert_true(grammar_mask(r, v, &m));
    bool fits = vocabulary_piece(v, token).n > 0 && grammar_fits(r, vocabulary_piece(v, token));
    assert_true(grammar_mask(r, v, &m));
    assert_int_equal(token_mask_has(&m, token), fits);
    return fits;
}

static void a_mask_holds_the_tokens_that_fit(void **state)
{
    (void)state;
    static const str pieces[] = { S("a"), S("ab"), S("abc"), S(""), S("b"), S("a"), S("c"), S("\""), S("\xe2"), S("\x82\xac"), S("\xe2\x82"), S("abb"), S("x") };
    enum { N = sizeof pieces / sizeof pieces[0] };
    struct vocabulary *v;
    struct grammar *g = make("root ::= \"ab\"+ \"c\" | \"\\u20ac\"");
    struct grammar_run r;
    struct token_mask m;
    assert_int_equal(vocabulary_new(pieces, N, NULL, 0, &v), ERR_OK);
    assert_int_equal(vocabulary_size(v), N);
    grammar_begin(g, &r);
    assert_false(grammar_known_mask(&r, &m));
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(has(&r, v, i), i == 0 || i == 1 || i == 2 || i == 5 || i == 8 || i == 10);
    assert_true(grammar_known_mask(&r, &m));
    assert_int_equal(m.n, 6);
    assert_true(grammar_take(&r, pieces[1]));
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(has(&r, v, i), i == 0 || i == 1 || i == 2 || i == 5 || i == 6);
    assert_false(grammar_take(&r, S("x")));
    assert_true(grammar_take(&r, S("c")) && grammar_must_end(&r));
    assert_true(grammar_mask(&r, v, &m) && m.n == 0);
    grammar_end(&r);
    grammar_free(g);
    vocabulary_free(v);
}

static void a_token_that_is_no_text_is_named_by_its_number(void **state)
{
    (void)state;
    char number[GBNF_TOKEN];
    struct grammar *g;
    struct gbnf_error why;
    gbnf_token(32000, number);
    const str pieces[] = { S("a"), { number, GBNF_TOKEN }, S("[CALL]") };
    struct vocabulary *v;
    struct grammar_run r;
    assert_int_equal(grammar_new(S("root ::= .* <[32000]> \"a\""), false, GRAMMAR_MEMORY, &g, &why), ERR_SYNTAX);
    assert_int_equal(grammar_new(S("root ::= <[a]>"), true, GRAMMAR_MEMORY, &g, &why), ERR_SYNTAX);
    assert_int_equal(grammar_new(S("root ::= <[16777216]>"), true, GRAMMAR_MEMORY, &g, &why), ERR_SYNTAX);
    assert_int_equal(grammar_new(S("root ::= .* <[32000]> \"a\""), true, GRAMMAR_MEMORY, &g, &why), ERR_OK);
    assert_int_equal(vocabulary_new(pieces, 3, NULL, 0, &v), ERR_OK);
    grammar_begin(g, &r);
    assert_true(has(&r, v, 0) && has(&r, v, 1) && has(&r, v, 2));
    assert_true(grammar_take(&r, pieces[1]));
    assert_true(has(&r, v, 0) && !has(&r, v, 1) && !has(&r, v, 2));
    assert_true(grammar_take(&r, pieces[0]) && grammar_must_end(&r));
    grammar_end(&r);
    grammar_free(g);
    vocabulary_free(v);
}

/* Random pieces and texts: the tree's answer is that of each token alone; many states are met, and forgotten ones met again. */
static void masks_are_right_also_after_states_were_forgotten(void **state)
{
    (void)state;
    static str pieces[600];
    static char bytes[600][8];
    struct rng rng = rand_seeded(11);
    struct vocabulary *v;
    struct grammar *g;
    struct gbnf_error why;
    str text = S("root ::= \"{\" pair (\",\" pair)* \"}\"\npair ::= \"\\\"\" [^\\\"\\\\]{1,3000} \"\\\":\" value\nvalue ::= [0-9]{1,9} | root | \"[\" value{0,5} \"]\"");
    assert_int_equal(grammar_new(text, false, 1 << 20, &g, &why), ERR_OK);
    for (size_t i = 0; i < 600; i++) {
        size_t n = 1 + rand_u64(&rng) % 7;
        for (size_t k = 0; k < n; k++)
            bytes[i][k] = "{}[],:\"0123456789abcdefghij\xc3\xa9"[rand_u64(&rng) % 29];
        pieces[i] = str_slice(bytes[i], n);
    }
    assert_int_equal(vocabulary_new(pieces, 600, NULL, 0, &v), ERR_OK);
    struct grammar_run r[4];
    for (int i = 0; i < 4; i++)
        grammar_begin(g, &r[i]);
    for (int step = 0; step < 6000; step++) {
        struct grammar_run *one = &r[rand_u64(&rng) % 4];
        uint32_t token = (uint32_t)(rand_u64(&rng) % 600);
        (void)has(one, v, token);
        for (int tries = 0; tries < 100 && !grammar_take(one, pieces[token]); tries++)
            token = (uint32_t)(rand_u64(&rng) % 600);
        if (grammar_must_end(one) || rand_u64(&rng) % 997 == 0) {
            grammar_end(one);
            grammar_begin(g, one);
        }
    }
    for (int i = 0; i < 4; i++)
        grammar_end(&r[i]);
    grammar_free(g);
    vocabulary_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grammar_takes_its_texts_and_no_others),
        cmocka_unit_test(what_is_wrong_with_a_grammar_is_said),
        cmocka_unit_test(too_large_or_too_deep_is_refused_at_once),
        cmocka_unit_test(nesting_ends_where_it_can_still_be_closed),
        cmocka_unit_test(an_ambiguous_grammar_fails_and_does_not_stall),
        cmocka_unit_test(a_mask_holds_the_tokens_that_fit),
        cmocka_unit_test(a_token_that_is_no_text_is_named_by_its_number),
        cmocka_unit_test(masks_are_right_also_after_states_were_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
