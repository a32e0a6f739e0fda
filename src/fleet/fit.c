/* The estimate, and what Linux says of free memory. */
#include "fleet/fit.h"

#include "core/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t n;
    return __builtin_mul_overflow(a, b, &n) ? UINT64_MAX / 8 : n;
}

struct fit fit_estimate(const struct gguf_facts *f, uint64_t bytes, uint64_t context, uint64_t slots)
{
    struct fit n = { .weights = bytes, .buffers = bytes / 16 + (128u << 20), .context = context };
    uint64_t heads = f->heads_kv ? f->heads_kv : f->heads, length = f->heads ? f->embedding / f->heads : 0;
    if (!context)
        n.context = f->context && f->context < FIT_CONTEXT ? f->context : FIT_CONTEXT;
    uint64_t both = (f->key_length ? f->key_length : length) + (f->value_length ? f->value_length : length);
    n.kv = times(times(times(f->layers, heads), times(both, 2)), times(n.context, slots ? slots : FIT_SLOTS));
    n.all = n.weights + n.buffers + n.kv;
    return n;
}

/* The number behind `key` in a text of lines. */
static bool number_after(str text, str key, uint64_t *out)
{
    size_t at = str_find(text, key);
    str rest = str_skip(text, at + key.n), word;
    while (rest.n && (rest.p[0] == ' ' || rest.p[0] == '\t'))
        rest = str_skip(rest, 1);
    size_t n = 0;
    while (n < rest.n && rest.p[n] >= '0' && rest.p[n] <= '9')
        n++;
    word = (str){ rest.p, n };
    return at < text.n && str_u64(word, out);
}

uint64_t fit_available_in(str meminfo, str cgroup)
{
    uint64_t kib, most, used, free_bytes;
    str first, second;
    if (!number_after(meminfo, S("MemAvailable:"), &kib))
        return 0;
    free_bytes = times(kib, 1024);
    if (str_cut(cgroup, '\n', &first, &second) && str_u64(first, &most) && str_u64(str_slice(second.p, str_index(second, '\n')), &used)) {
        uint64_t left = most > used ? most - used : 0;
        free_bytes = left < free_bytes ? left : free_bytes;
    }
    return free_bytes;
}

static void read_into(struct buf *b, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 && buf_reserve(b, 8192) == ERR_OK ? read(fd, b->p + b->n, 8192) : 0;
    b->n += n > 0 ? (size_t)n : 0;
    if (fd >= 0)
        close(fd);
}

uint64_t fit_available(void)
{
    struct buf meminfo = { .max = 16384 }, group = { .max = 16384 }, where = { .max = 16384 };
    char path[4400];
    read_into(&meminfo, "/proc/meminfo");
    read_into(&where, "/proc/self/cgroup");
    str line = buf_str(&where);
    if (str_starts(line, S("0::/"))) {          /* version 2 alone */
        str own = str_slice(line.p + 3, str_index(str_skip(line, 3), '\n'));
        snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/memory.max", STR_ARG(own));
        read_into(&group, path);
        snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/memory.current", STR_ARG(own));
        read_into(&group, path);
    }
    uint64_t n = fit_available_in(buf_str(&meminfo), buf_str(&group));
    buf_free(&meminfo);
    buf_free(&group);
    buf_free(&where);
    return n;
}

const char *fit_verdict_name(enum fit_verdict v)
{
    static const char *const names[] = { "yes", "tight", "no", "unknown" };
    return names[v];
}

enum fit_verdict fit_judge(const struct fit *f, uint64_t available)
{
    if (!available || !f->weights)
        return FIT_UNKNOWN;
    return f->all > available ? FIT_NO : f->all > available / 10 * 9 ? FIT_TIGHT : FIT_YES;
}
