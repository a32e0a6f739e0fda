/* `hearth manual`: the manual page and the shell's completion, from the tables of commands and flags. */
#include "cmd/command.h"

/* roff: a backslash and a leading dot or quote mean something else; dashes must be real ones, so that they can be copied. */
static void roff(const char *s)
{
    if (*s == '.' || *s == '\'')
        fputs("\\&", stdout);
    for (; *s; s++)
        if (*s == '\\')
            fputs("\\e", stdout);
        else if (*s == '-')
            fputs("\\-", stdout);
        else if (*s == '\n')
            fputs("\n.br\n", stdout);
        else
            fputc(*s, stdout);
}

static void roff_flag(const struct flag *d)
{
    fputs(".TP\n.B ", stdout);
    if (d->letter)
        printf("\\-%c, ", d->letter);
    fputs("\\-\\-", stdout);
    roff(d->name);
    if (d->value)
        printf(" \\fI%s\\fR", d->value);
    fputc('\n', stdout);
    roff(d->help);
    fputc('\n', stdout);
}

static void roff_command(const struct command *k)
{
    fputs(".SS hearth ", stdout);
    roff(k->name);
    fputc(' ', stdout);
    roff(k->args);
    fputc('\n', stdout);
    roff(k->brief);
    fputs(".\n.PP\n", stdout);
    if (k->about)
        roff(k->about);
    fputc('\n', stdout);
    for (int i = 0; i < COMMAND_MAX_FLAGS && k->flags[i]; i++)
        roff_flag(k->flags[i]);
    if (k->examples) {
        fputs(".PP\nExamples:\n.PP\n.nf\n", stdout);
        for (const char *p = k->examples; *p; p++)
            fputs(*p == '\\' ? "\\e" : *p == '-' ? "\\-" : (char[]){ *p, 0 }, stdout);
        fputs("\n.fi\n", stdout);
    }
}

static void page(void)
{
    puts(".TH HEARTH 1 \"\" \"hearth " HEARTH_VERSION "\" \"User Commands\"\n.SH NAME\nhearth \\- local and cloud language models behind one API, "
         "every call on record\n.SH SYNOPSIS\n.B hearth\n.I COMMAND\n[\\fIARGUMENT\\fR ...]\n.SH COMMANDS");
    for (const struct command *const *k = commands; *k; k++)
        roff_command(*k);
    puts(".SH EXIT STATUS\n0 done, 1 failed, 2 usage, 3 found something, 4 not available.\n"
         ".SH FILES\n.TP\n.I hearth.yaml\nthe configuration; see docs/configuration.md\n.TP\n.I hearth.db\nthe ledger, with its lock, key and command socket beside it");
}

static void completion(void)
{
    puts("# bash completion for hearth\n_hearth() {\n    local word=${COMP_WORDS[COMP_CWORD]}\n    if [ \"$COMP_CWORD\" -eq 1 ]; then");
    fputs("        COMPREPLY=($(compgen -W \"", stdout);
    for (const struct command *const *k = commands; *k; k++)
        printf("%s ", (*k)->name);
    puts("--help --version\" -- \"$word\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in");
    for (const struct command *const *k = commands; *k; k++) {
        printf("    %s) COMPREPLY=($(compgen -W \"--help", (*k)->name);
        for (int i = 0; i < COMMAND_MAX_FLAGS && (*k)->flags[i]; i++)
            printf(" --%s", (*k)->flags[i]->name);
        puts("\" -- \"$word\") $(compgen -f -- \"$word\")) ;;");
    }
    puts("    esac\n}\ncomplete -F _hearth hearth");
}

static int manual_run(struct cmd *c)
{
    const char *what = c->argc ? c->argv[0] : "page";
    if (strcmp(what, "page") == 0)
        page();
    else if (strcmp(what, "bash") == 0)
        completion();
    else
        return cmd_fail(EXIT_USAGE, NULL, "hearth manual knows \"page\" and \"bash\", not \"%s\"", what);
    return EXIT_DONE;
}

const struct command command_manual = {
    .name = "manual", .args = "[page|bash]", .brief = "print the manual page, or the completion for bash",
    .examples = "  hearth manual page | man -l -\n  source <(hearth manual bash)",
    .max_args = 1, .run = manual_run,
};
