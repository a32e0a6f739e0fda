/* Memory that runs out while a configuration, a file of keys or a registry of prompts is read: it is refused, or it is all there. A half of a file
 * of keys would open or shut what it does not say. */
#include "cmd/config.h"
#include "cmd/config_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *var(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "HOME") == 0 ? "/home/user" : strcmp(name, "KEY") == 0 ? "secret" : NULL;
}

static enum err no_read(void *ctx, struct arena *a, const char *path, size_t max, str *bytes, unsigned *mode)
{
    (void)ctx, (void)a, (void)path, (void)max, (void)bytes, (void)mode;
    return ERR_NOTFOUND;
}

static bool is_file(void *ctx, const char *path) { (void)ctx, (void)path; return true; }

static enum err no_list(void *ctx, struct arena *a, const char *path, str **names, size_t *n)
{
    (void)ctx, (void)a, (void)path, (void)names, (void)n;
    return ERR_NOTFOUND;
}

static enum err no_get(void *ctx, struct arena *a, uint16_t port, const char *path, str *body)
{
    (void)ctx, (void)a, (void)port, (void)path, (void)body;
    return ERR_NOTFOUND;
}

static const struct config_env env = { .cwd = "/work", .cores = 2, .var = var, .read = no_read, .is_file = is_file, .list = no_list, .get = no_get };

static const char configuration[] =
    "listen: 127.0.0.1:9000\nhosts: [a.example, b.example]\nguard: { cloud: off }\n"
    "providers:\n  here: { api: embedded }\n  far: { api: openai, url: https://api.example.com/v1, key: '${KEY}', zone: cloud }\n"
    "models:\n  small: { provider: here, file: ~/m.gguf, slots: 2 }\n  large: { provider: far, id: x, retries: 1, fallback: small, price: { input: 1.5, output: 2 } }\n"
    "tasks:\n  docs: { reference: large, candidate: small, risk: low, deadline: 30s }\n  secret: { model: small, data: private }\n"
    "aliases: { 'claude-*': auto, both: { small: 1, large: 3 } }\nauto:\n  code: { words: [refactor], to: task/docs }\n  rest: { to: small }\ndefault: small\n";

static const char keys[] = "alice: { hash: 'sha256:0000000000000000000000000000000000000000000000000000000000000000', tasks: [docs], zone: private, requests_per_minute: 60, dollars_per_day: 5 }\n"
                           "bob: { hash: 'sha256:1111111111111111111111111111111111111111111111111111111111111111', models: [small, large], admin: true, expires: 2030-01-01 }\n";

/* What came of it, as text; empty with an error. */
static enum err read_configuration(struct arena *a, struct buf *errors, char *out, size_t room)
{
    struct config *c;
    enum err e = config_load_text(a, S(configuration), "/work/hearth.yaml", &env, &c, errors);
    if (!e)
        snprintf(out, room, "%.*s\n%.*s", STR_ARG(c->text), STR_ARG(c->json));
    return e;
}

static enum err read_keys(struct arena *a, struct buf *errors, char *out, size_t room)
{
    struct key_file f;
    struct buf b = { .max = 1 << 16 };
    enum err e = key_file_read(a, &env, S(keys), "keys.yaml", errors, &f);
    if (!e)
        e = key_file_text(&f, &b);
    if (!e)
        snprintf(out, room, "%.*s", STR_ARG(buf_str(&b)));
    buf_free(&b);
    return e;
}

static enum err (*const readers[])(struct arena *, struct buf *, char *, size_t) = { read_configuration, read_keys };

static char want[1 << 16], got[1 << 16];

static void reference(size_t which)
{
    struct arena a;
    struct buf errors = { .max = 1 << 16 };
    arena_init(&a, CONFIG_ARENA);
    enum err e = readers[which](&a, &errors, want, sizeof want);
    if (e)
        fail_msg("%s: %.*s", err_name(e), STR_ARG(buf_str(&errors)));
    buf_free(&errors);
    arena_free(&a);
}

static void judge(enum err e, const char *what, size_t amount)
{
    size_t at = 0;
    while (want[at] && got[at] == want[at])
        at++;
    if (e == ERR_OK && (got[at] || want[at]))
        fail_msg("%s of %zu: taken for whole: …%.60s where it should be …%.60s", what, amount, got + at, want + at);
    if (e != ERR_OK && e != ERR_LIMIT && e != ERR_MEMORY)
        fail_msg("%s of %zu: %s", what, amount, err_name(e));
}

static void a_file_is_read_whole_or_refused_in_every_size_of_memory(void **state)
{
    (void)state;
    for (size_t which = 0; which < 2; which++) {
        enum err e = ERR_LIMIT;
        reference(which);
        for (size_t limit = 0; e; limit += limit < 2000 ? 1 : 16) {
            char *mem = malloc(limit ? limit : 1);
            struct arena a = { .base = mem, .at = mem, .end = mem + limit };
            struct buf errors = { .max = 1 << 16 };
            e = readers[which](&a, &errors, got, sizeof got);
            judge(e, "an arena", limit);
            buf_free(&errors);
            free(mem);
        }
    }
}

static void a_file_is_read_whole_or_refused_wherever_a_request_for_memory_fails(void **state)
{
    (void)state;
    for (size_t which = 0; which < 2; which++) {
        enum err e = ERR_LIMIT;
        reference(which);
        for (size_t n = 0; e; n++) {
            struct arena a;
            struct buf errors = { .max = 1 << 16 };
            arena_init(&a, CONFIG_ARENA);
            memory_fail_after(n);
            e = readers[which](&a, &errors, got, sizeof got);
            memory_fail_after(SIZE_MAX);
            judge(e, "a failure after", n);
            buf_free(&errors);
            arena_free(&a);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_or_refused_in_every_size_of_memory),
        cmocka_unit_test(a_file_is_read_whole_or_refused_wherever_a_request_for_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
