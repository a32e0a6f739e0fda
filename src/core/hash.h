/* core/hash.h: SHA-256 and HMAC-SHA-256 (FIPS 180-4, RFC 2104) through libcrypto. Includes: core, libcrypto.
 *
 * The fetched algorithm is kept per process; a `struct sha256` holds a context that is reused, since fetching one
 * for each digest costs more than hashing 2 KB. Not thread-safe per object. */
#ifndef HEARTH_CORE_HASH_H
#define HEARTH_CORE_HASH_H

#include "core/err.h"
#include "core/str.h"

struct digest { uint8_t b[32]; };

struct sha256;
struct sha256 *sha256_new(void);                        /* NULL: out of memory */
void sha256_free(struct sha256 *h);
void sha256_begin(struct sha256 *h);
void sha256_add(struct sha256 *h, str s);
struct digest sha256_end(struct sha256 *h);

struct digest sha256_of(str s);                         /* one shot */
struct digest hmac_sha256(str key, str s);

#define HEX_DIGEST 64
void hex_encode(const uint8_t *b, size_t n, char *out);           /* 2n lower-case digits, no NUL */
bool hex_decode(str s, uint8_t *out, size_t n);                   /* exactly 2n digits */
bool digest_eq(const struct digest *a, const struct digest *b);   /* constant time */
bool secret_eq(str a, str b);                                     /* constant time in the contents; compares digests */

#endif
