/* Configurations: what a mistake is called and where, and that what is in force reads back as itself. */
#include "cmd/config_guard.h"
#include "cmd/config_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- an environment of our own ---- */

static const char *var(void *ctx, const char *name)
{
    (void)ctx;
    if (strcmp(name, "KEY") == 0)
        return "sk-secret";
    if (strcmp(name, "EMPTY") == 0)
        return "";
    return strcmp(name, "HOME") == 0 ? "/home/u" : NULL;
}

static enum err no_read(void *ctx, struct arena *a, const char *path, size_t max, str *bytes, unsigned *mode)
{
    (void)ctx, (void)a, (void)path, (void)max, (void)bytes, (void)mode;
    return ERR_NOTFOUND;
}

static bool is_file(void *ctx, const char *path)
{
    (void)ctx;
    return strstr(path, "missing") == NULL;
}

static enum err list(void *ctx, struct arena *a, const char *path, str **names, size_t *n)
{
    (void)ctx, (void)a, (void)path, (void)names, (void)n;
    return ERR_NOTFOUND;
}

static enum err models(void *ctx, struct arena *a, const str *own, size_t n_own, struct local_model **out, size_t *n)
{
    const struct local_model all[] = {
        { .store = LOCAL_HEARTH, .name = S("tiny-q4"), .path = S("/m/Tiny-Q4.gguf"), .files = 1 },
        { .store = LOCAL_HEARTH, .name = S("quote"), .path = S("/m/it's.gguf"), .files = 1 },      /* discovery leaves it out */
        { .store = LOCAL_HEARTH, .name = S("split"), .path = S("/m/s-00001-of-00002.gguf"), .files = 2 },
        { .store = LOCAL_OLLAMA, .name = S("ollama:qwen3:4b"), .path = S("/o/blobs/sha256-1"), .files = 1, .family = S("chatml") },
    };
    assert_true(n_own == 2 && str_eq(own[0], S("/home/u/.local/share/hearth/models")) && str_eq(own[1], S("/home/u/.cache/hearth/models")));
    *n = ctx ? 4 : 0;
    *out = arena_alloc(a, sizeof all, 8);
    memcpy(*out, all, sizeof all);
    return ERR_OK;
}

static enum err no_get(void *ctx, struct arena *a, uint16_t port, const char *path, str *body)
{
    (void)ctx, (void)a, (void)port, (void)path, (void)body;
    return ERR_NOTFOUND;
}

static struct config_env env(void *ctx)
{
    return (struct config_env){ .ctx = ctx, .cwd = "/work", .cores = 2, .var = var, .read = no_read, .is_file = is_file, .list = list, .models = models, .get = no_get };
}

/* ---- mistakes ---- */

#define ONE "models: { m: { file: m.gguf } }\n"

