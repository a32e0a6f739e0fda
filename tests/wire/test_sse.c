/* Server-sent events: every line end, every field, and that the places where the bytes were cut make no difference. */
#include "wire/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Events as one text: "[event|data]", "[event]" for one without data. All raw bytes come after each other in `raw`. */
struct seen { struct buf text, raw; enum err last; bool pending; };

static void seen_init(struct seen *w)
{
    *w = (struct seen){ .last = ERR_OK };
    buf_init(&w->text, 1 << 24);
    buf_init(&w->raw, 1 << 24);
}

static void seen_free(struct seen *w)
{
    buf_free(&w->text);
    buf_free(&w->raw);
}

static void take_all(struct sse *s, struct seen *w)
{
    struct sse_event ev;
    while ((w->last = sse_next(s, &ev)) == ERR_OK) {
        assert_int_equal(buf_put(&w->raw, ev.raw), ERR_OK);
        assert_int_equal(buf_printf(&w->text, ev.has_data ? "[%.*s|%.*s]" : "[%.*s]", STR_ARG(ev.event), STR_ARG(ev.data)), ERR_OK);
    }
}

/* Each piece is a copy of its exact size that is gone afterwards, as a read buffer is. */
static void feed(struct sse *s, struct seen *w, str piece)
{
    char *mem = malloc(piece.n ? piece.n : 1);
    assert_non_null(mem);
    memcpy(mem, piece.p, piece.n);
    sse_feed(s, (str){ mem, piece.n });
    take_all(s, w);
    memset(mem, '#', piece.n);
    free(mem);
}

static void read_in(struct seen *w, str all, size_t first, size_t step, size_t max)
{
    struct sse s;
    sse_init(&s, max);
    seen_init(w);
    for (size_t at = 0, n; at < all.n; at += n) {
        n = at == 0 && first ? first : step;
        n = all.n - at < n ? all.n - at : n;
        feed(&s, w, (str){ all.p + at, n });
    }
    w->pending = sse_pending(&s);
    sse_free(&s);
}

static void assert_str(str got, str want)
{
    if (!str_eq(got, want))
        fail_msg("got \"%.*s\", want \"%.*s\"", STR_ARG(got), STR_ARG(want));
}

static const struct { str in, want; bool pending; } streams[] = {
    { S(""), S(""), false },
    { S("data: a\n\n"), S("[|a]"), false },
    { S("data:a\n\ndata:  b\n\n"), S("[|a][| b]"), false },
    { S("data: a\r\n\r\ndata: b\r\n\r\n"), S("[|a][|b]"), false },
    { S("data: a\r\rdata: b\r\r"), S("[|a][|b]"), false },
    { S("data: a\r\rdata: b\r"), S("[|a]"), true },
    { S("data: a\r\n\ndata: b\n\r\ndata: c\r\r\n"), S("[|a][|b][|c][]"), false },
    { S("data: a\ndata: b\ndata:\ndata\n\n"), S("[|a\nb\n\n]"), false },
    { S("data\n\n"), S("[|]"), false },
    { S("data:\n\n"), S("[|]"), false },
    { S("event: ping\ndata: {}\n\n"), S("[ping|{}]"), false },
    { S("data: {}\nevent:first\nevent: last\n\n"), S("[last|{}]"), false },
    { S(": a comment\n\n"), S("[]"), false },
    { S(": a comment\ndata: a\n: another\n\n"), S("[|a]"), false },
    { S("id: 1\nretry: 5\nunknown: x\nData: no\n data: no\ndata : no\n\n"), S("[]"), false },
    { S("\n\n\ndata: a\n\n\n"), S("[][][][|a][]"), false },
    { S("\xEF\xBB\xBF" "data: a\n\n"), S("[|a]"), false },
    { S("\xEF\xBB\xBF" "data: a\n\n\xEF\xBB\xBF" "data: b\n\n"), S("[|a][]"), false },
    { S("data: a\n\xEF\xBB\xBF" "data: b\n\n"), S("[|a]"), false },
    { S("data: a"), S(""), true },
    { S("data: a\n"), S(""), true },
    { S("data: a\n\ndata: [DO"), S("[|a]"), true },
    { S("data: a\n\n: the end\n"), S("[|a]"), false },
    { S("data: a\n\n: the e"), S("[|a]"), false },
    { S("data: a\n\n: the end\nd"), S("[|a]"), true },
    { S("data: a\0b\n\n"), S("[|a\0b]"), false },
    { S("data: [DONE]\n\n"), S("[|[DONE]]"), false },
};

static void streams_give_their_events_wherever_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        str in = streams[i].in;
        if (memchr(in.p, 0, in.n))
            continue;                   /* printf() ends there; the next test has it */
        for (size_t first = 0; first <= in.n; first++)
            for (size_t step = 1; step <= in.n + 1; step++) {
                struct seen w;
                read_in(&w, in, first, step, 1 << 16);
                assert_str(buf_str(&w.text), streams[i].want);
                assert_int_equal(w.pending, streams[i].pending);
                assert_true(in.n == 0 || w.last == ERR_AGAIN);
                assert_true(str_starts(in, buf_str(&w.raw)));
                seen_free(&w);
            }
    }
}

