/* Decisions: every combination of zones, classes and choices against one sentence: private data stays where the configuration says it may be. */
#include "route/route.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena mem;

static int setup(void **state)
{
    (void)state;
    arena_init(&mem, 8 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&mem);
    return 0;
}

/* What the tests below mean by it, written without looking at route.c. */
static bool allowed(enum data_class data, enum zone zone, bool written, bool embedded)
{
    return data != DATA_PRIVATE || embedded || (written && (zone == ZONE_MACHINE || zone == ZONE_PRIVATE));
}

struct world {
    struct provider providers[2];
    struct model models[2];
    struct task task;
    struct policy policy;
};

/* Two providers whose bits say zone (0-2), written, embedded. */
static void make_world(struct world *w, unsigned ref, unsigned cand, bool fixed, enum data_class data)
{
    static const str names[] = { S("ref"), S("cand") };
    *w = (struct world){ 0 };
    for (int i = 0; i < 2; i++) {
        unsigned bits = i ? cand : ref;
        bool embedded = bits / 6 != 0;
        w->providers[i] = (struct provider){ .name = names[i], .api = embedded ? API_EMBEDDED : API_OPENAI, .zone = embedded ? ZONE_MACHINE : (enum zone)(bits % 3),
                                             .zone_written = embedded || bits / 3 % 2 };
        w->models[i] = (struct model){ .name = names[i], .provider = &w->providers[i] };
    }
    w->task = (struct task){ .name = S("t"), .risk = RISK_LOW, .data = data, .reference = fixed ? NULL : &w->models[0], .candidate = fixed ? NULL : &w->models[1],
                             .fixed = fixed ? &w->models[0] : NULL };
    w->policy = (struct policy){ .providers = w->providers, .n_providers = 2, .models = w->models, .n_models = 2, .tasks = &w->task, .n_tasks = 1,
                                 .default_model = &w->models[1], .default_to = { .model = &w->models[1] } };
}

static bool may(const struct model *m, enum data_class data)
{
    const struct provider *v = m->provider;
    return allowed(data, v->zone, v->zone_written, v->api == API_EMBEDDED);
}

static void check(struct world *w, const struct route_ask *ask, enum data_class least, bool by_task)
{
    struct decision d;
    struct wire_error why = { 0 };
    arena_reset(&mem);
    assert_int_equal(route_classify(&mem, &w->policy, ask, &d, &why), ERR_OK);
    assert_true(d.data >= least);
    enum err e = route_choose(&mem, &d, &why);
    assert_non_null(d.model);           /* also a refusal is recorded with what was refused */
    if (e == ERR_OK) {
        assert_true(may(d.model, d.data));
        assert_int_equal(why.message.n, 0);
        return;
    }
    assert_int_equal(e, ERR_PRIVATE);
    assert_true(why.message.n > 0);
    assert_int_equal(d.data, DATA_PRIVATE);
    assert_false(may(d.model, d.data));
    if (by_task && !w->task.fixed)      /* nobody that may have it was passed over */
        assert_false(may(&w->models[0], d.data) || may(&w->models[1], d.data));
}

/* 7 kinds of provider twice, fixed or not, three classes of the task, header, and how it is asked for: 4,704 decisions. */
static void private_data_stays_where_it_may_be_in_every_combination(void **state)
{
    static const str headers[] = { S(""), S("public"), S("internal"), S("private") };
    static const struct { str model, task; bool by_task; } asks[] = { { S("task/t"), S(""), true }, { S("ref"), S("t"), true }, { S("cand"), S(""), false }, { S(""), S(""), false } };
    static const unsigned kinds[] = { 0, 1, 2, 3, 4, 5, 6 };       /* zone + 3 * written; 6: embedded */
    size_t n = 0;
    (void)state;
    for (size_t ref = 0; ref < 7; ref++)
        for (size_t cand = 0; cand < 7; cand++)
            for (unsigned bits = 0; bits < 2 * 3; bits++)
                for (size_t h = 0; h < 4; h++)
                    for (size_t k = 0; k < 4; k++) {
                        struct world w;
                        enum data_class task = (enum data_class)(bits / 2), header = h == 3 ? DATA_PRIVATE : h == 2 ? DATA_INTERNAL : DATA_PUBLIC;
                        make_world(&w, kinds[ref], kinds[cand], bits & 1, task);
                        struct route_ask ask = { .model = asks[k].model, .task_header = asks[k].task, .data_header = headers[h] };
                        enum data_class least = asks[k].by_task && task > header ? task : header;
                        check(&w, &ask, least, asks[k].by_task);
                        n++;
                    }
    assert_int_equal(n, 7 * 7 * 6 * 16);
}

static void a_configuration_with_a_private_task_in_reach_of_the_cloud_is_refused(void **state)
{
    (void)state;
    for (unsigned ref = 0; ref < 7; ref++)
        for (unsigned cand = 0; cand < 7; cand++)
            for (unsigned fixed = 0; fixed < 2; fixed++) {
                struct world w;
                str why;
                arena_reset(&mem);
                make_world(&w, ref, cand, fixed, DATA_PRIVATE);
                enum err e = policy_check(&mem, &w.policy, &why);
                bool good = may(&w.models[0], DATA_PRIVATE) && (fixed || may(&w.models[1], DATA_PRIVATE));
                assert_int_equal(e, good ? ERR_OK : ERR_PRIVATE);
                assert_int_equal(why.n == 0, good);
            }
}

