/* Processes: what an engine is handed, and what a foreign server below its ward is told. */
#include "fleet/command.h"
#include "core/log.h"
#include "fleet/server.h"
#include "io/socket.h"
#include "io/ward.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

enum { ENV_MAX = 96, ENGINE_LOG_MAX = 4 << 20, ENGINE_ARGS = 80 };

/* ---- the environment ---- */

/* What a GPU runtime and the sanitizers read. No key of ours reaches a server that was not named for it. */
static const char *const for_engines[] = { "PATH=", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "GGML_", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=", NULL };
/* Foreign servers are at home in a user's environment: interpreters, libraries, caches of models. HF_TOKEN and its like are passed by `env: [HF_TOKEN]`. */
static const char *const for_others[] = { "PATH=", "HOME=", "USER=", "LANG=", "TMPDIR=", "XDG_", "LD_LIBRARY_PATH=", "VIRTUAL_ENV=", "CUDA_", "NVIDIA_", "NCCL_", "HIP_", "ROCR_", "ROCM_", "GGML_",
                                          "LLAMA_ARG_", "VLLM_", "OLLAMA_", "OMP_", "KMP_", "MKL_", "HF_HOME=", "HF_HUB_", "TRANSFORMERS_", "TORCH", "TRITON_", NULL };

static bool is_passed(const char *variable, const char *const *list)
{
    for (; *list; list++)
        if (strncmp(variable, *list, strlen(*list)) == 0)
            return true;
    return false;
}

static size_t env_pass(const char *env[ENV_MAX], const char *const *list)
{
    size_t n = 0;
    env[n++] = "LC_ALL=C.UTF-8";
    for (char **v = environ; *v && n < ENV_MAX / 2; v++)
        if (is_passed(*v, list))
            env[n++] = *v;
    env[n] = NULL;
    return n;
}

/* What comes later stands for the same name that came before: getenv() takes the first, so that one is replaced. */
static void env_set(const char *env[ENV_MAX], size_t *n, const char *pair)
{
    size_t name = strcspn(pair, "=") + 1;
    for (size_t i = 0; i < *n; i++)
        if (strncmp(env[i], pair, name) == 0) {
            env[i] = pair;
            return;
        }
    if (*n < ENV_MAX - 1)
        env[(*n)++] = pair;
    env[*n] = NULL;
}

/* The one device that the plan has chosen, or none. */
static enum err env_gpu(struct arena *a, const struct fleet_server *s, const char *env[ENV_MAX], size_t *n)
{
    static const char *const names[] = { "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES" };
    for (int make = GPU_NVIDIA; make <= GPU_AMD; make++) {
        bool here = s->gpu[0] && s->gpu_make == make;
        if (!here && !s->no_gpu && !s->gpu[0])
            continue;
        const char *pair = arena_cstr(a, arena_printf(a, "%s=%s", names[make], here ? s->gpu : ""));
        if (!pair)
            return ERR_LIMIT;
        env_set(env, n, pair);
    }
    return ERR_OK;
}

static enum err env_of_server(struct arena *a, const struct fleet_server *s, const struct command_values *v, const char *env[ENV_MAX])
{
    size_t n = env_pass(env, for_others);
    for (size_t i = 0; i < sizeof s->kind->env / sizeof *s->kind->env && s->kind->env[i]; i++) {
        str pair = command_word(a, str_of(s->kind->env[i]), v);
        if (!pair.p)
            return ERR_LIMIT;
        env_set(env, &n, pair.p);
    }
    for (size_t i = 0; i < s->spec.n_env; i++) {
        str pair = s->spec.env[i];
        if (str_index(pair, '=') == pair.n) {           /* a name alone: as this process has it */
            const char *value = getenv(arena_cstr(a, pair));
            pair = value ? arena_printf(a, "%.*s=%s", STR_ARG(pair), value) : S("");
        }
        pair = pair.n ? command_word(a, pair, v) : pair;
        if (!pair.p)
            return ERR_LIMIT;
        if (pair.n)
            env_set(env, &n, arena_cstr(a, pair));
    }
    return env_gpu(a, s, env, &n);
}

/* ---- logs ---- */

static int engine_log_open(struct fleet_server *s)
{
    struct stat st;
    char old[sizeof s->log + 2];
    if (!s->log[0])
        return -1;
    if (stat(s->log, &st) == 0 && st.st_size > ENGINE_LOG_MAX) {
        snprintf(old, sizeof old, "%s.1", s->log);
        rename(s->log, old);
    }
    return open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static bool is_blank(str line)
{
    for (size_t i = 0; i < line.n; i++)
        if ((unsigned char)line.p[i] > ' ')
            return false;
    return true;
}

void start_log_reason(const struct fleet_server *s, char *out, size_t cap)
{
    char tail[4096];
    int fd = s->log[0] ? open(s->log, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, tail, sizeof tail, end > (off_t)sizeof tail ? end - (off_t)sizeof tail : 0);
    close(fd);
    str rest = str_slice(tail, n > 0 ? (size_t)n : 0), line, best = S(""), last = S("");
    while (rest.n) {
        str_cut(rest, '\n', &line, &rest);
        if (str_find(line, S("rror: ")) < line.n)       /* "error: …", "ValueError: …" */
            best = line;
        if (!is_blank(line))
            last = line;
    }
    if (s->kind == kind_of(FLEET_ENGINE))
        best = str_skip(best, str_find(best, S("error: ")) + 7);
    else if (!best.n)
        best = last;
    best = str_slice(best.p, str_utf8_whole(str_slice(best.p, best.n < cap - 1 ? best.n : cap - 1)));
    for (size_t i = 0; i < best.n; i++)
        out[i] = (unsigned char)best.p[i] < ' ' ? ' ' : best.p[i];
    if (best.n)
        out[best.n] = '\0';
}

/* ---- engines ---- */

/* What an engine is given: its arguments, and the descriptors that they name by number. */
struct launch {
    const char *argv[ENGINE_ARGS];
    size_t n;
    int fds[IO_CHILD_KEEP];
    int n_fds;
    struct arena a;
};

static void give(struct launch *x, const char *word)
{
    if (x->n < ENGINE_ARGS - 1)
        x->argv[x->n++] = word;
}

static void give_number(struct launch *x, const char *option, int64_t v)
{
    give(x, option);
    give(x, arena_cstr(&x->a, arena_printf(&x->a, "%lld", (long long)v)));
}

/* The descriptor's number in the engine. It is closed here when the engine has it. */
static int hand_on(struct launch *x, int fd)
{
    x->fds[x->n_fds++] = fd;
    return 2 + x->n_fds;
}

/* The file with what is kept for the next start: one for each specification, locked as long as an engine has it. Without it the engine keeps nothing. */
static void give_prefix_file(struct launch *x, const struct fleet_server *s)
{
    const struct fleet_options *o = &s->fleet->opt;
    char hex[HEX_DIGEST];
    if (!o->prefix_dir)
        return;
    hex_encode(s->key.b, sizeof s->key.b, hex);
    const char *path = arena_cstr(&x->a, arena_printf(&x->a, "%s/%.24s.kv", o->prefix_dir, hex));
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        log_warn("prefix_file_off", LOG_C("model", s->name), LOG_C("path", path ? path : ""), LOG_C("why", errno == EWOULDBLOCK ? "another engine has it" : strerror(errno)));
        return;
    }
    give_number(x, "--spill-fd", hand_on(x, fd));
    if (o->prefix_limit)
        give_number(x, "--spill-limit", o->prefix_limit >> 20);
}

static enum err give_adapters(struct launch *x, struct fleet_server *s)
{
    for (size_t i = 0; i < s->spec.n_adapters; i++) {
        str name, path;
        (void)str_cut(s->spec.adapters[i], '=', &name, &path);
        int fd = open(path.p, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 || x->n_fds >= IO_CHILD_KEEP - 1) {
            snprintf(s->why, sizeof s->why, "the adapter %.100s cannot be opened: %s", path.p, strerror(errno));
            if (fd >= 0)
                close(fd);
            return ERR_ENGINE;
        }
        give(x, "--adapter");
        give(x, arena_cstr(&x->a, arena_printf(&x->a, "%.*s=fd:%d", STR_ARG(name), hand_on(x, fd))));
    }
    return ERR_OK;
}

static enum err engine_args(struct launch *x, struct fleet_server *s)
{
    const struct fleet_spec *spec = &s->spec;
    const struct { const char *option; int64_t value; } numbers[] = {
        { "--context", spec->context }, { "--threads", spec->threads }, { "--slots", spec->slots }, { "--kv-tokens", spec->kv_tokens } };
    const struct { const char *option; str value; } texts[] = { { "--name", spec->name }, { "--template", spec->chat_template }, { "--tools", spec->tools } };
    give(x, "hearth-engine");
    give_number(x, "--model-fd", 3);
    give_number(x, "--socket-fd", 4);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].value.n) {
            give(x, texts[i].option);
            give(x, texts[i].value.p);
        }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value > 0)
            give_number(x, numbers[i].option, numbers[i].value);
    for (size_t i = 0; i < spec->n_args; i++)
        give(x, spec->args[i].p);
    give_prefix_file(x, s);
    enum err e = give_adapters(x, s);
    return e ? e : x->a.failed ? ERR_LIMIT : ERR_OK;
}

