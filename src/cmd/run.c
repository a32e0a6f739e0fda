/* `hearth run`: one question, or a chat on a terminal. It goes through the hearth that holds the ledger; when there is none,
 * through a gate of its own. */
#include "cmd/ask.h"
#include "cmd/reach.h"
#include "cmd/term.h"
#include "core/json.h"

#include <math.h>
#include <unistd.h>

enum { INPUT_MAX = 16 << 20 };

struct session {
    struct cmd *c;
    struct reach to;
    const char *model;
    struct buf messages;                /* "{…},{…}": what has been said */
    struct buf answer;
};

/* ---- one turn ---- */

static void add_message(struct session *s, str role, str text)
{
    struct json_out o;
    if (s->messages.n)
        (void)buf_putc(&s->messages, ',');
    json_out_init(&o, &s->messages);
    json_open(&o, '{');
    json_put_key(&o, S("role"));
    json_put_str(&o, role);
    json_put_key(&o, S("content"));
    json_put_str(&o, text);
    json_close(&o, '}');
}

static void write_request(struct session *s, bool stream, struct buf *b)
{
    const struct flags *f = &s->c->f;
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '{');
    json_put_key(&o, S("model"));
    json_put_str(&o, str_of(s->model));
    json_put_key(&o, S("messages"));
    json_open(&o, '[');
    json_put_raw(&o, buf_str(&s->messages));
    json_close(&o, ']');
    json_put_key(&o, S("stream"));
    json_put_bool(&o, stream);
    if (stream) {
        json_put_key(&o, S("stream_options"));
        json_put_raw(&o, S("{\"include_usage\":true}"));
    }
    if (f->max_tokens >= 0) {
        json_put_key(&o, S("max_tokens"));
        json_put_i64(&o, f->max_tokens);
    }
    if (f->seed >= 0) {
        json_put_key(&o, S("seed"));
        json_put_i64(&o, f->seed);
    }
    if (!isnan(f->temperature)) {
        json_put_key(&o, S("temperature"));
        json_put_f64(&o, f->temperature);
    }
    json_close(&o, '}');
}

static void on_text(void *ctx, str text)
{
    struct session *s = ctx;
    (void)buf_put(&s->answer, text);
    if (term_is_out())
        term_text(stdout, text);
    else
        fwrite(text.p, 1, text.n, stdout);
    fflush(stdout);
}

static void print_numbers(const struct session *s, const struct ask *a)
{
    struct arena mem;
    json v;
    int64_t tokens = 0;
    arena_init(&mem, 1 << 16);
    if (json_parse(&mem, buf_str(&a->body), &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK)
        (void)json_i64(json_member(v, S("completion_tokens")), &tokens);
    arena_free(&mem);
    double seconds = (double)(a->end_us - a->first_us) / 1e6;
    fprintf(stderr, "%s%s: %lld tokens", term_err("2"), a->model, (long long)tokens);
    if (tokens > 1 && a->first_us && seconds > 0)
        fprintf(stderr, ", %.1f tokens/s, first after %.2f s", (double)(tokens - 1) / seconds, (double)(a->first_us - a->sent_us) / 1e6);
    fprintf(stderr, "; hearth show %s%s\n", a->call_id, term_err("0"));
    (void)s;
}

static int say_failure(const struct ask *a)
{
    struct arena mem;
    json v;
    str text;
    int code = EXIT_FAILED;
    arena_init(&mem, 4 << 20);
    if (a->err == ERR_CLIENT)
        fputs("\n(cancelled)\n", stderr);
    else if (a->err == ERR_OK && json_parse(&mem, buf_str(&a->body), &JSON_DEFAULT_LIMITS, &v, NULL) == ERR_OK &&
             json_text(&mem, json_member(json_member(v, S("error")), S("message")), &text) == ERR_OK)
        code = cmd_fail(EXIT_FAILED, "", "%.*s", STR_ARG(text));
    else
        code = cmd_fail(EXIT_FAILED, "", "%s", *a->detail ? a->detail : a->err ? err_text(a->err) : "the answer could not be read");
    arena_free(&mem);
    return code;
}

/* Asks what has been said so far; the answer becomes part of it. */
static int ask_turn(struct session *s)
{
    const struct flags *f = &s->c->f;
    struct buf body = { .max = INPUT_MAX * 2 };
    struct ask a;
    bool stream = !f->json;
    str fields = arena_printf(&s->c->arena, "Content-Type: application/json\r\n%s%s%s%s", f->private ? "x-hearth-data: private\r\n" : "", f->task ? "x-hearth-task: " : "",
                              f->task ? f->task : "", f->task ? "\r\n" : "");
    write_request(s, stream, &body);
    buf_clear(&s->answer);
    ask_call(s->to.loop, s->to.socket, S("POST"), S("/v1/chat/completions"), fields, buf_str(&body), stream ? on_text : NULL, s, &a);
    buf_free(&body);
    int code = EXIT_DONE;
    if (a.err != ERR_OK || a.status != 200) {
        if (s->answer.n)
            putchar('\n');
        code = say_failure(&a);
    } else if (f->json) {
        fwrite(a.body.p, 1, a.body.n, stdout);
        putchar('\n');
    } else {
        if (!s->answer.n || s->answer.p[s->answer.n - 1] != '\n')
            putchar('\n');
        fflush(stdout);
        if (!f->quiet)
            print_numbers(s, &a);
        add_message(s, S("assistant"), buf_str(&s->answer));
    }
    ask_free(&a);
    return code;
}

/* ---- the two ways to be asked ---- */

static int chat(struct session *s)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    fprintf(stderr, "%sChat with %s. /new begins again, /exit or Ctrl-D ends.%s\n", term_err("2"), s->model, term_err("0"));
    while (fputs("> ", stderr), (n = getline(&line, &cap, stdin)) > 0) {
        str text = { line, (size_t)n - (line[n - 1] == '\n') };
        if (str_eq(text, S("/exit")) || str_eq(text, S("/bye")))
            break;
        if (str_eq(text, S("/new"))) {
            buf_clear(&s->messages);
            if (s->c->f.system)
                add_message(s, S("system"), str_of(s->c->f.system));
        } else if (str_trim(text).n) {
            add_message(s, S("user"), text);
            (void)ask_turn(s);
        }
    }
    free(line);
    fputc('\n', stderr);
    return EXIT_DONE;
}

