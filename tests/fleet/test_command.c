/* Command lines of managed servers: split without a shell, filled without surprises. */
#include "fleet/command.h"
#include "fleet/kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct command_values some = { .of = {
    [COMMAND_PORT] = S("4711"), [COMMAND_HOST] = S("127.0.0.1"), [COMMAND_MODEL] = S("/m/a model.gguf"), [COMMAND_NAME] = S("coder"), [COMMAND_THREADS] = S("2") } };

static const struct { const char *line, *args, *why; } cases[] = {
    { "llama-server -m {model} --port {port}", "llama-server|-m|/m/a model.gguf|--port|4711", NULL },
    { "  a\tb  c\n", "a|b|c", NULL },
    { "'/opt/my server' \"--x=a b\" c\\ d", "/opt/my server|--x=a b|c d", NULL },
    { "a 'b\\c' \"d\\\"e\" ''", "a|b\\c|d\"e|", NULL },
    { "a $HOME `id` ; rm *", "a|$HOME|`id`|;|rm|*", NULL },
    { "a --json '{\"method\":\"ngram\",\"n\":{}}' {host}:{port}", "a|--json|{\"method\":\"ngram\",\"n\":{}}|127.0.0.1:4711", NULL },
    { "a [ --threads {threads} ] [ --ctx {context} ] b", "a|--threads|2|b", NULL },
    { "a [ --both {threads} {context} ] '[' x", "a|[|x", NULL },
    { "a {port}{port}x{name}", "a|47114711xcoder", NULL },
    { "", NULL, "no program" },
    { "[ a ]", NULL, "no program" },
    { "a 'b", NULL, "quotes" },
    { "a [ b", NULL, "no ]" },
    { "a ] b", NULL, "no [" },
    { "a [ b [ c ] ]", NULL, "within" },
    { "a --port {prot}", NULL, "placeholder" },
    { "a \x01", NULL, "control" },
};

static void words_are_what_a_shell_would_make_of_quotes_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        str *words;
        size_t n, n_argv;
        char **argv;
        const char *why;
        char got[512] = "";
        arena_init(&a, 1 << 20);
        enum err e = command_split(&a, str_of(cases[i].line), &words, &n, &why);
        if (cases[i].why) {
            assert_int_equal(e, ERR_SYNTAX);
            if (!strstr(why, cases[i].why))
                fail_msg("%s: %s", cases[i].line, why);
        } else {
            assert_int_equal(e, ERR_OK);
            assert_int_equal(command_expand(&a, words, n, &some, &argv, &n_argv), ERR_OK);
            assert_null(argv[n_argv]);
            for (size_t k = 0; k < n_argv; k++)
                snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", k ? "|" : "", argv[k]);
            assert_string_equal(got, cases[i].args);
        }
        arena_free(&a);
    }
}

static void too_many_words_and_too_little_memory_are_said(void **state)
{
    char line[COMMAND_WORDS * 2 + 8];
    str *words;
    size_t n;
    const char *why;
    (void)state;
    memset(line, ' ', sizeof line);
    for (size_t i = 0; i <= COMMAND_WORDS; i++)
        line[i * 2] = 'a';
    line[COMMAND_WORDS * 2 + 1] = '\0';
    struct arena a;
    arena_init(&a, 1 << 20);
    assert_int_equal(command_split(&a, str_of(line), &words, &n, &why), ERR_SYNTAX);
    assert_non_null(strstr(why, "too many"));
    arena_free(&a);
    for (size_t limit = 0;; limit += 16) {
        char *mem = malloc(limit + 1), **argv;
        struct arena fixed = { .base = mem, .at = mem, .end = mem + limit };
        enum err e = command_split(&fixed, S("a [ --threads {threads} ] {model}"), &words, &n, &why);
        if (e == ERR_OK)
            e = command_expand(&fixed, words, n, &some, &argv, &n);
        free(mem);
        if (e == ERR_OK)
            break;
        assert_int_equal(e, ERR_LIMIT);
    }
}

static void every_preset_is_a_command_with_an_address(void **state)
{
    int presets = 0;
    (void)state;
    for (int k = 0; k < FLEET_KINDS; k++) {
        const struct kind *x = kind_of((enum fleet_kind)k);
        struct arena a;
        str *words;
        size_t n;
        const char *why;
        assert_int_equal(kind_id(x), k);
        assert_true(x->health[0] == '/');
        if (!x->command)
            continue;
        presets++;
        assert_ptr_equal(kind_find(str_of(x->name)), x);
        arena_init(&a, 1 << 20);
        assert_int_equal(command_split(&a, str_of(x->command), &words, &n, &why), ERR_OK);
        assert_true(command_has(words, n, COMMAND_PORT) || (x->env[0] && strstr(x->env[0], "{port}")));
        arena_free(&a);
    }
    assert_int_equal(presets, 4);
    assert_null(kind_find(S("engine")));
    assert_null(kind_find(S("sh -c x")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_what_a_shell_would_make_of_quotes_and_nothing_else),
        cmocka_unit_test(too_many_words_and_too_little_memory_are_said),
        cmocka_unit_test(every_preset_is_a_command_with_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