static const struct { const char *text, *errors; } wrong[] = {
    { ONE "lisen: 127.0.0.1:1\n", "c.yaml:2:1: there is no option lisen here (did you mean listen?)\n" },
    { ONE "listen: here\n", NULL },
    { ONE "listen: unix:/x\n", NULL },
    { ONE "ledger: { path: a, path: b }\n", "c.yaml:2:20: the key 'path' stands twice (first at 2:11)\n" },
    { "models: { m: { file: missing.gguf } }\n", "c.yaml:1:11: model m: there is no file /etc/missing.gguf\n" },
    { "models: { m: { provider: p } }\n", "c.yaml:1:11: model m: there is no provider p\n" },
    { "providers: { p: { api: openai, key: plain } }\nmodels: { m: { provider: p } }\n", NULL },
    { "providers: { p: { api: openai, key: '${NOBODY}' } }\nmodels: { m: { provider: p } }\n", "c.yaml:1:37: the environment has no NOBODY\n" },
    { "providers: { p: { api: telepathy } }\n", NULL },
    { "providers: { p: { api: vllm } }\n", "c.yaml:1:14: provider p needs a url\n" },
    { "providers: { p: { api: openai, zone: cloud } }\nmodels: { m: { provider: p } }\ntasks: { t: { model: m, data: private } }\n", NULL },
    { "providers: { p: { api: openai, url: 'http://127.0.0.1:1/v1' } }\nmodels: { m: { provider: p } }\ntasks: { t: { model: m, data: private } }\n", NULL },
    { "providers: { p: { start: 'my-server' } }\n", "c.yaml:1:14: start of provider p names no {port}: hearth chooses a free one for every start\n" },
    { "providers: { p: { start: 'my-server --port {prot}' } }\n", NULL },
    { "providers: { p: { start: \"my-server 'x {port}\" } }\n", "c.yaml:1:14: start of provider p: its quotes do not end\n" },
    { "providers: { p: { start: vllm, url: 'http://127.0.0.1:1' } }\n", "c.yaml:1:14: provider p is started by hearth: it has no url\n" },
    { "providers: { p: { start: vllm, api: ollama } }\n", NULL },
    { "providers: { p: { start: 'x {port}', api: anthropic } }\n", NULL },
    { "providers: { p: { start: vllm, env: ['HF_TOKEN=${KEY}'] } }\n", "c.yaml:1:38: env: write the name alone, such as HF_TOKEN: its value is passed on and never printed\n" },
    { "providers: { p: { start: vllm, env: 'a b' } }\n", "c.yaml:1:37: env: write NAME=value, or NAME alone\n" },
    { "providers: { p: { start: vllm, health: health } }\n", "c.yaml:1:14: health of provider p must be a path such as /health\n" },
    { "providers: { p: { api: openai, args: [x] } }\n", "c.yaml:1:14: provider p: program, args, env, health and load_time need start\n" },
    { "providers: { p: { start: llama-server } }\nmodels: { m: { provider: p, file: missing.gguf } }\n", "c.yaml:2:11: model m: there is no file /etc/missing.gguf\n" },
    { "providers: { p: { start: 'x {port}' } }\nmodels: { m: { provider: p } }\ntasks: { t: { model: m, data: private } }\n", NULL },
    { "providers: { a: { api: vllm, url: 'http://127.0.0.1:1' } }\nmodels: { m: { provider: a, replicas: [b] } }\n", "c.yaml:2:11: model m: there is no provider b\n" },
    { "providers: { a: { api: vllm, url: 'http://127.0.0.1:1' } }\nmodels: { m: { provider: a, replicas: a } }\n",
      "c.yaml:2:11: model m: replicas are at different providers of one zone, none of them embedded\n" },
    { "providers: { a: { api: vllm, url: 'http://127.0.0.1:1' }, b: { api: vllm, url: 'http://127.0.0.1:2', zone: cloud } }\nmodels: { m: { provider: a, replicas: b } }\n", NULL },
    { ONE "aliases: { a: n }\n", "c.yaml:2:15: there is no model n\n" },
    { ONE "aliases: { m: m }\n", "c.yaml:2:12: alias m is the name of a model\n" },
    { ONE "aliases: { a: { m: 0 } }\n", "c.yaml:2:20: a weight is a number from 1 to 1000000, of a model or a task\n" },
    { ONE "aliases: { a: task/x }\n", "c.yaml:2:15: there is no task x\n" },
    { ONE "aliases: { 'a*b': m }\n", NULL },
    { ONE "auto: { r: { words: x } }\n", "c.yaml:2:9: rule r needs a model or a task in to\n" },
    { ONE "auto: { r: { words: \"a\\nb\", to: m } }\n", "c.yaml:2:21: words must be a text, or a list of texts\n" },
    { ONE "auto: { r: { words: [a, [b]], to: m } }\n", NULL },
    { ONE "default: auto\n", "c.yaml:2:10: default: auto needs rules under auto:\n" },
    { ONE "default: n\n", "c.yaml:2:10: there is no model n\n" },
    { ONE "tasks: { t: { } }\n", "c.yaml:2:10: task t needs either model, or reference (and candidate)\n" },
    { ONE "tasks: { t: { model: n } }\n", NULL },
    { ONE "default: n\n", NULL },
    { ONE "ledger: { queue_items: many }\n", NULL },
    { ONE "ledger: { retain_bodies: -3d }\n", NULL },
    { ONE "a: &x b\n", NULL },
    { ONE "a: [\n", NULL },
    { ONE "\tlisten: x\n", NULL },
    { ONE "listen: \"\xFF\"\n", "c.yaml:2:10: this is not UTF-8\n" },
    { ONE "guard: { cloud: of }\n", "c.yaml:2:17: cloud must be off, detect, mask, mask+model, local or block\n" },
    { ONE "guard: { leave: [IP_ADRESS] }\n", "c.yaml:2:18: guard.leave: there is no type IP_ADRESS (did you mean IP_ADDRESS?)\n" },
    { ONE "guard: { surrogates: [EMAIL, IBAN] }\n", "c.yaml:2:30: guard.surrogates: there is no form that values of IBAN could keep\n" },
    { ONE "guard: { cloud: mask+model }\n", "c.yaml:2:8: mask+model needs guard.model, the model that looks: without it nothing would leave\n" },
    { ONE "tasks: { t: { model: m, guard: mask+model } }\n", "c.yaml:1:1: mask+model needs guard.model, the model that looks: without it nothing would leave\n" },
    { ONE "guard: { model: n }\n", "c.yaml:2:17: guard.model: there is no model n\n" },
    { "providers: { p: { api: openai, zone: cloud } }\nmodels: { m: { provider: p } }\nguard: { cloud: mask+model, model: m }\n", "c.yaml:3:36: guard.model: m is not in the machine or private zone, or its zone is not written\n" },
    { ONE "guard: { surrogates: [MAIL] }\n", "c.yaml:2:23: guard.surrogates: there is no type MAIL (did you mean EMAIL?)\n" },
    { ONE "guard: { types: { EMPLOYEE: { words: [a] } }, surrogates: EMPLOYEE }\n", "c.yaml:2:59: guard.surrogates: there is no form that values of types of your own could keep\n" },
    { ONE "guard: { deny: ['...'] }\n", "c.yaml:2:17: guard.deny: each word has a letter or digit and at most 200 bytes\n" },
    { ONE "guard:\n  types:\n    employee: { words: [a] }\n", "c.yaml:4:5: guard.types: employee cannot be a type's name: write 2 to 24 of A-Z, 0-9 and _, a letter first, and none of hearth's own types\n" },
    { ONE "guard:\n  types:\n    EMAIL: { words: [a] }\n", "c.yaml:4:5: guard.types: EMAIL cannot be a type's name: write 2 to 24 of A-Z, 0-9 and _, a letter first, and none of hearth's own types\n" },
    { ONE "guard:\n  types:\n    EMPLOYEE: {}\n", "c.yaml:4:5: guard.types: EMPLOYEE needs words, or a pattern\n" },
    { ONE "guard:\n  types:\n    EMPLOYEE: { words: [a], context: [b] }\n", "c.yaml:4:5: guard.types: the context of EMPLOYEE belongs to a pattern, and it has none\n" },
    { ONE "guard:\n  types:\n    EMPLOYEE: { patern: x }\n", NULL },
    { ONE "guard:\n  types:\n    EMPLOYEE: { words: [good, '!'] }\n", "c.yaml:4:31: guard.types: each word has a letter or digit and at most 200 bytes\n" },
    { ONE "guard:\n  types:\n    EMPLOYEE:\n      pattern: 'E-(\\d{6}'\n", "c.yaml:5:16: the pattern of EMPLOYEE cannot be searched for: a ( has no ), at E-(\\d{6}: write \\( for a parenthesis of the text\n" },
    { ONE "guard:\n  types:\n    EMPLOYEE: { pattern: 'E-(?=\\d)', context: ['-'] }\n", NULL },
    { ONE "guard: { threshold: { PERSON: 0.8 } }\n", "c.yaml:2:31: guard.threshold: PERSON must be a score from 1 to 100, as hearth guard explain shows it: for 0.8 write 80\n" },
    { ONE "guard: { threshold: { PERSON: 101 } }\n", "c.yaml:2:31: guard.threshold: PERSON must be a score from 1 to 100, as hearth guard explain shows it\n" },
    { ONE "guard: { threshold: { PERSON: [80] } }\n", "c.yaml:2:31: guard.threshold: PERSON must be a score from 1 to 100, as hearth guard explain shows it\n" },
    { ONE "guard: { threshold: { PERSONS: 80 } }\n", "c.yaml:2:23: guard.threshold: there is no type PERSONS (did you mean PERSON?)\n" },
    { ONE "guard: { threshold: 80 }\n", "c.yaml:2:21: guard.threshold must be a map of types, such as { PERSON: 80 }\n" },
    { ONE "guard: { allow: { MAIL: [x] } }\n", "c.yaml:2:19: guard.allow: there is no type MAIL (did you mean EMAIL?)\n" },
    { ONE "guard: { deny: { any: [x] } }\n", "c.yaml:2:18: guard.deny: there is no type any\n" },
    { ONE "guard: { deny: { PERSON: [ok, '?'] } }\n", "c.yaml:2:31: guard.deny: each word has a letter or digit and at most 200 bytes\n" },
    { ONE "guard: { allow: { EMAIL: { x: y } } }\n", "c.yaml:2:26: allow must be a text, or a list of texts\n" },
    { ONE "guard: { allow: [[x]] }\n", NULL },
    { ONE "guard: { types: [EMPLOYEE] }\n", "c.yaml:2:17: guard.types must be a map of names\n" },
    { ONE "guard: { types: { EMPLOYEE: { words: [a] } }, leave: [EMPLOYE] }\n", "c.yaml:2:55: guard.leave: there is no type EMPLOYE (did you mean EMPLOYEE?)\n" },
    { ONE "guard: { key: '${KEY}' }\n", "c.yaml:2:8: guard.key: KEY must hold 64 hexadecimal digits\n" },
    { ONE "guard: { key: 00 }\n", NULL },
    { ONE "tasks: { t: { model: m, guard: masked } }\n", NULL },
    { "- a\n- b\n", "c.yaml:1:1: the configuration must be a map of options\n" },
};

