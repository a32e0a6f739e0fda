/* hearth-engine: one GGUF, served on a Unix socket. Options, descriptors, confinement; then serve.c. */
#include "core/log.h"
#include "infer/draft.h"
#include "infer/serve.h"
#include "io/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <llama.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_MODEL = 3 };

struct options {
    const char *model, *socket, *name, *family, *tools;
    int64_t model_fd, socket_fd, context, threads, slots, batch, kv_tokens, kv_memory, draft, spill_fd, spill_limit;
    bool no_reuse, no_confine;
    enum llama_flash_attn_type flash_attn;
    struct adapter_config adapters[MODEL_MAX_ADAPTERS];
    int n_adapters;
    enum log_level level;
};

/* One table for the parser and the help. `most` 0: a text. */
static const struct option_row { const char *name, *arg, *help; int64_t least, most; } rows[] = {
    { "model",      "FILE",   "the GGUF file to serve", 0, 0 },
    { "model-fd",   "N",      "… as a descriptor that is open already", 0, 1 << 20 },
    { "socket",     "PATH",   "the Unix socket to answer on; its folder is made (0700), or must be yours alone", 0, 0 },
    { "socket-fd",  "N",      "… as a listening descriptor that is open already", 0, 1 << 20 },
    { "name",       "NAME",   "the model's id in replies (default: the file's name)", 0, 0 },
    { "context",    "N",      "tokens of one call, prompt and answer (default: the model's, at most 4096)", 16, MODEL_MAX_CONTEXT },
    { "threads",    "N",      "threads that compute (default: the cores this process may use)", 1, MODEL_MAX_THREADS },
    { "slots",      "N",      "calls that run at the same time (default: 4)", 1, MODEL_MAX_SLOTS },
    { "batch",      "N",      "tokens of one step, at most (default: 512)", 1, MODEL_MAX_BATCH },
    { "kv-tokens",  "N",      "tokens of all calls together (default: slots times context); with less, calls share and may be put off", 16, INT32_MAX },
    { "kv-memory",  "MIB",    "memory for what ended calls leave for those that begin alike (default: 256)", 0, 1 << 20 },
    { "adapter",    "NAME=FILE", "a LoRA adapter that calls may name; can be given again. NAME=fd:N: a descriptor that is open already", 0, 0 },
    { "spill-fd",   "N",      "an open file that keeps named beginnings for the next start", 0, 1 << 20 },
    { "spill-limit", "MIB",   "… and may grow to this (default: 512)", 1, 1 << 20 },
    { "draft",      "N",      "guess so many tokens a step where text is copied from the prompt; 0: none (default: as many as pay)", 0, DRAFT_MAX },
    { "flash-attn", "WHEN",   "auto, on or off (default: auto: off on a CPU where the scores have room, which makes tokens faster)", 0, 0 },
    { "no-reuse",   NULL,     "read every prompt from its beginning", 0, 0 },
    { "tools",      "FAMILY", "how the model calls tools: hermes, llama3, mistral or generic (default: by its template)", 0, 0 },
    { "template",   "FAMILY", "the chat template, when the file has none that libllama knows; 'list' shows the names", 0, 0 },
    { "log-level",  "LEVEL",  "debug, info, warn, error or off (default: info)", 0, 0 },
    { "no-confine", NULL,     "do not give up files, network and privileges (to debug)", 0, 0 },
    { "help",       NULL,     "this text", 0, 0 },
    { "version",    NULL,     "the version of the engine and of libllama", 0, 0 },
};
enum { O_MODEL, O_MODEL_FD, O_SOCKET, O_SOCKET_FD, O_NAME, O_CONTEXT, O_THREADS, O_SLOTS, O_BATCH, O_KV_TOKENS, O_KV_MEMORY, O_ADAPTER, O_SPILL_FD, O_SPILL_LIMIT, O_DRAFT, O_FLASH_ATTN, O_NO_REUSE, O_TOOLS, O_TEMPLATE, O_LOG, O_NO_CONFINE, O_HELP, O_VERSION, O_COUNT };
_Static_assert(sizeof rows / sizeof rows[0] == O_COUNT, "a row for every option");

static void help(void)
{
    puts("hearth-engine: serves one GGUF model on a Unix socket, with OpenAI's API.\n\nhearth starts it by itself; alone it runs like this:\n\n"
         "  hearth-engine --model smollm2.gguf --socket ~/.cache/hearth/engine/smollm2.sock\n"
         "  curl --unix-socket ~/.cache/hearth/engine/smollm2.sock http://localhost/v1/chat/completions \\\n"
         "       -d '{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n");
    for (size_t i = 0; i < O_COUNT; i++) {
        char left[40];
        snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].arg ? " " : "", rows[i].arg ? rows[i].arg : "");
        printf("  %-21s %s\n", left, rows[i].help);
    }
    puts("\nExit status: 0 ended by SIGTERM, 1 failed, 2 usage, 3 the model cannot be loaded (the last line on stderr says why).");
}

static int usage(const char *what, const char *which)
{
    fprintf(stderr, "error: %s%s (hearth-engine --help shows the options)\n", what, which);
    return EXIT_USAGE;
}

