/* `hearth pull`: what fleet/pull.h does, as a person or a program wants to see it. */
#include "cmd/app.h"
#include "cmd/term.h"
#include "core/gguf.h"
#include "core/json.h"
#include "fleet/pull.h"

#include <signal.h>
#include <unistd.h>

enum { LINE_MS = 5000, RATE_MS = 3000, SAMPLES = 32, NAME_CELLS = 30 };

static volatile sig_atomic_t stopping;

static void on_signal(int signum) { stopping = signum; }

struct view {                           /* of the file that is being fetched */
    bool json, quiet;
    int64_t told_ms;                    /* the last line, where there is no terminal */
    bool waits;
    enum pull_step last;
    struct { int64_t ms; uint64_t bytes; } samples[SAMPLES];     /* a window over the last seconds, for the rate */
    int n, next;
};

static int64_t now_ms(void) { return clock_mono_us(&clock_system) / 1000; }

/* ---- rate ---- */

static void sample(struct view *v, uint64_t bytes)
{
    int last = (v->next + SAMPLES - 1) % SAMPLES;
    if (v->n && now_ms() - v->samples[last].ms < RATE_MS / SAMPLES)
        return;
    if (v->n && bytes < v->samples[last].bytes)     /* begun anew */
        v->n = 0;
    v->samples[v->next].ms = now_ms();
    v->samples[v->next].bytes = bytes;
    v->next = (v->next + 1) % SAMPLES;
    v->n += v->n < SAMPLES;
}

/* Bytes a second over the window; 0: not known yet. */
static double rate(const struct view *v)
{
    if (v->n < 2)
        return 0;
    int last = (v->next + SAMPLES - 1) % SAMPLES, first = (v->next + SAMPLES - v->n) % SAMPLES;
    int64_t ms = v->samples[last].ms - v->samples[first].ms;
    return ms > 0 ? (double)(v->samples[last].bytes - v->samples[first].bytes) * 1000 / (double)ms : 0;
}

/* ", 412 MB of 986 MB, 35 MB/s, 16 s left" */
static void progress_text(const struct view *v, const struct pull_event *e, char *out, size_t room)
{
    char done[24], total[24], speed[24], left[24];
    double r = rate(v);
    size_t n = (size_t)snprintf(out, room, ", %s of %s", term_bytes((int64_t)e->done, done), term_bytes((int64_t)e->total, total));
    if (r >= 1 && n < room)
        n += (size_t)snprintf(out + n, room - n, ", %s/s", term_bytes((int64_t)r, speed));
    if (r >= 1 && n < room && e->done < e->total)
        snprintf(out + n, room - n, ", %s left", term_duration((int64_t)((double)(e->total - e->done) / r) * 1000000 + 999999, left));
}

/* ---- events ---- */

static const char *const step_names[] = { "listing", "have", "waiting", "begin", "progress", "retry", "checking", "file", "joining" };

static void print_json(const struct view *v, const struct pull_event *e)
{
    struct buf b = { .max = 1 << 16 };
    struct json_out o;
    char hex[HEX_DIGEST];
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("event"));
    json_put_str(&o, str_of(step_names[e->step]));
    if (e->file) {
        json_put_key(&o, S("file"));
        json_put_str(&o, str_of(e->file));
        json_put_key(&o, S("part"));
        json_put_i64(&o, e->index);
        json_put_key(&o, S("parts"));
        json_put_i64(&o, e->count);
    }
    if (e->total) {
        json_put_key(&o, S("done"));
        json_put_i64(&o, (int64_t)e->done);
        json_put_key(&o, S("total"));
        json_put_i64(&o, (int64_t)e->total);
    }
    if (e->step == PULL_PROGRESS) {
        json_put_key(&o, S("bytes_per_second"));
        json_put_i64(&o, (int64_t)rate(v));
    }
    if (e->why) {
        json_put_key(&o, S("why"));
        json_put_str(&o, str_of(e->why));
        json_put_key(&o, S("wait_ms"));
        json_put_i64(&o, e->wait_ms);
    }
    if (e->digest) {
        hex_encode(e->digest->b, sizeof e->digest->b, hex);
        json_put_key(&o, S("sha256"));
        json_put_str(&o, str_slice(hex, sizeof hex));
    }
    json_close(&o, '}');
    printf("%.*s\n", STR_ARG(buf_str(&b)));
    fflush(stdout);
    buf_free(&b);
}