static void a_mistake_is_named_with_its_place(void **state)
{
    int bad = 0;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct config_env e = env(NULL);
        struct config *c = NULL;
        struct buf errors = { .max = 1 << 16 };
        struct arena a;
        arena_init(&a, CONFIG_ARENA);
        assert_int_equal(config_load_text(&a, str_of(wrong[i].text), "/etc/c.yaml", &e, &c, &errors), ERR_SYNTAX);
        str got = buf_str(&errors);
        bool right = wrong[i].errors ? str_ends(got, str_of(wrong[i].errors)) : str_find(got, S("c.yaml:")) < got.n && got.p[got.n - 1] == '\n';
        bad += !right;
        if (!right)
            print_message("%s\ngot:  %.*swant: %s", wrong[i].text, STR_ARG(got), wrong[i].errors ? wrong[i].errors : "a line with its place");
        assert_true(str_find(got, S("sk-secret")) == got.n);
        buf_free(&errors);
        arena_free(&a);
    }
    assert_int_equal(bad, 0);
}

static void many_mistakes_are_told_at_once_and_counted_past_the_limit(void **state)
{
    struct config_env e = env(NULL);
    struct config *c = NULL;
    struct buf errors = { .max = 1 << 16 }, text = { .max = 1 << 16 };
    struct arena a;
    size_t lines = 0;
    (void)state;
    arena_init(&a, CONFIG_ARENA);
    for (int i = 0; i < 3 * CONFIG_ERRORS; i++)
        assert_int_equal(buf_printf(&text, "wrong%d: 1\n", i), ERR_OK);
    assert_int_equal(config_load_text(&a, buf_str(&text), "/etc/c.yaml", &e, &c, &errors), ERR_SYNTAX);
    for (size_t i = 0; i < errors.n; i++)
        lines += errors.p[i] == '\n';
    assert_in_range(lines, CONFIG_ERRORS, CONFIG_ERRORS + 1);
    buf_free(&errors);
    buf_free(&text);
    arena_free(&a);
}

