/* The keeper's care for memory: it looks, measures what has been loaded, and lets the plan decide what may be loaded, in the order in which calls began to
 * wait. The decisions themselves are in plan.c. */
#include "fleet/server.h"

#include "core/gguf.h"
#include "core/log.h"
#include "fleet/fit.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#define FRESH_MS    1000                /* a decision needs a look that is not older */
#define LOOK_MS     5000                /* while something is loaded, memory is looked at this often */
#define SETTLED_MS  1000                /* a server that is up for so long has what it needs */
#define RETURNED_MS 3000                /* what a process had is free so long after its end, also of a GPU */

static bool is_on(const struct fleet_server *s) { return !s->attached && s->state != SERVER_OFF && s->state != SERVER_PAUSED && s->state != SERVER_FAILED; }

/* ---- what a model needs ---- */

/* A header has no length of its own: as much is read as it takes. */
static bool read_head(int fd, int64_t size, struct gguf_facts *facts)
{
    struct buf b = { .max = GGUF_HEAD_MAX };
    enum err e = ERR_AGAIN;
    for (size_t step = 1 << 20; e == ERR_AGAIN && b.n < GGUF_HEAD_MAX && buf_reserve(&b, step) == ERR_OK; step *= 2) {
        const char *why;
        ssize_t n = pread(fd, b.p + b.n, step, (off_t)b.n);
        if (n <= 0)
            break;
        b.n += (size_t)n;
        e = gguf_head(buf_str(&b), (uint64_t)size, facts, &why, NULL);
    }
    buf_free(&b);
    return e == ERR_OK;
}

/* Weights of a model that is a folder: the files that hold tensors. */
static int64_t folder_bytes(const char *path)
{
    int64_t n = 0;
    struct stat st;
    DIR *d = opendir(path);
    for (struct dirent *x; d && (x = readdir(d));)
        if ((str_ends(str_of(x->d_name), S(".safetensors")) || str_ends(str_of(x->d_name), S(".bin"))) && fstatat(dirfd(d), x->d_name, &st, 0) == 0)
            n += st.st_size;
    if (d)
        closedir(d);
    return n;
}

static void guess_from_file(struct fleet_server *s, const struct stat *st, int fd)
{
    struct gguf_facts facts;
    struct foot *g = &s->guess;
    if (!read_head(fd, st->st_size, &facts))
        return;
    int64_t slots = s->spec.slots ? s->spec.slots : s->kind == kind_of(FLEET_LLAMA_PYTHON) ? 1 : FIT_SLOTS;
    struct fit fit = fit_estimate(&facts, (uint64_t)st->st_size, (uint64_t)s->spec.context, (uint64_t)slots);
    g->weights = (int64_t)fit.weights;
    g->tokens = (int64_t)fit.context * slots;
    g->kv_token = g->tokens > 0 ? (int64_t)fit.kv / g->tokens : -1;
    g->host = g->device = (int64_t)fit.all;
    if (s->spec.kv_tokens && s->spec.kv_tokens < g->tokens) {       /* one room for all */
        g->host = g->device -= g->kv_token * (g->tokens - s->spec.kv_tokens);
        g->tokens = s->spec.kv_tokens;
    }
    g->device_host = INT64_C(1) << 30;
}

/* What is loaded, and how; not for how many tokens, which only changes the size. */
static struct digest foot_key(const struct fleet_server *s, const struct stat *st)
{
    struct digest d = { { 0 } };
    struct sha256 *h = sha256_new();
    if (!h)
        return d;
    const str texts[] = { str_of(s->kind->name), s->spec.file, s->spec.file.n ? S("") : s->spec.id, s->spec.chat_template };
    const int64_t numbers[] = { st->st_size, st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (int64_t)s->spec.n_words };
    sha256_begin(h);
    for (size_t i = 0; i < sizeof texts / sizeof *texts + s->spec.n_words; i++) {
        sha256_add(h, i < 4 ? texts[i] : s->spec.words[i - 4]);
        sha256_add(h, S("\n"));
    }
    sha256_add(h, str_slice((const char *)numbers, sizeof numbers));
    d = sha256_end(h);
    sha256_free(h);
    return d;
}

