/* fuzz: cmd gate fleet route ledger http io wire core */
/* Any file is taken or refused with a sentence; the canonical text of one that is taken loads again to the same text. */
#include "cmd/config.h"
#include "cmd/config_keys.h"

#include <assert.h>

/* The same bytes as a file of keys: what is written reads back as itself. */
static void check_keys(struct arena *a, const struct config_env *env, str text)
{
    struct buf errors = { .max = 1 << 20 }, first = { .max = 16 << 20 }, second = { .max = 16 << 20 };
    struct key_file f, again;
    enum err e = key_file_read(a, env, text, "keys.yaml", &errors, &f);
    if (e == ERR_OK && key_file_text(&f, &first) == ERR_OK) {
        e = key_file_read(a, env, buf_str(&first), "keys.yaml", &errors, &again);
        assert(e == ERR_LIMIT || (e == ERR_OK && key_file_text(&again, &second) == ERR_OK && str_eq(buf_str(&first), buf_str(&second))));
    } else if (e != ERR_OK) {
        assert(e == ERR_LIMIT || errors.n > 0);
    }
    buf_free(&errors);
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

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

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    const struct config_env env = { .cwd = "/work", .cores = 2, .var = var, .read = no_read, .is_file = is_file, .list = no_list, .get = no_get };
    struct buf errors = { .max = 1 << 20 };
    struct arena a;
    struct config *c, *again;
    arena_init(&a, CONFIG_ARENA);
    enum err e = config_load_text(&a, (str){ (const char *)p, n }, "/etc/hearth.yaml", &env, &c, &errors);
    if (e == ERR_OK) {
        str text = c->text;
        e = config_load_text(&a, text, "/etc/hearth.yaml", &env, &again, &errors);
        assert(e == ERR_LIMIT || (e == ERR_OK && str_eq(text, again->text)));
    } else {
        assert(e == ERR_LIMIT || errors.n > 0);
    }
    buf_free(&errors);
    check_keys(&a, &env, (str){ (const char *)p, n });
    arena_free(&a);
    return 0;
}
