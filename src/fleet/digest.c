/* The digest of a model file, computed once per version of the file. Hashing 5 GB takes seconds, so results are kept in a
 * small text file, one line each: device inode size mtime_ns ctime_ns sha256. Any change of the file changes its ctime,
 * which an owner cannot set back, so a stale line never matches. */
#include "fleet/fleet.h"

#include "core/buf.h"
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_MAX (256u << 10)          /* a cache larger than this is started anew */

static size_t digest_cache_key(const struct stat *st, char out[160])
{
    int n = snprintf(out, 160, "%llu %llu %lld %lld.%09ld %lld.%09ld ", (unsigned long long)st->st_dev,
                     (unsigned long long)st->st_ino, (long long)st->st_size, (long long)st->st_mtim.tv_sec,
                     st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
    return n > 0 && n < 160 ? (size_t)n : 0;
}

static bool digest_cache_find(const char *path, str key, struct digest *out)
{
    bool found = false;
    struct buf b;
    buf_init(&b, CACHE_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (;;) {
        if (buf_reserve(&b, 65536) != ERR_OK)
            break;
        ssize_t n = read(fd, b.p + b.n, b.cap - b.n);
        if (n <= 0)
            break;
        b.n += (size_t)n;
    }
    str rest = buf_str(&b), line;
    while (!found && rest.n) {
        str_cut(rest, '\n', &line, &rest);
        found = str_starts(line, key) && hex_decode(str_skip(line, key.n), out->b, sizeof out->b);
    }
    close(fd);
    buf_free(&b);
    return found;
}

static void digest_cache_add(const char *path, str key, const struct digest *d)
{
    char line[160 + HEX_DIGEST + 1];
    struct stat st;
    memcpy(line, key.p, key.n);
    hex_encode(d->b, sizeof d->b, line + key.n);
    line[key.n + HEX_DIGEST] = '\n';
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    if (stat(path, &st) == 0 && (size_t)st.st_size + sizeof line > CACHE_MAX)
        flags |= O_TRUNC;
    int fd = open(path, flags, 0600);
    if (fd < 0)
        return;                         /* without a cache the next start hashes again: slower, not wrong */
    if (write(fd, line, key.n + HEX_DIGEST + 1) < 0)
        log_warn("digest_cache_write", LOG_C("error", strerror(errno)));
    close(fd);
}

static enum err digest_read_all(int fd, off_t size, struct digest *out)
{
    enum { PIECE = 1 << 20 };
    enum err e = ERR_MEMORY;
    char *piece = malloc(PIECE);
    struct sha256 *h = sha256_new();
    if (!piece || !h)
        goto done;
    sha256_begin(h);
    off_t at = 0;
    while (at < size) {
        ssize_t n = pread(fd, piece, PIECE, at);
        if (n < 0 && errno == EINTR)
            continue;
        e = ERR_IO;
        if (n <= 0)
            goto done;
        sha256_add(h, str_slice(piece, (size_t)n));
        at += n;
    }
    *out = sha256_end(h);
    e = ERR_OK;
done:
    sha256_free(h);
    free(piece);
    return e;
}

enum err fleet_digest_file(int fd, const char *cache_path, struct digest *out, bool *from_cache)
{
    struct stat before, after;
    char key[160], check[160];
    if (fstat(fd, &before) != 0 || !S_ISREG(before.st_mode))
        return ERR_IO;
    str k = str_slice(key, digest_cache_key(&before, key));
    *from_cache = cache_path && digest_cache_find(cache_path, k, out);
    if (*from_cache)
        return ERR_OK;
    enum err e = digest_read_all(fd, before.st_size, out);
    if (e != ERR_OK)
        return e;
    /* A file that is being written while it is read has no digest worth keeping. */
    if (fstat(fd, &after) != 0 || !str_eq(k, str_slice(check, digest_cache_key(&after, check))))
        return ERR_IO;
    if (cache_path)
        digest_cache_add(cache_path, k, out);
    return ERR_OK;
}

void fleet_digest_note(int fd, const char *cache_path, const struct digest *d)
{
    struct stat st;
    struct digest known;
    char key[160];
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    str k = str_slice(key, digest_cache_key(&st, key));
    if (!digest_cache_find(cache_path, k, &known))
        digest_cache_add(cache_path, k, d);
}
