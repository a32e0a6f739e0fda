/* route/replica.h: which of several servers of one model gets a call. Includes: core, route/policy.h. Pure.
 *
 * Calls that begin alike go to the same server, since that one has their beginning in its cache, unless it has more than its share of the load: rendezvous
 * hashing gives each beginning an order of servers (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998), and the first of them is taken
 * whose load is below 1.25 times the mean (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016, with c = 1.25). A server that comes or
 * goes moves only its own beginnings. */
#ifndef HEARTH_ROUTE_REPLICA_H
#define HEARTH_ROUTE_REPLICA_H

#include "route/policy.h"

struct replica {
    uint64_t id;                        /* stays the same for a server: a hash of its name */
    double load;                        /* calls that it has, running and waiting, from everybody */
    bool well;                          /* it may be asked; one that is not is taken only where none is */
};
/* n > 0. */
size_t replica_choose(uint64_t key, const struct replica *list, size_t n);

/* FNV-1a (Fowler, Noll, Vo), for names and for how a request begins. */
#define REPLICA_HASH UINT64_C(0xcbf29ce484222325)
uint64_t replica_hash(uint64_t h, str s);

#endif
