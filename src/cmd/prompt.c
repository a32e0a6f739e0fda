/* `hearth prompt`: versions of prompts, their labels, and what they come to. */
#include "cmd/app.h"
#include "cmd/config_prompts.h"
#include "cmd/discover.h"
#include "cmd/term.h"
#include "cmd/textdiff.h"
#include "core/json.h"

#include <errno.h>
#include <unistd.h>

struct shelf { struct app_config *cfg; const char *path; struct prompt_book book; };

static const struct prompt *need(struct shelf *s, const char *reference)
{
    const struct prompt *p = prompt_find(&s->book, str_of(reference));
    if (!p)
        cmd_fail(EXIT_MISSING, "See: hearth prompt list", "there is no prompt %s", reference);
    return p;
}

static int append(struct shelf *s, const struct buf *line, const char *what)
{
    if (app_make_parents(s->path) != ERR_OK || prompt_file_append(s->path, str_slice(line->p, line->n)) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "%s was not written: %s", s->path, strerror(errno));
    fprintf(stderr, "%s; a running hearth knows it within two seconds.\n", what);
    return EXIT_DONE;
}

/* ---- add and label ---- */

static int read_text(const char *file, struct buf *b)
{
    char piece[65536];
    size_t n;
    FILE *f = file && strcmp(file, "-") != 0 ? fopen(file, "re") : stdin;
    if (!f)
        return cmd_fail(EXIT_FAILED, NULL, "%s cannot be read: %s", file, strerror(errno));
    enum err e = ERR_OK;
    while (e == ERR_OK && (n = fread(piece, 1, sizeof piece, f)) > 0)
        e = buf_put(b, str_slice(piece, n));
    if (f != stdin)
        fclose(f);
    if (e != ERR_OK || !str_is_utf8(str_slice(b->p, b->n)))
        return cmd_fail(EXIT_FAILED, NULL, "a prompt is a text in UTF-8 of at most 1 MiB");
    return b->n ? EXIT_DONE : cmd_fail(EXIT_USAGE, NULL, "the prompt is empty");
}

static int add(struct cmd *c, struct shelf *s)
{
    struct buf text = { .max = PROMPT_TEXT_MAX }, line = { .max = 16u << 20 };
    str name = str_of(c->argv[1]);
    char at[CLOCK_TEXT], said[160];
    const struct prompt *last = prompt_find(&s->book, name);
    if (!prompt_name_ok(name))
        return cmd_fail(EXIT_USAGE, NULL, "a prompt's name has letters, digits and . _ / -");
    int code = read_text(c->argc > 2 ? c->argv[2] : NULL, &text);
    clock_text(clock_wall_us(&clock_system), at);
    if (code == EXIT_DONE && last && str_eq(last->text, buf_str(&text))) {
        fprintf(stderr, "%.*s@%lld has this text already; nothing was added.\n", STR_ARG(name), (long long)last->version);
    } else if (code == EXIT_DONE) {
        snprintf(said, sizeof said, "%.*s@%lld is added", STR_ARG(name), (long long)(last ? last->version + 1 : 1));
        code = prompt_write_add(&line, &s->book, name, buf_str(&text), str_of(c->f.message ? c->f.message : ""), str_of(at)) == ERR_OK ? append(s, &line, said)
                                                                                                                                : cmd_fail(EXIT_FAILED, NULL, "it is too large");
    }
    buf_free(&text);
    buf_free(&line);
    return code;
}

static int label(struct cmd *c, struct shelf *s)
{
    struct buf line = { .max = 1 << 16 };
    char at[CLOCK_TEXT], said[300];
    if (c->argc < 3)
        return cmd_fail(EXIT_USAGE, "As in: hearth prompt label docstring@3 prod", "hearth prompt label needs a version and a label");
    const struct prompt *p = need(s, c->argv[1]);
    if (!p)
        return EXIT_MISSING;
    str to = str_of(c->argv[2]);
    if (!to.n || !to.p || !prompt_name_ok(to) || str_eq(to, S("latest")) || (to.p[0] >= '0' && to.p[0] <= '9'))
        return cmd_fail(EXIT_USAGE, NULL, "a label is a name that begins with a letter, and not latest");
    clock_text(clock_wall_us(&clock_system), at);
    (void)prompt_write_label(&line, p->name, to, p->version, str_of(c->f.message ? c->f.message : ""), str_of(at));
    snprintf(said, sizeof said, "%.*s@%.*s is version %lld", STR_ARG(p->name), STR_ARG(to), (long long)p->version);
    int code = append(s, &line, said);
    buf_free(&line);
    return code;
}

