/* wire/names.c: each set of words as one table. */
#include "wire/names.h"

static const str dialects[] = { S("openai"), S("anthropic"), S("ollama"), S("openai-responses") };
static const str ops[] = { S(""), S("chat"), S("text_completion"), S("embeddings"), S("models"), S("count_tokens"), S("load_model"), S("unload_model"), S("tokenize"), S("detokenize") };
static const str zones[] = { S("machine"), S("private"), S("cloud") };
static const str risks[] = { S("low"), S("medium"), S("high") };
static const str classes[] = { S("public"), S("internal"), S("private") };

static int find(const str *words, int n, str s)
{
    for (int i = 0; i < n; i++)
        if (str_eq(words[i], s))
            return i;
    return -1;
}

str dialect_name(enum dialect d) { return dialects[d]; }
str op_name(enum op o) { return ops[o]; }
str zone_name(enum zone z) { return zones[z]; }
str risk_name(enum risk r) { return risks[r]; }
str data_name(enum data_class d) { return classes[d]; }

bool zone_from(str s, enum zone *out)
{
    int i = find(zones, 3, s);
    if (i >= 0)
        *out = (enum zone)i;
    return i >= 0;
}

bool risk_from(str s, enum risk *out)
{
    int i = find(risks, 3, s);
    if (i >= 0)
        *out = (enum risk)i;
    return i >= 0;
}

bool data_from(str s, enum data_class *out)
{
    int i = find(classes, 3, s);
    if (i >= 0)
        *out = (enum data_class)i;
    return i >= 0;
}