/* ---- good ones ---- */

static const char *const good[] = {
    ONE,
    "models: { m: { file: /abs/m.gguf, threads: 2, slots: 4, context: 2048, price: { input: 0.1, output: 0.2 } } }\nlisten: '[::1]:9000'\n",
    "providers:\n  cloud: { api: openai, key: '${KEY}' }\n  lab: { api: vllm, url: http://lab:8000, zone: private }\n"
    "models:\n  a: { provider: cloud, id: gpt-x }\n  b: { provider: lab }\n  c: { file: c.gguf }\n"
    "tasks:\n  plan: { model: a, risk: high }\n  docs: { reference: b, candidate: c, data: private, risk: low }\nguard: { cloud: off }\ndefault: b\n",
    "providers: { p: { start: \"x --port {port} [ -t {threads} ] '[' \\\"q r\\\"\", args: ['a, b', c], env: [HOME, 'X=1 2'], idle: 1m }, o: { start: ollama } }\nmodels: { m: { provider: p }, n: { provider: o } }\n",
    "providers: { a: { api: vllm, url: 'http://127.0.0.1:1' }, b: { api: openai, url: 'http://127.0.0.1:2' } }\nmodels: { m: { provider: a, replicas: [b], fallback: n }, n: { provider: b } }\n",
    "models: { m: { file: \"a\\nb.gguf\" } }\nledger: { path: '${EMPTY:-x}/l.db', retain_bodies: 90d }\nlog: { format: json }\n",
    "models: { m: { file: m.gguf }, n: { file: n.gguf } }\ntasks: { t: { model: m, deadline: 2s, retries: 0 } }\ndefault: auto\n"
    "aliases: { gpt-4o: m, 'claude-*': task/t, some: { m: 1, n: 2 }, x: auto }\n"
    "guard: { cloud: local, unsure: send, allow: ['*@acme.example', 'a, b'], deny: [Nachtfalke], leave: [IP_ADDRESS, PERSON], surrogates: [EMAIL, PHONE], restore_secrets: true, limit: 1MiB, vault: v.db, key_file: k,\n"
    "  threshold: { PERSON: 80, BOTH_2: 1, EMAIL: 100 },\n"
    "  types: { PROJECT: { words: [Nachtfalke, 'Blue \"Heron\"', \"M\xC3\xBCller, AG\"] }, EMPLOYEE: { pattern: '\\bE-\\d{6}\\b', context: employee }, BOTH_2: { words: x1, pattern: \"a'b:\\t#\" } } }\n"
    "auto: { a: { words: ['a, b', \"it's\"], path: /v1, to: n }, b: { tools: false, images: true, min_bytes: 3KB, to: task/t } }\n",
    ("models: { m: { file: m.gguf } }\nguard:\n  types: { EMPLOYEE: { pattern: 'E-\\d{4}' } }\n  allow: { any: Acme*, EMAIL: ['*@acme.example', 'a\"b'], EMPLOYEE: E-0000 }\n"
    "  deny: { PERSON: ['Zo\xC3\xAB'], CUSTOM: Nachtfalke, EMPLOYEE: [chef] }\n  threshold: { EMPLOYEE: 95, PERSON: 60 }\n"),
};

