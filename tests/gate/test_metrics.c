/* Counters: what several loops counted, added up, in Prometheus' text. */
#include "gate/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct provider provider = { .name = S("p") };

/* The value of a line that begins so; -1: there is none. */
static double value(str text, const char *line)
{
    size_t n = strlen(line), at;
    for (str rest = text; (at = str_find(rest, str_of(line))) < rest.n; rest = str_skip(rest, at + 1))
        if (at == 0 || rest.p[at - 1] == '\n')
            return strtod(rest.p + at + n, NULL);
    return -1;
}

static str write_all(struct arena *a, struct metrics *const *loops, size_t n)
{
    struct buf b = { .max = 8 << 20 };
    assert_int_equal(metrics_write(a, &b, loops, n), ERR_OK);
    str s = arena_str(a, buf_str(&b));
    s.p = arena_cstr(a, s);
    buf_free(&b);
    return s;
}

#define OF_M "gen_ai_provider_name=\"p\",gen_ai_request_model=\"m\""

static void loops_are_added_up(void **state)
{
    struct metrics one, two;
    struct metrics *const loops[] = { &one, &two };
    const struct model m = { .name = S("m"), .provider = &provider };
    struct arena a;
    (void)state;
    arena_init(&a, 16 << 20);
    metrics_init(&one);
    metrics_init(&two);
    metrics_count(&one, &m, &(struct metric_call){ METRIC_OK, 15000, 12000, 100, 9, 7, 2 });
    metrics_count(&two, &m, &(struct metric_call){ METRIC_OK, 90000000, -1, -1, -1, -1, 1 });
    metrics_count(&two, &m, &(struct metric_call){ METRIC_CUT, 5, 0, 1, 0, 0, 1 });
    metrics_count(&two, NULL, &(struct metric_call){ METRIC_REFUSED, 1, -1, -1, -1, -1, 0 });
    str text = write_all(&a, loops, 2);
    static const struct { const char *line; double v; } want[] = {
        { "hearth_calls_total{" OF_M ",outcome=\"ok\"} ", 2 }, { "hearth_calls_total{" OF_M ",outcome=\"cut\"} ", 1 }, { "hearth_calls_total{gen_ai_provider_name=\"\",gen_ai_request_model=\"\",outcome=\"refused\"} ", 1 },
        { "gen_ai_client_operation_duration_seconds_bucket{" OF_M ",le=\"0.01\"} ", 1 }, { "gen_ai_client_operation_duration_seconds_bucket{" OF_M ",le=\"0.02\"} ", 2 },
        { "gen_ai_client_operation_duration_seconds_bucket{" OF_M ",le=\"+Inf\"} ", 3 }, { "gen_ai_client_operation_duration_seconds_count{" OF_M "} ", 3 },
        { "gen_ai_client_token_usage_sum{" OF_M ",gen_ai_token_type=\"input\"} ", 101 }, { "gen_ai_client_token_usage_sum{" OF_M ",gen_ai_token_type=\"output\"} ", 9 },
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (value(text, want[i].line) != want[i].v)
            fail_msg("%s%g, not %g in\n%.*s", want[i].line, value(text, want[i].line), want[i].v, STR_ARG(text));
    metrics_free(&one);
    metrics_free(&two);
    arena_free(&a);
}

static void more_models_than_slots_are_counted_together(void **state)
{
    struct metrics m;
    struct metrics *const loops[] = { &m };
    struct arena a;
    double sum = 0;
    (void)state;
    arena_init(&a, 64 << 20);
    metrics_init(&m);
    for (int i = 0; i < METRIC_SLOTS + 50; i++) {
        char name[16];
        struct model model = { .provider = &provider };
        model.name = (str){ name, (size_t)snprintf(name, sizeof name, "m%d", i) };
        metrics_count(&m, &model, &(struct metric_call){ METRIC_OK, 1, -1, -1, -1, -1, 1 });
    }
    str text = write_all(&a, loops, 1), key = S(",outcome=\"ok\"} ");
    for (size_t at; (at = str_find(text, key)) < text.n; text = str_skip(text, at + key.n))
        sum += strtod(text.p + at + key.n, NULL);
    assert_true(sum == METRIC_SLOTS + 50);
    assert_int_equal(m.n, METRIC_SLOTS);
    metrics_free(&m);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_are_added_up),
        cmocka_unit_test(more_models_than_slots_are_counted_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
