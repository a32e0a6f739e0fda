/* The client over real sockets, its server in the same loop. The clock is the test's: what a connection is after minutes shows at once. */
#include "http/client.h"
#include "http/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static time_t ahead_s;

/* In place of libc's, for libcurl and libuv too. */
int clock_gettime(clockid_t id, struct timespec *t)
{
    int failed = (int)syscall(SYS_clock_gettime, id, t);
    t->tv_sec += ahead_s;
    return failed;
}

enum { CALLS = 4 };

struct call { int status; enum err err; bool ended; char body[64]; struct http_exchange *x; };

struct fixture {
    struct io_loop *loop;
    struct http_server *server;
    struct http_pool *pool;
    int listen_fd;
    struct http_req *asked[CALLS];      /* in the order in which they came; answered by the test */
    int n_asked;
    struct call calls[CALLS];
    bool server_closed, pool_closed;
};

static void on_request(void *ctx, struct http_req *r)
{
    struct fixture *f = ctx;
    f->asked[f->n_asked++] = r;
}

static void on_gone(void *ctx, struct http_req *r)
{
    struct fixture *f = ctx;
    for (int i = 0; i < f->n_asked; i++)
        if (f->asked[i] == r)
            f->asked[i] = NULL;
}

static void on_true(void *ctx) { *(bool *)ctx = true; }

static int setup(void **state)
{
    static struct fixture f;
    struct io_addr a;
    uint16_t port;
    struct http_origin o;
    char url[64];
    const struct http_handler h = { &f, on_request, NULL, on_gone, NULL, NULL };
    f = (struct fixture){ 0 };
    ahead_s = 0;
    assert_int_equal(io_loop_new(&f.loop), ERR_OK);
    assert_int_equal(io_addr_parse(S("127.0.0.1:0"), &a), ERR_OK);
    assert_int_equal(io_listen(&a, 16, &f.listen_fd), ERR_OK);
    assert_int_equal(io_bound_port(f.listen_fd, &port), ERR_OK);
    assert_int_equal(http_server_new(f.loop, f.listen_fd, false, &http_limits_default, &h, &f.server), ERR_OK);
    int n = snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    assert_int_equal(http_origin_parse((str){ url, (size_t)n }, &o), ERR_OK);
    assert_int_equal(http_pool_new(f.loop, &o, &http_client_limits_default, &f.pool), ERR_OK);
    *state = &f;
    return 0;
}

static bool turns_until(struct fixture *f, const bool *done)
{
    for (int i = 0; i < 20000 && !*done; i++) {
        io_loop_run_once(f->loop);
        usleep(500);
    }
    return *done;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_pool_close(f->pool, on_true, &f->pool_closed);
    assert_true(turns_until(f, &f->pool_closed));
    http_server_close(f->server, on_true, &f->server_closed);
    assert_true(turns_until(f, &f->server_closed));
    io_loop_free(f->loop);
    close(f->listen_fd);
    return 0;
}

static void on_head(void *ctx, const struct http_head *h) { ((struct call *)ctx)->status = h->status; }

static void on_data(void *ctx, str data)
{
    char *body = ((struct call *)ctx)->body;
    assert_true(strlen(body) + data.n < sizeof ((struct call *)0)->body);
    memcpy(body + strlen(body), data.p, data.n);
}

static void on_end(void *ctx, enum err e, const char *detail)
{
    struct call *c = ctx;
    (void)detail;
    c->err = e;
    c->ended = true;
}

/* Asks for /0, /1, …, and lets the request arrive. */
static void ask(struct fixture *f, int i)
{
    static const struct http_client_events ev = { on_head, on_data, on_end };
    char target[8];
    int n = snprintf(target, sizeof target, "/%d", i);
    struct http_request rq = { .method = S("GET"), .target = { target, (size_t)n } };
    int before = f->n_asked;
    assert_int_equal(http_exchange_start(f->pool, &rq, &ev, &f->calls[i], &f->calls[i].x), ERR_OK);
    for (int k = 0; k < 20000 && f->n_asked == before && !f->calls[i].ended; k++) {
        io_loop_run_once(f->loop);
        usleep(500);
    }
    assert_int_equal(f->n_asked, before + 1);
}

static void answer(struct fixture *f, int i, str body)
{
    assert_non_null(f->asked[i]);
    assert_int_equal(http_reply(f->asked[i], 200, S("text/plain"), STR_NONE, body), ERR_OK);
    assert_true(turns_until(f, &f->calls[i].ended));
    assert_int_equal(f->calls[i].err, ERR_OK);
    assert_int_equal(f->calls[i].status, 200);
    assert_string_equal(f->calls[i].body, body.p);
}

static void later(struct fixture *f, time_t s)
{
    ahead_s += s;
    io_loop_run_once(f->loop);          /* the loop looks at the clock once a turn */
}

/* libcurl closes what it takes for unused when it makes another connection: after 118 s, whoever uses it. */
static void a_connection_in_use_for_minutes_survives_the_next_one(void **state)
{
    struct fixture *f = *state;
    ask(f, 0);
    later(f, 150);
    ask(f, 1);
    ask(f, 2);
    answer(f, 0, S("the long one"));
    answer(f, 2, S("the third"));
    answer(f, 1, S("the second"));
}

static void an_old_connection_is_used_again(void **state)
{
    struct fixture *f = *state;
    ask(f, 0);
    later(f, 150);
    answer(f, 0, S("first"));
    ask(f, 1);
    assert_true(http_exchange_reused(f->calls[1].x));
    ask(f, 2);
    answer(f, 1, S("again"));
    answer(f, 2, S("beside it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_connection_in_use_for_minutes_survives_the_next_one, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_connection_is_used_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
