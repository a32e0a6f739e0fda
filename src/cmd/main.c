/* The program: the list of subcommands, and the choice among them. */
#include "cmd/command.h"
#include "io/ward.h"

#include <malloc.h>
#include <signal.h>

const struct command *const commands[] = {
    &command_serve, &command_run, &command_exec, &command_explain, &command_models, &command_pull, &command_rm, &command_ps, &command_plan, &command_load, &command_unload,
    &command_key, &command_prompt,
    &command_log, &command_show, &command_report, &command_replay, &command_diff, &command_verify, &command_export, &command_dataset, &command_erase, &command_backup, &command_sanitize, &command_guard, &command_config,
    &command_doctor, &command_manual, NULL,
};

enum { ARENA_LIMIT = 256 << 20, LARGE = 256 << 10, KEPT = 4 << 20 };

static int run(const struct command *k, int argc, char **argv)
{
    struct cmd c = { .command = k };
    int code = command_parse(&c, argc, argv);
    if (code)
        return code;
    if (c.f.help) {
        command_help(k, stdout);
        return EXIT_DONE;
    }
    arena_init(&c.arena, ARENA_LIMIT);
    code = k->run(&c);
    arena_free(&c.arena);
    /* What could not be written (a full disk behind a redirection) is a failure, not a success with half its output. */
    if (fflush(stdout) != 0 && code == EXIT_DONE)
        return cmd_fail(EXIT_FAILED, NULL, "the output could not be written");
    return code;
}

int main(int argc, char **argv)
{
    /* Writing says by itself that nobody reads, or that the file may not grow: no reason to end. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    /* Large bodies come from the system and go back to it. By itself the allocator keeps up to 64 MiB a thread of what was large once. */
    mallopt(M_MMAP_THRESHOLD, LARGE);
    mallopt(M_TRIM_THRESHOLD, KEPT);
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, WARD_FLAG) == 0)           /* what a foreign server is started below */
        return ward_main(argc - 2, argv + 2);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("hearth " HEARTH_VERSION);
        return EXIT_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        for (const struct command *const *k = commands; argc > 2 && *k; k++)
            if (strcmp(argv[2], (*k)->name) == 0) {
                command_help(*k, stdout);
                return EXIT_DONE;
            }
        command_help_all(stdout);
        return EXIT_DONE;
    }
    if (!*name) {
        command_help_all(stderr);
        return EXIT_USAGE;
    }
    for (const struct command *const *k = commands; *k; k++)
        if (strcmp(name, (*k)->name) == 0)
            return run(*k, argc - 2, argv + 2);
    return cmd_fail(EXIT_USAGE, "See: hearth --help", "hearth has no command %s", name);
}
