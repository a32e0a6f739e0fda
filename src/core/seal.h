/* core/seal.h: AES-256-GCM (NIST SP 800-38D) through libcrypto, for bodies that may not lie open on a disk. Includes: core, libcrypto.
 *
 * A sealed text is: 12 bytes nonce, the ciphertext, 16 bytes tag. The nonce is drawn at random (2^32 seals a key are
 * within the bound of SP 800-38D 8.3). `context` is authenticated but not stored: the same must be given to open. */
#ifndef HEARTH_CORE_SEAL_H
#define HEARTH_CORE_SEAL_H

#include "core/arena.h"
#include "core/err.h"

#define SEAL_KEY   32
#define SEAL_EXTRA 28

struct seal_key { uint8_t b[SEAL_KEY]; };

/* Reads the key at `path`, or makes it (random, mode 0600, written whole or not at all). ERR_FORBIDDEN when others may read the file. */
enum err seal_key_load(const char *path, struct seal_key *out);
enum err seal_key_read(const char *path, struct seal_key *out);         /* only reads: ERR_NOTFOUND */
enum err seal_close(struct arena *a, const struct seal_key *k, str context, str plain, str *out);
enum err seal_open(struct arena *a, const struct seal_key *k, str context, str sealed, str *out);   /* ERR_FORBIDDEN: forged or wrong key */

#endif
