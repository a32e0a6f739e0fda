/* The file, its lock, and the map of what has come. A chunk fills from its front, so that one number tells how much of it is there. */
#include "fleet/part.h"

#include "core/arena.h"
#include "core/clock.h"
#include "core/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 200, PIECE = 1 << 20, NAME_ROOM = 232 };

struct part {
    int dir, fd;
    char name[NAME_ROOM], part[NAME_ROOM + 8], state[NAME_ROOM + 16], fresh[NAME_ROOM + 20];
    char source[512], tag[128];
    bool has_digest, whole, whole_busy, dirty, finished;
    struct digest want;
    uint64_t size, chunk;
    uint32_t n;
    struct { uint64_t done; bool busy; } chunks[PART_CHUNKS];
    uint64_t whole_done;
    struct sha256 *sha;
    uint64_t hashed;
    char *piece;
    char why[256];
};

static enum err fail_io(struct part *p, const char *what)
{
    const char *hint = errno == ENOSPC || errno == EDQUOT ? ": make room, and begin again: what has come is kept" : errno == EFBIG ? ": files of this size are not allowed here" : "";
    snprintf(p->why, sizeof p->why, "%s %.150s: %s%s", what, p->part, strerror(errno), hint);
    return ERR_IO;
}

const char *part_why(const struct part *p) { return p->why; }
int part_fd(const struct part *p) { return p->fd; }
uint64_t part_size(const struct part *p) { return p->size; }
uint64_t part_hashed(const struct part *p) { return p->hashed; }

/* ---- the map ---- */

static uint64_t chunk_end(const struct part *p, uint32_t i)
{
    uint64_t end = (i + 1) * p->chunk;
    return end < p->size ? end : p->size;
}

static uint64_t chunk_left(const struct part *p, uint32_t i) { return chunk_end(p, i) - i * p->chunk - p->chunks[i].done; }

/* Chunks of whole mebibytes, as many as the map has room for. */
static void lay_out(struct part *p, uint64_t size)
{
    uint64_t least = (size + PART_CHUNKS - 1) / PART_CHUNKS;
    p->size = size;
    p->chunk = least <= PART_CHUNK ? PART_CHUNK : (least + (1 << 20) - 1) >> 20 << 20;
    p->n = (uint32_t)((size + p->chunk - 1) / p->chunk);
}

static void forget(struct part *p)
{
    for (uint32_t i = 0; i < PART_CHUNKS; i++)
        p->chunks[i].done = 0;
    p->whole_done = p->hashed = 0;
    sha256_begin(p->sha);
    p->dirty = true;
}

uint64_t part_come(const struct part *p)
{
    uint64_t sum = p->whole ? p->whole_done : 0;
    for (uint32_t i = 0; !p->whole && i < p->n; i++)
        sum += p->chunks[i].done;
    return sum;
}

/* How far everything is there from the front. */
static uint64_t front(const struct part *p)
{
    uint64_t at = 0;
    if (p->whole)
        return p->whole_done;
    for (uint32_t i = 0; i < p->n; i++) {
        at += p->chunks[i].done;
        if (chunk_left(p, i))
            break;
    }
    return at;
}

enum err part_begin(struct part *p, uint64_t size, str tag, bool ranges)
{
    bool same = size == p->size && (p->has_digest || (tag.n && str_eq(tag, str_of(p->tag))));
    snprintf(p->tag, sizeof p->tag, "%.*s", STR_ARG(tag));
    if (size == 0 || size > INT64_MAX / 2)
        return ERR_LIMIT;
    if (size != p->size)
        lay_out(p, size);
    if (!same || !ranges)
        forget(p);
    if (ranges && p->whole_busy)        /* whoever asked for the first bytes of an unknown whole has the first chunk */
        p->chunks[0].busy = true;
    p->whole = p->whole_busy = !ranges;
    return ERR_OK;
}

