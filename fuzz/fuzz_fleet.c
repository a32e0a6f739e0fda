/* fuzz: fleet core */
/* What servers say of themselves: any bytes, as the answer to any question, leave facts that are text and numbers within bounds, and an identity that is JSON.
 * A command line becomes words, and /metrics numbers within bounds. The first byte chooses. */
#include "core/json.h"
#include "fleet/command.h"
#include "fleet/facts.h"
#include "fleet/load.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check_facts(struct arena *a, enum question q, str body)
{
    struct facts f, before;
    str identity, again;
    json v;
    facts_init(&f);
    before = f;
    enum err e = facts_read(a, q, S("m"), 200, body, &f);
    if (e != ERR_OK) {
        assert(memcmp(&f, &before, sizeof f) == 0);
        return;
    }
    assert(f.size >= -1 && f.n_params >= -1 && f.context >= -1 && f.slots >= -1);
    assert((f.weights.n == 0 || f.weights.n == 64) && (f.manifest.n == 0 || f.manifest.n == 64) && f.quantization.n <= 512);
    assert(facts_identity(a, kind_of(FLEET_OLLAMA), &f, NULL, &identity) == ERR_OK);
    assert(json_parse(a, identity, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK);
    assert(json_type(json_member(v, S("weights_sha256"))) == (f.weights.n ? JSON_STRING : JSON_NULL));
    assert(facts_identity(a, kind_of(FLEET_OLLAMA), &f, NULL, &again) == ERR_OK && str_eq(identity, again));
    assert(facts_differences(a, identity, again).n == 0);
}

static void check_command(struct arena *a, str line)
{
    struct command_values v;
    str *words;
    size_t k, n;
    char **argv;
    const char *why;
    for (int i = 0; i < COMMAND_PLACES; i++)
        v.of[i] = S("1");               /* none is empty: what is left and right of a place does not become one */
    enum err e = command_split(a, line, &words, &k, &why);
    if (e != ERR_OK) {
        assert(e == ERR_LIMIT || why);
        return;
    }
    assert(k > 0 && k <= COMMAND_WORDS);
    if (command_expand(a, words, k, &v, &argv, &n) == ERR_OK)
        for (size_t i = 0; i < n; i++)
            assert(argv[i] && !strstr(argv[i], "{port}"));
}

static void check_load(str body)
{
    struct load l;
    if (load_read(body, &l) != ERR_OK)
        return;
    assert((l.running >= 0 || l.running == -1) && (l.waiting >= 0 || l.waiting == -1) && (l.tokens >= 0 || l.tokens == -1));
    assert(l.cache == -1 || (l.cache >= 0 && l.cache <= 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena a;
    if (!n)
        return 0;
    str body = { (const char *)p + 1, n - 1 };
    arena_init(&a, 64 << 20);
    if (p[0] % (QUESTIONS + 1) == QUESTIONS)
        check_command(&a, body);
    else if (p[0] % (QUESTIONS + 1) == ASK_METRICS)
        check_load(body);
    else
        check_facts(&a, (enum question)(p[0] % (QUESTIONS + 1)), body);
    arena_free(&a);
    return 0;
}
