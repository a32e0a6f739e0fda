/* The configuration: tables of options, and the names that are resolved between them. */
#include "cmd/config.h"

#include "cmd/config_keys.h"
#include "cmd/config_engine.h"
#include "cmd/config_guard.h"
#include "cmd/config_managed.h"
#include "cmd/config_prompts.h"
#include "cmd/config_routes.h"
#include "cmd/discover.h"

#include <math.h>
#include <stdio.h>

/* ---- the tables ---- */

#define COUNT(t) (sizeof(t) / sizeof *(t))
#define C(f)     offsetof(struct config, f)
#define KiB(n)   ((int64_t)(n) << 10)
#define MiB(n)   ((int64_t)(n) << 20)

static const char *const sync_words[] = { "normal", "full", NULL };
static const char *const level_words[] = { "debug", "info", "warn", "error", "off", NULL };
static const char *const format_words[] = { "text", "json", NULL };
static const char *const zone_words[] = { "machine", "private", "cloud", NULL };
static const char *const api_words[] = { "embedded", "openai", "vllm", "llamacpp", "ollama", "anthropic", NULL };
static const char *const risk_words[] = { "low", "medium", "high", NULL };
static const char *const data_words[] = { "public", "internal", "private", NULL };
static const char *const priority_words[] = { "interactive", "batch", NULL };
static const char *const gpu_words[] = { "auto", "on", "off", NULL };

static const struct option top[] = {
    { "listen", OPTION_ADDRESS, C(listen_text), "127.0.0.1:8420", 0, 0, NULL, "where the API is served; other addresses than loopback only with keys" },
    { "hosts", OPTION_LIST, C(hosts), NULL, 0, 0, NULL, "names under which clients reach it besides localhost, with or without a port: requests for other hosts are refused" },
    { "watch", OPTION_BOOL, C(watch), "true", 0, 0, NULL, "read this file again when it changes; a wrong one changes nothing" },
    { "threads", OPTION_INT, C(threads), NULL, 1, 64, NULL, "loop threads; unset: one per core, at most 4" },
};
static const struct option ledger_options[] = {
    { "path", OPTION_PATH, C(ledger.path), NULL, 0, 0, NULL, "the file; unset: hearth.db in ~/.local/share/hearth (XDG_DATA_HOME)" },
    { "retain_bodies", OPTION_DURATION, C(ledger.retain_ms), "90d", 0, 0, NULL, "prompts and answers older than this are erased; rows stay" },
    { "keep_bodies", OPTION_BOOL, C(ledger.keep_bodies), "true", 0, 0, NULL, "keep prompts and answers at all; their hashes are kept in any case" },
    { "keep_private", OPTION_BOOL, C(ledger.keep_private), "true", 0, 0, NULL, "keep those of private calls, encrypted under the key beside the ledger" },
    { "sync", OPTION_WORD, C(ledger.sync), "normal", 0, 0, sync_words, "normal survives the death of the process, full also a power cut" },
    { "queue_items", OPTION_INT, C(ledger.queue_items), "4096", 16, 1000000, NULL, "rows that may wait; past it calls are refused" },
    { "queue_bytes", OPTION_SIZE, C(ledger.queue_bytes), "256MiB", MiB(1), 0, NULL, "the same, in bytes" },
    { "body_max", OPTION_SIZE, C(ledger.body_max), "8MiB", KiB(1), MiB(256), NULL, "a longer prompt or answer is cut in the record, and marked so" },
};
static const struct option limit_options[] = {
    { "body", OPTION_SIZE, C(limits.body), "64MiB", KiB(1), MiB(1024), NULL, "of a request" },
    { "reply", OPTION_SIZE, C(reply_max), "64MiB", KiB(1), MiB(1024), NULL, "of a reply that is not streamed" },
    { "connections", OPTION_SIZE, C(limits.connections), "4096", 1, 1000000, NULL, "clients at once, per thread" },
    { "head_time", OPTION_DURATION, C(limits.head_ms), "10s", 0, 0, NULL, "to receive a request's head" },
    { "body_time", OPTION_DURATION, C(limits.body_ms), "30s", 0, 0, NULL, "between two pieces of its body" },
    { "idle_time", OPTION_DURATION, C(limits.idle_ms), "75s", 0, 0, NULL, "a kept connection without a request" },
    { "write_time", OPTION_DURATION, C(limits.write_ms), "60s", 0, 0, NULL, "a client that takes nothing for this long is dropped" },
};
static const struct option upstream_options[] = {
    { "connect", OPTION_DURATION, C(upstream.connect_ms), "10s", 0, 0, NULL, "to make a connection" },
    { "first_byte", OPTION_DURATION, C(upstream.first_byte_ms), "10m", 0, 0, NULL, "from the request to the first byte of the reply" },
    { "gap", OPTION_DURATION, C(upstream.gap_ms), "2m", 0, 0, NULL, "between two pieces of a reply" },
    { "idle", OPTION_DURATION, C(upstream.idle_ms), "1m", 0, 0, NULL, "an unused connection is kept" },
    { "idle_max", OPTION_SIZE, C(upstream.idle_max), "1024", 1, 10000, NULL, "unused connections kept, per provider and thread" },
    { "open_max", OPTION_SIZE, C(upstream.open_max), "1024", 1, 100000, NULL, "connections at once, per provider and thread; further calls wait" },
};
static const struct option engine_options[] = {
    { "program", OPTION_PATH, C(engine.program), NULL, 0, 0, NULL, "hearth-engine; unset: the one beside this program" },
    { "run_dir", OPTION_PATH, C(engine.run_dir), NULL, 0, 0, NULL, "sockets of the engines; unset: XDG_RUNTIME_DIR/hearth, or /tmp/hearth-UID" },
    { "log_dir", OPTION_PATH, C(engine.log_dir), NULL, 0, 0, NULL, "what engines say; unset: beside the ledger's default place" },
    { "digests", OPTION_PATH, C(engine.digests), NULL, 0, 0, NULL, "remembered digests of model files" },
    { "prefix_dir", OPTION_PATH, C(engine.prefix_dir), NULL, 0, 0, NULL, "where engines keep what tasks with share_prefix begin with, for the next start; unset: nowhere" },
    { "prefix_limit", OPTION_SIZE, C(engine.prefix_limit), "512MiB", 1 << 20, 0, NULL, "… and how large that file of a model may grow" },
    { "load_time", OPTION_DURATION, C(engine.load_ms), "10m", 0, 0, NULL, "a load that takes longer has failed" },
    { "hang_time", OPTION_DURATION, C(engine.hang_ms), "30s", 0, 0, NULL, "an engine that says nothing, or is in one step, for longer is started again" },
};
static const struct option fleet_options[] = {
    { "memory", OPTION_SIZE, C(fleet.memory), "0", 0, 0, NULL, "of the host, for all models together that hearth loads; 0: what is free, by the kernel's word and the control group's" },
    { "stay", OPTION_DURATION, C(fleet.stay_ms), "10s", 0, 0, NULL, "a model that was loaded is not sent away for another before that" },
    { "window", OPTION_DURATION, C(fleet.window_ms), "30s", 0, 0, NULL, "models are swapped at most once in so long: until then the loaded one serves, and calls for others wait in order" },
    { "wait", OPTION_DURATION, C(fleet.wait_ms), "5m", 0, 0, NULL, "how long a call waits for room" },
    { "queue", OPTION_INT, C(fleet.queue), "1024", 1, 1000000, NULL, "calls that may wait for one model to be loaded" },
    { "threads", OPTION_INT, C(fleet.threads), "0", 0, 1024, NULL, "inference threads of all models together; those that write none get equal shares of what is left, one at least; 0: the cores" },
    { "at_once", OPTION_INT, C(fleet.at_once), "0", 0, 1024, NULL, "how many models are expected to compute at the same time: the shares are of this number; 0: all that are configured" },
    { "nvml", OPTION_TEXT, C(fleet.nvml), NULL, 0, 0, NULL, "NVIDIA's management library, or off; unset: libnvidia-ml.so.1 where there is one" },
};
static const struct option keys_options[] = {
    { "file", OPTION_PATH, C(keys_options.file), NULL, 0, 0, NULL, "the file of virtual keys; unset: keys.yaml beside the ledger" },
    { "admin_file", OPTION_PATH, C(keys_options.admin_file), NULL, 0, 0, NULL, "the admin key, which opens /hearth/… and /metrics; unset: admin.key beside the ledger. hearth key admin makes it" },
    { "required", OPTION_TRUTH, C(keys_options.required), NULL, 0, 0, NULL, "whether calls over TCP need a key; unset: as soon as there is one" },
    { "listen_open", OPTION_BOOL, C(keys_options.listen_open), "false", 0, 0, NULL, "serve an address that others can reach although no key is required: anybody there may use every model" },
};
static const struct option streams_options[] = {
    { "quiet", OPTION_DURATION, C(streams.quiet_ms), "15s", 0, 0, NULL,
      "a stream that its upstream has begun and that says nothing for so long gets a sign of life; one that comes first commits the status 200, so no other try follows it" },
    { "pings", OPTION_BOOL, C(streams.pings), "true", 0, 0, NULL, "Anthropic's clients get a ping event, which is a part of that API" },
    { "comments", OPTION_BOOL, C(streams.comments), "false", 0, 0, NULL, "OpenAI's clients get an SSE comment; naive ones read every line as JSON and fail at it" },
};
static const struct option prompts_options[] = {
    { "file", OPTION_PATH, C(prompt_options.file), NULL, 0, 0, NULL, "the registry: JSON lines that are only added to; unset: prompts.jsonl beside the ledger" },
    { "dir", OPTION_PATH, C(prompt_options.dir), NULL, 0, 0, NULL, "a folder of NAME.md, NAME.txt or NAME.prompt: what changes there becomes a new version" },
};
static const struct option pull_options[] = {
    { "hub", OPTION_URL, C(pull.hub), NULL, 0, 0, NULL, "a hub or a mirror of one that speaks Hugging Face's protocol; unset: HF_ENDPOINT, else https://huggingface.co. HF_TOKEN goes there and nowhere else" },
    { "registry", OPTION_URL, C(pull.registry), "https://registry.ollama.ai", 0, 0, NULL, "where models named ollama:NAME come from" },
    { "parallel", OPTION_INT, C(pull.parallel), "4", 1, 16, NULL, "ranges of a file that are fetched at once" },
    { "tries", OPTION_INT, C(pull.tries), "6", 1, 100, NULL, "failures in a row, without progress between them, after which it gives up" },
    { "connect", OPTION_DURATION, C(pull.connect_ms), "10s", 0, 0, NULL, "to make a connection" },
    { "stall", OPTION_DURATION, C(pull.stall_ms), "30s", 0, 0, NULL, "a transfer that brings nothing for so long is begun again where it stood" },
    { "proxy", OPTION_PROXY, C(pull.proxy), "env", 0, 0, NULL, "a proxy, or env for what the environment says" },
    { "ca_file", OPTION_PATH, C(pull.ca_file), NULL, 0, 0, NULL, "certificates to trust instead of the system's" },
};
static const struct option log_options[] = {
    { "level", OPTION_WORD, C(log_level), "info", 0, 0, level_words, "what is logged on standard error" },
    { "format", OPTION_WORD, C(log_format), "text", 0, 0, format_words, "key=value, or a JSON object a line" },
};

