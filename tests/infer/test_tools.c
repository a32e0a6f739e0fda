/* Tools: the table of families, their prompts, rules, and answers cut anywhere. */
#include "infer/tell.h"
#include "infer/grammar.h"
#include "wire/openai_chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"description\":\"gets\",\"parameters\":{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"string\",\"maxLength\":3}},\"required\":[\"k\"]}}}," \
              "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]"

static enum err plan_of(struct arena *a, const char *format, const char *messages, const char *fields, struct tool_plan *p, struct wire_error *why)
{
    struct call *c = arena_new(a, struct call, 1);
    struct chat *chat = arena_new(a, struct chat, 1);
    str body = arena_printf(a, "{\"messages\":[%s]%s%s}", messages, *fields ? "," : "", fields);
    enum err e = openai_decode(a, OP_CHAT, body, c, why);
    e = e ? e : openai_to_chat(a, c, chat, why);
    return e ? e : tool_plan_make(a, tool_format_named(str_of(format)), chat, p, why);
}

#define STRICT "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true,\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\"}}}}}]"
#define USER "{\"role\":\"user\",\"content\":\"U1\"}"
#define HISTORY "{\"role\":\"system\",\"content\":\"S\"}," USER ",{\"role\":\"assistant\",\"content\":\"thinking\",\"tool_calls\":[{\"id\":\"call_123456789\",\"type\":\"function\",\"function\":{\"name\":\"get\",\"arguments\":\"{\\\"k\\\":\\\"x\\\"}\"}}," \
                "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"now\",\"arguments\":\"\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"call_123456789\",\"content\":\"R\\\"1\"},{\"role\":\"tool\",\"tool_call_id\":\"b\",\"content\":\"R2\"},{\"role\":\"user\",\"content\":\"U2\"}"

/* ---- the table ---- */

static void the_family_is_found_by_the_template(void **state)
{
    (void)state;
    static const struct { const char *text, *want; } rows[] = {
        { "…<tool_call>\\n{\"name\": <function-name>, \"arguments\": <args-json-object>}…", "hermes" }, { "<tool_call>\n<function=name>\n arguments", "generic" }, { "<tool_call>name\n<arg_key> arguments", "generic" }, { "<|im_start|>{{ message.role }}", "generic" }, { "", "generic" },
        { "[AVAILABLE_TOOLS]…[TOOL_CALLS][", "mistral" }, { "[AVAILABLE_TOOLS]…[TOOL_CALLS]…[ARGS]", "generic" }, { "<|start_header_id|>ipython<|end_header_id|>", "llama3" }, { "<|start_header_id|>{{ role }}", "generic" },
    };
    char names[64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(tool_format_of(str_of(rows[i].text))->name, rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].text, tool_format_of(str_of(rows[i].text))->name);
    assert_string_equal(tool_format_named(S("llama3"))->name, "llama3");
    assert_null(tool_format_named(S("nobody")));
    tool_format_names(names, sizeof names);
    assert_string_equal(names, "mistral hermes llama3 generic");
}

