/* Each place where the model could run is tried; the best of the answers is the answer. A try is: room? then who could go, in which order, and when? */
#include "fleet/plan.h"

#include <stdio.h>

struct room { int64_t host, device; };  /* of one place */

/* ---- what there is ---- */

static int64_t host_part(const struct plan_model *m, int at) { return at == PLAN_HOST ? m->host : m->device_host; }
static int64_t part_on(const struct plan_model *m, int device) { return device != PLAN_HOST && m->at == device ? m->device : 0; }

/* Free now, without what is being loaded has been promised. */
static struct room room_at(const struct plan_world *w, int device)
{
    struct room r = { w->cap ? w->cap : w->free, device == PLAN_HOST ? 0 : w->devices[device].free };
    for (size_t i = 0; i < w->n; i++) {
        const struct plan_model *m = &w->models[i];
        if (m->state == PLAN_LOADING || (m->state != PLAN_OFF && w->cap))
            r.host -= host_part(m, m->at);
        if (m->state == PLAN_LOADING)
            r.device -= part_on(m, device);
    }
    return r;
}

/* What its end gives back. */
static struct room gain_of(const struct plan_model *m, int device) { return (struct room){ host_part(m, m->at), part_on(m, device) }; }

static struct room plus(struct room a, struct room b) { return (struct room){ a.host + b.host, a.device + b.device }; }

static bool covers(struct room r, const struct plan_model *m, int device) { return r.host >= host_part(m, device) && (device == PLAN_HOST || r.device >= m->device); }

static struct room sum_of(const struct plan_world *w, int device, size_t wanted, bool leaving_only)
{
    struct room r = { 0, 0 };
    for (size_t i = 0; i < w->n; i++) {
        const struct plan_model *m = &w->models[i];
        if (i != wanted && (m->state == PLAN_LEAVING || (!leaving_only && m->state != PLAN_OFF && !m->stays)))
            r = plus(r, gain_of(m, device));
    }
    return r;
}

/* ---- who goes ---- */

static bool before(const struct plan_model *a, const struct plan_model *b)
{
    if ((a->running > 0) != (b->running > 0))
        return b->running > 0;
    return a->used_ms < b->used_ms;
}

/* Models that may go now, in the order in which they would. */
static size_t candidates(const struct plan_world *w, size_t wanted, int device, uint16_t out[PLAN_MODELS])
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct plan_model *m = &w->models[i];
        if (i == wanted || m->state != PLAN_LOADED || m->stays || w->now_ms - m->loaded_ms < w->stay_ms || (!host_part(m, m->at) && !part_on(m, device)))
            continue;
        size_t k = n++;
        for (; k > 0 && before(m, &w->models[out[k - 1]]); k--)
            out[k] = out[k - 1];
        out[k] = (uint16_t)i;
    }
    return n;
}

/* When the next model has stayed long enough; 0: all have. */
static int64_t next_stay(const struct plan_world *w, size_t wanted)
{
    int64_t at = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct plan_model *m = &w->models[i];
        int64_t end = m->loaded_ms + w->stay_ms;
        if (i != wanted && m->state == PLAN_LOADED && !m->stays && end > w->now_ms && (!at || end < at))
            at = end;
    }
    return at;
}

/* From the front until there is room, then without those that were not needed after all. False: all of them do not suffice. */
static bool choose(const struct plan_world *w, size_t wanted, int device, struct room room, struct plan *p)
{
    const struct plan_model *m = &w->models[wanted];
    uint16_t list[PLAN_MODELS];
    size_t n = candidates(w, wanted, device, list), k = 0;
    while (k < n && !covers(room, m, device))
        room = plus(room, gain_of(&w->models[list[k++]], device));
    if (!covers(room, m, device))
        return false;
    p->n_evict = 0;
    for (size_t i = 0; i < k; i++) {
        struct room gain = gain_of(&w->models[list[i]], device), less = { room.host - gain.host, room.device - gain.device };
        if (covers(less, m, device))
            room = less;
        else
            p->evict[p->n_evict++] = list[i];
    }
    return true;
}

/* ---- one place ---- */

static void set_numbers(const struct plan_world *w, size_t wanted, int device, struct room room, struct room most, struct plan *p)
{
    const struct plan_model *m = &w->models[wanted];
    p->at = device;
    /* The device is what is short, unless the host alone is. */
    p->tight_device = device != PLAN_HOST && (most.device < m->device || (room.device < m->device && most.host >= m->device_host));
    p->need = p->tight_device ? m->device : host_part(m, device);
    p->room = p->tight_device ? room.device : room.host;
    p->most = p->tight_device ? most.device : most.host;
    p->room = p->room > 0 ? p->room : 0;
    p->most = p->most > 0 ? p->most : 0;
}

static void wait_until(struct plan *p, enum plan_why why, int64_t until_ms)
{
    p->verdict = PLAN_WAIT;
    p->why = why;
    p->until_ms = until_ms;
}

