/* fuzz: guard core */
/* The first byte says the kind and how the rest is cut. What is replaced, whatever the finder says, comes back byte for byte; JSON stays JSON; and every
 * line stays a line. */
#include "../tests/guard/shelf.h"

#include "core/json.h"
#include "guard/sanitize.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct vault *vault;

/* Runs of five digits and more, and all from a "<" to a ">", over strings and lines. */
static enum err find(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n)
{
    struct guard_span *s = arena_new(a, struct guard_span, text.n / 2 + 1);
    size_t k = 0;
    (void)ctx;
    for (size_t i = 0; s && i < text.n; i++) {
        size_t from = i, to = text.p[i] == '<' ? i + str_index(str_skip(text, i), '>') : i;
        while (to == from && i < text.n && text.p[i] >= '0' && text.p[i] <= '9')
            i++;
        if (to > from && to < text.n)
            i = to + 1;
        if (i - from >= 5 || to > from)
            s[k] = (struct guard_span){ .begin = from, .end = i, .type = (enum guard_type)(i % GUARD_OWN), .score = 90 };
        k += i - from >= 5;
        i -= i > from;
    }
    *out = s;
    *n = k;
    return s ? ERR_OK : ERR_LIMIT;
}

static enum err put(void *ctx, str bytes) { return buf_put(ctx, bytes); }

static size_t lines(str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '\n';
    return n;
}

static bool is_json(struct arena *a, str s)
{
    json root;
    arena_reset(a);
    return json_parse(a, s, &JSON_DEFAULT_LIMITS, &root, NULL) == ERR_OK;
}

static void there(struct arena *a, enum sanitize_kind kind, str text, size_t step, struct buf *out)
{
    const struct guard_search search = { .find = find, .vault = vault };
    struct guard_rules keep = { 0 };
    keep.types[GUARD_SECRET].restore = GUARD_RESTORE;
    const struct guard_rules *rules[] = { &keep };
    const struct guard_policy policy = guard_policy_join(rules, 1);
    struct sanitizer s = { .search = &search, .policy = &policy, .kind = kind, .put = put, .ctx = out };
    struct buf piece = { .max = 1 << 22 };
    for (size_t at = 0, k; at < text.n; at += k) {
        k = step < text.n - at ? step : text.n - at;
        assert(buf_put(&piece, (str){ text.p + at, k }) == ERR_OK);
        arena_reset(a);
        assert(sanitizer_run(&s, a, &piece, at + k == text.n) == ERR_OK);
    }
    assert(!piece.n);
    buf_free(&piece);
}

static void back(struct arena *a, str text, size_t step, struct buf *out)
{
    struct sanitize_restorer r = { .vault = vault, .put = put, .ctx = out };
    struct buf piece = { .max = 1 << 22 };
    for (size_t at = 0, k; at < text.n; at += k) {
        k = step < text.n - at ? step : text.n - at;
        assert(buf_put(&piece, (str){ text.p + at, k }) == ERR_OK);
        assert(sanitize_restore(&r, a, &piece, at + k == text.n) == ERR_OK);
    }
    buf_free(&piece);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct shelf shelf;
    const struct seal_key key = { { 3 } };
    struct arena mem, a;
    struct buf masked = { .max = 1 << 22 }, again = { .max = 1 << 22 };
    if (n < 2 || n > 4096)
        return 0;
    struct vault_store store = shelf_open(&shelf);
    arena_init(&mem, 16 << 20);
    arena_init(&a, 16 << 20);
    assert(vault_open(&mem, &store, &key, 1, &vault) == ERR_OK);
    enum sanitize_kind kind = (enum sanitize_kind)(p[0] % SANITIZE_KINDS);
    size_t step = p[0] / SANITIZE_KINDS ? p[0] / SANITIZE_KINDS * 5u : n;
    str text = { (const char *)p + 1, n - 1 };
    there(&a, kind, text, step, &masked);
    assert(lines(buf_str(&masked)) == lines(text));
    assert(kind != SANITIZE_JSON || step < n || !is_json(&a, text) || is_json(&a, buf_str(&masked)));
    back(&a, buf_str(&masked), step, &again);
    assert(str_eq(buf_str(&again), text));
    buf_free(&masked);
    buf_free(&again);
    vault_close(vault);
    arena_free(&a);
    arena_free(&mem);
    shelf_close(&shelf);
    return 0;
}
