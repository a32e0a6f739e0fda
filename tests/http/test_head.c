/* Heads and chunks: what is taken, what is refused and how, and that pieces make no difference. */
#include "http/head.h"

#include "core/arena.h"
#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define HOST "Host: localhost:8420\r\n"

static void sound_requests_are_read(void **state)
{
    static const struct { str text; enum http_body body; uint64_t length; bool keep; } good[] = {
        { S("GET / HTTP/1.1\r\n" HOST "\r\n"), HTTP_BODY_NONE, 0, true },
        { S("GET /a?b=c HTTP/1.1\r\nhost:[::1]:1\r\n\r\n"), HTTP_BODY_NONE, 0, true },
        { S("GET / HTTP/1.0\r\n\r\n"), HTTP_BODY_NONE, 0, false },
        { S("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), HTTP_BODY_NONE, 0, true },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 12\r\n\r\n"), HTTP_BODY_LENGTH, 12, true },
        { S("POST / HTTP/1.1\r\n" HOST "content-LENGTH:\t7 \r\nConnection: x, Close\r\n\r\n"), HTTP_BODY_LENGTH, 7, false },
        { S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"), HTTP_BODY_CHUNKED, 0, true },
        { S("OPTIONS * HTTP/1.1\r\n" HOST "X: \xE9\r\n\r\n"), HTTP_BODY_NONE, 0, true },
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct http_head h;
        size_t scanned = 0;
        for (size_t n = 0; n < good[i].text.n; n++)             /* byte by byte: never an answer too early */
            assert_int_equal(http_parse_request((str){ good[i].text.p, n }, &scanned, &h, NULL), ERR_AGAIN);
        assert_int_equal(http_parse_request(good[i].text, &scanned, &h, NULL), ERR_OK);
        assert_int_equal(h.body, good[i].body);
        assert_int_equal(h.length, good[i].length);
        assert_int_equal(h.keep_alive, good[i].keep);
        assert_int_equal(h.size, good[i].text.n);
    }
}

static void what_two_readers_could_read_differently_is_refused(void **state)
{
    static const struct { str text; int status; } bad[] = {
        { S("GET / HTTP/1.1\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\n" HOST HOST "\r\n"), 400 },
        { S("GET / HTTP/1.1\r\nHost:\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501 },
        { S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n"), 501 },
        { S("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\n" HOST "\r\n"), 400 },
        { S("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\n" HOST "A\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\n" HOST "A: b\rc\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\n" HOST "A\x80: b\r\n\r\n"), 400 },
        { S("\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), 400 },
        { S("GET  / HTTP/1.1\r\n" HOST "\r\n"), 400 },
        { S("GET / HTTP/1.1 \r\n" HOST "\r\n"), 400 },
        { S("GET /\r\n\r\n"), 400 },
        { S("GET http://localhost/ HTTP/1.1\r\n" HOST "\r\n"), 400 },
        { S("GET /\x80 HTTP/1.1\r\n" HOST "\r\n"), 400 },
        { S("BREW / HTTP/1.1\r\n" HOST "\r\n"), 501 },
        { S("get / HTTP/1.1\r\n" HOST "\r\n"), 501 },
        { S("GET / HTTP/2.0\r\n" HOST "\r\n"), 505 },
        { S("GET / HTTP/1.2\r\n" HOST "\r\n"), 505 },
        { S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505 },
        { S("\x16\x03\x01\x02\x00\x01\n"), 400 },
        { S("POST / HTTP/1.1\r\n" HOST "Expect: magic\r\n\r\n"), 417 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http_head h;
        struct http_head_error why = { 0 };
        size_t scanned = 0;
        if (http_parse_request(bad[i].text, &scanned, &h, &why) != ERR_SYNTAX)
            fail_msg("taken: %zu: %.*s", i, STR_ARG(bad[i].text));
        if (why.status != bad[i].status)
            fail_msg("%zu: status %d (%s), not %d", i, why.status, why.what, bad[i].status);
    }
}

static void heads_have_limits(void **state)
{
    struct http_head h;
    struct http_head_error why;
    char *big = malloc(HTTP_MAX_HEAD + 100);
    size_t scanned = 0, n;
    (void)state;
    memset(big, 'a', HTTP_MAX_HEAD + 100);
    assert_int_equal(http_parse_request((str){ big, HTTP_MAX_HEAD }, &scanned, &h, &why), ERR_SYNTAX);
    assert_int_equal(why.status, 431);
    memcpy(big, "GET /", 5);
    memcpy(big + 9000, " HTTP/1.1\r\n\r\n", 13);
    scanned = 0;
    assert_int_equal(http_parse_request((str){ big, 9013 }, &scanned, &h, &why), ERR_SYNTAX);
    assert_int_equal(why.status, 414);
    for (int fields = HTTP_MAX_FIELDS; fields <= HTTP_MAX_FIELDS + 1; fields++) {
        n = (size_t)snprintf(big, 100, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 1; i < fields; i++)
            n += (size_t)snprintf(big + n, 100, "a: b\r\n");
        memcpy(big + n, "\r\n", 2);
        scanned = 0;
        assert_int_equal(http_parse_request((str){ big, n + 2 }, &scanned, &h, &why), fields == HTTP_MAX_FIELDS ? ERR_OK : ERR_SYNTAX);
    }
    assert_int_equal(why.status, 431);
    free(big);
}

static void replies_know_how_long_their_body_is(void **state)
{
    static const struct { str text; bool to_head; enum http_body body; bool keep; } good[] = {
        { S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), false, HTTP_BODY_LENGTH, true },
        { S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), true, HTTP_BODY_NONE, true },
        { S("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n"), false, HTTP_BODY_CHUNKED, true },
        { S("HTTP/1.1 204 No Content\r\n\r\n"), false, HTTP_BODY_NONE, true },
        { S("HTTP/1.1 100 Continue\r\n\r\n"), false, HTTP_BODY_NONE, true },
        { S("HTTP/1.1 200 OK\r\n\r\n"), false, HTTP_BODY_UNTIL_CLOSE, false },
        { S("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), false, HTTP_BODY_LENGTH, false },
    };
    static const str bad[] = { S("HTTP/2 200\r\n\r\n"), S("HTTP/1.1 2OO\r\n\r\n"), S("HTTP/1.1 99\r\n\r\n"), S("200 OK\r\n\r\n"), S("<html>\r\n\r\n"), S("HTTP/1.1 200OK\r\n\r\n") };
    struct http_head h;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t scanned = 0;
        assert_int_equal(http_parse_reply(good[i].text, &scanned, good[i].to_head, &h, NULL), ERR_OK);
        assert_int_equal(h.body, good[i].body);
        assert_int_equal(h.keep_alive, good[i].keep);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t scanned = 0;
        assert_int_equal(http_parse_reply(bad[i], &scanned, false, &h, NULL), ERR_SYNTAX);
    }
}

/* The body in `in`, fed in two pieces cut at `cut`; n or -1. */
static int unchunk(str in, size_t cut, char out[64], bool *done)
{
    struct http_chunks c = { 0 };
    int n = 0;
    *done = false;
    for (int half = 0; half < 2 && !*done; half++) {
        str rest = half ? str_skip(in, cut) : (str){ in.p, cut };
        while (rest.n && !*done) {
            str data;
            size_t used;
            enum err e = http_chunks_next(&c, rest, &data, &used, done);
            if (e == ERR_SYNTAX)
                return -1;
            assert_in_range(used, e == ERR_AGAIN ? rest.n : 1, rest.n);
            memcpy(out + n, data.p ? data.p : "", data.n);
            n += (int)data.n;
            rest = str_skip(rest, used);
        }
    }
    return n;
}

static void chunked_bodies_are_the_same_wherever_they_are_cut(void **state)
{
    str in = S("4\r\nWiki\r\nB;name=\"v;\"\r\npedia in \r\n\r\n0000000000000001 \t\r\n!\r\n0\r\nTrailer: x\r\nEmpty:\r\n\r\n");
    char out[64];
    bool done;
    (void)state;
    for (size_t cut = 0; cut <= in.n; cut++) {
        assert_int_equal(unchunk(in, cut, out, &done), 16);
        assert_memory_equal(out, "Wikipedia in \r\n!", 16);
        assert_true(done);
    }
}

static void wrong_chunks_are_refused(void **state)
{
    static const str bad[] = { S("g\r\n"), S("\r\n"), S("-1\r\n"), S("0x1\r\n"), S("4\nWiki"), S("4\r\nWikiX"), S("4\r\nWiki\rX"), S("FFFFFFFFFFFFFFFFF\r\n"), S("1;\n\r\n"), S("0\r\nA\n\r\n"), S(" 1\r\n"),
                                S("1 ;a\r\n"), S("1 1\r\n"), S("1;\x01\r\n"), S("1;a\x7F\r\n"), S("00000000000000001\r\n"), S("0\r\n : x\r\n\r\n"), S("0\r\n: x\r\n\r\n"), S("0\r\nA\r\n\r\n"), S("0\r\nA b: c\r\n\r\n"),
                                S("0\r\nA: b\x01\r\n\r\n"), S("0\r\nA: b\rc\r\n\r\n"), S("0\r\nA : b\r\n\r\n") };
    char out[64];
    bool done;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t cut = 0; cut <= bad[i].n; cut++)
            if (unchunk(bad[i], cut, out, &done) != -1)
                fail_msg("taken: %.*s", STR_ARG(bad[i]));
    assert_int_equal(unchunk(S("4\r\nWik"), 3, out, &done), 3);
    assert_false(done);
}

static void paths_are_decoded_strictly(void **state)
{
    static const struct { str path; const char *out; } cases[] = {
        { S("/v1/models/a%2Fb"), "/v1/models/a/b" }, { S("/x"), "/x" }, { S("/%C3%A9"), "/é" }, { S("/%"), NULL }, { S("/%4"), NULL }, { S("/%zz"), NULL },
        { S("/%00"), NULL }, { S("/../x"), NULL }, { S("/a/%2e%2E/b"), NULL }, { S("/a%5Cb"), NULL }, { S("/..a"), "/..a" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        str out;
        arena_init(&a, 1 << 16);
        enum err e = http_path_decode(&a, cases[i].path, &out);
        if (cases[i].out)
            assert_true(e == ERR_OK && str_eq(out, str_of(cases[i].out)));
        else
            assert_int_equal(e, ERR_SYNTAX);
        arena_free(&a);
    }
}

static void a_query_is_taken_apart(void **state)
{
    static const struct { str query; const char *want; enum err end; } cases[] = {
        { S(""), "", ERR_NOTFOUND },
        { S("a=1"), "a:1;", ERR_NOTFOUND },
        { S("a=1&b=x%20y+z&c&=d&&e=%26%3D"), "a:1;b:x y z;c:;:d;e:&=;", ERR_NOTFOUND },
        { S("a=b=c"), "a:b=c;", ERR_NOTFOUND },
        { S("%61=1&b=%"), "a:1;", ERR_SYNTAX },
        { S("a=%zz"), "", ERR_SYNTAX },
        { S("a=%00"), "", ERR_SYNTAX },
        { S("a=%0A"), "", ERR_SYNTAX },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct buf b = { .max = 1000 };
        str rest = cases[i].query, name, value;
        enum err e;
        arena_init(&a, 1 << 16);
        while ((e = http_query_next(&a, &rest, &name, &value)) == ERR_OK)
            assert_int_equal(buf_printf(&b, "%.*s:%.*s;", STR_ARG(name), STR_ARG(value)), ERR_OK);
        if (e != cases[i].end || !str_eq(buf_str(&b), str_of(cases[i].want)))
            fail_msg("%zu: %.*s", i, (int)b.n, b.p);
        buf_free(&b);
        arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_requests_are_read),
        cmocka_unit_test(what_two_readers_could_read_differently_is_refused),
        cmocka_unit_test(heads_have_limits),
        cmocka_unit_test(replies_know_how_long_their_body_is),
        cmocka_unit_test(chunked_bodies_are_the_same_wherever_they_are_cut),
        cmocka_unit_test(wrong_chunks_are_refused),
        cmocka_unit_test(paths_are_decoded_strictly),
        cmocka_unit_test(a_query_is_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
