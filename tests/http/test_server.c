/* The server over real sockets: pieces, pipelines, limits, clients that leave, readers that are slow. */
#include "http/server.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct io_loop *loop;
    struct http_server *server;
    int listen_fd;
    uint16_t port;
    struct http_req *later;             /* asked for /later: answered by the test */
    int requests, gone, drains, refuse;
    size_t body;
    bool closed, hold;
};

static void on_request(void *ctx, struct http_req *r)
{
    struct fixture *f = ctx;
    const struct http_head *h = http_req_head(r);
    f->requests++;
    f->body = http_req_body(r).n;
    if (f->hold)
        http_req_hold(r);
    if (str_eq(h->path, S("/later"))) {
        f->later = r;
        return;
    }
    str text = arena_printf(http_req_arena(r), "%.*s %.*s %zu", STR_ARG(h->method), STR_ARG(h->target), http_req_body(r).n);
    assert_int_equal(http_reply(r, 200, S("text/plain"), S("X: y\r\n"), text), ERR_OK);
}

static void on_reject(void *ctx, const struct http_head *h, int status, const char *what, struct arena *a, struct http_refusal *out)
{
    (void)ctx;
    out->content_type = S("text/plain");
    out->fields = S("X: z\r\n");
    out->body = arena_printf(a, "%d %s %.*s", status, what, h ? (int)h->path.n : 0, h ? h->path.p : "");
}

static void on_gone(void *ctx, struct http_req *r)
{
    struct fixture *f = ctx;
    f->gone++;
    assert_ptr_equal(r, f->later);
}

static void on_drain(void *ctx, struct http_req *r)
{
    (void)r;
    ((struct fixture *)ctx)->drains++;
}

static int check_head(void *ctx, const struct http_head *h, bool via_unix, const char **what)
{
    (void)h;
    (void)via_unix;
    *what = "not you";
    return ((struct fixture *)ctx)->refuse;
}

static void on_closed(void *ctx) { ((struct fixture *)ctx)->closed = true; }

/* A busy machine may let a sender wait for longer than the deadlines that two of the tests are about. */
static int setup_with(void **state, int64_t deadline_ms)
{
    static struct fixture f;
    struct io_addr a;
    struct http_limits lim = http_limits_default;
    const struct http_handler h = { &f, on_request, on_reject, on_gone, on_drain, check_head };
    f = (struct fixture){ 0 };
    lim.body = 1 << 20;
    lim.head_ms = lim.body_ms = deadline_ms;
    lim.connections = 8;
    lim.pending = 65536;
    assert_int_equal(io_loop_new(&f.loop), ERR_OK);
    assert_int_equal(io_addr_parse(S("127.0.0.1:0"), &a), ERR_OK);
    assert_int_equal(io_listen(&a, 16, &f.listen_fd), ERR_OK);
    assert_int_equal(io_bound_port(f.listen_fd, &f.port), ERR_OK);
    assert_int_equal(http_server_new(f.loop, f.listen_fd, false, &lim, &h, &f.server), ERR_OK);
    *state = &f;
    return 0;
}

static int setup(void **state) { return setup_with(state, 30000); }
static int setup_hasty(void **state) { return setup_with(state, 80); }

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_server_close(f->server, on_closed, f);
    for (int i = 0; i < 3000 && !f->closed; i++) {
        io_loop_run_once(f->loop);
        usleep(500);
    }
    assert_true(f->closed);
    io_loop_free(f->loop);
    close(f->listen_fd);
    return 0;
}

static int dial(struct fixture *f)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void pump(struct fixture *f, int ms)
{
    for (int i = 0; i < ms * 2; i++) {
        io_loop_run_once(f->loop);
        usleep(500);
    }
}

static void put(int fd, str s) { assert_int_equal(send(fd, s.p, s.n, MSG_NOSIGNAL), s.n); }

