/* The scheduler's decisions, with times given. */
#include "infer/sched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

/* A step costs 5 ms and 1 ms a token. */
static void learn(struct sched *s)
{
    for (size_t n = 1; n <= 512; n *= 2)
        for (int i = 0; i < 5; i++)
            sched_cost_learn(&s->cost, n, 5000 + 1000 * (double)n);
}

/* ---- cost ---- */

static void the_cost_is_learned_and_interpolated(void **state)
{
    (void)state;
    struct sched_cost c = { { { 0, 0 } } };
    assert_true(sched_cost_us(&c, 8) == 0);
    sched_cost_learn(&c, 1, 6000);
    sched_cost_learn(&c, 65, 70000);
    assert_true(sched_cost_us(&c, 1) == 6000);
    assert_true(fabs(sched_cost_us(&c, 33) - 38000) < 1);
    assert_true(fabs(sched_cost_us(&c, 130) - 140000) < 1);         /* its share of the largest */
    for (int i = 0; i < 200; i++)
        sched_cost_learn(&c, 1, 3000);
    assert_true(fabs(sched_cost_us(&c, 1) - 3000) < 10);
    double before = sched_cost_us(&c, 1);
    sched_cost_learn(&c, 1, 9000000);                               /* one pause of the machine */
    assert_true(sched_cost_us(&c, 1) < before * 1.5);
}

/* ---- order ---- */

static void interactive_calls_come_before_batch_ones_until_those_have_waited_long(void **state)
{
    (void)state;
    struct sched s = { .n_callers = 0 };
    struct sched_wait w[] = { { .caller = 1, .order = 0, .batch = true }, { .caller = 1, .order = 1, .since_us = 1000 } };
    sched_arrive(&s, 1);
    sched_arrive(&s, 1);
    assert_int_equal(sched_next(&s, w, 2, 2000), 1);
    assert_int_equal(sched_next(&s, w, 2, SCHED_PATIENCE_US + 1), 0);
    w[1].held = true;
    assert_int_equal(sched_next(&s, w, 2, 2000), 0);
    w[0].held = true;
    assert_int_equal(sched_next(&s, w, 2, 2000), 2);
}

static void callers_get_equal_shares_however_many_calls_they_send(void **state)
{
    (void)state;
    struct sched s = { .n_callers = 0 };
    struct sched_wait w[30];
    int got[2] = { 0, 0 };
    for (size_t i = 0; i < 30; i++) {           /* 25 calls of the first, then 5 of the second */
        w[i] = (struct sched_wait){ .caller = i < 25 ? 1 : 2, .order = i };
        sched_arrive(&s, w[i].caller);
    }
    for (int i = 0; i < 10; i++) {
        size_t n = sched_next(&s, w, 30, 0);
        assert_true(n < 30);
        w[n].held = true;
        got[w[n].caller - 1]++;
        sched_serve(&s, w[n].caller, 100, 50);
    }
    assert_int_equal(got[0], 5);
    assert_int_equal(got[1], 5);
    assert_true(w[0].held && !w[24].held);      /* of one caller, the oldest */
}

static void who_was_away_does_not_get_the_time_of_the_absence(void **state)
{
    (void)state;
    struct sched s = { .n_callers = 0 };
    sched_arrive(&s, 1);
    sched_serve(&s, 1, 1000000, 0);
    sched_arrive(&s, 2);                        /* for the first time now */
    struct sched_wait w[] = { { .caller = 1, .order = 0 }, { .caller = 2, .order = 1 } };
    sched_serve(&s, 2, 10, 0);
    assert_int_equal(sched_next(&s, w, 2, 0), 0);
}

static void more_callers_than_places_are_served_all_the_same(void **state)
{
    (void)state;
    static struct sched s;
    for (uint64_t i = 0; i < SCHED_CALLERS + 50; i++)
        sched_arrive(&s, i);
    assert_int_equal(s.n_callers, SCHED_CALLERS);
    sched_leave(&s, 3);
    sched_arrive(&s, 5000);                     /* in the place of the one who left */
    assert_int_equal(s.n_callers, SCHED_CALLERS);
    struct sched_wait w = { .caller = SCHED_CALLERS + 20 };
    assert_int_equal(sched_next(&s, &w, 1, 0), 0);
    sched_serve(&s, SCHED_CALLERS + 20, 10, 10);
    sched_leave(&s, SCHED_CALLERS + 20);
}