struct provider_entry {
    int api, zone;
    str url, proxy, ca_file;
    struct option_secret key;
    int64_t connect_ms, first_byte_ms, gap_ms;
    struct managed_entry managed;
};
#define P(f) offsetof(struct provider_entry, f)
static const struct option provider_options[] = {
    { "api", OPTION_WORD, P(api), NULL, 0, 0, api_words, "what it speaks; embedded is hearth's own engine; vllm and llamacpp (llama-server) also count prompts for Anthropic's clients" },
    { "url", OPTION_URL, P(url), NULL, 0, 0, NULL, "http(s)://host:port/path, or unix:/path; /v1 is added when there is no path; none where hearth starts it" },
    { "key", OPTION_SECRET, P(key), NULL, 0, 0, NULL, "sent as a bearer token" },
    { "zone", OPTION_WORD, P(zone), NULL, 0, 0, zone_words, "where bytes go: unset, a loopback address is machine and everything else cloud; private calls need it written" },
    { "proxy", OPTION_PROXY, P(proxy), NULL, 0, 0, NULL, "cloud only: a proxy, or env for what the environment says; unset: none" },
    { "ca_file", OPTION_PATH, P(ca_file), NULL, 0, 0, NULL, "certificates to trust instead of the system's" },
    { "connect", OPTION_DURATION, P(connect_ms), NULL, 0, 0, NULL, "as upstream.connect, for this one" },
    { "first_byte", OPTION_DURATION, P(first_byte_ms), NULL, 0, 0, NULL, "as upstream.first_byte" },
    { "gap", OPTION_DURATION, P(gap_ms), NULL, 0, 0, NULL, "as upstream.gap" },
    MANAGED_OPTIONS(P(managed)),
};