/* One line of the terminal that is drawn again and again; in a pipe a line now and then. */
static void print_progress(struct view *v, const struct pull_event *e, const char *verb)
{
    char text[160], what[80], name[64];
    progress_text(v, e, text, sizeof text);
    str file = str_of(e->file);
    snprintf(name, sizeof name, "%s%.*s", file.n > NAME_CELLS ? "…" : "", (int)(file.n > NAME_CELLS ? NAME_CELLS : file.n), file.n > NAME_CELLS ? file.p + file.n - NAME_CELLS : file.p);
    if (term_is_err()) {
        if (e->count > 1)
            snprintf(what, sizeof what, "%s %u/%u", name, e->index, e->count);
        else
            snprintf(what, sizeof what, "%s", name);
        term_progress_with(what, (int64_t)e->done, (int64_t)e->total, text);
    } else if (now_ms() - v->told_ms >= LINE_MS) {
        v->told_ms = now_ms();
        fprintf(stderr, "%s %s: %d %%%s\n", verb, e->file, (int)(e->total ? e->done * 100 / e->total : 0), text);
    }
}

static void print_event(struct view *v, const struct pull_event *e)
{
    char size[24], have[24], pause[24];
    switch (e->step) {
    case PULL_LISTING:
        if (term_is_err())
            term_progress("asking what there is", 0, 0);
        return;
    case PULL_WAITING:
        if (term_is_err())
            term_progress("another hearth fetches this: waiting for it", 0, 0);
        else if (!v->waits)
            fprintf(stderr, "another hearth fetches %s: waiting for it\n", e->file);
        v->waits = true;
        return;
    case PULL_BEGIN:
        term_progress_end();
        v->told_ms = now_ms();
        fprintf(stderr, "fetching %s (%s)", e->file, term_bytes((int64_t)e->total, size));
        if (e->count > 1)
            fprintf(stderr, ", file %u of %u", e->index, e->count);
        if (e->done)
            fprintf(stderr, ", %s of it are here already", term_bytes((int64_t)e->done, have));
        fputc('\n', stderr);
        return;
    case PULL_PROGRESS: print_progress(v, e, "fetching"); return;
    case PULL_CHECKING:
        if (e->file && e->done < e->total)
            print_progress(v, e, "checking");
        return;
    case PULL_JOINING: print_progress(v, e, "joining"); return;
    case PULL_RETRY:
        term_progress_end();
        fputs("trying again", stderr);
        if (e->wait_ms >= 1000)
            fprintf(stderr, " in %s", term_duration(e->wait_ms * 1000, pause));
        fprintf(stderr, ": %s\n", e->why);
        return;
    case PULL_HAVE:
        term_progress_end();
        fprintf(stderr, "%s is here already\n", e->file);
        return;
    case PULL_FILE: term_progress_end(); return;
    }
}

static bool on_event(void *ctx, const struct pull_event *e)
{
    struct view *v = ctx;
    if (e->step == PULL_BEGIN)
        v->n = 0;
    if (e->step == PULL_BEGIN || e->step == PULL_PROGRESS)
        sample(v, e->done);
    bool many = e->step == PULL_PROGRESS || e->step == PULL_LISTING || e->step == PULL_WAITING || e->step == PULL_CHECKING || e->step == PULL_JOINING;
    if (v->json && (!many || e->step != v->last || now_ms() - v->told_ms >= RATE_MS / 6)) {
        v->told_ms = many ? now_ms() : v->told_ms;
        v->last = e->step;
        print_json(v, e);
    } else if (!v->json && !v->quiet) {
        print_event(v, e);
    }
    return !stopping;
}