static int read_input(struct buf *b)
{
    char piece[65536];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, stdin)) > 0)
        if (buf_put(b, (str){ piece, n }) != ERR_OK)
            return cmd_fail(EXIT_FAILED, NULL, "the input is larger than 16 MiB");
    return b->n ? EXIT_DONE : cmd_fail(EXIT_USAGE, "Give it as an argument: hearth run \"Why is the sky blue?\"", "there is no question");
}

static int run_run(struct cmd *c)
{
    struct session s = { .c = c, .model = "default", .messages.max = INPUT_MAX, .answer.max = INPUT_MAX };
    struct buf question = { .max = INPUT_MAX };
    int code = EXIT_DONE;
    if (c->f.model && !str_ends(str_of(c->f.model), S(".gguf")))
        s.model = c->f.model;
    /* hearth run MODEL "question": two arguments; one argument is the question. */
    int first = c->argc >= 2 && !strchr(c->argv[0], ' ') && !c->f.model ? 1 : 0;
    if (first)
        s.model = c->argv[0];
    for (int i = first; i < c->argc; i++)
        (void)buf_printf(&question, "%s%s", i > first ? " " : "", c->argv[i]);
    if (!question.n && !isatty(0))
        code = read_input(&question);
    if (code == EXIT_DONE)
        code = reach_open(&s.to, c, REACH_OWN);
    if (code == EXIT_DONE) {
        if (s.to.own)
            app_warm(&s.to.app);        /* while a person types */
        if (c->f.system)
            add_message(&s, S("system"), str_of(c->f.system));
        if (question.n) {
            add_message(&s, S("user"), buf_str(&question));
            code = ask_turn(&s);
        } else {
            code = chat(&s);
        }
    }
    buf_free(&question);
    buf_free(&s.messages);
    buf_free(&s.answer);
    reach_close(&s.to);
    return code;
}

const struct command command_run = {
    .name = "run", .args = "[MODEL] [QUESTION]", .brief = "ask one question, or chat on a terminal",
    .about = "Goes through a running `hearth serve`, or, when there is none, answers by itself; the call is on record either way.\n"
             "Without a question it reads one from standard input, or, on a terminal, begins a chat.",
    .examples = "  hearth run \"Why is the sky blue?\"\n  hearth run coder \"Write a test for strlen\" --temperature 0\n  git diff | hearth run --system \"Summarise this change\"",
    .flags = { &flag_model, &flag_task, &flag_system, &flag_private, &flag_max_tokens, &flag_temperature, &flag_seed, &flag_quiet, &flag_json, &flag_config, &flag_ledger },
    .max_args = -1, .run = run_run,
};
