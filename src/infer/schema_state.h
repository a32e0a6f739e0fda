/* infer/schema_state.h: what the files of the schema converter share; private to them. Includes: core.
 *
 *   schema.c          views of a schema, what is combined, the rules' table
 *   schema_object.c   objects and arrays
 *   schema_scalar.c   strings and constants
 *   schema_number.c   numbers within bounds */
#ifndef HEARTH_INFER_SCHEMA_STATE_H
#define HEARTH_INFER_SCHEMA_STATE_H

#include "infer/schema.h"

/* Schemas that must all hold. `done`: what of a part was taken into account already (its anyOf was replaced by one of the branches …). */
enum { DONE_REF = 1, DONE_ALL = 2, DONE_ANY = 4, DONE_ONE = 8, DONE_TOP = 16 };     /* TOP: all other parts stand within this one */
struct part { json s; unsigned done; };
struct view { struct part *p; uint32_t n, tops; bool never; };      /* tops: schemas that were added, each with those within it */

enum { VIEW_MAX = 32, WORK_MAX = 20 << 20 };

struct view_entry { struct view view; uint32_t rule; };

struct converter {
    struct arena *a;
    struct rules *o;
    json root;
    str prefix;
    struct schema_error *why;
    size_t work;                        /* members looked at */
    struct view_entry *entries;
    uint32_t n_entries, cap_entries, *hash, cap_hash, first_rule;
};

/* Fills *why with the path of `at` (which may be absent) and of a keyword in it. */
enum err schema_fail(struct converter *c, enum err e, json at, const char *keyword, const char *what);
enum err schema_full(struct converter *c);
/* json_member(), counted as work. */
json schema_member(struct converter *c, json object, const char *key);
enum err schema_spend(struct converter *c, size_t work);        /* ERR_LIMIT when it is too much */

/* Adds a schema to a view (with all that it refers to), and gives the rule of a view, whose body is written later. */
enum err view_add(struct converter *c, struct view *v, json schema);
enum err view_rule(struct converter *c, const struct view *v, char name[SCHEMA_NAME]);

/* A count that all parts agree on: the greatest (`most` false) or the least. *given: where one was said. */
enum err view_count(struct converter *c, const struct view *v, const char *keyword, bool most, uint32_t *out, json *given);

/* Each writes the line(s) of the rule NAME. */
enum err write_object(struct converter *c, const struct view *v, const char *name);
enum err write_array(struct converter *c, const struct view *v, const char *name);
enum err write_string(struct converter *c, const struct view *v, const char *name);
enum err write_number(struct converter *c, const struct view *v, bool integer, const char *name);
bool string_is_plain(struct converter *c, const struct view *v);
bool number_is_plain(struct converter *c, const struct view *v);
/* A value as it is written in JSON, as a literal. */
enum err write_constant(struct converter *c, json value);

#endif
