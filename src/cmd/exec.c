/* `hearth exec`: any tool, pointed at hearth by the variables that it reads anyway. A table of variables; the rest is starting a program. */
#include "cmd/reach.h"
#include "cmd/term.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Who reads what: the SDKs of OpenAI and Anthropic *_BASE_URL and *_API_KEY (their README, "Environment variables"); Ollama's clients
 * OLLAMA_HOST; Aider, LiteLLM and LangChain *_API_BASE; Claude Code ANTHROPIC_AUTH_TOKEN and ANTHROPIC_MODEL; Codex OPENAI_BASE_URL. */
static const struct variable {
    const char *name;
    enum { VALUE_V1, VALUE_ROOT, VALUE_KEY, VALUE_MODEL, VALUE_AIDER_MODEL, VALUE_NO_PROXY } value;
} variables[] = {
    { "OPENAI_BASE_URL", VALUE_V1 },
    { "OPENAI_API_BASE", VALUE_V1 },
    { "OPENAI_API_KEY", VALUE_KEY },
    { "OPENAI_MODEL", VALUE_MODEL },
    { "ANTHROPIC_BASE_URL", VALUE_ROOT },
    { "ANTHROPIC_API_BASE", VALUE_ROOT },
    { "ANTHROPIC_API_KEY", VALUE_KEY },
    { "ANTHROPIC_MODEL", VALUE_MODEL },
    { "ANTHROPIC_SMALL_FAST_MODEL", VALUE_MODEL },
    { "OLLAMA_HOST", VALUE_ROOT },
    { "OLLAMA_API_BASE", VALUE_ROOT },
    { "AIDER_MODEL", VALUE_AIDER_MODEL },
    { "NO_PROXY", VALUE_NO_PROXY },
    { "no_proxy", VALUE_NO_PROXY },
};

/* Clients refuse to start without a key; hearth on a loopback address asks for none. HEARTH_KEY is the caller's virtual key. */
static const char *key(void)
{
    const char *k = getenv("HEARTH_KEY");
    return k && *k ? k : "hearth";
}

/* The value, or nothing: the variable stays as it is. */
static str value_of(struct cmd *c, const struct variable *v, uint16_t port)
{
    struct arena *a = &c->arena;
    str model = c->f.task ? arena_printf(a, "task/%s", c->f.task) : c->f.model && !str_ends(str_of(c->f.model), S(".gguf")) ? str_of(c->f.model) : STR_NONE;
    const char *old = getenv(v->name);
    switch (v->value) {
    case VALUE_V1:
        return arena_printf(a, "http://127.0.0.1:%u/v1", port);
    case VALUE_ROOT:
        return arena_printf(a, "http://127.0.0.1:%u", port);
    case VALUE_KEY:
        return str_of(key());
    case VALUE_MODEL:
        return model.n ? model : STR_NONE;
    case VALUE_AIDER_MODEL:
        return model.n ? arena_printf(a, "openai/%.*s", STR_ARG(model)) : STR_NONE;
    case VALUE_NO_PROXY:
        return arena_printf(a, "%s%s127.0.0.1,localhost", old ? old : "", old && *old ? "," : "");
    }
    return STR_NONE;
}

static void print_variables(struct cmd *c, uint16_t port)
{
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        str v = value_of(c, &variables[i], port);
        if (!v.n)
            continue;
        printf("export %s='", variables[i].name);
        for (size_t k = 0; k < v.n; k++)
            fputs(v.p[k] == '\'' ? "'\\''" : (char[]){ v.p[k], 0 }, stdout);
        puts("'");
    }
}

static bool set_variables(struct cmd *c, uint16_t port)
{
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        str v = value_of(c, &variables[i], port);
        const char *text = arena_cstr(&c->arena, v);
        if (!text || (v.n && setenv(variables[i].name, text, 1)))
            return false;
    }
    /* Claude Code takes its own login before a key, but not before a token; with both it complains. */
    const char *slash = strrchr(c->argv[0], '/');
    if (strcmp(slash ? slash + 1 : c->argv[0], "claude") == 0)
        return setenv("ANTHROPIC_AUTH_TOKEN", key(), 1) == 0 && unsetenv("ANTHROPIC_API_KEY") == 0;
    return true;
}

