/* guard/restore.h: values back in the place of what stands for them, also in a stream. Includes: core, guard. Pure.
 *
 * What may be put back is a set: it holds what masking put into this request or into an earlier turn of the same conversation (guard/mask.h makes it),
 * and nothing else is ever restored, whatever a model or a page that it read says.
 *
 *   struct restorer r;  restorer_init(&r, &set);        one for each text that streams: the answer, its thinking, the arguments of each tool call
 *   restorer_feed(&r, piece, false, &out);              appends to `out` what is decided; any cut of the pieces gives the same bytes
 *   restorer_feed(&r, STR_NONE, true, &out);            the end: what is held back goes out
 *
 * Gate (STREAM) feeds the text of each delta of wire/delta.h that is TEXT, REFUSAL, THINKING or TOOL_ARGS, and ends a restorer before the next
 * TOOL_START and at FINISH. Arguments of tools are JSON: no value holds a byte that JSON must escape (vault_token() refuses such), so what is put
 * into a string of JSON, or into JSON within a string of JSON, leaves it valid. `SIGNATURE` and ids pass untouched.
 *
 * Held back is only a suffix that may still become something of the set, so text without one costs no delay. Models change what they copy; taken for
 * "[EMAIL_k7q2m]" are also: other case; up to two spaces inside of the brackets and around '_', or in the place of it; markdown's backslashes,
 * "\[EMAIL\_k7q2m\]", doubled as JSON does; and no brackets at all, between the borders of words. Stars and backticks around it stay. A surrogate
 * (placeholder.h) has no brackets and must stand as it was made, but for case and backslashes. What has the form of a placeholder and is not in the
 * set stays as it is and is counted. */
#ifndef HEARTH_GUARD_RESTORE_H
#define HEARTH_GUARD_RESTORE_H

#include "core/arena.h"
#include "core/buf.h"
#include "guard/find.h"
#include "guard/placeholder.h"

struct restore_entry {
    str key;                            /* lower case: a stem without brackets, or a surrogate */
    str value;
    enum guard_type type;
    bool bare;                          /* a surrogate */
};

struct restore_set {
    struct restore_entry *entries;
    size_t n, cap;
    bool first[256];                    /* bytes that an entry can begin with, brackets included */
};

/* Adds one; `token` (a stem without brackets, or a surrogate) and `value` are copied into `a`. ERR_LIMIT, and ERR_RANGE for a token that could not be
 * found again. restore_set_ready() comes after the last one and before anything below: it sorts, and leaves out what was added twice. */
enum err restore_set_add(struct arena *a, struct restore_set *s, str token, str value, enum guard_type type, bool bare);
void restore_set_ready(struct restore_set *s);
const struct restore_entry *restore_set_get(const struct restore_set *s, str token);    /* in any case; NULL: unknown */

/* The first place in `text` from `at` on that would be restored, if `text` were all there is: masking asks this of what a caller typed. */
struct restore_place { size_t begin, end; const struct restore_entry *entry; };
bool restore_find(const struct restore_set *s, str text, size_t at, struct restore_place *out);

struct restorer {
    const struct restore_set *set;      /* not changed while it is used */
    struct buf held;                    /* the suffix that is not decided; bounded */
    int before[2];                      /* the byte before it, and the one before that; -1: none */
    size_t restored, unknown;           /* counts: put back; of the form of a placeholder, and left */
    char shape[PLACEHOLDER_MAX];        /* what followed the last '[', while it may be an unknown placeholder */
    size_t shape_n;
    bool in_shape;
};
void restorer_init(struct restorer *r, const struct restore_set *s);
void restorer_free(struct restorer *r);
enum err restorer_feed(struct restorer *r, str piece, bool last, struct buf *out);      /* ERR_LIMIT, ERR_MEMORY: `out` is not whole, the answer must be cut */

/* All of a text at once, into `a`; *restored may be NULL. */
enum err restore_text(struct arena *a, const struct restore_set *s, str text, str *out, size_t *restored);

#endif
