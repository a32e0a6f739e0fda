/* What is done about a call: a table of decisions, and that joining rules only ever tightens. */
#include "core/rand.h"
#include "guard/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void names_go_both_ways(void **state)
{
    (void)state;
    for (int a = GUARD_OFF; a < GUARD_ACTIONS; a++) {
        enum guard_action back;
        assert_true(guard_action_from(str_of(guard_action_name((enum guard_action)a)), &back));
        assert_int_equal(back, a);
    }
    enum guard_action x;
    assert_false(guard_action_from(S(""), &x));
    assert_false(guard_action_from(S("Mask"), &x));
}

static struct guard_policy only(enum guard_action all, enum guard_action unsure, enum guard_action emails)
{
    struct guard_rules r = { .action = all, .unsure = unsure };
    const struct guard_rules *list[] = { NULL, &r };
    r.types[GUARD_EMAIL].action = emails;
    return guard_policy_join(list, 2);
}

enum { LEAVES = 1, PRIVATE = 2, UNSURE = 4, EMAILS = 8, LOCAL = 16 };

static void decisions_follow_the_table(void **state)
{
    (void)state;
#define U GUARD_UNSET
    static const struct {
        enum guard_action all, unsure, emails;
        unsigned bits;
        enum err search;
        enum guard_do what;
        enum err err;
    } cases[] = {
        /* nothing leaves: nothing to decide, whatever is in it */
        { GUARD_BLOCK, U, U, PRIVATE | UNSURE | EMAILS, ERR_LIMIT, GUARD_SEND, ERR_OK },
        /* private stays, whatever is written */
        { GUARD_OFF, U, U, LEAVES | PRIVATE, ERR_OK, GUARD_REFUSE, ERR_PRIVATE },
        { GUARD_OFF, U, U, LEAVES | PRIVATE | LOCAL, ERR_OK, GUARD_STAY, ERR_OK },
        /* the default */
        { U, U, U, LEAVES, ERR_OK, GUARD_SEND_MASKED, ERR_OK },
        { U, U, U, LEAVES | EMAILS, ERR_OK, GUARD_SEND_MASKED, ERR_OK },
        { U, U, U, LEAVES | UNSURE, ERR_OK, GUARD_REFUSE, ERR_PRIVATE },
        { U, U, U, LEAVES | UNSURE | LOCAL, ERR_OK, GUARD_STAY, ERR_OK },
        /* each word */
        { GUARD_OFF, U, U, LEAVES | UNSURE, ERR_OK, GUARD_SEND, ERR_OK },
        { GUARD_DETECT, U, U, LEAVES | UNSURE, ERR_OK, GUARD_SEND, ERR_OK },
        { GUARD_MASK_MODEL, U, U, LEAVES, ERR_OK, GUARD_ASK_MODEL, ERR_OK },
        { GUARD_MASK_MODEL, U, U, LEAVES | UNSURE | LOCAL, ERR_OK, GUARD_STAY, ERR_OK },
        { GUARD_LOCAL, U, U, LEAVES, ERR_OK, GUARD_SEND_MASKED, ERR_OK },
        { GUARD_LOCAL, U, U, LEAVES | EMAILS | LOCAL, ERR_OK, GUARD_STAY, ERR_OK },
        { GUARD_LOCAL, U, U, LEAVES | EMAILS, ERR_OK, GUARD_REFUSE, ERR_PRIVATE },
        { GUARD_BLOCK, U, U, LEAVES | EMAILS | LOCAL, ERR_OK, GUARD_REFUSE, ERR_PRIVATE },
        { GUARD_BLOCK, U, U, LEAVES, ERR_OK, GUARD_SEND_MASKED, ERR_OK },
        { GUARD_BLOCK, U, U, LEAVES | UNSURE | LOCAL, ERR_OK, GUARD_REFUSE, ERR_PRIVATE },
        /* unsure */
        { GUARD_MASK, GUARD_MASK, U, LEAVES | UNSURE, ERR_OK, GUARD_SEND_MASKED, ERR_OK },
        { GUARD_MASK, GUARD_BLOCK, U, LEAVES | UNSURE | LOCAL, ERR_OK, GUARD_REFUSE, ERR_PRIVATE },
        /* a word for one type */
        { GUARD_MASK, U, GUARD_BLOCK, LEAVES | EMAILS | LOCAL, ERR_OK, GUARD_REFUSE, ERR_PRIVATE },
        { GUARD_DETECT, U, GUARD_LOCAL, LEAVES | EMAILS | LOCAL, ERR_OK, GUARD_STAY, ERR_OK },
        { GUARD_DETECT, U, GUARD_MASK, LEAVES | EMAILS, ERR_OK, GUARD_SEND_MASKED, ERR_OK },
        { GUARD_OFF, U, GUARD_MASK, LEAVES | EMAILS, ERR_OK, GUARD_SEND_MASKED, ERR_OK },
        { GUARD_BLOCK, U, GUARD_MASK, LEAVES | EMAILS, ERR_OK, GUARD_SEND_MASKED, ERR_OK },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct guard_policy p = only(cases[i].all, cases[i].unsure, cases[i].emails);
        struct guard_question q = { .leaves = cases[i].bits & LEAVES, .private_data = cases[i].bits & PRIVATE, .unsure = cases[i].bits & UNSURE, .has_local = cases[i].bits & LOCAL,
                                    .search = cases[i].search };
        q.found[GUARD_EMAIL] = cases[i].bits & EMAILS ? 2 : 0;
        struct guard_answer got = guard_decide(&p, &q);
        if (got.what != cases[i].what)
            print_error("case %zu: %d, %s\n", i, got.what, got.why);
        assert_int_equal(got.what, cases[i].what);
        assert_int_equal(got.err, cases[i].err);
        assert_true(got.why[0]);
    }
}

