/* The walk over the tables of commands and flags: parsing and help. */
#include "cmd/command.h"

#include "cmd/term.h"

#include <math.h>
#include <stdarg.h>

#define AT(field) offsetof(struct flags, field)

const struct flag
    flag_help = { "help", 'h', FLAG_BOOL, AT(help), NULL, "show this" },
    flag_json = { "json", 'j', FLAG_BOOL, AT(json), NULL, "machine-readable output, one JSON value a line" },
    flag_follow = { "follow", 'f', FLAG_BOOL, AT(follow), NULL, "go on printing rows as they are written, until Ctrl-C" },
    flag_all = { "all", 'a', FLAG_BOOL, AT(all), NULL, "every kind of row, not only answers and cut calls" },
    flag_private = { "private", 'p', FLAG_BOOL, AT(private), NULL, "private data: never to a cloud zone" },
    flag_quiet = { "quiet", 'q', FLAG_BOOL, AT(quiet), NULL, "only the answer, no line of numbers after it" },
    flag_config = { "config", 'c', FLAG_TEXT, AT(config), "FILE", "the configuration (default: ./hearth.yaml, then ~/.config/hearth/hearth.yaml)" },
    flag_ledger = { "ledger", 'l', FLAG_TEXT, AT(ledger), "FILE", "another ledger than the configuration's" },
    flag_listen = { "listen", 0, FLAG_TEXT, AT(listen), "ADDRESS", "loopback address and port to serve on (default 127.0.0.1:8420)" },
    flag_model = { "model", 'm', FLAG_TEXT, AT(model), "NAME|FILE", "a model by name, or a GGUF file" },
    flag_task = { "task", 't', FLAG_TEXT, AT(task), "NAME", "only calls of this task; with run and exec: ask as this task; with key: the task of calls that name no model" },
    flag_provider = { "provider", 0, FLAG_TEXT, AT(provider), "NAME", "only calls that went to this provider" },
    flag_zone = { "zone", 0, FLAG_TEXT, AT(zone), "ZONE", "only calls that went to machine, private or cloud" },
    flag_outcome = { "outcome", 'o', FLAG_TEXT, AT(outcome), "OUTCOME", "only ok, error, cut, refused or cancelled" },
    flag_since = { "since", 's', FLAG_TEXT, AT(since), "AGO", "not older than this: 90s, 15m, 12h, 7d" },
    flag_until = { "until", 'u', FLAG_TEXT, AT(until), "AGO", "not younger than this" },
    flag_system = { "system", 's', FLAG_TEXT, AT(system), "TEXT", "a system message before the question" },
    flag_limit = { "limit", 'n', FLAG_COUNT, AT(limit), "N", "at most so many rows (default 20)" },
    flag_max_tokens = { "max-tokens", 0, FLAG_COUNT, AT(max_tokens), "N", "end the answer after so many tokens" },
    flag_seed = { "seed", 0, FLAG_COUNT, AT(seed), "N", "seed of the sampling" },
    flag_temperature = { "temperature", 0, FLAG_REAL, AT(temperature), "T", "0 for the likeliest token each time" },
    flag_tasks = { "tasks", 0, FLAG_TEXT, AT(tasks), "A,B", "tasks that it opens" },
    flag_models = { "models", 0, FLAG_TEXT, AT(models), "A,B", "models that it opens; without tasks and models: everything" },
    flag_key_zone = { "zone", 0, FLAG_TEXT, AT(zone), "ZONE", "no call of it goes farther: machine, private or cloud" },
    flag_requests = { "requests", 0, FLAG_COUNT, AT(requests), "N", "calls per minute" },
    flag_tokens = { "tokens", 0, FLAG_COUNT, AT(tokens), "N", "tokens per minute" },
    flag_per_day = { "per-day", 0, FLAG_REAL, AT(per_day), "DOLLARS", "what it may spend in a day" },
    flag_per_month = { "per-month", 0, FLAG_REAL, AT(per_month), "DOLLARS", "what it may spend in a month" },
    flag_expires = { "expires", 0, FLAG_TEXT, AT(expires), "DAY", "the day from which it opens nothing: 2027-01-31" },
    flag_admin = { "admin", 0, FLAG_BOOL, AT(admin), NULL, "may read /metrics too" },
    flag_bodies = { "bodies", 'b', FLAG_BOOL, AT(bodies), NULL, "prompts and answers too, as far as they are kept" },
    flag_yes = { "yes", 'y', FLAG_BOOL, AT(yes), NULL, "do not ask" },
    flag_key = { "key", 'k', FLAG_TEXT, AT(key), "NAME", "only calls of this virtual key" },
    flag_conversation = { "conversation", 0, FLAG_TEXT, AT(conversation), "ID", "only calls that named this conversation (x-hearth-conversation)" },
    flag_call = { "call", 0, FLAG_TEXT, AT(call), "ID", "only this call" },
    flag_message = { "message", 'm', FLAG_TEXT, AT(message), "TEXT", "why: kept with the version or the label" },
    flag_name = { "name", 'n', FLAG_TEXT, AT(name), "NAME", "what clients call it (default: after its file, or as the registry does)" },
    flag_sha256 = { "sha256", 0, FLAG_TEXT, AT(sha256), "HEX", "what the file's SHA-256 must be" },
    flag_copy = { "copy", 0, FLAG_BOOL, AT(copy), NULL, "a file of this disk: copy it, instead of giving it a second name" },
    flag_on_disk = { "all", 'a', FLAG_BOOL, AT(on_disk), NULL, "also models on this disk that the configuration does not name" },
    flag_out = { "out", 'o', FLAG_TEXT, AT(out), "DIR", "write the results into this folder, by the same paths" },
    flag_in_place = { "in-place", 'i', FLAG_BOOL, AT(in_place), NULL, "replace each file by its result; mode and times stay" },
    flag_restore = { "restore", 'r', FLAG_BOOL, AT(restore), NULL, "the way back: what the vault knows of placeholders is put in their place" },
    flag_dry_run = { "dry-run", 'n', FLAG_BOOL, AT(dry_run), NULL, "write nothing, say what would be found" },
    flag_report = { "report", 0, FLAG_TEXT, AT(report), "FILE", "counts by file, type and rule: JSON, or a page when it ends in .html" },
    flag_keep_secrets = { "keep-secrets", 0, FLAG_BOOL, AT(keep_secrets), NULL, "keep secrets in the vault, too, so that --restore puts them back" },
    flag_jobs = { "jobs", 0, FLAG_COUNT, AT(jobs), "N", "so many files at once, at most 8 (default: the cores)" },
    flag_vault = { "vault", 0, FLAG_TEXT, AT(vault), "FILE", "the vault (default: the gate's, guard.vault)" },
    flag_key_file = { "key", 'k', FLAG_TEXT, AT(key), "FILE", "its key (default: HEARTH_GUARD_KEY, then the gate's)" },
    flag_guarded = { "guard", 'g', FLAG_BOOL, AT(guarded), NULL, "only calls in which the guard found something, or which it kept from leaving; and what" },
    flag_guard = { "guard", 0, FLAG_TEXT, AT(guard), "WORD", "at least this is done before a call of it leaves: off, detect, mask, mask+model, local or block" },
    flag_html = { "html", 0, FLAG_TEXT, AT(html), "FILE", "the same as a page with plots, too: one file, which needs nothing else" },
    flag_form = { "form", 0, FLAG_TEXT, AT(form), "FORM", "chat (for fine-tuning), evals (OpenAI's) or promptfoo; default: chat" },
    flag_reference = { "reference", 0, FLAG_TEXT, AT(reference), "MODEL", "by this model's prices, where the task of a call has no reference" },
    flag_show_values = { "show-values", 0, FLAG_BOOL, AT(show_values), NULL, "the values, too; on a terminal only" };

