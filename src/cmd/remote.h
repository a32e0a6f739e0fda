/* cmd/remote.h: what whoever runs hearth can ask over HTTP, at /hearth/…; the answers are those of the commands. Includes: app.h.
 *
 * Called on a thread of the gate's own, one question at a time; reads what is immutable, files, and the ledger through a reader. */
#ifndef HEARTH_CMD_REMOTE_H
#define HEARTH_CMD_REMOTE_H

#include "cmd/app.h"

void remote_answer(void *app, const struct gate_question *q, struct gate_answer *out);      /* fits gate_options.manage */

#endif
