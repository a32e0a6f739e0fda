/* gate/vault_file.h: the guard's vault in a file: guard/vault.h over ledger/box.h, for the gate's loops and for commands. Includes: core, guard, ledger.
 *
 * One belongs to one thread; several, also of other processes, may have the same file open. */
#ifndef HEARTH_GATE_VAULT_FILE_H
#define HEARTH_GATE_VAULT_FILE_H

#include "core/seal.h"
#include "guard/vault.h"

struct vault_file;

/* The key of a file, and while it is being changed (`hearth guard rotate`) the one before it, which lies beside it as `path`.old: what was sealed with that can
 * still be read. Who has the vault open looks from time to time whether the file is another one. */
struct vault_keys { struct seal_key keys[2]; size_t n; };
enum err vault_keys_load(const char *path, struct vault_keys *out);     /* made where there is none. ERR_FORBIDDEN: others may read it; ERR_IO */

/* Made where there is none. `wait_ms`: for another writer; 0: as a box waits. ERR_FORBIDDEN: it was made with another key, or others may read it; ERR_STORE,
 * ERR_MEMORY; `why` is for people. */
enum err vault_file_open(const char *path, const struct vault_keys *keys, int wait_ms, struct vault_file **out, char why[256]);
struct vault *vault_file_vault(struct vault_file *f);   /* lives as long as `f` */
enum err vault_file_sync(struct vault_file *f);         /* what was put lies on the disk, also if the power goes; ERR_IO */
void vault_file_close(struct vault_file *f);            /* NULL is fine */

#endif
