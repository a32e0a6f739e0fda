/* route/auto.h: which rule of `auto` holds for a request; private to route. Includes: core, wire. Pure. */
#ifndef HEARTH_ROUTE_AUTO_H
#define HEARTH_ROUTE_AUTO_H

#include "route/route.h"

/* The first rule that holds, or NULL. *because: " (the word docstring, in python)", in `a`, or empty. */
const struct auto_rule *auto_match(struct arena *a, const struct policy *p, const struct features *f, str *because);

#endif