static void a_server_that_is_started_has_words_a_zone_and_the_presets_api(void **state)
{
    static const char text[] = "providers:\n  v: { start: vllm, program: /v/bin/vllm, args: [--enable-sleep-mode], env: [HF_TOKEN, 'A=b {port}'], idle: 5m }\n"
                               "  c: { start: \"run 'a b' --port {port}\", health: /up, load_time: 2m }\nmodels:\n  m: { provider: v, file: missing-folder }\n  n: { provider: c, id: x }\n"
                               "tasks: { t: { model: m, data: private } }\n";
    struct config_env e = env(NULL);
    struct config *c = NULL;
    struct buf errors = { .max = 1 << 16 };
    struct arena a;
    (void)state;
    arena_init(&a, CONFIG_ARENA);
    if (config_load_text(&a, str_of(text), "/etc/c.yaml", &e, &c, &errors) != ERR_OK)
        fail_msg("%.*s", STR_ARG(buf_str(&errors)));
    const struct provider *v = &c->policy.providers[0], *own = &c->policy.providers[1];
    assert_true(v->api == API_VLLM && v->zone == ZONE_MACHINE && v->zone_written && v->idle_ms == 300000);
    assert_true(str_eq(v->managed->words[0], S("/v/bin/vllm")) && str_eq(v->managed->words[v->managed->n_words - 1], S("--enable-sleep-mode")) && str_eq(v->managed->kind, S("vllm")));
    assert_int_equal(v->managed->n_env, 2);
    assert_true(own->api == API_OPENAI && own->zone == ZONE_MACHINE && !own->zone_written);
    assert_true(own->managed->n_words == 4 && str_eq(own->managed->words[1], S("a b")) && str_eq(own->managed->health, S("/up")) && own->managed->load_ms == 120000 && !own->managed->kind.n);
    assert_true(str_eq(policy_model(&c->policy, S("m"))->file, S("/etc/missing-folder")));
    buf_free(&errors);
    arena_free(&a);
}

