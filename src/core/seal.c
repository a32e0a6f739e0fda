/* core/seal.c: AES-256-GCM over EVP, and its key file. */
#include "core/seal.h"

#include "core/rand.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NONCE = 12, TAG = 16 };

enum err seal_key_read(const char *path, struct seal_key *out)
{
    struct stat st;
    enum err e = ERR_IO;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOTFOUND : errno == EACCES || errno == ELOOP ? ERR_FORBIDDEN : ERR_IO;
    if (fstat(fd, &st))
        goto done;
    e = ERR_FORBIDDEN;
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) || st.st_uid != geteuid())
        goto done;
    struct seal_key k;
    e = st.st_size == SEAL_KEY && read(fd, k.b, SEAL_KEY) == SEAL_KEY ? ERR_OK : ERR_IO;
    if (!e)
        *out = k;
    OPENSSL_cleanse(&k, sizeof k);
done:
    close(fd);
    return e;
}

/* Written beside, synced, then linked under its name: there is a whole key or none, and two makers agree on the first. */
static enum err key_make(const char *path)
{
    char temp[4096];
    struct seal_key k;
    struct rng rng = rand_system();
    enum err e = ERR_IO;
    int n = snprintf(temp, sizeof temp, "%s.%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temp)
        return ERR_LIMIT;
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return ERR_IO;
    rng.fill(&rng, k.b, sizeof k.b);
    bool written = write(fd, k.b, sizeof k.b) == (ssize_t)sizeof k.b && fsync(fd) == 0;
    OPENSSL_cleanse(&k, sizeof k);
    if (written && (link(temp, path) == 0 || errno == EEXIST))
        e = ERR_OK;
    unlink(temp);
    close(fd);
    return e;
}

enum err seal_key_load(const char *path, struct seal_key *out)
{
    enum err e = seal_key_read(path, out);
    if (e != ERR_NOTFOUND)
        return e;
    e = key_make(path);
    return e ? e : seal_key_read(path, out);
}

enum err seal_close(struct arena *a, const struct seal_key *k, str context, str plain, str *out)
{
    enum err e = ERR_MEMORY;
    struct rng rng = rand_system();
    EVP_CIPHER_CTX *c = NULL;
    int n = 0;
    if (plain.n > INT32_MAX - SEAL_EXTRA || context.n > INT32_MAX)
        return ERR_LIMIT;
    unsigned char *to = arena_alloc(a, plain.n + SEAL_EXTRA, 1);
    if (!to)
        return ERR_LIMIT;
    rng.fill(&rng, to, NONCE);
    if (!(c = EVP_CIPHER_CTX_new()) || EVP_EncryptInit_ex2(c, EVP_aes_256_gcm(), k->b, to, NULL) != 1)
        goto done;
    if (context.n && EVP_EncryptUpdate(c, NULL, &n, (const unsigned char *)context.p, (int)context.n) != 1)
        goto done;
    if (plain.n && EVP_EncryptUpdate(c, to + NONCE, &n, (const unsigned char *)plain.p, (int)plain.n) != 1)
        goto done;
    if (EVP_EncryptFinal_ex(c, to + NONCE + plain.n, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, to + NONCE + plain.n) != 1)
        goto done;
    *out = (str){ (char *)to, plain.n + SEAL_EXTRA };
    e = ERR_OK;
done:
    EVP_CIPHER_CTX_free(c);
    return e;
}

enum err seal_open(struct arena *a, const struct seal_key *k, str context, str sealed, str *out)
{
    enum err e = ERR_MEMORY;
    EVP_CIPHER_CTX *c = NULL;
    int n = 0;
    if (sealed.n < SEAL_EXTRA || sealed.n > INT32_MAX || context.n > INT32_MAX)
        return ERR_FORBIDDEN;
    size_t plain = sealed.n - SEAL_EXTRA;
    unsigned char *to = arena_alloc(a, plain, 1);
    if (!to)
        return ERR_LIMIT;
    unsigned char tag[TAG];
    memcpy(tag, sealed.p + NONCE + plain, TAG);
    const unsigned char *from = (const unsigned char *)sealed.p;
    if (!(c = EVP_CIPHER_CTX_new()) || EVP_DecryptInit_ex2(c, EVP_aes_256_gcm(), k->b, from, NULL) != 1)
        goto done;
    if (context.n && EVP_DecryptUpdate(c, NULL, &n, (const unsigned char *)context.p, (int)context.n) != 1)
        goto done;
    if (plain && EVP_DecryptUpdate(c, to, &n, from + NONCE, (int)plain) != 1)
        goto done;
    unsigned char rest[16];
    if (EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) != 1)
        goto done;
    e = EVP_DecryptFinal_ex(c, rest, &n) == 1 ? ERR_OK : ERR_FORBIDDEN;
    if (!e)
        *out = (str){ (char *)to, plain };
done:
    EVP_CIPHER_CTX_free(c);
    return e;
}
