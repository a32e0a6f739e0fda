/* Doors: what a model is asked, what becomes of the answers, and who is let through. One errand at a time: to learn what the model is, to check it
 * before calls, to wake it, to unload it. */
#include "fleet/server.h"

#include "core/json.h"
#include "core/log.h"

#define WAKE_MS      120000             /* weights come back from host memory, or from the disk */
#define AGAIN_MS     200                /* between two questions to one that did not answer, or is not awake yet */

static void talk_done(struct talk *t, enum err e);

/* ---- making and freeing ---- */

enum err model_new(struct fleet_server *s, const struct fleet_spec *spec, const struct digest *key, struct fleet_model **out)
{
    struct fleet_model *m = calloc(1, sizeof *m);
    if (!m)
        return ERR_MEMORY;
    arena_init(&m->mem, 64 << 10);
    arena_init(&m->facts_mem[0], 64u << 20);
    arena_init(&m->facts_mem[1], 64u << 20);
    m->server = s;
    m->key = *key;
    m->waiters_end = &m->waiters;
    talk_init(&m->talk, FACTS_BYTES, talk_done, m);
    facts_init(&m->facts);
    if (spec_copy(&m->mem, spec, &m->spec) != ERR_OK) {
        model_free(m);
        return ERR_LIMIT;
    }
    *out = m;
    return ERR_OK;
}

void model_free(struct fleet_model *m)
{
    talk_free(&m->talk);
    arena_free(&m->facts_mem[0]);
    arena_free(&m->facts_mem[1]);
    arena_free(&m->mem);
    free(m);
}

bool model_idle(const struct fleet_model *m) { return !m->talk.x && !m->awaits_hash; }

bool model_is_wanted(struct fleet_model *m)
{
    pthread_mutex_lock(&m->server->fleet->lock);
    bool wanted = m->wanted || m->waiters || m->asking;
    pthread_mutex_unlock(&m->server->fleet->lock);
    return wanted;
}

static void set_state(struct fleet_model *m, enum model_state state)
{
    pthread_mutex_lock(&m->server->fleet->lock);
    m->state = state;
    pthread_mutex_unlock(&m->server->fleet->lock);
}

/* ---- handing back ---- */

/* Under the fleet's lock. To its loop, through the port; order of locks: fleet, then port. */
static void hand_back(struct fleet_model *m, struct fleet_waiter *list, enum err e, const struct fleet_ready *r, const char *why)
{
    while (list) {
        struct fleet_waiter *w = list;
        struct fleet_port *p = w->port;
        list = w->next;
        if (e == ERR_OK)
            atomic_fetch_add(&m->running, 1);
        w->err = e;
        w->ready = r;
        snprintf(w->why, sizeof w->why, "%s", why);
        w->state = FLEET_BACK;
        w->next = NULL;
        m->n_waiting--;
        pthread_mutex_lock(&p->lock);
        bool was_empty = !p->head;
        *p->tail = w;
        p->tail = &w->next;
        pthread_mutex_unlock(&p->lock);
        if (was_empty)
            p->wake(p->ctx);
    }
}

static void give_back_asking(struct fleet_model *m, enum err e, const struct fleet_ready *r, const char *why)
{
    pthread_mutex_lock(&m->server->fleet->lock);
    struct fleet_waiter *list = m->asking;
    m->asking = NULL;
    hand_back(m, list, e, r, why);
    pthread_mutex_unlock(&m->server->fleet->lock);
}

void model_give_back(struct fleet_model *m, enum err e, const struct fleet_ready *r, const char *why)
{
    give_back_asking(m, e, r, why);
    pthread_mutex_lock(&m->server->fleet->lock);
    struct fleet_waiter *list = m->waiters;
    m->waiters = NULL;
    m->waiters_end = &m->waiters;
    m->wanted = false;
    bool any = list != NULL;
    hand_back(m, list, e, r, why);
    pthread_mutex_unlock(&m->server->fleet->lock);
    if (e == ERR_OK && any)
        atomic_store(&m->used_ms, fleet_now(m->server->fleet));
}

