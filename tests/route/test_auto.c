/* Aliases and the rules of `auto`: what a name becomes, and what is said of it. */
#include "route/route.h"

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

static const struct provider here = { .name = S("here"), .api = API_EMBEDDED, .zone = ZONE_MACHINE, .zone_written = true };
static const struct model models[] = { { .name = S("small"), .provider = &here }, { .name = S("large"), .provider = &here }, { .name = S("spare"), .provider = &here } };
static const struct task tasks[] = { { .name = S("docs"), .data = DATA_PRIVATE, .fixed = &models[0], .retries = -1 } };
static const str words[] = { S("docstring"), S("write docs") }, languages[] = { S("python"), S("py") }, names[] = { S("edit_file") }, paths[] = { S("/v1/messages") };
static const struct auto_rule rules[] = {
    { .name = S("docs"), .words = words, .n_words = 2, .tools = -1, .images = -1, .to = { .task = &tasks[0] } },
    { .name = S("python"), .languages = languages, .n_languages = 2, .tools = -1, .images = -1, .to = { .model = &models[0] } },
    { .name = S("edits"), .tool_names = names, .n_tool_names = 1, .tools = -1, .images = -1, .to = { .model = &models[1] } },
    { .name = S("plain-short"), .paths = paths, .n_paths = 1, .tools = 0, .images = -1, .max_bytes = 100, .to = { .model = &models[2] } },
    { .name = S("images"), .tools = -1, .images = 1, .to = { .model = &models[1] } },
    { .name = S("long"), .tools = -1, .images = -1, .min_bytes = 5000, .to = { .model = &models[1] } },
};
static const struct target to_small = { .model = &models[0] }, to_auto = { .is_auto = true }, several[] = { { .model = &models[0] }, { .model = &models[1] }, { .task = &tasks[0] } };
static const struct alias aliases[] = {
    { .name = S("gpt-4o"), .targets = &to_small, .weights = (const double[]){ 1 }, .n = 1 },
    { .name = S("mix"), .targets = several, .weights = (const double[]){ 0.5, 0.3, 0.2 }, .n = 3 },
    { .name = S("claude-opus-"), .is_prefix = true, .targets = &to_auto, .weights = (const double[]){ 1 }, .n = 1 },
    { .name = S("claude-"), .is_prefix = true, .targets = &to_small, .weights = (const double[]){ 1 }, .n = 1 },
};
static const struct policy policy = { .providers = &here, .n_providers = 1, .models = models, .n_models = 3, .tasks = tasks, .n_tasks = 1, .default_model = &models[2],
                                      .default_to = { .model = &models[2] }, .aliases = aliases, .n_aliases = 4, .rules = rules, .n_rules = 6 };

static void decide(const struct policy *p, struct route_ask *ask, struct decision *d)
{
    struct wire_error why = { 0 };
    assert_int_equal(route_classify(&mem, p, ask, d, &why), ERR_OK);
    assert_int_equal(route_choose(&mem, d, &why), ERR_OK);
}

