/* guard/pattern.h: regular expressions of the owner's own, by RE2, which this file's .cc alone knows. Includes: libc, so that C++ reads it too.
 *
 * RE2 runs in time linear in the text and in bounded memory, whatever the expression and the text are: a backtracking engine does neither, and the texts
 * are strangers'. What that costs is said by pattern_new(): references to what was matched before, and looking ahead or behind, do not exist.
 *
 * A pattern is immutable and shared by all threads. */
#ifndef HEARTH_GUARD_PATTERN_H
#define HEARTH_GUARD_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    PATTERN_BYTES = 1000,               /* of an expression */
    PATTERN_MEMORY = 2 << 20,           /* of a pattern with its states: where these take more, each byte costs as much as there are steps */
    PATTERN_STEPS = 2000,               /* of what it is compiled to */
    PATTERN_WINDOW = 1024,              /* bytes of one match; a longer one is found in parts */
    PATTERN_WHY = 240
};

struct pattern;

/* NULL: no memory, or it is no pattern that can be searched for; `why` then says what is wrong and what to write instead, without a full stop. UTF-8; "."
 * matches no line's end, "^" and "$" are those of the text, unless "(?m)" says otherwise. */
struct pattern *pattern_new(const char *p, size_t n, char why[PATTERN_WHY]);
void pattern_free(struct pattern *x);   /* NULL is fine */

enum pattern_found { PATTERN_NONE, PATTERN_MATCH, PATTERN_ERROR };
/* The next match that begins at `from` or behind it, never an empty one. A few windows are read for each match at most, and each byte about twice where
 * there is none. ERROR: no memory; nothing is known then. */
enum pattern_found pattern_find(const struct pattern *x, const char *text, size_t n, size_t from, size_t *begin, size_t *end);

#ifdef __cplusplus
}
#endif

#endif