void model_expire(struct fleet_model *m, int64_t before_ms, const char *why)
{
    pthread_mutex_lock(&m->server->fleet->lock);
    struct fleet_waiter *late = m->waiters, **end = &m->waiters;
    while (*end && (*end)->since_ms < before_ms)        /* in the order in which they came */
        end = &(*end)->next;
    if (end != &m->waiters) {
        m->waiters = *end;
        *end = NULL;
        if (!m->waiters)
            m->waiters_end = &m->waiters;
        hand_back(m, late, ERR_LOADING, NULL, why);
    }
    pthread_mutex_unlock(&m->server->fleet->lock);
}

/* Those that wait now are who the next check is for. */
static void take_asking(struct fleet_model *m)
{
    pthread_mutex_lock(&m->server->fleet->lock);
    struct fleet_waiter **at = &m->asking;
    while (*at)
        at = &(*at)->next;
    *at = m->waiters;
    for (struct fleet_waiter *w = m->asking; w; w = w->next)
        w->state = FLEET_ASKING;
    m->waiters = NULL;
    m->waiters_end = &m->waiters;
    m->wanted = false;
    pthread_mutex_unlock(&m->server->fleet->lock);
}

/* Those that were being asked for wait again, before the others. */
static void untake_asking(struct fleet_model *m)
{
    pthread_mutex_lock(&m->server->fleet->lock);
    struct fleet_waiter **at = &m->asking;
    for (; *at; at = &(*at)->next)
        (*at)->state = FLEET_WAITING;
    *at = m->waiters;
    if (m->asking && !m->waiters)
        m->waiters_end = at;
    m->waiters = m->asking;
    m->asking = NULL;
    if (!m->waiters)
        m->waiters_end = &m->waiters;
    pthread_mutex_unlock(&m->server->fleet->lock);
}

void model_shut(struct fleet_model *m) { atomic_store(&m->open, NULL); }

void model_forget(struct fleet_model *m)
{
    talk_cancel(&m->talk);
    m->errand = ERRAND_NONE;
    m->awaits_hash = false;
    m->asked_ms = m->wake_ms = 0;
    m->ready = NULL;
    untake_asking(m);
    set_state(m, MODEL_CLOSED);
}

/* ---- what is known of it ---- */

static struct fleet_ready *ready_new(struct fleet_model *m, str identity, bool known)
{
    struct fleet *f = m->server->fleet;
    struct fleet_ready *r = calloc(1, sizeof *r + identity.n);
    const struct digest *weights = hash_known(m->server);
    if (!r)
        return NULL;
    if (identity.n)
        memcpy((char *)(r + 1), identity.p, identity.n);
    *r = (struct fleet_ready){ .generation = ++f->generation, .known = known, .port = m->server->port, .identity = str_slice((char *)(r + 1), identity.n), .older = f->readies };
    if (weights)
        r->weights = *weights;
    if (known)
        r->fingerprint = sha256_of(r->identity);
    f->readies = r;
    return r;
}

static void put_fingerprint(struct json_out *o, const char *key, const struct fleet_ready *r)
{
    char hex[HEX_DIGEST];
    json_put_key(o, str_of(key));
    if (!r->known) {
        json_put_null(o);
        return;
    }
    hex_encode(r->fingerprint.b, sizeof r->fingerprint.b, hex);
    json_put_str(o, str_slice(hex, sizeof hex));
}

/* Behind the same name there is something else than before. */
static void note_change(struct fleet_model *m, const struct fleet_ready *was, const struct fleet_ready *is)
{
    struct buf b;
    struct json_out o;
    struct arena a;
    arena_init(&a, 4u << 20);
    str what = facts_differences(&a, was->identity, is->identity);
    log_warn("model_changed", LOG_S("model", m->spec.name), LOG_S("provider", m->spec.provider), LOG_S("what", what));
    buf_init(&b, 64u << 10);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("model"));
    json_put_str(&o, m->spec.name);
    json_put_key(&o, S("provider"));
    json_put_str(&o, m->spec.provider);
    json_put_key(&o, S("what"));
    json_put_str(&o, what);
    put_fingerprint(&o, "from", was);
    put_fingerprint(&o, "to", is);
    json_close(&o, '}');
    if (o.err == ERR_OK && m->server->fleet->opt.ledger)
        ledger_note_event(m->server->fleet->opt.ledger, "model_changed", buf_str(&b));
    buf_free(&b);
    arena_free(&a);
}

