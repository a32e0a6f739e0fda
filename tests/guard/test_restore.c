/* Restoring: what a model makes of placeholders, what it may not be taken for, and streams cut at every byte. */
#include "core/rand.h"
#include "guard/restore.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena mem;
static struct restore_set set;

static int setup(void **state)
{
    (void)state;
    static const struct { str token, value; enum guard_type type; bool bare; } all[] = {
        { S("EMAIL_k7q2m"), S("maria@keller.de"), GUARD_EMAIL, false },       { S("EMAIL_k7q2m-f3"), S("Maria@Keller.de"), GUARD_EMAIL, false },
        { S("EMAIL_k7q2mabc"), S("other@keller.de"), GUARD_EMAIL, false },    { S("US_SSN_aaaaa"), S("536-90-4399"), GUARD_US_SSN, false },
        { S("PERSON_zzzzz"), S("J\xC3\xBCrgen M\xC3\xBCller"), GUARD_PERSON, false }, { S("u-k7q2m@masked.invalid"), S("jo@x.org"), GUARD_EMAIL, true },
        { S("198.18.3.4"), S("10.20.30.40"), GUARD_IP_ADDRESS, true },        { S("+999 30 555-12"), S("+49 30 901-82"), GUARD_PHONE, true },
        { S("9123456789"), S("4930123456"), GUARD_PHONE, true },
    };
    arena_init(&mem, 32 << 20);
    set = (struct restore_set){ 0 };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(restore_set_add(&mem, &set, all[i].token, all[i].value, all[i].type, all[i].bare), ERR_OK);
    assert_int_equal(restore_set_add(&mem, &set, S("email_K7Q2M"), S("again"), GUARD_EMAIL, false), ERR_OK);
    restore_set_ready(&set);
    return set.n == sizeof all / sizeof *all ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&mem);
    return 0;
}

static const struct { str text, restored; size_t unknown; } table[] = {
    { S(""), S(""), 0 },
    { S("Write to [EMAIL_k7q2m]."), S("Write to maria@keller.de."), 0 },
    { S("[EMAIL_k7q2m][EMAIL_k7q2m-f3][EMAIL_k7q2mabc]"), S("maria@keller.deMaria@Keller.deother@keller.de"), 0 },
    /* case, spacing, markdown, JSON's doubled backslashes, no brackets */
    { S("[email_k7q2m] [Email_K7Q2M]"), S("maria@keller.de maria@keller.de"), 0 },
    { S("[ EMAIL_k7q2m ] [  EMAIL_k7q2m]"), S("maria@keller.de maria@keller.de"), 0 },
    { S("[EMAIL k7q2m] [EMAIL _ k7q2m] [EMAIL_ k7q2m] [US SSN aaaaa]"), S("maria@keller.de maria@keller.de maria@keller.de 536-90-4399"), 0 },
    { S("[EMAIL\\_k7q2m] \\[EMAIL\\_k7q2m\\] [EMAIL\\_k7q2m\\-f3]"), S("maria@keller.de maria@keller.de Maria@Keller.de"), 0 },
    { S("{\"to\":\"\\\\[EMAIL\\\\_k7q2m\\\\]\"}"), S("{\"to\":\"maria@keller.de\"}"), 0 },
    { S("**[email_k7q2m]** `[EMAIL_k7q2m]` *EMAIL_k7q2m*"), S("**maria@keller.de** `maria@keller.de` *maria@keller.de*"), 0 },
    { S("EMAIL_k7q2m, EMAIL_k7q2m-f3; (EMAIL_k7q2m)"), S("maria@keller.de, Maria@Keller.de; (maria@keller.de)"), 0 },
    { S("EMAIL_k7q2m-"), S("maria@keller.de-"), 0 },
    { S("EMAIL_k7q2m-f"), S("maria@keller.de-f"), 0 },
    { S("[EMAIL_k7q2m"), S("[maria@keller.de"), 0 },
    { S("[[EMAIL_k7q2m]] [ [EMAIL_k7q2m] ]"), S("[maria@keller.de] [ maria@keller.de ]"), 0 },
    { S("C:\\[EMAIL_k7q2m]\\x"), S("C:\\maria@keller.de\\x"), 0 },
    { S("\\\\\\[EMAIL_k7q2m\\] \\[EMAIL_k7q2m]"), S("\\\\\\[maria@keller.de\\] \\maria@keller.de"), 0 },
    { S("[PERSON_zzzzz]\xC3\xA4"), S("J\xC3\xBCrgen M\xC3\xBCller\xC3\xA4"), 0 },
    /* no placeholder */
    { S("xEMAIL_k7q2m EMAIL_k7q2mx my_EMAIL_k7q2m EMAIL_k7q2m_"), S("xEMAIL_k7q2m EMAIL_k7q2mx my_EMAIL_k7q2m EMAIL_k7q2m_"), 0 },
    { S("EMAIL k7q2m EMAIL _k7q2m"), S("EMAIL k7q2m EMAIL _k7q2m"), 0 },
    { S("[   EMAIL_k7q2m]"), S("[   maria@keller.de]"), 0 },
    /* of the right form, and unknown: left, and counted */
    { S("[EMAIL_aaaaa] and [PERSON_bbbbb], [TEXT_ccccc] [EMAIL_a1]"), S("[EMAIL_aaaaa] and [PERSON_bbbbb], [TEXT_ccccc] [EMAIL_a1]"), 2 },
    /* surrogates stand as they are, between clear borders */
    { S("ping 198.18.3.4, u-k7q2m@masked.invalid."), S("ping 10.20.30.40, jo@x.org."), 0 },
    { S("U-K7Q2M@MASKED.INVALID mailto:u-k7q2m@masked.invalid?x"), S("jo@x.org mailto:jo@x.org?x"), 0 },
    { S("1198.18.3.4 198.18.3.45 198.18.3.4.5 .198.18.3.4 xu-k7q2m@masked.invalid"), S("1198.18.3.4 198.18.3.45 198.18.3.4.5 .198.18.3.4 xu-k7q2m@masked.invalid"), 0 },
    { S("[198.18.3.4] [ 198.18.3.4 ] 198.18.3.4:80/x"), S("[10.20.30.40] [ 10.20.30.40 ] 10.20.30.40:80/x"), 0 },
    { S("tel +999 30 555-12 or {\"n\":9123456789}"), S("tel +49 30 901-82 or {\"n\":4930123456}"), 0 },
    { S("+999 30 555-1 91234567891"), S("+999 30 555-1 91234567891"), 0 },
};