struct price_entry { double input, output; };
static const struct option adapter_options[] = {     /* for the manual: the names are the user's */
    { "NAME", OPTION_PATH, 0, NULL, 0, 0, NULL, "the adapter's file, relative to this one or to models_dir" },
};
static const struct option price_options[] = {
    { "input", OPTION_MONEY, offsetof(struct price_entry, input), NULL, 0, 0, NULL, "dollars per million tokens" },
    { "output", OPTION_MONEY, offsetof(struct price_entry, output), NULL, 0, 0, NULL, "dollars per million tokens" },
};
struct model_entry { str provider, id, file, chat_template, tools, fallback; struct engine_entry engine; struct option_list replicas; size_t memory; int gpu, guard; bool pin; int64_t context, threads, slots, retries, concurrency, queue, queue_ms; struct price_entry price; };
#define M(f) offsetof(struct model_entry, f)
static const struct option model_options[] = {
    { "provider", OPTION_TEXT, M(provider), NULL, 0, 0, NULL, "a name from providers; a model with a file needs none" },
    { "replicas", OPTION_LIST, M(replicas), NULL, 0, 0, NULL,
      "more providers that have the same model under the same id, in the same zone: calls that begin alike go to the same one, unless it is busier than the others" },
    { "id", OPTION_TEXT, M(id), NULL, 0, 0, NULL, "the provider's own name for it; unset: the same" },
    { "file", OPTION_TEXT, M(file), NULL, 0, 0, NULL, "embedded and started by hearth: a GGUF, relative to this file or to models_dir; vLLM takes a folder" },
    { "chat_template", OPTION_TEXT, M(chat_template), NULL, 0, 0, NULL, "embedded: a family by name (chatml, llama3, mistral-v7 …) when the file's own is unknown" },
    { "tools", OPTION_TEXT, M(tools), NULL, 0, 0, NULL, "embedded: how the model calls tools: hermes, llama3, mistral or generic; unset: as its own template shows" },
    { "context", OPTION_INT, M(context), "0", 0, 10000000, NULL, "embedded and started by hearth: tokens for each sequence; 0: the engine's choice" },
    { "threads", OPTION_INT, M(threads), "0", 0, 1024, NULL, "embedded and started by hearth: 0 for an equal share of fleet.threads" },
    { "slots", OPTION_INT, M(slots), "0", 0, 256, NULL, "embedded and started by hearth: sequences at once; 0: the engine's choice" },
    { "memory", OPTION_SIZE, M(memory), "0", 0, 0, NULL, "embedded and started by hearth: what it needs, where it runs; 0: as measured when it was loaded, before that estimated from the file" },
    ENGINE_MODEL_OPTIONS(M(engine)),
    { "gpu", OPTION_WORD, M(gpu), "auto", 0, 0, gpu_words, "embedded and started by hearth: auto as its server does, on: one GPU alone, off: none" },
    { "pin", OPTION_BOOL, M(pin), "false", 0, 0, NULL, "embedded and started by hearth: once loaded it is not sent away to make room" },
    { "retries", OPTION_INT, M(retries), "2", 0, 6, NULL, "tries after a failed one, before anything of an answer was seen; the fallbacks' count too" },
    { "concurrency", OPTION_INT, M(concurrency), "0", 0, 1000000, NULL, "calls at once, from all clients; 0: no limit (a local engine has its slots)" },
    { "queue", OPTION_INT, M(queue), "64", 0, 1000000, NULL, "calls that may wait for their turn; further ones get 429 with the time that it may take" },
    { "queue_time", OPTION_DURATION, M(queue_ms), "30s", 0, 0, NULL, "how long one waits" },
    { "fallback", OPTION_TEXT, M(fallback), NULL, 0, 0, NULL, "the model that is asked when this one fails, where its zone may have the call; then that one's own fallback" },
    { "guard", OPTION_WORD, M(guard), NULL, 0, 0, guard_words, "as guard.cloud, for this model; unset: nothing of its own" },
};

struct task_entry { int risk, data, priority, guard; bool deterministic, share_prefix; str reference, candidate, model, prompt; int64_t deadline_ms, retries; };
#define T(f) offsetof(struct task_entry, f)
static const struct option task_options[] = {
    { "risk", OPTION_WORD, T(risk), "medium", 0, 0, risk_words, "recorded; the canary will ask for it" },
    { "data", OPTION_WORD, T(data), "internal", 0, 0, data_words, "private never reaches a cloud zone" },
    { "reference", OPTION_TEXT, T(reference), NULL, 0, 0, NULL, "the model whose answers are the standard" },
    { "candidate", OPTION_TEXT, T(candidate), NULL, 0, 0, NULL, "the model that may take over; it answers where the reference is not allowed" },
    { "model", OPTION_TEXT, T(model), NULL, 0, 0, NULL, "one fixed model instead of the two" },
    { "priority", OPTION_WORD, T(priority), "interactive", 0, 0, priority_words, "batch: where calls wait for a model, others go first; x-hearth-priority says it for one call" },
    { "deterministic", OPTION_BOOL, T(deterministic), "false", 0, 0, NULL, "its calls give the same bytes again, at any load; its models must be embedded" },
    { "share_prefix", OPTION_BOOL, T(share_prefix), "false", 0, 0, NULL, "its system messages are no secret among the keys: what an engine has read of them serves all; never of private calls" },
    { "deadline", OPTION_DURATION, T(deadline_ms), NULL, 0, 0, NULL, "for the whole answer, waits and tries included; unset: only the upstream's own" },
    { "retries", OPTION_INT, T(retries), "-1", -1, 6, NULL, "tries after a failed one; -1: as its model says" },
    { "prompt", OPTION_TEXT, T(prompt), NULL, 0, 0, NULL,
      "name@label: what hearth_variables of its calls are put into. Calls that bring only messages are left as they are; the name is recorded, without a version" },
    { "guard", OPTION_WORD, T(guard), NULL, 0, 0, guard_words, "as guard.cloud, for calls of this task; unset: nothing of its own" },
    { "graders", OPTION_IGNORED, 0, NULL, 0, 0, NULL, "read by the evaluation, which comes later" },
    { "after", OPTION_IGNORED, 0, NULL, 0, 0, NULL, "read by the canary, which comes later" },
};

/* ---- loading ---- */

struct loader {
    struct option_reader r;
    struct config *c;
    struct provider_entry *providers;   /* one per policy.providers */
    struct model_entry *models;         /* one per model that is written; adapters and replicas come behind them in policy.models */
    size_t n_models;
    struct task_entry *tasks;
    struct guard_entry guard;
    struct routes routes;
};

static const struct { const char *key; const struct option *table; size_t n; } sections[] = {
    { "ledger", ledger_options, COUNT(ledger_options) }, { "limits", limit_options, COUNT(limit_options) }, { "upstream", upstream_options, COUNT(upstream_options) },
    { "streams", streams_options, COUNT(streams_options) }, { "engine", engine_options, COUNT(engine_options) }, { "fleet", fleet_options, COUNT(fleet_options) }, { "keys", keys_options, COUNT(keys_options) },
    { "prompts", prompts_options, COUNT(prompts_options) }, { "pull", pull_options, COUNT(pull_options) }, { "log", log_options, COUNT(log_options) },
};