static void wishes_are_checked(void **state)
{
    (void)state;
    static const struct { const char *fields; enum err want; const char *param; enum tool_choice choice; bool many; } rows[] = {
        { "", ERR_OK, "", TOOLS_NONE, true }, { TOOLS, ERR_OK, "", TOOLS_AUTO, true }, { TOOLS ",\"tool_choice\":\"none\"", ERR_OK, "", TOOLS_NONE, true }, { TOOLS ",\"tool_choice\":\"required\",\"parallel_tool_calls\":false", ERR_OK, "", TOOLS_REQUIRED, false },
        { TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"now\"}}", ERR_OK, "", TOOLS_NAMED, false }, { TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"nix\"}}", ERR_SYNTAX, "tool_choice", TOOLS_UNSET, false },
        { "\"tool_choice\":\"required\"", ERR_SYNTAX, "tool_choice", TOOLS_UNSET, false }, { "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]", ERR_SYNTAX, "tools[0].function.name", TOOLS_UNSET, false },
        { "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\"}},{\"type\":\"function\",\"function\":{\"name\":\"a\"}}]", ERR_SYNTAX, "tools[1].function.name", TOOLS_UNSET, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena a;
        struct tool_plan p;
        struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
        arena_init(&a, 1 << 20);
        enum err e = plan_of(&a, "hermes", USER, rows[i].fields, &p, &why);
        if (e != rows[i].want || (e ? !str_eq(why.param, str_of(rows[i].param)) : p.choice != rows[i].choice || p.many != rows[i].many))
            fail_msg("%s: %s, %.*s", rows[i].fields, err_name(e), STR_ARG(why.param));
        arena_free(&a);
    }
}

/* ---- prompts ---- */

/* role: parts, what the client wrote in ‹ ›. */
static str show(struct arena *a, const struct tool_prompt *p)
{
    struct buf b = { .max = 1 << 20 };
    for (size_t i = 0; i < (p->whole ? 1 : p->n); i++) {
        const struct template_part *parts = p->whole ? p->whole : p->messages[i].parts;
        (void)buf_printf(&b, "%s%s", p->whole ? "" : p->messages[i].role, p->whole ? "" : ": ");
        for (size_t k = 0; k < (p->whole ? p->n_whole : p->messages[i].n); k++)
            (void)buf_printf(&b, parts[k].own ? "%.*s" : "‹%.*s›", STR_ARG(parts[k].text));
        (void)buf_put(&b, p->whole ? S("") : S("\n~\n"));
    }
    str s = arena_str(a, buf_str(&b));
    buf_free(&b);
    return s;
}

#define GET "‹{\"type\": \"function\", \"function\": {\"name\": \"get\", \"description\": \"gets\", \"parameters\": {\"type\": \"object\", \"properties\": {\"k\": {\"type\": \"string\", \"maxLength\": 3}}, \"required\": [\"k\"]}}}›"
#define NOW "‹{\"type\": \"function\", \"function\": {\"name\": \"now\"}}›"
#define INSTRUCTIONS "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>\n" GET "\n" NOW \
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"

static const struct { const char *format, *spacing, *messages, *fields, *want; } prompts[] = {
    { "hermes", "chatml", USER, TOOLS, "system: " INSTRUCTIONS "\n~\nuser: ‹U1›\n~\n" },
    { "hermes", "chatml", "{\"role\":\"system\",\"content\":\"S\"}," USER, TOOLS, "system: ‹S›\n\n" INSTRUCTIONS "\n~\nuser: ‹U1›\n~\n" },
    { "hermes", "chatml", HISTORY, "", "system: ‹S›\n~\nuser: ‹U1›\n~\nassistant: ‹thinking›\n<tool_call>\n{\"name\": \"‹get›\", \"arguments\": ‹{\"k\": \"x\"}›}\n</tool_call>\n<tool_call>\n{\"name\": \"‹now›\", \"arguments\": ‹{}›}\n</tool_call>\n~\n"
      "user: <tool_response>\n‹R\"1›\n</tool_response>\n<tool_response>\n‹R2›\n</tool_response>\n~\nuser: ‹U2›\n~\n" },
    { "llama3", "llama3", HISTORY, "", "system: ‹S›\n~\nuser: ‹U1›\n~\nassistant: ‹thinking›\n{\"name\": \"‹get›\", \"parameters\": ‹{\"k\": \"x\"}›}; {\"name\": \"‹now›\", \"parameters\": ‹{}›}\n~\n"
      "ipython: \"‹R\\\"1›\"\n~\nipython: \"‹R2›\"\n~\nuser: ‹U2›\n~\n" },
    { "llama3", "llama3", USER, "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]", "user: Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers the given prompt.\n\n"
      "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}.Do not use variables.\n\n‹{\n    \"type\": \"function\",\n    \"function\": {\n        \"name\": \"now\"\n    }\n}›\n\n‹U1›\n~\n" },
    { "mistral", "mistral-v3", HISTORY, "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]", "[INST] ‹S›\n\n‹U1›[/INST] ‹thinking›[TOOL_CALLS] [{\"name\": \"‹get›\", \"arguments\": ‹{\"k\": \"x\"}›, \"id\": \"‹123456789›\"}, "
      "{\"name\": \"‹now›\", \"arguments\": ‹{}›, \"id\": \"‹b›\"}]</s>[TOOL_RESULTS] {\"content\": \"‹R\\\"1›\", \"call_id\": \"‹123456789›\"}[/TOOL_RESULTS][TOOL_RESULTS] {\"content\": \"‹R2›\", \"call_id\": \"‹b›\"}[/TOOL_RESULTS]"
      "[AVAILABLE_TOOLS] [" NOW "][/AVAILABLE_TOOLS][INST] ‹U2›[/INST]" },
    { "mistral", "mistral-v7-tekken", "{\"role\":\"system\",\"content\":\"S\"}," USER, "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]", "[SYSTEM_PROMPT]‹S›[/SYSTEM_PROMPT][AVAILABLE_TOOLS][" NOW "][/AVAILABLE_TOOLS][INST]‹U1›[/INST]" },
};

static void each_family_writes_its_prompt(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof prompts / sizeof prompts[0]; i++) {
        struct arena a;
        struct tool_plan p;
        struct tool_prompt prompt;
        struct wire_error why;
        arena_init(&a, 1 << 20);
        assert_int_equal(plan_of(&a, prompts[i].format, prompts[i].messages, prompts[i].fields, &p, &why), ERR_OK);
        assert_int_equal(tools_prompt(&a, &p, prompts[i].spacing, &prompt, &why), ERR_OK);
        str got = show(&a, &prompt);
        if (!str_eq(got, str_of(prompts[i].want)))
            fail_msg("%s:\n%.*s\nnot\n%s", prompts[i].format, STR_ARG(got), prompts[i].want);
        arena_free(&a);
    }
}

