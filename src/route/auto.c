/* Rules that anybody can read and foresee: words, sizes, names. No model is asked what to do with a call. */
#include "route/auto.h"

static bool is_word(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || (unsigned char)c >= 0x80; }

/* `word` in `text` by itself, not as a part of a longer one; ASCII letters in either case. */
static bool has_word(str text, str word)
{
    for (size_t i = 0; word.n && i + word.n <= text.n; i++) {
        if (!str_ieq(str_slice(text.p + i, word.n), word))
            continue;
        bool begins = i == 0 || !is_word(word.p[0]) || !is_word(text.p[i - 1]);
        bool ends = i + word.n == text.n || !is_word(word.p[word.n - 1]) || !is_word(text.p[i + word.n]);
        if (begins && ends)
            return true;
    }
    return false;
}

/* A fenced block of code that says so: ```python */
static bool has_language(str text, str language)
{
    for (size_t at; (at = str_find(text, S("```"))) < text.n;) {
        text = str_skip(text, at + 3);
        if (text.n >= language.n && str_ieq(str_slice(text.p, language.n), language) && (text.n == language.n || !is_word(text.p[language.n])))
            return true;
    }
    return false;
}

static bool has_tool(const struct features *f, str name)
{
    for (size_t i = 0; i < f->n_tools; i++)
        if (str_eq(f->tools[i].name, name))
            return true;
    return false;
}

static bool at_path(const struct features *f, str path) { return str_starts(f->path, path); }
static bool in_text(const struct features *f, str word) { return has_word(f->text, word); }
static bool in_code(const struct features *f, str language) { return has_language(f->text, language); }

static const str *first(const str *list, size_t n, bool (*holds)(const struct features *f, str it), const struct features *f)
{
    for (size_t i = 0; i < n; i++)
        if (holds(f, list[i]))
            return &list[i];
    return NULL;
}

/* What of each list it was; false: a list that asks for something found nothing. */
struct found { const str *path, *word, *language, *tool; };

static bool find(const struct auto_rule *r, const struct features *f, struct found *out)
{
    *out = (struct found){ first(r->paths, r->n_paths, at_path, f), first(r->words, r->n_words, in_text, f), first(r->languages, r->n_languages, in_code, f),
                           first(r->tool_names, r->n_tool_names, has_tool, f) };
    return (out->path || !r->n_paths) && (out->word || !r->n_words) && (out->language || !r->n_languages) && (out->tool || !r->n_tool_names);
}

static bool holds(const struct auto_rule *r, const struct features *f, struct found *found)
{
    return f->bytes >= r->min_bytes && (!r->max_bytes || f->bytes <= r->max_bytes) && (r->tools < 0 || r->tools == (f->n_tools > 0)) &&
           (r->images < 0 || r->images == (int)f->has_image) && find(r, f, found);
}

static str explain(struct arena *a, const struct auto_rule *r, const struct features *f, const struct found *it)
{
    str s = STR_NONE;
    const struct { const char *what; const str *it; } found[] = { { "the word ", it->word }, { "code in ", it->language }, { "the tool ", it->tool }, { "at ", it->path } };
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        if (found[i].it)
            s = arena_printf(a, "%.*s%s%s%.*s", STR_ARG(s), s.n ? ", " : " (", found[i].what, STR_ARG(*found[i].it));
    if (r->min_bytes || r->max_bytes)
        s = arena_printf(a, "%.*s%s%zu bytes", STR_ARG(s), s.n ? ", " : " (", f->bytes);
    return s.n ? arena_printf(a, "%.*s)", STR_ARG(s)) : s;
}

const struct auto_rule *auto_match(struct arena *a, const struct policy *p, const struct features *f, str *because)
{
    struct found found;
    for (size_t i = 0; i < p->n_rules; i++)
        if (holds(&p->rules[i], f, &found)) {
            *because = explain(a, &p->rules[i], f, &found);
            return &p->rules[i];
        }
    *because = STR_NONE;
    return NULL;
}

enum err route_look(struct arena *a, str path, size_t bytes, const struct chat *c, str text, struct features *out)
{
    *out = (struct features){ .path = path, .bytes = bytes, .text = text };
    if (!c)
        return ERR_OK;
    out->tools = c->tools;
    out->n_tools = c->n_tools;
    out->has_image = c->has_image;
    for (size_t i = c->n_turns; i-- > 0;)
        if (c->turns[i].role == ROLE_USER)
            return turn_text(a, &c->turns[i], &out->text);
    return ERR_OK;
}