static const char *var(struct loader *l, const char *name)
{
    const char *v = l->r.env->var(l->r.env->ctx, name);
    return v && *v ? v : NULL;
}

static str join(struct loader *l, const char *a, const char *b) { return str_of(arena_cstr(l->r.a, arena_printf(l->r.a, "%s%s", a, b))); }

/* Where things lie when nothing is written. */
static void places(struct loader *l)
{
    struct config *c = l->c;
    const char *home = var(l, "HOME"), *data = var(l, "XDG_DATA_HOME"), *run = var(l, "XDG_RUNTIME_DIR"), *user = var(l, "HEARTH_UID");
    str base = data ? join(l, data, "/hearth") : join(l, home ? home : "/tmp", "/.local/share/hearth");
    if (!c->ledger.path.n)
        c->ledger.path = join(l, base.p, "/hearth.db");
    if (!c->engine.run_dir.n)
        c->engine.run_dir = run ? join(l, run, "/hearth") : join(l, "/tmp/hearth-", user ? user : "0");
    if (!c->engine.log_dir.n)
        c->engine.log_dir = join(l, base.p, "/log");
    if (!c->engine.digests.n)
        c->engine.digests = join(l, base.p, "/digests");
}

/* The number of entries of a map of names; anything else that is written there is a mistake. */
static size_t members(struct loader *l, const struct yaml_node *map)
{
    if (map && map->kind != YAML_MAP && !yaml_is_null(map))
        yaml_complain(l->r.report, map->at, "%.*s must be a map of names", STR_ARG(map->key));
    return map && map->kind == YAML_MAP ? map->n : 0;
}

static bool is_name(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || memchr("._:/@+-", c, 7)))
            return false;
    }
    return s.n > 0 && s.n <= 128 && !str_eq(s, S("default")) && !str_eq(s, S("auto")) && !str_starts(s, S("task/"));
}

static void check_name(struct loader *l, const struct yaml_node *m)
{
    if (!is_name(m->key))
        yaml_complain(l->r.report, m->key_at, "a name has letters, digits and . _ : / @ + - and is neither default, auto nor task/…");
}

static bool is_loopback_url(str url)
{
    struct http_origin o;
    struct io_addr a;
    char text[300];
    if (http_origin_parse(url, &o) != ERR_OK)
        return false;
    if (*o.unix_path || strcmp(o.host, "localhost") == 0)
        return true;
    snprintf(text, sizeof text, strchr(o.host, ':') ? "[%s]:1" : "%s:1", o.host);
    return io_addr_parse(str_of(text), &a) == ERR_OK && a.loopback;
}

/* The URL with "/v1" where it has no path: people write both. Those of Anthropic and Ollama are written without, and their targets say it. */
static str whole_url(struct loader *l, int api, str url)
{
    struct http_origin o;
    if (!url.n || api == API_ANTHROPIC || api == API_OLLAMA || http_origin_parse(url, &o) != ERR_OK || *o.base || *o.unix_path)
        return url;
    while (url.p[url.n - 1] == '/')
        url.n--;
    return str_of(arena_cstr(l->r.a, arena_printf(l->r.a, "%.*s/v1", STR_ARG(url))));
}

static enum err make_provider(struct loader *l, const struct yaml_node *m, struct provider_entry *e, struct provider *p)
{
    struct managed *managed = NULL;
    enum err err = managed_load(&l->r, m, &e->managed, api_words, &e->api, &managed);
    if (err)
        return err;
    if (managed && e->url.n)
        yaml_complain(l->r.report, m->key_at, "provider %.*s is started by hearth: it has no url", STR_ARG(m->key));
    if (e->api < 0)
        yaml_complain(l->r.report, m->key_at, "provider %.*s needs an api: embedded, openai, vllm, llamacpp, ollama or anthropic", STR_ARG(m->key));
    if (e->api == API_ANTHROPIC && !e->url.n)
        e->url = S("https://api.anthropic.com");
    if (e->api == API_OPENAI && !e->url.n && !managed)
        e->url = S("https://api.openai.com/v1");
    if (e->api > API_EMBEDDED && !e->url.n && !managed)
        yaml_complain(l->r.report, m->key_at, "provider %.*s needs a url", STR_ARG(m->key));
    if (e->api == API_EMBEDDED && (e->url.n || e->zone > 0))
        yaml_complain(l->r.report, m->key_at, "provider %.*s is embedded: it has no url, and its zone is this machine", STR_ARG(m->key));
    e->url = whole_url(l, e->api, e->url);
    *p = (struct provider){ .name = m->key, .api = e->api < 0 ? API_OPENAI : (enum provider_api)e->api, .url = e->url, .key = e->key.value, .proxy = e->proxy,
                            .ca_file = e->ca_file, .connect_ms = e->connect_ms, .first_byte_ms = e->first_byte_ms, .gap_ms = e->gap_ms,
                            .managed = managed, .idle_ms = e->managed.idle_ms };
    /* A preset is known to answer by itself; a program of one's own may ask anybody, so it counts like a loopback address. */
    bool here = e->api == API_EMBEDDED || (managed && managed->kind.n && e->zone < 0);
    p->zone_written = e->zone >= 0 || here;
    p->zone = here ? ZONE_MACHINE : e->zone >= 0 ? (enum zone)e->zone : managed || is_loopback_url(e->url) ? ZONE_MACHINE : ZONE_CLOUD;
    if (p->proxy.n && p->zone != ZONE_CLOUD)
        yaml_complain(l->r.report, m->key_at, "provider %.*s: a proxy is for the cloud zone only", STR_ARG(m->key));
    return ERR_OK;
}

static enum err load_providers(struct loader *l, const struct yaml_node *map)
{
    size_t n = members(l, map), i = 0;
    struct provider *list = arena_new(l->r.a, struct provider, n + 1);
    l->providers = arena_new(l->r.a, struct provider_entry, n + 1);
    if (!list || !l->providers)
        return ERR_LIMIT;
    for (const struct yaml_node *m = n ? map->first : NULL; m; m = m->next, i++) {
        enum err e = option_read(&l->r, provider_options, COUNT(provider_options), m, NULL, &l->providers[i]);
        if (e)
            return e;
        check_name(l, m);
        if ((e = make_provider(l, m, &l->providers[i], &list[i])))
            return e;
    }
    l->c->policy.providers = list;
    l->c->policy.n_providers = n;
    return ERR_OK;
}