/* Reads until `n` bytes are there, the server closed, or it has been quiet for a while. */
static str take(struct fixture *f, int fd, char *buf, size_t n, bool *closed)
{
    size_t got = 0;
    *closed = false;
    for (int quiet = 0; quiet < 300 && got < n;) {
        io_loop_run_once(f->loop);
        ssize_t k = recv(fd, buf + got, n - got, MSG_DONTWAIT);
        if (k == 0 || (k < 0 && errno != EAGAIN)) {
            *closed = true;
            break;
        }
        if (k > 0) {
            got += (size_t)k;
            quiet = 0;
        } else {
            usleep(500);
            quiet++;
        }
    }
    return (str){ buf, got };
}

#define HOST "Host: localhost\r\n"
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX: y\r\n"

static void a_request_is_answered_however_its_bytes_arrive(void **state)
{
    struct fixture *f = *state;
    static const str whole = S("POST /a?b HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
    static const str chunked = S("POST /a?b HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
    static const str want = S(OK_HEAD "Content-Length: 11\r\n\r\nPOST /a?b 5");
    char buf[512];
    bool closed;
    int fd = dial(f);
    for (int kind = 0; kind < 2; kind++) {
        str rq = kind ? chunked : whole;
        for (size_t cut = 0; cut < rq.n; cut += kind ? 3 : 1) {         /* on one kept connection */
            put(fd, (str){ rq.p, cut });
            io_loop_run_once(f->loop);
            put(fd, str_skip(rq, cut));
            assert_true(str_eq(take(f, fd, buf, want.n, &closed), want));
        }
    }
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    char buf[2048];
    bool closed;
    int fd = dial(f);
    put(fd, S("GET /later HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\nHEAD /3 HTTP/1.1\r\n" HOST "\r\nGET /4 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"));
    assert_int_equal(take(f, fd, buf, 1, &closed).n, 0);
    assert_int_equal(f->requests, 1);
    http_reply(f->later, 200, S("text/plain"), S("X: y\r\n"), S("1"));
    static const str want = S(OK_HEAD "Content-Length: 1\r\n\r\n1" OK_HEAD "Content-Length: 8\r\n\r\nGET /2 0" OK_HEAD "Content-Length: 9\r\n\r\n"
                              "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nX: y\r\nContent-Length: 8\r\n\r\nGET /4 0");
    assert_true(str_eq(take(f, fd, buf, sizeof buf, &closed), want));
    assert_true(closed);
    close(fd);
}

static void a_refused_request_gets_its_answer_and_the_next_one_is_not_read(void **state)
{
    struct fixture *f = *state;
    static const struct { str request; const char *status; } bad[] = {
        { S("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" "GET /smuggled HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n" HOST "\r\n"), "400" },
        { S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"), "400" },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 1048577\r\n\r\n"), "413" },
        { S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n200000\r\n"), "408" },
        { S("GET / HTTP/1.1\r\nHo"), "408" },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhi"), "408" },
        { S("\x16\x03\x01\x00\n"), "400" },
    };
    char buf[1024];
    bool closed;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = dial(f);
        put(fd, bad[i].request);
        str got = take(f, fd, buf, sizeof buf, &closed);
        if (got.n < 12 || memcmp(got.p + 9, bad[i].status, 3) != 0)
            fail_msg("%zu: %.*s", i, STR_ARG(got));
        assert_true(closed);
        assert_int_equal(f->requests, 0);
        close(fd);
    }
    f->refuse = 403;
    int fd = dial(f);
    put(fd, S("POST /x HTTP/1.1\r\n" HOST "Content-Length: 500000\r\n\r\n"));
    str got = take(f, fd, buf, sizeof buf, &closed);
    assert_true(str_ends(got, S("403 not you /x")));
    close(fd);
    f->refuse = 0;
    fd = dial(f);
    put(fd, S("GET / HTTP/1.1\r\n" HOST "\r\n"));
    assert_true(str_starts(take(f, fd, buf, 16, &closed), S("HTTP/1.1 200")));
    close(fd);
}

static void chunked_bodies_over_the_limit_are_refused(void **state)
{
    struct fixture *f = *state;
    char *piece = malloc(70000), buf[512];
    bool closed;
    int fd = dial(f);
    put(fd, S("POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n200000\r\n"));
    memset(piece, 'x', 70000);
    for (int i = 0; i < 20; i++) {
        if (send(fd, piece, 70000, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        pump(f, 1);
    }
    assert_true(str_starts(take(f, fd, buf, sizeof buf, &closed), S("HTTP/1.1 413")));
    assert_int_equal(f->requests, 0);
    close(fd);
    free(piece);
}

static void an_expectation_is_answered_before_the_body(void **state)
{
    struct fixture *f = *state;
    char buf[512];
    bool closed;
    int fd = dial(f);
    put(fd, S("POST /a HTTP/1.1\r\n" HOST "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"));
    assert_true(str_eq(take(f, fd, buf, 25, &closed), S("HTTP/1.1 100 Continue\r\n\r\n")));
    put(fd, S("hi"));
    assert_true(str_eq(take(f, fd, buf, 500, &closed), S(OK_HEAD "Content-Length: 9\r\n\r\nPOST /a 2")));
    close(fd);
}

static void a_client_that_leaves_is_noticed_at_once(void **state)
{
    struct fixture *f = *state;
    for (int half = 0; half < 3; half++) {
        int fd = dial(f);
        f->gone = 0;
        put(fd, S("GET /later HTTP/1.1\r\n" HOST "\r\n"));
        pump(f, 3);
        assert_non_null(f->later);
        if (half == 1)
            shutdown(fd, SHUT_WR);
        else if (half == 2) {
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
            close(fd);
        } else
            close(fd);
        pump(f, 3);
        assert_int_equal(f->gone, 1);
        f->later = NULL;
        if (half == 1)
            close(fd);
    }
    assert_int_equal(http_server_connections(f->server), 0);
}

static void a_held_request_outlives_its_connection(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    f->hold = true;
    put(fd, S("POST /later HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"));
    pump(f, 3);
    close(fd);
    pump(f, 3);
    assert_int_equal(f->gone, 1);
    assert_int_equal(http_server_connections(f->server), 0);
    assert_true(str_eq(http_req_body(f->later), S("hello")));
    assert_non_null(arena_alloc(http_req_arena(f->later), 10000, 1));
    assert_int_equal(http_reply(f->later, 200, S("a"), S(""), S("b")), ERR_CLIENT);
    http_req_release(f->later);
}

static void a_stream_is_chunked_and_ends_with_its_mark_or_visibly_not(void **state)
{
    struct fixture *f = *state;
    char buf[512];
    bool closed;
    for (int abort = 0; abort < 2; abort++) {
        int fd = dial(f);
        put(fd, S("GET /later HTTP/1.1\r\n" HOST "\r\n"));
        pump(f, 3);
        http_reply_start(f->later, 200, S("text/event-stream"), S(""));
        http_reply_write(f->later, S("one"));
        pump(f, 1);
        http_reply_write(f->later, S("twoandthreeandfour"));
        if (abort)
            http_reply_abort(f->later);
        else
            http_reply_finish(f->later, S("!"));
        str got = take(f, fd, buf, sizeof buf, &closed);
        str want = abort ? S("3\r\none\r\n12\r\ntwoandthreeandfour\r\n") : S("3\r\none\r\n12\r\ntwoandthreeandfour\r\n1\r\n!\r\n0\r\n\r\n");
        assert_true(str_ends(got, want) && str_find(got, S("Transfer-Encoding: chunked\r\n\r\n3")) < got.n);
        assert_int_equal(closed, abort);
        close(fd);
        pump(f, 2);
    }
    int fd = dial(f);
    put(fd, S("GET /later HTTP/1.0\r\n\r\n"));
    pump(f, 3);
    http_reply_start(f->later, 200, S("text/plain"), S(""));
    http_reply_write(f->later, S("bare"));
    http_reply_end(f->later);
    assert_true(str_eq(take(f, fd, buf, sizeof buf, &closed), S("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nbare")));
    assert_true(closed);
    close(fd);
}

static void trailers_go_to_those_who_ask_for_them(void **state)
{
    static const struct { const char *head, *end; } cases[] = {
        { "GET /later HTTP/1.1\r\n" HOST "TE: trailers\r\n\r\n", "3\r\none\r\n0\r\nx-cost: 1\r\n\r\n" },
        { "GET /later HTTP/1.1\r\n" HOST "TE: deflate;q=0.5, Trailers\r\n\r\n", "3\r\none\r\n0\r\nx-cost: 1\r\n\r\n" },
        { "GET /later HTTP/1.1\r\n" HOST "\r\n", "3\r\none\r\n0\r\n\r\n" },
        { "GET /later HTTP/1.0\r\nTE: trailers\r\n\r\n", "\r\n\r\none" },
        { "HEAD /later HTTP/1.1\r\n" HOST "TE: trailers\r\n\r\n", "chunked\r\n\r\n" },
    };
    struct fixture *f = *state;
    char buf[512];
    bool closed;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = dial(f);
        put(fd, str_of(cases[i].head));
        pump(f, 3);
        http_reply_start(f->later, 200, S("text/plain"), S(""));
        http_reply_write(f->later, S("one"));
        http_reply_end_with(f->later, S("x-cost: 1\r\n"));
        assert_true(str_ends(take(f, fd, buf, sizeof buf, &closed), str_of(cases[i].end)));
        close(fd);
        pump(f, 2);
    }
}

static void a_slow_reader_stops_the_writer_and_is_told_of_room(void **state)
{
    struct fixture *f = *state;
    static char piece[16384], buf[1 << 20];
    bool closed;
    size_t sent = 0, most = 0, got = 0;
    int fd = dial(f);
    put(fd, S("GET /later HTTP/1.1\r\n" HOST "\r\n"));
    pump(f, 3);
    http_reply_start(f->later, 200, S("text/plain"), S(""));
    for (int round = 0; round < 40; round++) {
        enum err e = ERR_OK;
        int drains = f->drains;
        for (int i = 0; i < 1000 && e == ERR_OK; i++) {
            e = http_reply_write(f->later, (str){ piece, sizeof piece });
            sent += sizeof piece;
        }
        assert_int_equal(e, ERR_AGAIN);
        size_t pending = http_reply_pending(f->later);
        most = pending > most ? pending : most;
        while (f->drains == drains)
            got += take(f, fd, buf, 100000, &closed).n;
        assert_int_equal(f->drains, drains + 1);
    }
    assert_in_range(most, 65536, 65536 + 2 * sizeof piece);
    http_reply_end(f->later);
    while (got < sent)
        got += take(f, fd, buf, sizeof buf, &closed).n;
    assert_int_equal(f->gone, 0);
    close(fd);
}

static void more_connections_than_allowed_are_closed(void **state)
{
    struct fixture *f = *state;
    int fd[9];
    char buf[8];
    bool closed;
    for (int i = 0; i < 9; i++) {
        fd[i] = dial(f);
        pump(f, 1);
    }
    assert_int_equal(http_server_connections(f->server), 8);
    take(f, fd[8], buf, 1, &closed);
    assert_true(closed);
    for (int i = 0; i < 9; i++)
        close(fd[i]);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_however_its_bytes_arrive),
        TEST(pipelined_requests_are_answered_in_order),
        cmocka_unit_test_setup_teardown(a_refused_request_gets_its_answer_and_the_next_one_is_not_read, setup_hasty, teardown),
        TEST(chunked_bodies_over_the_limit_are_refused),
        TEST(an_expectation_is_answered_before_the_body),
        TEST(a_client_that_leaves_is_noticed_at_once),
        TEST(a_held_request_outlives_its_connection),
        TEST(a_stream_is_chunked_and_ends_with_its_mark_or_visibly_not),
        TEST(trailers_go_to_those_who_ask_for_them),
        TEST(a_slow_reader_stops_the_writer_and_is_told_of_room),
        TEST(more_connections_than_allowed_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
