/* fleet/part.h: a file on its way: NAME.part, which becomes NAME when all of it is there and right. Includes: core.
 *
 * The bytes come in any order, in chunks (part_next); which have come stands in NAME.part.json, written after the bytes themselves are on disk, so
 * that it never promises too much: a process that is killed goes on where the file stood a second before. The digest is taken of what is on disk,
 * from the front, while the rest still comes. NAME.part is locked as long as it is open: one process fetches a file, others wait.
 *
 * Nothing but regular files of our own is opened, and no link is followed. */
#ifndef HEARTH_FLEET_PART_H
#define HEARTH_FLEET_PART_H

#include "core/buf.h"
#include "core/hash.h"

#define PART_CHUNKS  256
#define PART_CHUNK   (4u << 20)         /* the least */
#define PART_STATE   (64u << 10)
#define PART_WAIT_MS 600000             /* another process that brings nothing for so long is not waited for any more */

struct part;
struct part_wish {
    str source;                         /* goes on only with what came from the same source */
    uint64_t size;                      /* 0: not known yet */
    const struct digest *digest;        /* what all of it must have; NULL: not known */
};
/* Opens or makes `name`.part in the folder `dir`, and takes up what is there. `on_wait` is called five times a second while another process has it;
 * false gives up (ERR_CLIENT). ERR_AGAIN: that process has ended, look again; ERR_BUSY, ERR_IO, ERR_FORBIDDEN (a link, or another's) with a sentence in `why`. */
enum err part_open(int dir, const char *name, const struct part_wish *w, bool (*on_wait)(void *ctx), void *ctx, struct part **out, char why[256]);
void part_close(struct part *p);        /* saves what has come; NULL is fine */

/* What the server says: the file's size and version (`tag`; empty: none), and whether it can send ranges. What has come of another version is
 * forgotten, unless a digest decides in the end; without ranges everything begins at byte 0. */
enum err part_begin(struct part *p, uint64_t size, str tag, bool ranges);
/* The next bytes to fetch, [*from, *to). False: all is there or on its way. */
bool part_next(struct part *p, uint64_t *from, uint64_t *to);
/* The bytes at `at`. ERR_AGAIN: not these; ERR_IO with a sentence from part_why(). */
enum err part_write(struct part *p, uint64_t at, str data);
void part_put_back(struct part *p, uint64_t from);       /* what part_next() gave out from here on is not on its way any more */

uint64_t part_size(const struct part *p);
uint64_t part_come(const struct part *p);                /* bytes that are there */
uint64_t part_hashed(const struct part *p);              /* bytes that are in the digest */
uint64_t part_on_disk(const struct part *p);             /* bytes that the disk has already given for it */
int part_fd(const struct part *p);
const char *part_why(const struct part *p);

enum err part_save(struct part *p);                      /* what has come, for a later process */
enum err part_hash(struct part *p, size_t most);         /* takes up to `most` more bytes into the digest; ERR_AGAIN: more could follow */
/* All of it is there and hashed. */
enum err part_digest(struct part *p, struct digest *out);
/* Makes it `name`, whole and on disk, readable for others; `replace`: instead of one that is there. ERR_FORBIDDEN: there is one. The
 * descriptor stays open until part_close(). */
enum err part_finish(struct part *p, bool replace);
void part_drop(struct part *p);                          /* forgets everything that has come */

#endif