/* A model with a file and no provider runs here; the provider for that need not be written. */
static void add_embedded(struct loader *l, const struct yaml_node *model)
{
    struct policy *p = &l->c->policy;
    for (size_t i = 0; i < p->n_providers; i++)
        if (p->providers[i].api == API_EMBEDDED)
            return;
    for (size_t i = 0; i < p->n_providers; i++)
        if (str_eq(p->providers[i].name, S("here")))
            yaml_complain(l->r.report, model->key_at, "model %.*s runs on this machine, which is called here: rename the provider that has this name, or give the model an embedded provider",
                          STR_ARG(model->key));
    struct provider *list = (struct provider *)(uintptr_t)p->providers;
    l->providers[p->n_providers] = (struct provider_entry){ .api = API_EMBEDDED, .zone = -1 };
    list[p->n_providers++] = (struct provider){ .name = S("here"), .api = API_EMBEDDED, .zone = ZONE_MACHINE, .zone_written = true };
}

static const struct provider *find_provider(struct loader *l, const struct yaml_node *m, const struct model_entry *e)
{
    const struct policy *p = &l->c->policy;
    const char *words[64];
    char hint[OPTION_HINT];
    for (size_t i = 0; i < p->n_providers; i++)
        if (e->provider.n ? str_eq(p->providers[i].name, e->provider) : e->file.n && p->providers[i].api == API_EMBEDDED)
            return &p->providers[i];
    for (size_t i = 0; i < p->n_providers && i < 64; i++)
        words[i] = p->providers[i].name.p;
    option_hint(e->provider, words, p->n_providers < 64 ? p->n_providers : 64, hint);
    if (e->provider.n)
        yaml_complain(l->r.report, m->key_at, "model %.*s: there is no provider %.*s%s", STR_ARG(m->key), STR_ARG(e->provider), hint);
    else
        yaml_complain(l->r.report, m->key_at, "model %.*s needs a provider, or a file", STR_ARG(m->key));
    return NULL;
}

/* Relative to the configuration, then in each of models_dir. What a server of another make takes may be a folder: it will say whether it likes it. */
static enum err find_file(struct loader *l, const struct yaml_node *m, const struct provider *p, str file, str *out)
{
    enum err e = option_path(&l->r, file, out);
    if (e || l->r.env->is_file(l->r.env->ctx, out->p) || (p && p->managed && !str_ends(file, S(".gguf"))))
        return e;
    for (size_t i = 0; i < l->c->n_models_dir; i++) {
        str other = str_of(arena_cstr(l->r.a, arena_printf(l->r.a, "%.*s/%.*s", STR_ARG(l->c->models_dir[i]), STR_ARG(file))));
        if (other.p && l->r.env->is_file(l->r.env->ctx, other.p)) {
            *out = other;
            return ERR_OK;
        }
    }
    yaml_complain(l->r.report, m->key_at, "model %.*s: there is no file %.*s", STR_ARG(m->key), STR_ARG(*out));
    return ERR_OK;
}

static enum err find_adapter(void *ctx, const struct yaml_node *at, str file, str *path) { return find_file(ctx, at, NULL, file, path); }

static enum err load_models(struct loader *l, const struct yaml_node *map)
{
    static const char *const also[] = { "price", "adapters", NULL };
    size_t n = members(l, map), i = 0, more = 0, adapters = 0;
    for (const struct yaml_node *m = n ? map->first : NULL; m; m = m->next) {
        const struct yaml_node *r = yaml_member(m->kind == YAML_MAP ? m : NULL, S("replicas"));
        more += (!r ? 0 : r->kind == YAML_LIST ? r->n : 1) + engine_adapters_count(m);
    }
    struct model *list = arena_new(l->r.a, struct model, n + more + 1);
    l->models = arena_new(l->r.a, struct model_entry, n + 1);
    if (!list || !l->models)
        return ERR_LIMIT;
    for (const struct yaml_node *m = n ? map->first : NULL; m; m = m->next, i++) {
        struct model_entry *x = &l->models[i];
        enum err e = option_read(&l->r, model_options, COUNT(model_options), m, also, x);
        if (!e)
            e = option_read(&l->r, price_options, COUNT(price_options), yaml_member(m, S("price")), NULL, &x->price);
        if (e)
            return e;
        check_name(l, m);
        if (x->file.n && !x->provider.n)
            add_embedded(l, m);
        const struct provider *p = find_provider(l, m, x);
        if (x->file.n && (e = find_file(l, m, p, x->file, &x->file)))
            return e;
        list[i] = (struct model){ .name = m->key, .provider = p, .id = x->id, .file = x->file, .chat_template = x->chat_template, .tools = x->tools,
                                  .context = x->context, .threads = x->threads, .slots = x->slots, .memory = (int64_t)x->memory, .gpu = x->gpu, .pin = x->pin, .retries = x->retries, .concurrency = x->concurrency, .queue = x->queue, .queue_ms = x->queue_ms,
                                  .price_input = x->price.input, .price_output = x->price.output };
        if (p && !p->managed && (p->api == API_EMBEDDED) != (x->file.n > 0))
            yaml_complain(l->r.report, m->key_at, "model %.*s: a file belongs to an embedded provider, or one that hearth starts, and an embedded model needs one", STR_ARG(m->key));
        if ((e = engine_entry_load(&l->r, m, &x->engine, &list[i])) || (e = engine_adapters_load(&l->r, m, &list[i], &list[n + adapters], find_adapter, l)))
            return e;
        adapters += list[i].n_adapters;
    }
    l->c->policy.models = list;
    l->n_models = n;
    l->c->policy.n_models = l->c->policy.n_all = n + adapters;
    return ERR_OK;
}

static const struct model *find_model(struct loader *l, struct yaml_place at, const char *what, str name)
{
    const char *words[64];
    char hint[OPTION_HINT];
    const struct policy *p = &l->c->policy;
    if (!name.n)
        return NULL;
    const struct model *m = policy_model(p, name);
    for (size_t i = 0; i < p->n_models && i < 64; i++)
        words[i] = p->models[i].name.p;
    option_hint(name, words, p->n_models < 64 ? p->n_models : 64, hint);
    if (!m)
        yaml_complain(l->r.report, at, "%s: there is no model %.*s%s", what, STR_ARG(name), hint);
    return m;
}

/* When all models are known. */
static void link_fallbacks(struct loader *l, const struct yaml_node *map)
{
    struct model *list = (struct model *)(uintptr_t)l->c->policy.models;
    size_t i = 0;
    for (const struct yaml_node *m = l->c->policy.n_models ? map->first : NULL; m; m = m->next, i++) {
        list[i].fallback = find_model(l, m->key_at, "fallback", l->models[i].fallback);
        if (list[i].fallback == &list[i])
            yaml_complain(l->r.report, m->key_at, "model %.*s: its fallback is itself", STR_ARG(m->key));
    }
    for (; i < l->c->policy.n_models; i++)
        list[i].fallback = list[i].base->fallback;
}