static enum err start_engine(struct fleet_server *s, void (*on_exit)(struct io_child *c, int status, int signum))
{
    struct io_addr addr = { .is_unix = true };
    const char *env[ENV_MAX];
    struct launch x = { .n = 0 };
    int socket_fd = -1, log_fd = -1;
    memcpy(addr.host, s->socket, sizeof addr.host);
    arena_init(&x.a, 256 << 10);
    (void)hand_on(&x, s->model_fd);
    enum err err = io_listen(&addr, 128, &socket_fd);
    if (err == ERR_OK) {
        (void)hand_on(&x, socket_fd);
        err = engine_args(&x, s);
    }
    if (err == ERR_OK) {
        size_t n_env = env_pass(env, for_engines);
        (void)env_gpu(&x.a, s, env, &n_env);
        log_fd = engine_log_open(s);
        struct io_child_spec spec = { .file = s->fleet->engine_path, .argv = x.argv, .env = env, .out_fd = log_fd, .err_fd = log_fd, .n_keep = x.n_fds };
        memcpy(spec.keep_fds, x.fds, sizeof spec.keep_fds);
        err = io_child_start(s->fleet->loop, &s->child, &spec, on_exit);
    }
    arena_free(&x.a);
    for (int i = 1; i < x.n_fds; i++)   /* all but the model's: the engine has its own, so that connecting fails at once when it dies */
        close(x.fds[i]);
    if (log_fd >= 0)
        close(log_fd);
    return err;
}