int cmd_fail(int code, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%serror:%s ", term_err("1;31"), term_err("0"));
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    if (hint && *hint)
        fprintf(stderr, "%s\n", hint);
    return code;
}

static const struct flag *flag_find(const struct command *k, str name, char letter)
{
    for (int i = 0; i < COMMAND_MAX_FLAGS && k->flags[i]; i++)
        if (letter ? k->flags[i]->letter == letter : str_eq(name, str_of(k->flags[i]->name)))
            return k->flags[i];
    if (letter ? letter == 'h' : str_eq(name, S("help")))
        return &flag_help;
    return NULL;
}

static bool flag_set(struct flags *f, const struct flag *d, const char *value)
{
    char *at = (char *)f + d->offset, *end;
    uint64_t n;
    switch (d->type) {
    case FLAG_BOOL:
        *(bool *)at = true;
        return true;
    case FLAG_TEXT:
        *(const char **)at = value;
        return *value != '\0';
    case FLAG_COUNT:
        if (!str_u64(str_of(value), &n) || n > INT64_MAX / 2)
            return false;
        *(int64_t *)at = (int64_t)n;
        return true;
    case FLAG_REAL:
        *(double *)at = strtod(value, &end);
        return end != value && !*end && isfinite(*(double *)at);
    }
    return false;
}

