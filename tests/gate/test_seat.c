/* Seats: never more than allowed, who is next, who leaves, limits that change, and many loops at once. */
#include "gate/seat.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct seat_registry *registry;
static struct seat_port port;
static int wakes;

static void count_wake(void *ctx) { (*(int *)ctx)++; }

static int setup(void **state)
{
    (void)state;
    registry = seat_registry_new();
    wakes = 0;
    seat_port_init(&port, count_wake, &wakes);
    return registry ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    seat_port_destroy(&port);
    seat_registry_free(registry);
    return 0;
}

static void look(struct seats *s, int64_t running, int64_t waiting)
{
    int64_t r, w;
    seat_look(s, &r, &w);
    assert_int_equal(r, running);
    assert_int_equal(w, waiting);
}

static enum err take(struct seats *s, struct seat *t, bool batch)
{
    int64_t retry = 0;
    enum err e = seat_take(s, t, &port, batch, 0, &retry);
    if (e == ERR_BUSY)
        assert_in_range(retry, 1, 60);
    return e;
}

static void seats_are_granted_in_order_and_interactive_calls_go_first(void **state)
{
    struct seats *s = seat_registry_find(registry, S("m"), 2, 10);
    struct seat held[2], waiting[4];
    static const bool batch[] = { true, false, true, false };
    static const int order[] = { 1, 3, 0, 2 };
    (void)state;
    assert_int_equal(take(s, &held[0], false), ERR_OK);
    assert_int_equal(take(s, &held[1], true), ERR_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(take(s, &waiting[i], batch[i]), ERR_AGAIN);
    look(s, 2, 4);
    assert_null(seat_collect(&port));
    for (int i = 0; i < 4; i++) {
        seat_release(i < 2 ? &held[i] : &waiting[order[i - 2]], 1000);
        assert_int_equal(wakes, i + 1);
        assert_true(seat_waits(&waiting[order[i]]));        /* granted, and on its way */
        struct seat *t = seat_collect(&port);
        assert_ptr_equal(t, &waiting[order[i]]);
        assert_false(seat_waits(t));
        assert_null(seat_collect(&port));
        look(s, 2, 3 - i);
    }
    for (int i = 2; i < 4; i++)
        seat_release(&waiting[order[i]], 2000);
    look(s, 0, 0);
}

static void who_comes_while_others_wait_does_not_pass_them(void **state)
{
    struct seats *s = seat_registry_find(registry, S("m"), 1, 10);
    struct seat a, b, c;
    (void)state;
    assert_int_equal(take(s, &a, false), ERR_OK);
    assert_int_equal(take(s, &b, true), ERR_AGAIN);
    seat_release(&a, 0);
    assert_int_equal(take(s, &c, true), ERR_AGAIN);         /* the seat is on its way to b */
    assert_ptr_equal(seat_collect(&port), &b);
    seat_release(&b, 0);
    assert_ptr_equal(seat_collect(&port), &c);
    seat_release(&c, 0);
    look(s, 0, 0);
}

static void waiting_is_bounded_and_says_when_to_come_back(void **state)
{
    struct seats *s = seat_registry_find(registry, S("m"), 1, 2), *none = seat_registry_find(registry, S("n"), 1, 0);
    struct seat held, w[2], late;
    int64_t retry = 0;
    (void)state;
    assert_int_equal(take(none, &held, false), ERR_OK);
    assert_int_equal(take(none, &late, false), ERR_BUSY);
    seat_release(&late, 0);             /* it is none: nothing */
    seat_release(&held, 0);
    look(none, 0, 0);
    assert_int_equal(take(s, &held, false), ERR_OK);
    seat_release(&held, 20000000);      /* a call takes twenty seconds here */
    assert_int_equal(seat_take(s, &held, &port, false, 0, &retry), ERR_OK);
    assert_int_equal(take(s, &w[0], false), ERR_AGAIN);
    assert_int_equal(take(s, &w[1], false), ERR_AGAIN);
    assert_int_equal(seat_take(s, &late, &port, false, 0, &retry), ERR_BUSY);
    assert_int_equal(retry, 60);
    seat_release(&w[1], 0);
    assert_int_equal(take(s, &late, false), ERR_AGAIN);     /* there is room again */
    seat_release(&late, 0);
    seat_release(&w[0], 0);
    seat_release(&held, 0);
    look(s, 0, 0);
}

static void who_leaves_takes_nothing_along(void **state)
{
    struct seats *s = seat_registry_find(registry, S("m"), 1, 10);
    struct seat a, b, c, d;
    (void)state;
    assert_int_equal(take(s, &a, false), ERR_OK);
    assert_int_equal(take(s, &b, false), ERR_AGAIN);
    assert_int_equal(take(s, &c, false), ERR_AGAIN);
    assert_int_equal(take(s, &d, false), ERR_AGAIN);
    seat_release(&c, 0);                /* from the middle of those who wait */
    seat_release(&d, 0);                /* and the last: who comes next must still be found */
    assert_int_equal(take(s, &c, false), ERR_AGAIN);
    look(s, 1, 2);
    seat_release(&a, 0);                /* granted to b, which leaves before it has heard of it */
    seat_release(&b, 0);
    assert_ptr_equal(seat_collect(&port), &c);
    assert_null(seat_collect(&port));
    seat_release(&c, 0);
    seat_release(&c, 0);                /* once more: nothing */
    look(s, 0, 0);
}

static void a_new_limit_holds_at_once(void **state)
{
    struct seats *s = seat_registry_find(registry, S("m"), 1, 10);
    struct seat t[6];
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(take(s, &t[i], false), i ? ERR_AGAIN : ERR_OK);
    assert_ptr_equal(seat_registry_find(registry, S("m"), 4, 10), s);       /* the same, over configurations */
    seat_release(&t[0], 0);
    int n = 0;
    while (seat_collect(&port))
        n++;
    assert_int_equal(n, 4);
    look(s, 4, 0);
    (void)seat_registry_find(registry, S("m"), 2, 10);      /* fewer: those who have one keep it */
    look(s, 4, 0);
    assert_int_equal(take(s, &t[5], false), ERR_AGAIN);
    seat_release(&t[1], 0);
    seat_release(&t[2], 0);
    assert_null(seat_collect(&port));
    seat_release(&t[3], 0);
    assert_ptr_equal(seat_collect(&port), &t[5]);
    seat_release(&t[4], 0);
    seat_release(&t[5], 0);
    look(s, 0, 0);
    char name[200];
    memset(name, 'x', sizeof name);
    assert_null(seat_registry_find(registry, (str){ name, 132 }, 1, 1));
    assert_non_null(seat_registry_find(registry, (str){ name, 131 }, 1, 1));
}

/* ---- several loops ---- */

enum { LOOPS = 4, ROUNDS = 3000, AT_ONCE = 3 };

struct loop { struct seats *s; struct seat_port port; pthread_t thread; unsigned seed; int wakes, held, given_up; };
static int inside, most;

static void count_atomic(void *ctx) { __atomic_add_fetch((int *)ctx, 1, __ATOMIC_SEQ_CST); }

static void enter(void)
{
    int n = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST), m = __atomic_load_n(&most, __ATOMIC_SEQ_CST);
    while (n > m && !__atomic_compare_exchange_n(&most, &m, n, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
}

static void *run_loop(void *arg)
{
    struct loop *l = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct seat t;
        int64_t retry;
        bool impatient = rand_r(&l->seed) % 4 == 0;
        enum err e = seat_take(l->s, &t, &l->port, rand_r(&l->seed) % 2, 0, &retry);
        if (e == ERR_BUSY)
            continue;
        for (int spin = 0; e == ERR_AGAIN; spin++) {
            if (impatient && spin > 20)
                break;
            if (seat_collect(&l->port) == &t)
                e = ERR_OK;
            else
                usleep(10);
        }
        if (e == ERR_OK) {
            enter();
            __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
            l->held++;
        } else {
            l->given_up++;
        }
        seat_release(&t, 0);
    }
    return NULL;
}

static void many_loops_never_have_more_than_allowed_and_lose_none(void **state)
{
    struct loop loops[LOOPS];
    struct seats *s = seat_registry_find(registry, S("m"), AT_ONCE, LOOPS);
    int held = 0;
    (void)state;
    inside = most = 0;
    for (int i = 0; i < LOOPS; i++) {
        loops[i] = (struct loop){ .s = s, .seed = (unsigned)i + 1 };
        seat_port_init(&loops[i].port, count_atomic, &loops[i].wakes);
        assert_int_equal(pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]), 0);
    }
    for (int i = 0; i < LOOPS; i++) {
        pthread_join(loops[i].thread, NULL);
        held += loops[i].held;
        assert_null(seat_collect(&loops[i].port));
        seat_port_destroy(&loops[i].port);
    }
    assert_in_range(most, 1, AT_ONCE);
    assert_true(held > ROUNDS);
    look(s, 0, 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(seats_are_granted_in_order_and_interactive_calls_go_first),
        TEST(who_comes_while_others_wait_does_not_pass_them),
        TEST(waiting_is_bounded_and_says_when_to_come_back),
        TEST(who_leaves_takes_nothing_along),
        TEST(a_new_limit_holds_at_once),
        TEST(many_loops_never_have_more_than_allowed_and_lose_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