/* ---- list, show, diff, render ---- */

static void print_json(const struct shelf *s, const struct prompt *p)
{
    struct buf b = { .max = 16u << 20 };
    struct json_out o;
    char hex[HEX_DIGEST];
    hex_encode(p->hash.b, sizeof p->hash.b, hex);
    json_out_init(&o, &b);
    json_open(&o, '{');
    const struct { const char *key; str v; } all[] = { { "name", p->name }, { "hash", str_slice(hex, HEX_DIGEST) }, { "at", p->at }, { "message", p->message }, { "text", p->text } };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        json_put_key(&o, str_of(all[i].key));
        json_put_str(&o, all[i].v);
    }
    json_put_key(&o, S("version"));
    json_put_i64(&o, p->version);
    json_put_key(&o, S("labels"));
    json_open(&o, '[');
    for (size_t i = 0; i < s->book.n_labels; i++)
        if (str_eq(s->book.labels[i].name, p->name) && s->book.labels[i].version == p->version)
            json_put_str(&o, s->book.labels[i].label);
    json_close(&o, ']');
    json_close(&o, '}');
    printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_free(&b);
}

static int list(struct cmd *c, struct shelf *s)
{
    if (!c->f.json && s->book.n)
        printf("%s%-28s %-12s %-10s %-16s %s%s\n", term_out("1"), "PROMPT", "HASH", "ADDED", "LABELS", "MESSAGE", term_out("0"));
    for (size_t i = 0; i < s->book.n; i++) {
        const struct prompt *p = &s->book.list[i];
        char hex[13] = "", labels[17] = "";
        size_t n = 0;
        if (c->argc > 1 && !str_eq(p->name, str_of(c->argv[1])))
            continue;
        if (c->f.json) {
            print_json(s, p);
            continue;
        }
        hex_encode(p->hash.b, 6, hex);
        for (size_t k = 0; k < s->book.n_labels && n < 16; k++)
            if (str_eq(s->book.labels[k].name, p->name) && s->book.labels[k].version == p->version)
                n += (size_t)snprintf(labels + n, sizeof labels - n, "%s%.*s", n ? "," : "", STR_ARG(s->book.labels[k].label));
        term_cell(stdout, arena_printf(&c->arena, "%.*s@%lld", STR_ARG(p->name), (long long)p->version), 28, true);
        printf(" %-12s %-10.10s %-16s ", hex, p->at.p ? p->at.p : "", labels);
        term_text(stdout, p->message);
        putchar('\n');
    }
    if (!s->book.n)
        fprintf(stderr, "No prompts yet: hearth prompt add NAME FILE, or prompts: { dir: FOLDER } in the configuration.\n");
    return EXIT_DONE;
}

static void print_line(void *ctx, char mark, str line)
{
    (void)ctx;
    printf("%s%c ", term_out(mark == '-' ? "31" : mark == '+' ? "32" : "2"), mark);
    term_text(stdout, line);
    printf("%s\n", term_out("0"));
}

static int diff(struct cmd *c, struct shelf *s)
{
    if (c->argc < 3)
        return cmd_fail(EXIT_USAGE, "As in: hearth prompt diff docstring@2 docstring@prod", "hearth prompt diff needs two versions");
    const struct prompt *x = need(s, c->argv[1]), *y = x ? need(s, c->argv[2]) : NULL;
    if (!x || !y)
        return EXIT_MISSING;
    printf("%s--- %.*s@%lld\n+++ %.*s@%lld%s\n", term_out("1"), STR_ARG(x->name), (long long)x->version, STR_ARG(y->name), (long long)y->version, term_out("0"));
    if (textdiff_run(&c->arena, x->text, y->text, &(struct textdiff){ print_line, NULL }) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_LIMIT));
    return str_eq(x->text, y->text) ? EXIT_DONE : EXIT_FOUND;
}

/* name=value … as an object of strings. */
static enum err variables_of(struct cmd *c, int first, json *out)
{
    struct buf b = { .max = 64u << 20 };
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (int i = first; i < c->argc; i++) {
        str key, value;
        if (!str_cut(str_of(c->argv[i]), '=', &key, &value))
            return ERR_SYNTAX;
        json_put_key(&o, key);
        json_put_str(&o, value);
    }
    json_close(&o, '}');
    str text = arena_str(&c->arena, buf_str(&b));
    buf_free(&b);
    return o.err ? o.err : json_parse(&c->arena, text, &JSON_DEFAULT_LIMITS, out, NULL);
}

