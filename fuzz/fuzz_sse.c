/* fuzz: wire core */
/* Events are the same however the bytes are cut, and all bytes of them come back. */
#include "wire/sse.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void read_all(str in, size_t step, struct buf *out, size_t *events)
{
    struct sse s;
    struct sse_event ev;
    sse_init(&s, 1 << 16);
    *events = 0;
    for (size_t at = 0; at < in.n; at += step) {
        str piece = { in.p + at, in.n - at < step ? in.n - at : step };
        sse_feed(&s, piece);
        while (sse_next(&s, &ev) == ERR_OK) {
            (*events)++;
            assert(ev.raw.n > 0);
            (void)buf_put(out, ev.raw);
            (void)buf_put(out, S("\x01"));
            (void)buf_put(out, ev.event);
            (void)buf_put(out, S("\x02"));
            (void)buf_put(out, ev.has_data ? ev.data : S("none"));
        }
    }
    sse_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n < 2)
        return 0;
    str in = { (const char *)p + 1, n - 1 };
    struct buf a = { .max = 8 << 20 }, b = { .max = 8 << 20 };
    size_t ea, eb;
    read_all(in, in.n, &a, &ea);
    read_all(in, p[0] % 7 + 1, &b, &eb);
    /* A CR as the last byte may be half of a CRLF: cut there, the line end is found one piece later, never another one. */
    assert(ea == eb && str_eq(buf_str(&a), buf_str(&b)));
    buf_free(&a);
    buf_free(&b);
    return 0;
}