static void what_is_in_force_reads_back_as_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct config_env e = env(NULL);
        struct config *c = NULL, *again = NULL;
        struct buf errors = { .max = 1 << 16 };
        struct arena a;
        arena_init(&a, CONFIG_ARENA);
        enum err x = config_load_text(&a, str_of(good[i]), "/etc/c.yaml", &e, &c, &errors);
        if (x)
            fail_msg("%s\n%.*s", good[i], STR_ARG(buf_str(&errors)));
        assert_int_equal(config_load_text(&a, c->text, "/etc/c.yaml", &e, &again, &errors), ERR_OK);
        assert_true(str_eq(c->text, again->text) && str_eq(c->json, again->json) && digest_eq(&c->policy.hash, &again->policy.hash));
        assert_true(str_find(c->text, S("sk-secret")) == c->text.n && str_find(c->json, S("sk-secret")) == c->json.n);
        buf_free(&errors);
        arena_free(&a);
    }
}

static void zones_keys_and_names_are_as_written_or_safely_guessed(void **state)
{
    struct config_env e = env(NULL);
    struct config *c = NULL;
    struct buf errors = { .max = 1 << 16 };
    struct arena a;
    (void)state;
    arena_init(&a, CONFIG_ARENA);
    assert_int_equal(config_load_text(&a, str_of(good[2]), "/etc/c.yaml", &e, &c, &errors), ERR_OK);
    const struct policy *p = &c->policy;
    const struct model *cloud = policy_model(p, S("a")), *lab = policy_model(p, S("b")), *here = policy_model(p, S("c"));
    assert_int_equal(cloud->provider->zone, ZONE_CLOUD);        /* not written: the careful guess */
    assert_false(cloud->provider->zone_written);
    assert_true(str_eq(cloud->provider->key, S("sk-secret")));
    assert_int_equal(lab->provider->zone, ZONE_PRIVATE);
    assert_true(str_eq(lab->provider->url, S("http://lab:8000/v1")));
    assert_int_equal(here->provider->api, API_EMBEDDED);
    assert_true(str_eq(here->file, S("/etc/c.gguf")));
    assert_true(c->guard.all.action == GUARD_OFF && p->default_model == lab);
    assert_int_equal(policy_task(p, S("docs"))->data, DATA_PRIVATE);
    buf_free(&errors);
    arena_free(&a);
}

