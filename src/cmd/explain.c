/* `hearth explain`: why a call would go where, without the call. The gateway decides, as it would; this prints what it says. */
#include "cmd/ask.h"
#include "cmd/reach.h"
#include "cmd/term.h"
#include "core/json.h"

#include <unistd.h>

enum { INPUT_MAX = 64 << 20 };

static int read_all(FILE *f, struct buf *b)
{
    char piece[65536];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        if (buf_put(b, (str){ piece, n }) != ERR_OK)
            return cmd_fail(EXIT_FAILED, NULL, "the input is larger than 64 MiB");
    return EXIT_DONE;
}

static void question(struct cmd *c, str text, struct buf *b)
{
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '{');
    json_put_key(&o, S("model"));
    json_put_str(&o, c->f.model && !str_ends(str_of(c->f.model), S(".gguf")) ? str_of(c->f.model) : S("default"));
    json_put_key(&o, S("messages"));
    json_open(&o, '[');
    json_open(&o, '{');
    json_put_key(&o, S("role"));
    json_put_str(&o, S("user"));
    json_put_key(&o, S("content"));
    json_put_str(&o, text);
    json_close(&o, '}');
    json_close(&o, ']');
    json_close(&o, '}');
}

/* A body as a client would send it is sent as it is; anything else is a question. */
static const char *path_of(struct cmd *c, str text)
{
    json v;
    if (json_parse(&c->arena, text, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || json_type(v) != JSON_OBJECT)
        return NULL;
    if (json_type(json_member(v, S("input"))) != JSON_NONE)
        return "/v1/responses";
    if (json_type(json_member(v, S("prompt"))) != JSON_NONE)
        return "/v1/completions";
    if (json_type(json_member(v, S("messages"))) != JSON_ARRAY)
        return NULL;
    return json_type(json_member(v, S("system"))) != JSON_NONE ? "/v1/messages" : "/v1/chat/completions";
}

static str text_of(struct cmd *c, json v, const char *key)
{
    str s;
    json m = json_member(v, str_of(key));
    return json_type(m) == JSON_STRING && json_text(&c->arena, m, &s) == ERR_OK ? s : STR_NONE;
}

static void line(const char *what, str value)
{
    if (!value.n)
        return;
    printf("  %-12s ", what);
    term_text(stdout, value);
    putchar('\n');
}

static void print_fallbacks(struct cmd *c, json v)
{
    str all = STR_NONE, name;
    for (json m = json_first(json_member(v, S("fallbacks"))); json_type(m) == JSON_STRING; m = json_next(m))
        if (json_text(&c->arena, m, &name) == ERR_OK)
            all = arena_printf(&c->arena, "%.*s%s%.*s", STR_ARG(all), all.n ? ", then " : "", STR_ARG(name));
    int64_t retries = 0;
    (void)json_i64(json_member(v, S("retries")), &retries);
    line("if it fails", all.n ? all : retries ? arena_printf(&c->arena, "the same again, at most %lld times", (long long)retries) : S("nothing else"));
}

static int print(struct cmd *c, str body)
{
    json v;
    int64_t status = 0;
    if (json_parse(&c->arena, body, &JSON_DEFAULT_LIMITS, &v, NULL) != ERR_OK || !json_i64(json_member(v, S("status")), &status))
        return cmd_fail(EXIT_FAILED, NULL, "the answer could not be read");
    if (c->f.json) {
        printf("%.*s\n", STR_ARG(body));
        return status == 200 ? EXIT_DONE : EXIT_FOUND;
    }
    str model = text_of(c, v, "model"), refused = text_of(c, v, "refused"), asked = text_of(c, v, "asked");
    printf("%s%.*s%s → %s%.*s%s\n", term_out("1"), STR_ARG(asked.n ? asked : S("(no model)")), term_out("0"), term_out(refused.n ? "31" : "32"),
           STR_ARG(refused.n ? S("refused") : model), term_out("0"));
    static const struct { const char *what, *key; } lines[] = { { "refused", "refused" }, { "rule", "rule" }, { "because", "because" }, { "task", "task" }, { "risk", "risk" }, { "data", "data" },
                                                                { "of", "candidates" }, { "model", "model" }, { "provider", "provider" }, { "zone", "zone" }, { "state", "state" },
                                                                { "request", "request" }, { "dropped", "dropped" } };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        line(lines[i].what, text_of(c, v, lines[i].key));
    if (model.n)
        print_fallbacks(c, v);
    return status == 200 ? EXIT_DONE : EXIT_FOUND;
}

static int ask(struct cmd *c, str text)
{
    struct reach r = { 0 };
    struct ask k;
    struct buf body = { .max = INPUT_MAX * 2 };
    const char *path = path_of(c, text);
    if (path)
        (void)buf_put(&body, text);
    else
        question(c, text, &body);
    str fields = arena_printf(&c->arena, "Content-Type: application/json\r\nx-hearth-explain: 1\r\n%s%s%s%s", c->f.private ? "x-hearth-data: private\r\n" : "",
                              c->f.task ? "x-hearth-task: " : "", c->f.task ? c->f.task : "", c->f.task ? "\r\n" : "");
    int code = reach_open(&r, c, REACH_OWN);
    if (code == EXIT_DONE) {
        ask_call(r.loop, r.socket, S("POST"), str_of(path ? path : "/v1/chat/completions"), fields, buf_str(&body), NULL, NULL, &k);
        code = k.err == ERR_OK ? print(c, buf_str(&k.body)) : cmd_fail(EXIT_FAILED, NULL, "%s", *k.detail ? k.detail : err_text(k.err));
        ask_free(&k);
    }
    buf_free(&body);
    reach_close(&r);
    return code;
}

static int explain_run(struct cmd *c)
{
    struct buf text = { .max = INPUT_MAX };
    int code = EXIT_DONE;
    if (c->argc == 0 || (c->argc == 1 && strcmp(c->argv[0], "-") == 0)) {
        code = isatty(0) ? cmd_fail(EXIT_USAGE, "See: hearth explain --help", "there is no question") : read_all(stdin, &text);
    } else {
        for (int i = 0; i < c->argc; i++)
            (void)buf_printf(&text, "%s%s", i ? " " : "", c->argv[i]);
    }
    if (code == EXIT_DONE)
        code = ask(c, buf_str(&text));
    buf_free(&text);
    return code;
}

const struct command command_explain = {
    .name = "explain", .args = "[QUESTION | -]", .brief = "say where a call would go, and why, without sending it",
    .about = "Takes a question, or on standard input a request as a client would send it (OpenAI, Anthropic or Responses JSON).\n"
             "The same is asked of a running hearth by the header x-hearth-explain: 1 on any call. Exits with 3 where the call would be refused.",
    .examples = "  hearth explain --model auto \"Write a docstring for this function\"\n  hearth explain --task refactor --private \"…\"\n  hearth explain --json < request.json",
    .flags = { &flag_model, &flag_task, &flag_private, &flag_json, &flag_config, &flag_ledger }, .max_args = -1, .run = explain_run,
};
