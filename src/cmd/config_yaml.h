/* cmd/config_yaml.h: a YAML text as a tree in which every node knows its place. Includes: core, libyaml (in the .c).
 *
 * A small part of YAML 1.1, by libyaml's events: maps, lists and scalars. Anchors, aliases, tags and a second document are
 * refused, and so is a key that stands twice in one map. Scalars keep their text; what it means is the reader's affair.
 *
 * "${NAME}" may stand anywhere, also unquoted inside "{ … }", where YAML itself would end the scalar at the "{". */
#ifndef HEARTH_CMD_CONFIG_YAML_H
#define HEARTH_CMD_CONFIG_YAML_H

#include "core/arena.h"
#include "core/buf.h"

#define YAML_DEPTH 32
#define YAML_NODES 100000

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_place { uint32_t line, column; };       /* from 1, in characters; line 0: nowhere */

struct yaml_node {
    enum yaml_kind kind;
    bool plain;                         /* a scalar without quotes */
    struct yaml_place at, key_at;
    str text;                           /* of a scalar */
    str key;                            /* of a map's member */
    struct yaml_node *first, *next;     /* children; the next child of the same parent */
    uint32_t n;
};

/* Where mistakes go: one line each, "FILE:LINE:COLUMN: sentence". After `max` of them only `n` grows. */
struct yaml_report {
    struct buf *out;
    str file;
    uint32_t n, max;
};
void yaml_complain(struct yaml_report *r, struct yaml_place at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* After the last mistake: says so when some were not shown. */
void yaml_complain_end(struct yaml_report *r);

/* *out is NULL for an empty text. ERR_SYNTAX: complained; ERR_LIMIT: the arena is full. Strings end with a NUL that is not counted. */
enum err yaml_read(struct arena *a, str text, struct yaml_report *r, struct yaml_node **out);

const struct yaml_node *yaml_member(const struct yaml_node *map, str key);      /* NULL: none; takes NULL */
/* "key:" without a value, "~" or "null". */
bool yaml_is_null(const struct yaml_node *n);

#endif
