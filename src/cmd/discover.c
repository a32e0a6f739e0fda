/* Discovery writes a configuration as a person would have, and the loader reads it: there is one way in. */
#include "cmd/discover.h"

#include "core/json.h"
#include "http/head.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MODELS_MAX = 200, PROBE_MS = 300, PROBE_BYTES = 1 << 20 };

/* A name that clients can type: lower case, odd characters as dashes. */
static str tame(struct arena *a, str s)
{
    str t = arena_str(a, s);
    for (size_t i = 0; t.p && i < t.n; i++) {
        char *c = (char *)(uintptr_t)&t.p[i];
        if (*c >= 'A' && *c <= 'Z')
            *c |= 32;
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '.' || *c == ':' || *c == '/'))
            *c = '-';
    }
    return t;
}

static bool is_quotable(str s)
{
    return str_is_utf8(s) && str_index(s, '\'') == s.n && str_index(s, '\n') == s.n && str_find(s, S("${")) == s.n;
}

/* Model files as lines of a configuration; `own`: those of hearth's folders, or the others. */
static size_t add_files(const struct local_model *m, size_t n, bool own, size_t most, struct buf *out)
{
    size_t added = 0;
    for (size_t i = 0; i < n && added < most; i++) {
        /* A model of several files is not run as it is. */
        if ((m[i].store == LOCAL_HEARTH) != own || m[i].files > 1 || !is_quotable(m[i].path) || !is_quotable(m[i].name))
            continue;
        (void)buf_printf(out, "  '%.*s': { provider: here, file: '%.*s'", STR_ARG(m[i].name), STR_ARG(m[i].path));
        if (m[i].family.n)
            (void)buf_printf(out, ", chat_template: %.*s", STR_ARG(m[i].family));
        (void)buf_put(out, S(" }\n"));
        added++;
    }
    return added;
}

