/* Texts of files sanitized and restored, over an array for the vault: by kind, in pieces, with too little memory. */
#include "shelf.h"

#include "guard/sanitize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct shelf shelf;
static struct arena mem, work;
static struct vault *vault;
static struct guard_finder *finder;

/* What the finder finds, or all between "<" and ">", whatever lies there. */
static enum err find(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n)
{
    size_t from = str_index(text, '<'), to = str_index(text, '>');
    if (to == text.n || from > to)
        return guard_find(ctx, a, text, out, n);
    *n = 1;
    *out = arena_new(a, struct guard_span, 1);
    if (*out)
        **out = (struct guard_span){ .begin = from, .end = to + 1, .type = GUARD_CUSTOM, .score = 100 };
    return *out ? ERR_OK : ERR_LIMIT;
}
static enum err put(void *ctx, str bytes) { return buf_put(ctx, bytes); }

static int setup(void **state)
{
    (void)state;
    const struct seal_key key = { { 7 } };
    struct vault_store store = shelf_open(&shelf);
    arena_init(&mem, 64 << 20);
    arena_init(&work, 64 << 20);
    return vault_open(&mem, &store, &key, 1, &vault) || guard_finder_new(NULL, &finder);
}

static int teardown(void **state)
{
    (void)state;
    vault_close(vault);
    guard_finder_free(finder);
    arena_free(&mem);
    arena_free(&work);
    shelf_close(&shelf);
    return 0;
}

/* In pieces of `step` bytes; 0: at once. */
static enum err sanitize(enum sanitize_kind kind, str text, size_t step, struct arena *a, struct buf *out, struct sanitizer *s)
{
    const struct guard_search search = { .find = find, .ctx = finder, .vault = vault };
    struct guard_rules keep = { 0 };
    keep.types[GUARD_SECRET].restore = GUARD_RESTORE;
    const struct guard_rules *rules[] = { &keep };
    const struct guard_policy policy = guard_policy_join(rules, 1);
    struct buf piece = { .max = 1 << 20 };
    enum err e = ERR_OK;
    *s = (struct sanitizer){ .search = &search, .policy = &policy, .kind = kind, .put = put, .ctx = out };
    for (size_t at = 0; at < text.n && !e;) {
        size_t n = step && step < text.n - at ? step : text.n - at;
        assert_int_equal(buf_put(&piece, (str){ text.p + at, n }), ERR_OK);
        at += n;
        e = sanitizer_run(s, a, &piece, at == text.n);
        arena_reset(a);
    }
    if (!e)
        assert_int_equal(piece.n, 0);
    else if (!s->started && !step)
        assert_true(str_eq(buf_str(&piece), text));
    buf_free(&piece);
    return e;
}

static void comes_back(str masked, str text, size_t step)
{
    struct buf piece = { .max = 1 << 20 }, out = { .max = 1 << 20 };
    struct sanitize_restorer r = { .vault = vault, .put = put, .ctx = &out };
    for (size_t at = 0; at < masked.n;) {
        size_t n = step < masked.n - at ? step : masked.n - at;
        assert_int_equal(buf_put(&piece, (str){ masked.p + at, n }), ERR_OK);
        at += n;
        assert_int_equal(sanitize_restore(&r, &work, &piece, at == masked.n), ERR_OK);
    }
    if (!str_eq(buf_str(&out), text))
        print_error("wanted %.*s\ngot    %.*s\n", STR_ARG(text), STR_ARG(buf_str(&out)));
    assert_true(str_eq(buf_str(&out), text));
    buf_free(&out);
    buf_free(&piece);
}

static const struct { enum sanitize_kind kind; const char *text, *gone, *stays; } cases[] = {
    { SANITIZE_TEXT, "write to maria.keller@quarzwerk.de now\n", "keller", "write to [EMAIL_" },
    { SANITIZE_TEXT, "C:\\temp\\n maria.keller@quarzwerk.de", "keller", "C:\\temp\\n [EMAIL_" },
    { SANITIZE_TEXT, "Jos\xE9 maria.keller@quarzwerk.de \xF0\x9F", "keller", "Jos\xE9 [EMAIL_" },
    { SANITIZE_TEXT, "see [EMAIL_aaaaa] and [EMAIL_", "", "see [EMAIL_aaaaa] and [EMAIL_" },
    { SANITIZE_TEXT, "a \xEE\x81\x9C b \xEE\x81\x9D maria.keller@quarzwerk.de", "keller", "a \xEE\x81\x9C b" },
    { SANITIZE_CODE, "x = \"\\nmaria.keller@quarzwerk.de\\n\" # \\q \\", "keller", "x = \"\\n[EMAIL_" },
    { SANITIZE_CODE, "mail = \"maria.keller\\u0040quarzwerk.de\"", "quarzwerk", "mail = \"[EMAIL_" },
    { SANITIZE_JSON, "{\"card\": 4111111111111111, \"n\": 4.5}", "4111111111111111", "\", \"n\": 4.5}" },
    { SANITIZE_JSON, "{\"phone\":\"+49 151 23456789\\nmaria.keller@quarzwerk.de\"}", "keller", "\\n[EMAIL_" },
    { SANITIZE_JSON, "{\"name\": \"Ren\\u00e9e Lindqvist\", \"ok\": true}", "00e9", "\"ok\": true}" },
    { SANITIZE_JSON, "{\"full_name\": \"Zo\\u00eb M\\u00fcller\", \"x\": null}", "00fc", "\"x\": null}" },
    { SANITIZE_JSON, "{\"a\":\"<x\",\"b\": true, \"c\" : [1234567,2.5] ,\"d\":\"y>\"}", "1234567", ",\"" },
    { SANITIZE_TABLE, "name,email\nMaria Keller,maria.keller@quarzwerk.de\n", "Keller", "name,email\n" },
};

