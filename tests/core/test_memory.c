/* Arena, buffer, slices: what they promise at their limits. ASan watches the edges. */
#include "core/arena.h"
#include "core/buf.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void an_arena_stops_at_its_limit(void **state)
{
    (void)state;
    struct arena a;
    size_t got = 0;
    arena_init(&a, 64 << 10);
    for (char *p; (p = arena_alloc(&a, 1000, 16)); got += 1000) {
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, 0xAA, 1000);
    }
    assert_true(got > 32 << 10 && got <= 64 << 10);
    assert_null(arena_alloc(&a, 64 << 10, 1));
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 1000, 16));
    arena_free(&a);
    assert_non_null(arena_alloc(&a, 1000, 16)); /* may be used again */
    arena_free(&a);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    assert_null(arena_alloc(&a, SIZE_MAX, 1));
    assert_null(arena_alloc(&a, SIZE_MAX - 8, 16));
    assert_null(arena_new(&a, uint64_t, SIZE_MAX / 4));
    const uint64_t *z = arena_new(&a, uint64_t, 100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(z[i], 0);
    arena_free(&a);
}

static void a_fixed_arena_never_grows(void **state)
{
    (void)state;
    _Alignas(16) char mem[64];
    struct arena a = { .base = mem, .at = mem, .end = mem + sizeof mem };
    assert_ptr_equal(arena_alloc(&a, 60, 1), mem);
    assert_null(arena_alloc(&a, 5, 1));
    assert_ptr_equal(arena_alloc(&a, 4, 1), mem + 60);
    assert_null(arena_str(&a, S("x")).p);
}

static void growing_the_latest_moves_nothing(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    char *p = arena_alloc(&a, 8, 1);
    memcpy(p, "abcdefgh", 8);
    assert_ptr_equal(arena_grow(&a, p, 8, 100, 1), p);
    char *q = arena_alloc(&a, 8, 1), *moved = arena_grow(&a, p, 100, 200, 1);
    assert_ptr_not_equal(moved, p);
    assert_memory_equal(moved, "abcdefgh", 8);
    assert_ptr_not_equal(q, moved);
    str text = arena_printf(&a, "%d-%s", 7, "seven");
    assert_true(str_eq(text, S("7-seven")));
    assert_string_equal(arena_cstr(&a, S("made")), "made");
    assert_non_null(arena_str(&a, STR_NONE).p);
    arena_free(&a);
}

static void a_list_grows_by_doubling_and_keeps_what_it_has(void **state)
{
    (void)state;
    struct arena a;
    int *list = NULL, *more;
    size_t n = 0, cap = 0, moved = 0;
    arena_init(&a, 16 << 10);
    for (; (more = arena_more(&a, list, n, &cap)); n++) {
        moved += more != list;
        list = more;
        if (n % 3 == 0)
            assert_non_null(arena_alloc(&a, 1, 1));     /* it is not the latest any more */
        list[n] = (int)n;
    }
    assert_true(n >= 512 && n == cap && moved > 1 && moved < 10);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(list[i], i);
    arena_free(&a);
}

static void memory_that_runs_out_is_an_answer(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    memory_fail_after(0);
    char *p = arena_alloc(&a, 10, 1);
    memory_fail_after(SIZE_MAX);
    assert_null(p);
    assert_true(a.failed);
    assert_non_null(arena_alloc(&a, 10, 1));
    assert_true(a.failed);              /* what came before is still missing */
    arena_reset(&a);
    assert_false(a.failed);
    assert_null(arena_alloc(&a, 2 << 20, 1));
    assert_true(a.failed);
    arena_free(&a);
    assert_false(a.failed);
    assert_null(arena_zeroed(&a, SIZE_MAX, 2, 1));
    assert_true(a.failed);
    struct buf b = { .max = 100 };
    memory_fail_after(0);
    enum err e = buf_put(&b, S("x"));
    memory_fail_after(SIZE_MAX);
    assert_int_equal(e, ERR_MEMORY);
    assert_true(b.failed && !b.n);
    arena_free(&a);
}

static void a_buffer_keeps_what_it_had(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_put(&b, S("12345678")), ERR_OK);
    assert_false(b.failed);
    assert_int_equal(buf_put(&b, S("abc")), ERR_LIMIT);
    assert_true(b.failed);
    assert_int_equal(buf_printf(&b, "%s", "abc"), ERR_LIMIT);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), ERR_LIMIT);
    assert_true(str_eq(buf_str(&b), S("12345678")));
    assert_int_equal(buf_printf(&b, "%s", "ab"), ERR_OK);   /* fills it to the last byte */
    assert_true(str_eq(buf_str(&b), S("12345678ab")));
    buf_drop(&b, 3);
    assert_true(str_eq(buf_str(&b), S("45678ab")));
    buf_drop(&b, 100);
    assert_int_equal(b.n, 0);
    assert_true(b.failed);
    buf_clear(&b);
    assert_false(b.failed);
    buf_free(&b);
    assert_int_equal(b.max, 10);
}