/* A replica is its model but for the provider. When all fallbacks are known. */
static void add_replicas(struct loader *l, const struct yaml_node *map)
{
    struct policy *p = &l->c->policy;
    struct model *list = (struct model *)(uintptr_t)p->models;
    size_t i = 0;
    for (const struct yaml_node *m = p->n_models ? map->first : NULL; m; m = m->next, i++) {
        const struct option_list *names = &l->models[i].replicas;
        list[i].replicas = names->n ? &list[p->n_all] : NULL;
        for (size_t k = 0; k < names->n; k++) {
            const struct model_entry wanted = { .provider = names->v[k] };
            const struct provider *v = find_provider(l, m, &wanted);
            bool again = v == list[i].provider;
            for (size_t j = 0; j < list[i].n_replicas; j++)
                again |= list[i].replicas[j].provider == v;
            if (v && list[i].provider && (again || v->zone != list[i].provider->zone || (v->api == API_EMBEDDED || list[i].provider->api == API_EMBEDDED)))
                yaml_complain(l->r.report, m->key_at, "model %.*s: replicas are at different providers of one zone, none of them embedded", STR_ARG(m->key));
            struct model *r = &list[p->n_all++];
            *r = list[i];
            r->provider = v;
            r->main = &list[i];
            r->replicas = NULL;
            r->n_replicas = 0;
            list[i].n_replicas++;
        }
    }
}

static enum err load_tasks(struct loader *l, const struct yaml_node *map)
{
    size_t n = members(l, map), i = 0;
    struct task *list = arena_new(l->r.a, struct task, n + 1);
    l->tasks = arena_new(l->r.a, struct task_entry, n + 1);
    if (!list || !l->tasks)
        return ERR_LIMIT;
    for (const struct yaml_node *m = n ? map->first : NULL; m; m = m->next, i++) {
        struct task_entry *x = &l->tasks[i];
        enum err e = option_read(&l->r, task_options, COUNT(task_options), m, NULL, x);
        if (e)
            return e;
        check_name(l, m);
        list[i] = (struct task){ .name = m->key, .risk = (enum risk)x->risk, .data = (enum data_class)x->data, .prompt = x->prompt, .deadline_ms = x->deadline_ms,
                                 .retries = x->retries, .batch = x->priority == 1, .deterministic = x->deterministic, .share_prefix = x->share_prefix,
                                 .reference = find_model(l, m->key_at, "reference", x->reference), .candidate = find_model(l, m->key_at, "candidate", x->candidate),
                                 .fixed = find_model(l, m->key_at, "model", x->model) };
        if (x->model.n ? x->reference.n || x->candidate.n : !x->reference.n)
            yaml_complain(l->r.report, m->key_at, "task %.*s needs either model, or reference (and candidate)", STR_ARG(m->key));
    }
    l->c->policy.tasks = list;
    l->c->policy.n_tasks = n;
    return ERR_OK;
}

static enum err load_dirs(struct loader *l, const struct yaml_node *n)
{
    str *list = arena_new(l->r.a, str, 3), own[2];
    if (!list)
        return ERR_LIMIT;
    if (n && n->kind == YAML_SCALAR) {
        enum err e = option_text(&l->r, n, &list[0]);
        if (!e)
            e = option_path(&l->r, list[0], &list[0]);
        if (e)
            return e;
        l->c->n_models_dir++;
    } else if (n) {
        yaml_complain(l->r.report, n->at, "models_dir must be a path");
    }
    discover_folders(l->r.a, l->r.env, own);
    for (size_t i = 0; i < 2; i++)
        list[l->c->n_models_dir++] = str_of(arena_cstr(l->r.a, own[i]));
    l->c->models_dir = list;
    return ERR_OK;
}

static void check_whole(struct loader *l)
{
    str why;
    struct config *c = l->c;
    if (l->r.report->n == 0 && policy_check(l->r.a, &c->policy, &why) == ERR_PRIVATE)
        yaml_complain(l->r.report, (struct yaml_place){ 0 }, "%.*s", STR_ARG(why));
    if (io_addr_parse(c->listen_text, &c->listen) == ERR_OK && c->listen.is_unix)
        yaml_complain(l->r.report, (struct yaml_place){ 0 }, "listen: %.*s is a path; an address and a port are served", STR_ARG(c->listen_text));
}

static str beside_ledger(struct loader *l, const char *name)
{
    const char *path = l->c->ledger.path.p, *end = strrchr(path, '/');
    return str_of(arena_cstr(l->r.a, arena_printf(l->r.a, "%.*s/%s", end ? (int)(end - path) : 1, end ? path : ".", name)));
}

/* Adapters and replicas have the word of the model that they belong to. */
static enum err load_guard(struct loader *l, const struct yaml_node *section)
{
    struct config *c = l->c;
    const struct policy *p = &c->policy;
    struct guard_rules *models = arena_new(l->r.a, struct guard_rules, p->n_all + 1), *tasks = arena_new(l->r.a, struct guard_rules, p->n_tasks + 1);
    str vault = beside_ledger(l, "guard.db"), key = beside_ledger(l, "guard.key");
    if (!models || !tasks || !vault.p || !key.p)
        return ERR_LIMIT;
    enum err e = guard_load(&l->r, section, vault, key, &l->guard, &c->guard);
    for (size_t i = 0; i < p->n_all; i++) {
        const struct model *m = &p->models[i], *own = m->main ? m->main : m->base ? m->base : m;
        models[i] = guard_rules_of(l->models[own - p->models].guard);
    }
    for (size_t i = 0; i < p->n_tasks; i++)
        tasks[i] = guard_rules_of(l->tasks[i].guard);
    c->guard.models = models;
    c->guard.tasks = tasks;
    struct guard_entry *kept = arena_new(l->r.a, struct guard_entry, 1);
    if (!kept)
        return ERR_LIMIT;
    *kept = l->guard;
    c->guard_entry = kept;
    return e;
}

/* Whoever may look has to be there, and to hold what is private; and without one, mask+model would let nothing leave. */
static void check_looking(struct loader *l, const struct yaml_node *root)
{
    const struct config *c = l->c;
    const struct yaml_node *section = yaml_member(root, S("guard")), *named = yaml_member(section, S("model"));
    const struct model *m = policy_model(&c->policy, c->guard.model);
    bool asked = c->guard.all.action == GUARD_MASK_MODEL;
    for (size_t i = 0; i < c->policy.n_all; i++)
        asked |= c->guard.models[i].action == GUARD_MASK_MODEL;
    for (size_t i = 0; i < c->policy.n_tasks; i++)
        asked |= c->guard.tasks[i].action == GUARD_MASK_MODEL;
    if (c->guard.model.n && !m)
        yaml_complain(l->r.report, named->at, "guard.model: there is no model %.*s", STR_ARG(c->guard.model));
    else if (m && m->provider && !provider_holds_private(m->provider))
        yaml_complain(l->r.report, named->at, "guard.model: %.*s is not in the machine or private zone, or its zone is not written", STR_ARG(c->guard.model));
    else if (asked && !m)
        yaml_complain(l->r.report, section ? section->at : root->at, "mask+model needs guard.model, the model that looks: without it nothing would leave");
}

