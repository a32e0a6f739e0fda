/* cmd/config_guard.h: `guard` of the configuration, of all calls, of tasks and of models. Includes: options.h, guard, gate. */
#ifndef HEARTH_CMD_CONFIG_GUARD_H
#define HEARTH_CMD_CONFIG_GUARD_H

#include "cmd/options.h"
#include "gate/gate.h"
#include "guard/vault.h"

struct guard_type_entry {               /* a type that the owner has named */
    str name;
    struct option_list words, context;
    str pattern;
};

struct guard_lists { struct option_list of[GUARD_N_TYPES + 1]; };       /* by type; the last: of any */

struct guard_entry {                    /* as it is written */
    int cloud, unsure;
    struct option_list leave, surrogates;
    struct guard_lists allow, deny;
    int64_t least[GUARD_N_TYPES];       /* thresholds; 0: not written */
    bool restore_secrets, tagger;
    size_t limit;
    int64_t model_ms;
    str model, vault, key_file;
    struct option_secret key;
    struct guard_type_entry *types;     /* number GUARD_OWN and on */
    size_t n_types;
};

extern const char *const guard_words[];                 /* of `guard` of tasks and models; an index, or -1 */
struct guard_rules guard_rules_of(int word);

/* Fills `out` but for its finder, models and tasks. `beside`: where vault and key lie unless they are written. Mistakes are complained about; ERR_LIMIT. */
enum err guard_load(struct option_reader *r, const struct yaml_node *section, str beside_vault, str beside_key, struct guard_entry *e, struct gate_guard *out);
/* The finder for it, with the words of `deny` and the owner's types; ERR_RANGE: one of them cannot be searched for. */
enum err guard_load_finder(struct arena *a, const struct guard_entry *e, struct guard_finder **out);
void guard_write(struct option_writer *w, const struct guard_entry *e);
void guard_manual(struct buf *b);

#endif
