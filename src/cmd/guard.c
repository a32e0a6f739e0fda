/* `hearth guard explain`: what the finder sees in a file, and why. The other two are in files of their own. */
#include "cmd/sanitize.h"
#include "cmd/term.h"
#include "core/json.h"

struct look { const struct cmd *c; const struct guard_finder *finder; };

static void each_place(void *ctx, const struct sanitize_place *p)
{
    const struct look *l = ctx;
    const struct cmd *c = l->c;
    const char *type = guard_type_name(l->finder, p->type);
    if (c->f.json) {
        struct buf b = { .max = 1 << 20 };
        struct json_out o;
        json_out_init(&o, &b);
        json_open(&o, '{');
        json_put_key(&o, S("line"));
        json_put_i64(&o, (int64_t)p->line);
        json_put_key(&o, S("column"));
        json_put_i64(&o, (int64_t)p->column);
        json_put_text(&o, S("type"), str_of(type));
        json_put_text(&o, S("rule"), str_of(guard_rule_name(p->rule)));
        json_put_key(&o, S("score"));
        json_put_i64(&o, p->score);
        json_put_text(&o, S("context"), p->context);
        json_close(&o, '}');
        printf("%.*s\n", STR_ARG(buf_str(&b)));
        buf_free(&b);
        return;
    }
    char place[48];
    snprintf(place, sizeof place, "%zu:%zu", p->line, p->column);
    printf("%-9s %s%-13s%s %-20s %3d  ", place, term_out("1"), type, term_out("0"), guard_rule_name(p->rule), p->score);
    if (c->f.show_values && term_is_out()) {
        fputs(term_out("33"), stdout);
        term_cell(stdout, p->value, 60, false);
        printf("%s  ", term_out("0"));
    }
    term_cell(stdout, p->context, 120, false);
    fputc('\n', stdout);
}

static int sum_up(const struct cmd *c, const struct guard_finder *finder, const struct sanitize_file *f)
{
    size_t n = 0;
    if (f->state == FILE_FAILED)
        return cmd_fail(EXIT_FAILED, NULL, "%s: %s", f->path, f->why);
    if (f->state == FILE_BINARY)
        return cmd_fail(EXIT_FAILED, NULL, "%s is binary", f->path);
    for (int t = 0; t < GUARD_N_TYPES; t++)
        n += f->found[t];
    if (c->f.json)
        sanitize_json(stdout, finder, f);
    else if (n)
        sanitize_line(stdout, finder, f);
    else
        printf("%s: nothing was found\n", f->path);
    return n ? EXIT_FOUND : EXIT_DONE;
}

static int guard_run(struct cmd *c)
{
    if (strcmp(c->argv[0], "rotate") == 0 && c->argc == 1)
        return guard_rotate(c);
    if (strcmp(c->argv[0], "try") == 0 && c->argc == 1)
        return guard_try(c);
    if (strcmp(c->argv[0], "explain") != 0 || c->argc != 2)
        return cmd_fail(EXIT_USAGE, "See: hearth guard --help", "hearth guard knows explain FILE, try and rotate");
    if (c->f.show_values && (!term_is_out() || c->f.json))
        return cmd_fail(EXIT_USAGE, "Leave it out, or look at a terminal.", "--show-values shows values on a terminal only, never in a pipe or a file");
    struct look look = { .c = c };
    struct sanitize_job job = { .dry = true, .on_place = each_place, .ctx = &look };
    struct sanitize_file f = { .path = c->argv[1] };
    struct sanitize_rules rules;
    sanitize_job_init(&job);
    int code = sanitize_rules_load(c, &rules, &job);
    if (code)
        return code;
    look.finder = job.finder;
    sanitize_one(&job, NULL, &c->arena, &f);
    code = sum_up(c, job.finder, &f);
    app_unload(rules.config);
    return code;
}

const struct command command_guard = {
    .name = "guard", .args = "explain FILE|- | try [filters] | rotate",
    .brief = "what is found in a file, by which rule, and how sure; what would become of recorded calls; the vault's key",
    .about = "explain: a line for each place: line and column, type, rule, score from 0 to 100, and what stands around it, with every value as its type. A check digit or a\n"
             "telling name of a field gives a higher score than a form alone; from 50 on it is masked, or from guard.threshold. What the configuration adds is seen too:\n"
             "your own types and denied words; what it allows or leaves is not shown. Nothing is written, and no value is shown, but on a\n"
             "terminal with --show-values. Ends with 3 when something was found, 0 when nothing.\n"
             "try: what would become of the last calls (100, or -n) if they were bound for a cloud, by the configuration as it is now: they leave, are masked, stay with a\n"
             "local model, or are refused, with what was found in each. For trying a configuration before it counts: nothing is sent or written. Calls whose prompts are\n"
             "not kept cannot be told; what was masked then is kept masked, and seen so. Ends with 3 unless all would leave as they are.\n"
             "rotate: the vault gets a new key, and every value in it is sealed with that; placeholders stay what they are. hearth may go on serving meanwhile. What was\n"
             "killed in the middle goes on with the next rotate. A key of the environment: stop hearth, then give the new one as before and the old one in HEARTH_GUARD_OLD_KEY.",
    .examples = "  hearth guard explain mail.txt\n  hearth guard explain mail.txt --show-values\n  git diff | hearth guard explain -\n  hearth guard try -n 1000 --task support\n  hearth guard try -c stricter.yaml -l hearth.db --json | jq 'select(.would != \"leaves\")'\n  hearth guard rotate",
    .flags = { &flag_show_values, &flag_limit, &flag_task, &flag_model, &flag_since, &flag_until, &flag_vault, &flag_key_file, &flag_json, &flag_config, &flag_ledger }, .min_args = 1, .max_args = 2, .run = guard_run,
};
