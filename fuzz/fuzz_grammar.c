/* fuzz: grammar core */
/* A grammar of a client, and a text to be matched: it ends, and where a text stands there is always a way on, or an end. */
#include "infer/grammar.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static size_t bytes_that_fit(struct grammar_run *r)
{
    size_t n = 0;
    for (int b = 0; b < 256 && !r->failed; b++) {
        char c = (char)b;
        n += grammar_fits(r, str_slice(&c, 1));
    }
    return n;
}

static void match(struct grammar *g, str text)
{
    struct grammar_run r, again;
    grammar_begin(g, &r);
    grammar_begin(g, &again);
    for (size_t i = 0; i <= text.n && i < 64; i++) {
        size_t ways = bytes_that_fit(&r);
        assert(r.failed || ways > 0 || grammar_may_end(&r));
        assert(r.failed || grammar_must_end(&r) == (ways == 0));
        if (i == text.n)
            break;
        str one = str_slice(text.p + i, 1);
        bool fits = grammar_fits(&r, one);
        if (grammar_take(&r, one) != fits)
            assert(r.failed);
        if (!fits)
            break;
        bool whole = grammar_fits(&again, str_slice(text.p, i + 1));
        assert(whole || again.failed || r.failed);
    }
    grammar_end(&again);
    grammar_end(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    str all = { (const char *)p, n }, text, rest;
    struct grammar *g = NULL;
    struct gbnf_error why;
    (void)str_cut(all, '\0', &text, &rest);
    enum err e = grammar_new(text, n & 1, 4 << 20, &g, &why);
    assert(e == ERR_OK || *why.what);
    if (e == ERR_OK)
        match(g, rest);
    grammar_free(e ? NULL : g);
    return 0;
}
