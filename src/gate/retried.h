/* gate/retried.h: which call a client asks again; private to the gate. Includes: core.
 *
 * SDKs repeat a failed request by themselves, byte for byte, and say so (x-stainless-retry-count). Each is a call of its own here; this finds
 * the one that it repeats, so that the record can name it. A few failed calls are remembered for a few minutes, by a hash of who asked
 * and what. All loops share it, under a lock that only calls take which fail or are repeats. */
#ifndef HEARTH_GATE_RETRIED_H
#define HEARTH_GATE_RETRIED_H

#include "core/err.h"
#include "core/rand.h"
#include "core/str.h"

struct retried;
struct retried *retried_new(void);                      /* NULL: out of memory */
void retried_free(struct retried *t);

/* `id` has failed. `who` and `what`: the client and the body. */
void retried_note(struct retried *t, str who, str what, const char id[UUID_TEXT], int64_t now_us);
/* The latest call of this client with this body that failed; false: none that is remembered. */
bool retried_find(struct retried *t, str who, str what, int64_t now_us, char id[UUID_TEXT]);

#endif
