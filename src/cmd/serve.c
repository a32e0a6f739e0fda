/* `hearth serve`: the gateway, until a signal says otherwise. */
#include "cmd/app.h"
#include "cmd/term.h"

#include <signal.h>

struct serve {
    struct app app;
    struct cmd *c;
    struct io_signal hup, term, interrupt;
};

static void on_stop(struct io_signal *s, int signum)
{
    struct serve *v = (struct serve *)((char *)s - (signum == SIGTERM ? offsetof(struct serve, term) : offsetof(struct serve, interrupt)));
    io_loop_stop(v->app.loop);          /* while draining too: a second signal does not wait for running calls */
}

static void on_hup(struct io_signal *s, int signum)
{
    (void)signum;
    struct serve *v = (struct serve *)((char *)s - offsetof(struct serve, hup));
    app_reload(&v->app, v->c);
}

static void on_signal_closed(struct io_signal *s) { (void)s; }

static enum err watch_signals(struct serve *v)
{
    enum err e = io_signal_init(v->app.loop, &v->hup, SIGHUP, on_hup);
    if (e == ERR_OK)
        e = io_signal_init(v->app.loop, &v->term, SIGTERM, on_stop);
    if (e == ERR_OK)
        e = io_signal_init(v->app.loop, &v->interrupt, SIGINT, on_stop);
    return e;
}

static void banner(const struct serve *v)
{
    const struct config *c = v->app.cfg->config;
    const struct policy *p = &c->policy;
    printf("%shearth %s%s serves on %shttp://127.0.0.1:%u/v1%s\n", term_out("1"), HEARTH_VERSION, term_out("0"), term_out("36"), v->app.port, term_out("0"));
    printf("  configuration  %s\n  ledger         %s\n", c->path.n ? c->path.p : "none found: using what is on this machine", c->ledger.path.p);
    for (size_t i = 0; i < p->n_models; i++)
        printf("  model          %s (%.*s, %.*s)%s\n", p->models[i].name.p, STR_ARG(p->models[i].provider->name),
               STR_ARG(zone_name(p->models[i].provider->zone)), &p->models[i] == p->default_model ? ", the default" : "");
    for (size_t i = 0; i < p->n_tasks; i++)
        printf("  task           task/%s\n", p->tasks[i].name.p);
    if (!p->n_models)
        printf("  %sno model yet:%s give one with --model FILE.gguf, or write hearth.yaml (hearth config show prints one)\n", term_out("33"), term_out("0"));
    printf("Try:  curl http://127.0.0.1:%u/v1/chat/completions -H 'content-type: application/json' \\\n"
           "        -d '{\"model\":\"default\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n", v->app.port);
    fflush(stdout);
}

static int serve_run(struct cmd *c)
{
    struct serve v = { .c = c };
    struct app_config *k;
    bool busy;
    int code = app_load(c, true, &k);
    if (code)
        return code;
    for (size_t i = 0; i < k->config->n_notes; i++)
        fprintf(stderr, "%snote:%s %s\n", term_err("33"), term_err("0"), k->config->notes[i].p);
    code = app_start(&v.app, k, true, &busy);
    if (code == EXIT_DONE && watch_signals(&v) != ERR_OK)
        code = cmd_fail(EXIT_FAILED, NULL, "signals cannot be watched");
    if (code != EXIT_DONE)
        exit(code);                     /* nothing is served yet: the system takes the rest back */
    banner(&v);
    app_warm(&v.app);
    io_loop_run(v.app.loop);
    log_info("stopping", LOG_I("running", (int64_t)gate_running(v.app.gate)));
    /* The signals stay watched while calls are drained: a second one ends that. They are closed by the loop's last turns. */
    app_drain(&v.app, 10000);
    io_signal_close(&v.hup, on_signal_closed);
    io_signal_close(&v.term, on_signal_closed);
    io_signal_close(&v.interrupt, on_signal_closed);
    app_stop(&v.app);
    return EXIT_DONE;
}

const struct command command_serve = {
    .name = "serve", .args = "[--config FILE] [--model FILE.gguf]", .brief = "serve local and cloud models on one API, until Ctrl-C",
    .about = "Serves the OpenAI API on a loopback address, starts local engines when they are needed, and records every call.\n"
             "SIGHUP reads the configuration again; a wrong one changes nothing. Without a configuration it uses what is on this machine.",
    .examples = "  hearth serve\n  hearth serve --model ~/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf\n"
                "  hearth serve --config team.yaml --listen 127.0.0.1:9000",
    .flags = { &flag_config, &flag_model, &flag_listen, &flag_ledger }, .max_args = 0, .run = serve_run,
};
