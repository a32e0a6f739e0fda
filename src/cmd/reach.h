/* cmd/reach.h: the hearth that holds this ledger, or one of our own. Includes: app.h.
 *
 * A command that calls a model or changes something is a client of whoever holds the ledger's lock; when nobody does, it takes the lock
 * and runs the parts in its own process, answering on the same socket: one way for both. */
#ifndef HEARTH_CMD_REACH_H
#define HEARTH_CMD_REACH_H

#include "cmd/app.h"

struct reach {
    struct app_config *cfg;
    struct app app;                     /* when `own` */
    bool own;
    struct io_loop *loop;               /* nothing else stops it while the command uses it */
    char socket[108];
};

enum reach_how {
    REACH_RUNNING,                      /* only one that runs: EXIT_MISSING when there is none */
    REACH_OWN,                          /* else one of our own */
    REACH_LISTEN                        /* which serves TCP too, on a port that the system chooses */
};
/* An exit_code, said. */
int reach_open(struct reach *r, struct cmd *c, enum reach_how how);
void reach_close(struct reach *r);
/* The port where HTTP clients find it; 0: it does not say. */
uint16_t reach_port(struct reach *r, struct arena *a);

#endif