/* ---- steps ---- */

static void every_answer_gets_its_token_and_prompts_the_rest_of_the_time(void **state)
{
    (void)state;
    struct sched s = { .n_callers = 0 };
    learn(&s);
    struct sched_run r[] = { { .left = 1, .piece = 1 }, { .left = 1, .piece = 1 }, { .reads = true, .left = 1000, .piece = 1000, .order = 3 } };
    sched_fill(&s, r, 3, 512, 64);
    assert_int_equal(r[0].take, 1);
    assert_int_equal(r[1].take, 1);
    assert_in_range(r[2].take, 50, 80);         /* 80 ms at about 1.1 ms each */
    r[0].held = r[1].held = true;
    sched_fill(&s, r, 3, 512, 64);
    assert_int_equal(r[0].take, 0);
    assert_int_equal(r[2].take, 256);           /* nobody waits for a next token: 320 ms, and whole tiles */
    sched_fill(&s, r, 3, 40, 64);
    assert_int_equal(r[2].take, 40);
}

static void a_step_has_a_size_at_which_tokens_are_cheap_where_that_is_quick(void **state)
{
    static const struct { double us; size_t take; } cases[] = {     /* of one token; what is read beside one answer */
        { 100, 767 }, { 6000, 63 }, { 9500, 23 }, { 20000, 23 }, { 60000, SCHED_PIECE_LEAST } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sched s = { .n_callers = 0 };
        struct sched_run r[] = { { .left = 1, .piece = 1 }, { .reads = true, .left = 1000, .piece = 1000 } };
        sched_cost_learn(&s.cost, SCHED_TILE, cases[i].us * SCHED_TILE);
        sched_fill(&s, r, 2, 2048, 64);
        assert_int_equal(r[0].take, 1);
        assert_int_equal(r[1].take, cases[i].take);
    }
}

static void an_only_prompt_is_read_to_its_end_where_that_is_quick(void **state)
{
    (void)state;
    struct sched s = { .n_callers = 0 };
    sched_cost_learn(&s.cost, SCHED_TILE, 6500.0 * SCHED_TILE);
    struct sched_run r[] = { { .reads = true, .left = 102, .piece = 102 }, { .reads = true, .left = 1000, .piece = 1000, .order = 1 } };
    sched_fill(&s, r, 1, 512, 64);
    assert_int_equal(r[0].take, 102);           /* 660 ms, and not 64 and 38 */
    sched_fill(&s, r, 1, 100, 64);
    assert_int_equal(r[0].take, SCHED_TILE);    /* it does not fit into a step */
    sched_fill(&s, r, 2, 512, 64);
    assert_int_equal(r[0].take + r[1].take, SCHED_TILE);
    r[0].left = r[0].piece = 120;
    sched_fill(&s, r, 1, 512, 64);
    assert_int_equal(r[0].take, SCHED_TILE);    /* 780 ms would be too long for a call that comes meanwhile */
}

static void the_shortest_prompt_is_read_first_and_the_oldest_is_not_forgotten(void **state)
{
    (void)state;
    struct sched s = { .n_callers = 0 };
    learn(&s);
    struct sched_run r[] = { { .reads = true, .left = 4000, .piece = 4000, .order = 1 }, { .reads = true, .left = 2000, .piece = 2000, .order = 2 },
                             { .reads = true, .left = 20, .piece = 20, .order = 3 } };
    sched_fill(&s, r, 3, 128, 64);
    assert_int_equal(r[0].take, 128);           /* the first of four steps */
    sched_fill(&s, r, 3, 128, 64);
    assert_int_equal(r[2].take, 20);
    assert_int_equal(r[1].take, 108);
    assert_int_equal(r[0].take, 0);
    r[1].piece = 10;                            /* up to a border */
    sched_fill(&s, r, 3, 128, 64);
    assert_int_equal(r[2].take, 20);
    assert_int_equal(r[1].take, 10);
    assert_int_equal(r[0].take, 128 - 20 - 10);
    sched_fill(&s, r, 3, 128, 64);
    sched_fill(&s, r, 3, 128, 64);
    assert_int_equal(r[0].take, 128);
}

