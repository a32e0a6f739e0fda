/* Guesses by prompt lookup. */
#include "infer/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define T(...) { __VA_ARGS__ }, sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)

static const struct { const char *name; int32_t tokens[24]; size_t n, most; int32_t want[8]; size_t n_want; } rows[] = {
    { "what followed before", T(1, 2, 3, 4, 5, 9, 1, 2), 3, T(3, 4, 5) },
    { "no more than there is", T(1, 2, 3, 1, 2), 8, T(3, 1, 2) },
    { "the longest match counts", T(7, 1, 2, 5, 8, 1, 2, 6, 7, 1, 2), 1, T(5) },
    { "of equals the latest", T(1, 2, 5, 1, 2, 6, 1, 2), 1, T(6) },
    { "one token is no match", T(1, 2, 3, 9, 1), 4, { 0 }, 0 },
    { "nothing was seen before", T(1, 2, 3, 4), 4, { 0 }, 0 },
    { "a loop goes on", T(3, 4, 3, 4, 3, 4), 2, T(3, 4) },
    { "nothing is wanted", T(1, 2, 3, 1, 2), 0, { 0 }, 0 },
    { "too little to look at", T(1, 1), 4, { 0 }, 0 },
};

static void guesses_are_what_followed_before(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t out[8];
        size_t n = draft_propose(rows[i].tokens, rows[i].n, out, rows[i].most);
        if (n != rows[i].n_want)
            fail_msg("%s: %zu guesses, not %zu", rows[i].name, n, rows[i].n_want);
        for (size_t k = 0; k < n; k++)
            if (out[k] != rows[i].want[k])
                fail_msg("%s: guess %zu is %d, not %d", rows[i].name, k, out[k], rows[i].want[k]);
    }
}

static void the_skill_follows_what_was_right_and_recovers(void **state)
{
    (void)state;
    struct draft_skill s;
    draft_skill_init(&s);
    double first = s.chance;
    for (int i = 0; i < 50; i++)
        draft_skill_learn(&s, 4, 4);
    assert_true(s.chance > 0.95 && s.chance < 1);
    for (int i = 0; i < 50; i++)
        draft_skill_learn(&s, 4, 0);
    assert_true(s.chance > 0 && s.chance < 0.1);
    for (int i = 0; i < 400; i++)
        draft_skill_learn(&s, 0, 0);
    assert_true(s.chance > first * 0.9 && s.chance <= first);
    double before = s.chance;
    draft_skill_learn(&s, 8, 1);        /* one right, one wrong, and six that nobody looked at */
    assert_true(s.chance < before + 0.01 && s.chance > before * 0.8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_are_what_followed_before),
        cmocka_unit_test(the_skill_follows_what_was_right_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
