/* What can be asked for: one table of paths. Calls go through the stages (gate.c); the rest is answered here. */
#include "gate/request.h"

static void endpoint_models(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_tags(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_show(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_version(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_health(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_ready(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_metrics(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_erase(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_manage(struct gate_loop *l, struct http_req *http, str rest);
static void endpoint_root(struct gate_loop *l, struct http_req *http, str rest);

static const struct endpoint {
    str method, path;
    bool prefix;                        /* `path` ends with a slash and takes what follows */
    enum dialect dialect;
    enum op op;                         /* OP_NONE: answered by `serve` */
    /* keys and metrics: where keys are required; the admin: always; the owner comes over the command socket */
    enum { FOR_KEYS, FOR_METRICS, FOR_ALL, FOR_ADMIN, FOR_OWNER } who;
    void (*serve)(struct gate_loop *l, struct http_req *http, str rest);
} endpoints[] = {
    { S("POST"), S("/v1/chat/completions"), false, DIALECT_OPENAI, OP_CHAT, FOR_KEYS, NULL },
    { S("POST"), S("/v1/completions"), false, DIALECT_OPENAI, OP_COMPLETION, FOR_KEYS, NULL },
    { S("POST"), S("/v1/embeddings"), false, DIALECT_OPENAI, OP_EMBEDDING, FOR_KEYS, NULL },
    { S("POST"), S("/tokenize"), false, DIALECT_OPENAI, OP_TOKENIZE, FOR_KEYS, NULL },
    { S("POST"), S("/detokenize"), false, DIALECT_OPENAI, OP_DETOKENIZE, FOR_KEYS, NULL },
    { S("POST"), S("/v1/responses"), false, DIALECT_RESPONSES, OP_CHAT, FOR_KEYS, NULL },
    { S("POST"), S("/v1/messages"), false, DIALECT_ANTHROPIC, OP_CHAT, FOR_KEYS, NULL },
    { S("POST"), S("/v1/messages/count_tokens"), false, DIALECT_ANTHROPIC, OP_COUNT, FOR_KEYS, NULL },
    { S("POST"), S("/api/chat"), false, DIALECT_OLLAMA, OP_CHAT, FOR_KEYS, NULL },
    { S("POST"), S("/api/generate"), false, DIALECT_OLLAMA, OP_CHAT, FOR_KEYS, NULL },
    { S("POST"), S("/api/embed"), false, DIALECT_OLLAMA, OP_EMBEDDING, FOR_KEYS, NULL },
    { S("POST"), S("/api/embeddings"), false, DIALECT_OLLAMA, OP_EMBEDDING, FOR_KEYS, NULL },
    { S("GET"), S("/api/tags"), false, DIALECT_OLLAMA, OP_NONE, FOR_KEYS, endpoint_tags },
    { S("GET"), S("/api/ps"), false, DIALECT_OLLAMA, OP_NONE, FOR_KEYS, endpoint_tags },
    { S("POST"), S("/api/show"), false, DIALECT_OLLAMA, OP_NONE, FOR_KEYS, endpoint_show },
    { S("GET"), S("/api/version"), false, DIALECT_OLLAMA, OP_NONE, FOR_ALL, endpoint_version },
    { S("GET"), S("/v1/models"), false, DIALECT_OPENAI, OP_NONE, FOR_KEYS, endpoint_models },
    { S("GET"), S("/v1/models/"), true, DIALECT_OPENAI, OP_NONE, FOR_KEYS, endpoint_models },
    { S("GET"), S("/health"), false, DIALECT_OPENAI, OP_NONE, FOR_ALL, endpoint_health },
    { S("GET"), S("/ready"), false, DIALECT_OPENAI, OP_NONE, FOR_ALL, endpoint_ready },
    { S("GET"), S("/metrics"), false, DIALECT_OPENAI, OP_NONE, FOR_METRICS, endpoint_metrics },
    { S("GET"), S("/hearth/fleet"), false, DIALECT_OPENAI, OP_NONE, FOR_OWNER, gate_fleet_report },
    { S("POST"), S("/hearth/fleet/plan"), false, DIALECT_OPENAI, OP_NONE, FOR_OWNER, gate_fleet_plan },
    { S("POST"), S("/hearth/fleet/load"), false, DIALECT_OPENAI, OP_NONE, FOR_OWNER, gate_fleet_load },
    { S("POST"), S("/hearth/fleet/unload"), false, DIALECT_OPENAI, OP_NONE, FOR_OWNER, gate_fleet_unload },
    { S("POST"), S("/hearth/erase"), false, DIALECT_OPENAI, OP_NONE, FOR_OWNER, endpoint_erase },
    { S("GET"), S("/hearth/"), true, DIALECT_OLLAMA, OP_NONE, FOR_ADMIN, endpoint_manage },
    { S("POST"), S("/hearth/"), true, DIALECT_OLLAMA, OP_NONE, FOR_ADMIN, endpoint_manage },
    { S("GET"), S("/"), false, DIALECT_OPENAI, OP_NONE, FOR_ALL, endpoint_root },
};

/* Which API somebody means who has no call yet: by the path, and for /v1/models by the version that Anthropic's clients always send. What is
 * hearth's own has errors of the plainest shape, {"error":"…"}. */
static enum dialect dialect_of(str path, bool versioned)
{
    if (str_starts(path, S("/api/")) || str_starts(path, S("/hearth/")))
        return DIALECT_OLLAMA;
    return str_starts(path, S("/v1/messages")) || (versioned && str_starts(path, S("/v1/models"))) ? DIALECT_ANTHROPIC : DIALECT_OPENAI;
}

static enum dialect dialect_asked(struct http_req *http)
{
    const struct http_head *h = http_req_head(http);
    return dialect_of(h->path, http_count(h, S("anthropic-version")) > 0);
}

/* ---- what every reply has ---- */

struct reply_id { char text[UUID_TEXT]; };

static struct reply_id new_id(struct gate_loop *l)
{
    struct reply_id id;
    uuid7(&l->rng, clock_wall_us(&l->gate->opt.clock), id.text);
    return id;
}

/* Each SDK has a name of its own for it. */
static str with_id(struct arena *a, const struct reply_id *id, str fields)
{
    str all = arena_printf(a, "x-request-id: %s\r\nrequest-id: %s\r\n%.*s", id->text, id->text, (int)fields.n, fields.n ? fields.p : "");
    return all.p ? all : fields;
}

void gate_answer_with(struct gate_loop *l, struct http_req *http, int status, str type, str fields, str body)
{
    struct reply_id id = new_id(l);
    (void)http_reply(http, status, type, with_id(http_req_arena(http), &id, fields), body);
}

static str error_in(struct arena *a, enum dialect d, enum err e, str message, const struct reply_id *id)
{
    if (d == DIALECT_OLLAMA)
        return ollama_error_body(a, e, message);
    return d == DIALECT_ANTHROPIC ? anthropic_error_body(a, e, message, str_of(id->text)) : openai_error_body(a, e, message, STR_NONE);
}

static void endpoint_error(struct gate_loop *l, struct http_req *http, enum err e, str message, str fields)
{
    struct arena *a = http_req_arena(http);
    struct reply_id id = new_id(l);
    str body = error_in(a, dialect_asked(http), e, message, &id);
    (void)http_reply(http, err_http(e), S("application/json"), with_id(a, &id, fields), body);
}

/* ---- GET ---- */

/* How a loaded model calls tools: ,"tools":"hermes" or nothing. */
static str model_tools(struct arena *a, str identity)
{
    json v;
    str name;
    if (!identity.n || json_parse(a, identity, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_text(a, json_member(v, S("tools")), &name) != ERR_OK)
        return S("");
    return arena_printf(a, ",\"tools\":\"%.*s\"", STR_ARG(name));
}

/* What hearth adds to a model of the list. Names need no escapes: the configuration allows none that would. */
static str model_meta(struct arena *a, const struct gate_config *cfg, size_t i)
{
    const struct model *m = &cfg->policy.models[i];
    struct fleet_state s = { .state = "served" };
    if (cfg->engines[i])
        fleet_look(cfg->engines[i], &s);
    str tools = model_tools(a, s.identity);
    return arena_printf(a, "{\"provider\":\"%.*s\",\"zone\":\"%.*s\",\"kind\":\"model\",\"state\":\"%s\"%.*s}", STR_ARG(m->provider->name),
                        STR_ARG(zone_name(m->provider->zone)), s.state, STR_ARG(tools));
}

/* What a key does not open is not shown to it. */
static bool is_open(struct gate_loop *l, struct http_req *http, str task, str model)
{
    const struct key *key;
    (void)gate_who(l, http_req_head(http), http_req_via_unix(http), &key);
    return !key || keys_allow(key, task, model);
}

static void endpoint_models(struct gate_loop *l, struct http_req *http, str rest)
{
    struct arena *a = http_req_arena(http);
    const struct policy *p = &l->view->cfg->policy;
    size_t n = 0;
    struct openai_model *list = arena_new(a, struct openai_model, p->n_models + p->n_tasks + 1);
    for (size_t i = 0; list && i < p->n_models; i++)
        if (is_open(l, http, S(""), p->models[i].name))
            list[n++] = (struct openai_model){ .id = p->models[i].name, .owned_by = p->models[i].provider->name, .meta = model_meta(a, l->view->cfg, i) };
    for (size_t i = 0; list && i < p->n_tasks; i++)
        if (is_open(l, http, p->tasks[i].name, S("")))
            list[n++] = (struct openai_model){ .id = arena_printf(a, "task/%.*s", STR_ARG(p->tasks[i].name)), .owned_by = S("hearth"), .meta = S("{\"kind\":\"task\"}") };
    if (!list) {
        endpoint_error(l, http, ERR_LIMIT, STR_NONE, STR_NONE);
        return;
    }
    bool anthropic = dialect_asked(http) == DIALECT_ANTHROPIC;
    if (!rest.n) {
        gate_answer_with(l, http, 200, S("application/json"), STR_NONE, anthropic ? anthropic_models_body(a, list, n) : openai_models_body(a, list, n));
        return;
    }
    str id;
    if (http_path_decode(a, rest, &id) == ERR_OK)
        for (size_t i = 0; i < n; i++)
            if (str_eq(list[i].id, id)) {
                gate_answer_with(l, http, 200, S("application/json"), STR_NONE, anthropic ? anthropic_model_body(a, &list[i]) : openai_model_body(a, &list[i]));
                return;
            }
    endpoint_error(l, http, ERR_MODEL, STR_NONE, STR_NONE);
}

/* What Ollama's clients look at before they ask. hearth is none: dates and sizes that it does not know are empty or zero. */
static struct ollama_model ollama_look(const struct model *m)
{
    return (struct ollama_model){ .name = m->name, .modified_at = S("1970-01-01T00:00:00Z"), .digest = S(""), .context = m->context };
}

static void endpoint_tags(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    struct arena *a = http_req_arena(http);
    const struct gate_config *cfg = l->view->cfg;
    bool loaded = str_eq(http_req_head(http)->path, S("/api/ps"));
    struct ollama_model *list = arena_new(a, struct ollama_model, cfg->policy.n_models + 1);
    size_t n = 0;
    for (size_t i = 0; list && i < cfg->policy.n_models; i++) {
        struct fleet_state s = { .state = "served" };
        if (cfg->engines[i])
            fleet_look(cfg->engines[i], &s);
        if (is_open(l, http, S(""), cfg->policy.models[i].name) && (!loaded || (cfg->engines[i] && strcmp(s.state, "ready") == 0)))
            list[n++] = ollama_look(&cfg->policy.models[i]);
    }
    gate_answer_with(l, http, 200, S("application/json"), STR_NONE, loaded ? ollama_ps_body(a, list, n) : ollama_tags_body(a, list, n));
}

static void endpoint_show(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    struct arena *a = http_req_arena(http);
    const struct policy *p = &l->view->cfg->policy;
    json v;
    str name = STR_NONE;
    if (json_parse(a, http_req_body(http), &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK ||
        json_text(a, json_type(json_member(v, S("model"))) == JSON_STRING ? json_member(v, S("model")) : json_member(v, S("name")), &name) != ERR_OK) {
        endpoint_error(l, http, ERR_SYNTAX, S("the body must be an object that names a model"), STR_NONE);
        return;
    }
    name = ollama_name(p, name);
    for (size_t i = 0; i < p->n_models; i++)
        if (str_eq(p->models[i].name, name) && is_open(l, http, S(""), name)) {
            struct ollama_model m = ollama_look(&p->models[i]);
            gate_answer_with(l, http, 200, S("application/json"), STR_NONE, ollama_show_body(a, &m, p->models[i].chat_template));
            return;
        }
    endpoint_error(l, http, ERR_MODEL, STR_NONE, STR_NONE);
}

static void endpoint_version(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    gate_answer_with(l, http, 200, S("application/json"), STR_NONE, ollama_version_body(http_req_arena(http), S(HEARTH_VERSION)));
}

static void endpoint_health(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    struct ledger *led = l->gate->opt.ledger;
    bool well = (!led || ledger_healthy(led)) && !l->draining;
    str text = well ? S("ok") : l->draining ? S("draining") : S("ledger unavailable");
    gate_answer_with(l, http, well ? 200 : 503, S("application/json"), STR_NONE,
                   arena_printf(http_req_arena(http), "{\"status\":\"%.*s\",\"version\":\"" HEARTH_VERSION "\",\"port\":%u}", STR_ARG(text), l->gate->opt.port));
}

/* {"call","key","conversation","task","before_us","token"}: 202, and the event with that token says when it is done (ledger/erase.c). */
static void endpoint_erase(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    struct arena *a = http_req_arena(http);
    struct ledger_erase w = { .before_us = 0 };
    str token = S("");
    const struct { const char *name; str *to; } texts[] = { { "call", &w.call }, { "key", &w.key }, { "conversation", &w.conversation }, { "task", &w.task }, { "token", &token } };
    json v;
    bool good = json_parse(a, http_req_body(http), &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK && json_type(v) == JSON_OBJECT;
    for (size_t i = 0; good && i < sizeof texts / sizeof *texts; i++) {
        json m = json_member(v, str_of(texts[i].name));
        good = json_type(m) == JSON_NONE || json_text(a, m, texts[i].to) == ERR_OK;
    }
    if (good && json_type(json_member(v, S("before_us"))) != JSON_NONE)
        good = json_i64(json_member(v, S("before_us")), &w.before_us) && w.before_us > 0;
    enum err e = !good ? ERR_SYNTAX : l->gate->opt.ledger ? ledger_erase(l->gate->opt.ledger, &w, token) : ERR_STORE;
    if (e == ERR_OK)
        gate_answer_with(l, http, 202, S("application/json"), STR_NONE, S("{\"accepted\":true}"));
    else
        endpoint_error(l, http, e, e == ERR_RANGE ? S("name what is to be erased: call, key, conversation, task or before_us") : STR_NONE, STR_NONE);
}

/* Could it answer a call now? /health says that it lives, this that it is of use: a ledger that takes rows, and a model that has not failed. */
static void endpoint_ready(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    const struct gate_config *cfg = l->view->cfg;
    struct ledger *led = l->gate->opt.ledger;
    const struct model *m = cfg->policy.default_model;
    struct fleet_state s = { .state = "served" };
    const char *why = NULL;
    if (m && cfg->engines[m - cfg->policy.models])
        fleet_look(cfg->engines[m - cfg->policy.models], &s);
    if (l->draining)
        why = "hearth is being stopped";
    else if (led && !ledger_healthy(led))
        why = "the ledger cannot be written";
    else if (!cfg->policy.n_models)
        why = "no model is configured";
    else if (strcmp(s.state, "failed") == 0)
        why = "the default model's engine has failed";
    gate_answer_with(l, http, why ? 503 : 200, S("application/json"), STR_NONE,
                   arena_printf(http_req_arena(http), "{\"ready\":%s,\"why\":%s%s%s}", why ? "false" : "true", why ? "\"" : "", why ? why : "null", why ? "\"" : ""));
}

static void put_own_metrics(struct gate_loop *l, struct buf *b)
{
    const struct gate_config *cfg = l->view->cfg;
    struct ledger_stats s = { 0 };
    if (l->gate->opt.ledger)
        ledger_stats(l->gate->opt.ledger, &s);
    const struct { const char *name, *type, *help; uint64_t v; } all[] = {
        { "hearth_calls_running", "gauge", "calls that have not ended, their record included", gate_running(l->gate) },
        { "hearth_ledger_healthy", "gauge", "1: rows can be written", !l->gate->opt.ledger || ledger_healthy(l->gate->opt.ledger) },
        { "hearth_ledger_waiting", "gauge", "rows that wait to be written", s.waiting },
        { "hearth_ledger_rows_total", "counter", "rows written", s.rows },
        { "hearth_ledger_batches_total", "counter", "transactions they were written in", s.batches },
        { "hearth_ledger_bytes_total", "counter", "bodies and rows as they came, before compression", s.bytes_in },
        { "hearth_ledger_forced_checkpoints_total", "counter", "checkpoints that writing had to wait for", s.forced_checkpoints },
        { "hearth_ledger_failures_total", "counter", "writes that failed", s.failures },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        (void)buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", all[i].name, all[i].help, all[i].name, all[i].type, all[i].name, (unsigned long long)all[i].v);
    (void)buf_put(b, S("# HELP hearth_engine_ready 1: the local engine is loaded\n# TYPE hearth_engine_ready gauge\n"));
    for (size_t i = 0; i < cfg->policy.n_models; i++) {
        struct fleet_state f;
        if (!cfg->engines[i])
            continue;
        fleet_look(cfg->engines[i], &f);
        if (f.attached)
            continue;
        (void)buf_printf(b, "hearth_engine_ready{gen_ai_request_model=\"%.*s\",state=\"%s\"} %d\n", STR_ARG(cfg->policy.models[i].name), f.state, strcmp(f.state, "ready") == 0);
    }
    (void)buf_put(b, S("# HELP hearth_model_calls calls of a model with a limit, by whether they run or wait\n# TYPE hearth_model_calls gauge\n"));
    for (size_t i = 0; i < cfg->policy.n_models; i++) {
        int64_t running, waiting;
        if (!l->view->seats[i])
            continue;
        seat_look(l->view->seats[i], &running, &waiting);
        (void)buf_printf(b, "hearth_model_calls{gen_ai_request_model=\"%.*s\",state=\"running\"} %lld\nhearth_model_calls{gen_ai_request_model=\"%.*s\",state=\"waiting\"} %lld\n",
                         STR_ARG(cfg->policy.models[i].name), (long long)running, STR_ARG(cfg->policy.models[i].name), (long long)waiting);
    }
    (void)buf_put(b, S("# HELP hearth_build_info the version that runs\n# TYPE hearth_build_info gauge\nhearth_build_info{version=\"" HEARTH_VERSION "\"} 1\n"));
}

static void endpoint_metrics(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    struct metrics *of[64];
    size_t n = 0;
    struct buf b;
    buf_init(&b, 16u << 20);
    for (; n < 64 && n < (size_t)l->gate->opt.threads; n++)
        of[n] = &l->gate->loops[n].metrics;
    arena_reset(&l->scratch);
    enum err e = metrics_write(&l->scratch, &b, of, n);
    put_own_metrics(l, &b);
    str text = e == ERR_OK ? arena_str(http_req_arena(http), buf_str(&b)) : STR_NONE;
    buf_free(&b);
    if (text.p)
        gate_answer_with(l, http, 200, S("text/plain; version=0.0.4; charset=utf-8"), STR_NONE, text);
    else
        endpoint_error(l, http, ERR_LIMIT, STR_NONE, STR_NONE);
}

static void endpoint_manage(struct gate_loop *l, struct http_req *http, str rest)
{
    if (!l->gate->opt.manage)
        endpoint_error(l, http, ERR_NOTFOUND, STR_NONE, STR_NONE);
    else if (!manager_ask(l, http, rest))
        endpoint_error(l, http, ERR_BUSY, S("several such questions wait already: try again in a moment"), S("retry-after: 1\r\n"));
}

static void endpoint_root(struct gate_loop *l, struct http_req *http, str rest)
{
    (void)rest;
    gate_answer_with(l, http, 200, S("text/plain; charset=utf-8"), STR_NONE,
                   S("hearth " HEARTH_VERSION " is running. Point an OpenAI client at /v1, an Anthropic client at /; GET /v1/models lists what answers.\n"));
}

/* ---- dispatch ---- */

/* OpenAI's paths as Azure has them: /openai/deployments/MODEL/chat/completions, /openai/v1/models, /openai/responses. */
static str plain_path(struct arena *a, str path, str *model)
{
    str rest = str_skip(path, 8), name, after;
    *model = STR_NONE;
    if (!str_starts(path, S("/openai/")))
        return path;
    if (str_starts(rest, S("deployments/")) && str_cut(str_skip(rest, 12), '/', &name, &after) && http_path_decode(a, name, model) == ERR_OK)
        rest = after;
    str all = arena_printf(a, str_starts(rest, S("v1/")) ? "/%.*s" : "/v1/%.*s", STR_ARG(rest));
    return all.p ? all : path;
}

static bool endpoint_matches(const struct endpoint *e, str path)
{
    return e->prefix ? path.n > e->path.n && str_starts(path, e->path) : str_eq(path, e->path);
}

/* May whoever sends this have `e`? ERR_AUTH: nobody known; ERR_FORBIDDEN: somebody else may. Numbers about everybody's calls are for a key that
 * says so, or for all where nobody needs one. */
static enum err check_who(struct gate_loop *l, const struct endpoint *e, struct http_req *http, const struct key **key)
{
    const struct http_head *h = http_req_head(http);
    bool via_unix = http_req_via_unix(http);
    if (e->who == FOR_ALL || (e->who != FOR_KEYS && gate_is_admin(l, h, via_unix)))
        return ERR_OK;
    enum err err = gate_who(l, h, via_unix, key);
    if (err != ERR_OK || e->who == FOR_KEYS)
        return err;
    if (e->who == FOR_METRICS && (!l->view->cfg->keys.required || (*key && (*key)->admin)))
        return ERR_OK;
    return *key ? ERR_FORBIDDEN : ERR_AUTH;
}

void gate_on_request(void *ctx, struct http_req *http)
{
    struct gate_loop *l = ctx;
    const struct http_head *h = http_req_head(http);
    str method = str_eq(h->method, S("HEAD")) ? S("GET") : h->method;
    const struct endpoint *other = NULL;
    const struct key *key = NULL;
    str model, path = plain_path(http_req_arena(http), h->path, &model);
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        const struct endpoint *e = &endpoints[i];
        if (!endpoint_matches(e, path) || (e->who == FOR_OWNER && !http_req_via_unix(http)))
            continue;                   /* what is the owner's is not there over TCP */
        other = e;
        if (!str_eq(e->method, method))
            continue;
        enum err who = check_who(l, e, http, &key);
        if (who != ERR_OK) {
            endpoint_error(l, http, who, e->who == FOR_ADMIN ? S("this is for whoever holds the admin key: hearth key admin") : STR_NONE, S("WWW-Authenticate: Bearer\r\n"));
            return;
        }
        if (e->op == OP_NONE) {
            e->serve(l, http, str_skip(path, e->path.n));
            return;
        }
        if (l->stopping) {
            struct reply_id id = new_id(l);
            (void)http_reply(http, 503, S("application/json"), with_id(http_req_arena(http), &id, S("retry-after: 1\r\nConnection: close\r\n")),
                             error_in(http_req_arena(http), e->dialect, ERR_BUSY, S("hearth is being stopped"), &id));
            return;
        }
        struct gate_req *r = gate_begin(l, http, e->dialect, e->op, key);
        if (r) {
            r->path = path;
            r->path_model = model;
            gate_step(r);
        } else {
            endpoint_error(l, http, ERR_LIMIT, STR_NONE, STR_NONE);
        }
        return;
    }
    if (other)
        endpoint_error(l, http, ERR_METHOD, STR_NONE, str_eq(other->method, S("POST")) ? S("Allow: POST\r\n") : S("Allow: GET, HEAD\r\n"));
    else
        endpoint_error(l, http, ERR_NOTFOUND, S("there is nothing at this path; hearth serves /v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings, /v1/messages, /v1/models, /tokenize, /detokenize, /api/chat and /api/generate"), STR_NONE);
}

/* ---- before a body is read ---- */

/* A name that only this machine can mean, with our port. Anything else could be a foreign page's DNS name that was made
 * to point here (DNS rebinding). */
static bool host_is_listed(const struct gate_config *cfg, str host)
{
    size_t colon = host.n;
    for (size_t i = 0; i < host.n; i++)
        colon = host.p[i] == ':' ? i : host.p[i] == ']' ? host.n : colon;
    for (size_t i = 0; i < cfg->n_hosts; i++)
        if (str_ieq(cfg->hosts[i], host) || str_ieq(cfg->hosts[i], str_slice(host.p, colon)))
            return true;
    return false;
}

static bool host_is_ours(str host, uint16_t port)
{
    static const str names[] = { S("localhost"), S("127.0.0.1"), S("[::1]") };
    char number[STR_I64];
    str suffix = str_from_i64(port, number);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (host.n < names[i].n || !str_ieq(str_slice(host.p, names[i].n), names[i]))
            continue;
        str rest = str_skip(host, names[i].n);
        if (rest.n == 0 ? port == 80 : rest.p[0] == ':' && str_eq(str_skip(rest, 1), suffix))
            return true;
    }
    return false;
}

static bool is_for_all(str path)
{
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++)
        if (endpoint_matches(&endpoints[i], path) && endpoints[i].who == FOR_ALL)
            return true;
    return false;
}

int gate_check_head(void *ctx, const struct http_head *h, bool via_unix, const char **what)
{
    struct gate_loop *l = ctx;
    const struct key *key;
    str origin = http_get(h, S("origin"));
    if (via_unix)
        return 0;
    if (!host_is_ours(h->host, l->gate->opt.port) && !host_is_listed(l->view->cfg, h->host)) {
        *what = "this Host is not served here; names that are go under hosts: in the configuration";
        return 403;
    }
    size_t scheme = str_starts(origin, S("http://")) ? 7 : str_starts(origin, S("https://")) ? 8 : origin.n;
    if (http_count(h, S("origin")) && (scheme == origin.n || !str_ieq(str_skip(origin, scheme), h->host))) {
        *what = "requests from pages of another origin are not served";
        return 403;
    }
    if (is_for_all(h->path) || gate_who(l, h, false, &key) == ERR_OK || gate_is_admin(l, h, false))
        return 0;
    *what = "no valid key was given";   /* before the body: nobody unknown makes us read 64 MiB */
    return 401;
}

void gate_on_reject(void *ctx, const struct http_head *h, int status, const char *what, struct arena *a, struct http_refusal *out)
{
    struct reply_id id = new_id(ctx);
    enum err e = status == 401 ? ERR_AUTH : status == 403 ? ERR_FORBIDDEN : status == 408 ? ERR_TIMEOUT : status == 413 ? ERR_LIMIT : status == 503 ? ERR_MEMORY : status >= 500 ? ERR_UNSUPPORTED : ERR_SYNTAX;
    *out = (struct http_refusal){ S("application/json"), with_id(a, &id, status == 401 ? S("WWW-Authenticate: Bearer\r\n") : STR_NONE), error_in(a, h ? dialect_of(h->path, http_count(h, S("anthropic-version")) > 0) : DIALECT_OPENAI, e, str_of(what), &id) };
}
