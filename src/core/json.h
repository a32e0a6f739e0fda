/* core/json.h: JSON as spans over the original bytes, and a writer. Includes: core.
 *
 * json_parse() validates a whole text (RFC 8259: one value, UTF-8, no lone surrogate escapes, no NaN, no trailing
 * comma) and builds a flat table of nodes in the arena: 16 bytes a value, keys included. The text is never copied;
 * every value knows its span, so an untouched value can be forwarded byte for byte and a number keeps its text.
 * Time and memory are linear in the text. Duplicate keys are kept and visible (json_member() takes the first,
 * json_next() shows all, json_has_duplicate() says so).
 *
 * A `json` is a small value to pass by copy; it points into the document, which lives in the arena. The value for
 * "not there" has type JSON_NONE, and every function takes it: chains of look-ups need no checks in between. */
#ifndef HEARTH_CORE_JSON_H
#define HEARTH_CORE_JSON_H

#include "core/arena.h"
#include "core/buf.h"

enum json_type { JSON_NONE, JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_node;
struct json_doc {
    str text;
    const struct json_node *nodes;
    uint32_t n;
};
typedef struct { const struct json_doc *doc; uint32_t at; } json;
#define JSON_ABSENT ((json){ NULL, 0 })

struct json_limits {
    uint32_t depth;         /* nested arrays and objects, at most JSON_MAX_DEPTH */
    uint32_t nodes;         /* values and keys in all */
    size_t bytes;           /* of text, below 2^32 - 1 */
};
#define JSON_MAX_DEPTH 512
#define JSON_DEFAULT_LIMITS ((struct json_limits){ .depth = 128, .nodes = 4u << 20, .bytes = 64u << 20 })

struct json_error {
    size_t at;              /* byte offset of the first byte that is wrong */
    const char *what;       /* "expected ',' or '}'" */
};

/* ERR_SYNTAX (with *why, when given), or ERR_LIMIT for a limit or a full arena. `text` must outlive the document. */
enum err json_parse(struct arena *a, str text, const struct json_limits *lim, json *out, struct json_error *why);

enum json_type json_type(json v);
str json_span(json v);                      /* the value's own bytes, quotes and brackets included */
size_t json_count(json v);                  /* members or elements of an object or array, else 0 */

/* The first member named `key` of an object, compared after unescaping. */
json json_member(json object, str key);
json json_at(json array, size_t i);
/* Walks: json_first() of an array or object, then json_next() until JSON_NONE. For a member, json_key() is its key. */
json json_first(json v);
json json_next(json v);
json json_key(json member);                 /* a JSON_STRING; JSON_NONE for an element of an array */
bool json_has_duplicate(json object, str *key);     /* true and the raw key when any key stands twice; O(n log n) */
bool json_find_duplicate(json v, str *key);         /* the same of every object in `v`, itself included */

/* A string's text with escapes resolved: a slice of the original where there are none, else in `a`.
 * ERR_SYNTAX when it is not a string, ERR_LIMIT when the arena is full. */
enum err json_text(struct arena *a, json v, str *out);
bool json_is(json v, str text);             /* a string that equals `text` after unescaping */
bool json_i64(json v, int64_t *out);        /* an integer without fraction or exponent that fits */
bool json_f64(json v, double *out);         /* any number; independent of the locale */
bool json_bool(json v, bool *out);

/* ---- writing ---- */

/* Writes into a buf; commas and colons are placed by the writer. The first failure sticks in `err` and later calls do
 * nothing, so that one check at the end suffices. Compact, no spaces. Doubles print shortest round-trip form. */
struct json_out {
    struct buf *b;
    enum err err;
    uint32_t depth;
    uint64_t comma;         /* bit d: a comma is due at depth d (depth at most 63) */
};
void json_out_init(struct json_out *o, struct buf *b);
void json_open(struct json_out *o, char bracket);       /* '{' or '[' */
void json_close(struct json_out *o, char bracket);      /* '}' or ']' */
void json_put_key(struct json_out *o, str key);
void json_put_str(struct json_out *o, str text);        /* escapes; invalid UTF-8 becomes U+FFFD */
void json_put_i64(struct json_out *o, int64_t v);
void json_put_f64(struct json_out *o, double v);        /* NaN and infinities become null */
void json_put_bool(struct json_out *o, bool v);
void json_put_null(struct json_out *o);
void json_put_raw(struct json_out *o, str json_text);   /* a value's bytes, as they are */
/* A member, its key and its value. */
void json_put_text(struct json_out *o, str key, str text);
void json_put_text_or_null(struct json_out *o, str key, str text);          /* null: it is empty */
void json_put_count_or_null(struct json_out *o, str key, int64_t n);        /* null: it is below zero */
/* A text as the inside of a JSON string, without quotes: for streaming into a string piece by piece. */
enum err json_escape(struct buf *b, str text);
/* Length of the beginning of `text` that stands in a JSON string as it is and is ASCII. */
size_t json_plain(str text);

#endif