static void a_guard_is_of_all_calls_of_tasks_and_of_models_with_what_belongs_to_them(void **state)
{
    static const char text[] = "providers: { p: { api: openai, zone: cloud }, q: { api: vllm, url: 'http://lab:1', zone: cloud }, r: { api: vllm, url: 'http://lab:2', zone: cloud } }\n"
                               "models: { m: { provider: p, guard: block }, n: { provider: q, replicas: r, guard: 'off' }, o: { provider: p } }\n"
                               "tasks: { t: { model: m }, u: { model: n, guard: detect } }\n"
                               "guard: { unsure: block, allow: ['*@acme.de'], types: { PROJECT: { words: [Nachtfalke] }, EMPLOYEE: { pattern: 'E-\\d+' } }, leave: [PERSON, EMPLOYEE], surrogates: MAC_ADDRESS, restore_secrets: true, limit: 1KiB, key_file: /k }\n";
    struct config_env e = env(NULL);
    struct config *c = NULL;
    struct buf errors = { .max = 1 << 16 };
    struct arena a;
    (void)state;
    arena_init(&a, CONFIG_ARENA);
    if (config_load_text(&a, str_of(text), "/etc/c.yaml", &e, &c, &errors) != ERR_OK)
        fail_msg("%.*s", STR_ARG(buf_str(&errors)));
    const struct gate_guard *g = &c->guard;
    assert_true(g->all.action == GUARD_UNSET && g->all.unsure == GUARD_BLOCK && g->all.types[GUARD_PERSON].action == GUARD_OFF && g->all.types[GUARD_EMAIL].action == GUARD_UNSET);
    assert_true(g->all.types[GUARD_OWN].action == GUARD_UNSET && g->all.types[GUARD_OWN + 1].action == GUARD_OFF);
    assert_true(g->all.types[GUARD_MAC_ADDRESS].surrogate && !g->all.types[GUARD_EMAIL].surrogate);
    assert_true(g->all.types[GUARD_SECRET].restore == GUARD_RESTORE && g->all.n_allow == 1 && str_eq(g->all.allow[0].text, S("*@acme.de")) && g->all.allow[0].type == GUARD_N_TYPES);
    assert_true(g->body_max == 1024 && str_eq(g->key_file, S("/k")) && str_ends(g->vault, S("/guard.db")) && !g->key.n);
    struct guard_finder *f = NULL;
    struct guard_span *s = NULL;
    size_t n = 0;
    assert_int_equal(guard_load_finder(&a, c->guard_entry, &f), ERR_OK);
    assert_int_equal(guard_find(f, &a, S("nachtfalke E-5"), &s, &n), ERR_OK);
    assert_true(n == 2 && strcmp(guard_type_name(f, s[0].type), "PROJECT") == 0 && strcmp(guard_type_name(f, s[1].type), "EMPLOYEE") == 0);
    guard_finder_free(f);
    assert_int_equal(c->policy.n_all, 4);       /* the replica has the word of its model */
    static const enum guard_action models_say[] = { GUARD_BLOCK, GUARD_OFF, GUARD_UNSET, GUARD_OFF };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(g->models[i].action, models_say[i]);
    assert_true(g->tasks[0].action == GUARD_UNSET && g->tasks[1].action == GUARD_DETECT);
    buf_free(&errors);
    arena_free(&a);
}

static void lists_and_thresholds_are_of_a_type(void **state)
{
    static const char text[] = "models: { m: { file: m.gguf } }\nguard:\n  types: { EMPLOYEE: { pattern: 'E-\\d{4}', context: [staff] } }\n"
                               "  allow: { any: Acme*, EMAIL: ['*@acme.de'], PERSON: Nachtfalke }\n  deny: { PERSON: [Nachtfalke], EMPLOYEE: [chef] }\n  threshold: { EMPLOYEE: 40, PHONE: 99 }\n";
    static const struct { const char *text, *masked; } cases[] = {
        { "a@acme.de", "" }, { "a@acme.org", "EMAIL " }, { "nachtfalke", "" }, { "the chef", "EMPLOYEE " }, { "E-1234", "EMPLOYEE " }, { "call +49 30 4736397", "" },
    };
    struct config_env e = env(NULL);
    struct config *c = NULL;
    struct buf errors = { .max = 1 << 16 };
    struct arena a;
    struct guard_finder *f = NULL;
    (void)state;
    arena_init(&a, CONFIG_ARENA);
    if (config_load_text(&a, str_of(text), "/etc/c.yaml", &e, &c, &errors) != ERR_OK)
        fail_msg("%.*s", STR_ARG(buf_str(&errors)));
    assert_int_equal(guard_load_finder(&a, c->guard_entry, &f), ERR_OK);
    const struct guard_rules *rules[] = { &c->guard.all };
    const struct guard_policy p = guard_policy_join(rules, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct guard_span *s = NULL;
        size_t n = 0;
        str masked = S("");
        assert_int_equal(guard_find(f, &a, str_of(cases[i].text), &s, &n), ERR_OK);
        for (size_t k = 0; k < n; k++)
            if (guard_policy_masks(&p, s[k].type, s[k].score, str_slice(cases[i].text + s[k].begin, s[k].end - s[k].begin)))
                masked = arena_printf(&a, "%.*s%s ", STR_ARG(masked), guard_type_name(f, s[k].type));
        assert_string_equal(arena_cstr(&a, masked), cases[i].masked);
    }
    guard_finder_free(f);
    buf_free(&errors);
    arena_free(&a);
}

