/* The loop: descriptors, timers, wakes from other threads, signals, and time that does not count. */
#include "io/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct io_loop *loop;

static int setup(void **state)
{
    (void)state;
    return io_loop_new(&loop) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    io_loop_free(loop);                 /* asserts that everything was closed */
    return 0;
}

static int64_t real_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Turns until *n has reached `want`; false: it has not within ten seconds. */
static bool turn_until(const int *n, int want)
{
    for (int64_t end = real_ms() + 10000; *n < want && real_ms() < end;) {
        io_loop_run_once(loop);
        usleep(500);
    }
    return *n >= want;
}

static void turn(int times)
{
    for (int i = 0; i < times; i++)
        io_loop_run_once(loop);
}

/* ---- descriptors ---- */

struct watched { struct io_watch w; int calls, events, closed; };

static void on_ready(struct io_watch *w, int events)
{
    struct watched *x = (struct watched *)w;
    x->calls++;
    x->events |= events;
}

static void on_closed(struct io_watch *w) { ((struct watched *)w)->closed++; }

static void a_watch_says_when_it_is_worth_trying_and_only_what_was_asked(void **state)
{
    struct watched x = { .calls = 0 };
    int fds[2];
    char buf[8];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(io_watch_init(loop, &x.w, fds[0], on_ready), ERR_OK);
    turn(3);
    assert_int_equal(x.calls, 0);       /* nothing was asked */
    io_watch_set(&x.w, IO_READ);
    turn(3);
    assert_int_equal(x.calls, 0);       /* nothing is there */
    assert_int_equal(write(fds[1], "ab", 2), 2);
    assert_true(turn_until(&x.calls, 1));
    assert_int_equal(x.events, IO_READ);
    int before = x.calls;
    turn(3);
    assert_true(x.calls > before);      /* as long as it lies there */
    assert_int_equal(read(fds[0], buf, sizeof buf), 2);
    turn(2);
    before = x.calls;
    turn(3);
    assert_int_equal(x.calls, before);
    x.events = 0;
    io_watch_set(&x.w, IO_WRITE);
    assert_true(turn_until(&x.calls, before + 1));
    assert_int_equal(x.events, IO_WRITE);
    io_watch_set(&x.w, 0);
    before = x.calls;
    assert_int_equal(write(fds[1], "c", 1), 1);
    turn(3);
    assert_int_equal(x.calls, before);
    io_watch_close(&x.w, on_closed);
    assert_int_equal(x.closed, 0);      /* not before the next turn */
    assert_true(turn_until(&x.closed, 1));
    assert_int_equal(read(fds[0], buf, sizeof buf), 1);      /* the descriptor is its owner's */
    close(fds[0]);
    close(fds[1]);
}