/* worth[k] of guesses that are right with this chance. */
static const double *worth(double chance, double out[17])
{
    double all = 1;
    out[0] = 0;
    for (size_t k = 0; k < 16; k++)
        out[k + 1] = out[k] + (all *= chance);
    return out;
}

static void guesses_are_taken_where_they_pay(void **state)
{
    (void)state;
    struct sched s = { .n_callers = 0 };
    double w[17];
    learn(&s);
    struct sched_run r = { .left = 1, .piece = 1, .drafts = 16, .worth = worth(0.9, w) };
    sched_fill(&s, &r, 1, 512, 64);
    assert_in_range(r.take, 4, 17);
    size_t sure = r.take;
    worth(0.5, w);
    sched_fill(&s, &r, 1, 512, 64);
    assert_true(r.take >= 1 && r.take < sure);
    worth(0.1, w);
    sched_fill(&s, &r, 1, 512, 64);
    assert_int_equal(r.take, 1);
    worth(0.99, w);
    sched_fill(&s, &r, 1, 512, 3);              /* outputs: three in all */
    assert_int_equal(r.take, 3);
    sched_fill(&s, &r, 1, 5, 64);
    assert_int_equal(r.take, 5);
    struct sched none = { .n_callers = 0 };     /* nothing was measured: nothing is risked */
    sched_fill(&none, &r, 1, 512, 64);
    assert_int_equal(r.take, 1);
    worth(0.1, w);
    r.all_drafts = true;
    sched_fill(&s, &r, 1, 512, 64);
    assert_int_equal(r.take, 17);
    r.drafts = 16;
    sched_fill(&s, &r, 1, 9, 64);
    assert_int_equal(r.take, 9);
}

/* Where a token costs as much alone as with others, a wrong guess is not free. */
static void guesses_that_cost_their_full_price_are_not_taken(void **state)
{
    (void)state;
    struct sched s = { .n_callers = 0 };
    double w[17];
    for (size_t n = 1; n <= 512; n *= 2)
        sched_cost_learn(&s.cost, n, 1000 * (double)n);
    struct sched_run r = { .left = 1, .piece = 1, .drafts = 16, .worth = worth(0.95, w) };
    sched_fill(&s, &r, 1, 512, 64);
    assert_int_equal(r.take, 1);
}

static void a_step_is_split_into_what_neighbours_have_in_common(void **state)
{
    static const struct { size_t takes[4]; int places[4]; bool apart; size_t n_parts, parts[4]; } cases[] = {
        { { 3, 3, 3, 3 }, { 0, 1, 2, 3 }, true, 1, { 12 } },
        { { 1, 5, 3, 1 }, { 0, 1, 2, 3 }, true, 3, { 4, 4, 2 } },
        { { 5, 1, 5, 1 }, { 0, 1, 2, 3 }, true, 3, { 4, 4, 4 } },
        { { 2, 2, 2, 2 }, { 0, 1, 3, 4 }, true, 2, { 4, 4 } },
        { { 1, 5, 3, 1 }, { 0, 1, 2, 3 }, false, 1, { 10 } },
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct sched s = { .apart = cases[c].apart };
        struct sched_run r[4];
        double w[17];
        for (size_t i = 0; i < 4; i++)
            r[i] = (struct sched_run){ .left = 1, .piece = 1, .place = cases[c].places[i], .drafts = cases[c].takes[i] - 1, .worth = worth(0.5, w), .all_drafts = true };
        sched_fill(&s, r, 4, 512, 64);
        assert_int_equal(s.n_parts, cases[c].n_parts);
        for (size_t i = 0; i < s.n_parts; i++)
            assert_int_equal(s.parts[i], cases[c].parts[i]);
    }
}

