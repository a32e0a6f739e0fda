/* The tagger: what only it finds, what it leaves alone, that it can be switched off and obeys thresholds, and that what it remembers changes nothing. */
#include "guard/find.h"
#include "guard/tagger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct guard_finder *finder, *plain, *rules;

/* `text` with each span as <rule:value>, in memory of the caller's arena. */
static str shown(struct arena *a, const struct guard_finder *f, str text)
{
    struct guard_span *s = NULL;
    size_t n = 0, at = 0;
    str out = S("");
    assert_int_equal(guard_find(f, a, text, &s, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        assert_in_range(s[i].score, GUARD_SCORE_LEAST, 100);
        out = arena_printf(a, "%.*s%.*s<%s:%.*s>", STR_ARG(out), (int)(s[i].begin - at), text.p + at,
                           guard_rule_name(s[i].rule), (int)(s[i].end - s[i].begin), text.p + s[i].begin);
        at = s[i].end;
    }
    return arena_printf(a, "%.*s%.*s", STR_ARG(out), (int)(text.n - at), text.p + at);
}

/* Both forms of the scan find in `marked` what is marked in it; without the tagger there is nothing. */
static void only_the_tagger_finds(const char *marked)
{
    struct arena a;
    arena_init(&a, 1 << 22);
    char *text = arena_cstr(&a, str_of(marked)), *to = text;
    for (const char *from = marked; *from; from++) {
        size_t rule = *from == '<' ? strspn(from + 1, "abcdefghijklmnopqrstuvwxyz_") : 0;
        if (rule && from[1 + rule] == ':')
            from += 1 + rule;
        else if (*from != '>')
            *to++ = *from;
    }
    *to = '\0';
    const struct guard_finder *const both[] = { finder, plain };
    for (int k = 0; k < 2; k++)
        assert_string_equal(arena_cstr(&a, shown(&a, both[k], str_of(text))), marked);
    assert_string_equal(arena_cstr(&a, shown(&a, rules, str_of(text))), text);
    arena_free(&a);
}

static void names_that_nothing_else_tells_are_found(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "Written by <person_tagger:Torbjorn Granlund>.",
        "# Modified by <person_tagger:Jeffrey Yasskin>, April 2003",
        "Gestern hat <person_tagger:Wenzel Vorkamp> den Vertrag geschickt.",
        "Автор: <person_tagger:Дмитрий Соколов>",
        "昨日、<person_tagger:佐藤美咲>さんから電話がありました。",
        "회의록 담당자: <person_tagger:김서연>, 참석자: <person_tagger:박민준>",
        "住所は<address_tagger:東京都新宿区西新宿2丁目8番1号>です。",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        only_the_tagger_finds(texts[i]);
}

static void capitals_that_name_nobody_are_left_alone(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "The Jacobian transform of a matrix. See Link Status and Carry Flag.",
        "Set N bytes of S to C.  Returns None if it is False.",
        "Written by Torvane Softworks Inc. for Freescale Semiconductor, Inc.",
        "See Terms of Use and Privacy Policy. Dear Customer, Hello World",
        "from Foo.Bar import Torbjorn_Granlund, Torbjorn.Granlund(x), /Torbjorn/Granlund, Torbjorn::Granlund, TorbjornGranlund",
        "설정을 변경하고 저장한 다음 종료합니다.",
        "ファイルが見つかりません。設定を変更してください。",
        "如果不指定选项，则显示默认值。",
        "Datei nicht gefunden. Neue Einstellungen speichern?",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        only_the_tagger_finds(texts[i]);
}

static void what_it_finds_is_found_again_but_not_in_small_letters(void **state)
{
    (void)state;
    only_the_tagger_finds(
        "Written by <person_tagger:Torbjorn Granlund>.\n\nzzz (<person_again:TORBJORN GRANLUND>) zzz torbjorn granlund zzz\n");
}

static void what_is_known_is_not_found_twice(void **state)
{
    (void)state;
    static const struct guard_word allow[] = { { S("Torbjorn Granlund"), GUARD_PERSON } }, deny[] = { { S("Granlund"), GUARD_CUSTOM } };
    static const struct guard_options allowed = { .allow = allow, .n_allow = 1 },
                                      denied = { .deny = deny, .n_deny = 1 };
    static const struct {
        const struct guard_options *o;
        const char *found;
    } cases[] = {
        {&allowed, "Written by Torbjorn Granlund."         },
        { &denied, "Written by Torbjorn <custom:Granlund>."},
    };
    for (size_t i = 0; i < 2; i++) {
        struct guard_finder *f;
        struct arena a;
        arena_init(&a, 1 << 20);
        assert_int_equal(guard_finder_new(cases[i].o, &f), ERR_OK);
        assert_string_equal(arena_cstr(&a, shown(&a, f, S("Written by Torbjorn Granlund."))), cases[i].found);
        guard_finder_free(f);
        arena_free(&a);
    }
}

static size_t found_with(unsigned least, const char *text)
{
    struct guard_options o = { .least = { [GUARD_PERSON] = (uint8_t)least } };
    struct guard_finder *f;
    struct guard_span *s = NULL;
    struct arena a;
    size_t n = 0;
    arena_init(&a, 1 << 20);
    assert_int_equal(guard_finder_new(&o, &f), ERR_OK);
    assert_int_equal(guard_find(f, &a, str_of(text), &s, &n), ERR_OK);
    guard_finder_free(f);
    arena_free(&a);
    return n;
}

static void thresholds_of_types_hold_for_it(void **state)
{
    (void)state;
    static const char text[] = "[12:04] Wenzel: where is the invoice?\nI think Ottoline will bring the slides. See Kayvan Aghaiepour.\n"
                               "Written by Torbjorn Granlund.\nModified by Urs Thuermann, 2003\n";
    size_t all = found_with(31, text), usual = found_with(50, text), sure = found_with(60, text);
    assert_true(all > usual && usual > sure && sure > 0);
    assert_int_equal(found_with(70, text), 0);
    assert_int_equal(found_with(101, text), 0);
}

/* Of a word that was looked up for its neighbour, and of characters that were read for the one before. */
static void what_it_remembers_changes_no_feature(void **state)
{
    (void)state;
    static const char *const parts[] = { "Torbjorn", "Granlund", " ",       " ",    " ",   ", ",   ".\n",    "by",
                                         "Müller",   "Ж",        "Дмитрий", "佐藤", "美",  "さん", "김서연", "é",
                                         "(",        "X.",       "\n\n",    "12",   "von", "–",    "a_B" };
    struct arena a;
    arena_init(&a, 1 << 20);
    const struct words *words = words_new(&a);
    uint32_t seed = 11;
    for (int round = 0; round < 300; round++) {
        char text[2000];
        size_t n = 0;
        for (int i = 0; i < 60; i++) {
            seed = seed * 1664525 + 1013904223;
            str part = str_of(parts[(seed >> 16) % (sizeof parts / sizeof *parts)]);
            memcpy(text + n, part.p, part.n);
            n += part.n;
        }
        char *exact = malloc(n); /* so that ASan sees one byte too many */
        memcpy(exact, text, n);
        struct hunt h = { .words = words, .scan = scan_plain, .p = exact, .n = n };
        struct tagger t, forgetful;
        struct tagger_word x, y;
        size_t end = 0;
        tagger_init(&t, &h);
        tagger_init(&forgetful, &h);
        while (tagger_next(&t, &x)) {
            memset(forgetful.seen, 0, sizeof forgetful.seen);
            forgetful.signs_end = 0;
            assert_true(tagger_next(&forgetful, &y));
            assert_int_equal(x.begin, y.begin);
            assert_int_equal(x.end, y.end);
            assert_memory_equal(x.features, y.features, sizeof x.features);
            assert_true(x.begin >= end && x.end > x.begin && x.end <= n);
            end = x.end;
            int32_t margin;
            t.last = forgetful.last = tagger_tag(&x, &margin);
            t.last_end = forgetful.last_end = x.end;
            assert_true(margin >= 0);
        }
        assert_false(tagger_next(&forgetful, &y));
        free(exact);
    }
    arena_free(&a);
}

static void it_takes_what_memory_there_is_or_says_so(void **state)
{
    (void)state;
    static const char text[] =
        "Written by Torbjorn Granlund and Wenzel Vorkamp, ada@analytical.co.uk. Torbjorn Granlund.";
    for (size_t limit = 0;; limit += 8) {
        struct guard_span *s = NULL;
        struct arena a;
        size_t n = 0;
        arena_init(&a, limit);
        enum err e = guard_find(finder, &a, S(text), &s, &n);
        arena_free(&a);
        if (e == ERR_OK) {
            assert_int_equal(n, 4);
            break;
        }
        assert_int_equal(e, ERR_LIMIT);
    }
}

static int setup(void **state)
{
    (void)state;
    static const struct guard_options scalar = { .scalar = true }, without = { .no_tagger = true };
    return guard_finder_new(NULL, &finder) != ERR_OK || guard_finder_new(&scalar, &plain) != ERR_OK ||
           guard_finder_new(&without, &rules) != ERR_OK;
}

static int teardown(void **state)
{
    (void)state;
    guard_finder_free(finder);
    guard_finder_free(plain);
    guard_finder_free(rules);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_nothing_else_tells_are_found),
        cmocka_unit_test(capitals_that_name_nobody_are_left_alone),
        cmocka_unit_test(what_it_finds_is_found_again_but_not_in_small_letters),
        cmocka_unit_test(what_is_known_is_not_found_twice),
        cmocka_unit_test(thresholds_of_types_hold_for_it),
        cmocka_unit_test(what_it_remembers_changes_no_feature),
        cmocka_unit_test(it_takes_what_memory_there_is_or_says_so),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
