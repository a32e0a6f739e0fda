/* What `hearth ps` and `hearth plan` show, as JSON. Bytes are bytes, times milliseconds; what is not known is null.
 *
 *   {"host":{"total","free","cap","models"},
 *    "devices":[{"name","id","total","free","busy_percent","celsius","joules"}],
 *    "swaps",
 *    "models":[{"model","provider","kind","attached","state","why","progress","pid","starts","log","running","waiting","waits_ms","idle_ms","up_ms","tokens_per_second",
 *               "server":{"running","waiting","cache"},"memory":{"host","device","on"},"need":{…},"fingerprint","remote"}]}
 *
 *   {"model","state","verdict","says","on","need_bytes","free_bytes","most_bytes","evict":[names],"until_ms","need":{…}}
 *   verdict: "loaded", "fits", "swap", "wait", "refuse", "attached"
 *   need: {"host","device_host","device","weights","kv_token","tokens","rest","load_ms","measured","written"}; written: host and device are what the configuration says,
 *   and what they are made of is not known */
#include "fleet/server.h"

#include "core/json.h"

#include <math.h>

#define FRESH_MS 1000

static void put_real(struct json_out *o, const char *key, double value)
{
    json_put_key(o, str_of(key));
    if (value >= 0)
        json_put_f64(o, value);
    else
        json_put_null(o);
}

/* ---- the machine ---- */

static void put_host(struct json_out *o, const struct fleet *f)
{
    int64_t used = 0;
    for (const struct fleet_server *s = f->servers; s; s = s->next)
        used += s->child_alive ? s->use.used : 0;
    json_put_key(o, S("host"));
    json_open(o, '{');
    json_put_count_or_null(o, S("total"), f->seen.host_known ? f->seen.host.total : -1);
    json_put_count_or_null(o, S("free"), f->seen.host_known ? f->seen.host.free : -1);
    json_put_count_or_null(o, S("cap"), f->opt.memory ? f->opt.memory : -1);
    json_put_count_or_null(o, S("models"), used);
    json_close(o, '}');
}

static void put_devices(struct json_out *o, const struct fleet *f)
{
    json_put_key(o, S("devices"));
    json_open(o, '[');
    for (size_t i = 0; i < f->seen.n_devices; i++) {
        const struct gpu_device *d = &f->seen.devices[i];
        json_open(o, '{');
        json_put_text_or_null(o, S("name"), str_of(d->name));
        json_put_text_or_null(o, S("id"), str_of(d->uuid));
        json_put_count_or_null(o, S("total"), d->total);
        json_put_count_or_null(o, S("free"), d->free);
        json_put_count_or_null(o, S("busy_percent"), d->busy);
        json_put_count_or_null(o, S("celsius"), d->celsius);
        put_real(o, "joules", isnan(d->joules) ? -1 : d->joules);
        json_close(o, '}');
    }
    json_close(o, ']');
}

/* ---- models ---- */

static void put_need(struct json_out *o, const struct fleet_server *s, const struct foot *f)
{
    bool written = s->spec.memory > 0;
    json_put_key(o, S("need"));
    json_open(o, '{');
    json_put_count_or_null(o, S("host"), f->host);
    json_put_count_or_null(o, S("device_host"), f->device_host);
    json_put_count_or_null(o, S("device"), f->device);
    json_put_count_or_null(o, S("weights"), f->weights);
    json_put_count_or_null(o, S("kv_token"), f->kv_token);
    json_put_count_or_null(o, S("tokens"), f->tokens);
    json_put_count_or_null(o, S("rest"), written ? -1 : foot_rest(f, false));
    json_put_count_or_null(o, S("load_ms"), f->load_ms);
    json_put_key(o, S("measured"));
    json_put_bool(o, s->foot.host >= 0 || s->foot.device >= 0);
    json_put_key(o, S("written"));
    json_put_bool(o, written);
    json_close(o, '}');
}

static int device_number(const struct fleet *f, const char *uuid)
{
    for (size_t d = 0; d < f->seen.n_devices && *uuid; d++)
        if (strcmp(f->seen.devices[d].uuid, uuid) == 0)
            return (int)d;
    return PLAN_HOST;
}

static void put_place(struct json_out *o, const char *key, int device)
{
    char text[24];
    snprintf(text, sizeof text, "gpu %d", device);
    json_put_text_or_null(o, str_of(key), device == PLAN_HOST ? S("host") : str_of(text));
}

static void put_numbers(struct json_out *o, struct fleet_model *m, int64_t now)
{
    struct fleet_server *s = m->server;
    int64_t used = atomic_load(&m->used_ms), since = m->waiters ? m->waiters->since_ms : m->asking ? m->asking->since_ms : 0;
    json_put_count_or_null(o, S("pid"), s->pid ? s->pid : -1);
    json_put_count_or_null(o, S("starts"), s->attached ? -1 : (int64_t)s->starts);
    json_put_text_or_null(o, S("log"), str_of(s->log));
    json_put_count_or_null(o, S("running"), atomic_load(&m->running));
    json_put_count_or_null(o, S("waiting"), (int64_t)m->n_waiting);
    json_put_count_or_null(o, S("waits_ms"), since ? now - since : -1);
    json_put_count_or_null(o, S("idle_ms"), used && !atomic_load(&m->running) ? now - used : -1);
    json_put_count_or_null(o, S("up_ms"), s->up_ms ? now - s->up_ms : -1);
    put_real(o, "tokens_per_second", s->rate);
    json_put_key(o, S("server"));
    json_open(o, '{');
    put_real(o, "running", s->load.running);
    put_real(o, "waiting", s->load.waiting);
    put_real(o, "cache", s->load.cache);
    json_close(o, '}');
}

