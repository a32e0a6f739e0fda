/* What the owner has named: patterns by RE2, words whole, and types of both, in a text and in a request that is masked and restored. */
#include "shelf.h"

#include "guard/mask.h"
#include "guard/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(t) (sizeof(t) / sizeof *(t))

static str shown(struct arena *a, const struct guard_finder *f, str text)
{
    struct guard_span *s = NULL;
    size_t n = 0, at = 0;
    struct buf b = { .max = 1 << 22 };
    assert_int_equal(guard_find(f, a, text, &s, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        (void)buf_put(&b, (str){ text.p + at, s[i].begin - at });
        (void)buf_printf(&b, "<%s:%.*s>", guard_type_name(f, s[i].type), (int)(s[i].end - s[i].begin), text.p + s[i].begin);
        at = s[i].end;
    }
    (void)buf_put(&b, str_skip(text, at));
    str copy = arena_str(a, buf_str(&b));
    buf_free(&b);
    return copy;
}

static void assert_shown(const struct guard_options *o, const char *text, const char *want)
{
    struct arena a;
    arena_init(&a, 8 << 20);
    for (int scalar = 0; scalar < 2; scalar++) {
        struct guard_options both = *o;
        struct guard_finder *f = NULL;
        both.scalar = scalar;
        assert_int_equal(guard_finder_new(&both, &f), ERR_OK);
        assert_string_equal(arena_cstr(&a, shown(&a, f, str_of(text))), want);
        guard_finder_free(f);
    }
    arena_free(&a);
}

/* ---- patterns ---- */

static void a_pattern_that_is_none_says_what_to_write(void **state)
{
    (void)state;
    static const struct { const char *pattern, *what, *instead; } cases[] = {
        { "", "empty", "write what is to be found" },
        { "E-\\d{6", NULL, NULL },                       /* "{6" is text */
        { "E-[0-9", "a [ has no ]", "write \\[" },
        { "(E-", "a ( has no )", "write \\(" },
        { "E-)", "a ) has no (", "write \\)" },
        { "*E", "nothing stands before", "write \\*" },
        { "E**", "repetition", "(?: )" },
        { "E{1001}", "repeats too often", "{1000}" },
        { "E\\", "ends with a backslash", "write \\\\" },
        { "(a)\\1", "escape is unknown, at \\1", "write the alternatives out" },
        { "\\y", "escape is unknown, at \\y", "\\\\ for a backslash" },
        { "[z-a]", "no range or class of characters, at z-a", "lower character first" },
        { "[[:nix:]]", "class of characters, at [:nix:]", "[[:alpha:]]" },
        { "E(?=-)", "does not exist here", "instead of looking ahead" },
        { "(?<!x)E", "does not exist here", "words into context" },
        { "(?P<a b>x)", "name of a group", "(?: )" },
        { "((a{100}){100}){100}", "too", "repeat" },
        { "[a-z]{1,1000}0", "too many steps", "repeat less" },
        { "\xFF", "no UTF-8", "UTF-8" },
        { "\\d*", "matches nothing at all", "+ for *" },
        { "x|", "matches nothing at all", "+ for *" },
        { "(?:foo)?\\b", "matches nothing at all", "+ for *" },
        { "^E-\\d+", "the whole text", "write \\b" },
        { "E-\\d+$", "the whole text", "write \\b" },
        { "cost \\$", NULL, NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char why[PATTERN_WHY] = "";
        struct pattern *p = pattern_new(cases[i].pattern, strlen(cases[i].pattern), why);
        if (!p != !!cases[i].what || (cases[i].what && (!strstr(why, cases[i].what) || !strstr(why, cases[i].instead))))
            fail_msg("%s: %s", cases[i].pattern, why);
        pattern_free(p);
    }
    char *longest = malloc(PATTERN_BYTES + 1), why[PATTERN_WHY];
    memset(longest, 'x', PATTERN_BYTES + 1);
    assert_null(pattern_new(longest, PATTERN_BYTES + 1, why));
    assert_non_null(strstr(why, "more than 1000 bytes"));
    struct pattern *p = pattern_new(longest, PATTERN_BYTES, why);
    assert_non_null(p);
    pattern_free(p);
    free(longest);
}

/* Every match of the whole text, whatever windows it was shown in. */
static void a_match_is_what_it_is_in_the_whole_text(void **state)
{
    (void)state;
    static const struct { const char *pattern, *unit, *match; } cases[] = {
        { "E-\\d{6}", "E-123456", "E-123456" }, { "\\bE-\\d+\\b", "E-12345678901234567890", "E-12345678901234567890" }, { "\\d+", "0123456789012345678901234567890123456789", NULL },
        { "\xC3\xA4+", "\xC3\xA4\xC3\xA4\xC3\xA4", NULL },
    };
    enum { N = 5000 };
    char *text = malloc(N), why[PATTERN_WHY];
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t unit = strlen(cases[i].unit);
        struct pattern *p = pattern_new(cases[i].pattern, strlen(cases[i].pattern), why);
        assert_non_null(p);
        for (size_t at = 900; at < 3200; at++) {        /* over the borders of two windows */
            size_t begin = 0, end = 0;
            memset(text, ' ', N);
            memcpy(text + at, cases[i].unit, unit);
            assert_int_equal(pattern_find(p, text, N, 0, &begin, &end), PATTERN_MATCH);
            assert_int_equal(begin, at);
            assert_int_equal(end, at + unit);
            assert_int_equal(pattern_find(p, text, N, end, &begin, &end), PATTERN_NONE);
        }
        pattern_free(p);
    }
    free(text);
}

/* What a backtracking engine never ends with, and what RE2 alone would read the whole text for at each match. The test's time limit ends it. */
static void no_pattern_costs_more_than_the_text(void **state)
{
    (void)state;
    static const char *const patterns[] = { "(a+)+b", "(a|aa)+c", "a(?s:.*)z|a", "(?:a?){100}a{100}b", "(x+x+)+y", "[a-z]{1,200}0" };
    enum { N = 1 << 20 };
    char *text = malloc(N), why[PATTERN_WHY];
    memset(text, 'a', N);
    for (size_t i = 0; i < COUNT(patterns); i++) {
        struct pattern *p = pattern_new(patterns[i], strlen(patterns[i]), why);
        size_t begin, end, from = 0, n = 0;
        assert_non_null(p);
        while (n < 100000 && pattern_find(p, text, N, from, &begin, &end) == PATTERN_MATCH) {
            assert_true(begin >= from && end > begin && end <= N);
            from = end;
            n++;
        }
        pattern_free(p);
    }
    free(text);
}

/* ---- words ---- */

static void words_of_a_type_stand_whole_in_any_case(void **state)
{
    (void)state;
    static const str project[] = { S("Nachtfalke"), S("Blue Heron"), S("Blue Heron Two"), S("M\xC3\xBCller AG"), S("\xCE\xA3\xCE\xAF\xCF\x83\xCF\x85\xCF\x86\xCE\xBF\xCF\x82"), S("\xE5\x8C\x97\xE6\x96\x97"),
                                     S("\xD0\x9C\xD0\xB8\xD1\x80"), S("C3"), S("\xC2\xA7 5"), S("\xC5\xBB\xC3\xB3\xC5\x82w") },
                     ship[] = { S("heron"), S("Nachtfalke") };
    static const struct guard_own own[] = { { .name = S("PROJECT"), .words = project, .n_words = COUNT(project) }, { .name = S("SHIP"), .words = ship, .n_words = COUNT(ship) } };
    const struct guard_options o = { .own = own, .n_own = 2 };
    assert_shown(&o, "Nachtfalke, NACHTFALKE; nachtfalke_db (nachtfalken) xNachtfalke", "<PROJECT:Nachtfalke>, <PROJECT:NACHTFALKE>; <PROJECT:nachtfalke>_db (nachtfalken) xNachtfalke");
    assert_shown(&o, "\xE2\x80\x9ENachtfalke\xE2\x80\x9C \xC2\xABnachtfalke\xC2\xBB\xE2\x80\xA6", "\xE2\x80\x9E<PROJECT:Nachtfalke>\xE2\x80\x9C \xC2\xAB<PROJECT:nachtfalke>\xC2\xBB\xE2\x80\xA6");
    assert_shown(&o, "a blue heron, BLUE HERON TWO, blue heron twos, blue  heron", "a <PROJECT:blue heron>, <PROJECT:BLUE HERON TWO>, <PROJECT:blue heron> twos, blue  <SHIP:heron>");
    assert_shown(&o, "M\xC3\x9CLLER AG m\xC3\xBCller ag M\xC3\xBCllers AG", "<PROJECT:M\xC3\x9CLLER AG> <PROJECT:m\xC3\xBCller ag> M\xC3\xBCllers AG");
    assert_shown(&o, "\xCE\xA3\xCE\x8A\xCE\xA3\xCE\xA5\xCE\xA6\xCE\x9F\xCE\xA3!", "<PROJECT:\xCE\xA3\xCE\x8A\xCE\xA3\xCE\xA5\xCE\xA6\xCE\x9F\xCE\xA3>!");
    assert_shown(&o, "\xD0\x9C\xD0\x98\xD0\xA0 \xD0\xBC\xD0\xB8\xD1\x80\xD0\xB0", "<PROJECT:\xD0\x9C\xD0\x98\xD0\xA0> \xD0\xBC\xD0\xB8\xD1\x80\xD0\xB0");
    assert_shown(&o, "\xC5\xBC\xC3\x93\xC5\x81W", "<PROJECT:\xC5\xBC\xC3\x93\xC5\x81W>");
    /* a script without spaces */
    assert_shown(&o, "\xE6\x88\x91\xE4\xBB\xAC\xE5\x8C\x97\xE6\x96\x97\xE9\xA1\xB9\xE7\x9B\xAE", "\xE6\x88\x91\xE4\xBB\xAC<PROJECT:\xE5\x8C\x97\xE6\x96\x97>\xE9\xA1\xB9\xE7\x9B\xAE");
    assert_shown(&o, "C3 c3. C34 (see \xC2\xA7 5)", "<PROJECT:C3> <PROJECT:c3>. C34 (see <PROJECT:\xC2\xA7 5>)");
}

/* Words that begin alike are no list to be walked: the test's time limit ends that. */
static void thousands_of_words_are_all_found(void **state)
{
    (void)state;
    enum { WORDS = 20000 };
    struct arena a;
    arena_init(&a, 256 << 20);
    str *words = arena_new(&a, str, WORDS);
    struct buf text = { .max = 64 << 20 };
    for (size_t i = 0; i < WORDS; i++)
        words[i] = i % 2 ? arena_printf(&a, "Project Number %zu", i * 7919) : arena_printf(&a, "w%zxq", i * 104729);
    for (size_t i = 0; i < WORDS; i++)
        (void)buf_printf(&text, "%.*s, Project Number x.\n", STR_ARG(words[(i * 7) % WORDS]));
    struct guard_own own = { .name = S("PROJECT"), .words = words, .n_words = WORDS };
    struct guard_options o = { .own = &own, .n_own = 1 };
    struct guard_finder *f;
    struct guard_span *s;
    size_t n;
    assert_int_equal(guard_finder_new(&o, &f), ERR_OK);
    assert_int_equal(guard_find(f, &a, buf_str(&text), &s, &n), ERR_OK);
    assert_int_equal(n, WORDS);
    for (size_t i = 0; i < n; i++)
        assert_true(s[i].type == GUARD_OWN && s[i].score == 100 && str_eq(str_slice(text.p + s[i].begin, s[i].end - s[i].begin), words[(i * 7) % WORDS]));
    guard_finder_free(f);
    buf_free(&text);
    arena_free(&a);
}

static void what_cannot_be_looked_for_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = { "X", "project", "1A", "EMAIL", "CUSTOM", "A-B", "ABCDEFGHIJKLMNOPQRSTUVWXY", "" };
    static const str good[] = { S("a") }, bad[] = { S("\xE2\x80\x9C!") };
    struct guard_finder *f = NULL;
    struct guard_own own[GUARD_OWN_MAX + 1];
    for (size_t i = 0; i < COUNT(names); i++) {
        const struct guard_own one = { .name = str_of(names[i]), .words = good, .n_words = 1 };
        assert_int_equal(guard_finder_new(&(struct guard_options){ .own = &one, .n_own = 1 }, &f), ERR_RANGE);
    }
    for (size_t i = 0; i <= GUARD_OWN_MAX; i++)
        own[i] = (struct guard_own){ .name = S("ABCDEFGHIJKLMNOPQRSTUVW9"), .words = good, .n_words = 1 };
    assert_int_equal(guard_finder_new(&(struct guard_options){ .own = own, .n_own = GUARD_OWN_MAX + 1 }, &f), ERR_RANGE);
    own[3].words = bad;
    assert_int_equal(guard_finder_new(&(struct guard_options){ .own = own, .n_own = GUARD_OWN_MAX }, &f), ERR_RANGE);
    own[3].n_words = 0;
    assert_int_equal(guard_finder_new(&(struct guard_options){ .own = own, .n_own = GUARD_OWN_MAX }, &f), ERR_OK);
    guard_finder_free(f);
    own[3].n_words = GUARD_WORDS_MAX;
    assert_int_equal(guard_finder_new(&(struct guard_options){ .own = own, .n_own = GUARD_OWN_MAX }, &f), ERR_RANGE);
    own[3].n_words = 0;
    own[3].pattern = S("(");
    assert_int_equal(guard_finder_new(&(struct guard_options){ .own = own, .n_own = GUARD_OWN_MAX }, &f), ERR_RANGE);
    own[3].pattern = S("E-[0-9]+");
    own[3].context = good;
    own[3].n_context = 1;
    for (size_t k = 0;; k++) {          /* every amount of memory */
        memory_fail_after(k);
        enum err e = guard_finder_new(&(struct guard_options){ .own = own, .n_own = 5 }, &f);
        memory_fail_after(SIZE_MAX);
        if (e == ERR_OK)
            break;
        assert_int_equal(e, ERR_MEMORY);
    }
    guard_finder_free(f);
}

