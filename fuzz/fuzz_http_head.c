/* fuzz: http io core */
/* A head is the same however it arrives, and its slices lie inside of it. */
#include "http/head.h"

#include "core/arena.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void inside(str s, str all)
{
    assert(!s.n || (s.p >= all.p && s.p + s.n <= all.p + all.n));
}

static void take_apart(str query)
{
    struct arena arena;
    str name, value;
    size_t bytes = 0, most = query.n;
    arena_init(&arena, 1 << 20);
    while (http_query_next(&arena, &query, &name, &value) == ERR_OK) {
        bytes += name.n + value.n;
        for (size_t i = 0; i < value.n; i++)
            assert((unsigned char)value.p[i] >= ' ');
    }
    assert(bytes <= most);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    str in = { (const char *)p, n };
    static struct http_head a, b;
    for (int reply = 0; reply < 2; reply++) {
        size_t scanned = 0, slow = 0;
        enum err whole = reply ? http_parse_reply(in, &scanned, false, &a, NULL) : http_parse_request(in, &scanned, &a, NULL), e = ERR_AGAIN;
        for (size_t k = 0; k <= n && e == ERR_AGAIN; k++)
            e = reply ? http_parse_reply((str){ in.p, k }, &slow, false, &b, NULL) : http_parse_request((str){ in.p, k }, &slow, &b, NULL);
        assert(e == whole);
        if (whole != ERR_OK)
            continue;
        assert(a.size == b.size && a.body == b.body && a.length == b.length && a.n_fields == b.n_fields && a.size <= n);
        inside(a.method, in);
        inside(a.path, in);
        inside(a.query, in);
        take_apart(a.query);
        for (size_t i = 0; i < a.n_fields; i++) {
            inside(a.fields[i].name, in);
            inside(a.fields[i].value, in);
            assert(str_index(a.fields[i].value, '\n') == a.fields[i].value.n && str_index(a.fields[i].value, '\r') == a.fields[i].value.n);
        }
    }
    return 0;
}
