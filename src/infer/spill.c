/* A list of where the records are, read once; states are read when they are wanted. */
#include "infer/spill.h"

#include "core/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORDS_MAX 128
#define TOKENS_MAX  (1u << 20)
#define RECORD_MAGIC 0x6b762d7265636f72u

static const char file_magic[32] = "hearth-kv 1\n";
struct file_head { char magic[32]; struct digest facts; };
struct record_head { uint64_t magic, owner, tokens, bytes; struct digest digest; };
_Static_assert(sizeof(struct file_head) == 64 && sizeof(struct record_head) == 64, "no padding in the file");

struct record { struct record_head head; off_t at; };           /* at: of the tokens */

struct spill {
    int fd;
    uint64_t limit;
    off_t end;
    struct arena mem;                   /* tokens that were asked for */
    int n;
    struct record records[RECORDS_MAX];
};

static bool read_all(int fd, void *to, size_t n, off_t at)
{
    for (char *p = to; n;) {
        ssize_t k = pread(fd, p, n, at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
        at += k;
    }
    return true;
}

static bool write_all(int fd, const void *from, size_t n, off_t at)
{
    for (const char *p = from; n;) {
        ssize_t k = pwrite(fd, p, n, at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
        at += k;
    }
    return true;
}

static uint64_t record_length(const struct record_head *h) { return (sizeof *h + h->tokens * sizeof(int32_t) + h->bytes + 7) & ~(uint64_t)7; }

/* Records until the first that cannot be one: what comes after it is written over. */
static void read_records(struct spill *s, off_t size)
{
    s->end = sizeof(struct file_head);
    while (s->n < RECORDS_MAX) {
        struct record r;
        if (!read_all(s->fd, &r.head, sizeof r.head, s->end) || r.head.magic != RECORD_MAGIC || r.head.tokens == 0 || r.head.tokens > TOKENS_MAX ||
            r.head.bytes == 0 || r.head.bytes > s->limit || s->end + (off_t)record_length(&r.head) > size)
            return;
        r.at = s->end + (off_t)sizeof r.head;
        s->end += (off_t)record_length(&r.head);
        s->records[s->n++] = r;
    }
}

static enum err start_anew(struct spill *s, const struct digest *facts)
{
    struct file_head h = { .facts = *facts };
    memcpy(h.magic, file_magic, sizeof h.magic);
    s->end = sizeof h;
    return ftruncate(s->fd, 0) == 0 && write_all(s->fd, &h, sizeof h, 0) ? ERR_OK : ERR_IO;
}

enum err spill_open(int fd, uint64_t limit, const struct digest *facts, struct spill **out)
{
    struct spill *s = calloc(1, sizeof *s);
    struct file_head h;
    struct stat st;
    if (!s) {
        close(fd);
        return ERR_MEMORY;
    }
    *s = (struct spill){ .fd = fd, .limit = limit };
    arena_init(&s->mem, RECORDS_MAX * (size_t)TOKENS_MAX);
    enum err e = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? ERR_OK : ERR_IO;
    if (e == ERR_OK && read_all(fd, &h, sizeof h, 0) && memcmp(h.magic, file_magic, sizeof h.magic) == 0 && memcmp(&h.facts, facts, sizeof *facts) == 0)
        read_records(s, st.st_size);
    else if (e == ERR_OK)
        e = start_anew(s, facts);
    if (e != ERR_OK) {
        spill_close(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void spill_close(struct spill *s)
{
    if (!s)
        return;
    close(s->fd);
    arena_free(&s->mem);
    free(s);
}

int spill_count(const struct spill *s) { return s->n; }
size_t spill_bytes(const struct spill *s, int i) { return s->records[i].head.bytes; }

bool spill_tokens(struct spill *s, int i, struct prefix_entry *out)
{
    const struct record *r = &s->records[i];
    int32_t *tokens = arena_new(&s->mem, int32_t, r->head.tokens);
    if (!tokens || !read_all(s->fd, tokens, r->head.tokens * sizeof *tokens, r->at))
        return false;
    *out = (struct prefix_entry){ .owner = r->head.owner, .tokens = tokens, .n = r->head.tokens };
    return true;
}

static struct digest digest_of(struct sha256 *h, const int32_t *tokens, size_t n, const uint8_t *state, size_t bytes)
{
    sha256_begin(h);
    sha256_add(h, str_slice((const char *)tokens, n * sizeof *tokens));
    sha256_add(h, str_slice((const char *)state, bytes));
    return sha256_end(h);
}

bool spill_read(struct spill *s, int i, uint8_t *state)
{
    const struct record *r = &s->records[i];
    size_t tokens_bytes = r->head.tokens * sizeof(int32_t);
    int32_t *tokens = malloc(tokens_bytes);
    struct sha256 *h = sha256_new();
    bool ok = tokens && h && read_all(s->fd, tokens, tokens_bytes, r->at) && read_all(s->fd, state, r->head.bytes, r->at + (off_t)tokens_bytes);
    if (ok) {
        struct digest d = digest_of(h, tokens, r->head.tokens, state, r->head.bytes);
        ok = memcmp(&d, &r->head.digest, sizeof d) == 0;
    }
    sha256_free(h);
    free(tokens);
    return ok;
}

int spill_write(struct spill *s, const struct prefix_entry *at, const uint8_t *state, size_t bytes)
{
    struct record r = { .head = { RECORD_MAGIC, at->owner, at->n, bytes, { { 0 } } }, .at = s->end + (off_t)sizeof r.head };
    uint64_t length = record_length(&r.head);
    struct sha256 *h = s->n < RECORDS_MAX && at->n <= TOKENS_MAX && (uint64_t)s->end + length <= s->limit ? sha256_new() : NULL;
    if (!h)
        return -1;
    r.head.digest = digest_of(h, at->tokens, at->n, state, bytes);
    sha256_free(h);
    /* The head comes last: a record that was cut off has none. */
    bool ok = ftruncate(s->fd, s->end + (off_t)length) == 0 && write_all(s->fd, at->tokens, at->n * sizeof(int32_t), r.at) &&
              write_all(s->fd, state, bytes, r.at + (off_t)(at->n * sizeof(int32_t))) && write_all(s->fd, &r.head, sizeof r.head, s->end);
    if (!ok)
        return -1;
    s->end += (off_t)length;
    s->records[s->n] = r;
    return s->n++;
}
