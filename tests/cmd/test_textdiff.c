/* Differences of texts: whatever they are, the marked lines put together again are both. */
#include "cmd/textdiff.h"

#include "core/buf.h"
#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct sides { struct buf first, second; int changes; };

static void on_line(void *ctx, char mark, str line)
{
    struct sides *s = ctx;
    if (mark != '+')
        (void)buf_printf(&s->first, "%.*s\n", STR_ARG(line));
    if (mark != '-')
        (void)buf_printf(&s->second, "%.*s\n", STR_ARG(line));
    s->changes += mark != ' ';
}

static int check(str x, str y)
{
    struct arena a;
    struct sides s = { { .max = 1 << 22 }, { .max = 1 << 22 }, 0 };
    arena_init(&a, 64 << 20);
    assert_int_equal(textdiff_run(&a, x, y, &(struct textdiff){ on_line, &s }), ERR_OK);
    assert_true(str_eq(buf_str(&s.first), x) && str_eq(buf_str(&s.second), y));
    arena_free(&a);
    buf_free(&s.first);
    buf_free(&s.second);
    return s.changes;
}

static void the_lines_put_together_are_both_texts(void **state)
{
    struct rng r = rand_seeded(20261125);
    (void)state;
    for (int round = 0; round < 500; round++) {
        char text[2][400];
        size_t n[2] = { 0 };
        for (int side = 0; side < 2; side++)
            for (uint64_t lines = rand_u64(&r) % 60; lines > 0; lines--)
                n[side] += (size_t)snprintf(text[side] + n[side], 6, "%c\n", (char)('a' + rand_u64(&r) % 4));
        (void)check(str_slice(text[0], n[0]), str_slice(text[1], n[1]));
    }
}

static void only_what_differs_is_marked(void **state)
{
    (void)state;
    assert_int_equal(check(S("a\nb\nc\n"), S("a\nb\nc\n")), 0);
    assert_int_equal(check(S("a\nb\nc\n"), S("a\nx\nc\n")), 2);
    assert_int_equal(check(S("a\nb\nc\nd\n"), S("a\nc\nd\n")), 1);
    assert_int_equal(check(S(""), S("a\n")), 1);
    assert_int_equal(check(S("one\ntwo\nthree\nfour\n"), S("zero\none\nthree\nfour\nfive\n")), 3);
    assert_int_equal(textdiff_first(S("abc"), S("abd")), 2);
    assert_int_equal(textdiff_first(S("abc"), S("ab")), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_lines_put_together_are_both_texts), cmocka_unit_test(only_what_differs_is_marked) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
