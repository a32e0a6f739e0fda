/* gate/guard.h: the guard at the door of a try, and on the way back; private to the gate. Includes: core, guard, ledger, wire.
 *
 *   guard.c    what is about to leave for a cloud: searched, masked, kept here or refused
 *   unmask.c   what comes back: values in the place of placeholders, in streams and in whole replies
 *   look.c     what a local model adds to what was found
 *   vaults.c   the vault of each loop, which is opened by the first call that leaves (vault_file.c)
 *
 * A try that stays asks gate_zone() and nothing else of all this. */
#ifndef HEARTH_GATE_GUARD_H
#define HEARTH_GATE_GUARD_H

#include "guard/mask.h"
#include "guard/restore.h"
#include "ledger/row.h"
#include "wire/sse.h"

struct gate_req;
struct gate_loop;
struct gate_guard;

/* Where a text that streams stands in its upstream's events. */
enum slot_shape { SLOT_DELTA, SLOT_TOOL, SLOT_FUNCTION, SLOT_TEXT, SLOT_BLOCK, SLOT_MESSAGE, SLOT_ROOT };

struct gate_slot {                      /* one such text, and what of it is held back */
    struct gate_slot *next;
    enum slot_shape shape;
    int64_t choice, tool;               /* choice: of Anthropic the block */
    str field;
    struct restorer restorer;
    bool fed;                           /* by the event that is being read */
};

struct gate_made { size_t raw, raw_end, data, data_end; str event; };   /* an event, as places in gate_guarded.out */

enum { GATE_SLOTS_MAX = 128 };          /* texts of one answer that stream */

struct gate_look;
struct gate_guarded {                   /* what the guard knows of a call; in its arena */
    struct guard_policy policy;
    str body;                           /* what was searched */
    struct guard_verdict verdict;
    bool searched;
    struct gate_look *look;             /* at that body, by a local model; NULL: not asked for */
    bool seals;                         /* it holds something, or may: its bodies are recorded as those of private calls */

    /* of the try that runs: */
    bool counted;                       /* the numbers below are of it */
    size_t counts[GUARD_N_TYPES];
    str dropped;                        /* fields that were left out, for x-hearth-dropped; empty: none */
    bool restores;
    struct restore_set set;
    struct gate_slot *slots;
    size_t n_slots;
    struct gate_made *made;             /* room for one of each slot, and one more */
    struct buf text, fresh, out;        /* unmask.c: of one event */
};

/* ---- guard.c ---- */
/* When the body of a try is written (r->slices): what may leave of it replaces it. ERR_PRIVATE: policy says that it stays; ERR_GUARD: it could not be
 * searched or masked. r->stays then says that a local model is there to answer. ERR_AGAIN: a local model looks first; gate_step() comes when it has. */
enum err gate_guard_door(struct gate_req *r);
void gate_guard_forget(struct gate_req *r);             /* the try is over */
bool gate_guard_seals(const struct gate_req *r);
void gate_guard_row(struct gate_req *r, struct ledger_row *row);
str gate_guard_field(struct gate_req *r);               /* "x-hearth-guard: EMAIL 2, IBAN 1\r\n", or empty */
str gate_guard_dropped(struct gate_req *r, str also);   /* both lists, for x-hearth-dropped */

/* ---- look.c ---- */
/* Has the local model looked, and what it proposes been added to the verdict? ERR_AGAIN: it does now. Else why it could not be asked. */
enum err gate_look(struct gate_req *r);
bool gate_looks(const struct gate_req *r);              /* it does now */
void gate_look_forget(struct gate_guarded *x);          /* the try is over */

/* ---- unmask.c ---- */
bool gate_unmasks(const struct gate_req *r);
/* An event of the upstream's with its values in place; what was held back of a text that ends comes before it, as events of its own. ERR_LIMIT, ERR_MEMORY. */
enum err gate_unmask_event(struct gate_req *r, const struct sse_event *ev, void (*each)(struct gate_req *r, const struct sse_event *ev));
enum err gate_unmask_reply(struct gate_req *r);         /* r->taken, whole */
void gate_unmask_error(struct gate_req *r);             /* r->taken, an error of any form; it stays as it is where that fails */

/* ---- vaults.c ---- */
enum err gate_vault(struct gate_loop *l, const struct gate_guard *g, struct vault **out);      /* ERR_STORE, ERR_FORBIDDEN, …; the reason is in the log */
void gate_vault_close(struct gate_loop *l);

#endif
