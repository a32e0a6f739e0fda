/* One file: read, looked at whole or in pieces, written beside its place and put there at the end. Whoever is killed in between leaves the old file, and at
 * most a file of the name .NAME.hearth-tmp, which the next run takes over. */
#include "cmd/app.h"
#include "cmd/sanitize.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <unistd.h>

enum { HEAD = 8000, WRITES = 64 << 10, ARENA_LEAST = 8 << 20, ARENA_PIECE = 40 << 20, ARENA_MOST = 115 << 20, ROOM = 180 << 20 };

struct one {
    struct sanitize_job *j;
    struct sanitize_file *f;
    struct vault_file *file;
    struct vault *vault;
    struct arena *said;
    struct arena a;
    int in, out;                        /* out -1: nothing is written */
    struct stat st;
    char target[PATH_MAX], temp[PATH_MAX];
    struct buf text, rest, pending;     /* rest: what was read already, for the pieces */
    size_t rest_at;
    bool ended, temp_made;
    struct guard_search search;
    struct sanitizer s;
    struct sanitize_restorer r;
};

void sanitize_job_init(struct sanitize_job *j)
{
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->freed, NULL);
    j->room = ROOM;
}

static enum err fail(struct one *o, const char *why)
{
    o->f->state = FILE_FAILED;
    o->f->why = arena_cstr(o->said, str_of(why));
    return ERR_IO;
}

static enum err fail_errno(struct one *o, const char *what)
{
    char why[300];
    snprintf(why, sizeof why, "%s: %s", what, strerror(errno));
    return fail(o, why);
}

/* ---- bytes in ---- */

