/* infer/schema.h: a JSON schema as rules of GBNF. Includes: core. Pure.
 *
 * Source: JSON Schema 2020-12 (core, validation), with what drafts 4 to 7 and OpenAPI 3.0 write differently: items as a list with
 * additionalItems, exclusiveMinimum as a boolean, definitions, nullable. Keywords and what is made of them:
 *
 *   type, enum, const, nullable                     as they stand; without a type, the one that the other keywords are about
 *   properties, required, additionalProperties      in the order of the schema, the optional ones in any choice; others only where
 *                                                   additionalProperties says so (or `properties` is not there at all), after the named ones
 *   minProperties, maxProperties                    where no names are given, or they change nothing
 *   items, prefixItems, minItems, maxItems          uniqueItems only where it changes nothing
 *   minLength, maxLength, pattern, format           pattern as regex.h has it; format: date, time, date-time, duration, uuid, ipv4, ipv6,
 *                                                   email, hostname, uri and what says nothing (password, byte, binary, float, double, regex)
 *   minimum, maximum, exclusive…, multipleOf        multipleOf: integers
 *   anyOf, oneOf, allOf, $ref                       oneOf is read as anyOf; allOf is merged; $ref within the schema, also to itself
 *
 * What is made is always valid; it is not all that would be (white space is bounded, numbers have at most 15 digits, nesting is, see gbnf.h).
 * Annotations and unknown keywords are passed over. A keyword that cannot be honoured is refused with its path. Work and size are
 * bounded: what passes a bound is refused, too. */
#ifndef HEARTH_INFER_SCHEMA_H
#define HEARTH_INFER_SCHEMA_H

#include "core/json.h"

#define SCHEMA_MAX_RULES  10000
#define SCHEMA_MAX_REPEAT 10000         /* minLength, maxLength, minItems, maxItems */

/* Rules as they are written; the first failure sticks in `err`. Names that begin with "r" and a digit are taken here, and "json-…". */
struct rules {
    struct buf b;
    enum err err;
    uint32_t n, primitives;             /* rules so far; a bit for each primitive that was used */
};
enum primitive { PRIMITIVE_VALUE, PRIMITIVE_OBJECT, PRIMITIVE_STRING, PRIMITIVE_CHAR, PRIMITIVE_NUMBER, PRIMITIVE_INTEGER, PRIMITIVE_WS, PRIMITIVE_KEY, PRIMITIVE_NEVER, PRIMITIVE_COUNT };
void rules_init(struct rules *o);
void rules_free(struct rules *o);
void rules_put(struct rules *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rules_put_text(struct rules *o, str text);                 /* a literal */
const char *rules_use(struct rules *o, enum primitive p);       /* the name of a rule that all share */
enum err rules_finish(struct rules *o);                         /* writes the primitives that were used */

struct schema_error { enum err err; str message, param; };      /* param: "response_format.json_schema.schema.properties.x.multipleOf" */
#define SCHEMA_NAME 16
/* Adds the rules of `schema` and gives the name of the first. Its root is what $ref "#" means; paths are those of its document, after
 * `prefix` (or empty). ERR_UNSUPPORTED, ERR_SYNTAX, ERR_RANGE, ERR_LIMIT: *why says more, in `a`. */
enum err schema_write(struct arena *a, struct rules *o, json schema, str prefix, char name[SCHEMA_NAME], struct schema_error *why);

/* A value in the form that models know best: a space after each : and , or, with an indent, a line for each member. */
enum err json_write_spaced(struct arena *a, struct buf *b, json v, int indent);

#endif
