/* The mirror of the shared KV cache: its sums, under any order of growing, copying and ending. */
#include "infer/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { SEQUENCES = 12, LONGEST = 200, ROOM = 40 * PAGE_TOKENS };

static uint32_t seed = 7;
static uint32_t next(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static void what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    struct pages *p;
    assert_int_equal(pages_new(4 * PAGE_TOKENS, 3, 3 * PAGE_TOKENS, &p), ERR_OK);
    assert_int_equal(pages_resize(p, 0, 3 * PAGE_TOKENS), ERR_OK);
    assert_int_equal(pages_resize(p, 1, PAGE_TOKENS + 1), ERR_BUSY);
    assert_int_equal(pages_length(p, 1), 0);
    assert_int_equal(pages_left(p), PAGE_TOKENS);
    assert_int_equal(pages_resize(p, 1, PAGE_TOKENS), ERR_OK);
    assert_int_equal(pages_left(p), 0);
    assert_int_equal(pages_resize(p, 0, 1), ERR_OK);
    assert_int_equal(pages_left(p), 2 * PAGE_TOKENS);
    pages_free(p);
}

static void a_copy_takes_no_room_but_for_its_last_page(void **state)
{
    (void)state;
    struct pages *p;
    assert_int_equal(pages_new(ROOM, SEQUENCES, LONGEST, &p), ERR_OK);
    assert_int_equal(pages_resize(p, 0, 10 * PAGE_TOKENS), ERR_OK);
    size_t left = pages_left(p);
    assert_int_equal(pages_copy(p, 0, 1, 10 * PAGE_TOKENS), ERR_OK);
    assert_int_equal(pages_left(p), left);
    assert_int_equal(pages_copy(p, 0, 2, 9 * PAGE_TOKENS + 3), ERR_OK);
    assert_int_equal(pages_left(p), left - PAGE_TOKENS);
    assert_int_equal(pages_own(p, 0), 0);
    assert_int_equal(pages_own(p, 2), PAGE_TOKENS);
    assert_int_equal(pages_resize(p, 0, 0), ERR_OK);        /* its pages live on in the copies */
    assert_int_equal(pages_left(p), left - PAGE_TOKENS);
    assert_int_equal(pages_own(p, 1), PAGE_TOKENS);
    assert_int_equal(pages_resize(p, 1, 0), ERR_OK);
    assert_int_equal(pages_resize(p, 2, 0), ERR_OK);
    assert_int_equal(pages_left(p), ROOM);
    pages_free(p);
}

static void nothing_is_lost_in_any_order(void **state)
{
    (void)state;
    struct pages *p;
    int refused = 0;
    assert_int_equal(pages_new(ROOM, SEQUENCES, LONGEST, &p), ERR_OK);
    for (int round = 0; round < 20000; round++) {
        int a = (int)next(SEQUENCES), b = (int)next(SEQUENCES);
        enum err e = ERR_OK;
        switch (next(3)) {
        case 0: e = pages_resize(p, a, next(LONGEST + 1)); break;
        case 1: e = pages_resize(p, a, pages_length(p, a) / 2); break;
        default:
            if (a == b || !pages_length(p, a))
                continue;
            assert_int_equal(pages_resize(p, b, 0), ERR_OK);
            e = pages_copy(p, a, b, next((uint32_t)pages_length(p, a)) + 1);
        }
        refused += e == ERR_BUSY;
        size_t own = 0, all = 0;
        for (int i = 0; i < SEQUENCES; i++) {
            own += pages_own(p, i);
            all += (pages_length(p, i) + PAGE_TOKENS - 1) / PAGE_TOKENS * PAGE_TOKENS;
        }
        assert_int_equal(pages_lost(p), 0);
        assert_true(own + pages_left(p) <= ROOM);
        assert_true(all + pages_left(p) >= ROOM);       /* every page that is not free belongs to somebody */
    }
    assert_true(refused > 100);
    for (int i = 0; i < SEQUENCES; i++)
        assert_int_equal(pages_resize(p, i, 0), ERR_OK);
    assert_int_equal(pages_left(p), ROOM);
    pages_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_changes_nothing),
        cmocka_unit_test(a_copy_takes_no_room_but_for_its_last_page),
        cmocka_unit_test(nothing_is_lost_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