static void placeholders_are_known_however_a_model_writes_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        str out;
        assert_int_equal(restore_text(&mem, &set, table[i].text, &out, NULL), ERR_OK);
        if (!str_eq(out, table[i].restored))
            print_error("case %zu: %.*s\n", i, STR_ARG(out));
        assert_true(str_eq(out, table[i].restored));
        struct restorer r;
        struct buf b;
        restorer_init(&r, &set);
        buf_init(&b, 1 << 16);
        assert_int_equal(restorer_feed(&r, table[i].text, true, &b), ERR_OK);
        assert_int_equal(r.unknown, table[i].unknown);
        buf_free(&b);
        restorer_free(&r);
    }
}

static void feed(struct restorer *r, struct buf *out, str piece, bool last)
{
    char *exact = malloc(piece.n ? piece.n : 1);        /* so that ASan sees one byte too many */
    if (piece.n)
        memcpy(exact, piece.p, piece.n);
    assert_int_equal(restorer_feed(r, (str){ exact, piece.n }, last, out), ERR_OK);
    free(exact);
}

static void any_two_cuts_give_the_same(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        str s = table[t].text;
        for (size_t i = 0; i <= s.n; i++)
            for (size_t j = i; j <= s.n; j++) {
                struct restorer r;
                struct buf out;
                restorer_init(&r, &set);
                buf_init(&out, 1 << 16);
                feed(&r, &out, (str){ s.p, i }, false);
                feed(&r, &out, (str){ s.p + i, j - i }, false);
                feed(&r, &out, (str){ s.p + j, s.n - j }, false);
                feed(&r, &out, STR_NONE, true);
                if (!str_eq(buf_str(&out), table[t].restored) || r.unknown != table[t].unknown)
                    print_error("case %zu cut at %zu and %zu: %.*s, %zu unknown\n", t, i, j, STR_ARG(buf_str(&out)), r.unknown);
                assert_true(str_eq(buf_str(&out), table[t].restored));
                assert_int_equal(r.unknown, table[t].unknown);
                buf_free(&out);
                restorer_free(&r);
            }
    }
}