static enum err load_prompts(struct loader *l, struct buf *errors)
{
    struct config *c = l->c;
    if (!c->prompt_options.file.n)
        c->prompt_options.file = beside_ledger(l, "prompts.jsonl");
    return c->prompt_options.file.p ? prompt_file_load(l->r.a, l->r.env, c->prompt_options.file.p, errors, &c->prompts) : ERR_LIMIT;
}

/* Keys, and whether they are required. */
static enum err load_keys(struct loader *l, struct buf *errors)
{
    struct config *c = l->c;
    struct key_file f;
    if (!c->keys_options.file.n)
        c->keys_options.file = beside_ledger(l, "keys.yaml");
    enum err e = c->keys_options.file.p ? key_file_load(l->r.a, l->r.env, c->keys_options.file.p, errors, &f) : ERR_LIMIT;
    if (!e)
        e = key_file_list(l->r.a, &f, &c->policy, c->keys_options.file.p, errors, &c->keys);
    if (!c->keys_options.admin_file.n)
        c->keys_options.admin_file = beside_ledger(l, "admin.key");
    if (!e)
        e = c->keys_options.admin_file.p ? admin_key_load(l->r.a, l->r.env, c->keys_options.admin_file.p, errors, &c->keys) : ERR_LIMIT;
    c->keys.required = c->keys_options.required < 0 ? c->keys.n > 0 : c->keys_options.required == 1;
    return e;
}

bool config_may_listen(const struct config *c, const struct io_addr *a) { return a->loopback || (c->keys.required && c->keys.n) || c->keys_options.listen_open; }

/* ---- the canonical text ---- */

static void write_named(struct option_writer *w, const char *key, size_t n, str (*name)(const struct policy *p, size_t i), const struct loader *l,
                        const struct option *table, size_t n_table, const void *entries, size_t size)
{
    if (!n)
        return;
    option_open(w, str_of(key));
    for (size_t i = 0; i < n; i++) {
        option_open(w, name(&l->c->policy, i));
        option_write(w, table, n_table, (const char *)entries + i * size);
        const struct price_entry *price = table == model_options ? &((const struct model_entry *)entries)[i].price : NULL;
        if (price && (!isnan(price->input) || !isnan(price->output))) {
            option_open(w, S("price"));
            option_write(w, price_options, COUNT(price_options), price);
            option_close(w);
        }
        if (price)
            engine_adapters_write(w, &l->c->policy.models[i]);
        option_close(w);
    }
    option_close(w);
}

static str provider_name(const struct policy *p, size_t i) { return p->providers[i].name; }
static str model_name(const struct policy *p, size_t i) { return p->models[i].name; }
static str task_name(const struct policy *p, size_t i) { return p->tasks[i].name; }

static enum err canonical(struct loader *l)
{
    struct buf yaml, text;
    struct json_out out;
    struct config *c = l->c;
    buf_init(&yaml, 8u << 20);
    buf_init(&text, 8u << 20);
    json_out_init(&out, &text);
    struct option_writer w = { &yaml, &out, 0 };
    json_open(&out, '{');
    option_write(&w, top, COUNT(top), c);
    option_put(&w, S("models_dir"), c->models_dir[0], false);
    if (!l->routes.default_name.n && c->policy.default_model)
        l->routes.default_name = c->policy.default_model->name;
    routes_write_default(&w, &l->routes);
    for (size_t i = 0; i < COUNT(sections); i++) {
        option_open(&w, str_of(sections[i].key));
        option_write(&w, sections[i].table, sections[i].n, c);
        option_close(&w);
    }
    guard_write(&w, &l->guard);
    write_named(&w, "providers", c->policy.n_providers, provider_name, l, provider_options, COUNT(provider_options), l->providers, sizeof *l->providers);
    write_named(&w, "models", l->n_models, model_name, l, model_options, COUNT(model_options), l->models, sizeof *l->models);
    write_named(&w, "tasks", c->policy.n_tasks, task_name, l, task_options, COUNT(task_options), l->tasks, sizeof *l->tasks);
    routes_write(&w, &c->policy, &l->routes);
    json_close(&out, '}');
    c->text = arena_str(l->r.a, buf_str(&yaml));
    c->json = arena_str(l->r.a, buf_str(&text));
    c->policy.hash = sha256_of(c->text);
    enum err e = out.err ? out.err : yaml.failed || !c->text.p || !c->json.p ? ERR_LIMIT : ERR_OK;
    buf_free(&yaml);
    buf_free(&text);
    return e;
}

/* ---- entry points ---- */

static enum err load_sections(struct loader *l, const struct yaml_node *root)
{
    static const char *const also[] = { "ledger", "limits", "upstream", "streams", "engine", "fleet", "keys", "prompts", "pull", "log", "guard", "providers", "models", "tasks", "models_dir", "default", "aliases", "auto", NULL };
    struct config *c = l->c;
    c->limits = http_limits_default;
    c->upstream = http_client_limits_default;
    c->threads = l->r.env->cores < 4 ? l->r.env->cores : 4;
    if (c->threads < 1)
        c->threads = 1;
    enum err e = option_read(&l->r, top, COUNT(top), root, also, c);
    for (size_t i = 0; i < COUNT(sections) && !e; i++)
        e = option_read(&l->r, sections[i].table, sections[i].n, yaml_member(root, str_of(sections[i].key)), NULL, c);
    places(l);
    if (!e)
        e = load_dirs(l, yaml_member(root, S("models_dir")));
    if (!e)
        e = load_providers(l, yaml_member(root, S("providers")));
    if (!e)
        e = load_models(l, yaml_member(root, S("models")));
    if (!e)
        link_fallbacks(l, yaml_member(root, S("models")));
    if (!e)
        add_replicas(l, yaml_member(root, S("models")));
    if (!e)
        e = load_tasks(l, yaml_member(root, S("tasks")));
    if (!e)
        e = load_guard(l, yaml_member(root, S("guard")));
    if (!e)
        check_looking(l, root);
    return e ? e : routes_load(&l->r, root, &l->c->policy, &l->routes);
}