/* BerriAI/litellm#30728: the guard let calls out when its analyzer failed. Whatever the error and the rules, unless the guard is off: nothing leaves. */
static void litellm_30728_an_error_means_that_nothing_leaves(void **state)
{
    (void)state;
    for (int e = ERR_OK + 1; e < ERR_COUNT; e++)
        for (int all = GUARD_UNSET; all < GUARD_ACTIONS; all++)
            for (int unsure = GUARD_UNSET; unsure < GUARD_ACTIONS; unsure++)
                for (int emails = GUARD_UNSET; emails < GUARD_ACTIONS; emails++)
                    for (unsigned bits = 0; bits < 32; bits++) {
                        struct guard_policy p = only((enum guard_action)all, (enum guard_action)unsure, (enum guard_action)emails);
                        struct guard_question q = { .leaves = true, .private_data = bits & PRIVATE, .unsure = bits & UNSURE, .has_local = bits & LOCAL, .search = (enum err)e };
                        q.found[GUARD_EMAIL] = bits & EMAILS;
                        enum guard_do what = guard_decide(&p, &q).what;
                        bool off = !guard_policy_searches(&p) && !q.private_data;
                        assert_int_equal(off, all == GUARD_OFF && emails <= GUARD_OFF && !q.private_data);
                        assert_true(off || what == GUARD_REFUSE || (what == GUARD_STAY && q.has_local));
                    }
}

/* BerriAI/litellm#16919: the guard ran although it was switched off. */
static void litellm_16919_off_is_off(void **state)
{
    (void)state;
    struct guard_policy p = only(GUARD_OFF, GUARD_UNSET, GUARD_UNSET);
    assert_false(guard_policy_searches(&p));
    for (int t = 0; t < GUARD_N_TYPES; t++)
        assert_false(guard_policy_masks(&p, (enum guard_type)t, 100, S("x")));
}