static void a_zero_byte_is_a_byte(void **state)
{
    struct sse s;
    struct sse_event ev;
    (void)state;
    sse_init(&s, 100);
    sse_feed(&s, S("data: a\0b\n\n"));
    assert_int_equal(sse_next(&s, &ev), ERR_OK);
    assert_true(str_eq(ev.data, S("a\0b")));
    sse_free(&s);
}

static void what_lies_whole_in_a_piece_is_not_copied(void **state)
{
    static const char piece[] = "data: a\n\ndata: b\n\ndata: c";
    struct sse s;
    struct sse_event ev;
    (void)state;
    sse_init(&s, 100);
    sse_feed(&s, S(piece));
    assert_int_equal(sse_next(&s, &ev), ERR_OK);
    assert_ptr_equal(ev.raw.p, piece);
    assert_ptr_equal(ev.data.p, piece + 6);
    assert_int_equal(sse_next(&s, &ev), ERR_OK);
    assert_ptr_equal(ev.raw.p, piece + 9);              /* after the one before: both can go out with one write */
    assert_int_equal(sse_next(&s, &ev), ERR_AGAIN);
    assert_int_equal(sse_next(&s, &ev), ERR_AGAIN);     /* asking again changes nothing */
    assert_true(sse_pending(&s));
    sse_feed(&s, S("\n\n"));
    assert_int_equal(sse_next(&s, &ev), ERR_OK);
    assert_str(ev.raw, S("data: c\n\n"));
    assert_int_equal(sse_next(&s, &ev), ERR_AGAIN);
    assert_false(sse_pending(&s));
    sse_feed(&s, S(piece));                             /* the carry is empty again, so pieces are looked at where they are */
    assert_int_equal(sse_next(&s, &ev), ERR_OK);
    assert_ptr_equal(ev.raw.p, piece);
    sse_free(&s);
}

static void feeding_before_all_was_taken_loses_nothing(void **state)
{
    struct sse s;
    struct sse_event ev;
    struct seen w;
    (void)state;
    seen_init(&w);
    sse_init(&s, 1000);
    for (int round = 0; round < 3; round++) {
        sse_feed(&s, S("data: a\n\ndata: b\n\nda"));
        assert_int_equal(sse_next(&s, &ev), ERR_OK);
        assert_str(ev.data, S("a"));
        sse_feed(&s, S(""));
        sse_feed(&s, S("ta: c\n\n"));
        take_all(&s, &w);
    }
    assert_str(buf_str(&w.text), S("[|b][|c][|b][|c][|b][|c]"));
    seen_free(&w);
    sse_free(&s);
}

static void an_event_may_be_as_large_as_the_bound_and_no_larger(void **state)
{
    static const str in = S("data: 0\n\ndata: 123456789\n\ndata: 2\n\n");      /* 9, 17 and 9 bytes */
    (void)state;
    for (size_t max = 9; max < 20; max++)
        for (size_t step = 1; step <= in.n; step++) {
            struct seen w;
            read_in(&w, in, 0, step, max);
            assert_int_equal(w.last, max < 17 ? ERR_LIMIT : ERR_AGAIN);
            assert_str(buf_str(&w.text), max < 17 ? S("[|0]") : S("[|0][|123456789][|2]"));
            seen_free(&w);
        }
}

static void a_line_that_never_ends_is_refused_in_bounded_memory(void **state)
{
    char piece[1000];
    struct sse s;
    struct sse_event ev;
    enum err e = ERR_AGAIN;
    size_t fed = 0;
    (void)state;
    memset(piece, 'x', sizeof piece);
    sse_init(&s, 100000);
    while (e == ERR_AGAIN && fed < 1000000) {
        sse_feed(&s, (str){ piece, sizeof piece });
        e = sse_next(&s, &ev);
        fed += sizeof piece;
    }
    assert_int_equal(e, ERR_LIMIT);
    assert_in_range(fed, 100001, 101000);
    assert_true(s.carry.cap <= 2 * 101000);
    sse_feed(&s, S("\n\ndata: a\n\n"));                  /* and it stays refused */
    assert_int_equal(sse_next(&s, &ev), ERR_LIMIT);
    sse_free(&s);
}

/* A megabyte in pieces of a byte, in one line and in the shortest ones: quadratic work would take minutes. */
static void bytes_that_drip_cost_no_more_than_bytes_that_flow(void **state)
{
    enum { N = 1 << 20 };
    static const char *const units[] = { "x", "x\n", "x\r", "x\r\n", "\r" };
    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        struct sse s;
        struct sse_event ev;
        size_t n = strlen(units[u]), events = 0;
        sse_init(&s, 2 * N);
        sse_feed(&s, S("data: "));
        for (size_t i = 0; i < N; i++) {
            sse_feed(&s, (str){ units[u] + i % n, 1 });
            while (sse_next(&s, &ev) == ERR_OK)
                events++;
        }
        assert_true(u == 4 ? events > N - 4 : events == 0);
        sse_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_give_their_events_wherever_they_are_cut),
        cmocka_unit_test(a_zero_byte_is_a_byte),
        cmocka_unit_test(what_lies_whole_in_a_piece_is_not_copied),
        cmocka_unit_test(feeding_before_all_was_taken_loses_nothing),
        cmocka_unit_test(an_event_may_be_as_large_as_the_bound_and_no_larger),
        cmocka_unit_test(a_line_that_never_ends_is_refused_in_bounded_memory),
        cmocka_unit_test(bytes_that_drip_cost_no_more_than_bytes_that_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