/* ---- what came of it ---- */

static void print_done_json(const struct pulled *p)
{
    struct buf b = { .max = 1 << 20 };
    struct json_out o;
    char hex[HEX_DIGEST];
    const struct { const char *key; str text; } texts[] = { { "name", p->name }, { "source", p->source }, { "path", p->path }, { "architecture", p->architecture },
                                                            { "quantization", str_of(gguf_file_type(p->file_type)) }, { "chat_template", p->family }, { "params", p->params } };
    const struct { const char *key; uint64_t n; } numbers[] = { { "bytes", p->bytes }, { "files", p->files }, { "parameters", p->parameters }, { "context", p->context } };
    hex_encode(p->digest.b, sizeof p->digest.b, hex);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("event"));
    json_put_str(&o, S("done"));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].text.n) {
            json_put_key(&o, str_of(texts[i].key));
            json_put_str(&o, texts[i].text);
        }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        json_put_key(&o, str_of(numbers[i].key));
        json_put_i64(&o, (int64_t)numbers[i].n);
    }
    json_put_key(&o, S("sha256"));
    json_put_str(&o, str_slice(hex, sizeof hex));
    json_put_key(&o, S("announced"));
    json_put_bool(&o, p->announced);
    json_put_key(&o, S("fetched"));
    json_put_bool(&o, !p->have);
    json_close(&o, '}');
    printf("%.*s\n", STR_ARG(buf_str(&b)));
    buf_free(&b);
}

static void print_done(const struct pulled *p, const struct config *g)
{
    char size[24], count[24];
    printf("%s%.*s%s: %s, %.*s", term_out("1"), STR_ARG(p->name), term_out("0"), term_bytes((int64_t)p->bytes, size), STR_ARG(p->architecture));
    printf(", %s parameters, %s, context %llu\n", term_count(p->parameters, count), *gguf_file_type(p->file_type) ? gguf_file_type(p->file_type) : "mixed types",
           (unsigned long long)p->context);
    printf("  file    %.*s\n  sha256  ", STR_ARG(p->path));
    for (size_t i = 0; i < sizeof p->digest.b; i++)
        printf("%02x", p->digest.b[i]);
    if (p->joined)
        printf(", of the %u files that it was split over, each checked\n", p->joined);
    else
        printf("%s\n", p->announced ? ", as announced" : ": none was announced, so this is only what came");
    if (!p->has_template && !p->family.n)
        puts("  chat    the file has no chat template: name a family in the configuration (chat_template: chatml), or it only completes text");
    if (p->projector)
        puts("  images  its projector is not fetched: it reads text");
    if (p->files > 1) {
        printf("  split   over %u files, and the disk has no room for one: make some and pull it again, or join them with llama-gguf-split --merge\n", p->files);
        return;
    }
    if (g->path.n) {
        printf("Serve it by a line under models: in %s\n  %.*s: { file: %.*s%s%.*s }\n", g->path.p, STR_ARG(p->name), STR_ARG(p->file), p->family.n ? ", chat_template: " : "", STR_ARG(p->family));
        printf("Ask it now:  hearth run --model %.*s \"Why is the sky blue?\"\n", STR_ARG(p->path));
    } else {
        printf("Ask it:  hearth run %.*s \"Why is the sky blue?\"\n", STR_ARG(p->name));
    }
}

/* ---- the command ---- */

/* A line break in it would be another header field. */
static bool is_token(const char *token)
{
    for (; token && *token; token++)
        if (*token <= 0x20 || *token >= 0x7F)
            return false;
    return true;
}

