/* fuzz: guard core */
/* Any bytes as a request's body. What is walked can be written again: without a replacement to the same bytes, and with every text replaced to a body in
 * which the same texts are found, each replaced. So no text is left out by the one that the other sees, and no bytes between them are lost. */
#include "guard/walk.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static str written(struct arena *a, const struct walk *w)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    assert(walk_write(w, &b) == ERR_OK);
    str s = arena_str(a, buf_str(&b));
    buf_free(&b);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    struct walk w, again;
    str body = { (const char *)p, n };
    arena_init(&a, 64 << 20);
    struct walk_options o = { .limits = { 32, 1 << 16, 1 << 20 }, .keep_user = n % 2 };
    if (walk_body(&a, body, &o, &w) == ERR_OK) {
        str same = written(&a, &w);
        assert(w.n_dropped || str_eq(same, body));
        size_t replaced = 0;
        for (size_t i = 0; i < w.n; i++) {
            assert(str_is_utf8(w.texts[i].text) && !w.texts[i].to.p);
            w.texts[i].to = w.texts[i].is_number ? S("90000007") : S("4:\"\\\n\xC3\xA4");    /* no name, id, word or number of an API */
            replaced++;
        }
        str changed = written(&a, &w);
        assert(walk_body(&a, changed, &o, &again) == ERR_OK);
        size_t found = 0;
        for (size_t i = 0; i < again.n; i++)
            found += str_eq(again.texts[i].text, again.texts[i].is_number ? S("90000007") : S("4:\"\\\n\xC3\xA4"));
        assert(found == again.n && (found == replaced || w.unsure));
    }
    arena_free(&a);
    return 0;
}