static void a_result_without_a_call_is_refused(void **state)
{
    (void)state;
    struct arena a;
    struct tool_plan p;
    struct tool_prompt prompt;
    struct wire_error why;
    arena_init(&a, 1 << 20);
    assert_int_equal(plan_of(&a, "hermes", USER ",{\"role\":\"tool\",\"tool_call_id\":\"x\",\"content\":\"R\"}", TOOLS, &p, &why), ERR_OK);
    assert_int_equal(tools_prompt(&a, &p, "chatml", &prompt, &why), ERR_SYNTAX);
    assert_true(str_eq(why.param, S("messages[1].role")));
    arena_free(&a);
}

/* ---- rules ---- */

/* 2 whole, 1 a beginning, 0 neither */
static int taken(struct grammar *g, const char *text)
{
    struct grammar_run r;
    grammar_begin(g, &r);
    int got = grammar_take(&r, str_of(text)) ? 1 + grammar_may_end(&r) : 0;
    grammar_end(&r);
    return got;
}

static const struct { const char *format, *fields, *content, *text; int want; } rules_rows[] = {
    { "hermes", TOOLS ",\"tool_choice\":\"required\"", NULL, "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"k\": \"abc\"}}\n</tool_call>", 2 }, { "hermes", TOOLS ",\"tool_choice\":\"required\"", NULL, "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"k\": \"abcd\"}}\n</tool_call>", 0 },
    { "hermes", TOOLS ",\"tool_choice\":\"required\"", NULL, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"k\":\"\"}}\n</tool_call>", 2 }, { "hermes", TOOLS ",\"tool_choice\":\"required\"", NULL, "Hello", 0 },
    { "hermes", TOOLS ",\"tool_choice\":\"required\",\"parallel_tool_calls\":false", NULL, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n", 0 }, { "hermes", TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"now\"}}", NULL, "<tool_call>\n{\"name\": \"g", 0 },
    { "hermes", TOOLS, NULL, "Hello <tool <tool_cal", 2 }, { "hermes", TOOLS, NULL, "", 2 }, { "hermes", TOOLS, NULL, "Hi\n<tool_call>", 1 }, { "hermes", TOOLS, NULL, "Hi\n<tool_call>{", 0 }, { "hermes", TOOLS, NULL, "<<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", 2 }, { "hermes", TOOLS, NULL, "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"x", 0 },
    { "hermes", TOOLS, NULL, "<tool_call>\n{\"name\": \"nix", 0 }, { "hermes", TOOLS, NULL, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call> bye", 0 }, { "hermes", TOOLS, "\"yes\"", "yes", 2 }, { "hermes", TOOLS, "\"yes\"", "<tool_call>\n{\"name\"", 1 }, { "hermes", TOOLS, "\"yes\"", "no", 0 },
    { "llama3", TOOLS ",\"tool_choice\":\"required\"", NULL, "{\"name\": \"get\", \"parameters\": {\"k\": \"a\"}}", 2 }, { "llama3", TOOLS ",\"tool_choice\":\"required\"", NULL, "{\"name\": \"get\", \"parameters\": {\"k\": \"a\"}}; ", 0 }, { "llama3", TOOLS, "\"yes\"", "{\"name\": \"now\", \"parameters\": {}}", 2 },
    { "mistral", TOOLS ",\"tool_choice\":\"required\"", NULL, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {\"k\": \"a\"}}, {\"name\": \"now\", \"arguments\": {}, \"id\": \"abcDEF123\"}]", 2 }, { "mistral", TOOLS ",\"tool_choice\":\"required\"", NULL, "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}", 1 },
    { "mistral", TOOLS, NULL, "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}]", 2 }, { "mistral", TOOLS, NULL, "[[TOOL_CALL", 2 },
    { "llama3", STRICT, NULL, "Hi {", 2 }, { "llama3", STRICT, NULL, "", 2 }, { "llama3", STRICT, NULL, "{\"a", 0 }, { "llama3", STRICT, NULL, "{\"name\": \"f\", \"parameters\": {\"x\": 1}}", 2 }, { "llama3", STRICT, NULL, " {", 0 },
    { "hermes", "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"not\":{\"type\":\"null\"}}}}}}],\"tool_choice\":\"required\"", NULL, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"any\": 1}}\n</tool_call>", 2 },
    { "hermes", "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}],\"tool_choice\":\"required\"", NULL, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"any\"", 0 },
};

static enum err rules_of(struct arena *a, const char *format, const char *fields, const char *content, struct tool_plan *p, struct rules *o, char name[SCHEMA_NAME], struct wire_error *why)
{
    rules_init(o);
    enum err e = plan_of(a, format, USER, fields, p, why);
    e = e ? e : tools_rules(a, p, o, content, name, why);
    rules_put(o, "root ::= %s\n", name);
    return e ? e : rules_finish(o);
}

static void answers_with_tools_are_bound_by_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rules_rows / sizeof rules_rows[0]; i++) {
        struct arena a;
        struct tool_plan p;
        struct rules o;
        struct grammar *g;
        struct wire_error why;
        struct gbnf_error wrong;
        char name[SCHEMA_NAME];
        arena_init(&a, 16 << 20);
        assert_int_equal(rules_of(&a, rules_rows[i].format, rules_rows[i].fields, rules_rows[i].content, &p, &o, name, &why), ERR_OK);
        if (grammar_new(buf_str(&o.b), true, GRAMMAR_MEMORY, &g, &wrong))
            fail_msg("%.*s: %s at %zu", STR_ARG(buf_str(&o.b)), wrong.what, wrong.at);
        int got = taken(g, rules_rows[i].text);
        if (got != rules_rows[i].want)
            fail_msg("%s, %s: '%s': %d", rules_rows[i].format, rules_rows[i].fields, rules_rows[i].text, got);
        grammar_free(g);
        rules_free(&o);
        arena_free(&a);
    }
}

