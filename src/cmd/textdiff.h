/* cmd/textdiff.h: what differs between two texts, by lines. Includes: core. Pure.
 *
 * The longest common subsequence of lines, by dynamic programming over what is left when equal beginnings and ends are cut off. */
#ifndef HEARTH_CMD_TEXTDIFF_H
#define HEARTH_CMD_TEXTDIFF_H

#include "core/arena.h"
#include "core/err.h"

#define TEXTDIFF_LINES 3000             /* that differ, on each side; more are given as one change */

struct textdiff { void (*line)(void *ctx, char mark, str line); void *ctx; };    /* mark: ' ', '-' of the first text, '+' of the second */
/* Gives every line of both in order. ERR_LIMIT. */
enum err textdiff_run(struct arena *a, str x, str y, const struct textdiff *out);
/* The byte where they begin to differ; the shorter one's length when it is a beginning of the other. */
size_t textdiff_first(str x, str y);

#endif