static const struct { const char *model, *task, *data; enum err err; const char *picks, *reason, *param; } rows[] = {
    { "ref", "", "", ERR_OK, "ref", "model", "" },
    { "", "", "", ERR_OK, "cand", "default", "" },
    { "default", "", "", ERR_OK, "cand", "default", "" },
    { "task/t", "", "", ERR_OK, "ref", "task-reference", "" },
    { "whatever", "t", "", ERR_OK, "ref", "task-reference", "" },
    { "nobody", "", "", ERR_MODEL, NULL, NULL, "model" },
    { "task/none", "", "", ERR_MODEL, NULL, NULL, "model" },
    { "ref", "none", "", ERR_MODEL, NULL, NULL, "x-hearth-task" },
    { "task/", "", "", ERR_MODEL, NULL, NULL, "model" },
    { "ref", "", "secret", ERR_SYNTAX, NULL, NULL, "x-hearth-data" },
    { "ref/x", "", "", ERR_MODEL, NULL, NULL, "model" },
};

static void what_is_asked_for_is_found_by_name_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world w;
        struct decision d;
        struct wire_error why = { 0 };
        make_world(&w, 3, 3, false, DATA_INTERNAL);
        struct route_ask ask = { .model = str_of(rows[i].model), .task_header = str_of(rows[i].task), .data_header = str_of(rows[i].data) };
        arena_reset(&mem);
        enum err e = route_classify(&mem, &w.policy, &ask, &d, &why);
        if (!e)
            e = route_choose(&mem, &d, &why);
        assert_int_equal(e, rows[i].err);
        if (e) {
            assert_true(why.message.n > 0 && str_eq(why.param, str_of(rows[i].param)));
            continue;
        }
        assert_true(str_eq(d.model->name, str_of(rows[i].picks)));
        assert_string_equal(d.reason, rows[i].reason);
    }
}

/* A name of the client comes back in the message: not as long as it likes. */
static void a_message_does_not_grow_with_the_name(void **state)
{
    struct world w;
    struct decision d;
    struct wire_error why = { 0 };
    char name[100000];
    (void)state;
    memset(name, 'x', sizeof name);
    make_world(&w, 3, 3, false, DATA_INTERNAL);
    struct route_ask ask = { .model = { name, sizeof name }, .task_header = S(""), .data_header = S("") };
    assert_int_equal(route_classify(&mem, &w.policy, &ask, &d, &why), ERR_MODEL);
    assert_true(why.message.n < 1000);
}

/* What must stay goes down the chain of fallbacks, past clouds and what was tried, and then to the task's candidate; private data only where it may be. */
static void a_call_that_must_stay_finds_the_first_local_model(void **state)
{
    static const struct provider sky = { .name = S("sky"), .api = API_OPENAI, .zone = ZONE_CLOUD, .zone_written = true }, near = { .name = S("near"), .api = API_OPENAI, .zone = ZONE_MACHINE },
                                 here = { .name = S("here"), .api = API_EMBEDDED, .zone = ZONE_MACHINE, .zone_written = true };
    struct model m[5] = { { .name = S("a"), .provider = &sky }, { .name = S("b"), .provider = &sky }, { .name = S("c"), .provider = &near },
                          { .name = S("d"), .provider = &here }, { .name = S("e"), .provider = &here } };
    const struct policy p = { .models = m, .n_models = 5 };
    const struct task t = { .reference = &m[0], .candidate = &m[4] };
    struct decision d = { .task = &t, .data = DATA_INTERNAL };
    const struct model *const tried[] = { &m[0], &m[2], &m[3], &m[4] };
    (void)state;
    assert_ptr_equal(route_local(&p, &d, &m[0], tried, 1), &m[4]);
    m[0].fallback = &m[1];
    m[1].fallback = &m[2];
    m[2].fallback = &m[3];
    m[3].fallback = &m[0];
    assert_ptr_equal(route_local(&p, &d, &m[0], tried, 1), &m[2]);
    assert_ptr_equal(route_local(&p, &d, &m[0], tried, 2), &m[3]);
    assert_ptr_equal(route_local(&p, &d, &m[0], tried, 3), &m[4]);
    assert_null(route_local(&p, &d, &m[0], tried, 4));
    d.data = DATA_PRIVATE;
    assert_ptr_equal(route_local(&p, &d, &m[0], tried, 1), &m[3]);
    d.task = NULL;
    m[0].fallback = NULL;
    assert_null(route_local(&p, &d, &m[0], tried, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_data_stays_where_it_may_be_in_every_combination),
        cmocka_unit_test(a_configuration_with_a_private_task_in_reach_of_the_cloud_is_refused),
        cmocka_unit_test(what_is_asked_for_is_found_by_name_or_refused),
        cmocka_unit_test(a_message_does_not_grow_with_the_name),
        cmocka_unit_test(a_call_that_must_stay_finds_the_first_local_model),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
