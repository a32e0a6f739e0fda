/* cmd/config_routes.h: `aliases`, `auto` and `default` of the configuration: names that stand for models and tasks. Includes: options.h. */
#ifndef HEARTH_CMD_CONFIG_ROUTES_H
#define HEARTH_CMD_CONFIG_ROUTES_H

#include "cmd/options.h"

struct rule_entry { struct option_list paths, words, languages, tool_names; int tools, images; size_t min_bytes, max_bytes; str to; };
struct alias_entry { str key; struct option_list to; double *weights; };

struct routes {                         /* as it is written, for the canonical text */
    struct alias_entry *aliases;
    size_t n_aliases;
    struct rule_entry *rules;
    str default_name;
};

/* When models and tasks of `p` are known: fills its aliases, rules and default. Mistakes are complained about; ERR_LIMIT. */
enum err routes_load(struct option_reader *r, const struct yaml_node *root, struct policy *p, struct routes *out);
void routes_write_default(struct option_writer *w, const struct routes *x);
void routes_write(struct option_writer *w, const struct policy *p, const struct routes *x);
void routes_manual(struct buf *b);

#endif