/* ---- foreign servers ---- */

/* One that nobody has at this moment. Somebody may take it before the server does; then the server ends, and is started again with another. */
static enum err free_port(uint16_t *out)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && getsockname(fd, (struct sockaddr *)&at, &n) == 0;
    if (fd >= 0)
        close(fd);
    *out = ntohs(at.sin_port);
    return ok ? ERR_OK : ERR_IO;
}

static void fill_values(struct arena *a, const struct fleet_server *s, struct command_values *v)
{
    const struct fleet_spec *p = &s->spec;
    const struct { int place; int64_t n; } numbers[] = {
        { COMMAND_PORT, s->port }, { COMMAND_THREADS, p->threads }, { COMMAND_CONTEXT, p->context }, { COMMAND_SLOTS, p->slots },
        { COMMAND_TOTAL_CONTEXT, p->context * (p->slots ? p->slots : 1) } };
    *v = (struct command_values){ .of = { [COMMAND_HOST] = S("127.0.0.1"), [COMMAND_MODEL] = p->file.n ? p->file : p->id, [COMMAND_NAME] = p->id } };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].n > 0)
            v->of[numbers[i].place] = arena_printf(a, "%lld", (long long)numbers[i].n);
}

/* Its arguments behind those of the ward, which has the descriptor `life` as its 3. */
static enum err foreign_args(struct arena *a, const struct fleet_server *s, const struct command_values *v, const char ***out)
{
    enum { BEFORE = 5 };
    char **words;
    size_t n;
    enum err e = command_expand(a, s->spec.words, s->spec.n_words, v, &words, &n);
    const char **argv = arena_new(a, const char *, n + BEFORE + 1);
    if (e != ERR_OK || !argv)
        return ERR_LIMIT;
    argv[0] = "hearth";
    argv[1] = WARD_FLAG;
    argv[2] = "3";
    argv[3] = s->log;
    argv[4] = arena_cstr(a, arena_printf(a, "%zu", s->fleet->opt.log_max));
    for (size_t i = 0; i < n; i++)
        argv[BEFORE + i] = words[i];
    *out = argv;
    return argv[4] ? ERR_OK : ERR_LIMIT;
}

