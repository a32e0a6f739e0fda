/* infer/spill.h: states of named beginnings in a file, for the next start. Includes: core, infer/prefix. No llama.
 *
 * The file comes as a descriptor that hearth has opened, since the engine may open none. It belongs to one model in one configuration: its
 * head holds the digest of what the engine is, and a file of another is emptied. It grows up to a limit and is never
 * rewritten: what is named changes rarely.
 *
 *   file    "hearth-kv 1\n" and 20 bytes of zero, SHA-256 of the engine's facts (32 bytes), then records
 *   record  u64 magic, u64 owner, u64 tokens, u64 bytes, SHA-256 of what follows (32 bytes), tokens (i32 each), state; padded to 8
 *
 * Numbers are of this machine's byte order; the file does not travel. A record is believed only when its digest is right: libllama reads
 * states without much doubt. */
#ifndef HEARTH_INFER_SPILL_H
#define HEARTH_INFER_SPILL_H

#include "core/hash.h"
#include "infer/prefix.h"

struct spill;
/* Takes the descriptor, also when it fails. ERR_IO: it cannot be read or written. */
enum err spill_open(int fd, uint64_t limit, const struct digest *facts, struct spill **out);
void spill_close(struct spill *s);                              /* NULL is fine */

int spill_count(const struct spill *s);
/* Owner and tokens of a record; the tokens live as long as `s`. False: the record is damaged. */
bool spill_tokens(struct spill *s, int i, struct prefix_entry *out);
size_t spill_bytes(const struct spill *s, int i);               /* of its state */
bool spill_read(struct spill *s, int i, uint8_t *state);        /* false: it is damaged, or cannot be read */
/* The record's number; -1: it is full, or cannot be written. */
int spill_write(struct spill *s, const struct prefix_entry *at, const uint8_t *state, size_t bytes);

#endif