static void a_rule_holds_when_everything_it_asks_for_is_there(void **state)
{
    static const struct tool edit = { .name = S("edit_file") }, other = { .name = S("search") };
    static const struct { struct features f; const char *model, *rule; } rows[] = {
        { { .text = S("Write a Docstring for this") }, "small", "auto docs (the word docstring)" },
        { { .text = S("please write docs, all of them") }, "small", "auto docs (the word write docs)" },
        { { .text = S("docstrings are nice"), .bytes = 10 }, "spare", "auto: no rule holds" },
        { { .text = S("see\n```Python\nx = 1\n```") }, "small", "auto python (code in python)" },
        { { .text = S("```pyx\n```") }, "spare", "auto: no rule holds" },
        { { .text = S("```") }, "spare", "auto: no rule holds" },
        { { .text = S("do"), .tools = &edit, .n_tools = 1 }, "large", "auto edits (the tool edit_file)" },
        { { .text = S("do"), .tools = &other, .n_tools = 1, .path = S("/v1/messages") }, "spare", "auto: no rule holds" },
        { { .text = S("do"), .path = S("/v1/messages"), .bytes = 100 }, "spare", "auto plain-short (at /v1/messages, 100 bytes)" },
        { { .text = S("do"), .has_image = true }, "large", "auto images" },
        { { .bytes = 5000 }, "large", "auto long (5000 bytes)" },
        { { .bytes = 4999 }, "spare", "auto: no rule holds" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct decision d;
        struct route_ask ask = { .model = S("auto"), .features = &rows[i].f };
        assert_true(route_is_auto(&policy, &ask));
        decide(&policy, &ask, &d);
        assert_string_equal(d.model->name.p, rows[i].model);
        assert_memory_equal(d.rule.p, rows[i].rule, d.rule.n);
        assert_int_equal(d.rule.n, strlen(rows[i].rule));
    }
}

/* A rule may raise the class of what it routes, and the header still counts. */
static void a_rule_that_leads_to_a_private_task_makes_the_call_private(void **state)
{
    struct decision d;
    struct features f = { .text = S("docstring") };
    struct route_ask ask = { .model = S("auto"), .features = &f };
    (void)state;
    decide(&policy, &ask, &d);
    assert_int_equal(d.data, DATA_PRIVATE);
    assert_ptr_equal(d.task, &tasks[0]);
    f.text = S("hello");
    ask.data_header = S("private");
    decide(&policy, &ask, &d);
    assert_int_equal(d.data, DATA_PRIVATE);
}

static void a_name_stands_for_the_most_exact_alias(void **state)
{
    static const struct { str asked; bool is_auto; const char *model, *rule; } rows[] = {
        { S("gpt-4o"), false, "small", "alias gpt-4o" }, { S("claude-haiku-4"), false, "small", "alias claude-*" }, { S("claude-"), false, "small", "alias claude-*" },
        { S("large"), false, "large", "" }, { S("here/large"), false, "large", "" }, { S(""), false, "spare", "" }, { S("claude-opus-9"), true, "spare", "auto: no rule holds" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct decision d;
        struct features f = { .text = S("x") };
        struct route_ask ask = { .model = rows[i].asked, .features = &f };
        assert_int_equal(route_is_auto(&policy, &ask), rows[i].is_auto);
        decide(&policy, &ask, &d);
        assert_string_equal(d.model->name.p, rows[i].model);
        assert_true(str_eq(d.rule, str_of(rows[i].rule)));
    }
    struct decision d;
    struct wire_error why = { 0 };
    struct route_ask ask = { .model = S("gpt-4o-mini") };
    assert_int_equal(route_classify(&mem, &policy, &ask, &d, &why), ERR_MODEL);
}

static void weights_divide_the_calls(void **state)
{
    int n[3] = { 0 };
    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct decision d;
        struct route_ask ask = { .model = S("mix"), .unit = (i + 0.5) / 1000 };
        decide(&policy, &ask, &d);
        n[d.task ? 2 : d.model == &models[1]]++;
    }
    assert_int_equal(n[0], 500);
    assert_int_equal(n[1], 300);
    assert_int_equal(n[2], 200);
}

static void auto_without_rules_or_default_is_refused_with_the_reason(void **state)
{
    struct policy p = policy;
    struct decision d;
    struct features f = { .text = S("x") };
    struct wire_error why = { 0 };
    struct route_ask ask = { .model = S("auto"), .features = &f };
    (void)state;
    p.default_to = (struct target){ .is_auto = true };
    assert_int_equal(route_classify(&mem, &p, &ask, &d, &why), ERR_MODEL);
    assert_true(str_find(why.message, S("no default model")) < why.message.n);
    ask.model = S("");
    assert_true(route_is_auto(&p, &ask));
    p.n_rules = 0;
    assert_false(route_is_auto(&p, &ask));
    assert_int_equal(route_classify(&mem, &p, &ask, &d, &why), ERR_MODEL);
    assert_true(str_find(why.message, S("auto:")) < why.message.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_holds_when_everything_it_asks_for_is_there),
        cmocka_unit_test(a_rule_that_leads_to_a_private_task_makes_the_call_private),
        cmocka_unit_test(a_name_stands_for_the_most_exact_alias),
        cmocka_unit_test(weights_divide_the_calls),
        cmocka_unit_test(auto_without_rules_or_default_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