static const struct foot *find_foot(const struct fleet *f, const struct digest *key)
{
    for (size_t i = 0; i < f->n_feet; i++)
        if (digest_eq(&f->feet[i].key, key))
            return &f->feet[i].foot;
    return NULL;
}

/* From the ledger where it was measured once, else from the file; looked up again when the file is another. */
static void know_foot(struct fleet_server *s)
{
    struct stat st = { .st_size = 0 };
    const struct foot *kept;
    int fd = s->file[0] ? open(s->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;
    if (fd >= 0 && fstat(fd, &st) != 0)
        st.st_size = 0;
    struct digest key = foot_key(s, &st);
    if (!s->foot_known || !digest_eq(&key, &s->foot_key)) {
        s->foot_known = true;
        s->foot_key = key;
        s->foot = s->guess = FOOT_UNKNOWN;
        if (fd >= 0 && S_ISREG(st.st_mode))
            guess_from_file(s, &st, fd);
        else if (fd >= 0 && S_ISDIR(st.st_mode) && (s->guess.weights = folder_bytes(s->file)) > 0)
            s->guess.host = s->guess.device = s->guess.weights + s->guess.weights / 10;
        if ((kept = find_foot(s->fleet, &key)))
            s->foot = *kept;
        if (s->foot.load_ms > 0)
            s->load_ms = s->foot.load_ms;
    }
    if (fd >= 0)
        close(fd);
}

struct foot keep_foot(struct fleet_server *s)
{
    know_foot(s);
    struct foot f = foot_or(foot_for(s->foot, s->guess.tokens), s->guess);
    if (s->spec.memory > 0)             /* as written, whatever was measured */
        f.host = f.device = s->spec.memory;
    s->need = f;
    return f;
}

/* ---- measuring ---- */

static void remember(struct fleet_server *s)
{
    struct fleet *f = s->fleet;
    struct arena a;
    str json;
    struct foot *kept = (struct foot *)(uintptr_t)find_foot(f, &s->foot_key);
    if (!kept && f->n_feet < FEET_MAX) {
        f->feet[f->n_feet].key = s->foot_key;
        kept = &f->feet[f->n_feet++].foot;
    }
    if (kept)
        *kept = s->foot;
    arena_init(&a, 64 << 10);
    if (f->opt.ledger && foot_write(&a, &s->foot, str_of(s->name), s->kind->name, &json) == ERR_OK)
        ledger_note_footprint(f->opt.ledger, &s->foot_key, json);
    arena_free(&a);
}

static int device_of(const struct look *l, const char *uuid)
{
    for (size_t d = 0; d < l->n_devices && *uuid; d++)
        if (strcmp(l->devices[d].uuid, uuid) == 0)
            return (int)d;
    return PLAN_HOST;
}

static void measure(struct fleet_server *s, const struct look *l, const struct look_use *u)
{
    int64_t on_device = 0;
    int d = device_of(l, s->gpu);
    for (size_t i = 0; i < l->n_devices; i++)
        on_device += u->device[i];
    /* Where the driver does not tell whose memory it is, what has gone since the start is taken for this one's. */
    if (!on_device && d != PLAN_HOST && s->free_before > 0 && !s->measured)
        on_device = s->free_before > l->devices[d].free ? s->free_before - l->devices[d].free : 0;
    else if (!on_device && d != PLAN_HOST)
        on_device = s->use_device;
    pthread_mutex_lock(&s->fleet->lock);
    s->use = u->host;
    s->use_device = on_device;
    pthread_mutex_unlock(&s->fleet->lock);
    if (s->state != SERVER_UP || l->asked_ms - s->up_ms < SETTLED_MS || !u->host.n)
        return;
    bool first = !s->measured, news;
    s->measured = true;
    s->foot.weights = s->guess.weights;
    s->foot.kv_token = s->guess.kv_token;
    s->foot.tokens = s->guess.tokens;
    s->foot.load_ms = s->load_ms;
    pthread_mutex_lock(&s->fleet->lock);
    news = foot_measure(&s->foot, u->host.used, on_device, first);
    pthread_mutex_unlock(&s->fleet->lock);
    if (news)
        remember(s);
}

static void take_look(struct fleet *f, const struct look *l)
{
    pthread_mutex_lock(&f->lock);
    f->seen = *l;
    pthread_mutex_unlock(&f->lock);
    if (l->why[0] && !f->gpu_told) {
        f->gpu_told = true;
        log_warn("gpu_library", LOG_C("why", l->why));
    }
    for (size_t i = 0; i < l->n_uses; i++)
        for (struct fleet_server *s = f->servers; s; s = s->next)
            if (s->number == l->uses[i].id && s->pid == l->uses[i].pid && s->pid)
                measure(s, l, &l->uses[i]);
}

static void ask_for_look(struct fleet *f, int64_t now)
{
    struct look_use *roots = f->roots;
    size_t n = 0;
    for (struct fleet_server *s = f->servers; s; s = s->next)
        if (s->child_alive && s->pid && n < LOOK_ROOTS)
            roots[n++] = (struct look_use){ .id = s->number, .pid = s->pid };
    (void)look_ask(f->looker, roots, n, now);
}

/* ---- the world ---- */

static bool uses_gpu(const struct fleet_server *s)
{
    if (s->spec.gpu != FLEET_GPU_AUTO)
        return s->spec.gpu == FLEET_GPU_ON;
    switch (kind_id(s->kind)) {
    case FLEET_VLLM:
    case FLEET_LLAMA_SERVER:
    case FLEET_OLLAMA:
        return true;
    case FLEET_ENGINE:
        return s->foot.device > 0;      /* it is known to, since it has */
    default:
        for (size_t i = 0; i < s->spec.n_words; i++)
            if (str_find(s->spec.words[i], S("n_gpu_layers")) < s->spec.words[i].n)
                return true;
        return false;
    }
}

/* Until it has been looked at for the first time, what it has taken is not gone from what is free: it counts as being loaded. */
static enum plan_state plan_state_of(const struct fleet_server *s, const struct look *l)
{
    if (!is_on(s))
        return PLAN_OFF;
    if (s->state == SERVER_STOPPING || (s->state == SERVER_UP && atomic_load(&s->leaving) && atomic_load(&s->leaving) != LEAVES_IDLE))
        return PLAN_LEAVING;
    return s->state == SERVER_UP && l->asked_ms - s->up_ms >= SETTLED_MS ? PLAN_LOADED : PLAN_LOADING;
}

static struct plan_model plan_model_of(struct fleet_server *s, const struct look *l)
{
    struct foot f = keep_foot(s);
    bool gpu = uses_gpu(s) && l->n_devices > 0, needs = s->spec.gpu == FLEET_GPU_ON || s->kind == kind_of(FLEET_VLLM);
    struct plan_model m = { .host = f.host, .device = f.device, .device_host = f.device_host, .on_device = gpu, .on_host = !gpu || !needs, .state = plan_state_of(s, l),
                            .at = is_on(s) ? device_of(l, s->gpu) : PLAN_HOST, .stays = s->spec.pin, .running = server_running(s), .loaded_ms = s->up_ms, .used_ms = server_used(s) };
    int64_t *host = m.at == PLAN_HOST ? &m.host : &m.device_host;
    if (m.state != PLAN_OFF && s->measured && s->use.used > *host)
        *host = s->use.used;
    if (m.state != PLAN_OFF && m.at != PLAN_HOST && s->use_device > 0)
        m.device = s->use_device;
    int64_t *const all[] = { &m.host, &m.device, &m.device_host };
    for (size_t i = 0; i < 3; i++)
        *all[i] = *all[i] > 0 ? *all[i] : 0;    /* unknown: it is let in, and measured */
    return m;
}

/* Servers of which something is there, and those that want to be, whose places in the world they get. */
static void build_world(struct fleet *f, const struct look *l, struct fleet_server **wanted, size_t n_wanted, size_t places[], struct plan_world *w)
{
    int64_t mapped = 0;
    *w = (struct plan_world){ .cap = f->opt.memory, .total = l->host.total, .free = l->host.free, .n_devices = l->n_devices, .now_ms = fleet_now(f), .swapped_ms = f->swapped_ms,
                              .stay_ms = f->opt.stay_ms, .window_ms = f->opt.window_ms };
    for (size_t d = 0; d < l->n_devices; d++)
        w->devices[d] = (struct plan_device){ l->devices[d].total, l->devices[d].free };
    for (size_t i = 0; i < n_wanted && w->n < PLAN_MODELS; i++) {
        places[i] = w->n;
        w->models[w->n++] = plan_model_of(wanted[i], l);
    }
    for (struct fleet_server *s = f->servers; s && w->n < PLAN_MODELS; s = s->next)
        if (is_on(s)) {
            f->in_world[w->n] = s;
            w->models[w->n++] = plan_model_of(s, l);
            mapped += s->use.mapped;
        }
    /* The kernel would take mapped weights back for a newcomer, and then both would crawl. Nothing is known of the host: then its memory is no reason to wait. */
    w->free = !l->host_known ? INT64_MAX / 4 : w->free > mapped ? w->free - mapped : 0;
}

/* ---- placing ---- */

static void set_plan_text(struct fleet_server *s, const char *text)
{
    pthread_mutex_lock(&s->fleet->lock);
    snprintf(s->plan, sizeof s->plan, "%s", text);
    pthread_mutex_unlock(&s->fleet->lock);
}

static void make_room(struct fleet *f, struct fleet_server *s, const struct plan *p)
{
    char why[160];
    f->swapped_ms = fleet_now(f);
    f->swaps++;
    for (size_t i = 0; i < p->n_evict; i++) {
        struct fleet_server *victim = f->in_world[p->evict[i]];
        snprintf(why, sizeof why, "to make room for %.120s", s->name);
        pthread_mutex_lock(&f->lock);
        snprintf(victim->leave_why, sizeof victim->leave_why, "%s", why);
        pthread_mutex_unlock(&f->lock);
        log_info("model_swap", LOG_C("out", victim->name), LOG_C("in", s->name), LOG_I("running", server_running(victim)));
        server_leave(victim, LEAVES_FOR_ROOM);
    }
}

static void go(struct fleet_server *s, const struct look *l, const struct plan *p, int64_t now)
{
    s->gpu[0] = '\0';
    s->free_before = 0;
    s->measured = false;
    s->use = (struct host_use){ .n = 0 };
    s->use_device = 0;
    s->no_gpu = p->at == PLAN_HOST && (uses_gpu(s) || s->spec.gpu == FLEET_GPU_OFF) && l->n_devices > 0;
    if (p->at != PLAN_HOST) {
        memcpy(s->gpu, l->devices[p->at].uuid, sizeof s->gpu);
        s->gpu_make = l->devices[p->at].make;
        s->free_before = l->devices[p->at].free;
    }
    set_plan_text(s, "");
    server_begin(s, now);
}

/* Calls that have waited for memory long enough are told what they waited for. */
static void expire(struct fleet_server *s, const char *text, int64_t now)
{
    char why[240];
    snprintf(why, sizeof why, "no room was made for model %.80s in time: %.120s", s->name, text);
    for (struct fleet_model *m = s->models; m; m = m->next)
        model_expire(m, now - s->fleet->opt.wait_ms, why);
}

static void place(struct fleet_server *s, const struct look *l, struct plan_world *w, size_t at, int64_t now)
{
    struct plan p;
    char text[240];
    plan_load(w, at, &p);
    plan_say(&p, text, sizeof text);
    plan_promise(w, at, &p);
    if (p.verdict == PLAN_GO) {
        go(s, l, &p, now);
    } else if (p.verdict == PLAN_REFUSE && now - s->fleet->ended_ms >= RETURNED_MS) {
        set_plan_text(s, "");
        server_refuse(s, text);
    } else {
        if (p.verdict == PLAN_SWAP)
            make_room(s->fleet, s, &p);
        set_plan_text(s, text);
        expire(s, text, now);
    }
}

/* Whose first call has waited longest comes first; what nobody waits for comes last. */
static size_t sort_wanted(struct fleet *f, int64_t now, struct fleet_server **out)
{
    int64_t since[PLAN_MODELS];
    size_t n = 0;
    for (struct fleet_server *s = f->servers; s && n < PLAN_MODELS; s = s->next) {
        if (!server_wants(s, now))
            continue;
        int64_t at = server_waits_since(s);
        size_t k = n++;
        for (; k > 0 && since[k - 1] > at; k--) {
            since[k] = since[k - 1];
            out[k] = out[k - 1];
        }
        since[k] = at;
        out[k] = s;
    }
    return n;
}

static void place_all(struct fleet *f, const struct look *l, int64_t now)
{
    struct fleet_server *wanted[PLAN_MODELS];
    size_t places[PLAN_MODELS], n = sort_wanted(f, now, wanted);
    n = n < PLAN_MODELS / 2 ? n : PLAN_MODELS / 2;      /* the others in the next turn: there must be places for those that run */
    build_world(f, l, wanted, n, places, &f->world);
    for (size_t i = 0; i < n; i++)
        place(wanted[i], l, &f->world, places[i], now);
}

static bool any_wants(struct fleet *f, int64_t now)
{
    for (struct fleet_server *s = f->servers; s; s = s->next)
        if (server_wants(s, now))
            return true;
    return false;
}

static bool any_runs(const struct fleet *f)
{
    for (const struct fleet_server *s = f->servers; s; s = s->next)
        if (s->child_alive)
            return true;
    return false;
}

void keep_turn(struct fleet *f, int64_t now)
{
    const struct look *l = look_take(f->looker);
    if (l && l->asked_ms != f->seen.asked_ms)
        take_look(f, l);
    bool wants = any_wants(f, now), fresh = l && now - l->asked_ms < FRESH_MS && l->asked_ms >= f->ended_ms;
    for (struct fleet_server *s = f->servers; s; s = s->next)
        if (s->plan[0] && !server_wants(s, now))
            set_plan_text(s, "");       /* those who waited have gone */
    if (wants && fresh)
        place_all(f, l, now);
    if ((wants && !fresh) || f->look_wanted || (any_runs(f) && (!l || now - l->asked_ms >= LOOK_MS))) {
        f->look_wanted = false;
        ask_for_look(f, now);           /* one that runs is waited for: its end wakes us */
    }
}

/* ---- what would be ---- */

void keep_plan(struct fleet *f, struct fleet_server *s, struct plan_world *w, struct plan *out)
{
    size_t place_of_s = 0;
    struct fleet_server *const wanted[] = { s };
    if (is_on(s)) {
        *out = (struct plan){ .verdict = PLAN_GO, .why = PLAN_FITS, .at = device_of(&f->seen, s->gpu) };
        build_world(f, &f->seen, NULL, 0, NULL, w);
        return;
    }
    build_world(f, &f->seen, (struct fleet_server **)(uintptr_t)wanted, 1, &place_of_s, w);
    plan_load(w, place_of_s, out);
}
