/* Small texts of the kernel, read whole. Every reader takes what it finds and gives up quietly where something is not there: kernels differ. */
#include "fleet/host.h"

#include "core/buf.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

const struct host_paths host_paths_system = { "/proc", "/sys/fs/cgroup" };

#define TEXT_MAX 16384

static str read_text(char text[TEXT_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static str read_text(char text[TEXT_MAX], const char *fmt, ...)
{
    char path[4400];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    size_t n = 0;
    int fd = len > 0 && (size_t)len < sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    for (ssize_t got; fd >= 0 && n < TEXT_MAX && (got = read(fd, text + n, TEXT_MAX - n)) > 0;)
        n += (size_t)got;
    if (fd >= 0)
        close(fd);
    return str_slice(text, n);
}

/* The number behind `key`, which stands at the start of a line. */
static bool number_of(str text, str key, int64_t *out)
{
    str line;
    while (text.n) {
        str_cut(text, '\n', &line, &text);
        if (!str_starts(line, key))
            continue;
        str v = str_trim(str_skip(line, key.n));
        size_t n = 0;
        uint64_t number;
        while (n < v.n && v.p[n] >= '0' && v.p[n] <= '9')
            n++;
        if (!str_u64(str_slice(v.p, n), &number) || number > INT64_MAX / 1024)
            return false;
        *out = (int64_t)number;
        return true;
    }
    return false;
}

static bool number_in(const char *dir, const char *path, const char *name, int64_t *out)
{
    char text[TEXT_MAX];
    return number_of(read_text(text, "%s%s/%s", dir, path, name), S(""), out);      /* "max" is no number */
}

/* ---- the machine ---- */

static void tighten(struct host *h, int64_t most, int64_t used, int64_t cache)
{
    int64_t left = most - (used > cache ? used - cache : 0);
    left = left > 0 ? left : 0;
    h->total = most < h->total ? most : h->total;
    h->free = left < h->free ? left : h->free;
}

/* The group of this process and all above it: any of them may be the tightest. */
static void look_at_groups(const struct host_paths *at, bool old, char *path, struct host *h)
{
    static const char *const names[2][3] = { { "memory.max", "memory.current", "\ninactive_file " },
                                             { "memory.limit_in_bytes", "memory.usage_in_bytes", "\ntotal_inactive_file " } };
    char dir[4200], text[TEXT_MAX];
    snprintf(dir, sizeof dir, "%s%s", at->cgroup, old ? "/memory" : "");
    for (;;) {
        int64_t most, used, cache = 0;
        if (number_in(dir, path, names[old][0], &most) && most > 0 && number_in(dir, path, names[old][1], &used)) {
            (void)number_of(read_text(text, "%s%s/memory.stat", dir, path), str_of(names[old][2] + 1), &cache);
            tighten(h, most, used, cache);
        }
        char *slash = strrchr(path, '/');
        if (!slash || !*path)
            return;
        *slash = '\0';
    }
}

/* "0::/PATH" of version 2, "5:memory:/PATH" of version 1. */
static void find_groups(const struct host_paths *at, struct host *h)
{
    char text[TEXT_MAX], path[4096];
    str all = read_text(text, "%s/self/cgroup", at->proc), line, number, names;
    while (all.n) {
        str_cut(all, '\n', &line, &all);
        if (!str_cut(line, ':', &number, &line) || !str_cut(line, ':', &names, &line) || line.n >= sizeof path)
            continue;
        bool v2 = str_eq(number, S("0")) && !names.n, v1 = str_eq(names, S("memory"));
        if (!v2 && !v1)
            continue;
        memcpy(path, line.p, line.n);
        path[line.n] = '\0';
        if (line.n && path[line.n - 1] == '/')
            path[line.n - 1] = '\0';
        look_at_groups(at, v1, path, h);
    }
}

enum err host_look(const struct host_paths *at, struct host *out)
{
    char text[TEXT_MAX];
    int64_t total, available;
    str info = read_text(text, "%s/meminfo", at->proc);
    if (!number_of(info, S("MemTotal:"), &total) || !number_of(info, S("MemAvailable:"), &available))
        return ERR_IO;
    struct host h = { total * 1024, available * 1024 };
    find_groups(at, &h);
    *out = h;
    return ERR_OK;
}

/* ---- ports ---- */

/* "  12: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 …" */
static bool listener(str line, uint16_t port, uint64_t *uid)
{
    char want[8];
    str word = S("");
    snprintf(want, sizeof want, ":%04X", port);
    for (int i = 0; i < 8 && line.n; i++) {
        while (line.n && line.p[0] == ' ')
            line = str_skip(line, 1);
        str_cut(line, ' ', &word, &line);
        if ((i == 1 && !str_ends(word, str_of(want))) || (i == 3 && !str_eq(word, S("0A"))))
            return false;
    }
    return str_u64(word, uid);
}

bool host_port_is_ours(const struct host_paths *at, uint16_t port)
{
    struct buf all = { .max = 4u << 20 };
    char path[4200];
    bool ours = true;
    uint64_t uid;
    snprintf(path, sizeof path, "%s/net/tcp", at->proc);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n; fd >= 0 && buf_reserve(&all, 65536) == ERR_OK && (n = read(fd, all.p + all.n, 65536)) > 0;)
        all.n += (size_t)n;
    if (fd >= 0)
        close(fd);
    for (str rest = buf_str(&all), line; rest.n && ours;) {
        str_cut(rest, '\n', &line, &rest);
        ours = !listener(line, port, &uid) || uid == geteuid();
    }
    buf_free(&all);
    return ours;
}

/* ---- processes ---- */

struct parent { int pid, of; };

/* "PID (NAME) STATE PARENT …", where NAME may hold anything. */
static int parent_in(str stat)
{
    size_t end = stat.n;
    while (end && stat.p[end - 1] != ')')
        end--;
    str rest = str_skip(stat, end), word;
    int64_t parent = -1;
    if (!str_cut(str_skip(rest, 1), ' ', &word, &rest) || !str_cut(rest, ' ', &word, &rest) || !str_i64(word, &parent))
        return -1;
    return (int)parent;
}

static void read_parents(const struct host_paths *at, struct buf *out)
{
    char text[TEXT_MAX];
    DIR *d = opendir(at->proc);
    for (struct dirent *x; d && (x = readdir(d));) {
        uint64_t pid;
        if (!str_u64(str_of(x->d_name), &pid) || pid > INT32_MAX)
            continue;
        struct parent one = { (int)pid, parent_in(read_text(text, "%s/%llu/stat", at->proc, (unsigned long long)pid)) };
        if (buf_put(out, str_slice((const char *)&one, sizeof one)) != ERR_OK)
            break;
    }
    if (d)
        closedir(d);
}

size_t host_tree(const struct host_paths *at, int root, int pids[HOST_TREE])
{
    struct buf all = { .max = 8u << 20 };
    size_t n = 0;
    read_parents(at, &all);
    const struct parent *p = (const struct parent *)(const void *)all.p;
    pids[n++] = root;
    for (size_t i = 0; i < n; i++)      /* the list grows while it is walked: children of children */
        for (size_t k = 0; k < all.n / sizeof *p && n < HOST_TREE; k++)
            if (p[k].of == pids[i])
                pids[n++] = p[k].pid;
    buf_free(&all);
    return n;
}

void host_use(const struct host_paths *at, const int *pids, size_t n, struct host_use *out)
{
    char text[TEXT_MAX];
    *out = (struct host_use){ .n = 0 };
    for (size_t i = 0; i < n; i++) {
        int64_t pss = 0, file = 0, rss = 0;
        str all = read_text(text, "%s/%d/smaps_rollup", at->proc, pids[i]);
        bool known = number_of(all, S("Pss:"), &pss);
        if (known)
            (void)number_of(all, S("Pss_File:"), &file);
        else if (number_of(read_text(text, "%s/%d/status", at->proc, pids[i]), S("VmRSS:"), &rss))
            pss = rss;                  /* an engine that shut its door to /proc, or an older kernel */
        else
            continue;
        out->used += pss * 1024;
        out->mapped += file * 1024;
        out->n++;
    }
}