static void put_memory(struct json_out *o, const struct fleet *f, const struct fleet_server *s)
{
    json_put_key(o, S("memory"));
    json_open(o, '{');
    json_put_count_or_null(o, S("host"), s->child_alive && s->use.n ? s->use.used : -1);
    json_put_count_or_null(o, S("device"), s->child_alive && s->gpu[0] ? s->use_device : -1);
    put_place(o, "on", s->child_alive ? device_number(f, s->gpu) : PLAN_HOST);
    json_close(o, '}');
}

static void put_identity(struct json_out *o, const struct fleet_model *m)
{
    char hex[HEX_DIGEST];
    bool known = m->ready && m->ready->known;
    if (known)
        hex_encode(m->ready->fingerprint.b, sizeof m->ready->fingerprint.b, hex);
    json_put_text_or_null(o, S("fingerprint"), known ? str_slice(hex, sizeof hex) : STR_NONE);
    json_put_key(o, S("remote"));
    json_put_bool(o, m->ready && m->ready->remote);
}

static void put_model(struct json_out *o, struct fleet *f, struct fleet_model *m, int64_t now)
{
    struct fleet_server *s = m->server;
    const char *state = fleet_state_name(m);
    bool loading = strcmp(state, "loading") == 0;
    json_open(o, '{');
    json_put_text_or_null(o, S("model"), m->spec.name);
    json_put_text_or_null(o, S("provider"), m->spec.provider);
    json_put_text_or_null(o, S("kind"), str_of(s->kind->name));
    json_put_key(o, S("attached"));
    json_put_bool(o, s->attached);
    json_put_text_or_null(o, S("state"), str_of(state));
    json_put_text_or_null(o, S("why"), str_of(strcmp(state, "waiting") == 0 ? s->plan : s->why));
    put_real(o, "progress", loading ? s->progress : -1);
    put_numbers(o, m, now);
    put_memory(o, f, s);
    put_need(o, s, &s->need);
    put_identity(o, m);
    json_close(o, '}');
}

/* Servers and models are put in front of their lists; people want them in the order of the configuration. */
static struct fleet_model *next_model(const struct fleet *f, uint64_t after)
{
    struct fleet_model *next = NULL;
    for (const struct fleet_server *s = f->servers; s; s = s->next)
        for (struct fleet_model *m = s->models; m; m = m->next)
            if (m->refs > 0 && m->number > after && (!next || m->number < next->number))
                next = m;
    return next;
}

static void put_models(struct json_out *o, struct fleet *f, int64_t now)
{
    json_put_key(o, S("models"));
    json_open(o, '[');
    for (struct fleet_model *m = next_model(f, 0); m; m = next_model(f, m->number))
        put_model(o, f, m, now);
    json_close(o, ']');
}

/* ---- a plan ---- */

static void put_evicted(struct json_out *o, const struct fleet *f, const struct plan *p)
{
    json_put_key(o, S("evict"));
    json_open(o, '[');
    for (size_t i = 0; i < p->n_evict; i++)
        json_put_str(o, str_of(f->in_world[p->evict[i]]->name));
    json_close(o, ']');
}

static void write_plan(struct fleet *f, struct fleet_model *m, int64_t now, struct json_out *o)
{
    static const char *const verdicts[] = { [PLAN_GO] = "fits", [PLAN_SWAP] = "swap", [PLAN_WAIT] = "wait", [PLAN_REFUSE] = "refuse" };
    struct fleet_server *s = m->server;
    struct plan p = { .at = PLAN_HOST };
    struct foot need = keep_foot(s);
    char says[240] = "it runs already, and is not ours to start";
    bool there = !s->attached && s->child_alive;
    if (!s->attached)
        keep_plan(f, s, &f->world, &p);
    if (there)
        snprintf(says, sizeof says, "it is loaded, or being so");
    else if (!s->attached)
        plan_say(&p, says, sizeof says);
    json_open(o, '{');
    json_put_text_or_null(o, S("model"), m->spec.name);
    json_put_text_or_null(o, S("state"), str_of(fleet_state_name(m)));
    json_put_text_or_null(o, S("verdict"), str_of(s->attached ? "attached" : there ? "loaded" : verdicts[p.verdict]));
    json_put_text_or_null(o, S("says"), str_of(says));
    put_place(o, "on", p.at);
    json_put_count_or_null(o, S("need_bytes"), s->attached || there ? -1 : p.need);
    json_put_count_or_null(o, S("free_bytes"), s->attached || there ? -1 : p.room);
    json_put_count_or_null(o, S("most_bytes"), s->attached || there ? -1 : p.most);
    put_evicted(o, f, &p);
    json_put_count_or_null(o, S("until_ms"), p.until_ms > now ? p.until_ms - now : -1);
    put_need(o, s, &need);
    json_close(o, '}');
}

enum err report_write(struct fleet *f, struct fleet_model *m, int64_t now, struct buf *out)
{
    struct json_out o;
    if (!f->seen.asked_ms || now - f->seen.asked_ms > FRESH_MS) {
        f->look_wanted = true;
        fleet_soon(f);
        return ERR_AGAIN;
    }
    json_out_init(&o, out);
    if (m) {
        write_plan(f, m, now, &o);      /* may read the head of a file: without the lock */
        return o.err;
    }
    for (struct fleet_server *s = f->servers; s; s = s->next)
        if (!s->attached)
            (void)keep_foot(s);         /* reads the head of its file, when it is looked at for the first time */
    json_open(&o, '{');
    pthread_mutex_lock(&f->lock);
    put_host(&o, f);
    put_devices(&o, f);
    json_put_count_or_null(&o, S("swaps"), (int64_t)f->swaps);
    put_models(&o, f, now);
    pthread_mutex_unlock(&f->lock);
    json_close(&o, '}');
    return o.err;
}
