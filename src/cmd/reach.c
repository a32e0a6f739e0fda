/* A client of the ledger's holder, or its holder. */
#include "cmd/reach.h"

#include "cmd/ask.h"
#include "core/json.h"
#include "io/socket.h"

#include <unistd.h>

static bool is_served(const char *socket)
{
    int fd;
    if (io_connect_unix(socket, &fd) != ERR_OK)
        return false;
    close(fd);
    return true;
}

int reach_open(struct reach *r, struct cmd *c, enum reach_how how)
{
    bool busy;
    int code = app_load(c, true, &r->cfg);
    if (code)
        return code;
    struct config *g = r->cfg->config;
    if (!app_socket(g, r->socket))
        return cmd_fail(EXIT_FAILED, NULL, "the command socket's path is too long");
    if (is_served(r->socket))
        return io_loop_new(&r->loop) == ERR_OK ? EXIT_DONE : cmd_fail(EXIT_FAILED, NULL, "%s", err_text(ERR_MEMORY));
    if (how == REACH_RUNNING)
        return cmd_fail(EXIT_MISSING, "Start it in another terminal: hearth serve", "hearth is not running on the ledger %s", g->ledger.path.p);
    g->log_level = g->log_level < LOG_WARN ? LOG_WARN : g->log_level;
    if (how == REACH_LISTEN && io_addr_parse(S("127.0.0.1:0"), &g->listen) != ERR_OK)
        return EXIT_FAILED;
    r->own = true;
    code = app_start(&r->app, r->cfg, how == REACH_LISTEN, &busy);
    if (code)
        exit(code);                     /* nothing is served yet: the system takes the rest back */
    r->loop = r->app.loop;
    return EXIT_DONE;
}

void reach_close(struct reach *r)
{
    if (r->own) {
        app_stop(&r->app);
        return;
    }
    if (r->loop)
        io_loop_free(r->loop);
    app_unload(r->cfg);
}

uint16_t reach_port(struct reach *r, struct arena *a)
{
    struct ask k;
    json v;
    int64_t port = 0;
    if (r->own)
        return r->app.port;
    ask_call(r->loop, r->socket, S("GET"), S("/health"), S(""), STR_NONE, NULL, NULL, &k);
    if (k.err == ERR_OK && json_parse(a, buf_str(&k.body), &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK)
        (void)json_i64(json_member(v, S("port")), &port);
    ask_free(&k);
    return port > 0 && port < 65536 ? (uint16_t)port : 0;
}
