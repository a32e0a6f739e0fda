/* `hearth ps`, `hearth plan`, `hearth load` and `hearth unload`: what is loaded and how it does, what loading a model would do, and doing it. The keeper of the
 * hearth that runs answers; ps and plan ask one of their own where none does. */
#include "cmd/ask.h"
#include "cmd/reach.h"
#include "cmd/term.h"
#include "core/json.h"

#include <inttypes.h>

#define UNLOAD_LOOKS 100                /* ten seconds */

/* ---- asking ---- */

/* An exit_code; *body in the command's arena. Errors are said. */
static int ask_fleet(struct cmd *c, struct reach *r, str method, str target, str model, str *body)
{
    struct ask k;
    struct buf b = { .max = 1 << 16 };
    struct json_out o;
    json v;
    str text = STR_NONE;
    int code = EXIT_DONE;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_key(&o, S("model"));
    json_put_str(&o, model);
    json_close(&o, '}');
    ask_call(r->loop, r->socket, method, target, model.n ? S("Content-Type: application/json\r\n") : S(""), model.n ? buf_str(&b) : STR_NONE, NULL, NULL, &k);
    *body = arena_str(&c->arena, buf_str(&k.body));
    if (k.err != ERR_OK)
        code = cmd_fail(EXIT_FAILED, NULL, "%s", *k.detail ? k.detail : err_text(k.err));
    else if (k.status >= 300) {
        if (json_parse(&c->arena, *body, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK)
            (void)json_text(&c->arena, json_member(json_member(v, S("error")), S("message")), &text);
        code = cmd_fail(k.status == 404 ? EXIT_MISSING : EXIT_FAILED, k.status == 404 ? "See: hearth models" : NULL, "%.*s", STR_ARG(text.n ? text : S("the answer could not be read")));
    }
    ask_free(&k);
    buf_free(&b);
    return code;
}

static str text_in(struct cmd *c, json v, const char *key)
{
    str s;
    json m = json_member(v, str_of(key));
    return json_type(m) == JSON_STRING && json_text(&c->arena, m, &s) == ERR_OK ? s : S("");
}

static int64_t number_in(json v, const char *key)
{
    int64_t n;
    return json_i64(json_member(v, str_of(key)), &n) ? n : -1;
}

static double real_in(json v, const char *key)
{
    double n;
    return json_f64(json_member(v, str_of(key)), &n) ? n : -1;
}

static const char *bytes_in(json v, const char *key, char out[24])
{
    int64_t n = number_in(v, key);
    return n >= 0 ? term_bytes(n, out) : "?";
}

/* ---- ps ---- */

static void print_machine(struct cmd *c, json v)
{
    char free_bytes[24], total[24], used[24], cap[24];
    json host = json_member(v, S("host"));
    printf("%shost%s   %s of %s free; models have %s", term_out("1"), term_out("0"), bytes_in(host, "free", free_bytes), bytes_in(host, "total", total), bytes_in(host, "models", used));
    if (number_in(host, "cap") > 0)
        printf(" of %s", bytes_in(host, "cap", cap));
    putchar('\n');
    int i = 0;
    for (json d = json_first(json_member(v, S("devices"))); json_type(d) == JSON_OBJECT; d = json_next(d)) {
        printf("%sgpu %-2d%s ", term_out("1"), i++, term_out("0"));
        term_cell(stdout, text_in(c, d, "name"), 28, true);
        printf(" %s of %s free", bytes_in(d, "free", free_bytes), bytes_in(d, "total", total));
        if (number_in(d, "busy_percent") >= 0)
            printf("  %" PRId64 " %% busy", number_in(d, "busy_percent"));
        if (number_in(d, "celsius") >= 0)
            printf("  %" PRId64 " °C", number_in(d, "celsius"));
        if (real_in(d, "joules") >= 0)
            printf("  %.0f kJ", real_in(d, "joules") / 1000);
        putchar('\n');
    }
}

/* "loading 43 %", "ready". */
static str state_of(struct cmd *c, json m)
{
    str state = text_in(c, m, "state");
    double progress = real_in(m, "progress");
    return str_eq(state, S("loading")) && progress >= 0 ? arena_printf(&c->arena, "loading %.0f %%", progress * 100) : state;
}

static bool flag_in(json v, const char *key)
{
    bool b = false;
    return json_bool(json_member(v, str_of(key)), &b) && b;
}

static str memory_of(struct cmd *c, json m)
{
    char host[24], device[24];
    json memory = json_member(m, S("memory")), need = json_member(m, S("need"));
    if (number_in(memory, "device") > 0)
        return arena_printf(&c->arena, "%s + %s", bytes_in(memory, "device", device), bytes_in(memory, "host", host));
    if (number_in(memory, "host") >= 0)
        return arena_printf(&c->arena, "%s", bytes_in(memory, "host", host));
    if (number_in(need, "host") < 0)
        return S("-");
    return arena_printf(&c->arena, "(%s%s)", flag_in(need, "measured") || flag_in(need, "written") ? "" : "~", bytes_in(need, "host", host));
}

static str calls_of(struct cmd *c, json m)
{
    int64_t running = number_in(m, "running"), waiting = number_in(m, "waiting");
    if (waiting <= 0)
        return arena_printf(&c->arena, "%" PRId64, running);
    char waits[24];
    return arena_printf(&c->arena, "%" PRId64 ", %" PRId64 " wait %s", running, waiting, term_duration(number_in(m, "waits_ms") * 1000, waits));
}

static void print_model(struct cmd *c, json m)
{
    char idle[24];
    str state = text_in(c, m, "state"), why = text_in(c, m, "why");
    bool bad = str_eq(state, S("failed")) || str_eq(state, S("unreachable"));
    double rate = real_in(m, "tokens_per_second");
    term_cell(stdout, text_in(c, m, "model"), 28, true);
    printf(" %s", term_out(bad ? "31" : str_eq(state, S("ready")) || str_eq(state, S("served")) ? "32" : "33"));
    term_cell(stdout, state_of(c, m), 13, true);
    printf("%s ", term_out("0"));
    term_cell(stdout, memory_of(c, m), 16, true);
    printf(" ");
    term_cell(stdout, calls_of(c, m), 18, true);
    printf(" %8s %8s  ", rate >= 0 ? arena_cstr(&c->arena, arena_printf(&c->arena, "%.1f", rate)) : "-", number_in(m, "idle_ms") >= 0 ? term_duration(number_in(m, "idle_ms") * 1000, idle) : "-");
    str on = text_in(c, json_member(m, S("memory")), "on");
    printf("%.*s at %.*s", STR_ARG(text_in(c, m, "kind")), STR_ARG(text_in(c, m, "provider")));
    if (flag_in(m, "attached"))
        printf(", attached");
    else if (number_in(m, "pid") > 0)
        printf(", %.*s, pid %" PRId64, STR_ARG(on), number_in(m, "pid"));
    putchar('\n');
    if (why.n && (bad || str_eq(state, S("waiting")))) {
        fputs("  ", stdout);
        term_cell(stdout, why, term_width() - 4, false);
        putchar('\n');
        if (bad && text_in(c, m, "log").n)
            printf("  its log: %.*s\n", STR_ARG(text_in(c, m, "log")));
    }
}

static int ps_run(struct cmd *c)
{
    struct reach r = { 0 };
    str body;
    json v;
    int code = reach_open(&r, c, REACH_OWN);
    if (code)
        return code;
    code = ask_fleet(c, &r, S("GET"), S("/hearth/fleet"), STR_NONE, &body);
    if (code == EXIT_DONE && c->f.json) {
        printf("%.*s\n", STR_ARG(body));
    } else if (code == EXIT_DONE && json_parse(&c->arena, body, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK) {
        if (r.own)
            fprintf(stderr, "hearth does not run here: this is what would be. Start it: hearth serve\n");
        print_machine(c, v);
        if (json_count(json_member(v, S("models"))))
            printf("\n%s%-28s %-13s %-16s %-18s %8s %8s  %s%s\n", term_out("1"), "MODEL", "STATE", "MEMORY", "CALLS", "TOKENS/S", "IDLE", "SERVER", term_out("0"));
        for (json m = json_first(json_member(v, S("models"))); json_type(m) == JSON_OBJECT; m = json_next(m))
            print_model(c, m);
    }
    reach_close(&r);
    return code;
}

const struct command command_ps = {
    .name = "ps", .args = "", .brief = "show what is loaded: devices, memory, calls, tokens a second",
    .about = "Engines, servers that hearth starts, and servers that run already and say what they are (docs/fleet.md).\n\n"
             "  STATE     off: the first call loads it; waiting: for memory, the line below says for what; loading, with how far; ready; asleep: a vLLM, the next call wakes\n"
             "            it; failed: the line below says why, and it is tried again; stopping. Of servers that run already: served, unreachable\n"
             "  MEMORY    what it has, with everything that it has started; two numbers: on the GPU + on the host besides. In brackets: what it would need, with ~ while\n"
             "            that is estimated from the file, not measured or written\n"
             "  CALLS     that run; and how many wait for it to be loaded, the first of them since when\n"
             "  TOKENS/S  generated in the last second, by the server's own count; -: it has none\n"
             "  IDLE      since the last call came or went\n\n"
             "Where no hearth runs, it says what there would be.",
    .examples = "  hearth ps\n  watch -n 1 hearth ps\n  hearth ps --json | jq '.models[] | select(.state == \"failed\")'", .flags = { &flag_json, &flag_config, &flag_ledger }, .max_args = 0, .run = ps_run,
};

/* ---- plan ---- */

static void print_need(json need)
{
    char weights[24], kv[24], rest[24], load[24];
    int64_t token = number_in(need, "kv_token"), tokens = number_in(need, "tokens");
    bool measured = flag_in(need, "measured");
    if (flag_in(need, "written")) {
        printf("  %-12s written in the configuration\n", "known");
        return;
    }
    if (number_in(need, "weights") >= 0)
        printf("  %-12s weights %s", "made of", bytes_in(need, "weights", weights));
    if (number_in(need, "weights") >= 0 && token >= 0 && tokens >= 0)
        printf(", keys and values %s (%" PRId64 " tokens of %" PRId64 " bytes), the rest %s", term_bytes(token * tokens, kv), tokens, token, bytes_in(need, "rest", rest));
    if (number_in(need, "weights") >= 0)
        putchar('\n');
    printf("  %-12s %s", "known", measured ? "measured when it was loaded" : number_in(need, "host") >= 0 ? "estimated from the file: it was never loaded here" : "not at all: it is let in, and measured");
    if (number_in(need, "load_ms") >= 0)
        printf(", which took %s", term_duration(number_in(need, "load_ms") * 1000, load));
    putchar('\n');
}

static void print_plan(struct cmd *c, json v)
{
    char until[24];
    str verdict = text_in(c, v, "verdict"), on = text_in(c, v, "on");
    bool well = str_eq(verdict, S("fits")) || str_eq(verdict, S("loaded")), never = str_eq(verdict, S("refuse"));
    printf("%s%.*s%s → %s%.*s%s\n", term_out("1"), STR_ARG(text_in(c, v, "model")), term_out("0"), term_out(well ? "32" : never ? "31" : "33"), STR_ARG(verdict), term_out("0"));
    printf("  %-12s ", "because");
    term_text(stdout, text_in(c, v, "says"));
    putchar('\n');
    if (str_eq(verdict, S("attached")))
        return;
    printf("  %-12s %.*s\n", "on", STR_ARG(on));
    json evict = json_member(v, S("evict"));
    if (json_count(evict)) {
        printf("  %-12s ", "would go");
        int i = 0;
        str name;
        for (json m = json_first(evict); json_type(m) == JSON_STRING; m = json_next(m))
            if (json_text(&c->arena, m, &name) == ERR_OK)
                printf("%s%.*s", i++ ? ", " : "", STR_ARG(name));
        putchar('\n');
    }
    if (number_in(v, "until_ms") > 0)
        printf("  %-12s in %s at the latest it is decided again\n", "then", term_duration(number_in(v, "until_ms") * 1000, until));
    print_need(json_member(v, S("need")));
}

static int plan_run(struct cmd *c)
{
    struct reach r = { 0 };
    str body;
    json v;
    int code = reach_open(&r, c, REACH_OWN);
    if (code)
        return code;
    code = ask_fleet(c, &r, S("POST"), S("/hearth/fleet/plan"), str_of(c->argv[0]), &body);
    if (code == EXIT_DONE && json_parse(&c->arena, body, &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK) {
        if (c->f.json)
            printf("%.*s\n", STR_ARG(body));
        else
            print_plan(c, v);
        code = str_eq(text_in(c, v, "verdict"), S("refuse")) ? EXIT_FOUND : EXIT_DONE;
    }
    reach_close(&r);
    return code;
}

const struct command command_plan = {
    .name = "plan", .args = "MODEL", .brief = "say what loading a model would do: does it fit, where, what goes for it",
    .about = "Nothing is loaded or ended. The answer is one of these:\n\n"
             "  loaded    it is there already\n"
             "  fits      there is room\n"
             "  swap      the models that are named would go for it, when their calls have ended\n"
             "  wait      for models that are loading or leaving, or until the loaded ones have had their time (fleet.stay, fleet.window)\n"
             "  refuse    it would not fit if everything else were gone; exits with 3\n"
             "  attached  its server runs by itself\n\n"
             "What it needs is written (memory:), else as measured when it was loaded before, else estimated from the file.",
    .examples = "  hearth plan coder\n  hearth plan coder --json",
    .flags = { &flag_json, &flag_config, &flag_ledger }, .min_args = 1, .max_args = 1, .run = plan_run,
};

/* ---- load and unload ---- */

/* The entry of `name` in what there is. */
static int look_for(struct cmd *c, struct reach *r, str name, json *out)
{
    str body;
    json v;
    int code = ask_fleet(c, r, S("GET"), S("/hearth/fleet"), STR_NONE, &body);
    *out = JSON_ABSENT;
    if (code || json_parse(&c->arena, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK)
        return code ? code : EXIT_FAILED;
    for (json m = json_first(json_member(v, S("models"))); json_type(m) == JSON_OBJECT; m = json_next(m))
        if (json_is(json_member(m, S("model")), name))
            *out = m;
    return EXIT_DONE;
}

static void wait_a_moment(void) { nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL); }

/* Until it is there, or cannot be. One that fails is given a moment to be unloaded. */
static int follow(struct cmd *c, struct reach *r, str name, bool load)
{
    for (int failures = load ? UNLOAD_LOOKS : 0;;) {
        json m;
        int code = look_for(c, r, name, &m);
        str state = text_in(c, m, "state");
        if (code || json_type(m) == JSON_NONE)
            return code;
        if (str_eq(state, S("failed")) && ++failures > UNLOAD_LOOKS) {
            term_progress_end();
            return cmd_fail(EXIT_FAILED, NULL, "%.*s: %.*s", STR_ARG(name), STR_ARG(text_in(c, m, "why")));
        }
        if (load ? str_eq(state, S("ready")) || str_eq(state, S("served")) : str_eq(state, S("off")) || str_eq(state, S("served")) || str_eq(text_in(c, m, "kind"), S("ollama")))
            break;
        double progress = real_in(m, "progress");
        term_progress(load ? "loading" : "its calls end", progress > 0 ? (int64_t)(progress * 1000) : 0, progress > 0 ? 1000 : 0);
        wait_a_moment();
    }
    term_progress_end();
    return EXIT_DONE;
}

static int order_run(struct cmd *c, bool load)
{
    struct reach r = { 0 };
    str body, name = str_of(c->argv[0]);
    int code = reach_open(&r, c, REACH_RUNNING);
    if (code) {
        reach_close(&r);
        return code;
    }
    code = ask_fleet(c, &r, S("POST"), load ? S("/hearth/fleet/load") : S("/hearth/fleet/unload"), name, &body);
    if (code == EXIT_DONE)
        code = follow(c, &r, name, load);
    if (code == EXIT_DONE && !c->f.json)
        printf("%.*s is %s\n", STR_ARG(name), load ? "loaded" : "unloaded");
    else if (code == EXIT_DONE)
        printf("{\"ok\":true}\n");
    reach_close(&r);
    return code;
}

static int load_run(struct cmd *c) { return order_run(c, true); }
static int unload_run(struct cmd *c) { return order_run(c, false); }

const struct command command_load = {
    .name = "load", .args = "MODEL", .brief = "load a model now, so that the first call does not wait for it",
    .about = "Waits until it is ready, or says why it cannot be. As for a first call, idle models make room where there is none, and what runs calls is waited for.\n"
             "hearth plan MODEL says before what that would mean.", .examples = "  hearth load coder",
    .flags = { &flag_json, &flag_config, &flag_ledger }, .min_args = 1, .max_args = 1, .run = load_run,
};

const struct command command_unload = {
    .name = "unload", .args = "MODEL", .brief = "unload a model when its calls have ended; the next call loads it again",
    .about = "One that fails again and again is left alone until somebody asks for it. Of an Ollama, also of one that runs by itself, the model goes and the server stays.\n"
             "Other servers that run by themselves are not touched.", .examples = "  hearth unload coder",
    .flags = { &flag_json, &flag_config, &flag_ledger }, .min_args = 1, .max_args = 1, .run = unload_run,
};