/* ---- patterns in a text ---- */

static const str staff[] = { S("employee"), S("Staff No"), S("M\xC3\xBCller") };

static void a_pattern_counts_by_the_words_around_it(void **state)
{
    (void)state;
    struct guard_own own[] = { { .name = S("EMPLOYEE"), .pattern = S("E-\\d{6}"), .context = staff, .n_context = 3 }, { .name = S("ORDER_NO"), .pattern = S("\\bA\\d{4}[xy]\\b") } };
    struct guard_options o = { .own = own, .n_own = 2 };
    assert_shown(&o, "E-123456 and A1234x, a1234x, A1234xx", "E-123456 and <ORDER_NO:A1234x>, a1234x, A1234xx");
    assert_shown(&o, "employee E-123456", "employee <EMPLOYEE:E-123456>");
    assert_shown(&o, "employees E-123456", "employees E-123456");
    assert_shown(&o, "\"STAFF NO\": \"E-123456\"", "\"STAFF NO\": \"<EMPLOYEE:E-123456>\"");
    assert_shown(&o, "E-123456 (M\xC3\x9CLLER)", "<EMPLOYEE:E-123456> (M\xC3\x9CLLER)");
    assert_shown(&o, "employee ................................................................................. E-123456", "employee ................................................................................. E-123456");
    o.least[GUARD_OWN] = 40;
    assert_shown(&o, "E-123456", "<EMPLOYEE:E-123456>");
    o.least[GUARD_OWN + 1] = 101;
    assert_shown(&o, "A1234x", "A1234x");
}