static enum err start_foreign(struct fleet_server *s, void (*on_exit)(struct io_child *c, int status, int signum))
{
    const char *env[ENV_MAX], **argv;
    struct command_values v;
    struct arena a;
    int ends[2] = { -1, -1 };
    arena_init(&a, 1u << 20);
    enum err e = free_port(&s->port);
    fill_values(&a, s, &v);
    if (e == ERR_OK)
        e = foreign_args(&a, s, &v, &argv);
    if (e == ERR_OK)
        e = env_of_server(&a, s, &v, env);
    if (e == ERR_OK && pipe2(ends, O_CLOEXEC) != 0)
        e = ERR_IO;
    if (e == ERR_OK) {
        struct io_child_spec spec = { .file = s->fleet->ward_path, .argv = argv, .env = env, .out_fd = -1, .err_fd = -1, .keep_fds = { ends[0] }, .n_keep = 1 };
        e = io_child_start(s->fleet->loop, &s->child, &spec, on_exit);
    }
    if (ends[0] >= 0)
        close(ends[0]);
    if (e == ERR_OK)
        s->life = ends[1];
    else if (ends[1] >= 0)
        close(ends[1]);
    arena_free(&a);
    return e;
}

enum err start_process(struct fleet_server *s, void (*on_exit)(struct io_child *c, int status, int signum), const char **why)
{
    bool engine = s->kind == kind_of(FLEET_ENGINE);
    *why = engine ? s->fleet->engine_path : s->fleet->ward_path;
    enum err e = engine ? start_engine(s, on_exit) : start_foreign(s, on_exit);
    if (e == ERR_OK) {
        s->child_alive = s->child_open = true;
        s->pid = s->child.pid;
    }
    return e;
}

/* Our connections for questions, not those of calls. */
enum err start_pool(struct fleet_server *s)
{
    struct http_origin o = s->spec.origin;
    struct http_client_limits lim = http_client_limits_default;
    lim.connect_ms = lim.first_byte_ms = lim.gap_ms = s->fleet->opt.hang_ms;
    lim.idle_max = 2;
    if (!s->attached)
        o = (struct http_origin){ .port = s->port, .only_loopback = true };
    if (s->kind == kind_of(FLEET_ENGINE)) {
        o.only_loopback = false;
        snprintf(o.host, sizeof o.host, "localhost");
        memcpy(o.unix_path, s->socket, sizeof o.unix_path);
    } else if (!s->attached) {
        snprintf(o.host, sizeof o.host, "127.0.0.1");
    } else {
        lim.connect_ms = 2000;          /* a call may wait for the answer */
        lim.first_byte_ms = lim.gap_ms = 5000;
    }
    return http_pool_new(s->fleet->loop, &o, &lim, &s->pool);
}

/* Softly it may end its calls; hard, all of it is gone at once. */
void start_kill(struct fleet_server *s, bool hard)
{
    if (s->child_alive && (!hard || s->life < 0))
        io_child_kill(&s->child, hard ? SIGKILL : SIGTERM);
    if (hard && s->life >= 0) {
        close(s->life);
        s->life = -1;
    }
}
