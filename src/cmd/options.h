/* cmd/options.h: options as tables, and the functions that walk them: read, write, document. Includes: core, io, http.
 *
 * A table describes a struct: each row names a key and the field that it fills, with type, default, range and help. One walk
 * reads a YAML map into the struct; another writes the struct as canonical YAML and JSON; a third writes the manual. */
#ifndef HEARTH_CMD_OPTIONS_H
#define HEARTH_CMD_OPTIONS_H

#include "cmd/config.h"
#include "cmd/config_yaml.h"
#include "core/json.h"

enum option_type {      /* field */
    OPTION_BOOL,        /* bool */
    OPTION_INT,         /* int64_t, min to max */
    OPTION_SIZE,        /* size_t, bytes: 1048576, 64KiB, 8MiB, 1GiB */
    OPTION_DURATION,    /* int64_t, milliseconds: 250ms, 30s, 5m, 12h, 90d */
    OPTION_MONEY,       /* double, dollars; NAN: none */
    OPTION_TEXT,        /* str */
    OPTION_PATH,        /* str, made absolute */
    OPTION_ADDRESS,     /* str that io_addr_parse() takes */
    OPTION_URL,         /* str that http_origin_parse() takes, no credentials in it */
    OPTION_PROXY,       /* str: the same, or "env" */
    OPTION_WORD,        /* int, index in words; -1: none */
    OPTION_LIST,        /* struct option_list: one text or a list of texts, without control bytes */
    OPTION_TRUTH,       /* int: 1, 0; -1: not written */
    OPTION_SECRET,      /* struct option_secret: an environment reference, nothing else */
    OPTION_IGNORED      /* known, recorded in the file alone, without an effect yet */
};

struct option {
    const char *key;
    enum option_type type;
    size_t offset;
    const char *def;                    /* as it would be written; NULL: none */
    int64_t min, max;
    const char *const *words;           /* of OPTION_WORD, up to NULL */
    const char *help;
};

struct option_secret { str value, variable; };      /* variable: where it comes from; value empty: not set */

struct option_reader {
    struct arena *a;
    const struct config_env *env;
    str dir;                            /* relative paths begin here */
    struct yaml_report *report;
};

/* Fills `base` from `map` (NULL: defaults only). `also`: keys that the caller reads itself, up to NULL. Mistakes are
 * complained about; the only error is ERR_LIMIT. */
enum err option_read(struct option_reader *r, const struct option *table, size_t n, const struct yaml_node *map, const char *const *also, void *base);
/* A scalar with its environment references resolved. */
enum err option_text(struct option_reader *r, const struct yaml_node *n, str *out);
/* A list of texts, or one, as OPTION_LIST has it; `key` is what is said to be wrong. */
enum err option_list_read(struct option_reader *r, const char *key, const struct yaml_node *n, struct option_list *out);
enum err option_path(struct option_reader *r, str path, str *out);
/* " (did you mean x?)" for a near word of the table, or "". */
#define OPTION_HINT 96
bool option_size(str s, size_t *out);           /* a text as OPTION_SIZE has it */
void option_hint(str word, const char *const *words, size_t n, char out[OPTION_HINT]);

/* Two texts at once: canonical YAML and JSON. */
struct option_writer { struct buf *yaml; struct json_out *json; int depth; };
void option_open(struct option_writer *w, str key);
void option_close(struct option_writer *w);
void option_put(struct option_writer *w, str key, str value, bool is_number);
void option_put_list(struct option_writer *w, str key, const struct option_list *l);
void option_write(struct option_writer *w, const struct option *table, size_t n, const void *base);

void option_manual(struct buf *b, const char *title, const char *about, const struct option *table, size_t n);

#endif
