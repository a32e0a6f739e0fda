/* fuzz: guard core */
/* Both forms of the scan find the same; spans are sorted, inside of the text, apart, and cut no character; and what is no UTF-8 is refused. */
#include "guard/find.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check_spans(str text, const struct guard_span *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert(s[i].begin < s[i].end && s[i].end <= text.n);
        assert(i == 0 || s[i - 1].end <= s[i].begin);
        assert((text.p[s[i].begin] & 0xC0) != 0x80 && (s[i].end == text.n || (text.p[s[i].end] & 0xC0) != 0x80));
        assert(s[i].type < GUARD_N_TYPES && s[i].score >= (s[i].type == GUARD_OWN + 1 ? 40 : GUARD_SCORE_LEAST) && s[i].score <= 100 && *guard_rule_name(s[i].rule));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct guard_finder *f[2];
    static const struct guard_word words[] = { { S("deny me"), GUARD_CUSTOM }, { S("\xC3\xA9t\xC3\xA9"), GUARD_PERSON } };
    static const str project[] = { S("Blue"), S("Blue Heron"), S("blue-heron x"), S("M\xC3\x9CLLER"), S("\xE5\x8C\x97\xE6\x96\x97"), S("\xC2\xA7 5"), S("b") }, near[] = { S("staff"), S("\xC3\x84rztin") };
    static const struct guard_own own[] = { { .name = S("PROJECT"), .words = project, .n_words = 7 }, { .name = S("EMPLOYEE"), .pattern = S("(?i)e-\\d{2,}\\b|\xC3\xA4.{3}"), .context = near, .n_context = 2 } };
    struct guard_options o = { .deny = words, .n_deny = 2, .own = own, .n_own = 2, .least = { [GUARD_OWN + 1] = 40 } };
    struct guard_span *s[2] = { NULL, NULL };
    size_t found[2] = { 0, 0 };
    struct arena a;
    enum err e[2];
    str text = str_slice((const char *)p, n);
    for (int i = 0; i < 2 && !f[i]; i++) {
        o.scalar = i;
        assert(guard_finder_new(&o, &f[i]) == ERR_OK);
    }
    arena_init(&a, 64 << 20);
    for (int i = 0; i < 2; i++)
        e[i] = guard_find(f[i], &a, text, &s[i], &found[i]);
    assert(e[0] == e[1] && (e[0] == ERR_OK || e[0] == ERR_SYNTAX || e[0] == ERR_LIMIT) && (e[0] == ERR_SYNTAX) == !str_is_utf8(text));
    assert(found[0] == found[1]);
    for (size_t i = 0; i < found[0]; i++)
        assert(s[0][i].begin == s[1][i].begin && s[0][i].end == s[1][i].end && s[0][i].rule == s[1][i].rule && s[0][i].score == s[1][i].score);
    check_spans(text, s[0], found[0]);
    arena_free(&a);
    return 0;
}