static void each_kind_is_masked_and_comes_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = { .max = 1 << 20 };
        struct sanitizer s;
        str text = str_of(cases[i].text);
        assert_int_equal(sanitize(cases[i].kind, text, 0, &work, &out, &s), ERR_OK);
        str masked = buf_str(&out);
        if ((*cases[i].gone && str_find(masked, str_of(cases[i].gone)) < masked.n) || str_find(masked, str_of(cases[i].stays)) == masked.n)
            fail_msg("%s came to %.*s", cases[i].text, STR_ARG(masked));
        for (size_t step = 1; step <= masked.n; step += step < 8 ? 1 : 37)
            comes_back(masked, text, step);
        comes_back(masked, text, masked.n);
        buf_free(&out);
    }
}

static void pieces_lose_nothing(void **state)
{
    (void)state;
    static const char line[] = "\"Maria Keller\",maria.keller@quarzwerk.de,+49 151 23456789,\"Hauptstra\xC3\x9F" "e 5, 10115 Berlin\"\n";
    for (int kind = 0; kind < SANITIZE_KINDS; kind++) {
        struct buf text = { .max = 1 << 20 };
        assert_int_equal(buf_put(&text, S("name,email,phone,address\n")), ERR_OK);
        for (int i = 0; i < 60; i++)
            assert_int_equal(buf_put(&text, S(line)), ERR_OK);
        static const size_t steps[] = { 0, 7, 64, 333, 4000 };
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            struct buf out = { .max = 1 << 20 };
            struct sanitizer s;
            assert_int_equal(sanitize((enum sanitize_kind)kind, buf_str(&text), steps[i], &work, &out, &s), ERR_OK);
            comes_back(buf_str(&out), buf_str(&text), 97);
            if (steps[i] == 0 || steps[i] > 300)
                assert_int_equal(str_find(buf_str(&out), S("maria.keller@")), out.n);
            buf_free(&out);
        }
        buf_free(&text);
    }
}

static void too_little_memory_leaves_the_text_as_it_was(void **state)
{
    (void)state;
    const char *text = "{\"name\": \"Ren\\u00e9e Lindqvist\", \"mail\": \"a.b\\u0040quarzwerk.de\", \"s\": \"\\ud83d\\ude00 \\\"x\\\"\"}";
    for (size_t limit = 0;; limit += 64) {
        char *p = malloc(limit + 1);
        struct arena a = { .base = p, .at = p, .end = p + limit };
        struct buf out = { .max = 1 << 20 };
        struct sanitizer s;
        enum err e = sanitize(SANITIZE_JSON, str_of(text), 0, &a, &out, &s);
        free(p);
        if (e == ERR_OK)
            comes_back(buf_str(&out), str_of(text), 5);
        buf_free(&out);
        if (e == ERR_OK)
            break;
        assert_int_equal(e, ERR_LIMIT);
        assert_false(s.started);
        assert_true(limit < 1 << 20);
    }
}

static void a_vault_that_fails_is_an_error(void **state)
{
    (void)state;
    struct buf out = { .max = 1 << 20 };
    struct sanitizer s;
    shelf.fail_after = 0;
    assert_int_equal(sanitize(SANITIZE_TEXT, S("mail someone.new@quarzwerk.de"), 0, &work, &out, &s), ERR_STORE);
    shelf.fail_after = SIZE_MAX;
    buf_free(&out);
}

static void kinds_are_told_by_name_and_beginning(void **state)
{
    (void)state;
    static const struct { const char *name, *head; enum sanitize_kind kind; } files[] = {
        { "a.JSON", "", SANITIZE_JSON }, { "a.ipynb", "x", SANITIZE_JSON }, { "-", " {\n \"a\"", SANITIZE_JSON }, { "-", "[2024-01-01] x", SANITIZE_TEXT }, { "-", "{", SANITIZE_TEXT },
        { "a.tsv", "", SANITIZE_TABLE }, { "a.py", "{\"", SANITIZE_CODE },  { ".c", "", SANITIZE_TEXT },          { "x.log", "{\"a\"", SANITIZE_TEXT },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_int_equal(sanitize_kind_of(str_of(files[i].name), str_of(files[i].head)), files[i].kind);
    assert_true(sanitize_is_binary((str){ "a\0b", 3 }));
    assert_false(sanitize_is_binary(S("text")));
    assert_false(sanitize_is_binary(STR_NONE));
    assert_string_equal(sanitize_kind_name(SANITIZE_TABLE), "table");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_kind_is_masked_and_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(pieces_lose_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(too_little_memory_leaves_the_text_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(a_vault_that_fails_is_an_error, setup, teardown),
        cmocka_unit_test(kinds_are_told_by_name_and_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
