/* cmd/command.h: subcommands as a table: what they are called, what they take, what they do. Includes: core.
 *
 * One entry per subcommand, in its own file; main.c holds the list. Parsing, --help, the manual page and the completion of
 * the shell walk the same tables, so they cannot disagree. */
#ifndef HEARTH_CMD_COMMAND_H
#define HEARTH_CMD_COMMAND_H

#include "core/arena.h"

enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_FOUND = 3, EXIT_MISSING = 4 };

/* What any command may be told by flags; a command lists those it takes. */
struct flags {
    bool help, json, follow, all, private, quiet, admin, bodies, yes, copy, on_disk, in_place, restore, dry_run, keep_secrets, show_values, guarded;
    const char *config, *ledger, *listen, *model, *task, *provider, *zone, *outcome, *since, *until, *system, *tasks, *models, *expires, *key, *conversation, *call, *message, *name, *sha256, *vault, *out, *report, *guard, *html, *reference, *form;
    int64_t limit, max_tokens, seed, requests, tokens, jobs; /* -1: not given */
    double temperature, per_day, per_month;     /* NAN: not given */
};

struct flag {
    const char *name;                           /* without the dashes */
    char letter;                                /* 0: none */
    enum { FLAG_BOOL, FLAG_TEXT, FLAG_COUNT, FLAG_REAL } type;
    size_t offset;                              /* in struct flags */
    const char *value, *help;                   /* value: how help calls it */
};
extern const struct flag flag_help, flag_json, flag_follow, flag_all, flag_private, flag_quiet, flag_config, flag_ledger, flag_listen, flag_model,
    flag_task, flag_provider, flag_zone, flag_outcome, flag_since, flag_until, flag_system, flag_limit, flag_max_tokens, flag_seed, flag_temperature, flag_tasks, flag_models, flag_key_zone, flag_requests, flag_tokens,
    flag_per_day, flag_per_month, flag_expires, flag_admin, flag_bodies, flag_yes, flag_key, flag_conversation, flag_call, flag_message, flag_name, flag_sha256, flag_copy, flag_on_disk,
    flag_out, flag_in_place, flag_restore, flag_dry_run, flag_report, flag_keep_secrets, flag_jobs, flag_vault, flag_key_file, flag_show_values, flag_guarded, flag_guard, flag_html, flag_reference, flag_form;

#define COMMAND_MAX_FLAGS 16

struct command;
struct cmd {                                    /* one run of a command */
    const struct command *command;
    struct flags f;
    int argc;                                   /* what is left after the flags */
    char **argv;
    struct arena arena;                         /* lives as long as the command */
};

struct command {
    const char *name, *args, *brief, *about, *examples;
    const struct flag *flags[COMMAND_MAX_FLAGS];
    int min_args, max_args;                     /* max -1: any number */
    bool runs_program;                          /* the first argument is a program: what follows is its own, flags too */
    int (*run)(struct cmd *c);                  /* returns an exit_code */
};

extern const struct command *const commands[];  /* main.c; NULL-terminated, in the order of help */
extern const struct command command_serve, command_run, command_exec, command_explain, command_models, command_pull, command_rm, command_ps, command_plan, command_load, command_unload, command_key, command_prompt, command_log, command_show, command_report, command_replay, command_diff, command_verify, command_export, command_dataset, command_erase, command_backup, command_sanitize, command_guard,
    command_config, command_doctor, command_manual;

/* Fills c->f and c->argv; EXIT_USAGE after it has said what is wrong. */
int command_parse(struct cmd *c, int argc, char **argv);
void command_help(const struct command *k, FILE *to);
void command_help_all(FILE *to);

/* "error: …" on stderr with what to do next, when there is something. Returns `code`. */
int cmd_fail(int code, const char *hint, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