static void numbers_are_whole_or_refused(void **state)
{
    (void)state;
    static const struct { const char *text; bool ok; int64_t v; } table[] = {
        { "0", true, 0 }, { "007", true, 7 }, { "9223372036854775807", true, INT64_MAX }, { "-9223372036854775808", true, INT64_MIN },
        { "9223372036854775808", false, 0 }, { "-9223372036854775809", false, 0 }, { "", false, 0 }, { "-", false, 0 }, { "+1", false, 0 },
        { " 1", false, 0 }, { "1 ", false, 0 }, { "1e3", false, 0 }, { "0x1", false, 0 }, { "99999999999999999999999", false, 0 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int64_t v = 42;
        assert_int_equal(str_i64(str_of(table[i].text), &v), table[i].ok);
        assert_int_equal(v, table[i].ok ? table[i].v : 42);
    }
    static const int64_t back[] = { 0, 1, -1, 10, -10, 1234567890123, INT64_MAX, INT64_MIN };
    for (size_t i = 0; i < sizeof back / sizeof *back; i++) {
        char mine[STR_I64], libc[32];
        snprintf(libc, sizeof libc, "%lld", (long long)back[i]);
        assert_true(str_eq(str_from_i64(back[i], mine), str_of(libc)));
    }
}

static void slices_are_cut_and_compared(void **state)
{
    (void)state;
    str head, tail;
    assert_true(str_cut(S("a=b=c"), '=', &head, &tail) && str_eq(head, S("a")) && str_eq(tail, S("b=c")));
    assert_false(str_cut(S("abc"), '=', &head, &tail));
    assert_true(str_eq(head, S("abc")) && tail.n == 0);
    assert_true(str_eq(str_trim(S(" \t x y\t ")), S("x y")));
    assert_int_equal(str_trim(S(" \t ")).n, 0);
    assert_true(str_ieq(S("Content-TYPE"), S("content-type")) && !str_ieq(S("["), S("{")));
    for (size_t n = 1; n <= 40; n++)                /* every length, another byte at every place */
        for (size_t at = 0; at < n; at++)
            for (unsigned c = 0; c < 256; c++) {
                char x[40], y[40];
                memset(x, 'k', n);
                memset(y, 'K', n);
                x[at] = (char)c;
                y[at] = (char)(c ^ 0x20);
                bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
                assert_int_equal(str_ieq(str_slice(x, n), str_slice(y, n)), letter);
                y[at] = x[at];
                assert_true(str_ieq(str_slice(x, n), str_slice(y, n)));
            }
    assert_true(str_cmp(S("ab"), S("abc")) < 0 && str_cmp(S("b"), S("abc")) > 0 && str_cmp(S("\xFF"), S("a")) > 0);
    assert_int_equal(str_find(S("aab"), S("ab")), 1);
    assert_int_equal(str_find(S("aab"), S("ba")), 3);
    assert_int_equal(str_find(S("aab"), STR_NONE), 0);
    const str parts[] = { S("ab"), STR_NONE, S("cde") };
    for (size_t room = 0; room <= 6; room++) {
        char *to = malloc(room);
        size_t n = str_join(to, room, parts, 3);
        assert_true(str_eq((str){ to, n }, str_slice("abcde", room < 5 ? room : 5)));
        free(to);
    }
}

static void utf8_is_strict_and_never_cut(void **state)
{
    (void)state;
    static const struct { const char *text; bool ok; size_t whole; } table[] = {
        { "plain", true, 5 },          { "\xC3\xA9", true, 2 },             { "\xF0\x9F\x98\x80", true, 4 },
        { "a\xF0\x9F\x98", false, 1 }, { "a\xE2\x82", false, 1 },           { "a\xC3", false, 1 },
        { "\xC0\x80", false, 2 },      { "\xED\xA0\x80", false, 3 },        { "\xF4\x90\x80\x80", false, 4 },
        { "\x80", false, 1 },          { "\xF0\x9F\x98\x80\xFF", false, 5 }, { "\xE0\x80\x80", false, 3 },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(str_is_utf8(str_of(table[i].text)), table[i].ok);
        assert_int_equal(str_utf8_whole(str_of(table[i].text)), table[i].whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_stops_at_its_limit),   cmocka_unit_test(sizes_that_overflow_are_refused), cmocka_unit_test(a_fixed_arena_never_grows),
        cmocka_unit_test(growing_the_latest_moves_nothing), cmocka_unit_test(a_list_grows_by_doubling_and_keeps_what_it_has), cmocka_unit_test(memory_that_runs_out_is_an_answer), cmocka_unit_test(a_buffer_keeps_what_it_had),
        cmocka_unit_test(numbers_are_whole_or_refused),  cmocka_unit_test(slices_are_cut_and_compared),     cmocka_unit_test(utf8_is_strict_and_never_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
