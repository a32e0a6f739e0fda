/* Splitting and filling a command line. A bracket that makes a group is kept as a word of one control byte, which no quoted word can be mistaken for. */
#include "fleet/command.h"

#define OPEN  S("\001")
#define CLOSE S("\002")

static const str places[COMMAND_PLACES] = { S("{port}"), S("{host}"), S("{model}"), S("{name}"), S("{threads}"), S("{context}"), S("{slots}"), S("{total_context}") };

/* ---- splitting ---- */

/* One word from *line on, into `out`, which has room for all of it. False: quotes do not end. */
static bool read_word(str *line, char *out, size_t *n, bool *quoted)
{
    char quote = 0;
    size_t i = 0;
    *n = 0;
    *quoted = false;
    for (; i < line->n && (quote || (line->p[i] != ' ' && line->p[i] != '\t' && line->p[i] != '\n')); i++) {
        char c = line->p[i];
        if (c == quote) {
            quote = 0;
        } else if (!quote && (c == '\'' || c == '"')) {
            quote = c;
            *quoted = true;
        } else if (c == '\\' && quote != '\'' && i + 1 < line->n) {
            out[(*n)++] = line->p[++i];
            *quoted = true;
        } else {
            out[(*n)++] = c;
        }
    }
    *line = str_skip(*line, i);
    return !quote;
}

/* {word} of small letters that is none of ours: a slip of the pen, since JSON has quotes in its braces. */
static bool has_unknown_place(str word)
{
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] != '{')
            continue;
        str rest = str_skip(word, i);
        size_t end = 1;
        while (end < rest.n && ((rest.p[end] >= 'a' && rest.p[end] <= 'z') || rest.p[end] == '_'))
            end++;
        bool known = end == 1 || end >= rest.n || rest.p[end] != '}';
        for (size_t k = 0; k < COMMAND_PLACES && !known; k++)
            known = str_starts(rest, places[k]);
        if (!known)
            return true;
    }
    return false;
}

static bool has_control(str word)
{
    for (size_t i = 0; i < word.n; i++)
        if ((unsigned char)word.p[i] < ' ')
            return true;
    return false;
}

static const char *check_word(str word, bool quoted, int *depth, str *out)
{
    *out = word;
    if (!quoted && str_eq(word, S("["))) {
        *out = OPEN;
        return ++*depth > 1 ? "a [ stands within another [ … ]" : NULL;
    }
    if (!quoted && str_eq(word, S("]"))) {
        *out = CLOSE;
        return --*depth < 0 ? "a ] has no [ before it" : NULL;
    }
    if (has_control(word))
        return "a word holds a control byte";
    return has_unknown_place(word) ? "it has a placeholder that is none: {port}, {host}, {model}, {name}, {threads}, {context}, {slots} and {total_context} are" : NULL;
}

enum err command_split(struct arena *a, str line, str **words, size_t *n, const char **why)
{
    str *list = arena_new(a, str, COMMAND_WORDS);
    size_t k = 0;
    int depth = 0;
    *why = NULL;
    while (list && !*why) {
        bool quoted;
        while (line.n && (line.p[0] == ' ' || line.p[0] == '\t' || line.p[0] == '\n'))
            line = str_skip(line, 1);
        if (!line.n)
            break;
        char *out = arena_alloc(a, line.n + 1, 1);
        size_t len;
        if (!out)
            return ERR_LIMIT;
        if (k == COMMAND_WORDS)
            *why = "it has too many words";
        else if (!read_word(&line, out, &len, &quoted))
            *why = "its quotes do not end";
        else
            *why = check_word((str){ out, len }, quoted, &depth, &list[k++]);
    }
    if (!list)
        return ERR_LIMIT;
    if (!*why && depth)
        *why = "a [ has no ] after it";
    if (!*why && (!k || str_eq(list[0], OPEN)))
        *why = "it names no program";
    if (*why)
        return ERR_SYNTAX;
    *words = list;
    *n = k;
    return ERR_OK;
}

/* ---- filling ---- */

bool command_has(const str *words, size_t n, int place)
{
    for (size_t i = 0; i < n; i++)
        if (str_find(words[i], places[place]) < words[i].n)
            return true;
    return false;
}

static bool lacks_value(str word, const struct command_values *v)
{
    for (int k = 0; k < COMMAND_PLACES; k++)
        if (!v->of[k].n && str_find(word, places[k]) < word.n)
            return true;
    return false;
}

str command_word(struct arena *a, str word, const struct command_values *v)
{
    size_t most = word.n + 1;
    for (size_t i = 0; i < word.n; i++)
        for (size_t k = 0; word.p[i] == '{' && k < COMMAND_PLACES; k++)
            most += v->of[k].n;
    char *out = arena_alloc(a, most, 1);
    size_t n = 0;
    for (size_t i = 0; out && i < word.n;) {
        size_t k = 0;
        while (k < COMMAND_PLACES && !(word.p[i] == '{' && str_starts(str_skip(word, i), places[k])))
            k++;
        str put = k < COMMAND_PLACES ? v->of[k] : (str){ word.p + i, 1 };
        if (put.n)
            memcpy(out + n, put.p, put.n);
        n += put.n;
        i += k < COMMAND_PLACES ? places[k].n : 1;
    }
    if (out)
        out[n] = '\0';
    return (str){ out, n };
}

/* The group that begins at words[i]: is every value there? */
static bool group_holds(const str *words, size_t n, size_t i, const struct command_values *v)
{
    for (; i < n && !str_eq(words[i], CLOSE); i++)
        if (lacks_value(words[i], v))
            return false;
    return true;
}

enum err command_expand(struct arena *a, const str *words, size_t n, const struct command_values *v, char ***argv, size_t *n_argv)
{
    char **list = arena_new(a, char *, n + 1);
    size_t k = 0;
    bool skipping = false;
    if (!list)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++) {
        if (str_eq(words[i], OPEN) || str_eq(words[i], CLOSE)) {
            skipping = str_eq(words[i], OPEN) && !group_holds(words, n, i + 1, v);
            continue;
        }
        str w = skipping ? S("") : command_word(a, words[i], v);
        if (!w.p)
            return ERR_LIMIT;
        if (!skipping)
            list[k++] = (char *)(uintptr_t)w.p;
    }
    *argv = list;
    *n_argv = k;
    return ERR_OK;
}