static size_t add_server(struct arena *a, const struct config_env *env, uint16_t port, const char *name, struct buf *models)
{
    str body;
    json v;
    size_t n = 0;
    if (env->get(env->ctx, a, port, "/v1/models", &body) != ERR_OK || json_parse(a, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return 0;
    for (json m = json_first(json_member(v, S("data"))); json_type(m) == JSON_OBJECT && n < MODELS_MAX; m = json_next(m)) {
        str id;
        if (json_text(a, json_member(m, S("id")), &id) != ERR_OK || !id.n || id.n > 100 || !is_quotable(id) || str_index(id, ' ') < id.n)
            continue;
        (void)buf_printf(models, "  '%s/%.*s': { provider: %s, id: '%.*s' }\n", name, STR_ARG(tame(a, id)), name, STR_ARG(id));
        n++;
    }
    return n;
}

void discover_folders(struct arena *a, const struct config_env *env, str out[2])
{
    const char *cache = env->var(env->ctx, "XDG_CACHE_HOME"), *data = env->var(env->ctx, "XDG_DATA_HOME"), *home = env->var(env->ctx, "HOME");
    home = home && *home ? home : "/tmp";
    out[0] = data && *data ? arena_printf(a, "%s/hearth/models", data) : arena_printf(a, "%s/.local/share/hearth/models", home);
    out[1] = cache && *cache ? arena_printf(a, "%s/hearth/models", cache) : arena_printf(a, "%s/.cache/hearth/models", home);
}

enum err discover(struct arena *a, const struct config_env *env, str *text)
{
    static const struct { const char *name, *api; uint16_t port; } servers[] = { { "ollama", "ollama", 11434 }, { "vllm", "vllm", 8000 }, { "llama-server", "llamacpp", 8080 } };
    struct buf models, out;
    struct local_model *found = NULL;
    str own[2];
    size_t n = 0, n_found = 0;
    discover_folders(a, env, own);
    if (env->models(env->ctx, a, own, 2, &found, &n_found) != ERR_OK)
        n_found = 0;
    buf_init(&models, CONFIG_BYTES / 2);
    buf_init(&out, CONFIG_BYTES);
    (void)buf_put(&out, S("providers:\n  here: { api: embedded }\n"));
    n += add_files(found, n_found, true, MODELS_MAX, &models);
    for (size_t i = 0; i < sizeof servers / sizeof *servers; i++) {
        size_t served = add_server(a, env, servers[i].port, servers[i].name, &models);
        if (served)
            (void)buf_printf(&out, "  %s: { api: %s, url: 'http://127.0.0.1:%u' }\n", servers[i].name, servers[i].api, servers[i].port);
        n += served;
    }
    n += add_files(found, n_found, false, MODELS_MAX, &models);
    if (n) {
        /* The first model is the default: a file of our own before a server, and that before what belongs to others. */
        str first = str_skip(buf_str(&models), 3);
        (void)buf_printf(&out, "default: '%.*s'\nmodels:\n%.*s", (int)str_index(first, '\''), first.p, STR_ARG(buf_str(&models)));
    }
    *text = arena_str(a, buf_str(&out));
    buf_free(&models);
    buf_free(&out);
    return text->p ? ERR_OK : ERR_LIMIT;
}

/* ---- this process's own surroundings ---- */

static const char *env_var(void *ctx, const char *name)
{
    return strcmp(name, "HEARTH_UID") == 0 ? ctx : getenv(name);
}

static enum err env_read(void *ctx, struct arena *a, const char *path, size_t max, str *bytes, unsigned *mode)
{
    (void)ctx;
    struct stat st;
    enum err e = ERR_IO;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_IO;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        goto done;
    e = ERR_LIMIT;
    if ((uint64_t)st.st_size > max)
        goto done;
    char *p = arena_alloc(a, (size_t)st.st_size + 1, 1);
    if (!p)
        goto done;
    ssize_t n = read(fd, p, (size_t)st.st_size);
    e = n < 0 ? ERR_IO : ERR_OK;
    if (!e) {
        *bytes = (str){ p, (size_t)n };
        *mode = st.st_mode & 07777;
    }
done:
    close(fd);
    return e;
}

static bool env_is_file(void *ctx, const char *path)
{
    (void)ctx;
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static enum err env_list(void *ctx, struct arena *a, const char *path, str **names, size_t *n)
{
    (void)ctx;
    enum { NAMES_MAX = 4096 };
    DIR *d = opendir(path);
    if (!d)
        return ERR_NOTFOUND;
    str *list = arena_new(a, str, NAMES_MAX);
    size_t k = 0;
    for (struct dirent *f; list && k < NAMES_MAX && (f = readdir(d));)
        list[k++] = arena_str(a, str_of(f->d_name));
    closedir(d);
    *names = list;
    *n = k;
    return list ? ERR_OK : ERR_LIMIT;
}

static enum err env_models(void *ctx, struct arena *a, const str *own, size_t n_own, struct local_model **out, size_t *n)
{
    struct local_place *places;
    size_t n_places;
    enum err e = local_places(a, own, n_own, env_var, ctx, &places, &n_places);
    return e == ERR_OK ? local_find(a, places, n_places, out, n) : e;
}

/* One request with a short deadline; whatever is odd means that nobody is there. */
static enum err env_get(void *ctx, struct arena *a, uint16_t port, const char *path, str *body)
{
    (void)ctx;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char *in = NULL, ask[128];
    size_t n = 0, scanned = 0;
    struct http_head h;
    enum err e = ERR_NOTFOUND;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) || !(in = arena_alloc(a, PROBE_BYTES, 1)))
        goto done;
    int len = snprintf(ask, sizeof ask, "GET %s HTTP/1.0\r\nHost: 127.0.0.1:%u\r\n\r\n", path, port);
    if (send(fd, ask, (size_t)len, MSG_NOSIGNAL) != len)
        goto done;
    for (struct pollfd p = { .fd = fd, .events = POLLIN }; n < PROBE_BYTES && poll(&p, 1, PROBE_MS) == 1;) {
        ssize_t got = recv(fd, in + n, PROBE_BYTES - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        if (http_parse_reply((str){ in, n }, &(size_t){ 0 }, false, &h, NULL) == ERR_OK && h.body == HTTP_BODY_LENGTH && n >= h.size + h.length)
            break;
    }
    if (http_parse_reply((str){ in, n }, &scanned, false, &h, NULL) == ERR_OK && h.status == 200 && h.body != HTTP_BODY_CHUNKED) {
        *body = (str){ in + h.size, n - h.size };
        e = ERR_OK;
    }
done:
    if (fd >= 0)
        close(fd);
    return e;
}

enum err config_env_system(struct arena *a, struct config_env *out)
{
    char cwd[4096];
    if (!getcwd(cwd, sizeof cwd))
        return ERR_IO;
    char *uid = arena_cstr(a, arena_printf(a, "%u", (unsigned)geteuid()));
    *out = (struct config_env){ .ctx = uid, .cwd = arena_cstr(a, str_of(cwd)), .cores = (int)sysconf(_SC_NPROCESSORS_ONLN), .var = env_var, .read = env_read,
                                .is_file = env_is_file, .list = env_list, .models = env_models, .get = env_get };
    return out->cwd && uid ? ERR_OK : ERR_LIMIT;
}