/* An Ollama that gives no list, or one without the name, may pass the call on to anybody. */
static bool is_unsure(const struct fleet_model *m, bool answered)
{
    return m->server->kind == kind_of(FLEET_OLLAMA) && (!answered || !m->heard.listed || m->heard.missing);
}

static bool is_same(const struct fleet_ready *r, str identity, bool known, bool remote, bool unsure, uint16_t port)
{
    return r && r->known == known && r->remote == remote && r->unsure == unsure && r->port == port && str_eq(r->identity, identity);
}

/* Sets m->ready. `known`: something in it tells one model from another. */
static enum err become(struct fleet_model *m, str identity, bool known)
{
    bool remote = m->heard.remote, unsure = is_unsure(m, true);
    if (is_same(m->ready, identity, known, remote, unsure, m->server->port))
        return ERR_OK;
    struct fleet_ready *r = ready_new(m, identity, known);
    if (!r)
        return ERR_MEMORY;
    r->remote = remote;
    r->unsure = unsure;
    if (known && m->server->fleet->opt.ledger)
        ledger_note_model(m->server->fleet->opt.ledger, &r->fingerprint, r->identity);
    if (m->before && (m->before->known != known || (known && !digest_eq(&m->before->fingerprint, &r->fingerprint))))
        note_change(m, m->before, r);
    m->ready = m->before = r;
    return ERR_OK;
}

static enum err learn_identity(struct fleet_model *m, struct arena *a)
{
    struct fleet_server *s = m->server;
    const struct digest *weights = hash_known(s);
    str identity = STR_NONE;
    bool engine = s->kind == kind_of(FLEET_ENGINE), known = engine || (!m->heard.missing && (m->heard.said || weights));
    enum err e = engine ? facts_engine_identity(a, buf_str(&m->talk.in), weights, m->spec.adapter, &identity) : facts_identity(a, s->kind, &m->heard, weights, &identity);
    return e == ERR_OK ? become(m, identity, known) : e;
}

static void open_door(struct fleet_model *m)
{
    struct fleet_server *s = m->server;
    bool first = m->state != MODEL_OPEN;
    m->checks = s->kind->check != ASK_NOTHING && (s->kind->check != ASK_SLEEPING || m->heard.sleeps);
    m->facts = m->heard;
    m->mem_at = 1 - m->mem_at;
    m->silent = false;
    if (s->attached)
        s->no_load = false;             /* it may be another than before */
    atomic_store(&s->ill, false);
    set_state(m, MODEL_OPEN);
    if (first && !s->attached)
        server_note(s, EVENT_READY, !s->hash.wanted ? "" : s->hash.from_cache ? "digest from the cache" : "digest computed");
    if (m->checks || atomic_load(&s->leaving))
        return;                         /* model_step() sees to those who wait */
    atomic_store(&m->open, m->ready);
    model_give_back(m, ERR_OK, m->ready, "");
}

/* All was asked. */
static void learned(struct fleet_model *m)
{
    struct fleet_server *s = m->server;
    struct arena a;
    m->awaits_hash = false;
    m->errand = ERRAND_NONE;
    arena_init(&a, 4u << 20);
    enum err e = learn_identity(m, &a);
    arena_free(&a);
    if (e == ERR_OK)
        open_door(m);
    else if (s->kind == kind_of(FLEET_ENGINE))
        server_stop(s, "the engine's /props could not be read", true);
    else
        model_give_back(m, ERR_MEMORY, NULL, err_text(ERR_MEMORY));
}