static int fail(int status, const char *what, const char *which)
{
    fprintf(stderr, "error: %s: %s: %s\n", which, what, strerror(errno));
    return status;
}

static void list_templates(void)
{
    const char *names[128];
    int32_t n = llama_chat_builtin_templates(names, 128);
    for (int32_t i = 0; i < n && i < 128; i++)
        puts(names[i]);
}

/* NAME=FILE or NAME=fd:N. -1: go on. */
static int add_adapter(struct options *o, const char *value)
{
    static char names[MODEL_MAX_ADAPTERS][65];
    str name, file;
    uint64_t number;
    int n = o->n_adapters;
    if (!str_cut(str_of(value), '=', &name, &file) || !name.n || name.n >= sizeof names[0] || !file.n)
        return usage("--adapter is NAME=FILE (a name of at most 64 bytes), not ", value);
    if (n == MODEL_MAX_ADAPTERS)
        return usage("too many adapters: ", value);
    bool is_fd = str_starts(file, S("fd:")) && str_u64(str_skip(file, 3), &number) && number <= 1 << 20;
    int fd = is_fd ? (int)number : open(file.p, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    FILE *f = fd < 0 ? NULL : model_open(fd);
    if (!f)
        return fail(EXIT_MODEL, "the adapter cannot be opened", value);
    snprintf(names[n], sizeof names[n], "%.*s", STR_ARG(name));
    o->adapters[o->n_adapters++] = (struct adapter_config){ names[n], f };
    return -1;
}

static bool set_flash_attn(struct options *o, str when)
{
    static const struct { const char *word; enum llama_flash_attn_type type; } words[] = {
        { "auto", LLAMA_FLASH_ATTN_TYPE_AUTO }, { "on", LLAMA_FLASH_ATTN_TYPE_ENABLED }, { "off", LLAMA_FLASH_ATTN_TYPE_DISABLED } };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq(when, str_of(words[i].word))) {
            o->flash_attn = words[i].type;
            return true;
        }
    return false;
}

/* -1: go on. Else the exit status. */
static int set_option(struct options *o, int which, const char *value)
{
    int64_t *const numbers[O_COUNT] = { [O_MODEL_FD] = &o->model_fd, [O_SOCKET_FD] = &o->socket_fd, [O_CONTEXT] = &o->context,
                                        [O_THREADS] = &o->threads, [O_SLOTS] = &o->slots, [O_BATCH] = &o->batch, [O_KV_TOKENS] = &o->kv_tokens,
                                        [O_KV_MEMORY] = &o->kv_memory, [O_DRAFT] = &o->draft, [O_SPILL_FD] = &o->spill_fd, [O_SPILL_LIMIT] = &o->spill_limit };
    const char **const texts[O_COUNT] = { [O_MODEL] = &o->model, [O_SOCKET] = &o->socket, [O_NAME] = &o->name, [O_TOOLS] = &o->tools, [O_TEMPLATE] = &o->family };
    if (numbers[which]) {
        int64_t v;
        if (!str_i64(str_of(value), &v) || v < rows[which].least || v > rows[which].most)
            return usage("not a number in the range of --", rows[which].name);
        *numbers[which] = v;
    } else if (texts[which]) {
        *texts[which] = value;
    } else if (which == O_LOG) {
        if (!log_level_from(str_of(value), &o->level))
            return usage("--log-level is one of debug, info, warn, error, off; not ", value);
    } else if (which == O_FLASH_ATTN) {
        if (!set_flash_attn(o, str_of(value)))
            return usage("--flash-attn is auto, on or off; not ", value);
    } else if (which == O_ADAPTER) {
        return add_adapter(o, value);
    } else if (which == O_NO_REUSE) {
        o->no_reuse = true;
    } else if (which == O_NO_CONFINE) {
        o->no_confine = true;
    } else if (which == O_HELP) {
        help();
        return 0;
    } else {
        printf("hearth-engine %s (%s, libllama %s, commit %s)\n", HEARTH_VERSION, HEARTH_LLAMA_PACKAGE, llama_version(), HEARTH_LLAMA_COMMIT);
        return 0;
    }
    return -1;
}

static int read_options(int argc, char **argv, struct options *o)
{
    struct option longs[O_COUNT + 1] = { { NULL, 0, NULL, 0 } };
    for (int i = 0; i < O_COUNT; i++)
        longs[i] = (struct option){ rows[i].name, rows[i].arg ? required_argument : no_argument, NULL, i };
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":", longs, NULL)) != -1;) {
        if (c == '?' || c == ':')
            return usage(c == ':' ? "a value is missing after " : "unknown option ", argv[optind - 1]);
        int status = set_option(o, c, optarg);
        if (status >= 0)
            return status;
    }
    if (o->family && strcmp(o->family, "list") == 0)
        return list_templates(), 0;
    if (optind < argc)
        return usage("unexpected argument ", argv[optind]);
    if ((o->model != NULL) == (o->model_fd >= 0))
        return usage("one of --model and --model-fd is needed", "");
    if ((o->socket != NULL) == (o->socket_fd >= 0))
        return usage("one of --socket and --socket-fd is needed", "");
    return -1;
}

