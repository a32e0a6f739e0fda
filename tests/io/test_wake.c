/* Wake-ups from other threads: none is lost, several may be one, and who is closed hears nothing. */
#include "io/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SENDERS = 4, ROUNDS = 2000 };

struct bell {
    struct io_wake wake;
    atomic_int asked;                   /* by the senders */
    int seen, calls;                    /* by the loop */
    int enough;                         /* then the loop is stopped */
    struct bell *close;                 /* whom its first call closes */
    bool closed;
};

static void on_closed(struct io_wake *w) { ((struct bell *)w)->closed = true; }

static void on_wake(struct io_wake *w)
{
    struct bell *b = (struct bell *)w;
    b->seen = atomic_load(&b->asked);
    b->calls++;
    if (b->close)
        io_wake_close(&b->close->wake, on_closed);
    b->close = NULL;
    if (b->seen == b->enough)
        io_loop_stop(w->loop);
}

static void *send_all(void *arg)
{
    struct bell *b = arg;
    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&b->asked, 1);
        io_wake_send(&b->wake);
        if (i % 64 == 0)
            usleep(50);
    }
    return NULL;
}

static void no_wake_up_is_lost(void **state)
{
    (void)state;
    struct io_loop *l;
    struct bell b = { .enough = SENDERS * ROUNDS };
    pthread_t t[SENDERS];
    assert_int_equal(io_loop_new(&l), ERR_OK);
    assert_int_equal(io_wake_init(l, &b.wake, on_wake), ERR_OK);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, send_all, &b), 0);
    io_loop_run(l);                     /* ends only when the last of them was heard; ctest's deadline says when not */
    for (int i = 0; i < SENDERS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(b.seen, SENDERS * ROUNDS);
    assert_in_range(b.calls, 1, SENDERS * ROUNDS);
    io_wake_close(&b.wake, on_closed);
    while (!b.closed)
        io_loop_run_once(l);
    io_loop_free(l);
}

/* All three are sent to; the first or the last closes the one in the middle. How often that one was called. */
static int close_the_middle(int closer)
{
    struct io_loop *l;
    struct bell b[3] = { { .enough = -1 }, { .enough = -1 }, { .enough = -1 } };
    assert_int_equal(io_loop_new(&l), ERR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(io_wake_init(l, &b[i].wake, on_wake), ERR_OK);
    b[closer].close = &b[1];
    for (int i = 0; i < 3; i++)
        io_wake_send(&b[i].wake);
    for (int i = 0; i < 20; i++)
        io_loop_run_once(l);
    assert_true(b[1].closed && b[0].calls == 1 && b[2].calls == 1);
    int calls = b[1].calls;
    io_wake_send(&b[0].wake);
    for (int i = 0; i < 20; i++)
        io_loop_run_once(l);
    assert_true(b[1].calls == calls && b[0].calls == 2);
    for (int i = 0; i < 3; i += 2)
        io_wake_close(&b[i].wake, on_closed);
    while (!b[0].closed || !b[2].closed)
        io_loop_run_once(l);
    io_loop_free(l);
    return calls;
}

static void who_is_closed_by_another_hears_nothing_more(void **state)
{
    (void)state;
    assert_int_equal(close_the_middle(0) + close_the_middle(2), 1);     /* closed after its call, and before it */
}

static void a_stop_before_the_run_ends_it(void **state)
{
    (void)state;
    struct io_loop *l;
    assert_int_equal(io_loop_new(&l), ERR_OK);
    io_loop_stop(l);
    io_loop_run(l);
    io_loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(who_is_closed_by_another_hears_nothing_more),
        cmocka_unit_test(a_stop_before_the_run_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