/* BerriAI/litellm PR 31503: the whole stream was held back. Here each piece comes out as far as it can be no placeholder. */
static void litellm_31503_only_a_possible_beginning_is_held_back(void **state)
{
    (void)state;
    static const struct { str piece; size_t held; } cases[] = {
        { S("no bracket at all "), 0 }, { S("one ["), 1 },     { S("[EMAIL_k7q2"), 11 },     { S("[EMAIL_k7q2m"), 12 }, { S("[EMAIL_x"), 0 },   { S("[something else"), 0 },
        { S("see [1]"), 0 },            { S("E"), 1 },         { S("The E"), 1 },            { S("TheE"), 0 },          { S("EX"), 0 },         { S("[EMAIL_k7q2m]"), 0 },
        { S("a 198.18."), 7 },          { S("a 198.19."), 0 }, { S("path\\"), 1 },           { S("path\\n"), 0 },       { S("u-k7q2m@masked.invalid"), 22 },
        { S("email_address"), 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct restorer r;
        struct buf out;
        restorer_init(&r, &set);
        buf_init(&out, 1 << 16);
        feed(&r, &out, cases[i].piece, false);
        if (r.held.n != cases[i].held)
            print_error("case %zu holds %zu\n", i, r.held.n);
        assert_int_equal(r.held.n, cases[i].held);
        buf_free(&out);
        restorer_free(&r);
    }
}

/* Hostile text must not cost more than plain text, by a factor that grows with it: the held part stays small. */
static void what_is_held_is_bounded(void **state)
{
    (void)state;
    static const str units[] = { S("["), S("\\"), S("[ "), S("[EMAIL"), S("[EMAIL_"), S("EMAIL_k7q2m-"), S("\\["), S("[EMAIL\\\\\\\\\\\\\\\\_"), S("198.18."), S("+999 ") };
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        struct restorer r;
        struct buf out, whole;
        restorer_init(&r, &set);
        buf_init(&out, 4 << 20);
        buf_init(&whole, 4 << 20);
        for (int i = 0; i < 20000; i++) {
            assert_int_equal(restorer_feed(&r, units[u], false, &out), ERR_OK);
            assert_int_equal(buf_put(&whole, units[u]), ERR_OK);
            assert_true(r.held.n < 512);
        }
        assert_int_equal(restorer_feed(&r, STR_NONE, true, &out), ERR_OK);
        str at_once;
        assert_int_equal(restore_text(&mem, &set, buf_str(&whole), &at_once, NULL), ERR_OK);
        assert_true(str_eq(at_once, buf_str(&out)));
        buf_free(&out);
        buf_free(&whole);
        restorer_free(&r);
    }
}

static void an_empty_set_changes_nothing(void **state)
{
    (void)state;
    struct restore_set none = { 0 };
    str out;
    restore_set_ready(&none);
    assert_int_equal(restore_text(&mem, &none, S("[EMAIL_k7q2m] \\[ x"), &out, NULL), ERR_OK);
    assert_true(str_eq(out, S("[EMAIL_k7q2m] \\[ x")));
    assert_null(restore_set_get(&none, S("EMAIL_k7q2m")));
    assert_non_null(restore_set_get(&set, S("EMAIL_K7q2m")));
    assert_int_equal(restore_set_add(&mem, &none, S(""), S("x"), GUARD_EMAIL, false), ERR_RANGE);
    assert_int_equal(restore_set_add(&mem, &none, S("[x"), S("x"), GUARD_EMAIL, false), ERR_RANGE);
}

static void lack_of_memory_is_an_error_and_no_shorter_text(void **state)
{
    (void)state;
    for (size_t n = 0;; n++) {
        struct restorer r;
        struct buf out;
        restorer_init(&r, &set);
        buf_init(&out, 1 << 16);
        memory_fail_after(n);
        enum err e = restorer_feed(&r, S("a [EMAIL_k7"), false, &out);
        if (!e)
            e = restorer_feed(&r, S("q2m] b"), true, &out);
        memory_fail_after(SIZE_MAX);
        bool whole = str_eq(buf_str(&out), S("a maria@keller.de b"));
        buf_free(&out);
        restorer_free(&r);
        if (!e) {
            assert_true(whole);
            break;
        }
        assert_int_equal(e, ERR_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placeholders_are_known_however_a_model_writes_them), cmocka_unit_test(any_two_cuts_give_the_same),
        cmocka_unit_test(litellm_31503_only_a_possible_beginning_is_held_back), cmocka_unit_test(what_is_held_is_bounded),
        cmocka_unit_test(an_empty_set_changes_nothing), cmocka_unit_test(lack_of_memory_is_an_error_and_no_shorter_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
