/* The finder's contract, and every type by tables of what is found and what is left alone. */
#include "guard/find.h"
#include "guard/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct guard_finder *finder, *plain;

/* `text` with each span as <TYPE:value>, in memory of the caller's arena. */
static str shown(struct arena *a, const struct guard_finder *f, str text)
{
    struct guard_span *s = NULL;
    size_t n = 0, at = 0;
    str out = S("");
    assert_int_equal(guard_find(f, a, text, &s, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        out = arena_printf(a, "%.*s%.*s<%s:%.*s>", STR_ARG(out), (int)(s[i].begin - at), text.p + at, guard_type_name(s[i].type), (int)(s[i].end - s[i].begin),
                           text.p + s[i].begin);
        at = s[i].end;
    }
    return arena_printf(a, "%.*s%.*s", STR_ARG(out), (int)(text.n - at), text.p + at);
}

/* Each text is written with its spans marked; both forms of the scan must find exactly these. */
static void assert_found(const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct arena a;
        arena_init(&a, 1 << 22);
        char *text = arena_cstr(&a, str_of(texts[i])), *to = text;
        for (const char *from = texts[i]; *from; from++) {
            if (*from == '<' && from[1] >= 'A' && from[1] <= 'Z' && strchr(from, ':'))
                from = strchr(from, ':');
            else if (*from != '>')
                *to++ = *from;
        }
        *to = '\0';
        const struct guard_finder *both[] = { finder, plain };
        for (int k = 0; k < 2; k++) {
            char *got = arena_cstr(&a, shown(&a, both[k], str_of(text)));
            assert_string_equal(got, texts[i]);
        }
        arena_free(&a);
    }
}
#define FOUND(...) assert_found((const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void addresses_of_mail_are_found_but_not_those_of_nobody(void **state)
{
    (void)state;
    FOUND("write to <EMAIL:ada.lovelace+x@analytical.co.uk>.", "\"<EMAIL:a_b-c@d-e.io>\"", "?to=<EMAIL:maria%40keller.de>&x=1", "<EMAIL:jörg@müller.de>", "mailto:<EMAIL:x1@y2.org>;",
          "alice@example.org", "a@b", "@handle", "checkout@v4", "icon@2x.png", "a@mail.example.com", "x@y.test", "git@github.com", "left-pad@1.3.0", "a@b.c", "@@@@a@");
}

static void a_text_is_refused_rather_than_half_read(void **state)
{
    (void)state;
    struct guard_options o = { .max_bytes = 8 };
    struct guard_finder *f;
    struct guard_span *s;
    struct arena a;
    size_t n;
    arena_init(&a, 1 << 20);
    assert_int_equal(guard_find(finder, &a, S("a\xFF b"), &s, &n), ERR_SYNTAX);
    assert_int_equal(guard_finder_new(&o, &f), ERR_OK);
    assert_int_equal(guard_find(f, &a, S("12345678"), &s, &n), ERR_OK);
    assert_int_equal(guard_find(f, &a, S("123456789"), &s, &n), ERR_LIMIT);
    guard_finder_free(f);
    for (size_t limit = 0;; limit++) {
        char *mem = malloc(limit ? limit : 1);
        struct arena small = { .base = mem, .at = mem, .end = mem + limit };
        enum err e = guard_find(finder, &small, S("mail a@b.de"), &s, &n);
        free(mem);
        if (e == ERR_OK)
            break;
        assert_int_equal(e, ERR_LIMIT);
    }
    for (size_t k = 0;; k++) {
        memory_fail_after(k);
        enum err e = guard_finder_new(NULL, &f);
        memory_fail_after(SIZE_MAX);
        if (e == ERR_OK)
            break;
        assert_int_equal(e, ERR_MEMORY);
    }
    guard_finder_free(f);
    arena_free(&a);
}

static void both_forms_of_the_scan_agree(void **state)
{
    (void)state;
    if (!scan_has_avx2())
        skip();
    uint32_t seed = 7;
    static const char few[] = "aZ09_-@:= .\xC3\xA9\n";
    static char text[3 * SCAN_CHUNK];
    static uint16_t x[SCAN_CHUNK], y[SCAN_CHUNK];
    for (int round = 0; round < 300; round++) {
        struct scan s = { 0 }, t = { 0 };
        size_t n = round < 200 ? (size_t)round : sizeof text - (size_t)round;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = round & 1 ? (char)(seed >> 24) : seed >> 30 ? 'k' : few[(seed >> 16) % (sizeof few - 1)];
        }
        for (size_t at = 0; at < n; at += SCAN_CHUNK) {
            size_t part = n - at < SCAN_CHUNK ? n - at : SCAN_CHUNK, found = scan_plain(&s, text + at, part, x);
            assert_int_equal(scan_avx2(&t, text + at, part, y), found);
            assert_memory_equal(x, y, found * sizeof *x);
        }
    }
}

static void every_rule_and_type_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int t = 0; t < GUARD_N_TYPES; t++)
        for (int u = 0; u < t; u++)
            assert_string_not_equal(guard_type_name((enum guard_type)t), guard_type_name((enum guard_type)u));
    assert_string_equal(guard_type_name(GUARD_N_TYPES), "");
    assert_string_equal(guard_rule_name(0), "");
    assert_string_equal(guard_rule_name(1), "email");
    assert_string_equal(guard_rule_name(UINT16_MAX), "");
}

static int setup(void **state)
{
    (void)state;
    struct guard_options o = { .scalar = true };
    return guard_finder_new(NULL, &finder) != ERR_OK || guard_finder_new(&o, &plain) != ERR_OK;
}

static int teardown(void **state)
{
    (void)state;
    guard_finder_free(finder);
    guard_finder_free(plain);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_mail_are_found_but_not_those_of_nobody),
        cmocka_unit_test(a_text_is_refused_rather_than_half_read),
        cmocka_unit_test(both_forms_of_the_scan_agree),
        cmocka_unit_test(every_rule_and_type_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
