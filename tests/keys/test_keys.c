/* Virtual keys: who is found, what is opened, and accounts under a clock of our own. */
#include "keys/keys.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define DAY    (INT64_C(86400) * SECOND)

static void a_key_is_found_by_its_whole_self_and_by_nothing_else(void **state)
{
    enum { N = 300 };
    static struct key keys[N];
    static char texts[N][KEY_TEXT + 1];
    struct rng r = rand_seeded(7);
    (void)state;
    for (int i = 0; i < N; i++) {
        key_make(&r, texts[i]);
        keys[i] = (struct key){ .name = { texts[i], KEY_TEXT }, .hash = key_hash(str_of(texts[i])), .disabled = i % 7 == 0, .expires_us = i % 5 == 0 ? 100 : 0 };
    }
    keys_sort(keys, N);
    struct key_list l = { .keys = keys, .n = N, .required = true };
    for (int i = 0; i < N; i++) {
        const struct key *k = keys_find(&l, str_of(texts[i]), 99), *later = keys_find(&l, str_of(texts[i]), 100);
        char other[KEY_TEXT + 1];
        assert_true(i % 7 == 0 ? !k : k && str_eq(k->name, str_of(texts[i])));
        assert_true(i % 7 == 0 || i % 5 == 0 ? !later : later == k);
        for (size_t at = 0; at < KEY_TEXT; at += 9) {
            memcpy(other, texts[i], sizeof other);
            other[at] ^= 1;
            assert_null(keys_find(&l, str_of(other), 0));
        }
        assert_null(keys_find(&l, str_slice(texts[i], KEY_TEXT - 1), 0));
    }
    assert_null(keys_find(&l, S(""), 0));
    assert_null(keys_find(&(struct key_list){ .required = true }, str_of(texts[1]), 0));
}

static void a_task_that_is_named_opens_the_model_that_serves_it(void **state)
{
    static const str tasks[] = { S("docs") }, models[] = { S("coder") };
    const struct key all = { .n_tasks = 0 }, task = { .tasks = tasks, .n_tasks = 1 }, model = { .models = models, .n_models = 1 };
    (void)state;
    assert_true(keys_allow(&all, S(""), S("x")) && keys_allow(&all, S("t"), S("x")));
    assert_true(keys_allow(&task, S("docs"), S("x")));
    assert_false(keys_allow(&task, S(""), S("x")) || keys_allow(&task, S("plan"), S("x")) || keys_allow(&task, S(""), S("docs")));
    assert_true(keys_allow(&model, S(""), S("coder")) && keys_allow(&model, S("plan"), S("coder")));
    assert_false(keys_allow(&model, S("plan"), S("x")));
}

static enum err take(struct key_accounts *a, const struct key *k, int64_t mono, int64_t wall, int64_t tokens, int64_t micros, struct key_hold *h, struct key_refusal *why)
{
    *h = (struct key_hold){ .account = NULL };
    return key_take(a, k, mono, wall, tokens, micros, h, why);
}

static void requests_come_back_with_time(void **state)
{
    const struct key k = { .name = S("k"), .requests_per_minute = 6, .micros_per_day = -1, .micros_per_month = -1 };
    struct key_accounts *a;
    struct key_hold h;
    struct key_refusal why;
    (void)state;
    assert_int_equal(key_accounts_new(&a), ERR_OK);
    int64_t now = 5 * SECOND;
    for (int i = 0; i < 6; i++)
        assert_int_equal(take(a, &k, now, 0, 1, 0, &h, &why), ERR_OK);
    assert_int_equal(take(a, &k, now, 0, 1, 0, &h, &why), ERR_RATE);
    assert_in_range(why.retry_s, 10, 11);
    assert_int_equal(take(a, &k, now + 9 * SECOND, 0, 1, 0, &h, &why), ERR_RATE);
    assert_int_equal(take(a, &k, now + why.retry_s * SECOND + 10 * SECOND, 0, 1, 0, &h, &why), ERR_OK);
    key_accounts_free(a);
}

static void tokens_are_taken_by_an_estimate_and_settled(void **state)
{
    const struct key k = { .name = S("k"), .tokens_per_minute = 1000, .micros_per_day = -1, .micros_per_month = -1 };
    struct key_accounts *a;
    struct key_hold h[3];
    struct key_refusal why;
    struct key_usage u;
    (void)state;
    assert_int_equal(key_accounts_new(&a), ERR_OK);
    assert_int_equal(take(a, &k, SECOND, 0, 600, 0, &h[0], &why), ERR_OK);
    assert_int_equal(take(a, &k, SECOND, 0, 600, 0, &h[1], &why), ERR_RATE);       /* before the first has ended */
    key_settle(a, &h[0], 100, 0);
    assert_int_equal(take(a, &k, SECOND, 0, 600, 0, &h[1], &why), ERR_OK);
    key_settle(a, &h[1], 5000, 0);                                                  /* more than was thought: it is paid back first */
    key_look(a, &k, SECOND, 0, &u);
    assert_int_equal(u.tokens_left, 0);
    assert_int_equal(take(a, &k, 200 * SECOND, 0, 10, 0, &h[2], &why), ERR_RATE);
    assert_int_equal(take(a, &k, 400 * SECOND, 0, 10, 0, &h[2], &why), ERR_OK);
    key_settle(a, &h[2], -1, -1);                                                   /* not known: the estimate stays */
    assert_int_equal(take(a, &k, 10000 * SECOND, 0, 9999, 0, &h[0], &why), ERR_OK); /* larger than the bucket: when it is full */
    key_accounts_free(a);
}