static void a_schema_that_cannot_be_honoured_is_refused_when_strict(void **state)
{
    (void)state;
    static const struct { const char *parameters; enum err loose, strict; const char *param; } rows[] = {
        { "{\"type\":\"object\",\"properties\":{\"x\":{\"not\":{\"type\":\"null\"}}}}", ERR_OK, ERR_UNSUPPORTED, "tools[0].function.parameters.properties.x.not" }, { "{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"nix\"}}}", ERR_SYNTAX, ERR_SYNTAX, "tools[0].function.parameters.properties.x.type" },
        { "{\"type\":\"array\"}", ERR_SYNTAX, ERR_SYNTAX, "tools[0].function.parameters.type" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int strict = 0; strict < 2; strict++) {
            struct arena a;
            struct tool_plan p;
            struct rules o;
            struct wire_error why = { ERR_OK, STR_NONE, STR_NONE };
            char name[SCHEMA_NAME], fields[512];
            arena_init(&a, 16 << 20);
            snprintf(fields, sizeof fields, "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":%s,\"parameters\":%s}}]", strict ? "true" : "false", rows[i].parameters);
            enum err e = rules_of(&a, "hermes", fields, NULL, &p, &o, name, &why);
            if (e != (strict ? rows[i].strict : rows[i].loose) || (e && !str_eq(why.param, str_of(rows[i].param))))
                fail_msg("%s: %s, %.*s", fields, err_name(e), STR_ARG(why.param));
            rules_free(&o);
            arena_free(&a);
        }
}

static void a_family_without_a_marker_needs_no_rules_where_nothing_is_demanded(void **state)
{
    (void)state;
    struct arena a;
    struct tool_plan p;
    struct rules o;
    struct wire_error why;
    char name[SCHEMA_NAME];
    arena_init(&a, 1 << 20);
    rules_init(&o);
    assert_int_equal(plan_of(&a, "llama3", USER, TOOLS, &p, &why), ERR_OK);
    assert_int_equal(tools_rules(&a, &p, &o, NULL, name, &why), ERR_OK);
    assert_true(!*name && !p.strict_layout);
    rules_free(&o);
    /* A marker that is a control token stands for itself, and text may hold its name. */
    rules_init(&o);
    assert_int_equal(plan_of(&a, "mistral", USER, TOOLS, &p, &why), ERR_OK);
    p.marker = 5;
    assert_int_equal(tools_rules(&a, &p, &o, NULL, name, &why), ERR_OK);
    rules_put(&o, "root ::= %s\n", name);
    assert_int_equal(rules_finish(&o), ERR_OK);
    struct grammar *g;
    struct gbnf_error wrong;
    char text[64] = "[TOOL_CALLS] x", token[GBNF_TOKEN];
    assert_int_equal(grammar_new(buf_str(&o.b), true, GRAMMAR_MEMORY, &g, &wrong), ERR_OK);
    assert_int_equal(taken(g, text), 2);
    struct grammar_run r;
    grammar_begin(g, &r);
    gbnf_token(5, token);
    assert_true(grammar_take(&r, S("Hi")) && grammar_take(&r, str_slice(token, GBNF_TOKEN)) && grammar_take(&r, S("[{\"name\": \"now\", \"arguments\": {}}]")) && grammar_must_end(&r));
    grammar_end(&r);
    grammar_free(g);
    rules_free(&o);
    arena_free(&a);
}

/* ---- answers ---- */

/* text, then "|name(arguments" for each call, and "…" where the last was cut off. */
static void show_answer(struct telling *w, str finish, char *out, size_t cap)
{
    struct openai_choice c = tell_choice(w, finish, STR_NONE);
    size_t n = (size_t)snprintf(out, cap, "%.*s", STR_ARG(c.text));
    for (size_t i = 0; i < c.n_calls; i++)
        n += (size_t)snprintf(out + n, cap - n, "|%.*s(%.*s", STR_ARG(c.calls[i].name), STR_ARG(c.calls[i].arguments));
    snprintf(out + n, cap - n, " =%.*s", STR_ARG(c.finish_reason));
}

static const struct { const char *format; bool strict; const char *text, *want; } answers[] = {
    { "hermes", false, "{\"name\": \"f\", \"arguments\": {}}", "{\"name\": \"f\", \"arguments\": {}} =stop" }, { "hermes", true, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", "|f({} =tool_calls" },
    { "llama3", true, "{\"name\": \"f\", \"parameters\": {\"x\": 1}}", "|f({\"x\": 1} =tool_calls" },
    { "hermes", false, "Hello there.\n", "Hello there.\n =stop" }, { "hermes", false, "", " =stop" }, { "hermes", false, "a < b <tool> <tool_cal", "a < b <tool> <tool_cal =stop" },
    { "hermes", false, "Let me see.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"k\": \"x\"}}\n</tool_call>", "Let me see.|get({\"k\": \"x\"} =tool_calls" },
    { "hermes", false, "<tool_call>{\"arguments\":{\"k\":\"}{\\\"</tool_call>\"},\"name\":\"get\"}</tool_call>\n", "|get({\"k\":\"}{\\\"</tool_call>\"} =tool_calls" },
    { "hermes", false, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"k\": \"y\"}}\n</tool_call>", "|now({}|get({\"k\": \"y\"} =tool_calls" },
    { "hermes", false, "<tool_call>\n{\"name\": \"now\", \"parameters\": {}}\n", "|now({} =tool_calls" }, { "hermes", false, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\nDone.", "\nDone.|now({} =tool_calls" },
    { "hermes", false, "<tool_call>\n{\"name\": \"nix\", \"arguments\": {}}\n</tool_call>", "<tool_call>\n{\"name\": \"nix\", \"arguments\": {}}\n</tool_call> =stop" }, { "hermes", false, "<tool_call>\n{\"name\": \"now\", \"arguments\": 7}\n</tool_call>", "<tool_call>\n{\"name\": \"now\", \"arguments\": 7}\n</tool_call> =stop" },
    { "hermes", false, "<tool_call>\n{\"name\": \"now\", arguments}\n</tool_call>", "<tool_call>\n{\"name\": \"now\", arguments}\n</tool_call> =stop" }, { "hermes", false, "<tool_call>\n{\"name\": \"now\", \"argu", "<tool_call>\n{\"name\": \"now\", \"argu =stop" }, { "hermes", false, "x  <tool_call>  y", "x  <tool_call>  y =stop" },
    { "hermes", false, "<tool_call><tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", "<tool_call>|now({} =tool_calls" }, { "hermes", false, "<tool_call>\nno\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}", "<tool_call>\nno|now({} =tool_calls" },
    { "hermes", false, "```json\n{\"name\": \"now\", \"arguments\": {}}\n```", "|now({} =tool_calls" }, { "hermes", false, "{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"get\", \"arguments\": {\"k\": \"z\"}}", "|now({}|get({\"k\": \"z\"} =tool_calls" }, { "hermes", false, "```\n{\"name\": \"now\", \"arguments\": {}}\n```\nThat is it.", "\nThat is it.|now({} =tool_calls" },
    { "hermes", false, "```json\n{\"city\": \"x\"}\n```\n", "```json\n{\"city\": \"x\"}\n```\n =stop" }, { "hermes", false, "{\"a\": {", "{\"a\": { =stop" }, { "hermes", false, "```python\nprint()\n```", "```python\nprint()\n``` =stop" }, { "hermes", false, "``", "`` =stop" }, { "hermes", false, " \n ", " \n  =stop" },
    { "hermes", false, "Say:\n{\"name\": \"now\", \"arguments\": {}}", "Say:\n{\"name\": \"now\", \"arguments\": {}} =stop" },
    { "hermes", true, "Ok\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"k\": \"a}\", \"l\": [{}]}}\n</tool_call>", "Ok|get({\"k\": \"a}\", \"l\": [{}]} =tool_calls" }, { "hermes", true, "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"k\": \"a", "|get({\"k\": \"a =stop" }, { "hermes", true, "<tool_call>\n{\"name\": \"ge", "<tool_call>\n{\"name\": \"ge =stop" },
    { "hermes", true, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {\"x\": 1}}\n</tool_call>", "|now({}|now({\"x\": 1} =tool_calls" },
    { "llama3", false, "{\"name\": \"now\", \"parameters\": {}}", "|now({} =tool_calls" }, { "llama3", false, "<|python_tag|>{\"name\": \"get\", \"parameters\": {\"k\": \"v\"}}", "|get({\"k\": \"v\"} =tool_calls" }, { "llama3", false, "<|python_tag|>print(1)", "<|python_tag|>print(1) =stop" }, { "llama3", false, "<|pyth", "<|pyth =stop" },
    { "llama3", false, "{\"answer\": 42}", "{\"answer\": 42} =stop" }, { "llama3", false, "It is {\"name\": \"now\", \"parameters\": {}}", "It is {\"name\": \"now\", \"parameters\": {}} =stop" }, { "llama3", true, "{\"name\": \"get\", \"parameters\": {\"k\": \"v\"}}", "|get({\"k\": \"v\"} =tool_calls" },
    { "llama3", false, "{\"name\": \"now\", \"parameters\": {}} and more", "and more|now({} =tool_calls" },
    { "mistral", false, "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"get\", \"arguments\": {\"k\": \"]\"}, \"id\": \"abcdefghi\"}]", "|now({}|get({\"k\": \"]\"} =tool_calls" }, { "mistral", true, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {\"k\": \"v\"}, \"id\": \"abcdefghi\"}]", "|get({\"k\": \"v\"} =tool_calls" },
    { "mistral", false, "[TOOL_CALLS] none", "[TOOL_CALLS] none =stop" }, { "mistral", false, "[TOOL_CALLS][]", "[TOOL_CALLS][] =stop" }, { "mistral", false, "Hi[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}", "Hi|now({} =tool_calls" }, { "mistral", false, "[[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}]", "[|now({} =tool_calls" },
};

static void run_answer(struct arena *a, const struct tool_plan *p, str text, size_t cut1, size_t cut2, char *out, size_t cap)
{
    struct telling w;
    struct rng r = rand_seeded(1);
    struct openai_writer writer = { .is_chat = true };
    str finish = S("stop");
    tell_init(&w, &writer, p, a, &r, NULL, 0);
    if (cut1 == SIZE_MAX) {             /* byte by byte */
        for (size_t i = 0; i < text.n; i++)
            assert_int_equal(tell_put(&w, str_slice(text.p + i, 1), STR_NONE), ERR_OK);
    } else {
        assert_int_equal(tell_put(&w, str_slice(text.p, cut1), STR_NONE), ERR_OK);
        assert_int_equal(tell_put(&w, str_slice(text.p + cut1, cut2 - cut1), STR_NONE), ERR_OK);
        assert_int_equal(tell_put(&w, str_skip(text, cut2), STR_NONE), ERR_OK);
    }
    assert_int_equal(tell_end(&w, &finish), ERR_OK);
    show_answer(&w, finish, out, cap);
    tell_free(&w);
}

static void calls_are_found_however_the_text_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct arena a;
        struct tool_plan p;
        struct wire_error why;
        char got[1024];
        str text = str_of(answers[i].text);
        arena_init(&a, 64 << 20);
        assert_int_equal(plan_of(&a, answers[i].format, USER, strstr(answers[i].text, "\"f\"") ? STRICT : TOOLS, &p, &why), ERR_OK);
        p.strict_layout = answers[i].strict;
        for (size_t x = 0; x <= text.n; x++)
            for (size_t y = x; y <= text.n; y += text.n > 60 ? 7 : 1) {
                run_answer(&a, &p, text, x, y, got, sizeof got);
                if (strcmp(got, answers[i].want) != 0)
                    fail_msg("%s: %s\ncut at %zu and %zu: %s\nnot %s", answers[i].format, answers[i].text, x, y, got, answers[i].want);
            }
        run_answer(&a, &p, text, SIZE_MAX, 0, got, sizeof got);
        if (strcmp(got, answers[i].want) != 0)
            fail_msg("%s: %s\nbyte by byte: %s\nnot %s", answers[i].format, answers[i].text, got, answers[i].want);
        arena_free(&a);
    }
}

static void a_stream_has_the_name_first_and_then_pieces(void **state)
{
    (void)state;
    struct arena a;
    struct tool_plan p;
    struct wire_error why;
    struct telling w;
    struct buf out = { .max = 1 << 20 };
    struct rng r = rand_seeded(1);
    struct openai_writer writer = { .id = S("i"), .model = S("m"), .is_chat = true };
    str finish = S("stop");
    arena_init(&a, 1 << 20);
    assert_int_equal(plan_of(&a, "hermes", USER, TOOLS, &p, &why), ERR_OK);
    p.strict_layout = true;
    tell_init(&w, &writer, &p, &a, &r, &out, 0);
    assert_int_equal(tell_put(&w, S("Hm.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"k"), STR_NONE), ERR_OK);
    assert_int_equal(tell_put(&w, S("\": \"v\"}}\n</tool_call>"), STR_NONE), ERR_OK);
    assert_int_equal(tell_end(&w, &finish), ERR_OK);
    static const char *const order[] = { "\"delta\":{\"content\":\"Hm.\"}", "\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_", "\"type\":\"function\",\"function\":{\"name\":\"get\",\"arguments\":\"\"}}]}",
                                         "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"k\"}}]}", "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\": \\\"v\\\"}\"}}]}" };
    str rest = buf_str(&out);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        size_t at = str_find(rest, str_of(order[i]));
        if (at == rest.n)
            fail_msg("%s is not in %.*s", order[i], STR_ARG(buf_str(&out)));
        rest = str_skip(rest, at);
    }
    assert_true(str_eq(finish, S("tool_calls")));
    tell_free(&w);
    buf_free(&out);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_family_is_found_by_the_template),
        cmocka_unit_test(wishes_are_checked),
        cmocka_unit_test(each_family_writes_its_prompt),
        cmocka_unit_test(a_result_without_a_call_is_refused),
        cmocka_unit_test(answers_with_tools_are_bound_by_rules),
        cmocka_unit_test(a_schema_that_cannot_be_honoured_is_refused_when_strict),
        cmocka_unit_test(a_family_without_a_marker_needs_no_rules_where_nothing_is_demanded),
        cmocka_unit_test(calls_are_found_however_the_text_is_cut),
        cmocka_unit_test(a_stream_has_the_name_first_and_then_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