static void a_peer_that_closes_its_side_is_a_hangup(void **state)
{
    struct watched x = { .calls = 0 };
    int fds[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(io_watch_init(loop, &x.w, fds[0], on_ready), ERR_OK);
    io_watch_set(&x.w, IO_HANGUP);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    turn(3);
    assert_int_equal(x.calls, 0);       /* bytes alone are none */
    shutdown(fds[1], SHUT_WR);
    assert_true(turn_until(&x.calls, 1));
    assert_true(x.events & IO_HANGUP);
    io_watch_close(&x.w, on_closed);
    assert_true(turn_until(&x.closed, 1));
    close(fds[0]);
    close(fds[1]);
}

/* ---- timers ---- */

struct timed { struct io_timer t; int fired, closed, order; };
static int fired_in_all;

static void on_fire(struct io_timer *t)
{
    struct timed *x = (struct timed *)t;
    x->fired++;
    x->order = ++fired_in_all;
}

static void on_timer_closed(struct io_timer *t) { ((struct timed *)t)->closed++; }

static void timers_fire_once_in_order_and_can_be_moved_and_stopped(void **state)
{
    struct timed all[4] = { { .fired = 0 } };
    (void)state;
    fired_in_all = 0;
    for (int i = 0; i < 4; i++)
        io_timer_init(loop, &all[i].t, on_fire);
    io_timer_start(&all[0].t, 30);
    io_timer_start(&all[1].t, 10);
    io_timer_start(&all[2].t, 20);
    io_timer_start(&all[3].t, 5);
    io_timer_stop(&all[3].t);
    io_timer_start(&all[2].t, 60);      /* moved */
    assert_true(turn_until(&fired_in_all, 3));
    assert_int_equal(all[1].order, 1);
    assert_int_equal(all[0].order, 2);
    assert_int_equal(all[2].order, 3);
    usleep(10000);
    turn(3);
    assert_int_equal(fired_in_all, 3);
    io_timer_start(&all[3].t, -5);      /* the past is now */
    assert_true(turn_until(&all[3].fired, 1));
    io_timer_start(&all[3].t, 1);
    for (int i = 0; i < 4; i++)
        io_timer_close(&all[i].t, on_timer_closed);
    for (int i = 0; i < 4; i++)
        assert_true(turn_until(&all[i].closed, 1));
    assert_int_equal(all[3].fired, 1);  /* closed while it ran */
}

static void on_late(struct io_timer *t)
{
    struct timed *x = (struct timed *)t;
    x->fired++;
    x->order = (int)io_now_ms(loop);
}

/* A process that is stopped: its peers' bytes wait in the sockets, and its deadlines have passed by the system's clock. */
static void time_in_which_the_process_stood_still_does_not_count(void **state)
{
    struct timed x = { .fired = 0 };
    (void)state;
    io_timer_init(loop, &x.t, on_late);
    turn(2);
    int64_t begin = io_now_ms(loop), real = real_ms();
    io_timer_start(&x.t, 100);
    turn(1);
    usleep(600000);
    turn(1);                            /* the timer fires by the system's time … */
    assert_true(turn_until(&x.fired, 1));
    assert_true(real_ms() - real >= 600);
    assert_in_range(x.order - begin, 0, 99);        /* … and who looks sees that its 100 ms are not over */
    int64_t now = io_now_ms(loop);
    for (int i = 0; i < 40; i++) {      /* time that passes in small turns counts */
        usleep(5000);
        turn(1);
    }
    assert_true(io_now_ms(loop) - now >= 150);
    now = io_now_ms(loop);
    usleep(150000);                     /* so does a turn that is merely slow */
    turn(1);
    assert_true(io_now_ms(loop) - now >= 140);
    io_timer_close(&x.t, on_timer_closed);
    assert_true(turn_until(&x.closed, 1));
}

/* ---- other threads, signals, the end of a turn ---- */

struct woken { struct io_wake w; int calls, closed, seen, sent; };

static void on_wake(struct io_wake *w)
{
    struct woken *x = (struct woken *)w;
    x->calls++;
    x->seen = __atomic_load_n(&x->sent, __ATOMIC_SEQ_CST);
}

static void on_wake_closed(struct io_wake *w) { ((struct woken *)w)->closed++; }

static void *send_wakes(void *arg)
{
    struct woken *x = arg;
    for (int i = 0; i < 2000; i++) {
        __atomic_add_fetch(&x->sent, 1, __ATOMIC_SEQ_CST);
        io_wake_send(&x->w);
    }
    return NULL;
}

static void the_last_of_many_wakes_is_not_lost(void **state)
{
    struct woken x = { .calls = 0 };
    pthread_t threads[3];
    (void)state;
    assert_int_equal(io_wake_init(loop, &x.w, on_wake), ERR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_wakes, &x), 0);
    assert_true(turn_until(&x.seen, 6000));
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    turn(3);
    assert_in_range(x.calls, 1, 6000);
    io_wake_close(&x.w, on_wake_closed);
    assert_true(turn_until(&x.closed, 1));
}

struct signalled { struct io_signal s; int calls, closed, signum; };

static void on_signal(struct io_signal *s, int signum)
{
    struct signalled *x = (struct signalled *)s;
    x->calls++;
    x->signum = signum;
}

static void on_signal_closed(struct io_signal *s) { ((struct signalled *)s)->closed++; }

static void a_signal_is_a_callback(void **state)
{
    struct signalled x = { .calls = 0 };
    (void)state;
    assert_int_equal(io_signal_init(loop, &x.s, SIGUSR1, on_signal), ERR_OK);
    raise(SIGUSR1);
    assert_true(turn_until(&x.calls, 1));
    assert_int_equal(x.signum, SIGUSR1);
    io_signal_close(&x.s, on_signal_closed);
    assert_true(turn_until(&x.closed, 1));
}

static void count_turn(void *ctx) { (*(int *)ctx)++; }

static atomic_bool has_fired;

static void on_fire_said(struct io_timer *t)
{
    on_fire(t);
    atomic_store(&has_fired, true);
}

static void *stop_when_fired(void *arg)
{
    for (int i = 0; i < 10000 && !atomic_load(&has_fired); i++)
        usleep(1000);
    io_loop_stop(arg);
    return NULL;
}

static void a_loop_runs_until_another_thread_stops_it_and_says_when_a_turn_ends(void **state)
{
    struct timed x = { .fired = 0 };
    pthread_t other;
    int turns = 0;
    (void)state;
    io_timer_init(loop, &x.t, on_fire_said);
    io_timer_start(&x.t, 5);
    io_loop_on_turn(loop, count_turn, &turns);
    assert_int_equal(pthread_create(&other, NULL, stop_when_fired, loop), 0);
    io_loop_run(loop);
    pthread_join(other, NULL);
    assert_int_equal(x.fired, 1);
    assert_true(turns >= 1);                /* the one in which it fired, and one before it where there was time for that */
    io_loop_on_turn(loop, NULL, NULL);
    io_timer_close(&x.t, on_timer_closed);
    assert_true(turn_until(&x.closed, 1));
    memset(io_loop_scratch(loop), 1, IO_SCRATCH);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_watch_says_when_it_is_worth_trying_and_only_what_was_asked),
        TEST(a_peer_that_closes_its_side_is_a_hangup),
        TEST(timers_fire_once_in_order_and_can_be_moved_and_stopped),
        TEST(time_in_which_the_process_stood_still_does_not_count),
        TEST(the_last_of_many_wakes_is_not_lost),
        TEST(a_signal_is_a_callback),
        TEST(a_loop_runs_until_another_thread_stops_it_and_says_when_a_turn_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
