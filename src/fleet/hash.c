/* The digest of a server's model file, on a thread of its own: gigabytes take seconds, and the keeper has others to look after. */
#include "fleet/server.h"

#include <fcntl.h>
#include <unistd.h>

static void *hash_main(void *arg)
{
    struct server_hash *h = arg;
    h->err = fleet_digest_file(h->fd, h->cache[0] ? h->cache : NULL, &h->digest, &h->from_cache);
    atomic_store_explicit(&h->done, true, memory_order_release);
    io_wake_send(h->wake);
    return NULL;
}

enum err hash_start(struct fleet_server *s)
{
    struct server_hash *h = &s->hash;
    h->fd = s->model_fd;
    h->err = ERR_OK;
    h->wake = &s->fleet->wake;
    h->wanted = s->model_fd >= 0;
    memcpy(h->cache, s->fleet->digest_cache, sizeof h->cache);
    atomic_store(&h->done, false);
    if (h->wanted && pthread_create(&h->thread, NULL, hash_main, h) != 0)
        return ERR_MEMORY;
    h->running = h->wanted;
    return ERR_OK;
}

void hash_reap(struct fleet_server *s)
{
    struct server_hash *h = &s->hash;
    if (h->running && atomic_load_explicit(&h->done, memory_order_acquire)) {
        pthread_join(h->thread, NULL);
        h->running = false;
    }
}

const struct digest *hash_known(const struct fleet_server *s)
{
    const struct server_hash *h = &s->hash;
    return h->wanted && !h->running && h->err == ERR_OK ? &h->digest : NULL;
}

static bool is_same(const struct stat *x, const struct stat *y)
{
    return x->st_dev == y->st_dev && x->st_ino == y->st_ino && x->st_size == y->st_size && x->st_mtim.tv_sec == y->st_mtim.tv_sec && x->st_mtim.tv_nsec == y->st_mtim.tv_nsec;
}

/* The path is a server's word: what is no GGUF is none of our business. */
bool hash_named_file(struct fleet_server *s, str path)
{
    struct stat st;
    char name[4096], magic[4];
    int n = snprintf(name, sizeof name, "%.*s", STR_ARG(path));
    int fd = n > 0 && (size_t)n < sizeof name && name[0] == '/' ? open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && s->hash.wanted && is_same(&st, &s->model_stat)) {
        close(fd);
        return true;                    /* known, or being hashed */
    }
    if (fd < 0 || s->hash.running || !S_ISREG(st.st_mode) || pread(fd, magic, 4, 0) != 4 || memcmp(magic, "GGUF", 4) != 0) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (s->model_fd >= 0)
        close(s->model_fd);
    s->model_fd = fd;
    s->model_stat = st;
    return hash_start(s) == ERR_OK;
}
