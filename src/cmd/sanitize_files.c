/* Which files there are: by git where a folder is git's, which knows what is ignored, else by reading folders. */
#include "cmd/sanitize.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { DEPTH_MAX = 64, LIST_MAX = 64 << 20 };

static enum err add(struct sanitize_files *f, const char *path, const char *to, int64_t bytes, const char *why)
{
    struct sanitize_file *more = arena_more(f->a, f->v, f->n, &f->cap);
    if (!more)
        return ERR_LIMIT;
    f->v = more;
    f->v[f->n] = (struct sanitize_file){ .path = arena_cstr(f->a, str_of(path)), .to = to, .bytes = bytes, .state = why ? FILE_SKIPPED : FILE_WAITS, .why = why };
    f->bytes += bytes;
    return f->v[f->n++].path ? ERR_OK : ERR_LIMIT;
}

static const char *join(struct arena *a, const char *dir, const char *name)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    return arena_cstr(a, arena_printf(a, "%.*s%s%s", (int)n, dir, n && dir[n - 1] == '/' ? "" : "/", name));
}

static enum err gather(struct sanitize_files *f, const char *path, const char *out, int depth);

/* What git lists below `dir`, each name with a NUL behind it. False: it is not git's, or there is no git. */
static bool ask_git(const char *dir, struct buf *names)
{
    /* A repository's own settings may name a program to ask for changes: none is to run here. */
    char *const argv[] = { "git", "-c", "core.fsmonitor=false", "-C", (char *)(uintptr_t)dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard", NULL };
    posix_spawn_file_actions_t acts;
    pid_t pid;
    int ends[2], status = -1;
    bool ok = true;
    if (pipe2(ends, O_CLOEXEC))
        return false;
    posix_spawn_file_actions_init(&acts);
    posix_spawn_file_actions_adddup2(&acts, ends[1], 1);
    posix_spawn_file_actions_addopen(&acts, 2, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&acts, 0, "/dev/null", O_RDONLY, 0);
    int rc = posix_spawnp(&pid, "git", &acts, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&acts);
    close(ends[1]);
    if (rc == 0) {
        char piece[16384];
        for (ssize_t n; (n = read(ends[0], piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR);)
            if (n > 0 && buf_put(names, str_slice(piece, (size_t)n)) != ERR_OK)
                ok = false;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
    return rc == 0 && ok && status == 0 && names->n;
}

static bool is_ours(str name) { return str_ends(name, S(SANITIZE_TEMP)); }

static enum err each_of_git(struct sanitize_files *f, const char *dir, const char *out, str names, int depth)
{
    enum err e = ERR_OK;
    for (str name; names.n && !e;) {
        (void)str_cut(names, '\0', &name, &names);
        struct stat st;
        const char *path = join(f->a, dir, name.p);
        const char *to = out ? join(f->a, out, name.p) : NULL;
        if (!path || (out && !to))
            return ERR_LIMIT;
        if (!name.n || is_ours(name) || lstat(path, &st) || S_ISLNK(st.st_mode))
            continue;                   /* also what is in the index and no longer here */
        e = gather(f, path, to, depth + 1);
    }
    return e;
}

static int by_name(const void *x, const void *y) { return strcmp(*(const char *const *)x, *(const char *const *)y); }

static enum err each_of_folder(struct sanitize_files *f, const char *dir, const char *out, int depth)
{
    enum err e = ERR_OK;
    const char **names = NULL;
    size_t n = 0, cap = 0;
    DIR *d = opendir(dir);
    if (!d)
        return add(f, dir, NULL, 0, arena_cstr(f->a, arena_printf(f->a, "cannot be read: %s", strerror(errno))));
    for (struct dirent *x; !e && (x = readdir(d));) {
        if (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0 || strcmp(x->d_name, ".git") == 0 || is_ours(str_of(x->d_name)))
            continue;
        names = arena_more(f->a, names, n, &cap);
        e = names && (names[n++] = arena_cstr(f->a, str_of(x->d_name))) ? ERR_OK : ERR_LIMIT;
    }
    closedir(d);
    if (n > 1 && !e)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n && !e; i++) {
        struct stat st;
        const char *path = join(f->a, dir, names[i]), *to = out ? join(f->a, out, names[i]) : NULL;
        if (!path || (out && !to))
            return ERR_LIMIT;
        if (lstat(path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
            e = gather(f, path, to, depth + 1);
    }
    return e;
}

static enum err gather(struct sanitize_files *f, const char *path, const char *out, int depth)
{
    struct stat st;
    if (stat(path, &st))
        return ERR_IO;
    if (!S_ISDIR(st.st_mode))
        return add(f, path, out, S_ISREG(st.st_mode) ? st.st_size : 0, NULL);
    if (depth > DEPTH_MAX)
        return add(f, path, NULL, 0, "is nested too deep");
    struct buf names = { .max = LIST_MAX };
    enum err e = ask_git(path, &names) ? each_of_git(f, path, out, buf_str(&names), depth) : each_of_folder(f, path, out, depth);
    buf_free(&names);
    return e;
}

enum err sanitize_gather(struct sanitize_files *f, const char *path, const char *out)
{
    struct stat st;
    if (strcmp(path, "-") == 0)
        return add(f, path, NULL, 0, NULL);
    if (stat(path, &st))
        return ERR_IO;
    if (!out || S_ISDIR(st.st_mode))
        return gather(f, path, out, 0);
    const char *name = strrchr(path, '/');
    const char *to = join(f->a, out, name ? name + 1 : path);
    return to ? gather(f, path, to, 0) : ERR_LIMIT;
}
