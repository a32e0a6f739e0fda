/* The client over real sockets, against a server that does what the test says: framings, kept and stale connections, deadlines, back-pressure, limits. */
#include "http/client.h"

#include "core/buf.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct io_loop *loop;
    struct http_pool *pool;
    struct http_client_limits lim;
    int listen_fd;
    uint16_t port;
    bool closed;
};

struct asked {                          /* one exchange and what came of it */
    struct http_exchange *x;
    int heads, ends, status;
    enum err err;
    char detail[160];
    struct buf data;
    bool cancel_on_data;
};

static void on_head(void *ctx, const struct http_head *h)
{
    struct asked *a = ctx;
    a->heads++;
    a->status = h->status;
    assert_true(str_eq(http_get(h, S("x-mark")), S("yes")));        /* slices that live */
}

static void on_data(void *ctx, str data)
{
    struct asked *a = ctx;
    assert_int_equal(a->heads, 1);
    assert_int_equal(a->ends, 0);
    assert_int_equal(buf_put(&a->data, data), ERR_OK);
    if (a->cancel_on_data) {
        http_exchange_cancel(a->x);
        a->x = NULL;
    }
}

static void on_end(void *ctx, enum err e, const char *detail)
{
    struct asked *a = ctx;
    a->ends++;
    a->err = e;
    a->x = NULL;
    snprintf(a->detail, sizeof a->detail, "%s", detail ? detail : "");
}

static const struct http_client_events events = { on_head, on_data, on_end };

/* ---- the world ---- */

static void open_pool(struct fixture *f, struct http_origin o)
{
    o.only_loopback = !*o.unix_path;
    assert_int_equal(http_pool_new(f->loop, &o, &f->lim, &f->pool), ERR_OK);
}

static int listen_on(uint16_t *port, int backlog)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){ .lim = http_client_limits_default };
    assert_int_equal(io_loop_new(&f.loop), ERR_OK);
    f.listen_fd = listen_on(&f.port, 64);
    *state = &f;
    return 0;
}

static void on_pool_closed(void *ctx) { ((struct fixture *)ctx)->closed = true; }

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void turn(struct fixture *f)
{
    io_loop_run_once(f->loop);
    usleep(300);
}

static void close_pool(struct fixture *f)
{
    http_pool_close(f->pool, on_pool_closed, f);
    for (int64_t end = now_ms() + 10000; !f->closed && now_ms() < end;)
        turn(f);
    assert_true(f->closed);
    f->pool = NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->pool)
        close_pool(f);
    io_loop_free(f->loop);
    close(f->listen_fd);
    return 0;
}

static struct http_origin here(const struct fixture *f)
{
    struct http_origin o = { .host = "127.0.0.1", .base = "/base" };
    o.port = f->port;
    return o;
}

static void ask_as(struct fixture *f, struct asked *a, struct http_request rq)
{
    *a = (struct asked){ .data.max = 64 << 20 };
    if (!rq.method.n)
        rq.method = S("POST");
    rq.target = S("/x");
    rq.fields = S("A: b\r\n");
    assert_int_equal(http_exchange_start(f->pool, &rq, &events, a, &a->x), ERR_OK);
    assert_int_equal(a->ends, 0);       /* never before it returns */
}

static void ask(struct fixture *f, struct asked *a)
{
    static const str body[] = { S("be"), S(""), S("gin") };
    ask_as(f, a, (struct http_request){ .body = body, .n_body = 3 });
}

static bool ended(struct fixture *f, const struct asked *a)
{
    for (int64_t end = now_ms() + 10000; !a->ends && now_ms() < end;)
        turn(f);
    return a->ends == 1;
}

/* ---- the server: -1 where nothing comes within ten seconds ---- */

static int serve(struct fixture *f)
{
    for (int64_t end = now_ms() + 10000; now_ms() < end; turn(f)) {
        int fd = accept4(f->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
    }
    return -1;
}

/* Reads until `n` bytes are there; -1: the client has closed. */
static ssize_t take(struct fixture *f, int fd, char *buf, size_t n)
{
    size_t got = 0;
    for (int64_t end = now_ms() + 10000; got < n && now_ms() < end; turn(f)) {
        ssize_t k = recv(fd, buf + got, n - got, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN))
            return -1;
        got += k > 0 ? (size_t)k : 0;
    }
    return (ssize_t)got;
}