bool part_next(struct part *p, uint64_t *from, uint64_t *to)
{
    if (p->whole || p->size == 0) {
        if (p->whole_busy || (p->size && p->whole_done == p->size))
            return false;
        p->whole_busy = true;
        *from = 0;
        *to = p->size ? p->size : PART_CHUNK;
        return true;
    }
    for (uint32_t i = 0; i < p->n; i++)
        if (!p->chunks[i].busy && chunk_left(p, i)) {
            p->chunks[i].busy = true;
            *from = i * p->chunk + p->chunks[i].done;
            *to = chunk_end(p, i);
            return true;
        }
    return false;
}

void part_put_back(struct part *p, uint64_t from)
{
    p->whole_busy = false;
    if (p->size && from / p->chunk < p->n)
        p->chunks[from / p->chunk].busy = false;
}

static enum err write_all(struct part *p, uint64_t at, str data)
{
    while (data.n) {
        ssize_t n = pwrite(p->fd, data.p, data.n, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_io(p, "cannot write");
        at += (uint64_t)n;
        data = str_skip(data, (size_t)n);
    }
    return ERR_OK;
}

enum err part_write(struct part *p, uint64_t at, str data)
{
    if (p->size == 0 || at > p->size || data.n > p->size - at)
        return ERR_AGAIN;
    if (p->whole) {
        if (at != p->whole_done)
            return ERR_AGAIN;
        enum err e = write_all(p, at, data);
        if (e == ERR_OK)
            p->whole_done += data.n;
        return e;
    }
    uint32_t i = (uint32_t)(at / p->chunk);
    if (data.n == 0)
        return ERR_OK;
    if (at != i * p->chunk + p->chunks[i].done || data.n > chunk_left(p, i))
        return ERR_AGAIN;
    enum err e = write_all(p, at, data);
    if (e == ERR_OK) {
        p->chunks[i].done += data.n;
        p->dirty = true;
    }
    return e;
}

/* ---- the state ---- */

static void write_state(const struct part *p, struct buf *b)
{
    struct json_out o;
    char hex[HEX_DIGEST];
    json_out_init(&o, b);
    json_open(&o, '{');
    json_put_key(&o, S("part"));
    json_put_i64(&o, 1);
    json_put_key(&o, S("source"));
    json_put_str(&o, str_of(p->source));
    json_put_key(&o, S("size"));
    json_put_i64(&o, (int64_t)p->size);
    json_put_key(&o, S("tag"));
    json_put_str(&o, str_of(p->tag));
    if (p->has_digest) {
        hex_encode(p->want.b, sizeof p->want.b, hex);
        json_put_key(&o, S("sha256"));
        json_put_str(&o, str_slice(hex, sizeof hex));
    }
    json_put_key(&o, S("done"));
    json_open(&o, '[');
    for (uint32_t i = 0; i < p->n; i++)
        json_put_i64(&o, (int64_t)p->chunks[i].done);
    json_close(&o, ']');
    json_close(&o, '}');
}

enum err part_save(struct part *p)
{
    struct buf b = { .max = PART_STATE };
    if (!p->dirty || p->size == 0 || p->whole)
        return ERR_OK;
    /* First the bytes, then the promise that they are there. */
    if (fdatasync(p->fd) != 0)
        return fail_io(p, "cannot write");
    write_state(p, &b);
    int fd = openat(p->dir, p->fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    bool ok = fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n;
    if (fd >= 0)
        close(fd);
    ok = ok && renameat(p->dir, p->fresh, p->dir, p->state) == 0;
    p->dirty = !ok;
    buf_free(&b);
    return ok ? ERR_OK : fail_io(p, "cannot write the state of");
}

/* Takes over a state that fits this file and this wish in everything; whatever is odd means: from the beginning. */
static bool take_state(struct part *p, struct arena *a, str text, uint64_t file_size)
{
    struct json_limits lim = { .depth = 4, .nodes = 1024, .bytes = PART_STATE };
    struct digest was = { { 0 } };
    str source, tag, hex;
    int64_t size, done;
    json v;
    if (json_parse(a, text, &lim, &v, NULL) != ERR_OK || json_text(a, json_member(v, S("source")), &source) != ERR_OK ||
        json_text(a, json_member(v, S("tag")), &tag) != ERR_OK || !json_i64(json_member(v, S("size")), &size) || size <= 0 || size > INT64_MAX / 2)
        return false;
    bool had_digest = json_text(a, json_member(v, S("sha256")), &hex) == ERR_OK && hex.n == HEX_DIGEST && hex_decode(hex, was.b, sizeof was.b);
    if (!str_eq(source, str_of(p->source)) || tag.n >= sizeof p->tag || had_digest != p->has_digest || (had_digest && !digest_eq(&was, &p->want)) ||
        (p->size && p->size != (uint64_t)size))
        return false;
    lay_out(p, (uint64_t)size);
    json list = json_member(v, S("done"));
    if (json_count(list) != p->n)
        return false;
    uint32_t i = 0;
    for (json n = json_first(list); i < p->n; n = json_next(n), i++) {
        if (!json_i64(n, &done) || done < 0 || (uint64_t)done > chunk_end(p, i) - i * p->chunk || (done && i * p->chunk + (uint64_t)done > file_size))
            return false;
        p->chunks[i].done = (uint64_t)done;
    }
    snprintf(p->tag, sizeof p->tag, "%.*s", STR_ARG(tag));
    return true;
}

static void load_state(struct part *p, uint64_t wished)
{
    struct arena a;
    struct stat st;
    char *text = NULL;
    ssize_t n = -1;
    bool taken = false;
    int fd = openat(p->dir, p->state, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    arena_init(&a, 4 * PART_STATE);
    forget(p);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t)PART_STATE && (text = arena_alloc(&a, PART_STATE, 1)))
        n = read(fd, text, PART_STATE);
    if (n > 0 && fstat(p->fd, &st) == 0)
        taken = take_state(p, &a, str_slice(text, (size_t)n), (uint64_t)st.st_size);
    if (fd >= 0)
        close(fd);
    arena_free(&a);
    p->dirty = false;
    if (taken)
        return;
    p->size = p->chunk = p->n = 0;
    forget(p);
    if (wished)
        lay_out(p, wished);
}

/* ---- opening ---- */

static enum err refuse(char why[256], enum err e, const char *name, const char *what)
{
    snprintf(why, 256, "%.150s: %.90s", name, what);
    return e;
}

/* A file of ours and nothing else: no link, no device, no second name. */
static enum err open_file(struct part *p, char why[256])
{
    struct stat st;
    p->fd = openat(p->dir, p->part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    if (p->fd < 0)
        return refuse(why, errno == ELOOP ? ERR_FORBIDDEN : ERR_IO, p->part, errno == ELOOP ? "this is a link: remove it" : strerror(errno));
    if (fstat(p->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink > 1)
        return refuse(why, ERR_FORBIDDEN, p->part, "this is not a file of your own: remove it");
    return ERR_OK;
}

/* Has the name still this file? Whoever had the lock may have renamed or removed it. */
static bool is_named(const struct part *p)
{
    struct stat mine, named;
    return fstat(p->fd, &mine) == 0 && fstatat(p->dir, p->part, &named, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
}

static enum err take_lock(struct part *p, bool (*on_wait)(void *ctx), void *ctx, char why[256])
{
    struct timespec pause = { .tv_nsec = WAIT_MS * 1000000L };
    struct stat st, last = { .st_size = -1 };
    int64_t waited = 0;
    bool first = true;
    while (flock(p->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return refuse(why, ERR_IO, p->part, strerror(errno));
        if (!on_wait(ctx))
            return ERR_CLIENT;
        first = false;
        if (fstat(p->fd, &st) == 0 && (st.st_mtim.tv_sec != last.st_mtim.tv_sec || st.st_mtim.tv_nsec != last.st_mtim.tv_nsec)) {
            last = st;
            waited = 0;
        }
        if ((waited += WAIT_MS) > PART_WAIT_MS)
            return refuse(why, ERR_BUSY, p->part, "another process has it and brings nothing");
        nanosleep(&pause, NULL);
    }
    return first && is_named(p) ? ERR_OK : ERR_AGAIN;
}

enum err part_open(int dir, const char *name, const struct part_wish *w, bool (*on_wait)(void *ctx), void *ctx, struct part **out, char why[256])
{
    struct part *p = calloc(1, sizeof *p);
    if (!p || !(p->piece = malloc(PIECE)) || !(p->sha = sha256_new())) {
        free(p ? p->piece : NULL);
        free(p);
        return refuse(why, ERR_MEMORY, name, err_text(ERR_MEMORY));
    }
    p->dir = dir;
    p->fd = -1;
    p->has_digest = w->digest != NULL;
    if (w->digest)
        p->want = *w->digest;
    p->size = w->size;
    enum err e = (size_t)snprintf(p->name, sizeof p->name, "%s", name) < sizeof p->name ? ERR_OK : refuse(why, ERR_LIMIT, name, "the name is too long");
    snprintf(p->source, sizeof p->source, "%.*s", STR_ARG(w->source));
    snprintf(p->part, sizeof p->part, "%s.part", p->name);
    snprintf(p->state, sizeof p->state, "%s.json", p->part);
    snprintf(p->fresh, sizeof p->fresh, "%s.new", p->state);
    if (e == ERR_OK)
        e = open_file(p, why);
    if (e == ERR_OK)
        e = take_lock(p, on_wait, ctx, why);
    if (e == ERR_OK) {
        load_state(p, w->size);
        *out = p;
        return ERR_OK;
    }
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    part_close(p);
    return e;
}

void part_close(struct part *p)
{
    if (!p)
        return;
    if (p->fd >= 0) {
        /* What nothing has come of leaves nothing behind. */
        if (!p->finished && (part_come(p) == 0 || p->whole))
            part_drop(p);
        else if (!p->finished)
            (void)part_save(p);
        close(p->fd);
    }
    sha256_free(p->sha);
    free(p->piece);
    free(p);
}

uint64_t part_on_disk(const struct part *p)
{
    struct stat st;
    return fstat(p->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* ---- the end ---- */

enum err part_hash(struct part *p, size_t most)
{
    uint64_t to = front(p);
    while (p->hashed < to && most) {
        uint64_t left = to - p->hashed;
        ssize_t n = pread(p->fd, p->piece, left < PIECE ? (size_t)left : PIECE, (off_t)p->hashed);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_io(p, "cannot read");
        sha256_add(p->sha, str_slice(p->piece, (size_t)n));
        p->hashed += (uint64_t)n;
        most -= most < (size_t)n ? most : (size_t)n;
    }
    return p->hashed < to ? ERR_AGAIN : ERR_OK;
}

enum err part_digest(struct part *p, struct digest *out)
{
    if (p->size == 0 || front(p) != p->size)
        return ERR_CUT;
    enum err e = part_hash(p, SIZE_MAX);
    if (e == ERR_OK)
        *out = sha256_end(p->sha);
    return e;
}

enum err part_finish(struct part *p, bool replace)
{
    mode_t mask = umask(0);
    umask(mask);
    if (ftruncate(p->fd, (off_t)p->size) != 0 || fchmod(p->fd, 0644 & ~mask) != 0 || fsync(p->fd) != 0)
        return fail_io(p, "cannot finish");
    int rc = renameat2(p->dir, p->part, p->dir, p->name, replace ? 0 : RENAME_NOREPLACE);
    if (rc != 0 && errno == EEXIST) {
        snprintf(p->why, sizeof p->why, "there is already a file %.200s", p->name);
        return ERR_FORBIDDEN;
    }
    if (rc != 0 && (errno == EINVAL || errno == ENOSYS))        /* a file system without the flag */
        rc = renameat(p->dir, p->part, p->dir, p->name);
    if (rc != 0)
        return fail_io(p, "cannot rename");
    (void)fsync(p->dir);
    (void)unlinkat(p->dir, p->state, 0);
    p->finished = true;
    return ERR_OK;
}

void part_drop(struct part *p)
{
    (void)unlinkat(p->dir, p->state, 0);
    (void)unlinkat(p->dir, p->part, 0);
    forget(p);
    p->dirty = false;
}
