/* Two passes: the headers become one header in memory, then the tensors' data is copied behind it. */
#include "fleet/join.h"

#include "core/buf.h"
#include "fleet/local.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20, TENSORS = 1 << 20 };

struct tensor { int fd; uint64_t from, bytes, to; };    /* from: in its file; to: behind the whole's header */

struct join {
    struct buf head, pairs, entries;    /* head: what the others became */
    struct tensor *v;
    size_t n, cap;
    uint64_t n_pairs, alignment, data_bytes;
    uint32_t version;
    /* while a file is read */
    bool first, full;
    int fd;
};

static uint64_t align(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

static void put_number(struct buf *b, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        (void)buf_putc(b, (char)(v >> 8 * i));
}

static void on_pair(void *ctx, str key, str whole)
{
    struct join *j = ctx;
    if (!j->first || str_starts(key, S("split.")))
        return;
    j->n_pairs++;
    j->full |= buf_put(&j->pairs, whole) != ERR_OK;
}

static void on_tensor(void *ctx, str whole, uint64_t offset, uint64_t bytes)
{
    struct join *j = ctx;
    if (j->n == j->cap) {
        size_t cap = j->cap ? j->cap * 2 : 256;
        struct tensor *v = cap <= TENSORS ? realloc(j->v, cap * sizeof *v) : NULL;
        if (!v) {
            j->full = true;
            return;
        }
        j->v = v;
        j->cap = cap;
    }
    j->v[j->n++] = (struct tensor){ .fd = j->fd, .from = offset, .bytes = bytes };
    j->full |= buf_put(&j->entries, whole) != ERR_OK;
}

/* One file's header. Its tensors get their place in the file when it is known where its data begins; in the whole when all are known. */
static enum err take_file(struct join *j, int fd, uint32_t no, uint32_t count, const char **why)
{
    struct buf head = { .max = GGUF_HEAD_MAX };
    struct gguf_facts f;
    struct stat st;
    size_t before = j->n;
    struct gguf_visitor v = { j, on_pair, on_tensor };
    enum err e = local_read_head(fd, &head, &f, why);
    if (e == ERR_OK && fstat(fd, &st) != 0)
        e = ERR_IO;
    j->first = no == 0;
    j->fd = fd;
    if (e == ERR_OK)
        e = gguf_visit(buf_str(&head), (uint64_t)st.st_size, &v, &f, why);
    if (e == ERR_OK && (f.split_count != count || f.split_no != no || (no == 0 && f.architecture.n == 0))) {
        *why = "a file is not the one that its name says: its split.no or split.count is another";
        e = ERR_SYNTAX;
    }
    if (e == ERR_OK && j->full) {
        *why = "the headers are too large";
        e = ERR_LIMIT;
    }
    if (no == 0 && e == ERR_OK) {
        j->alignment = f.alignment;
        j->version = f.version;
    }
    for (size_t i = before; e == ERR_OK && i < j->n; i++)
        j->v[i].from += f.data_at;
    buf_free(&head);
    return e;
}

/* The entries follow each other in the buffer; where each ends stands nowhere, so each is read again for its length. */
static size_t entry_length(const char *p)
{
    uint64_t name = 0, dims = 0;
    for (size_t i = 8; i-- > 0;)
        name = name << 8 | (uint8_t)p[i];
    for (size_t i = 4; i-- > 0;)
        dims = dims << 8 | (uint8_t)p[8 + name + i];
    return 8 + (size_t)name + 4 + 8 * (size_t)dims + 4 + 8;
}

static enum err make_head(struct join *j)
{
    uint64_t at = 0;
    size_t p = 0;
    for (size_t i = 0; i < j->n; i++) {
        j->v[i].to = at = align(at, j->alignment);
        at += j->v[i].bytes;
        p += entry_length(j->entries.p + p);
        for (size_t k = 0; k < 8; k++)
            j->entries.p[p - 8 + k] = (char)(j->v[i].to >> 8 * k);
    }
    j->data_bytes = at;
    (void)buf_put(&j->head, S("GGUF"));
    put_number(&j->head, j->version, 4);
    put_number(&j->head, j->n, 8);
    put_number(&j->head, j->n_pairs, 8);
    enum err e = buf_put(&j->head, buf_str(&j->pairs));
    if (e == ERR_OK)
        e = buf_put(&j->head, buf_str(&j->entries));
    while (e == ERR_OK && j->head.n % j->alignment)
        e = buf_putc(&j->head, '\0');
    buf_free(&j->pairs);
    buf_free(&j->entries);
    return e;
}

enum err join_plan(const int *fds, uint32_t n, struct join **out, const char **why)
{
    struct join *j = calloc(1, sizeof *j);
    *why = err_text(ERR_MEMORY);
    if (!j)
        return ERR_MEMORY;
    j->head.max = 2 * (size_t)GGUF_HEAD_MAX;
    j->pairs.max = j->entries.max = GGUF_HEAD_MAX;
    enum err e = ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        e = take_file(j, fds[i], i, n, why);
    if (e == ERR_OK)
        e = make_head(j);
    if (e != ERR_OK) {
        join_free(j);
        return e;
    }
    *out = j;
    return ERR_OK;
}

uint64_t join_size(const struct join *j) { return j->head.n + j->data_bytes; }

static enum err copy_tensor(const struct tensor *t, uint64_t to, char *piece, enum err (*write)(void *ctx, uint64_t at, str data), void *ctx)
{
    for (uint64_t done = 0; done < t->bytes;) {
        uint64_t left = t->bytes - done;
        ssize_t n = pread(t->fd, piece, left < PIECE ? (size_t)left : PIECE, (off_t)(t->from + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        enum err e = write(ctx, to + done, str_slice(piece, (size_t)n));
        if (e != ERR_OK)
            return e;
        done += (uint64_t)n;
    }
    return ERR_OK;
}

enum err join_write(const struct join *j, enum err (*write)(void *ctx, uint64_t at, str data), void *ctx)
{
    static const char zeros[4096];
    char *piece = malloc(PIECE);
    uint64_t at = j->head.n;
    enum err e = piece ? write(ctx, 0, buf_str(&j->head)) : ERR_MEMORY;
    for (size_t i = 0; e == ERR_OK && i < j->n; i++) {
        uint64_t to = j->head.n + j->v[i].to;
        while (e == ERR_OK && at < to) {
            uint64_t gap = to - at < sizeof zeros ? to - at : sizeof zeros;
            e = write(ctx, at, str_slice(zeros, (size_t)gap));
            at += gap;
        }
        if (e == ERR_OK)
            e = copy_tensor(&j->v[i], to, piece, write, ctx);
        at = to + j->v[i].bytes;
    }
    free(piece);
    return e;
}

void join_free(struct join *j)
{
    if (!j)
        return;
    buf_free(&j->head);
    buf_free(&j->pairs);
    buf_free(&j->entries);
    free(j->v);
    free(j);
}