static int fetch(struct cmd *c, const struct config *g, const struct source *s)
{
    struct view v = { .json = c->f.json, .quiet = c->f.quiet, .told_ms = now_ms() };
    const char *endpoint = getenv("HF_ENDPOINT"), *hub = g->pull.hub.n ? g->pull.hub.p : endpoint && *endpoint ? endpoint : "https://huggingface.co";
    struct pull_options o = { .folder = g->models_dir[0].p, .hub = hub, .registry = g->pull.registry.p, .digests = g->engine.digests.p, .name = c->f.name, .copy = c->f.copy,
                              .on_event = on_event, .ctx = &v };
    struct sigaction act = { .sa_handler = on_signal };
    struct digest digest;
    struct pulled done;
    char why[PULL_WHY];
    const char *bad;
    if (download_check_url(hub, &bad) != ERR_OK || download_check_url(o.registry, &bad) != ERR_OK)
        return cmd_fail(EXIT_FAILED, NULL, "the hub or the registry cannot be asked (%s): %s", download_check_url(hub, &bad) != ERR_OK ? hub : o.registry, bad);
    if (c->f.sha256 && !source_digest(str_of(c->f.sha256), &digest))
        return cmd_fail(EXIT_USAGE, "See: hearth pull --help", "--sha256 must be 64 hexadecimal digits");
    o.digest = c->f.sha256 ? &digest : NULL;
    if (!is_token(getenv("HF_TOKEN")))
        return cmd_fail(EXIT_USAGE, NULL, "HF_TOKEN holds characters that no token has");
    download_rules_default(&o.rules);
    o.rules.token = getenv("HF_TOKEN");
    o.rules.token_url = hub;
    o.rules.ca_file = g->pull.ca_file.p;
    o.rules.proxy = g->pull.proxy.p;
    o.rules.parallel = (int)g->pull.parallel;
    o.rules.tries = (int)g->pull.tries;
    o.rules.connect_ms = g->pull.connect_ms;
    o.rules.stall_ms = g->pull.stall_ms;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    signal(SIGXFSZ, SIG_IGN);           /* a limit on the size of files is then an error as any other */
    enum err e = pull(&c->arena, &o, s, &done, why);
    if (!v.json && !v.quiet)
        term_progress_end();
    if (e != ERR_OK) {
        fflush(stdout);
        return cmd_fail(e == ERR_NOTFOUND ? EXIT_MISSING : e == ERR_RANGE ? EXIT_USAGE : EXIT_FAILED, NULL, "%s", why);
    }
    if (v.json)
        print_done_json(&done);
    else
        print_done(&done, g);
    return EXIT_DONE;
}

static int pull_run(struct cmd *c)
{
    struct app_config *k;
    struct source s;
    const char *why;
    if (source_parse(str_of(c->argv[0]), &s, &why) != ERR_OK)
        return cmd_fail(EXIT_USAGE, "See: hearth pull --help", "%s: %s", c->argv[0], why);
    int code = app_load(c, false, &k);
    if (code)
        return code;
    code = fetch(c, k->config, &s);
    app_unload(k);
    return code;
}

const struct command command_pull = {
    .name = "pull", .args = "SOURCE", .brief = "fetch a model from a hub, a registry, an address or a file",
    .about = "SOURCE is hf:OWNER/REPO, hf:OWNER/REPO:Q4_K_M or hf:OWNER/REPO:FILE.gguf (hf: may be left out), ollama:NAME[:TAG], an https address, or a file.\n"
             "It lands in the first folder of models_dir, and only whole: its SHA-256 and its header are checked before it gets its name. What was\n"
             "interrupted goes on where it stood. HF_ENDPOINT names a mirror, HF_TOKEN a token, which goes to the hub and to nobody else.",
    .examples = "  hearth pull hf:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:Q4_K_M\n  hearth pull ollama:qwen3:4b\n  hearth pull https://example.com/model.gguf --sha256 8f0a…\n"
                "  hearth pull ~/Downloads/model.gguf --name mine",
    .flags = { &flag_name, &flag_sha256, &flag_copy, &flag_quiet, &flag_json, &flag_config }, .min_args = 1, .max_args = 1, .run = pull_run,
};