static void try_place(const struct plan_world *w, size_t wanted, int device, struct plan *p)
{
    const struct plan_model *m = &w->models[wanted];
    struct room room = room_at(w, device), most = plus(room, sum_of(w, device, wanted, false));
    *p = (struct plan){ .verdict = PLAN_GO, .why = PLAN_FITS };
    set_numbers(w, wanted, device, room, most, p);
    if (covers(room, m, device))
        return;
    if (!covers(most, m, device)) {
        p->verdict = PLAN_REFUSE;
        p->why = PLAN_TOO_LARGE;
        return;
    }
    struct room soon = plus(room, sum_of(w, device, wanted, true));
    if (covers(soon, m, device)) {
        wait_until(p, PLAN_WAITS_FOR_OTHERS, 0);
        return;
    }
    if (!choose(w, wanted, device, soon, p)) {
        int64_t stay = next_stay(w, wanted);
        wait_until(p, stay ? PLAN_WAITS_FOR_STAY : PLAN_WAITS_FOR_OTHERS, stay);
        return;
    }
    if (w->swapped_ms != INT64_MIN && w->now_ms - w->swapped_ms < w->window_ms) {
        p->n_evict = 0;
        wait_until(p, PLAN_WAITS_FOR_WINDOW, w->swapped_ms + w->window_ms);
        return;
    }
    p->verdict = PLAN_SWAP;
    p->why = PLAN_MAKES_ROOM;
}

/* ---- all places ---- */

static bool is_busy(const struct plan_world *w, const struct plan *p)
{
    for (size_t i = 0; i < p->n_evict; i++)
        if (w->models[p->evict[i]].running > 0)
            return true;
    return false;
}

/* The smaller the better. A GPU is worth a swap of idle models; the host is better than keeping others from their calls. */
static int rank(const struct plan_world *w, const struct plan *p)
{
    bool host = p->at == PLAN_HOST;
    switch (p->verdict) {
    case PLAN_GO:   return host ? 2 : 0;
    case PLAN_SWAP: return is_busy(w, p) ? 4 + host : host ? 3 : 1;
    case PLAN_WAIT: return 6 + host;
    default:        return 8 + host;
    }
}

static bool is_better(const struct plan_world *w, const struct plan *a, const struct plan *b)
{
    int x = rank(w, a), y = rank(w, b);
    if (x != y)
        return x < y;
    if (a->verdict == PLAN_SWAP)
        return a->n_evict < b->n_evict;
    if (a->verdict == PLAN_WAIT)
        return a->until_ms && (!b->until_ms || a->until_ms < b->until_ms);
    return a->at != PLAN_HOST && b->at != PLAN_HOST && room_at(w, a->at).device > room_at(w, b->at).device;
}

void plan_load(const struct plan_world *w, size_t wanted, struct plan *out)
{
    const struct plan_model *m = &w->models[wanted];
    bool any = false;
    for (int d = 0; m->on_device && d < (int)w->n_devices; d++) {
        struct plan p;
        try_place(w, wanted, d, &p);
        if (!any || is_better(w, &p, out))
            *out = p;
        any = true;
    }
    if (m->on_host || !any) {
        struct plan p;
        try_place(w, wanted, PLAN_HOST, &p);
        if (!any || is_better(w, &p, out))
            *out = p;
    }
}

void plan_promise(struct plan_world *w, size_t wanted, const struct plan *p)
{
    if (p->verdict == PLAN_REFUSE)
        return;
    if (p->verdict == PLAN_SWAP) {
        w->swapped_ms = w->now_ms;
        for (size_t i = 0; i < p->n_evict; i++)
            w->models[p->evict[i]].state = PLAN_LEAVING;
    }
    /* One that waits keeps its turn: what comes after it must not take the room that it waits for. */
    w->models[wanted].state = PLAN_LOADING;
    w->models[wanted].at = p->at;
}

/* ---- words ---- */

static void put_bytes(int64_t n, char out[24])
{
    static const char *const unit[] = { "B", "KB", "MB", "GB", "TB" };
    double v = (double)n;
    int u = 0;
    for (; v >= 999.5 && u < 4; u++)
        v /= 1000;
    snprintf(out, 24, u && v < 9.95 ? "%.1f %s" : "%.0f %s", v, unit[u]);
}

void plan_say(const struct plan *p, char *out, size_t cap)
{
    char need[24], room[24], most[24], place[32] = "host memory";
    static const char *const after[] = {
        [PLAN_FITS] = "", [PLAN_MAKES_ROOM] = ": others make room for it", [PLAN_WAITS_FOR_OTHERS] = ": it waits for others to end or to be loaded",
        [PLAN_WAITS_FOR_STAY] = ": it waits until those that were loaded before it have had their time",
        [PLAN_WAITS_FOR_WINDOW] = ": it waits for its turn, since models were swapped a moment ago", [PLAN_TOO_LARGE] = "" };
    put_bytes(p->need, need);
    put_bytes(p->room, room);
    put_bytes(p->most, most);
    if (p->tight_device || (p->at != PLAN_HOST && p->verdict == PLAN_GO))
        snprintf(place, sizeof place, "memory of GPU %d", p->at);
    if (p->verdict == PLAN_REFUSE)
        snprintf(out, cap, "it needs %s of %s, and no more than %s could be had", need, place, most);
    else
        snprintf(out, cap, "it needs %s of %s, of which %s are free%s", need, place, room, after[p->why]);
}