static void without_a_file_the_models_of_the_folder_are_served(void **state)
{
    int yes = 1;
    struct config_env e = env(&yes);
    struct config *c = NULL;
    struct buf errors = { .max = 1 << 16 };
    struct arena a;
    (void)state;
    arena_init(&a, CONFIG_ARENA);
    assert_int_equal(config_load(&a, NULL, &e, &c, &errors), ERR_OK);
    assert_int_equal(c->path.n, 0);
    assert_int_equal(c->policy.n_models, 2);
    assert_true(str_eq(c->policy.models[0].name, S("tiny-q4")));
    assert_true(str_eq(c->policy.models[1].name, S("ollama:qwen3:4b")) && str_eq(c->policy.models[1].chat_template, S("chatml")));
    assert_true(c->policy.default_model == &c->policy.models[0]);
    assert_int_equal(config_load(&a, "gone.yaml", &e, &c, &errors), ERR_NOTFOUND);
    assert_true(str_eq(buf_str(&errors), S("gone.yaml: there is no such file\n")));
    buf_free(&errors);
    arena_free(&a);
}

struct one_file { str text; unsigned mode; enum err err; };

static enum err read_one(void *ctx, struct arena *a, const char *path, size_t max, str *bytes, unsigned *mode)
{
    const struct one_file *f = ctx;
    (void)a, (void)path, (void)max;
    *bytes = f->text;
    *mode = f->mode;
    return f->err;
}

static void an_admin_key_is_whole_and_only_its_owner_reads_it(void **state)
{
#define ADMIN "hk-0123456789012345678901234567890123456789012"
    static const struct { struct one_file file; enum err want; const char *words; } cases[] = {
        { { S(ADMIN "\n"), 0600, ERR_OK }, ERR_OK, NULL }, { { S(ADMIN), 0400, ERR_OK }, ERR_OK, NULL },
        { { S(""), 0, ERR_NOTFOUND }, ERR_OK, NULL },
        { { S(ADMIN "\n"), 0640, ERR_OK }, ERR_SYNTAX, "others can read" }, { { S(ADMIN "\n"), 0604, ERR_OK }, ERR_SYNTAX, "others can read" },
        { { S(""), 0600, ERR_OK }, ERR_SYNTAX, "no admin key" }, { { S("\n"), 0600, ERR_OK }, ERR_SYNTAX, "no admin key" },
        { { S(ADMIN "x\n"), 0600, ERR_OK }, ERR_SYNTAX, "no admin key" }, { { S("xk-0123456789012345678901234567890123456789012\n"), 0600, ERR_OK }, ERR_SYNTAX, "no admin key" },
        { { S(""), 0600, ERR_IO }, ERR_IO, "cannot be read" }, { { S(""), 0600, ERR_LIMIT }, ERR_SYNTAX, "cannot be read" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct one_file f = cases[i].file;
        struct config_env e = env(&f);
        struct key_list l = { .n = 0 };
        struct buf errors = { .max = 1 << 16 };
        struct arena a;
        arena_init(&a, 1 << 16);
        e.read = read_one;
        enum err err = admin_key_load(&a, &e, "/etc/admin.key", &errors, &l);
        bool said = !cases[i].words ? errors.n == 0 : errors.n && str_find(buf_str(&errors), str_of(cases[i].words)) < errors.n;
        if (err != cases[i].want || !said || l.has_admin != (f.err == ERR_OK && !cases[i].words))
            fail_msg("%zu: %d %.*s", i, err, (int)errors.n, errors.p);
        assert_int_equal(keys_is_admin(&l, S(ADMIN)), l.has_admin);
        buf_free(&errors);
        arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mistake_is_named_with_its_place),
        cmocka_unit_test(many_mistakes_are_told_at_once_and_counted_past_the_limit),
        cmocka_unit_test(a_server_that_is_started_has_words_a_zone_and_the_presets_api),
        cmocka_unit_test(what_is_in_force_reads_back_as_itself),
        cmocka_unit_test(zones_keys_and_names_are_as_written_or_safely_guessed),
        cmocka_unit_test(an_admin_key_is_whole_and_only_its_owner_reads_it),
        cmocka_unit_test(lists_and_thresholds_are_of_a_type),
        cmocka_unit_test(a_guard_is_of_all_calls_of_tasks_and_of_models_with_what_belongs_to_them),
        cmocka_unit_test(without_a_file_the_models_of_the_folder_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