/* ---- beside an own hearth ---- */

struct child {
    struct io_signal ended;
    struct io_loop *loop;
    pid_t pid;
    int status;
    bool done;
};

static void on_child(struct io_signal *s, int signum)
{
    struct child *k = (struct child *)((char *)s - offsetof(struct child, ended));
    (void)signum;
    if (!k->done && k->pid > 0 && waitpid(k->pid, &k->status, WNOHANG) == k->pid)
        k->done = true;
    if (k->done)
        io_loop_stop(k->loop);
}

static void on_signal_closed(struct io_signal *s) { (void)s; }

static int start(char **argv)
{
    signal(SIGPIPE, SIG_DFL);           /* what main() set is ours alone */
    signal(SIGXFSZ, SIG_DFL);
    execvp(argv[0], argv);
    int code = errno == ENOENT ? 127 : 126;
    cmd_fail(EXIT_FAILED, NULL, "%s cannot be started: %s", argv[0], strerror(errno));
    return code;
}

/* The program is in our process group, so Ctrl-C reaches it; what it makes of that decides, so we do not end before it. */
static int run_beside(struct reach *r, struct child *k, char **argv)
{
    k->loop = r->loop;
    if (io_signal_init(r->loop, &k->ended, SIGCHLD, on_child) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "signals cannot be watched");
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    k->pid = fork();
    if (k->pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        _exit(start(argv));
    }
    while (k->pid > 0 && !k->done)
        io_loop_run(r->loop);
    io_signal_close(&k->ended, on_signal_closed);
    if (k->pid < 0)
        return cmd_fail(EXIT_FAILED, NULL, "no process can be started: %s", strerror(errno));
    return WIFEXITED(k->status) ? WEXITSTATUS(k->status) : 128 + WTERMSIG(k->status);
}

static int exec_run(struct cmd *c)
{
    struct reach r = { 0 };
    struct child k = { 0 };             /* lives until the loop has closed what watches it, in reach_close() */
    int code = reach_open(&r, c, c->argc ? REACH_LISTEN : REACH_RUNNING);
    if (code != EXIT_DONE) {
        reach_close(&r);
        return code;
    }
    uint16_t port = reach_port(&r, &c->arena);
    if (!port) {
        code = cmd_fail(EXIT_FAILED, NULL, "the running hearth does not say where it serves");
    } else if (!c->argc) {
        print_variables(c, port);
    } else if (!set_variables(c, port)) {
        code = cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    } else if (r.own) {
        app_warm(&r.app);
        fprintf(stderr, "%shearth serves on http://127.0.0.1:%u until %s ends%s\n", term_err("2"), port, c->argv[0], term_err("0"));
        c->argv[c->argc] = NULL;
        code = run_beside(&r, &k, c->argv);
    } else {
        c->argv[c->argc] = NULL;        /* argv had at least the command's own name before, so there is room */
        code = start(c->argv);
    }
    reach_close(&r);
    return code;
}

const struct command command_exec = {
    .name = "exec", .args = "[-- CMD …]", .brief = "run any tool with hearth as its model server",
    .about = "Sets the variables that the SDKs of OpenAI, Anthropic and Ollama, Aider, Claude Code, Codex, LiteLLM, LangChain and llm read, and runs CMD.\n"
             "Uses the running hearth, or serves for as long as CMD runs. Exits as CMD does. Without CMD it prints the variables for a shell.\n"
             "With --model or --task, tools that take their model from a variable use that one. A virtual key is passed on from HEARTH_KEY.",
    .examples = "  hearth exec -- python3 my_script.py\n  hearth exec --model coder -- aider --yes src/main.c\n  hearth exec --task refactor -- claude\n  eval \"$(hearth exec)\"",
    .flags = { &flag_model, &flag_task, &flag_config, &flag_ledger }, .max_args = -1, .runs_program = true, .run = exec_run,
};
