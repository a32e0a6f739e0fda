/* Guesses by prompt lookup. */
#include "infer/draft.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define T(...) { __VA_ARGS__ }, sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)

static const struct { const char *name; int32_t tokens[24]; size_t n, most; int32_t want[8]; size_t n_want, match; } rows[] = {
    { "what followed before", T(1, 2, 3, 4, 5, 9, 1, 2), 3, T(3, 4, 5), 2 },
    { "no more than there is", T(1, 2, 3, 1, 2), 8, T(3, 1, 2), 2 },
    { "the longest match counts", T(7, 1, 2, 5, 8, 1, 2, 6, 7, 1, 2), 1, T(5), 3 },
    { "of equals the latest", T(1, 2, 5, 1, 2, 6, 1, 2), 1, T(6), 2 },
    { "one token is no match", T(1, 2, 3, 9, 1), 4, { 0 }, 0, 0 },
    { "nothing was seen before", T(1, 2, 3, 4), 4, { 0 }, 0, 0 },
    { "a loop goes on", T(3, 4, 3, 4, 3, 4), 2, T(3, 4), 4 },
    { "nothing is wanted", T(1, 2, 3, 1, 2), 0, { 0 }, 0, 0 },
    { "too little to look at", T(1, 1), 4, { 0 }, 0, 0 },
};

static void guesses_are_what_followed_before(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t out[8];
        size_t match = 0, n = draft_propose(rows[i].tokens, rows[i].n, out, rows[i].most, &match);
        if (n != rows[i].n_want)
            fail_msg("%s: %zu guesses, not %zu", rows[i].name, n, rows[i].n_want);
        for (size_t k = 0; k < n; k++)
            if (out[k] != rows[i].want[k])
                fail_msg("%s: guess %zu is %d, not %d", rows[i].name, k, out[k], rows[i].want[k]);
        if (n && match != rows[i].match)
            fail_msg("%s: a match of %zu tokens, not %zu", rows[i].name, match, rows[i].match);
    }
}

static void the_skill_follows_what_was_right_and_recovers(void **state)
{
    (void)state;
    struct draft_skill s;
    draft_skill_init(&s);
    double first = s.chance[0];
    for (int i = 0; i < 50; i++)
        draft_skill_learn(&s, 2, 1, 1);
    assert_true(s.chance[0] > 0.95 && s.chance[0] < 1);
    for (int i = 0; i < 50; i++)
        draft_skill_learn(&s, 2, 4, 0);
    assert_true(s.chance[0] > 0 && s.chance[0] < 0.1);
    for (int i = 0; i < 400; i++)
        draft_skill_learn(&s, 2, 0, 0);
    assert_true(s.chance[0] > first * 0.9 && s.chance[0] <= first);
    struct draft_skill before = s;
    draft_skill_learn(&s, 2, 8, 1);     /* one right, one wrong after a match of 3, and six that nobody looked at */
    assert_true(s.chance[0] > before.chance[0]);
    assert_true(s.chance[1] < before.chance[1] && s.chance[1] > before.chance[1] * 0.8);
    assert_true(s.chance[2] == before.chance[2] && s.chance[3] == before.chance[3]);
}

static void guesses_after_a_long_match_are_worth_more(void **state)
{
    (void)state;
    struct draft_skill s = { { 0.5, 0.8, 0.9, 1 } };
    double worth[6];
    draft_worth(&s, 2, 3, worth);
    assert_true(worth[0] == 0 && fabs(worth[1] - 0.5) < 1e-9 && fabs(worth[2] - 0.9) < 1e-9 && fabs(worth[3] - 1.22) < 1e-9);
    draft_worth(&s, 12, 5, worth);
    assert_true(fabs(worth[5] - 5) < 1e-9);
    draft_worth(&s, 12, 0, worth);
    assert_true(worth[0] == 0);
}

static void answers_to_come_begin_with_what_others_have_learned(void **state)
{
    (void)state;
    struct draft_skill all = { { 0.5, 0.5, 0.5, 0.5 } }, s = { { 0.1, 0.5, 0.5, 0.9 } };
    draft_skill_pass_on(&all, &s);
    assert_true(all.chance[0] < 0.5 && all.chance[0] > 0.1 && all.chance[1] == 0.5 && all.chance[3] > 0.5 && all.chance[3] < 0.9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_are_what_followed_before),
        cmocka_unit_test(the_skill_follows_what_was_right_and_recovers),
        cmocka_unit_test(guesses_after_a_long_match_are_worth_more),
        cmocka_unit_test(answers_to_come_begin_with_what_others_have_learned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
