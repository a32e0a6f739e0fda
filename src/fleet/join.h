/* fleet/join.h: the files of a split GGUF as one file, which an engine can be given by one descriptor. Includes: core.
 *
 * What llama.cpp's gguf-split writes (tools/gguf-split): the first file has all keys and split.no, split.count, split.tensors.count, the others only
 * these; each has the entries and data of some tensors. The whole has the first file's keys without those three, all entries in order with new
 * offsets, and the data behind them, aligned as the first file says. Each header is checked as that of any foreign file. */
#ifndef HEARTH_FLEET_JOIN_H
#define HEARTH_FLEET_JOIN_H

#include "core/gguf.h"

struct join;
/* The plan for n open files in order; they must stay open. ERR_SYNTAX with a sentence in *why: they do not belong together; ERR_IO, ERR_LIMIT. */
enum err join_plan(const int *fds, uint32_t n, struct join **out, const char **why);
uint64_t join_size(const struct join *j);
/* The whole, from its first byte to its last, in pieces. Errors of `write` end it; ERR_IO: a file could not be read. */
enum err join_write(const struct join *j, enum err (*write)(void *ctx, uint64_t at, str data), void *ctx);
void join_free(struct join *j);                         /* NULL is fine */

#endif
