/* `hearth sanitize`: files without personal data and secrets, and back. */
#include "cmd/sanitize.h"
#include "cmd/term.h"
#include "core/clock.h"
#include "core/cores.h"

#include <errno.h>
#include <unistd.h>

enum { JOBS_MAX = 8 };

struct work {
    struct cmd *c;
    struct sanitize_job job;
    struct sanitize_vault vault;
    struct sanitize_files files;
    size_t next, ended;                 /* under the job's lock, like all below */
    pthread_cond_t over;
    FILE *said;
    char why[256];                      /* the vault could not be opened */
    size_t running;
};

static void say(struct work *w, const struct sanitize_file *f)
{
    bool wrong = f->state == FILE_FAILED || f->state == FILE_SKIPPED;
    if (w->c->f.json) {
        sanitize_json(w->said, w->job.finder, f);
        return;
    }
    if (f->state == FILE_CLEAN && !f->odd_bytes && !f->unknown)
        return;
    if (w->c->f.quiet && !wrong)
        return;
    term_progress_end();
    sanitize_line(wrong ? stderr : w->said, w->job.finder, f);
}

static void *work_run(void *ctx)
{
    struct work *w = ctx;
    struct vault_file *vault = NULL;
    struct arena a;
    char why[256] = "";
    enum err e = w->job.vault ? vault_file_open(w->vault.path, &w->vault.keys, 0, &vault, why) : ERR_OK;
    arena_init(&a, 64 << 20);
    pthread_mutex_lock(&w->job.lock);
    if (e)
        memcpy(w->why, why, sizeof why);
    while (!e && w->next < w->files.n) {
        struct sanitize_file *f = &w->files.v[w->next++];
        if (f->state == FILE_WAITS) {
            pthread_mutex_unlock(&w->job.lock);
            sanitize_one(&w->job, vault, &a, f);
            pthread_mutex_lock(&w->job.lock);
        }
        if (f->why)                     /* what it says lies in this thread's memory */
            f->why = arena_cstr(&w->c->arena, str_of(f->why));
        say(w, f);
        w->ended++;
    }
    w->running--;
    pthread_cond_broadcast(&w->over);
    pthread_mutex_unlock(&w->job.lock);
    arena_free(&a);
    vault_file_close(vault);
    return NULL;
}

/* Waits for the threads, with a bar where somebody looks. */
static void watch(struct work *w)
{
    pthread_mutex_lock(&w->job.lock);
    while (w->running) {
        struct timespec until;
        char after[48];
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&w->over, &w->job.lock, &until);
        if (w->c->f.quiet || !w->running || (!w->c->f.out && !w->c->f.in_place && !w->c->f.dry_run && term_is_out()))
            continue;
        snprintf(after, sizeof after, " %zu of %zu files", w->ended, w->files.n);
        term_progress_with(w->job.restore ? "restoring" : "sanitizing", w->job.done, w->files.bytes, after);
    }
    pthread_mutex_unlock(&w->job.lock);
    term_progress_end();
}

static int64_t jobs_of(const struct cmd *c, const struct work *w, bool to_stdout)
{
    int64_t n = c->f.jobs > 0 ? c->f.jobs : cores_free();
    n = n > JOBS_MAX ? JOBS_MAX : n;
    n = n > (int64_t)w->files.n ? (int64_t)w->files.n : n;
    return to_stdout || n < 1 ? 1 : n;  /* on standard output they stand in the order in which they were named */
}

static int run_all(struct work *w, bool to_stdout)
{
    pthread_t threads[JOBS_MAX];
    int64_t n = jobs_of(w->c, w, to_stdout), made = 0;
    w->running = (size_t)n;
    for (; made < n && pthread_create(&threads[made], NULL, work_run, w) == 0; made++)
        ;
    pthread_mutex_lock(&w->job.lock);
    w->running -= (size_t)(n - made);
    pthread_mutex_unlock(&w->job.lock);
    if (!made)
        return cmd_fail(EXIT_FAILED, NULL, "no thread could be started");
    watch(w);
    for (int64_t i = 0; i < made; i++)
        pthread_join(threads[i], NULL);
    return *w->why ? cmd_fail(EXIT_FAILED, NULL, "%s", w->why) : EXIT_DONE;
}

static int sum_up(struct work *w)
{
    size_t failed = 0, found = 0, places = 0, lost = 0, binary = 0, restored = 0;
    for (size_t i = 0; i < w->files.n; i++) {
        const struct sanitize_file *f = &w->files.v[i];
        failed += f->state == FILE_FAILED || f->state == FILE_SKIPPED;
        binary += f->state == FILE_BINARY;
        found += f->state == FILE_CHANGED;
        lost += f->lost;
        restored += f->restored;
        for (int t = 0; t < GUARD_N_TYPES; t++)
            places += f->found[t];
    }
    if (!w->c->f.json && !w->c->f.quiet && w->job.restore)
        fprintf(w->said, "%zu files, %zu placeholders restored in %zu of them\n", w->files.n, restored, found);
    else if (!w->c->f.json && !w->c->f.quiet)
        fprintf(w->said, "%zu files, %zu found in %zu of them%s\n", w->files.n, places, found, binary ? "; binary files were skipped" : "");
    if (lost && !w->c->f.quiet && w->job.vault)
        fprintf(stderr, "%zu secrets have no way back; --keep-secrets keeps them in the vault.\n", lost);
    if (w->c->f.report && !sanitize_report(w->c->f.report, &w->files, &w->job))
        return cmd_fail(EXIT_FAILED, NULL, "the report %s cannot be written: %s", w->c->f.report, strerror(errno));
    return failed ? EXIT_FAILED : found && !w->job.restore ? EXIT_FOUND : EXIT_DONE;
}

