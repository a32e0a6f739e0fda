/* infer/regex.h: a regular expression as an expression of GBNF. Includes: core. Pure.
 *
 * The common part of ECMA-262 (which JSON schema names for `pattern`) and of Python's re: literals, `.`, classes with ranges, negation and
 * \d \w \s \D \W \S, groups (plain, ?: and named), alternatives, * + ? {m} {m,} {m,n} also with a lazy ?, the escapes \t \n \r \f \v \xHH
 * \uHHHH \u{H} and those of punctuation, ^ and $ at the ends of the whole or of its alternatives. Not taken, with the place: looking ahead or
 * behind, \b, back references, flags, possessive quantifiers, \p{…}, anchors elsewhere, and what the two dialects read differently.
 *
 * Texts are made with it, not searched, so where the dialects differ the smaller set is meant: \d and \w are ASCII, \D and \W
 * keep away from letters and digits of other scripts, `.` is no line end at all. */
#ifndef HEARTH_INFER_REGEX_H
#define HEARTH_INFER_REGEX_H

#include "core/arena.h"
#include "core/buf.h"
#include "infer/gbnf.h"

#define REGEX_ANY_LENGTH UINT32_MAX

struct regex;
/* `search`: a match anywhere will do unless ^ and $ say otherwise; else it is the whole text. `pattern` is UTF-8 and lives as long as `a`.
 * ERR_SYNTAX, ERR_UNSUPPORTED: *why says what and where; ERR_LIMIT. */
enum err regex_read(struct arena *a, str pattern, bool search, struct regex **out, struct gbnf_error *why);
/* Characters of the texts that match; *max may be REGEX_ANY_LENGTH. */
void regex_length(const struct regex *r, uint32_t *min, uint32_t *max);
/* Fewer texts: only some that have from `min` to `max` characters. False: none that this finds, and `r` is spoilt. */
bool regex_limit(struct regex *r, uint32_t min, uint32_t max);
/* Appends one expression in parentheses. `in_json`: the text stands inside a JSON string, so " and \ and line ends are written with
 * their short escapes. ERR_UNSUPPORTED: in JSON, a class has only characters that have none. */
enum err regex_write(struct buf *b, const struct regex *r, bool in_json);

#endif