/* Nobody answers. A call will find out for itself what that means for it; what answers it, if something does, is unknown. */
static void unanswered(struct fleet_model *m)
{
    struct fleet_server *s = m->server;
    m->errand = ERRAND_NONE;
    m->silent = true;
    atomic_store(&s->ill, true);
    m->again_ms = fleet_now(s->fleet) + AGAIN_MS;
    if (s->kind == kind_of(FLEET_ENGINE)) {
        set_state(m, MODEL_CLOSED);     /* silence of an engine is judged by its /health */
        return;
    }
    if (!m->ready || m->ready->known || m->ready->unsure != is_unsure(m, false)) {
        struct fleet_ready *r = ready_new(m, STR_NONE, false);
        if (r)
            r->unsure = is_unsure(m, false);
        m->ready = r;
    }
    model_shut(m);
    set_state(m, MODEL_CLOSED);
    model_give_back(m, m->ready ? ERR_OK : ERR_MEMORY, m->ready, "");
}

/* ---- errands ---- */

static void end_learning(struct fleet_model *m);
static void end_check(struct fleet_model *m);
static void end_wake(struct fleet_model *m);
static void end_unload(struct fleet_model *m);
static void (*const ends[])(struct fleet_model *) = { NULL, end_learning, end_check, end_wake, end_unload };       /* in the order of enum errand */

static void ask(struct fleet_model *m)
{
    struct fleet_server *s = m->server;
    enum question q = m->script[m->at];
    bool slow = q == ASK_WAKE || q == ASK_UNLOAD;
    enum err e = talk_ask(&m->talk, s->pool, kind_question(q), s->attached ? s->spec.fields : STR_NONE, m->spec.id, slow ? WAKE_MS : 0);
    if (e != ERR_OK)
        unanswered(m);
}

static void begin(struct fleet_model *m, enum errand errand, const enum question *script, size_t n)
{
    m->errand = errand;
    m->at = 0;
    for (size_t i = 0; i <= n; i++)
        m->script[i] = i < n ? script[i] : ASK_NOTHING;
    arena_reset(&m->facts_mem[1 - m->mem_at]);
    facts_init(&m->heard);
    if (n)
        ask(m);
    else
        ends[errand](m);                /* there is nothing that it could be asked */
}

static void begin_learning(struct fleet_model *m, int64_t now)
{
    const struct kind *k = m->server->kind;
    enum question script[KIND_IDENTITY + 1];
    size_t n = 0;
    bool has_check = k->check == ASK_NOTHING;
    while (n < KIND_IDENTITY && k->identity[n] != ASK_NOTHING) {
        script[n] = k->identity[n];
        has_check |= script[n++] == k->check;
    }
    if (!has_check)
        script[n++] = k->check;
    m->asked_ms = now;
    if (m->state == MODEL_CLOSED)
        set_state(m, MODEL_ASKING);
    begin(m, ERRAND_LEARN, script, n);
}

static void begin_check(struct fleet_model *m)
{
    take_asking(m);
    begin(m, ERRAND_CHECK, &m->server->kind->check, 1);
}

static void end_learning(struct fleet_model *m)
{
    struct fleet_server *s = m->server;
    bool named = s->attached && s->spec.here && m->heard.path.n;
    if (named && s->hash.running) {     /* of another model's file: once more, a little later */
        m->errand = ERRAND_NONE;
        m->asked_ms = 0;
    } else {
        if (s->attached)
            s->hash.wanted = named && hash_named_file(s, m->heard.path);
        m->awaits_hash = s->attached && s->hash.running;        /* model_step() goes on */
        if (!m->awaits_hash)
            learned(m);
    }
}

