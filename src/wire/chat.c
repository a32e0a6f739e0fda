/* wire/chat.c: what every codec needs of the middle. */
#include "wire/chat.h"

void chat_init(struct chat *c)
{
    *c = (struct chat){ .parallel_tools = -1, .schema_strict = -1, .thinking_budget = PARAM_UNSET };
    params_init(&c->params);
}

void chat_drop(struct chat *c, str field)
{
    for (size_t i = 0; i < c->n_dropped; i++)
        if (str_eq(c->dropped[i], field))
            return;
    if (c->n_dropped < CHAT_MAX_DROPPED)
        c->dropped[c->n_dropped++] = field;
    else
        c->dropped[CHAT_MAX_DROPPED - 1] = S("...");
}

/* A field's name comes from a client and goes into a header: what a header cannot hold becomes '?'. */
static size_t put_name(char *to, str name)
{
    for (size_t i = 0; i < name.n; i++)
        to[i] = (unsigned char)name.p[i] > ' ' && (unsigned char)name.p[i] < 0x7F && name.p[i] != ',' ? name.p[i] : '?';
    return name.n;
}

str chat_dropped(struct arena *a, const struct chat *c)
{
    enum { NAME_MAX = 64 };
    char *to = arena_alloc(a, CHAT_MAX_DROPPED * (NAME_MAX + 2), 1);
    size_t n = 0;
    for (size_t i = 0; to && i < c->n_dropped; i++) {
        str name = c->dropped[i];
        if (i) {
            to[n++] = ',';
            to[n++] = ' ';
        }
        n += put_name(to + n, str_slice(name.p, name.n < NAME_MAX ? name.n : NAME_MAX));
    }
    return (str){ to, n };
}

enum err turn_text(struct arena *a, const struct turn *t, str *out)
{
    size_t n = 0, texts = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->parts[i].kind != PART_TEXT)
            continue;
        *out = t->parts[i].text;
        n += t->parts[i].text.n;
        texts++;
    }
    if (texts == 1)
        return ERR_OK;
    char *to = arena_alloc(a, n, 1);
    if (!to)
        return ERR_LIMIT;
    *out = (str){ to, n };
    for (size_t i = 0; i < t->n; i++)
        if (t->parts[i].kind == PART_TEXT && t->parts[i].text.n) {
            memcpy(to, t->parts[i].text.p, t->parts[i].text.n);
            to += t->parts[i].text.n;
        }
    return ERR_OK;
}

bool part_data_url(str url, str *media_type, str *data)
{
    str head, text;
    if (!str_starts(url, S("data:")) || !str_cut(str_skip(url, 5), ',', &head, &text) || !str_ends(head, S(";base64")))
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '='))
            return false;
    }
    *media_type = str_slice(head.p, str_index(head, ';'));
    *data = text;
    return text.n > 0;
}

static const struct { str effort; int64_t tokens; } efforts[] = {
    { S("none"), 0 }, { S("minimal"), 1024 }, { S("low"), 1024 }, { S("medium"), 8192 }, { S("high"), 24576 },
};

int64_t effort_budget(str effort)
{
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++)
        if (str_eq(effort, efforts[i].effort))
            return efforts[i].tokens;
    return PARAM_UNSET;
}

str budget_effort(int64_t tokens)
{
    return tokens <= 0 ? S("none") : tokens < 4096 ? S("low") : tokens < 16384 ? S("medium") : S("high");
}