static int render(struct cmd *c, struct shelf *s)
{
    const struct prompt *p = need(s, c->argv[1]);
    struct buf out = { .max = 64u << 20 };
    struct wire_error why = { .err = ERR_OK };
    json variables, list_of, v;
    str role, text;
    if (!p)
        return EXIT_MISSING;
    if (variables_of(c, 2, &variables) != ERR_OK)
        return cmd_fail(EXIT_USAGE, "As in: hearth prompt render docstring language=C", "variables are written as name=value");
    (void)buf_putc(&out, '[');
    enum err e = prompt_render(&c->arena, p, variables, &out, NULL, &why);
    (void)buf_putc(&out, ']');
    if (e != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "%.*s", STR_ARG(why.message.n ? why.message : str_of(err_text(e))));
    if (c->f.json)
        printf("%.*s\n", STR_ARG(buf_str(&out)));
    else if (json_parse(&c->arena, buf_str(&out), &JSON_DEFAULT_LIMITS, &list_of, NULL) == ERR_OK)
        for (v = json_first(list_of); json_type(v) != JSON_NONE; v = json_next(v))
            if (json_text(&c->arena, json_member(v, S("role")), &role) == ERR_OK && json_text(&c->arena, json_member(v, S("content")), &text) == ERR_OK) {
                printf("%s[%.*s]%s\n", term_out("36"), STR_ARG(role), term_out("0"));
                term_text(stdout, text);
                putchar('\n');
            }
    buf_free(&out);
    return EXIT_DONE;
}

static int show(struct cmd *c, struct shelf *s)
{
    const struct prompt *p = need(s, c->argv[1]);
    if (!p)
        return EXIT_MISSING;
    if (c->f.json)
        print_json(s, p);
    else
        printf("%.*s%s", STR_ARG(p->text), str_ends(p->text, S("\n")) ? "" : "\n");
    return EXIT_DONE;
}

static int prompt_run(struct cmd *c)
{
    static const struct { const char *name; int (*run)(struct cmd *c, struct shelf *s); int least; } kinds[] = {
        { "add", add, 2 }, { "list", list, 1 }, { "show", show, 2 }, { "diff", diff, 2 }, { "label", label, 2 }, { "render", render, 2 } };
    struct shelf s = { .cfg = NULL };
    int code = app_load(c, false, &s.cfg);
    if (code)
        return code;
    s.path = s.cfg->config->prompt_options.file.p;
    s.book = s.cfg->config->prompts;
    bool known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(c->argv[0], kinds[i].name) == 0 && (known = true))
            code = c->argc >= kinds[i].least ? kinds[i].run(c, &s) : cmd_fail(EXIT_USAGE, "See: hearth prompt --help", "hearth prompt %s needs the name of a prompt", kinds[i].name);
    if (!known)
        code = cmd_fail(EXIT_USAGE, "See: hearth prompt --help", "hearth prompt knows add, list, show, diff, label and render, not %s", c->argv[0]);
    app_unload(s.cfg);
    return code;
}

const struct command command_prompt = {
    .name = "prompt", .args = "add|list|show|diff|label|render …", .brief = "versioned prompts: add, compare, label, fill in",
    .about = "add NAME [FILE|-]: a new version. list [NAME]. show, diff: NAME@3, NAME@prod or NAME (the newest). label NAME@3 prod: moves a label.\n"
             "render NAME [variable=value …]: the messages it comes to. A template has {{variables}}, and lines [system], [user], [assistant].\n"
             "Clients name one by x-hearth-prompt: NAME@prod and give hearth_variables in the body, or by OpenAI's prompt object.",
    .examples = "  hearth prompt add docstring docstring.md -m \"ask for types\"\n  hearth prompt diff docstring@2 docstring@3\n  hearth prompt label docstring@3 prod -m \"measured better\"\n"
                "  hearth prompt render docstring@prod language=C code=\"$(cat f.c)\"",
    .flags = { &flag_message, &flag_json, &flag_config, &flag_ledger }, .min_args = 1, .max_args = -1, .run = prompt_run,
};
