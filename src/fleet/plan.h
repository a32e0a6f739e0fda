/* fleet/plan.h: may this model be loaded now, where, and what must go first? Includes: core. Pure: numbers in, a decision out.
 *
 * Host memory and each GPU are places with room. A model needs some of the host, and, where it runs on a GPU, some of that. What is asked for is placed
 *
 *   at once       where there is room: on a GPU before the host, on the emptiest GPU first
 *   by a swap     when others can go: the least recently used among those that are idle, and only as many as are needed. One with running calls is named only
 *                 where idle ones do not suffice; its door is shut, and it goes when its calls have ended, never before
 *   later         while others are leaving or loading, before a model has been there for `stay_ms`, and until `window_ms` after the last swap
 *   never         when it would not fit even if everything else were gone: the refusal has the numbers
 *
 * So two models that do not fit together, with calls for both, swap at most once in a window, and the loaded one serves its calls meanwhile. No model
 * starves: whoever keeps the queue asks for the model first whose first call has waited longest, and takes what it was promised out of the world before it asks
 * for the next (plan_promise). */
#ifndef HEARTH_FLEET_PLAN_H
#define HEARTH_FLEET_PLAN_H

#include "core/str.h"

#define PLAN_MODELS  256
#define PLAN_DEVICES 16
#define PLAN_HOST    (-1)               /* in place of a device's number */

enum plan_state { PLAN_OFF, PLAN_LOADING, PLAN_LOADED, PLAN_LEAVING };

struct plan_model {
    int64_t host;                       /* bytes: of the host, when it runs there alone; */
    int64_t device, device_host;        /* of a GPU, and of the host besides, when it runs on one */
    bool on_device, on_host;            /* where it can run: both, one, or (a mistake) none, which is the host */
    enum plan_state state;
    int at;                             /* the device that it is on, or is being loaded to; PLAN_HOST */
    bool stays;                         /* it is never sent away */
    int running;                        /* calls */
    int64_t loaded_ms, used_ms;         /* since when it is there; when a call last came or went */
};
struct plan_device { int64_t total, free; };
struct plan_world {
    struct plan_model models[PLAN_MODELS];
    size_t n;
    struct plan_device devices[PLAN_DEVICES];
    size_t n_devices;
    int64_t cap;                        /* of the host, for all models together, as written; 0: none, and what is free counts */
    int64_t total, free;                /* of the host. Free as the kernel says, with what models have mapped from files already taken off. */
    int64_t now_ms, swapped_ms;         /* swapped: when the last swap was decided; INT64_MIN: none yet */
    int64_t stay_ms, window_ms;
};

enum plan_verdict { PLAN_GO, PLAN_SWAP, PLAN_WAIT, PLAN_REFUSE };
enum plan_why { PLAN_FITS, PLAN_MAKES_ROOM, PLAN_WAITS_FOR_OTHERS, PLAN_WAITS_FOR_STAY, PLAN_WAITS_FOR_WINDOW, PLAN_TOO_LARGE };

struct plan {
    enum plan_verdict verdict;
    enum plan_why why;
    int at;                             /* device, or PLAN_HOST */
    bool tight_device;                  /* the numbers below are of the device, else of the host */
    int64_t need, room, most;           /* what it needs there; what is free; what would be if all that can go were gone */
    uint16_t evict[PLAN_MODELS];        /* PLAN_SWAP: these go */
    size_t n_evict;
    int64_t until_ms;                   /* PLAN_WAIT: worth asking again then; 0: when something has changed */
};
/* What becomes of models[wanted], which is OFF. */
void plan_load(const struct plan_world *w, size_t wanted, struct plan *out);

/* Takes a decision as done: what is asked next finds the room that is left. */
void plan_promise(struct plan_world *w, size_t wanted, const struct plan *p);

/* The decision as a sentence: "needs 5.1 GB of host memory, and 3.0 GB are free; …". */
void plan_say(const struct plan *p, char *out, size_t cap);

#endif