static void neighbours_get_guesses_alike_where_a_part_of_its_own_costs_more(void **state)
{
    (void)state;
    struct sched s = { .apart = true };
    double sure[17], fair[17];
    for (size_t n = 1; n <= 512; n *= 2)
        sched_cost_learn(&s.cost, n, 50000 + 16500 * (double)n);
    struct sched_run r[4];
    for (int i = 0; i < 4; i++)
        r[i] = (struct sched_run){ .left = 1, .piece = 1, .place = i, .drafts = 16, .worth = i % 2 ? worth(0.9, sure) : worth(0.85, fair) };
    sched_fill(&s, r, 4, 512, 64);
    assert_int_equal(s.n_parts, 1);
    assert_true(r[0].take > 2 && r[0].take == r[1].take && r[0].take == r[2].take && r[0].take == r[3].take);
    worth(0.1, fair);
    worth(0.99, sure);
    sched_fill(&s, r, 4, 512, 64);              /* only one of them knows what it copies */
    assert_int_equal(r[0].take, 1);
    assert_int_equal(r[2].take, 1);
    assert_true(r[1].take > 8 || r[3].take > 8);
}

static void what_parts_cost_is_learned_from_steps_of_several(void **state)
{
    (void)state;
    struct sched s = { .apart = true };
    struct sched_run r[] = { { .left = 1, .piece = 1 }, { .left = 1, .piece = 1, .place = 2 } };
    sched_fill(&s, r, 2, 512, 64);
    sched_learn(&s, 20000);                     /* nothing is known yet: two parts tell nothing about one */
    assert_true(sched_cost_us(&s.cost, 1) == 0);
    sched_cost_learn(&s.cost, 1, 5000);
    for (int i = 0; i < 200; i++)
        sched_learn(&s, 20000);
    assert_true(fabs(sched_cost_us(&s.cost, 1) - 10000) < 100);
    struct sched_run one = { .left = 1, .piece = 1 };
    sched_fill(&s, &one, 1, 512, 64);
    for (int i = 0; i < 200; i++)
        sched_learn(&s, 7000);
    assert_true(fabs(sched_cost_us(&s.cost, 1) - 7000) < 100);
}

static void who_gives_way(void **state)
{
    (void)state;
    struct sched_run r[] = { { .order = 1 }, { .order = 2, .batch = true }, { .order = 3, .batch = true, .fixed = true }, { .order = 4 } };
    assert_int_equal(sched_victim(r, 4, false), 1);
    assert_int_equal(sched_victim(r, 4, true), 1);
    r[1].fixed = true;
    assert_int_equal(sched_victim(r, 4, false), 4);
    assert_int_equal(sched_victim(r, 4, true), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cost_is_learned_and_interpolated),
        cmocka_unit_test(interactive_calls_come_before_batch_ones_until_those_have_waited_long),
        cmocka_unit_test(callers_get_equal_shares_however_many_calls_they_send),
        cmocka_unit_test(who_was_away_does_not_get_the_time_of_the_absence),
        cmocka_unit_test(more_callers_than_places_are_served_all_the_same),
        cmocka_unit_test(every_answer_gets_its_token_and_prompts_the_rest_of_the_time),
        cmocka_unit_test(an_only_prompt_is_read_to_its_end_where_that_is_quick),
        cmocka_unit_test(the_shortest_prompt_is_read_first_and_the_oldest_is_not_forgotten),
        cmocka_unit_test(a_step_has_a_size_at_which_tokens_are_cheap_where_that_is_quick),
        cmocka_unit_test(guesses_are_taken_where_they_pay),
        cmocka_unit_test(guesses_that_cost_their_full_price_are_not_taken),
        cmocka_unit_test(a_step_is_split_into_what_neighbours_have_in_common),
        cmocka_unit_test(neighbours_get_guesses_alike_where_a_part_of_its_own_costs_more),
        cmocka_unit_test(what_parts_cost_is_learned_from_steps_of_several),
        cmocka_unit_test(who_gives_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
