/* guard/policy.h: what is done about a call that holds personal data, or that may. Includes: core, guard. Pure.
 *
 * Rules are written for all calls, for a task, for a key and for a model; guard_policy_join() makes one of those that apply to an attempt, always the
 * stricter: the later word in the list of actions, the lower threshold, "not restored" over "restored", a list of allowed words only where all that
 * have written one agree. So a key can tighten what a task allows, and nothing loosens it. What nobody has written is the default: mask, unsure: local.
 *
 * guard_decide() is asked per attempt, by its zone: for machine and private zones nothing changes. It fails closed: when the finder erred, ran out of time
 * or memory, or the body is too large or no UTF-8, a call that is guarded at all does not leave.
 *
 * Gate asks it in the door of every attempt (fallbacks, shadows, judges and audits as well), masks where it says so, tries the next local model for
 * GUARD_STAY, and answers with `err` and `why` for GUARD_REFUSE. Words that are denied are the finder's (struct guard_options): one finder for each
 * set of lists that is configured. */
#ifndef HEARTH_GUARD_POLICY_H
#define HEARTH_GUARD_POLICY_H

#include "core/err.h"
#include "guard/find.h"

/* From the laxest to the strictest. */
enum guard_action {
    GUARD_UNSET,                        /* not written: somebody else's word, or the default */
    GUARD_OFF,                          /* leaves as it is, and nothing is searched */
    GUARD_DETECT,                       /* leaves as it is; what was found is counted */
    GUARD_MASK,
    GUARD_MASK_MODEL,                   /* a local model looks, too, and may add masks */
    GUARD_LOCAL,                        /* leaves only when nothing was found; else a local model answers */
    GUARD_BLOCK,                        /* the same, else it is refused */
    GUARD_ACTIONS
};
const char *guard_action_name(enum guard_action a);     /* "mask+model" */
bool guard_action_from(str s, enum guard_action *out);  /* not GUARD_UNSET */

enum guard_restorable { GUARD_RESTORE_UNSET, GUARD_RESTORE, GUARD_RESTORE_NOT };

struct guard_type_rule {
    enum guard_action action;           /* of this type alone, instead of the rules' own; OFF and DETECT: not masked */
    uint8_t least;                      /* a lower score is taken for nothing; 0: not written */
    bool surrogate;                     /* the form of the value is kept (guard/placeholder.h) */
    enum guard_restorable restore;      /* unset: all but secrets are put back */
};

struct guard_rules {
    enum guard_action action;
    enum guard_action unsure;           /* images and so on: MASK sends them as they are, LOCAL, or BLOCK; unset: LOCAL */
    struct guard_type_rule types[GUARD_N_TYPES];
    const struct guard_word *allow;     /* these are nothing, whatever the finder says: exact, or "*tail" and "head*"; ASCII case ignored */
    size_t n_allow;
};

/* What applies to one attempt. rules[i] may be NULL: nothing written there. */
enum { GUARD_RULES_MAX = 4 };
struct guard_policy {
    struct guard_rules rules;           /* joined; nothing is unset. Its `allow` is not used */
    const struct guard_rules *from[GUARD_RULES_MAX];    /* those with lists of allowed words */
    size_t n_from;
};
struct guard_policy guard_policy_join(const struct guard_rules *const *rules, size_t n);

/* Is this found value to be masked (true), or left as it is? */
bool guard_policy_masks(const struct guard_policy *p, enum guard_type t, unsigned score, str value);

struct guard_question {
    bool leaves;                        /* the attempt's zone is `cloud` */
    bool private_data;                  /* the call is of class `private`, by its task or its caller */
    enum err search;                    /* how walking and finding ended; anything but ERR_OK: nothing is known about the body */
    bool unsure;                        /* it holds what cannot be searched */
    size_t found[GUARD_N_TYPES];        /* by type: what guard_policy_masks() said yes to */
    bool has_local;                     /* a local model may answer instead */
};

enum guard_do { GUARD_SEND, GUARD_SEND_MASKED, GUARD_ASK_MODEL, GUARD_STAY, GUARD_REFUSE };
struct guard_answer {
    enum guard_do what;                 /* ASK_MODEL: then masked, with what it adds; if it fails, as if `search` had */
    enum err err;                       /* REFUSE: what the client is told */
    const char *why;                    /* one sentence, for the record and for the client; static */
};
struct guard_answer guard_decide(const struct guard_policy *p, const struct guard_question *q);

/* Is there anything to search for? Not where everything is OFF: then guard_decide() is asked with `search` ERR_OK. */
bool guard_policy_searches(const struct guard_policy *p);

#endif
