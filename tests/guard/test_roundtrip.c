/* presidio#1151 on labelled documents, where they lie beside the repository: each document as a message, as the arguments of a tool, as an object of
 * arguments, and as JSON within JSON; masked with the finder as it is, restored at every split of the stream. What went out comes back in a later turn
 * where it is not restored: then every placeholder of it stays. */
#include "shelf.h"

#include "guard/mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena mem, doc_mem;
static struct guard_finder *finder;

static enum err find(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n) { return guard_find(ctx, a, text, out, n); }

static str quoted(str s)
{
    struct buf b;
    struct json_out o;
    buf_init(&b, 1 << 20);
    json_out_init(&o, &b);
    json_put_str(&o, s);
    str q = arena_str(&doc_mem, buf_str(&b));
    buf_free(&b);
    return q;
}

static str body_of(str text, int shape)
{
    str q = quoted(text), object = arena_printf(&doc_mem, "{\"v\":%.*s}", STR_ARG(q));
    switch (shape) {
    case 0: return arena_printf(&doc_mem, "{\"messages\":[{\"role\":\"user\",\"content\":%.*s}]}", STR_ARG(q));
    case 1: return arena_printf(&doc_mem, "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":%.*s}}]}]}", STR_ARG(quoted(object)));
    case 2: return arena_printf(&doc_mem, "{\"messages\":[{\"content\":[{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":%.*s}]}]}", STR_ARG(object));
    default: {
        str inner = quoted(object);
        return arena_printf(&doc_mem, "{\"messages\":[{\"role\":\"tool\",\"content\":%.*s}]}", STR_ARG(quoted(arena_printf(&doc_mem, "[%.*s]", STR_ARG(inner)))));
    }
    }
}

static void restores_at_every_split(const struct restore_set *set, str masked, str text)
{
    for (size_t i = 0; i <= masked.n; i++) {
        struct restorer r;
        struct buf out;
        restorer_init(&r, set);
        buf_init(&out, 1 << 20);
        assert_int_equal(restorer_feed(&r, (str){ masked.p, i }, false, &out), ERR_OK);
        assert_int_equal(restorer_feed(&r, str_skip(masked, i), true, &out), ERR_OK);
        if (!str_eq(buf_str(&out), text))
            print_error("split at %zu: %.*s\n  masked %.*s\n  back   %.*s\n", i, STR_ARG(text), STR_ARG(masked), STR_ARG(buf_str(&out)));
        assert_true(str_eq(buf_str(&out), text));
        buf_free(&out);
        restorer_free(&r);
    }
}

static size_t round_trip(struct vault *vault, const struct guard_policy *p, str body)
{
    const struct guard_search search = { .find = find, .ctx = finder, .vault = vault };
    struct guard_verdict v, again;
    struct restore_set set = { 0 };
    struct mask_report report;
    struct buf out;
    size_t changed = 0;
    buf_init(&out, 4 << 20);
    assert_int_equal(guard_scan(&doc_mem, &search, body, NULL, &v), ERR_OK);
    assert_int_equal(guard_mask(&doc_mem, vault, p, &(struct mask_job){ 0 }, &v, &set, &out, &report), ERR_OK);
    for (size_t i = 0; i < v.walk.n; i++)
        restores_at_every_split(&set, v.walk.texts[i].to.p ? v.walk.texts[i].to : v.walk.texts[i].text, v.walk.texts[i].text);
    if (!p->rules.types[GUARD_EMAIL].surrogate) {       /* those have the form of what is searched for, and are masked as it is */
        struct buf twice;
        struct restore_set none = { 0 };
        struct mask_report second;
        buf_init(&twice, 4 << 20);
        assert_int_equal(guard_scan(&doc_mem, &search, buf_str(&out), NULL, &again), ERR_OK);
        assert_int_equal(guard_mask(&doc_mem, vault, p, &(struct mask_job){ 0 }, &again, &none, &twice, &second), ERR_OK);
        for (size_t i = 0; i < report.n; i++)
            changed += str_find(buf_str(&twice), report.notes[i].token) == twice.n;
        buf_free(&twice);
    }
    buf_free(&out);
    return changed;
}

static void every_labelled_document_comes_back(void **state)
{
    (void)state;
    FILE *f = fopen("../shared/pii/dev.jsonl", "r");
    if (!f)
        skip();
    static struct shelf shelf;
    char *line = NULL;
    size_t cap = 0, docs = 0, changed = 0;
    struct vault *vault = NULL;
    const struct seal_key key = { { 5 } };
    arena_init(&mem, 64 << 20);
    arena_init(&doc_mem, 256 << 20);
    assert_int_equal(guard_finder_new(NULL, &finder), ERR_OK);
    for (ssize_t n; (n = getline(&line, &cap, f)) > 0; docs++) {
        if (docs % 200 == 0) {                          /* the array of the test's store is small */
            vault_close(vault);
            shelf_close(&shelf);
            arena_reset(&mem);
            struct vault_store s = shelf_open(&shelf);
            assert_int_equal(vault_open(&mem, &s, &key, 1, &vault), ERR_OK);
        }
        json root;
        str text;
        arena_reset(&doc_mem);
        assert_int_equal(json_parse(&doc_mem, (str){ line, (size_t)n }, &JSON_DEFAULT_LIMITS, &root, NULL), ERR_OK);
        assert_int_equal(json_text(&doc_mem, json_member(root, S("text")), &text), ERR_OK);
        for (int k = 0; k < 2; k++) {                   /* two of the four forms, in turn */
            int shape = (int)(docs + (size_t)k) % 4;
            struct guard_rules r = { 0 };
            const struct guard_rules *list[] = { &r };
            for (int t = 0; t < GUARD_N_TYPES; t++)
                r.types[t] = (struct guard_type_rule){ .surrogate = k, .restore = GUARD_RESTORE };
            struct guard_policy p = guard_policy_join(list, 1);
            changed += round_trip(vault, &p, body_of(text, shape));
        }
    }
    print_message("%zu documents, 2 bodies each: restored; %zu placeholders lost when masked again\n", docs, changed);
    assert_true(docs > 0 && changed == 0);
    vault_close(vault);
    shelf_close(&shelf);
    guard_finder_free(finder);
    arena_free(&doc_mem);
    arena_free(&mem);
    free(line);
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_labelled_document_comes_back) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