enum err config_load_text(struct arena *a, str text, const char *path, const struct config_env *env, struct config **out, struct buf *errors)
{
    struct yaml_report report = { .out = errors, .file = str_of(path), .max = CONFIG_ERRORS };
    struct loader l = { .r = { .a = a, .env = env, .report = &report } };
    struct yaml_node *root = NULL;
    char *slash = arena_cstr(a, str_of(path));
    l.c = arena_new(a, struct config, 1);
    if (!l.c || !slash)
        return ERR_LIMIT;
    char *end = strrchr(slash, '/');
    l.r.dir = end ? (str){ slash, (size_t)(end - slash) } : str_of(env->cwd);
    l.c->path = str_of(arena_cstr(a, str_of(path)));
    enum err e = text.n > CONFIG_BYTES ? ERR_LIMIT : yaml_read(a, text, &report, &root);
    if (!e && root && root->kind != YAML_MAP) {
        yaml_complain(&report, root->at, "the configuration must be a map of options");
        e = ERR_SYNTAX;
    }
    if (!e)
        e = load_sections(&l, root);
    if (!e)
        check_whole(&l);
    if (!e && !report.n)
        e = load_keys(&l, errors);
    if (!e && !report.n)
        e = load_prompts(&l, errors);
    if (!e && report.n)
        e = ERR_SYNTAX;
    if (!e)
        e = canonical(&l);
    yaml_complain_end(&report);
    if (!e)
        *out = l.c;
    return e;
}

static enum err try_file(struct arena *a, const char *path, const struct config_env *env, struct config **out, struct buf *errors)
{
    str text;
    unsigned mode;
    char *whole = *path == '/' ? arena_cstr(a, str_of(path)) : arena_cstr(a, arena_printf(a, "%s/%s", env->cwd, path));
    if (!whole)
        return ERR_LIMIT;
    enum err e = env->read(env->ctx, a, whole, CONFIG_BYTES, &text, &mode);
    return e ? e : config_load_text(a, text, whole, env, out, errors);
}

enum err config_load(struct arena *a, const char *path, const struct config_env *env, struct config **out, struct buf *errors)
{
    const char *home = env->var(env->ctx, "HOME"), *xdg = env->var(env->ctx, "XDG_CONFIG_HOME");
    enum err e;
    if (path) {
        e = try_file(a, path, env, out, errors);
        if (e == ERR_NOTFOUND || e == ERR_IO)
            (void)buf_printf(errors, "%s: %s\n", path, e == ERR_IO ? "cannot be read" : "there is no such file");
        return e;
    }
    if ((e = try_file(a, "hearth.yaml", env, out, errors)) != ERR_NOTFOUND)
        return e;
    str other = xdg && *xdg ? arena_printf(a, "%s/hearth/hearth.yaml", xdg) : arena_printf(a, "%s/.config/hearth/hearth.yaml", home ? home : "");
    if ((e = try_file(a, arena_cstr(a, other), env, out, errors)) != ERR_NOTFOUND)
        return e;
    str text;
    if ((e = discover(a, env, &text)) != ERR_OK)
        return e;
    e = config_load_text(a, text, "(discovered)", env, out, errors);
    if (!e)
        (*out)->path = STR_NONE;
    return e;
}

enum err config_document(struct buf *b)
{
    enum err e = buf_put(b, S("# Configuration\n\nThis page is written by `hearth config manual`, from the table that reads the file.\n\n"
                              "hearth looks for `./hearth.yaml`, then `~/.config/hearth/hearth.yaml` (XDG_CONFIG_HOME); without a file it uses the GGUF files in its\n"
                              "models folders and in those of other programs (docs/models.md), and servers that run on their usual loopback ports. `${NAME}` and `${NAME:-default}` stand for variables of the environment.\n"
                              "An unknown or mistyped key is an error with its line and column: `hearth config check`. A changed file is read again within two seconds\n"
                              "(`kill -HUP`: at once); a wrong one changes nothing. `hearth config show` prints what is in force, every default spelled out.\n\n"
                              "Two more keys stand at the top: `default`, a model, `task/NAME` or `auto` for calls that name none (one model alone is the default by itself), and\n"
                              "`models_dir`, a folder in which model files are looked for and into which `hearth pull` fetches them; unset: hearth/models in ~/.local/share (XDG_DATA_HOME).\n"));
    option_manual(b, "Top level", "", top, COUNT(top));
    option_manual(b, "ledger:", "The record of calls.", ledger_options, COUNT(ledger_options));
    option_manual(b, "limits:", "What a client may do.", limit_options, COUNT(limit_options));
    option_manual(b, "upstream:", "How long a provider may take.", upstream_options, COUNT(upstream_options));
    option_manual(b, "streams:", "What keeps a connection open in which nothing comes, as long as a model reads a long prompt or thinks in silence. Ollama's NDJSON has nothing of the kind.",
                  streams_options, COUNT(streams_options));
    option_manual(b, "engine:", "Local engines, one process per model.", engine_options, COUNT(engine_options));
    option_manual(b, "fleet:", "What may be loaded at once, by engines and by servers that hearth starts. A model is loaded when a call wants it and there is room; else idle ones\n"
                  "make room, the least recently used first, and what runs calls is never ended for another. What a model needs is measured when it is loaded.", fleet_options, COUNT(fleet_options));
    option_manual(b, "keys:", "Who may call; without keys, everybody who reaches the address, which is why it is a loopback one.", keys_options, COUNT(keys_options));
    key_file_manual(b);
    option_manual(b, "prompts:", "Versioned prompts (`hearth prompt`): clients name one by `x-hearth-prompt: NAME@LABEL` with `hearth_variables` in the body, or by OpenAI's `prompt` object;\n"
                                  "`hearth_variables` alone fill the `prompt:` of the call's task.",
                  prompts_options, COUNT(prompts_options));
    option_manual(b, "pull:", "Where `hearth pull` fetches models, and how. Addresses are https, or http on a loopback address.", pull_options, COUNT(pull_options));
    option_manual(b, "log:", "What the program says of itself; never a prompt, never a key.", log_options, COUNT(log_options));
    guard_manual(b);
    option_manual(b, "providers: NAME:", "Servers and the API they speak.", provider_options, COUNT(provider_options));
    managed_manual(b);
    option_manual(b, "models: NAME:", "What clients ask for.", model_options, COUNT(model_options));
    option_manual(b, "models: NAME: adapters:", "LoRA adapters of an embedded model: NAME: FILE.gguf makes MODEL:NAME a model of its own, in the same engine and with the same weights.",
                  adapter_options, COUNT(adapter_options));
    option_manual(b, "models: NAME: price:", "What it costs; written into every row.", price_options, COUNT(price_options));
    option_manual(b, "tasks: NAME:", "Names for kinds of work: clients ask for the model `task/NAME`, or send `x-hearth-task: NAME`.", task_options, COUNT(task_options));
    routes_manual(b);
    return e;
}