static void more_matches_than_a_text_should_have_are_an_error(void **state)
{
    (void)state;
    struct guard_own own = { .name = S("ANY_LETTER"), .pattern = S("x") };
    struct guard_options o = { .own = &own, .n_own = 1 };
    struct guard_finder *f;
    struct guard_span *s;
    struct arena a;
    size_t n;
    enum { N = 20000 };
    char *text = malloc(N);
    memset(text, 'x', N);
    arena_init(&a, 64 << 20);
    assert_int_equal(guard_finder_new(&o, &f), ERR_OK);
    assert_int_equal(guard_find(f, &a, str_slice(text, N), &s, &n), ERR_LIMIT);
    assert_int_equal(guard_find(f, &a, str_slice(text, 10000), &s, &n), ERR_OK);
    assert_int_equal(n, 10000);
    guard_finder_free(f);
    arena_free(&a);
    free(text);
}

/* ---- a request ---- */

static enum err find(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n) { return guard_find(ctx, a, text, out, n); }

static void own_types_are_masked_and_restored(void **state)
{
    (void)state;
    static const str words[] = { S("Nachtfalke") };
    static const struct guard_own own[] = { { .name = S("PROJECT_1"), .words = words, .n_words = 1 }, { .name = S("EMPLOYEE"), .pattern = S("E-\\d{6}"), .context = staff, .n_context = 3 } };
    struct guard_finder *f;
    struct shelf shelf;
    struct arena a;
    struct vault *vault;
    struct guard_verdict v;
    struct restore_set set = { 0 };
    struct mask_report report;
    struct buf b = { .max = 1 << 16 };
    size_t found[GUARD_N_TYPES];
    arena_init(&a, 64 << 20);
    struct vault_store store = shelf_open(&shelf);
    assert_int_equal(guard_finder_new(&(struct guard_options){ .own = own, .n_own = 2 }, &f), ERR_OK);
    assert_int_equal(vault_open(&a, &store, &(struct seal_key){ { 3 } }, 1, &vault), ERR_OK);
    const struct guard_search search = { find, f, vault, STR_NONE, f };
    const struct guard_policy policy = guard_policy_join(NULL, 0);
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Nachtfalke and NACHTFALKE: employee E-123456\"}]}";
    assert_int_equal(guard_scan(&a, &search, S(body), NULL, &v), ERR_OK);
    guard_count(&v, &policy, found);
    assert_true(found[GUARD_OWN] == 2 && found[GUARD_OWN + 1] == 1);
    assert_int_equal(guard_mask(&a, vault, &policy, &(struct mask_job){ .names = f }, &v, &set, &b, &report), ERR_OK);
    char *out = arena_cstr(&a, buf_str(&b));
    char *one = strstr(out, "[PROJECT_1_"), *two = one ? strstr(one + 1, "[PROJECT_1_") : NULL, *three = strstr(out, "[EMPLOYEE_");
    assert_true(one && two && three && !strstr(out, "achtfalke") && !strstr(out, "123456"));
    /* spellings share the stem */
    assert_memory_equal(one, two, 16);
    assert_true(one[16] == ']' && two[16] == '-');
    str back;
    assert_int_equal(restore_text(&a, &set, str_of(out), &back, NULL), ERR_OK);
    assert_true(str_eq(back, S(body)));
    /* in a later turn it is none of what is found; of another order of types the name is what counts */
    str stem = str_slice(one + 1, 15);
    assert_true(placeholder_may_be_stem(stem) && placeholder_is_stem(f, stem) && !placeholder_is_stem(NULL, stem));
    struct vault_token t;
    assert_int_equal(vault_ask_token(vault, &a, &(struct vault_ask){ .type = GUARD_OWN + 7, .name = S("PROJECT_1"), .value = S("Nachtfalke"), .keep = true }, &t), ERR_OK);
    assert_true(str_eq(t.text, stem));
    assert_int_equal(vault_ask_token(vault, &a, &(struct vault_ask){ .type = GUARD_OWN, .name = S("OTHER"), .value = S("Nachtfalke"), .keep = true }, &t), ERR_OK);
    assert_true(str_starts(t.text, S("OTHER_")));
    assert_int_equal(vault_ask_token(vault, &a, &(struct vault_ask){ .type = GUARD_OWN, .value = S("Nachtfalke"), .keep = true }, &t), ERR_RANGE);
    struct restore_entry r;
    assert_int_equal(vault_value(vault, &a, STR_NONE, stem, &r), ERR_OK);
    assert_true(str_eq(r.value, S("Nachtfalke")) && r.type == GUARD_OWN);
    buf_free(&b);
    vault_close(vault);
    guard_finder_free(f);
    shelf_close(&shelf);
    arena_free(&a);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_that_is_none_says_what_to_write),
        cmocka_unit_test(a_match_is_what_it_is_in_the_whole_text),
        cmocka_unit_test(no_pattern_costs_more_than_the_text),
        cmocka_unit_test(words_of_a_type_stand_whole_in_any_case),
        cmocka_unit_test(thousands_of_words_are_all_found),
        cmocka_unit_test(what_cannot_be_looked_for_is_refused),
        cmocka_unit_test(a_pattern_counts_by_the_words_around_it),
        cmocka_unit_test(more_matches_than_a_text_should_have_are_an_error),
        cmocka_unit_test(own_types_are_masked_and_restored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
