/* fuzz: grammar core */
/* A pattern that is taken is a grammar that compiles, in both forms, and its texts have the lengths that it says. The first byte chooses, the
 * bytes after the pattern's line lead a walk. */
#include "infer/grammar.h"
#include "infer/regex.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Characters of a text that ended, or -1. */
static int64_t walk(struct grammar *g, str choices)
{
    struct grammar_run r;
    int64_t characters = 0;
    bool ended = false;
    grammar_begin(g, &r);
    for (size_t i = 0; i < choices.n && i < 200 && !ended; i++) {
        char allowed[256];
        size_t n = 0;
        for (int b = 0; b < 256; b++) {
            char c = (char)b;
            if (grammar_fits(&r, str_slice(&c, 1)))
                allowed[n++] = c;
        }
        assert(r.failed || n || grammar_may_end(&r));
        ended = grammar_may_end(&r) && (n == 0 || choices.p[i] & 1);
        if (ended || !n)
            break;
        char c = allowed[(unsigned char)choices.p[i] % n];
        characters += (c & 0xC0) != 0x80;
        assert(grammar_take(&r, str_slice(&c, 1)) || r.failed);
    }
    grammar_end(&r);
    return ended ? characters : -1;
}

static void check(struct regex *r, bool in_json, str choices)
{
    struct buf b = { .max = 4 << 20 };
    struct grammar *g = NULL;
    struct gbnf_error why = { 0, "" };
    uint32_t min, max;
    regex_length(r, &min, &max);
    enum err e = buf_put(&b, S("root ::= "));
    e = e ? e : regex_write(&b, r, in_json);
    assert(e == ERR_OK || e == ERR_LIMIT || (in_json && e == ERR_UNSUPPORTED));
    if (e == ERR_OK && (e = grammar_new(buf_str(&b), false, 4 << 20, &g, &why)) != ERR_OK)
        assert(e == ERR_LIMIT);
    int64_t n = e ? -1 : walk(g, choices);
    assert(n < 0 || in_json || (n >= min && n <= max));
    grammar_free(e ? NULL : g);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    struct regex *r;
    struct gbnf_error why = { 0, "" };
    str pattern, choices;
    if (n < 1)
        return 0;
    (void)str_cut((str){ (const char *)p + 1, n - 1 }, '\n', &pattern, &choices);
    arena_init(&a, 64 << 20);
    if (regex_read(&a, pattern, p[0] & 1, &r, &why) != ERR_OK) {
        assert(*why.what && why.at <= pattern.n);
    } else {
        uint32_t least = p[0] >> 4, most = least + (p[0] >> 2 & 3), lo, hi;
        check(r, p[0] & 2, choices);
        if (regex_limit(r, least, most)) {
            regex_length(r, &lo, &hi);
            assert(lo >= least && hi <= most);
            check(r, p[0] & 2, choices);
        }
    }
    arena_free(&a);
    return 0;
}