/* The same as before? Then those who asked go on; else it is asked all questions again, and they wait for that. */
static void end_check(struct fleet_model *m)
{
    const struct facts *was = &m->facts, *is = &m->heard;
    if (is->sleeping) {
        static const enum question wake[] = { ASK_WAKE, ASK_SLEEPING };
        if (!m->wake_ms) {
            m->wake_ms = fleet_now(m->server->fleet);
            server_note(m->server, EVENT_WAKE, "a call came to a model that sleeps");
        }
        begin(m, ERRAND_WAKE, wake, 2);
        return;
    }
    bool same = m->server->kind->check == ASK_SLEEPING ||
                (was->listed == is->listed && was->missing == is->missing && was->remote == is->remote && str_eq(was->manifest, is->manifest) && str_eq(was->remote_host, is->remote_host));
    m->facts.sleeping = false;
    m->errand = ERRAND_NONE;
    if (same) {
        give_back_asking(m, ERR_OK, m->ready, "");
        atomic_store(&m->used_ms, fleet_now(m->server->fleet));
    } else {
        untake_asking(m);
        begin_learning(m, fleet_now(m->server->fleet));
    }
}

static void end_wake(struct fleet_model *m)
{
    int64_t now = fleet_now(m->server->fleet);
    m->errand = ERRAND_NONE;
    m->facts.sleeping = m->heard.sleeping;
    if (!m->heard.sleeping) {
        m->wake_ms = 0;
        give_back_asking(m, ERR_OK, m->ready, "");
    } else if (now - m->wake_ms > WAKE_MS) {
        m->wake_ms = 0;
        give_back_asking(m, ERR_ENGINE, NULL, "the server sleeps, and could not be woken");
    } else {
        m->again_ms = now + AGAIN_MS;   /* it says so still: checked again in a moment */
        untake_asking(m);
    }
}

static void end_unload(struct fleet_model *m)
{
    m->errand = ERRAND_NONE;
    atomic_store(&m->unload, false);
    server_note(m->server, EVENT_UNLOADED, m->spec.id.p);
}

static void talk_done(struct talk *t, enum err e)
{
    struct fleet_model *m = t->ctx;
    if (e == ERR_OK)
        e = facts_read(&m->facts_mem[1 - m->mem_at], m->script[m->at], m->spec.id, t->status, buf_str(&t->in), &m->heard);
    if (e != ERR_OK && e != ERR_UPSTREAM && e != ERR_LIMIT)
        unanswered(m);                  /* an answer that makes no sense is one: what it was asked for is unknown */
    else if (m->script[++m->at] != ASK_NOTHING)
        ask(m);
    else
        ends[m->errand](m);
    fleet_soon(m->server->fleet);
}

/* ---- the machine ---- */

static bool is_polled(struct fleet_model *m, int64_t now)
{
    const struct fleet_server *s = m->server;
    int64_t since = now - atomic_load(&m->used_ms);
    return (s->attached || s->kind->check == ASK_TAGS) && now - m->asked_ms >= (since < POLL_IDLE_MS ? POLL_MS : POLL_IDLE_MS);
}

static void step_open(struct fleet_model *m, int64_t now)
{
    static const enum question unload[] = { ASK_UNLOAD };
    bool unloads = atomic_load(&m->unload);     /* an Ollama's: see is_to_be_unloaded() */
    if (unloads && atomic_load(&m->running) == 0)
        begin(m, ERRAND_UNLOAD, unload, 1);
    else if (unloads)
        return;                         /* when its calls have ended */
    else if (m->checks && model_is_wanted(m))
        begin_check(m);
    else if (is_polled(m, now))
        begin_learning(m, now);
    else if (!m->checks && (!atomic_load(&m->open) || model_is_wanted(m))) {
        atomic_store(&m->open, m->ready);
        model_give_back(m, ERR_OK, m->ready, "");
    }
}

void model_step(struct fleet_model *m, int64_t now)
{
    if (m->awaits_hash && !m->server->hash.running)
        learned(m);
    if (m->talk.x || m->awaits_hash)
        return;
    if (m->state == MODEL_OPEN && now >= m->again_ms)
        step_open(m, now);
    else if (m->state != MODEL_OPEN && (m->server->attached ? !m->asked_ms || model_is_wanted(m) || is_polled(m, now) : now >= m->again_ms))
        begin_learning(m, now);
}