/* One whole request of ask(), checked. False: the client has closed instead. */
static bool take_request(struct fixture *f, int fd)
{
    char want[256], got[256];
    int n = snprintf(want, sizeof want, "POST /base/x HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nA: b\r\nContent-Length: 5\r\n\r\nbegin", f->port);
    if (take(f, fd, got, (size_t)n) != n)
        return false;
    assert_memory_equal(got, want, n);
    return true;
}

static void say(int fd, str s) { assert_int_equal(send(fd, s.p, s.n, MSG_NOSIGNAL), s.n); }

static bool is_closed(struct fixture *f, int fd)
{
    char c;
    return take(f, fd, &c, 1) == -1;
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nX-Mark: yes\r\n"
#define SHORT OK_HEAD "Content-Length: 2\r\n\r\nok"

/* ---- framings ---- */

static void replies_of_every_framing_are_read_wherever_they_are_cut(void **state)
{
    static const struct { str bytes; const char *data; int status; bool close, keep; const char *method; } cases[] = {
        { S(SHORT), "ok", 200, false, true, "" },
        { S(OK_HEAD "Content-Length: 0\r\n\r\n"), "", 200, false, true, "" },
        { S(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;e\r\nk\r\n0\r\nT: x\r\n\r\n"), "ok", 200, false, true, "" },
        { S(OK_HEAD "\r\nok until the end"), "ok until the end", 200, true, false, "" },
        { S("HTTP/1.1 204 None\r\nX-Mark: yes\r\n\r\n"), "", 204, false, true, "" },
        { S("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n" SHORT), "ok", 200, false, true, "" },
        { S(OK_HEAD "Content-Length: 99\r\n\r\n"), "", 200, false, true, "HEAD" },
        { S(OK_HEAD "Connection: close\r\nContent-Length: 2\r\n\r\nok"), "ok", 200, false, false, "" },
        { S("HTTP/1.0 200 OK\r\nX-Mark: yes\r\nContent-Length: 2\r\n\r\nok"), "ok", 200, false, false, "" },
        { S("HTTP/1.1 500 No\r\nX-Mark: yes\r\nContent-Length: 2\r\n\r\nno"), "no", 500, false, true, "" },
    };
    struct fixture *f = *state;
    char buf[512];
    open_pool(f, here(f));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t cut = 0; cut <= cases[i].bytes.n; cut += 3) {
            struct asked a;
            ask_as(f, &a, (struct http_request){ .method = str_of(cases[i].method) });
            int fd = serve(f);
            assert_true(fd >= 0);
            while (recv(fd, buf, sizeof buf, 0) <= 0)
                turn(f);
            say(fd, str_slice(cases[i].bytes.p, cut));
            for (int k = 0; k < 3; k++)
                turn(f);
            say(fd, str_skip(cases[i].bytes, cut));
            if (cases[i].close)
                shutdown(fd, SHUT_WR);
            if (!ended(f, &a) || a.err != ERR_OK || a.status != cases[i].status || !str_eq(buf_str(&a.data), str_of(cases[i].data)))
                fail_msg("case %zu cut at %zu: %s (%s), status %d, \"%.*s\"", i, cut, err_name(a.err), a.detail, a.status, STR_ARG(buf_str(&a.data)));
            if (cases[i].keep)
                close(fd);              /* the next case has a connection of its own */
            else
                assert_true(is_closed(f, fd) && close(fd) == 0);
            for (int k = 0; k < 3; k++)
                turn(f);
            buf_free(&a.data);
        }
}

static void what_is_no_reply_is_an_error_and_ends_the_connection(void **state)
{
    static const str bad[] = {
        S("nonsense\r\n\r\n"), S("HTTP/2 200 OK\r\n\r\n"), S(OK_HEAD "Content-Length: x\r\n\r\n"), S(OK_HEAD "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"), S(OK_HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        S(OK_HEAD "Transfer-Encoding: gzip\r\n\r\n"), S(OK_HEAD "A b\r\n\r\n"), S("HTTP/1.1 200 OK\nX-Mark: yes\n\n"), S(OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), S(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\nab"),
    };
    struct fixture *f = *state;
    open_pool(f, here(f));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct asked a;
        ask(f, &a);
        int fd = serve(f);
        assert_true(take_request(f, fd));
        say(fd, bad[i]);
        if (!ended(f, &a) || a.err != ERR_UPSTREAM || !*a.detail)
            fail_msg("taken: %.*s (%s)", STR_ARG(bad[i]), err_name(a.err));
        assert_true(is_closed(f, fd));
        close(fd);
        buf_free(&a.data);
    }
}

static void a_head_has_a_limit_however_it_comes(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    char *large = malloc(1 << 20);
    memset(large, 'a', 1 << 20);
    f->lim.head = 8192;
    open_pool(f, here(f));
    for (int drip = 0; drip < 2; drip++) {
        ask(f, &a);
        int fd = serve(f);
        assert_true(take_request(f, fd));
        say(fd, S(OK_HEAD "A: "));
        for (size_t sent = 0; !a.ends && sent < 1 << 20; turn(f))
            sent += (size_t)(send(fd, large, drip ? 500 : 65536, MSG_NOSIGNAL) > 0 ? (drip ? 500 : 65536) : 0);
        assert_true(ended(f, &a));
        assert_int_equal(a.err, ERR_UPSTREAM);
        assert_int_equal(a.heads, 0);
        close(fd);
    }
    free(large);
}

/* ---- connections that are kept ---- */

static void a_connection_is_used_again_and_no_more_are_kept_than_allowed(void **state)
{
    struct fixture *f = *state;
    struct asked a, b;
    f->lim.idle_max = 1;
    open_pool(f, here(f));
    ask(f, &a);
    int fd = serve(f);
    for (int i = 0; i < 5; i++) {
        assert_true(take_request(f, fd));
        assert_true(http_exchange_reused(a.x) == (i > 0));
        say(fd, S(SHORT));
        assert_true(ended(f, &a));
        assert_int_equal(a.err, ERR_OK);
        buf_free(&a.data);
        ask(f, &a);
    }
    assert_true(take_request(f, fd));
    ask(f, &b);                         /* at once with it: another connection */
    int other = serve(f);
    assert_true(other >= 0 && take_request(f, other));
    say(fd, S(SHORT));
    say(other, S(SHORT));
    assert_true(ended(f, &a) && ended(f, &b));
    buf_free(&a.data);
    buf_free(&b.data);
    char c;
    for (int i = 0; i < 20; i++)
        turn(f);
    int gone = (recv(fd, &c, 1, 0) == 0) + (recv(other, &c, 1, 0) == 0);
    assert_int_equal(gone, 1);          /* one is kept, the other is not */
    close(fd);
    close(other);
}

static void an_idle_connection_is_closed_in_time(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    f->lim.idle_ms = 60;
    open_pool(f, here(f));
    ask(f, &a);
    int fd = serve(f);
    assert_true(take_request(f, fd));
    say(fd, S(SHORT));
    assert_true(ended(f, &a));
    assert_true(is_closed(f, fd));
    close(fd);
    buf_free(&a.data);
}

/* A server may close a kept connection at any time: as the next request is on its way it looks like a failed call, and is none. */
static void a_stale_connection_is_replaced_once_and_only_before_the_first_byte(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    open_pool(f, here(f));
    for (int how = 0; how < 3; how++) {
        ask(f, &a);
        int fd = serve(f);
        assert_true(take_request(f, fd));
        say(fd, S(SHORT));
        assert_true(ended(f, &a));
        buf_free(&a.data);
        ask(f, &a);
        assert_true(take_request(f, fd));
        assert_true(http_exchange_reused(a.x));
        if (how == 2)
            say(fd, S("H"));            /* a byte of a reply: it was taken, and may be at work */
        close(fd);
        if (how == 2) {
            assert_true(ended(f, &a));
            assert_int_equal(a.err, ERR_CUT);
            assert_int_equal(accept4(f->listen_fd, NULL, NULL, 0), -1);
            continue;
        }
        fd = serve(f);
        assert_true(fd >= 0 && take_request(f, fd));        /* the same again, whole */
        assert_false(http_exchange_reused(a.x));
        if (how == 0)
            say(fd, S(SHORT));
        else
            close(fd);                  /* a fresh one that closes, too, is a failure */
        assert_true(ended(f, &a));
        assert_int_equal(a.err, how == 0 ? ERR_OK : ERR_CUT);
        if (how == 0)
            close(fd);
        buf_free(&a.data);
        for (int i = 0; i < 5; i++)
            turn(f);
    }
}

static void bytes_that_nobody_asked_for_end_the_connection(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    open_pool(f, here(f));
    for (int late = 0; late < 2; late++) {
        ask(f, &a);
        int fd = serve(f);
        assert_true(take_request(f, fd));
        say(fd, late ? S(SHORT) : S(SHORT SHORT));
        assert_true(ended(f, &a));
        assert_int_equal(a.err, ERR_OK);
        assert_int_equal(a.data.n, 2);
        if (late)
            say(fd, S(SHORT));
        assert_true(is_closed(f, fd));
        close(fd);
        buf_free(&a.data);
    }
}

/* ---- deadlines ---- */

static void who_is_silent_is_given_up_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    f->lim.first_byte_ms = 10000;
    f->lim.gap_ms = 10000;
    open_pool(f, here(f));
    for (int i = 0; i < 3; i++) {
        int64_t begin = now_ms();
        ask_as(f, &a, (struct http_request){ .first_byte_ms = i == 0 ? 100 : 0, .gap_ms = i > 0 ? 100 : 0 });      /* its own come before the limits */
        int fd = serve(f);
        if (i == 1)
            say(fd, S(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"));
        if (i == 2)
            say(fd, S(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n"));
        assert_true(ended(f, &a));
        assert_int_equal(a.err, ERR_DEADLINE);
        assert_true(*a.detail && now_ms() - begin >= 95);
        assert_int_equal(a.heads, i > 0);
        char buf[256];
        while (recv(fd, buf, sizeof buf, 0) > 0)
            ;
        assert_true(is_closed(f, fd));
        close(fd);
        buf_free(&a.data);
    }
}

static void a_drip_is_no_silence(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    f->lim.gap_ms = 300;
    open_pool(f, here(f));
    ask(f, &a);
    int fd = serve(f);
    assert_true(take_request(f, fd));
    say(fd, S(OK_HEAD "Content-Length: 12\r\n\r\n"));
    int64_t begin = now_ms();
    for (int i = 0; i < 12; i++) {      /* far longer than the gap in all, never between two */
        say(fd, S("."));
        for (int64_t until = now_ms() + 60; now_ms() < until;)
            turn(f);
    }
    assert_true(ended(f, &a));
    assert_int_equal(a.err, ERR_OK);
    assert_true(now_ms() - begin > 600);
    assert_int_equal(a.data.n, 12);
    close(fd);
    buf_free(&a.data);
}

static void a_connection_that_does_not_come_about_has_a_deadline(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct http_origin o = here(f);
    int full = listen_on(&o.port, 0), held[8];
    to.sin_port = htons(o.port);
    for (int i = 0; i < 8; i++) {       /* its backlog: what comes after gets no answer at all */
        held[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(held[i], (struct sockaddr *)&to, sizeof to);
    }
    f->lim.connect_ms = 150;
    open_pool(f, o);
    int64_t begin = now_ms();
    ask(f, &a);
    assert_true(ended(f, &a));
    assert_int_equal(a.err, ERR_DEADLINE);
    assert_true(now_ms() - begin >= 140);
    for (int i = 0; i < 8; i++)
        close(held[i]);
    close(full);
}

static void nobody_there_is_refused_and_no_secret(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    struct http_origin o = here(f);
    close(listen_on(&o.port, 1));
    open_pool(f, o);
    ask(f, &a);
    assert_true(ended(f, &a));
    assert_int_equal(a.err, ERR_REFUSED);
    assert_true(*a.detail);
}

/* ---- more than there is room for ---- */

static void a_pause_stops_the_upstream_and_no_clock_runs(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    enum { ALL = 8 << 20 };
    char *data = calloc(1, ALL);
    size_t sent = 0;
    for (size_t i = 0; i < ALL; i++)
        data[i] = (char)(i * 31 >> 3);
    f->lim.gap_ms = 150;
    open_pool(f, here(f));
    ask(f, &a);
    int fd = serve(f);
    assert_true(take_request(f, fd));
    char head[128];
    say(fd, str_slice(head, (size_t)snprintf(head, sizeof head, OK_HEAD "Content-Length: %d\r\n\r\n", ALL)));
    while (!a.heads)
        turn(f);
    http_exchange_pause(a.x, true);
    size_t had = a.data.n;
    for (int64_t until = now_ms() + 500; now_ms() < until; turn(f)) {
        ssize_t n = send(fd, data + sent, ALL - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(a.data.n, had);    /* nothing was read … */
    assert_true(sent < ALL);            /* … so the upstream feels it */
    assert_int_equal(a.ends, 0);        /* and the gap is ours */
    http_exchange_pause(a.x, false);
    for (int64_t end = now_ms() + 20000; !a.ends && now_ms() < end; turn(f)) {
        ssize_t n = sent < ALL ? send(fd, data + sent, ALL - sent, MSG_NOSIGNAL) : 0;
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(a.err, ERR_OK);
    assert_int_equal(a.data.n, ALL);
    assert_memory_equal(a.data.p, data, ALL);
    buf_free(&a.data);
    free(data);
    close(fd);
}

static void a_large_request_arrives_whole_at_a_slow_reader(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    enum { PART = 1 << 20, PARTS = 6 };
    char *part = malloc(PART), buf[4096];
    str body[PARTS];
    size_t got = 0;
    for (size_t i = 0; i < PART; i++)
        part[i] = (char)(i % 251);
    for (int i = 0; i < PARTS; i++)
        body[i] = (str){ part, PART - (size_t)i };
    open_pool(f, here(f));
    ask_as(f, &a, (struct http_request){ .body = body, .n_body = PARTS });
    int fd = serve(f);
    size_t want = 0, head = 0;
    for (int i = 0; i < PARTS; i++)
        want += body[i].n;
    char c[4] = "";
    for (; memcmp(c, "\r\n\r\n", 4) != 0; head++) {
        memmove(c, c + 1, 3);
        assert_int_equal(take(f, fd, c + 3, 1), 1);
    }
    for (int k = 0; got < want; k++) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        for (ssize_t i = 0; i < n; i++) {
            size_t at = got + (size_t)i, in = 0;
            while (at >= body[in].n)
                at -= body[in++].n;
            if (buf[i] != part[at])
                fail_msg("byte %zu is another", got + (size_t)i);
        }
        got += n > 0 ? (size_t)n : 0;
        if (n <= 0 || k % 64 == 0)
            io_loop_run_once(f->loop);
    }
    say(fd, S(SHORT));
    assert_true(ended(f, &a));
    assert_int_equal(a.err, ERR_OK);
    buf_free(&a.data);
    free(part);
    close(fd);
}

static void no_more_connections_than_allowed_and_all_get_their_turn(void **state)
{
    struct fixture *f = *state;
    struct asked a[9];
    int fds[2];
    f->lim.open_max = 2;
    open_pool(f, here(f));
    for (int i = 0; i < 9; i++)
        ask(f, &a[i]);
    fds[0] = serve(f);
    fds[1] = serve(f);
    assert_true(fds[0] >= 0 && fds[1] >= 0);
    for (int done = 0; done < 9; done++) {
        int fd = fds[done % 2];
        assert_int_equal(accept4(f->listen_fd, NULL, NULL, 0), -1);
        assert_true(take_request(f, fd));
        say(fd, S(SHORT));
        for (int i = 0; i < 5; i++)
            turn(f);
    }
    for (int i = 0; i < 9; i++) {
        assert_true(ended(f, &a[i]));
        assert_int_equal(a[i].err, ERR_OK);
        buf_free(&a[i].data);
    }
    close(fds[0]);
    close(fds[1]);
}

/* ---- ends of our own ---- */

static void a_cancelled_exchange_says_nothing_more_and_its_connection_is_closed(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    open_pool(f, here(f));
    for (int when = 0; when < 4; when++) {
        ask(f, &a);
        int fd = when ? serve(f) : -1;
        if (when > 1)
            assert_true(take_request(f, fd));
        if (when == 3) {                /* inside of the callback that hands its data on */
            a.cancel_on_data = true;
            say(fd, S(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n"));
            while (!a.data.n)
                turn(f);
            assert_int_equal(a.data.n, 1);
        } else {
            http_exchange_cancel(a.x);
        }
        if (when == 0)                  /* a connection that is on its way belongs to nobody, and is kept for the next */
            fd = serve(f);
        for (int i = 0; i < 20; i++)
            turn(f);
        assert_int_equal(a.ends, 0);
        char buf[512];
        while (recv(fd, buf, sizeof buf, 0) > 0)
            ;
        if (when > 0)
            assert_true(is_closed(f, fd));
        close(fd);
        for (int i = 0; i < 5; i++)
            turn(f);
        buf_free(&a.data);
    }
}

static void closing_ends_what_runs_and_what_waits(void **state)
{
    struct fixture *f = *state;
    struct asked a[3];
    f->lim.open_max = 1;
    open_pool(f, here(f));
    for (int i = 0; i < 3; i++)
        ask(f, &a[i]);
    int fd = serve(f);
    assert_true(take_request(f, fd));
    close_pool(f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].ends, 1);
        assert_int_equal(a[i].err, ERR_CUT);
    }
    assert_true(is_closed(f, fd));
    close(fd);
}

/* ---- where ---- */

static void a_unix_socket_is_asked_like_any_other(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct http_origin o;
    char dir[] = "/tmp/hearth-client-XXXXXX", url[128], got[256];
    assert_non_null(mkdtemp(dir));
    snprintf(at.sun_path, sizeof at.sun_path, "%s/s", dir);
    snprintf(url, sizeof url, "unix:%s", at.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(http_origin_parse(str_of(url), &o), ERR_OK);
    open_pool(f, o);
    for (int i = 0; i < 3; i++) {
        static const char want[] = "POST /x HTTP/1.1\r\nHost: localhost\r\nA: b\r\nContent-Length: 5\r\n\r\nbegin";
        static int peer;
        ask(f, &a);
        for (int k = 0; i == 0 && k < 10000 && (peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0; k++)
            turn(f);
        assert_int_equal(take(f, peer, got, sizeof want - 1), sizeof want - 1);
        assert_memory_equal(got, want, sizeof want - 1);
        say(peer, S(SHORT));
        assert_true(ended(f, &a));
        assert_int_equal(a.err, ERR_OK);
        buf_free(&a.data);
        if (i == 2)
            close(peer);
    }
    for (int i = 0; i < 5; i++)
        turn(f);
    close(fd);
    unlink(at.sun_path);
    ask(f, &a);
    assert_true(ended(f, &a));
    assert_int_equal(a.err, ERR_REFUSED);
    assert_int_equal(rmdir(dir), 0);
}

static void urls_are_addresses_without_secrets(void **state)
{
    static const struct { const char *url, *host, *base; int port; bool tls; } good[] = {
        { "http://127.0.0.1:11434/v1", "127.0.0.1", "/v1", 11434, false }, { "https://api.example.com", "api.example.com", "", 443, true }, { "https://api.example.com/v1/", "api.example.com", "/v1", 443, true },
        { "http://[::1]:8/a/b", "::1", "/a/b", 8, false }, { "http://x", "x", "", 80, false }, { "https://x:80/", "x", "", 80, true },
    };
    static const char *const bad[] = { "", "x", "ftp://x", "HTTP://x", "http://", "http:///v1", "http://x:0", "http://x:65536", "http://x:y", "http://user:pw@x/", "http://x/?key=1", "http://x/#a", "http://x y/", "http://x\r\nA: b/",
                                       "http://[::1", "http://[::1]x", "unix:", "http://x/\"", "http://x\\y" };
    struct http_origin o;
    char longer[700] = "http://";
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (http_origin_parse(str_of(good[i].url), &o) != ERR_OK)
            fail_msg("refused: %s", good[i].url);
        if (strcmp(o.host, good[i].host) != 0 || strcmp(o.base, good[i].base) != 0 || o.port != good[i].port || o.tls != good[i].tls)
            fail_msg("%s: %s %u %s", good[i].url, o.host, o.port, o.base);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (http_origin_parse(str_of(bad[i]), &o) != ERR_SYNTAX)
            fail_msg("taken: %s", bad[i]);
    memset(longer + 7, 'h', 300);
    assert_int_equal(http_origin_parse(str_of(longer), &o), ERR_SYNTAX);
    memset(longer + 8, '/', 600);
    longer[8] = '/';
    memset(longer + 9, 'p', 400);
    assert_int_equal(http_origin_parse(str_of(longer), &o), ERR_SYNTAX);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(replies_of_every_framing_are_read_wherever_they_are_cut),
        TEST(what_is_no_reply_is_an_error_and_ends_the_connection),
        TEST(a_head_has_a_limit_however_it_comes),
        TEST(a_connection_is_used_again_and_no_more_are_kept_than_allowed),
        TEST(an_idle_connection_is_closed_in_time),
        TEST(a_stale_connection_is_replaced_once_and_only_before_the_first_byte),
        TEST(bytes_that_nobody_asked_for_end_the_connection),
        TEST(who_is_silent_is_given_up_at_the_deadline),
        TEST(a_drip_is_no_silence),
        TEST(a_connection_that_does_not_come_about_has_a_deadline),
        TEST(nobody_there_is_refused_and_no_secret),
        TEST(a_pause_stops_the_upstream_and_no_clock_runs),
        TEST(a_large_request_arrives_whole_at_a_slow_reader),
        TEST(no_more_connections_than_allowed_and_all_get_their_turn),
        TEST(a_cancelled_exchange_says_nothing_more_and_its_connection_is_closed),
        TEST(closing_ends_what_runs_and_what_waits),
        TEST(a_unix_socket_is_asked_like_any_other),
        cmocka_unit_test(urls_are_addresses_without_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
