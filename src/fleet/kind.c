/* The table. Options that a preset passes are those without which a server would not be what hearth promises: one address, one name, its own share
 * of the cores; the rest is the user's, by `args:`. */
#include "fleet/kind.h"

static const struct kind kinds[FLEET_KINDS] = {
    [FLEET_ENGINE] = { .name = "engine", .api = "embedded", .health = "/health", .failures = 4, .identity = { ASK_PROPS } },
    [FLEET_LLAMA_SERVER] = {
        .name = "llama-server", .api = "llamacpp", .health = "/health", .failures = 3, .identity = { ASK_PROPS, ASK_MODELS }, .load = ASK_METRICS,
        .command = "llama-server --model {model} --alias {name} --host {host} --port {port} --metrics [ --threads {threads} ] [ --ctx-size {total_context} ] [ --parallel {slots} ]" },
    /* A call that comes in while another runs would end that one: interrupt_requests. Its /v1/models waits for the calls before it, so it is no sign of life,
     * and says nothing but the name. */
    [FLEET_LLAMA_PYTHON] = {
        .name = "llama-cpp-python", .api = "llamacpp", .health = "/docs", .failures = 3,
        .command = "python3 -m llama_cpp.server --model {model} --model_alias {name} --host {host} --port {port} --interrupt_requests false"
                   " [ --n_threads {threads} ] [ --n_threads_batch {threads} ] [ --n_ctx {context} ]" },
    [FLEET_VLLM] = {
        .name = "vllm", .api = "vllm", .health = "/health", .failures = 3, .identity = { ASK_VERSION, ASK_MODELS, ASK_SERVER_INFO }, .check = ASK_SLEEPING, .load = ASK_METRICS,
        .command = "vllm serve {model} --served-model-name {name} --host {host} --port {port} [ --max-model-len {context} ] [ --max-num-seqs {slots} ]",
        .env = { "VLLM_NO_USAGE_STATS=1", "DO_NOT_TRACK=1" } },
    /* Without its cloud: what answers here is here. Models stay loaded until hearth says otherwise. */
    [FLEET_OLLAMA] = {
        .name = "ollama", .api = "ollama", .health = "/api/version", .failures = 3, .identity = { ASK_API_VERSION, ASK_TAGS, ASK_SHOW }, .check = ASK_TAGS,
        .command = "ollama serve", .env = { "OLLAMA_HOST={host}:{port}", "OLLAMA_NO_CLOUD=1", "OLLAMA_KEEP_ALIVE=-1" } },
    [FLEET_OTHER] = { .name = "command", .api = "openai", .health = "/v1/models", .failures = 3, .identity = { ASK_MODELS } },
    [FLEET_PLAIN] = { .name = "openai", .api = "openai", .health = "/", .failures = 3 },
};

static const struct kind_question asks[QUESTIONS] = {
    [ASK_PROPS] = { S("GET"), S("/props"), { { 0 } } },
    [ASK_MODELS] = { S("GET"), S("/v1/models"), { { 0 } } },
    [ASK_VERSION] = { S("GET"), S("/version"), { { 0 } } },
    [ASK_SERVER_INFO] = { S("GET"), S("/server_info?config_format=json"), { { 0 } } },
    [ASK_API_VERSION] = { S("GET"), S("/api/version"), { { 0 } } },
    [ASK_TAGS] = { S("GET"), S("/api/tags"), { { 0 } } },
    [ASK_SHOW] = { S("POST"), S("/api/show"), { S("{\"model\":\""), S("\"}") } },
    [ASK_UNLOAD] = { S("POST"), S("/api/generate"), { S("{\"model\":\""), S("\",\"keep_alive\":0,\"stream\":false}") } },
    [ASK_METRICS] = { S("GET"), S("/metrics"), { { 0 } } },
    [ASK_SLEEPING] = { S("GET"), S("/is_sleeping"), { { 0 } } },
    [ASK_WAKE] = { S("POST"), S("/wake_up"), { { 0 } } },
};

const struct kind_question *kind_question(enum question q) { return &asks[q]; }

const struct kind *kind_of(enum fleet_kind k) { return &kinds[k]; }

enum fleet_kind kind_id(const struct kind *k) { return (enum fleet_kind)(k - kinds); }

const struct kind *kind_find(str name)
{
    for (size_t i = 0; i < FLEET_KINDS; i++)
        if (kinds[i].command && str_eq(str_of(kinds[i].name), name))
            return &kinds[i];
    return NULL;
}
