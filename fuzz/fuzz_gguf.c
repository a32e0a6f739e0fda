/* fuzz: core */
/* gguf_check() over any bytes: it ends, stays inside, and what it accepts keeps its promises. */
#include "core/gguf.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool inside(str s, str file)
{
    return s.n == 0 || (s.p >= file.p && s.p + s.n <= file.p + file.n);
}

/* With only the beginning at hand the verdict is the same, or more is asked for. */
static void check_prefix(str file, size_t cut, enum err whole)
{
    struct gguf_facts f;
    const char *why = NULL;
    char *exact = malloc(cut ? cut : 1);    /* so that ASan sees one byte too many */
    if (!exact)
        return;
    if (cut)
        memcpy(exact, file.p, cut);
    enum err e = gguf_head(str_slice(exact, cut), file.n, &f, &why, NULL);
    if (e != ERR_AGAIN && e != whole)
        __builtin_trap();
    free(exact);
}

struct visit { str file; uint64_t pairs, tensors; };

static void on_pair(void *ctx, str key, str whole)
{
    struct visit *v = ctx;
    assert(inside(whole, v->file) && key.p > whole.p && key.p + key.n < whole.p + whole.n);
    v->pairs++;
}

static void on_tensor(void *ctx, str whole, uint64_t offset, uint64_t bytes)
{
    struct visit *v = ctx;
    (void)offset;
    (void)bytes;
    assert(inside(whole, v->file) && whole.n >= 8 + 1 + 4 + 4 + 8);
    v->tensors++;
}

/* The same verdict, and everything that was counted was shown. */
static void check_visit(str file, enum err whole, const struct gguf_facts *f)
{
    struct visit v = { .file = file };
    struct gguf_visitor visitor = { &v, on_pair, on_tensor };
    struct gguf_facts seen;
    const char *why = NULL;
    if (gguf_visit(file, file.n, &visitor, &seen, &why) != whole || (whole == ERR_OK && (v.pairs != f->n_keys || v.tensors != f->n_tensors)))
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct gguf_facts f = { .version = 0 };
    const char *why = NULL;
    uint64_t at = 0, tensors = 0;
    uint32_t no, count;
    str file = { (const char *)p, n }, stem;
    enum err e = gguf_check(file, &f, &why, &at);
    assert(at <= n);
    check_prefix(file, n / 2, e);
    check_prefix(file, n > 9 ? n - 9 : 0, e);
    check_visit(file, e, &f);
    if (gguf_split_name(file, &stem, &no, &count))
        assert(stem.n > 0 && stem.n < n && no >= 1 && no <= count);
    if (e != ERR_OK) {
        assert(e == ERR_SYNTAX && why && *why && f.version == 0);
        return 0;
    }
    for (size_t i = 0; i < GGUF_TYPES; i++)
        tensors += f.tensors_of[i];
    if (tensors != f.n_tensors || (f.n_tensors == 0 && f.split_count < 2))
        __builtin_trap();               /* assert() alone would leave `tensors` unused in a release build */
    assert(f.alignment > 0 && f.data_at % f.alignment == 0);
    assert(f.data_bytes == 0 || (f.data_at <= n && f.data_bytes <= n - f.data_at));
    assert(inside(f.architecture, file) && inside(f.name, file) && inside(f.chat_template, file) && inside(f.type, file));
    assert(f.architecture.n > 0 || f.split_count > 1);
    return 0;
}
