/* core/hash.c: SHA-256 and HMAC over EVP. The digest is fetched once a process: EVP_sha256() looks the provider up each time. */
#include "core/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct sha256 { EVP_MD_CTX *ctx; };

static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static EVP_MD *md;

static void fetch(void)
{
    md = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!md)
        abort();                        /* a libcrypto without SHA-256 cannot keep a chain */
}

struct sha256 *sha256_new(void)
{
    pthread_once(&fetched, fetch);
    struct sha256 *h = malloc(sizeof *h);
    if (h && !(h->ctx = EVP_MD_CTX_new())) {
        free(h);
        h = NULL;
    }
    return h;
}

void sha256_free(struct sha256 *h)
{
    if (h)
        EVP_MD_CTX_free(h->ctx);
    free(h);
}

/* These fail only for lack of memory inside libcrypto; a wrong digest must never be used, so that ends the process. */
static void must(int ok)
{
    if (ok != 1)
        abort();
}

void sha256_begin(struct sha256 *h) { must(EVP_DigestInit_ex2(h->ctx, md, NULL)); }

void sha256_add(struct sha256 *h, str s)
{
    if (s.n)
        must(EVP_DigestUpdate(h->ctx, s.p, s.n));
}

struct digest sha256_end(struct sha256 *h)
{
    struct digest d;
    unsigned n = 0;
    must(EVP_DigestFinal_ex(h->ctx, d.b, &n));
    assert(n == sizeof d.b);
    return d;
}

struct digest sha256_of(str s)
{
    struct digest d;
    unsigned n = 0;
    pthread_once(&fetched, fetch);
    must(EVP_Digest(s.n ? s.p : "", s.n, d.b, &n, md, NULL));
    return d;
}

struct digest hmac_sha256(str key, str s)
{
    struct digest d;
    unsigned n = sizeof d.b;
    pthread_once(&fetched, fetch);
    assert(key.n <= INT32_MAX);
    if (!HMAC(md, key.n ? key.p : "", (int)key.n, (const unsigned char *)(s.n ? s.p : ""), s.n, d.b, &n))
        abort();
    return d;
}

void hex_encode(const uint8_t *b, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[b[i] >> 4];
        out[2 * i + 1] = hex[b[i] & 15];
    }
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(str s, uint8_t *out, size_t n)
{
    if (s.n != 2 * n)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (nibble(s.p[i]) < 0)
            return false;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)((unsigned)nibble(s.p[2 * i]) << 4 | (unsigned)nibble(s.p[2 * i + 1]));
    return true;
}

bool digest_eq(const struct digest *a, const struct digest *b) { return CRYPTO_memcmp(a->b, b->b, sizeof a->b) == 0; }

bool secret_eq(str a, str b)
{
    struct digest x = sha256_of(a), y = sha256_of(b);
    return digest_eq(&x, &y);
}