/* One argument that begins with a dash; *i moves on when its value is the next one. */
static int parse_flag(struct cmd *c, int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    bool is_long = arg[1] == '-';
    str name = str_of(arg + 2), value = STR_NONE;
    bool has_value = is_long && str_cut(str_of(arg + 2), '=', &name, &value);
    const struct flag *d = flag_find(c->command, name, is_long ? 0 : arg[1]);
    char hint[80];
    snprintf(hint, sizeof hint, "See: hearth %s --help", c->command->name);
    if (!d || (!is_long && arg[2]))
        return cmd_fail(EXIT_USAGE, hint, "hearth %s does not know %s", c->command->name, arg);
    const char *text = has_value ? value.p : "";
    if (d->type != FLAG_BOOL && !has_value) {
        if (*i + 1 >= argc)
            return cmd_fail(EXIT_USAGE, hint, "--%s needs a value: --%s %s", d->name, d->name, d->value);
        text = argv[++*i];
    }
    if ((d->type == FLAG_BOOL && has_value) || !flag_set(&c->f, d, text))
        return cmd_fail(EXIT_USAGE, hint, "--%s cannot be \"%s\"", d->name, text);
    return EXIT_DONE;
}

int command_parse(struct cmd *c, int argc, char **argv)
{
    bool only_args = false;
    c->f = (struct flags){ .limit = -1, .max_tokens = -1, .seed = -1, .requests = -1, .tokens = -1, .jobs = -1, .temperature = NAN, .per_day = NAN, .per_month = NAN };
    c->argv = argv;
    c->argc = 0;
    for (int i = 0; i < argc; i++) {
        if (only_args || argv[i][0] != '-' || !argv[i][1]) {
            c->argv[c->argc++] = argv[i];
            only_args |= c->command->runs_program;
        } else if (strcmp(argv[i], "--") == 0) {
            only_args = true;
        } else {
            int e = parse_flag(c, argc, argv, &i);
            if (e)
                return e;
        }
    }
    if (c->f.help)
        return EXIT_DONE;
    if (c->argc < c->command->min_args || (c->command->max_args >= 0 && c->argc > c->command->max_args)) {
        char hint[80];
        snprintf(hint, sizeof hint, "See: hearth %s --help", c->command->name);
        return cmd_fail(EXIT_USAGE, hint, "usage: hearth %s %s", c->command->name, c->command->args);
    }
    return EXIT_DONE;
}

static void help_flag(const struct flag *d, FILE *to)
{
    char left[48];
    snprintf(left, sizeof left, "%c%c%s --%s%s%s", d->letter ? '-' : ' ', d->letter ? d->letter : ' ', d->letter ? "," : " ", d->name,
             d->value ? " " : "", d->value ? d->value : "");
    fprintf(to, "  %-28s %s\n", left, d->help);
}

void command_help(const struct command *k, FILE *to)
{
    fprintf(to, "%shearth %s%s: %s\n\nusage: hearth %s %s\n", term_out("1"), k->name, term_out("0"), k->brief, k->name, k->args);
    if (k->about)
        fprintf(to, "\n%s\n", k->about);
    fputs("\n", to);
    for (int i = 0; i < COMMAND_MAX_FLAGS && k->flags[i]; i++)
        help_flag(k->flags[i], to);
    help_flag(&flag_help, to);
    if (k->examples)
        fprintf(to, "\nexamples:\n%s\n", k->examples);
}

void command_help_all(FILE *to)
{
    fprintf(to, "%shearth%s %s: local and cloud language models behind one API, every call on record\n\nusage: hearth COMMAND …\n\n", term_out("1"),
            term_out("0"), HEARTH_VERSION);
    for (const struct command *const *k = commands; *k; k++)
        fprintf(to, "  %s%-9s%s %s\n", term_out("1"), (*k)->name, term_out("0"), (*k)->brief);
    fputs("\n  hearth COMMAND --help    what it takes, with examples\n"
          "  hearth --version\n\n"
          "Begin with:  hearth serve        then, in another terminal:  hearth run \"Why is the sky blue?\"\n"
          "Exit codes: 0 done, 1 failed, 2 usage, 3 found something, 4 not available.\n", to);
}
