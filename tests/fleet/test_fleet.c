/* The machine from the side of its callers: doors, waiting, ends. This program is the ward, and the server below it, too. */
#include "fleet/fleet.h"

#include "io/ward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the server: answers every GET with 200; "die" ends at once, "late" is ready after a while ---- */

static int serve(const char *port, const char *how)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char in[4096];
    if (strcmp(how, "die") == 0) {
        fputs("error: it was not meant to be\n", stderr);
        return 5;
    }
    if (strcmp(how, "late") == 0)
        nanosleep(&(struct timespec){ .tv_nsec = 400000000 }, NULL);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 16))
        return 6;
    for (;;) {
        static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\nConnection: close\r\n\r\n{\"model_ftype\":\"Q4\"}";
        int c = accept(fd, NULL, NULL);
        if (c >= 0 && read(c, in, sizeof in) > 0 && write(c, reply, sizeof reply - 1) > 0)
            close(c);
    }
}

/* ---- a world: a keeper and a port ---- */

struct world {
    struct io_loop *loop;
    struct fleet *fleet;
    struct fleet_port port;
    char dir[64], run[96], log[96];
    bool closed;
};

static void on_wake(void *ctx) { (void)ctx; }
static void on_closed(void *ctx) { ((struct world *)ctx)->closed = true; }

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct fleet_options o;
    snprintf(w->dir, sizeof w->dir, "/tmp/hearth-fleet-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->run, sizeof w->run, "%s/run", w->dir);
    snprintf(w->log, sizeof w->log, "%s/log", w->dir);
    fleet_options_default(&o);
    o.engine_path = "/nowhere/hearth-engine";
    o.run_dir = w->run;
    o.log_dir = w->log;
    o.queue = 3;
    assert_int_equal(io_loop_new(&w->loop), ERR_OK);
    assert_int_equal(fleet_new(w->loop, &o, &w->fleet), ERR_OK);
    fleet_port_init(&w->port, on_wake, w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];
    if (!w->closed)
        fleet_close(w->fleet, 2000, on_closed, w);
    for (int i = 0; i < 100000 && !w->closed; i++) {
        io_loop_run_once(w->loop);
        usleep(200);
    }
    assert_true(w->closed);
    for (int i = 0; i < 10; i++)
        io_loop_run_once(w->loop);
    io_loop_free(w->loop);
    fleet_port_destroy(&w->port);
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static struct fleet_model *model(struct world *w, const char *name, const char *how, int64_t idle_ms)
{
    const str words[] = { S("/proc/self/exe"), S("--serve"), S("{port}"), str_of(how), S("{name}") };
    struct fleet_spec s = { .kind = FLEET_LLAMA_SERVER, .provider = S("p"), .name = str_of(name), .id = str_of(name), .file = S(""), .chat_template = S(""), .words = words, .n_words = 5,
                            .health = S("/health"), .idle_ms = idle_ms, .fields = S("") };
    struct fleet_model *m;
    assert_int_equal(fleet_get(w->fleet, &s, &m), ERR_OK);
    return m;
}

struct call { struct fleet_waiter waiter; const struct fleet_ready *ready; int came; };

static void on_ready(struct fleet_waiter *w) { ((struct call *)w->ctx)->came++; }

static enum err call(struct world *w, struct fleet_model *m, struct call *c)
{
    c->waiter = (struct fleet_waiter){ .port = &w->port, .on_ready = on_ready, .ctx = c };
    return fleet_acquire(m, &c->waiter, &c->ready);
}

static void turn(struct world *w)
{
    io_loop_run_once(w->loop);
    fleet_collect(&w->port);
    usleep(500);
}

#define UNTIL(w, what)                                  \
    do {                                                \
        int turns_ = 0;                                 \
        while (!(what) && turns_++ < 60000)             \
            turn(w);                                    \
        if (!(what))                                    \
            fail_msg("it never came true: %s", #what);  \
    } while (0)

static const char *state_of(struct fleet_model *m)
{
    static struct fleet_state s;
    fleet_look(m, &s);
    return s.state;
}
#define IS(m, what) (strcmp(state_of(m), what) == 0)

/* ---- the tests ---- */

static void a_call_waits_for_the_start_and_the_next_passes_at_once(void **state)
{
    struct world *w = *state;
    struct fleet_model *m = model(w, "a", "late", 0);
    struct call one = { .came = 0 }, two = { .came = 0 };
    assert_true(IS(m, "off"));
    assert_int_equal(call(w, m, &one), ERR_AGAIN);
    assert_true(fleet_waits(&one.waiter));
    UNTIL(w, IS(m, "loading"));
    UNTIL(w, one.came);
    assert_int_equal(one.waiter.err, ERR_OK);
    assert_false(fleet_waits(&one.waiter));
    assert_true(one.waiter.ready->known && one.waiter.ready->port > 0);
    assert_true(IS(m, "ready"));
    assert_int_equal(call(w, m, &two), ERR_OK);
    assert_ptr_equal(two.ready, one.waiter.ready);
    fleet_release(&one.waiter);
    fleet_release(&two.waiter);
    fleet_release(&two.waiter);         /* once more is nothing */
    fleet_put(m);
}

static void those_who_wait_are_counted_and_may_leave(void **state)
{
    struct world *w = *state;
    struct fleet_model *m = model(w, "a", "late", 0);
    struct call c[4] = { { .came = 0 } };
    for (int i = 0; i < 3; i++)
        assert_int_equal(call(w, m, &c[i]), ERR_AGAIN);
    assert_int_equal(call(w, m, &c[3]), ERR_BUSY);
    assert_non_null(strstr(c[3].waiter.why, "3 calls wait"));
    fleet_release(&c[1].waiter);
    assert_int_equal(call(w, m, &c[3]), ERR_AGAIN);
    UNTIL(w, c[0].came && c[2].came && c[3].came);
    assert_int_equal(c[1].came, 0);
    for (int i = 0; i < 4; i++)
        fleet_release(&c[i].waiter);
    fleet_put(m);
}

static void one_that_was_let_through_but_not_told_yet_may_leave_too(void **state)
{
    struct world *w = *state;
    struct fleet_model *m = model(w, "a", "well", 300);
    struct call one = { .came = 0 };
    assert_int_equal(call(w, m, &one), ERR_AGAIN);
    while (!w->port.head) {
        io_loop_run_once(w->loop);
        usleep(500);
    }
    fleet_release(&one.waiter);
    fleet_collect(&w->port);
    assert_int_equal(one.came, 0);
    UNTIL(w, IS(m, "off"));             /* it does not hold the door: idleness ends the server */
    fleet_put(m);
}

static void an_idle_one_is_stopped_but_not_under_a_call(void **state)
{
    struct world *w = *state;
    struct fleet_model *m = model(w, "a", "well", 200);
    struct call one = { .came = 0 };
    assert_int_equal(call(w, m, &one), ERR_AGAIN);
    UNTIL(w, one.came);
    for (int i = 0; i < 1500; i++)
        turn(w);
    assert_true(IS(m, "ready"));
    fleet_release(&one.waiter);
    UNTIL(w, IS(m, "off"));
    one.came = 0;
    assert_int_equal(call(w, m, &one), ERR_AGAIN);
    UNTIL(w, one.came);
    assert_int_equal(one.waiter.err, ERR_OK);
    fleet_release(&one.waiter);
    fleet_put(m);
}

static void unloading_waits_for_the_calls_and_the_next_call_loads(void **state)
{
    struct world *w = *state;
    struct fleet_model *m = model(w, "a", "well", 0);
    struct call one = { .came = 0 }, two = { .came = 0 };
    assert_int_equal(call(w, m, &one), ERR_AGAIN);
    UNTIL(w, one.came);
    uint64_t before = one.waiter.ready->generation;
    assert_int_equal(fleet_unload(m), ERR_OK);
    for (int i = 0; i < 300; i++)
        turn(w);
    assert_int_equal(call(w, m, &two), ERR_AGAIN);      /* the door is shut, the call waits */
    assert_true(IS(m, "ready"));
    fleet_release(&one.waiter);
    UNTIL(w, two.came);
    assert_int_equal(two.waiter.err, ERR_OK);
    assert_true(two.waiter.ready->generation > before);
    struct fleet_state s;
    fleet_look(m, &s);
    assert_int_equal(s.starts, 2);
    fleet_release(&two.waiter);
    fleet_put(m);
}

static void one_that_dies_at_once_is_tried_and_then_told(void **state)
{
    struct world *w = *state;
    struct fleet_model *m = model(w, "a", "die", 0);
    struct call one = { .came = 0 }, two = { .came = 0 };
    assert_int_equal(call(w, m, &one), ERR_AGAIN);
    UNTIL(w, one.came);
    assert_int_equal(one.waiter.err, ERR_ENGINE);
    assert_non_null(strstr(one.waiter.why, "3 times in a row"));
    assert_non_null(strstr(one.waiter.why, "status 5 before it was ready: error: it was not meant to be"));
    assert_true(IS(m, "failed"));
    assert_int_equal(call(w, m, &two), ERR_ENGINE);
    assert_non_null(strstr(two.waiter.why, "it was not meant to be"));
    fleet_release(&one.waiter);
    fleet_put(m);
}

static void the_same_specification_is_the_same_model_and_another_is_not(void **state)
{
    struct world *w = *state;
    struct fleet_model *m = model(w, "a", "well", 0), *same = model(w, "a", "well", 0), *other = model(w, "b", "well", 0), *idle = model(w, "a", "well", 5);
    assert_ptr_equal(m, same);
    assert_ptr_not_equal(m, other);
    assert_ptr_not_equal(m, idle);
    fleet_put(m);
    fleet_put(same);
    fleet_put(other);
    fleet_put(idle);
}

static void an_attached_one_that_is_not_there_lets_calls_find_out_and_is_unknown(void **state)
{
    struct world *w = *state;
    struct fleet_spec s = { .kind = FLEET_OLLAMA, .attached = true, .provider = S("o"), .name = S("m"), .id = S("m"), .file = S(""), .chat_template = S(""), .health = S(""), .fields = S(""),
                            .origin = { .host = "127.0.0.1", .port = 1 } };
    struct fleet_model *m;
    struct call one = { .came = 0 };
    assert_int_equal(fleet_get(w->fleet, &s, &m), ERR_OK);
    assert_int_equal(call(w, m, &one), ERR_AGAIN);
    UNTIL(w, one.came);
    assert_int_equal(one.waiter.err, ERR_OK);
    assert_true(!one.waiter.ready->known && one.waiter.ready->unsure && !one.waiter.ready->remote);
    assert_true(IS(m, "unreachable"));
    assert_int_equal(fleet_unload(m), ERR_OK);
    fleet_release(&one.waiter);
    fleet_put(m);
}

struct inquiry { struct fleet_ask ask; int came; };
static void on_answer(struct fleet_ask *a) { ((struct inquiry *)a->ctx)->came++; }

static void the_keeper_answers_and_a_question_may_be_forgotten(void **state)
{
    struct world *w = *state;
    struct fleet_model *m = model(w, "a", "well", 0), *b = model(w, "b", "well", 0);
    struct inquiry all = { .came = 0 }, one = { .came = 0 }, none = { .came = 0 };
    all.ask = (struct fleet_ask){ .port = &w->port, .on_answer = on_answer, .ctx = &all };
    one.ask = (struct fleet_ask){ .port = &w->port, .model = m, .on_answer = on_answer, .ctx = &one };
    none.ask = (struct fleet_ask){ .port = &w->port, .on_answer = on_answer, .ctx = &none };
    fleet_ask(w->fleet, &all.ask);
    fleet_ask(w->fleet, &none.ask);
    fleet_ask(w->fleet, &one.ask);
    fleet_ask_forget(w->fleet, &none.ask);
    UNTIL(w, all.came && one.came);
    assert_int_equal(none.came, 0);
    str report = buf_str(&all.ask.answer), plan = buf_str(&one.ask.answer);
    size_t first = str_find(report, S("\"model\":\"a\"")), second = str_find(report, S("\"model\":\"b\""));
    assert_true(first < second && second < report.n && str_find(report, S("\"state\":\"off\"")) < report.n && str_find(report, S("\"host\":{\"total\":")) < report.n);
    assert_true(str_find(plan, S("\"verdict\":\"fits\"")) < plan.n);
    buf_free(&all.ask.answer);
    buf_free(&one.ask.answer);
    assert_int_equal(fleet_load(m), ERR_OK);
    UNTIL(w, IS(m, "ready"));
    fleet_put(m);
    fleet_put(b);
}

static void closing_takes_everything_down_also_what_is_starting(void **state)
{
    struct world *w = *state;
    struct fleet_model *a = model(w, "a", "well", 0), *b = model(w, "b", "late", 0);
    struct call one = { .came = 0 }, two = { .came = 0 };
    struct fleet_state s[2];
    assert_int_equal(call(w, a, &one), ERR_AGAIN);
    UNTIL(w, one.came);
    fleet_release(&one.waiter);
    assert_int_equal(call(w, b, &two), ERR_AGAIN);
    UNTIL(w, IS(b, "loading"));
    fleet_look(a, &s[0]);
    fleet_look(b, &s[1]);
    assert_true(s[0].pid > 0 && s[1].pid > 0);
    fleet_close(w->fleet, 2000, on_closed, w);
    UNTIL(w, two.came);
    assert_int_equal(two.waiter.err, ERR_ENGINE);
    UNTIL(w, w->closed);
    for (int i = 0; i < 2; i++)
        assert_true(kill(s[i].pid, 0) != 0 && errno == ESRCH);
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_call_waits_for_the_start_and_the_next_passes_at_once), TEST(those_who_wait_are_counted_and_may_leave),
        TEST(one_that_was_let_through_but_not_told_yet_may_leave_too), TEST(an_idle_one_is_stopped_but_not_under_a_call),
        TEST(unloading_waits_for_the_calls_and_the_next_call_loads), TEST(one_that_dies_at_once_is_tried_and_then_told),
        TEST(the_same_specification_is_the_same_model_and_another_is_not), TEST(an_attached_one_that_is_not_there_lets_calls_find_out_and_is_unknown),
        TEST(the_keeper_answers_and_a_question_may_be_forgotten), TEST(closing_takes_everything_down_also_what_is_starting),
    };
    if (argc > 3 && strcmp(argv[1], "--serve") == 0)
        return serve(argv[2], argv[3]);
    if (argc > 1 && strcmp(argv[1], WARD_FLAG) == 0)
        return ward_main(argc - 2, argv + 2);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