static enum err read_some(struct one *o, struct buf *to, size_t n)
{
    if (o->rest_at < o->rest.n) {
        str s = str_skip(buf_str(&o->rest), o->rest_at);
        s.n = s.n < n ? s.n : n;
        o->rest_at += s.n;
        return buf_put(to, s);
    }
    enum err e = buf_reserve(to, n);
    if (e)
        return e;
    ssize_t got;
    do
        got = read(o->in, to->p + to->n, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return fail_errno(o, "cannot be read");
    to->n += (size_t)got;
    o->ended = got == 0;
    pthread_mutex_lock(&o->j->lock);
    o->j->done += got;
    pthread_mutex_unlock(&o->j->lock);
    return ERR_OK;
}

static enum err fill(struct one *o, struct buf *to, size_t until)
{
    enum err e = ERR_OK;
    while (to->n < until && (!o->ended || o->rest_at < o->rest.n) && !e)
        e = read_some(o, to, until - to->n);
    return e;
}

/* ---- bytes out ---- */

static enum err flush(struct one *o)
{
    str s = buf_str(&o->pending);
    while (s.n && o->out >= 0) {
        ssize_t n = write(o->out, s.p, s.n);
        if (n < 0 && errno != EINTR)
            return fail_errno(o, "the result cannot be written");
        s = str_skip(s, n > 0 ? (size_t)n : 0);
    }
    buf_clear(&o->pending);
    return ERR_OK;
}

static enum err put(void *ctx, str bytes)
{
    struct one *o = ctx;
    if (o->out < 0)
        return ERR_OK;
    enum err e = o->pending.n + bytes.n > WRITES ? flush(o) : ERR_OK;
    return e ? e : buf_put(&o->pending, bytes);
}

/* The file that is written: only one at a time writes for a name, and what a dead one has left is written over. */
static enum err temp_open(struct one *o)
{
    struct stat here, there;
    const char *slash = strrchr(o->target, '/');
    size_t dir = slash ? (size_t)(slash - o->target) + 1 : 0;
    int n = snprintf(o->temp, sizeof o->temp, "%.*s.%s%s", (int)dir, o->target, o->target + dir, SANITIZE_TEMP);
    if (n < 0 || (size_t)n >= sizeof o->temp)
        return fail(o, "its name is too long");
    if (!o->j->in_place && app_make_parents(o->target) != ERR_OK)
        return fail_errno(o, "the folder of the result cannot be made");
    o->out = open(o->temp, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (o->out < 0)
        return fail_errno(o, "no file can be made beside it");
    if (flock(o->out, LOCK_EX | LOCK_NB) || fstat(o->out, &here) || stat(o->temp, &there) || here.st_ino != there.st_ino)
        return fail(o, "another process is writing it");
    o->temp_made = true;
    return ftruncate(o->out, 0) || fchmod(o->out, 0600) ? fail_errno(o, "the file beside it cannot be written") : ERR_OK;
}

/* Mode, owner and times of the original; on the disk, with the vault, before it takes its place. */
static enum err temp_settle(struct one *o)
{
    struct stat now;
    const struct timespec times[2] = { o->st.st_atim, o->st.st_mtim };
    if (fchown(o->out, o->st.st_uid, o->st.st_gid) && errno != EPERM)
        return fail_errno(o, "its owner cannot be kept");
    if (fchmod(o->out, o->st.st_mode & 07777) || futimens(o->out, times) || fsync(o->out))
        return fail_errno(o, "the result cannot be written");
    if (o->file && vault_file_sync(o->file) != ERR_OK)
        return fail_errno(o, "the vault cannot be written");
    if (o->j->in_place && (stat(o->target, &now) || now.st_ino != o->st.st_ino || now.st_size != o->st.st_size || now.st_mtim.tv_sec != o->st.st_mtim.tv_sec ||
                           now.st_mtim.tv_nsec != o->st.st_mtim.tv_nsec))
        return fail(o, "it was changed meanwhile, and is left as it is now: run it again");
    if (rename(o->temp, o->target))
        return fail_errno(o, "the result cannot take its place");
    o->temp_made = false;
    return app_sync_folder(o->target) ? fail_errno(o, "its folder cannot be written") : ERR_OK;
}

/* ---- through the sanitizer ---- */

static enum err find(void *ctx, struct arena *a, str text, struct guard_span **out, size_t *n) { return guard_find(ctx, a, text, out, n); }

static void on_place(void *ctx, const struct sanitize_place *p)
{
    const struct one *o = ctx;
    o->j->on_place(o->j->ctx, p);
}

static void room_take(struct sanitize_job *j, size_t n)
{
    pthread_mutex_lock(&j->lock);
    while (j->room < n)
        pthread_cond_wait(&j->freed, &j->lock);
    j->room -= n;
    pthread_mutex_unlock(&j->lock);
}

static void room_give(struct sanitize_job *j, size_t n)
{
    pthread_mutex_lock(&j->lock);
    j->room += n;
    pthread_cond_broadcast(&j->freed);
    pthread_mutex_unlock(&j->lock);
}

static enum err run(struct one *o, struct buf *text, bool last)
{
    return o->j->restore ? sanitize_restore(&o->r, &o->a, text, last) : sanitizer_run(&o->s, &o->a, text, last);
}

static enum err in_pieces(struct one *o)
{
    enum err e = ERR_OK;
    buf_free(&o->text);
    buf_init(&o->text, 4 * SANITIZE_PIECE);
    arena_init(&o->a, ARENA_PIECE);
    for (bool last = false; !last && !e;) {
        e = fill(o, &o->text, SANITIZE_PIECE);
        last = o->ended && o->rest_at == o->rest.n;
        if (!e)
            e = run(o, &o->text, last);
        arena_reset(&o->a);
        if (o->rest_at == o->rest.n && o->rest.p) {
            buf_free(&o->rest);
            o->rest_at = 0;
        }
    }
    arena_free(&o->a);
    return e;
}

/* What the finder may use for a text looked at whole: values that stand close cost some times their bytes. */
static size_t arena_for(size_t n) { return n > (ARENA_MOST - ARENA_LEAST) / 4 ? ARENA_MOST : 4 * n + ARENA_LEAST; }

static enum err whole_or_pieces(struct one *o)
{
    bool known = S_ISREG(o->st.st_mode), large = known && (size_t)o->st.st_size > SANITIZE_WHOLE;
    enum err e = ERR_OK;
    if (large || o->j->restore)
        return in_pieces(o);
    buf_init(&o->text, SANITIZE_WHOLE + 1);
    e = buf_put(&o->text, buf_str(&o->rest));
    buf_free(&o->rest);
    if (known && !e)
        e = buf_reserve(&o->text, (size_t)o->st.st_size + 1);
    for (size_t want = 1 << 20; !e && !o->ended && o->text.n <= SANITIZE_WHOLE; want *= 2)
        e = fill(o, &o->text, known || want > SANITIZE_WHOLE ? SANITIZE_WHOLE + 1 : want);
    if (e)
        return e;
    if (o->ended) {
        arena_init(&o->a, arena_for(o->text.n));
        e = run(o, &o->text, true);
        arena_free(&o->a);
        if (e != ERR_LIMIT || o->s.started)
            return e;
    }
    o->rest = o->text;                  /* too much for one look: forward only */
    o->text = (struct buf){ 0 };
    return in_pieces(o);
}

static enum err look(struct one *o)
{
    size_t size = S_ISREG(o->st.st_mode) ? (size_t)o->st.st_size : SANITIZE_WHOLE, room = size + arena_for(size);
    if (o->j->restore || size > SANITIZE_WHOLE)
        room = ARENA_PIECE + 4 * SANITIZE_PIECE;
    room_take(o->j, room);
    enum err e = whole_or_pieces(o);
    if (!e)
        e = flush(o);
    buf_free(&o->text);
    buf_free(&o->rest);
    room_give(o->j, room);
    if (e && o->f->state != FILE_FAILED)
        (void)fail(o, e == ERR_LIMIT ? "it holds too much to be looked at within the memory allowed" : err_text(e));
    return e;
}

static bool note(struct one *o)
{
    struct sanitize_file *f = o->f;
    bool any = o->r.restored > 0;
    for (int t = 0; t < GUARD_N_TYPES; t++) {
        f->found[t] = (uint32_t)o->s.found[t];
        any = any || o->s.found[t];
    }
    f->placeholders = (uint32_t)o->s.placeholders;
    f->lost = (uint32_t)o->s.lost;
    f->odd_bytes = (uint32_t)o->s.odd_bytes;
    f->restored = (uint32_t)o->r.restored;
    f->unknown = (uint32_t)o->r.unknown;
    pthread_mutex_lock(&o->j->lock);
    for (size_t i = 0; i < SANITIZE_RULES; i++)
        o->j->rules[i] += o->s.rules[i];
    pthread_mutex_unlock(&o->j->lock);
    return any;
}

static bool is_binary(struct one *o)
{
    char head[HEAD];
    ssize_t n = S_ISREG(o->st.st_mode) ? pread(o->in, head, sizeof head, 0) : 0;
    str s = { head, n > 0 ? (size_t)n : 0 };
    o->f->kind = sanitize_kind_of(str_of(o->f->path), s);
    return sanitize_is_binary(s);
}

/* What comes through a pipe has no name and is not read twice: its beginning stays, for whoever reads next. */
static enum err peek(struct one *o)
{
    if (S_ISREG(o->st.st_mode))
        return ERR_OK;
    struct buf head = { .max = HEAD };
    enum err e = fill(o, &head, HEAD);
    o->rest = head;
    if (e)
        return e;
    o->f->kind = sanitize_kind_of(str_of(o->f->path), buf_str(&o->rest));
    return sanitize_is_binary(buf_str(&o->rest)) ? fail(o, "it is binary") : ERR_OK;
}

static enum err open_out(struct one *o)
{
    const char *to = o->j->in_place ? o->f->path : o->f->to;
    if (!to) {
        o->out = o->j->dry ? -1 : 1;
        return ERR_OK;
    }
    if (!(o->j->in_place ? realpath(to, o->target) != NULL : snprintf(o->target, sizeof o->target, "%s", to) < PATH_MAX))
        return fail_errno(o, "it cannot be found");
    return temp_open(o);
}

static enum err process(struct one *o)
{
    bool is_stdin = strcmp(o->f->path, "-") == 0;
    o->in = is_stdin ? 0 : open(o->f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (o->in < 0 || fstat(o->in, &o->st))
        return fail_errno(o, "cannot be read");
    if (S_ISDIR(o->st.st_mode))
        return fail(o, "it is a folder");
    if (is_binary(o)) {
        o->f->state = FILE_BINARY;
        return ERR_OK;
    }
    enum err e = peek(o);
    if (!e)
        e = open_out(o);
    o->search = (struct guard_search){ .find = find, .ctx = (void *)(uintptr_t)o->j->finder, .vault = o->vault, .names = o->j->finder };
    o->s = (struct sanitizer){ .search = &o->search, .policy = &o->j->policy, .kind = o->f->kind, .at_us = o->j->at_us, .put = put, .on_place = o->j->on_place ? on_place : NULL, .ctx = o };
    o->r = (struct sanitize_restorer){ .vault = o->vault, .put = put, .ctx = o };
    if (!e)
        e = look(o);
    if (e)
        return e;
    bool any = note(o);
    if (o->temp_made && (any || !o->j->in_place))       /* in place, what has nothing in it is left alone */
        e = temp_settle(o);
    if (!e)
        o->f->state = any ? FILE_CHANGED : FILE_CLEAN;
    return e;
}

void sanitize_one(struct sanitize_job *j, struct vault_file *vault, struct arena *a, struct sanitize_file *f)
{
    struct one o = { .j = j, .f = f, .file = vault, .vault = vault ? vault_file_vault(vault) : NULL, .said = a, .in = -1, .out = -1, .pending = { .max = 8 << 20 } };
    (void)process(&o);                  /* what went wrong stands in the file's state */
    if (o.temp_made)
        (void)unlink(o.temp);
    if (o.out > 2)
        close(o.out);
    if (o.in > 2)
        close(o.in);
    buf_free(&o.pending);
}
