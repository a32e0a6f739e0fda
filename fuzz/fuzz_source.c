/* fuzz: fleet */
/* What hubs, registries and people say of models: sources, listings, manifests. Whatever becomes a path or an address keeps to its characters. */
#include "fleet/source.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool has_dots(str path)
{
    for (bool more = true; more;) {
        str one;
        more = str_cut(path, '/', &one, &path);
        if (one.n == 0 || str_eq(one, S("..")) || str_eq(one, S(".")))
            return true;
    }
    return false;
}

static void check_listing(struct arena *a, str in)
{
    static const str wants[] = { S(""), S("Q4_K_M"), S("m.gguf") };
    struct source_list l = { .n = 0 };
    enum err e = source_add_page(a, in, &l);
    assert(e == ERR_OK || e == ERR_UPSTREAM || e == ERR_LIMIT);
    for (size_t i = 0; i < l.n; i++) {
        char name[SOURCE_NAME + 1];
        assert(l.v[i].size > 0 && l.v[i].path.p[0] != '/' && !has_dots(l.v[i].path) && str_index(l.v[i].path, '\0') == l.v[i].path.n);
        if (source_file_name(l.v[i].path, name) && !source_is_part(str_of(name)))
            __builtin_trap();           /* assert() alone would leave `name` unused in a release build */
    }
    for (size_t i = 0; e == ERR_OK && i < 3; i++) {
        struct buf why = { .max = 1000 };
        const struct source_file *f = NULL;
        size_t count = 0;
        e = source_choose(a, &l, wants[i], &f, &count, &why);
        if (e == ERR_OK)
            assert(f && count >= 1 && count <= SOURCE_SPLIT);
        for (size_t k = 0; e == ERR_OK && k < count; k++)
            assert(f[k].path.n > 0);
        buf_free(&why);
        e = ERR_OK;
    }
}

static void check_source(str in)
{
    struct source s;
    const char *why = NULL;
    struct buf b = { .max = 1 << 16 };
    if (source_parse(in, &s, &why) != ERR_OK) {
        assert(why && *why);
        return;
    }
    if (s.kind == SOURCE_HUB) {
        assert(!has_dots(s.repo) && !has_dots(s.revision) && (!s.want.n || !has_dots(s.want)));
        assert(source_hub_file_url(&b, S("https://hub"), &s, S("a b")) == ERR_OK && str_starts(buf_str(&b), S("https://hub/")));
        for (size_t i = 0; i < b.n; i++)
            assert(b.p[i] > 0x20 && b.p[i] < 0x7F);
    }
    if (s.kind == SOURCE_REGISTRY)
        assert(!has_dots(s.space) && !has_dots(s.name) && !has_dots(s.tag) && str_index(s.name, '/') == s.name.n && str_index(s.tag, '/') == s.tag.n);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    struct source_manifest m;
    const char *why = NULL;
    str in = { (const char *)p, n };
    arena_init(&a, 32 << 20);
    check_source(in);
    check_listing(&a, in);
    if (source_manifest(&a, in, &m, &why) == ERR_OK)
        assert(m.layers[LAYER_MODEL].there && m.layers[LAYER_MODEL].size > 0);
    else
        assert(why && *why);
    arena_free(&a);
    return 0;
}