static void thresholds_and_allowed_words_decide_what_counts(void **state)
{
    (void)state;
    static const struct guard_word words[] = { { S("*@keller.de"), GUARD_EMAIL }, { S("Acme*"), GUARD_N_TYPES }, { S("exact"), GUARD_PERSON } },
                                   fewer[] = { { S("*@keller.de"), GUARD_EMAIL } };
    struct guard_rules task = { .allow = words, .n_allow = 3 }, key = { .allow = fewer, .n_allow = 1 }, model = { 0 };
    task.types[GUARD_PHONE].least = 80;
    const struct guard_rules *list[] = { &task, NULL, &model, NULL };
    static const struct { enum guard_type type; unsigned score; str value; bool one, both; } cases[] = {
        { GUARD_EMAIL, 90, S("maria@KELLER.de"), false, false }, { GUARD_EMAIL, 90, S("maria@keller.de.evil.org"), true, true }, { GUARD_PERSON, 90, S("maria@keller.de"), true, true },
        { GUARD_PERSON, 90, S("ACME GmbH"), false, true },       { GUARD_EMAIL, 90, S("acme@x.org"), false, true },              { GUARD_PERSON, 90, S("Exact"), false, true },
        { GUARD_EMAIL, 90, S("exact"), true, true },             { GUARD_PERSON, 90, S("exactly"), true, true },                 { GUARD_PERSON, 49, S("Jo"), false, false },
        { GUARD_PERSON, 50, S("Jo"), true, true },               { GUARD_PHONE, 79, S("030"), false, false },                    { GUARD_PHONE, 80, S("030"), true, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        list[1] = NULL;
        struct guard_policy p = guard_policy_join(list, 4);
        assert_int_equal(guard_policy_masks(&p, cases[i].type, cases[i].score, cases[i].value), cases[i].one);
        list[1] = &key;
        p = guard_policy_join(list, 4);
        assert_int_equal(guard_policy_masks(&p, cases[i].type, cases[i].score, cases[i].value), cases[i].both);
    }
}

static struct guard_rules random_rules(struct rng *r)
{
    struct guard_rules x = { .action = (enum guard_action)(rand_u64(r) % GUARD_ACTIONS), .unsure = (enum guard_action)(rand_u64(r) % GUARD_ACTIONS) };
    for (int t = 0; t < GUARD_N_TYPES; t++)
        x.types[t] = (struct guard_type_rule){ .action = (enum guard_action)(rand_u64(r) % 2 * (rand_u64(r) % GUARD_ACTIONS)), .least = (uint8_t)(rand_u64(r) % 2 * (rand_u64(r) % 101)),
                                               .restore = (enum guard_restorable)(rand_u64(r) % 3) };
    return x;
}

/* 0: leaves as it is, 1: masked, 2: does not. */
static int strictness(enum guard_do what) { return what == GUARD_SEND ? 0 : what == GUARD_SEND_MASKED || what == GUARD_ASK_MODEL ? 1 : 2; }

/* A key can tighten what a task says, and neither can loosen the other. */
static void joining_only_tightens(void **state)
{
    (void)state;
    struct rng r = rand_seeded(4711);
    for (int i = 0; i < 20000; i++) {
        struct guard_rules a = random_rules(&r), b = random_rules(&r);
        if (!a.action)
            a.action = GUARD_MASK;                          /* what nobody says is the default; it is no word of a's */
        const struct guard_rules *one[] = { &a }, *two[] = { &a, &b };
        struct guard_policy p = guard_policy_join(one, 1), both = guard_policy_join(two, 2);
        struct guard_question q = { .leaves = true, .unsure = a.unsure && rand_u64(&r) % 2, .has_local = rand_u64(&r) % 2 }, q2 = q;
        for (int t = 0; t < GUARD_N_TYPES; t++) {
            unsigned score = (unsigned)(rand_u64(&r) % 101);
            bool masks = guard_policy_masks(&p, (enum guard_type)t, score, S("x")), masks2 = guard_policy_masks(&both, (enum guard_type)t, score, S("x"));
            assert_true(masks2 || !masks || (a.types[t].least == 0 && b.types[t].least > GUARD_SCORE_LEAST));
            assert_true(both.rules.types[t].restore >= p.rules.types[t].restore || !a.types[t].restore);
            q.found[t] = masks && t % 5 == i % 5;
            q2.found[t] = q.found[t];
        }
        assert_true(strictness(guard_decide(&both, &q2).what) >= strictness(guard_decide(&p, &q).what));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_both_ways), cmocka_unit_test(decisions_follow_the_table), cmocka_unit_test(litellm_30728_an_error_means_that_nothing_leaves),
        cmocka_unit_test(litellm_16919_off_is_off), cmocka_unit_test(thresholds_and_allowed_words_decide_what_counts), cmocka_unit_test(joining_only_tightens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