static void a_budget_is_by_day_and_month_and_no_clock_reopens_it(void **state)
{
    const struct key k = { .name = S("k"), .micros_per_day = 100, .micros_per_month = 250 };
    struct key_accounts *a;
    struct key_hold h;
    struct key_refusal why;
    int64_t noon = 20000 * DAY + DAY / 2;       /* 2024-10-04 */
    (void)state;
    assert_int_equal(key_accounts_new(&a), ERR_OK);
    key_accounts_spent(a, S("k"), key_day(noon), key_month(noon), 40, 90);
    assert_int_equal(take(a, &k, 0, noon, 1, 60, &h, &why), ERR_OK);
    assert_int_equal(take(a, &k, 0, noon, 1, 1, &h, &why), ERR_BUDGET);
    assert_string_equal(why.what, "the day");
    assert_int_equal(take(a, &k, 0, noon - DAY, 1, 1, &h, &why), ERR_BUDGET);
    assert_int_equal(take(a, &k, 0, noon - 40 * DAY, 1, 1, &h, &why), ERR_BUDGET);
    assert_int_equal(take(a, &k, 0, noon + DAY, 1, 100, &h, &why), ERR_OK);
    assert_int_equal(take(a, &k, 0, noon + 2 * DAY, 1, 1, &h, &why), ERR_BUDGET);
    assert_string_equal(why.what, "the month");
    assert_int_equal(take(a, &k, 0, noon + 40 * DAY, 1, 100, &h, &why), ERR_OK);
    key_accounts_free(a);
}

static void months_are_those_of_the_calendar(void **state)
{
    static const struct { const char *at; int64_t month; const char *begins; } rows[] = {
        { "2026-11-25T03:00:00.000Z", 2026 * 12 + 10, "2026-11-01T00:00:00.000Z" }, { "2024-02-29T23:59:59.999Z", 2024 * 12 + 1, "2024-02-01T00:00:00.000Z" },
        { "2024-03-01T00:00:00.000Z", 2024 * 12 + 2, "2024-03-01T00:00:00.000Z" },  { "2025-12-31T12:00:00.000Z", 2025 * 12 + 11, "2025-12-01T00:00:00.000Z" },
        { "2026-01-01T00:00:00.000Z", 2026 * 12, "2026-01-01T00:00:00.000Z" },
    };
    (void)state;
    for (int64_t us = 0; us < 40000 * DAY; us += DAY / 2 + 1)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            char text[CLOCK_TEXT];
            clock_text(us, text);
            if (strncmp(text, rows[i].at, 10) != 0)
                continue;
            clock_text(key_month_begins_us(us), text);
            assert_string_equal(text, rows[i].begins);
            assert_int_equal(key_month(us), rows[i].month);
        }
}

static void the_admin_key_is_one_and_opens_nothing_else(void **state)
{
    (void)state;
    struct key k = { .name = S("a"), .hash = key_hash(S("hk-virtual")) };
    struct key_list l = { .keys = &k, .n = 1 };
    const struct digest none = { { 0 } };
    assert_false(keys_is_admin(&l, S("")) || keys_is_admin(&l, S("hk-virtual")));
    l.admin = none;
    assert_false(keys_is_admin(&l, S("")));
    l.admin = key_hash(S("hk-admin"));
    assert_false(keys_is_admin(&l, S("hk-admin")));     /* none was loaded */
    l.has_admin = true;
    assert_true(keys_is_admin(&l, S("hk-admin")));
    assert_false(keys_is_admin(&l, S("hk-admi")) || keys_is_admin(&l, S("hk-admin ")) || keys_is_admin(&l, S("hk-virtual")) || keys_is_admin(&l, S("")));
    assert_null(keys_find(&l, S("hk-admin"), 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_found_by_its_whole_self_and_by_nothing_else),
        cmocka_unit_test(a_task_that_is_named_opens_the_model_that_serves_it),
        cmocka_unit_test(requests_come_back_with_time),
        cmocka_unit_test(the_admin_key_is_one_and_opens_nothing_else),
        cmocka_unit_test(tokens_are_taken_by_an_estimate_and_settled),
        cmocka_unit_test(a_budget_is_by_day_and_month_and_no_clock_reopens_it),
        cmocka_unit_test(months_are_those_of_the_calendar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
