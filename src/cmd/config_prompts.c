/* Prompts on disk. */
#include "cmd/config_prompts.h"

#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { REGISTRY_MAX = 64 << 20 };

enum err prompt_file_load(struct arena *a, const struct config_env *env, const char *path, struct buf *errors, struct prompt_book *out)
{
    str text = S("");
    unsigned mode;
    char why[200];
    enum err e = env->read(env->ctx, a, path, REGISTRY_MAX, &text, &mode);
    if (e != ERR_OK && e != ERR_NOTFOUND) {
        (void)buf_printf(errors, "%s: the registry of prompts cannot be read\n", path);
        return e;
    }
    e = prompt_book_read(a, text, out, why);
    if (e == ERR_SYNTAX)
        (void)buf_printf(errors, "%s: %s\n", path, why);
    return e;
}

enum err prompt_file_append(const char *path, str lines)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return ERR_IO;
    bool good = flock(fd, LOCK_EX) == 0 && write(fd, lines.p, lines.n) == (ssize_t)lines.n && fsync(fd) == 0;
    int why = errno;
    close(fd);
    errno = why;
    return good ? ERR_OK : ERR_IO;
}

/* "docstring" of "docstring.md"; empty: no file for us. */
static str name_of(str file)
{
    static const str ends[] = { S(".md"), S(".txt"), S(".prompt") };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (str_ends(file, ends[i]) && prompt_name_ok(str_slice(file.p, file.n - ends[i].n)))
            return str_slice(file.p, file.n - ends[i].n);
    return STR_NONE;
}

static int by_name(const void *x, const void *y) { return str_cmp(*(const str *)x, *(const str *)y); }

static enum err import_one(struct arena *a, const struct config_env *env, const char *dir, str file, const char *path, struct prompt_book *book, struct buf *errors, int *added)
{
    str text, name = name_of(file);
    unsigned mode;
    char at[CLOCK_TEXT];
    struct buf line = { .max = 16u << 20 };
    const struct prompt *last = prompt_find(book, name);
    char *whole = arena_cstr(a, arena_printf(a, "%s/%.*s", dir, STR_ARG(file)));
    enum err e = whole ? env->read(env->ctx, a, whole, PROMPT_TEXT_MAX, &text, &mode) : ERR_LIMIT;
    if (e == ERR_OK && !str_is_utf8(text))
        e = ERR_SYNTAX;
    if (e != ERR_OK) {
        (void)buf_printf(errors, "%s/%.*s: this is no text of at most 1 MiB\n", dir, STR_ARG(file));
        return ERR_OK;                  /* the others are imported all the same */
    }
    if (last && str_eq(last->text, text))
        return ERR_OK;
    clock_text(clock_wall_us(&clock_system), at);
    e = prompt_write_add(&line, book, name, text, arena_printf(a, "imported from %.*s", STR_ARG(file)), str_of(at));
    if (e == ERR_OK)
        e = prompt_file_append(path, buf_str(&line));
    buf_free(&line);
    *added += e == ERR_OK;
    return e;
}

enum err prompt_dir_import(struct arena *a, const struct config_env *env, const char *dir, const char *path, struct prompt_book *book, struct buf *errors, int *added)
{
    str *files;
    size_t n;
    *added = 0;
    enum err e = env->list(env->ctx, a, dir, &files, &n);
    if (e != ERR_OK) {
        (void)buf_printf(errors, "%s: the folder of prompts cannot be read\n", dir);
        return e;
    }
    qsort(files, n, sizeof *files, by_name);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (name_of(files[i]).n)
            e = import_one(a, env, dir, files[i], path, book, errors, added);
    return e == ERR_OK && *added ? prompt_file_load(a, env, path, errors, book) : e;
}
