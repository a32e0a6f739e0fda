/* guard/sanitize.h: the text of a file with placeholders for what was found in it, and back. Includes: core, guard. Pure.
 *
 *   struct sanitizer s = { .search = &search, .policy = &policy, .kind = sanitize_kind_of(name, head), .out = … };
 *   sanitizer_run(&s, a, &text, true)            a whole file at once: what is known from one place is found in all others
 *   sanitizer_run(&s, a, &text, false) …         or in pieces, forward only: `text` keeps what is not decided, the caller appends to it
 *
 * Lines stay lines, and cells of a table stay cells: a value that goes over several is replaced in parts. In source code and JSON the finder sees
 * escapes (\n, \", \u00e9) decoded; what is not replaced is written as it stood. JSON stays JSON: in strings stand placeholders, which need no
 * escaping; a number becomes the string "[PHONE_k7q2m]"; literals stay. Bytes that are no UTF-8 stay, and are counted.
 *
 * Placeholders that the vault knows are no finding, so a text that was sanitized stays as it is. A value that the vault keeps has its backslashes
 * as U+E05C, and a number of JSON U+E05D before it, since the vault keeps no backslashes and a string is no number; sanitize_restore() knows that. */
#ifndef HEARTH_GUARD_SANITIZE_H
#define HEARTH_GUARD_SANITIZE_H

#include "core/buf.h"
#include "guard/mask.h"

enum sanitize_kind { SANITIZE_TEXT, SANITIZE_TABLE, SANITIZE_CODE, SANITIZE_JSON, SANITIZE_KINDS };
const char *sanitize_kind_name(enum sanitize_kind k);           /* "text", "table", "code", "json" */
/* By the ending of the file's name, else by how it begins. */
enum sanitize_kind sanitize_kind_of(str name, str head);
bool sanitize_is_binary(str head);                              /* a NUL among the first bytes, as git has it */

/* One place that was found, for people. Lives until the call returns. */
struct sanitize_place {
    size_t line, column;                /* from 1; columns are characters of the file */
    enum guard_type type;
    uint16_t rule;
    uint8_t score;
    str context;                        /* what stands around it on its line, every value in it as "[TYPE]" */
    str value;                          /* decoded */
};

enum { SANITIZE_RULES = 128, SANITIZE_HEAD = 4096 };

struct sanitizer {
    /* by the caller */
    const struct guard_search *search;  /* its vault makes the placeholders; NULL: "[EMAIL]" stands instead, and nothing is kept */
    const struct guard_policy *policy;  /* which types, from which score, and whether they are kept */
    enum sanitize_kind kind;
    int64_t at_us;
    enum err (*put)(void *ctx, str bytes);      /* the text, in order */
    void (*on_place)(void *ctx, const struct sanitize_place *p);    /* or NULL */
    void *ctx;
    /* counted */
    size_t found[GUARD_N_TYPES], rules[SANITIZE_RULES];
    size_t placeholders, lost;          /* put; of these without a way back */
    size_t odd_bytes;                   /* no UTF-8 */
    bool started;                       /* something was put */
    /* sanitize.c's own */
    bool quoted;                        /* within a string of JSON, or a quoted cell */
    size_t line, column;
    char head[SANITIZE_HEAD];           /* of a table: its first line, shown to the finder before each piece */
    size_t head_n, skip;
};

/* `text` is the file or its next piece, and is changed while it is looked at. After ERR_OK it holds what is to stand before the next piece; nothing when
 * `last`. ERR_LIMIT while nothing has `started`: `a` is too small for so much at once, and `text` is as it was, so that it can be run in pieces. Any
 * other error, and those of `search`, of the vault and of put(): what was put is not to be used. `a` may be reset after each call. */
enum err sanitizer_run(struct sanitizer *s, struct arena *a, struct buf *text, bool last);

struct sanitize_restorer {
    struct vault *vault;
    str realm;
    enum err (*put)(void *ctx, str bytes);
    void *ctx;
    size_t restored, unknown;           /* put back; of the form of a placeholder, and left */
};
/* The way back, with the same rules for `text`. Only "[TYPE_tag]" counts, in any case, without anything in between. */
enum err sanitize_restore(struct sanitize_restorer *r, struct arena *a, struct buf *text, bool last);

#endif
