/* fuzz: http io core */
/* A chunked body is the same however it is cut: the first byte says where. */
#include "http/head.h"

#include "core/buf.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static enum err decode(str in, size_t cut, struct buf *out, bool *done, size_t *consumed)
{
    struct http_chunks c = { 0 };
    *consumed = 0;
    *done = false;
    for (int half = 0; half < 2 && !*done; half++) {
        str rest = half ? str_skip(in, cut) : (str){ in.p, cut };
        while (rest.n && !*done) {
            str data;
            size_t used;
            enum err e = http_chunks_next(&c, rest, &data, &used, done);
            if (e == ERR_SYNTAX)
                return e;
            assert(used <= rest.n && (used || e == ERR_OK));
            assert(!data.n || (data.p >= rest.p && data.p + data.n <= rest.p + rest.n));
            (void)buf_put(out, data);
            *consumed += used;
            rest = str_skip(rest, used);
        }
    }
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (!n)
        return 0;
    str in = { (const char *)p + 1, n - 1 };
    struct buf a = { .max = 1 << 20 }, b = { .max = 1 << 20 };
    bool da, db;
    size_t ca, cb;
    enum err x = decode(in, in.n, &a, &da, &ca), y = decode(in, p[0] % (in.n + 1), &b, &db, &cb);
    assert(x == y);
    assert(x || (da == db && ca == cb && str_eq(buf_str(&a), buf_str(&b))));
    buf_free(&a);
    buf_free(&b);
    return 0;
}