static int check(const struct cmd *c)
{
    const struct flags *g = &c->f;
    if ((g->out != NULL) + g->in_place + g->dry_run > 1)
        return cmd_fail(EXIT_USAGE, "See: hearth sanitize --help", "--out, --in-place and --dry-run exclude each other");
    for (int i = 0; i < c->argc; i++) {
        struct stat st;
        bool is_stdin = strcmp(c->argv[i], "-") == 0;
        if (is_stdin && (g->in_place || g->out))
            return cmd_fail(EXIT_USAGE, "Redirect its output: hearth sanitize - > FILE", "what comes from standard input goes to standard output");
        if (!is_stdin && stat(c->argv[i], &st))
            return cmd_fail(EXIT_FAILED, NULL, "%s cannot be read: %s", c->argv[i], strerror(errno));
        if (!is_stdin && S_ISDIR(st.st_mode) && !g->in_place && !g->out && !g->dry_run)
            return cmd_fail(EXIT_USAGE, "Add --out DIR, --in-place or --dry-run.", "%s is a folder: say where its files are to go", c->argv[i]);
    }
    return EXIT_DONE;
}

static int run_with(struct work *w, const struct gate_guard *g, bool to_stdout)
{
    struct cmd *c = w->c;
    int code;
    if (!c->f.dry_run || c->f.restore) {
        if ((code = sanitize_vault_find(c, g, c->f.restore, &w->vault)))
            return code;
        w->job.vault = &w->vault;
    }
    for (int i = 0; i < c->argc; i++) {
        enum err e = sanitize_gather(&w->files, c->argv[i], c->f.out);
        if (e)
            return cmd_fail(EXIT_FAILED, NULL, "%s cannot be read: %s", c->argv[i], e == ERR_IO ? strerror(errno) : err_text(e));
    }
    code = run_all(w, to_stdout);
    return code == EXIT_DONE ? sum_up(w) : code;
}

static int sanitize_run(struct cmd *c)
{
    struct work w = { .c = c, .files = { .a = &c->arena } };
    struct sanitize_rules rules;
    bool to_stdout = !c->f.out && !c->f.in_place && !c->f.dry_run;
    int code = check(c);
    if (!code)
        code = sanitize_rules_load(c, &rules, &w.job);
    if (code)
        return code;
    w.job.restore = c->f.restore;
    w.job.in_place = c->f.in_place;
    w.job.dry = c->f.dry_run;
    w.job.at_us = clock_wall_us(&clock_system);
    w.said = to_stdout ? stderr : stdout;
    sanitize_job_init(&w.job);
    pthread_cond_init(&w.over, NULL);
    code = run_with(&w, &rules.config->config->guard, to_stdout);
    explicit_bzero(&w.vault.keys, sizeof w.vault.keys);
    app_unload(rules.config);
    return code;
}

const struct command command_sanitize = {
    .name = "sanitize", .args = "FILE…|DIR|-", .brief = "replace personal data and secrets in files by placeholders, and back",
    .about = "The same value gets the same placeholder in every file, run and guarded call: [EMAIL_k7q2m]. What each stands for lies sealed in the vault\n"
             "(guard.db and its key guard.key beside the ledger), and --restore puts it back. Secrets have a way back only with --keep-secrets.\n"
             "What is found is what the configuration's guard says: your own types, deny, allow, threshold and leave.\n"
             "Lines, columns of tables and JSON stay what they are. Files up to 64 MB are looked at whole, so that a name found once is found everywhere;\n"
             "larger ones in pieces, forward only. In a git repository, what git ignores is skipped; so are binary files, and said.\n"
             "--in-place replaces each file at once: killed at any time, a file is the old one or the new one.\n"
             "Ends with 3 when something was found, 0 when nothing, 1 when a file could not be looked at.",
    .examples = "  hearth sanitize app.log > app.clean.log\n  kubectl logs web | hearth sanitize -\n  hearth sanitize data/ --out clean/ --report report.html\n"
                "  hearth sanitize . --in-place && echo clean\n  hearth sanitize answer.md --restore\n  hearth sanitize src/ --dry-run --json       # in CI: fails with 3",
    .flags = { &flag_out, &flag_in_place, &flag_restore, &flag_dry_run, &flag_report, &flag_keep_secrets, &flag_jobs, &flag_vault, &flag_key_file, &flag_json, &flag_quiet, &flag_config,
               &flag_ledger },
    .min_args = 1, .max_args = -1, .run = sanitize_run,
};
