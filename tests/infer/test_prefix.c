/* The index of beginnings against a search by hand, and its own rules. */
#include "infer/prefix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

enum { CAP = 300, LONGEST = 12 };

struct owned { struct prefix_entry e; int32_t tokens[LONGEST]; bool in; };

static uint32_t seed = 20261125;
static uint32_t next(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static void fill(struct owned *o)
{
    o->e = (struct prefix_entry){ .owner = next(3), .tokens = o->tokens, .n = 1 + next(LONGEST) };
    for (size_t i = 0; i < o->e.n; i++)
        o->tokens[i] = (int32_t)next(3);
}

static size_t longest_by_hand(const struct owned *all, const struct prefix_entry *q, size_t *how_many)
{
    size_t best = 0;
    for (int pass = 0; pass < 2; pass++) {
        *how_many = 0;
        for (size_t i = 0; i < CAP; i++) {
            if (!all[i].in || all[i].e.owner != q->owner)
                continue;
            size_t n = prefix_common(all[i].tokens, all[i].e.n, q->tokens, q->n);
            best = n > best ? n : best;
            *how_many += n == best;
        }
    }
    return best;
}

static void a_search_finds_what_a_search_by_hand_finds(void **state)
{
    (void)state;
    static struct owned all[CAP];
    static struct prefix_entry *list[CAP];
    struct prefix_index x = { .list = list, .cap = CAP };
    for (int round = 0; round < 4000; round++) {
        struct owned *o = &all[next(CAP)], query;
        if (o->in) {
            prefix_remove(&x, &o->e);
        } else {
            fill(o);
            assert_int_equal(prefix_add(&x, &o->e), ERR_OK);
        }
        o->in = !o->in;
        fill(&query);
        query.e.tokens = query.tokens;
        size_t how_many, best = longest_by_hand(all, &query.e, &how_many);
        struct prefix_match m = prefix_find(&x, query.e.owner, query.tokens, query.e.n);
        assert_int_equal(m.n, best);
        if (best)
            assert_int_equal(m.end - m.first, how_many);
        for (size_t i = m.first; i < m.end; i++) {
            assert_int_equal(list[i]->owner, query.e.owner);
            assert_int_equal(prefix_common(list[i]->tokens, list[i]->n, query.tokens, query.e.n), best);
        }
    }
}

static void a_full_list_is_busy_and_unchanged(void **state)
{
    (void)state;
    struct prefix_entry *list[2], e[3];
    static const int32_t tokens[] = { 1, 2, 3 };
    struct prefix_index x = { .list = list, .cap = 2 };
    for (int i = 0; i < 3; i++) {
        e[i] = (struct prefix_entry){ .owner = 1, .tokens = tokens, .n = (size_t)i + 1 };
        assert_int_equal(prefix_add(&x, &e[i]), i < 2 ? ERR_OK : ERR_BUSY);
    }
    assert_int_equal(x.n, 2);
    prefix_remove(&x, &e[0]);
    assert_int_equal(prefix_add(&x, &e[2]), ERR_OK);
    assert_int_equal(prefix_find(&x, 1, tokens, 3).n, 3);
}

static void of_equal_entries_the_right_one_is_removed(void **state)
{
    (void)state;
    struct prefix_entry *list[4], e[3];
    static const int32_t tokens[] = { 5, 6 };
    struct prefix_index x = { .list = list, .cap = 4 };
    for (int i = 0; i < 3; i++) {
        e[i] = (struct prefix_entry){ .owner = 9, .tokens = tokens, .n = 2 };
        assert_int_equal(prefix_add(&x, &e[i]), ERR_OK);
    }
    prefix_remove(&x, &e[1]);
    assert_int_equal(x.n, 2);
    assert_true(list[0] != &e[1] && list[1] != &e[1]);
}

static void owners_do_not_see_each_other(void **state)
{
    (void)state;
    struct prefix_entry *list[2];
    static const int32_t tokens[] = { 1, 2, 3, 4 };
    struct prefix_index x = { .list = list, .cap = 2 };
    struct prefix_entry e = { .owner = 7, .tokens = tokens, .n = 4 };
    assert_int_equal(prefix_add(&x, &e), ERR_OK);
    assert_int_equal(prefix_find(&x, 7, tokens, 4).n, 4);
    assert_int_equal(prefix_find(&x, 6, tokens, 4).n, 0);
    assert_int_equal(prefix_find(&x, 8, tokens, 4).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_finds_what_a_search_by_hand_finds),
        cmocka_unit_test(a_full_list_is_busy_and_unchanged),
        cmocka_unit_test(of_equal_entries_the_right_one_is_removed),
        cmocka_unit_test(owners_do_not_see_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
