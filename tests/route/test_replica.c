/* Which server gets a call: the same for the same beginning, unless it is busy; and what moves when one comes or goes. */
#include "route/replica.h"

#include "core/rand.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { N = 4, KEYS = 4000 };

static void fill(struct replica *r, size_t n)
{
    static const str names[] = { S("a"), S("b"), S("c"), S("d"), S("e") };
    for (size_t i = 0; i < n; i++)
        r[i] = (struct replica){ replica_hash(REPLICA_HASH, names[i]), 0, true };
}

static void the_same_beginning_goes_to_the_same_server_and_beginnings_are_spread(void **state)
{
    struct replica r[N];
    size_t count[N] = { 0 };
    struct rng g = rand_seeded(7);
    (void)state;
    fill(r, N);
    for (int i = 0; i < KEYS; i++) {
        uint64_t key = rand_u64(&g);
        size_t at = replica_choose(key, r, N);
        assert_int_equal(at, replica_choose(key, r, N));
        count[at]++;
    }
    for (size_t i = 0; i < N; i++)
        assert_in_range(count[i], KEYS / N - 200, KEYS / N + 200);
}

static void one_that_goes_moves_only_its_own(void **state)
{
    struct replica r[N + 1];
    struct rng g = rand_seeded(8);
    int moved = 0;
    (void)state;
    fill(r, N + 1);
    for (int i = 0; i < KEYS; i++) {
        uint64_t key = rand_u64(&g);
        size_t before = replica_choose(key, r, N + 1), after = replica_choose(key, r, N);
        assert_true(before == after || before == N);
        moved += before != after;
    }
    assert_in_range(moved, KEYS / (N + 1) - 200, KEYS / (N + 1) + 200);
    uint64_t key = rand_u64(&g);
    size_t first = replica_choose(key, r, N);
    r[first].well = false;
    assert_int_not_equal(replica_choose(key, r, N), first);
    r[first].well = true;
    assert_int_equal(replica_choose(key, r, N), first);
}

static void nobody_has_much_more_than_its_share_even_of_one_beginning(void **state)
{
    struct replica r[N];
    (void)state;
    fill(r, N);
    for (int i = 0; i < 1000; i++) {
        r[replica_choose(42, r, N)].load++;
        double most = 0;
        for (size_t k = 0; k < N; k++)
            most = fmax(most, r[k].load);
        assert_true(most <= ceil(1.25 * (i + 1) / N));
    }
}

static void a_busy_server_is_passed_by_and_an_idle_fleet_keeps_its_order(void **state)
{
    struct replica r[2];
    (void)state;
    fill(r, 2);
    size_t home = replica_choose(5, r, 2), other = 1 - home;
    r[home].load = 1;                   /* one call beside nothing is no reason to move */
    assert_int_equal(replica_choose(5, r, 2), home);
    r[home].load = 9;
    assert_int_equal(replica_choose(5, r, 2), other);
    r[other].load = 9;
    assert_int_equal(replica_choose(5, r, 2), home);
}

static void where_none_is_well_one_is_asked_all_the_same(void **state)
{
    struct replica r[3], one = { 1, 5, false };
    (void)state;
    fill(r, 3);
    for (size_t i = 0; i < 3; i++)
        r[i].well = false;
    assert_true(replica_choose(9, r, 3) < 3);
    assert_int_equal(replica_choose(9, &one, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_beginning_goes_to_the_same_server_and_beginnings_are_spread),
        cmocka_unit_test(one_that_goes_moves_only_its_own),
        cmocka_unit_test(nobody_has_much_more_than_its_share_even_of_one_beginning),
        cmocka_unit_test(a_busy_server_is_passed_by_and_an_idle_fleet_keeps_its_order),
        cmocka_unit_test(where_none_is_well_one_is_asked_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
