/* Stop strings and characters over token borders. */
#include "infer/stop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const struct { const char *name; str text; str stops[4]; str want; bool hit; } rows[] = {
    { "no stop string", S("hello world"), { STR_NONE }, S("hello world"), false },
    { "in the middle", S("hello world"), { S("o w") }, S("hell"), true },
    { "at the start", S("hello"), { S("he") }, S(""), true },
    { "at the end", S("hello"), { S("lo") }, S("hel"), true },
    { "only its beginning came", S("hello <en"), { S("<end>") }, S("hello <en"), false },
    { "its beginning came twice", S("<<end>"), { S("<end>") }, S("<"), true },
    { "a beginning that repeats itself", S("aabaabaac!"), { S("aabaac") }, S("aab"), true },
    { "the first that is complete wins", S("xabcd"), { S("abcd"), S("c") }, S("xab"), true },
    { "of two that end together the longer", S("xabc"), { S("c"), S("abc") }, S("x"), true },
    { "characters of two to four bytes", S("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\xa5."), { S("zz") }, S("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\xa5."), false },
    { "a stop string of such", S("a\xe2\x82\xac" "b"), { S("\xe2\x82\xac") }, S("a"), true },
    { "a character that shares bytes with a stop string", S("a\xe2\x82\xad" "b"), { S("\xe2\x82\xac") }, S("a\xe2\x82\xad" "b"), false },
    { "an unfinished character at the end", S("a\xe2\x82"), { STR_NONE }, S("a\xef\xbf\xbd\xef\xbf\xbd"), false },
    { "bytes that are no characters", S("a\xff\x80z"), { STR_NONE }, S("a\xef\xbf\xbd\xef\xbf\xbdz"), false },
    { "an overlong form", S("\xc0\xaf!"), { STR_NONE }, S("\xef\xbf\xbd\xef\xbf\xbd!"), false },
    { "an unfinished character before a stop string", S("\xe2\x82STOP"), { S("STOP") }, S("\xef\xbf\xbd\xef\xbf\xbd"), true },
    { "nothing", S(""), { S("x") }, S(""), false },
    { "newlines", S("one\n\ntwo"), { S("\n\n") }, S("one"), true },
};

static size_t count_stops(const str *stops)
{
    size_t n = 0;
    while (n < 4 && stops[n].n)
        n++;
    return n;
}

static void run_split(size_t row, uint32_t cuts)
{
    struct stop_filter f;
    struct buf out;
    str text = rows[row].text;
    buf_init(&out, 4096);
    stop_init(&f, rows[row].stops, count_stops(rows[row].stops));
    size_t from = 0;
    for (size_t i = 1; i <= text.n; i++)
        if (i == text.n || cuts >> (i - 1) & 1) {
            size_t before = out.n;
            assert_int_equal(stop_push(&f, str_slice(text.p + from, i - from), &out), ERR_OK);
            assert_true(str_is_utf8(str_slice(out.p + before, out.n - before)));        /* each chunk by itself */
            from = i;
        }
    assert_int_equal(stop_flush(&f, &out), ERR_OK);
    if (!str_eq(buf_str(&out), rows[row].want) || f.hit != rows[row].hit)
        fail_msg("%s, cuts %x: got '%.*s', hit %d", rows[row].name, cuts, STR_ARG(buf_str(&out)), f.hit);
    stop_free(&f);
    buf_free(&out);
}

static void any_split_of_the_text_gives_the_same_reply(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (uint32_t cuts = 0; cuts < (1u << (rows[i].text.n > 1 ? rows[i].text.n - 1 : 0)); cuts += rows[i].text.n > 14 ? 37 : 1)
            run_split(i, cuts);
}

static void only_what_may_still_become_a_stop_string_is_held_back(void **state)
{
    (void)state;
    static const str stops[] = { S("<end>"), S("\n\nUser:") };
    static const struct { str piece, out; } steps[] = {
        { S("Hello"), S("Hello") }, { S(" <"), S(" ") }, { S("e"), S("") }, { S("x"), S("<ex") }, { S("\n"), S("") }, { S("\nUs"), S("") }, { S("e it"), S("\n\nUse it") },
        { S("\xe2\x82"), S("") }, { S("\xac"), S("\xe2\x82\xac") } };
    struct stop_filter f;
    struct buf out;
    buf_init(&out, 4096);
    stop_init(&f, stops, 2);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        buf_clear(&out);
        assert_int_equal(stop_push(&f, steps[i].piece, &out), ERR_OK);
        assert_int_equal(out.n, steps[i].out.n);
        assert_true(str_eq(buf_str(&out), steps[i].out));
    }
    stop_free(&f);
    buf_free(&out);
}

static void nothing_comes_after_a_stop_string(void **state)
{
    (void)state;
    static const str stops[] = { S("END") };
    struct stop_filter f;
    struct buf out;
    buf_init(&out, 4096);
    stop_init(&f, stops, 1);
    assert_int_equal(stop_push(&f, S("a END b"), &out), ERR_OK);
    assert_true(f.hit);
    assert_int_equal(stop_push(&f, S("more"), &out), ERR_OK);
    assert_int_equal(stop_flush(&f, &out), ERR_OK);
    assert_true(str_eq(buf_str(&out), S("a ")));
    stop_free(&f);
    buf_free(&out);
}

static void a_full_output_is_an_error_and_no_overflow(void **state)
{
    (void)state;
    struct stop_filter f;
    struct buf out;
    buf_init(&out, 4);
    stop_init(&f, NULL, 0);
    assert_int_equal(stop_push(&f, S("12345"), &out), ERR_LIMIT);
    stop_free(&f);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_of_the_text_gives_the_same_reply),
        cmocka_unit_test(only_what_may_still_become_a_stop_string_is_held_back),
        cmocka_unit_test(nothing_comes_after_a_stop_string),
        cmocka_unit_test(a_full_output_is_an_error_and_no_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
