/* guard/rules.h: every rule of the finder, in one list. Includes: guard/find.h.
 *
 * The name is what audits and reports show, and stays. Numbers of rules do not: they are the order of this list. */
#ifndef HEARTH_GUARD_RULES_H
#define HEARTH_GUARD_RULES_H

#include "guard/find.h"

/* name, type */
#define RULES(X)                      \
    X(email, EMAIL)                   \
    X(email_encoded, EMAIL)

enum rule {
    RULE_NONE,
#define X(name, type) RULE_##name,
    RULES(X)
#undef X
    N_RULES
};

#endif