/* ---- descriptors ---- */

static FILE *open_model(const struct options *o)
{
    int fd = o->model ? open(o->model, O_RDONLY | O_CLOEXEC | O_NOCTTY) : (int)o->model_fd;
    return fd < 0 ? NULL : model_open(fd);
}

/* The socket's folder must be ours alone: whoever can reach the socket's name could replace it. */
static int check_folder(const char *socket)
{
    char folder[108];
    struct stat st;
    const char *slash = strrchr(socket, '/');
    snprintf(folder, sizeof folder, "%.*s", slash && slash > socket ? (int)(slash - socket) : 1, slash ? (slash > socket ? socket : "/") : ".");
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return fail(1, "the socket's folder cannot be made", folder);
    if (stat(folder, &st) != 0)
        return fail(1, "the socket's folder cannot be read", folder);
    if (st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        fprintf(stderr, "error: %s: the socket's folder must be yours alone (owner you, mode 0700)\n", folder);
        return 1;
    }
    return 0;
}

static int open_socket(const struct options *o, int *fd)
{
    struct io_addr a = { .is_unix = true };
    *fd = (int)o->socket_fd;
    if (!o->socket) {
        int listens = 0;
        socklen_t n = sizeof listens;
        if (getsockopt(*fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) != 0 || !listens)
            return usage("--socket-fd is not a listening socket", "");
        return fcntl(*fd, F_SETFL, O_NONBLOCK) == 0 ? 0 : fail(1, "cannot be used", "--socket-fd");
    }
    if (strlen(o->socket) >= sizeof a.host)
        return usage("--socket: the path is too long (107 bytes at most): ", o->socket);
    int status = check_folder(o->socket);
    if (status)
        return status;
    memcpy(a.host, o->socket, strlen(o->socket) + 1);
    enum err e = io_listen(&a, 128, fd);
    if (e == ERR_BUSY)
        return usage("another engine answers on ", o->socket);
    return e == ERR_OK ? 0 : fail(1, "the socket cannot be made", o->socket);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Threads that wait for each other spin, and libgomp spins for milliseconds by default: on a machine with other work, for a thread that
 * does not even run. A short spin, then sleep. Measured with two threads beside other work on two cores: 1.2 tokens/s by default, 7.5 so.
 * The library reads this when it is loaded, so the program starts itself once more. */
#define SPIN_COUNT "1000"
static void spin_less(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || setenv("GOMP_SPINCOUNT", SPIN_COUNT, 1) != 0)
        return;
    (void)execv("/proc/self/exe", argv);        /* without /proc, it goes on as it is */
}

static bool confined;
#if defined(__SANITIZE_ADDRESS__)
/* The leak check at exit traces this process, which its confinement refuses; unconfined runs are checked. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return confined; }
#endif

int main(int argc, char **argv)
{
    struct options o = { .model_fd = -1, .socket_fd = -1, .spill_fd = -1, .slots = 4, .batch = 512, .draft = MODEL_DRAFT_AUTO, .kv_memory = MODEL_KV_MEMORY >> 20, .spill_limit = 512, .flash_attn = LLAMA_FLASH_ATTN_TYPE_AUTO, .level = LOG_INFO };
    struct serve_config c = { .listen_fd = -1 };
    pid_t parent = getppid();
    spin_less(argv);
    int status = read_options(argc, argv, &o);
    if (status >= 0)
        return status;
    log_setup(o.level, LOG_TEXT, STDERR_FILENO);
    signal(SIGPIPE, SIG_IGN);
    c.model = (struct model_config){ .file = open_model(&o), .context = (int)o.context, .threads = o.threads ? (int)o.threads : model_free_cores(),
                                     .slots = (int)o.slots, .batch = (int)o.batch, .family = o.family, .tools = o.tools, .kv_tokens = (int)o.kv_tokens, .kv_memory = (size_t)o.kv_memory << 20,
                                     .flash_attn = o.flash_attn, .draft = (int)o.draft, .no_reuse = o.no_reuse, .spill_fd = (int)o.spill_fd, .spill_limit = (uint64_t)o.spill_limit << 20, .n_adapters = o.n_adapters };
    memcpy(c.model.adapters, o.adapters, sizeof o.adapters);
    if (!c.model.file)
        return fail(EXIT_MODEL, "the model cannot be opened", o.model ? o.model : "--model-fd");
    status = open_socket(&o, &c.listen_fd);
    if (status)
        return status;
    c.name = o.name ? o.name : o.model ? base_name(o.model) : "model";
    if (!o.no_confine && confine_self(llama_supports_gpu_offload(), o.spill_fd >= 0 ? c.model.spill_limit : 0, &c.confinement) != ERR_OK) {
        fputs("error: this kernel cannot confine the engine (no seccomp); --no-confine runs it without\n", stderr);
        return 1;
    }
    confined = !o.no_confine;
    /* Last, since a change of credentials would forget it: an engine that was started by hearth ends with it. */
    if (o.model_fd >= 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent))
        return 1;
    model_log_setup();
    llama_backend_init();
    return serve_run(&c);
}
