/* What is said of sanitized files: a line, JSON, or a page. Types, rules and numbers, never a value. */
#include "cmd/sanitize.h"
#include "cmd/term.h"
#include "core/json.h"

static const char *const states[] = { [FILE_WAITS] = "waits",     [FILE_CLEAN] = "clean",     [FILE_CHANGED] = "found",
                                      [FILE_BINARY] = "binary",   [FILE_SKIPPED] = "skipped", [FILE_FAILED] = "failed" };

static void put_i64(struct json_out *o, str key, int64_t v)
{
    json_put_key(o, key);
    json_put_i64(o, v);
}

static void put_found(struct json_out *o, const struct guard_finder *names, const uint32_t found[GUARD_N_TYPES])
{
    json_put_key(o, S("found"));
    json_open(o, '{');
    for (int t = 0; t < GUARD_N_TYPES; t++)
        if (found[t])
            put_i64(o, str_of(guard_type_name(names, (enum guard_type)t)), found[t]);
    json_close(o, '}');
}

static void put_file(struct json_out *o, const struct guard_finder *names, const struct sanitize_file *f)
{
    json_open(o, '{');
    json_put_text(o, S("path"), str_of(f->path));
    json_put_text(o, S("state"), str_of(states[f->state]));
    json_put_text(o, S("kind"), str_of(sanitize_kind_name(f->kind)));
    put_i64(o, S("bytes"), f->bytes);
    put_found(o, names, f->found);
    put_i64(o, S("placeholders"), f->placeholders);
    put_i64(o, S("not_restorable"), f->lost);
    put_i64(o, S("odd_bytes"), f->odd_bytes);
    put_i64(o, S("restored"), f->restored);
    put_i64(o, S("unknown"), f->unknown);
    if (f->why)
        json_put_text(o, S("why"), str_of(f->why));
    json_close(o, '}');
}

void sanitize_json(FILE *to, const struct guard_finder *names, const struct sanitize_file *f)
{
    struct buf b = { .max = 1 << 20 };
    struct json_out o;
    json_out_init(&o, &b);
    put_file(&o, names, f);
    fprintf(to, "%.*s\n", STR_ARG(buf_str(&b)));
    buf_free(&b);
}

void sanitize_line(FILE *to, const struct guard_finder *names, const struct sanitize_file *f)
{
    term_text(to, str_of(f->path));
    if (f->state == FILE_BINARY)
        fputs(": binary, skipped", to);
    else if (f->why)
        fprintf(to, ": %s", f->why);
    else if (f->restored || f->unknown)
        fprintf(to, ": %u restored", f->restored);
    else
        fputc(':', to);
    for (int t = 0, n = 0; t < GUARD_N_TYPES; t++)
        if (f->found[t])
            fprintf(to, "%s %u %s", n++ ? "," : "", f->found[t], guard_type_name(names, (enum guard_type)t));
    if (f->unknown)
        fprintf(to, "; %u placeholders are not in this vault, or were made without a way back", f->unknown);
    if (f->odd_bytes)
        fprintf(to, "; %u bytes are no UTF-8 and stay", f->odd_bytes);
    fputc('\n', to);
}

static void totals(const struct sanitize_files *f, uint32_t found[GUARD_N_TYPES], size_t by_state[FILE_FAILED + 1])
{
    for (size_t i = 0; i < f->n; i++) {
        by_state[f->v[i].state]++;
        for (int t = 0; t < GUARD_N_TYPES; t++)
            found[t] += f->v[i].found[t];
    }
}

static enum err write_json(FILE *to, const struct sanitize_files *f, const struct sanitize_job *j)
{
    uint32_t found[GUARD_N_TYPES] = { 0 };
    size_t by_state[FILE_FAILED + 1] = { 0 };
    struct buf b = { .max = 1u << 30 };
    struct json_out o;
    totals(f, found, by_state);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_put_text(&o, S("hearth"), str_of(HEARTH_VERSION));
    json_put_key(&o, S("restore"));
    json_put_bool(&o, j->restore);
    json_put_key(&o, S("files"));
    json_open(&o, '{');
    for (int s = FILE_CLEAN; s <= FILE_FAILED; s++)
        put_i64(&o, str_of(states[s]), (int64_t)by_state[s]);
    json_close(&o, '}');
    put_i64(&o, S("bytes"), f->bytes);
    put_found(&o, j->finder, found);
    json_put_key(&o, S("rules"));
    json_open(&o, '{');
    for (unsigned r = 0; r < SANITIZE_RULES; r++)
        if (j->rules[r])
            put_i64(&o, str_of(guard_rule_name((uint16_t)r)), (int64_t)j->rules[r]);
    json_close(&o, '}');
    json_put_key(&o, S("each"));
    json_open(&o, '[');
    for (size_t i = 0; i < f->n; i++)
        put_file(&o, j->finder, &f->v[i]);
    json_close(&o, ']');
    json_close(&o, '}');
    (void)buf_putc(&b, '\n');
    bool ok = o.err == ERR_OK && fwrite(b.p, 1, b.n, to) == b.n;
    buf_free(&b);
    return ok ? ERR_OK : ERR_IO;
}

static void html(FILE *to, const char *s)
{
    for (; *s; s++)
        switch (*s) {
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '&': fputs("&amp;", to); break;
        case '"': fputs("&quot;", to); break;
        default: fputc(*s, to);
        }
}

static void html_found(FILE *to, const struct guard_finder *names, const uint32_t found[GUARD_N_TYPES])
{
    for (int t = 0, n = 0; t < GUARD_N_TYPES; t++)
        if (found[t])
            fprintf(to, "%s%u&nbsp;%s", n++ ? ", " : "", found[t], guard_type_name(names, (enum guard_type)t));
}

static void write_html(FILE *to, const struct sanitize_files *f, const struct sanitize_job *j)
{
    uint32_t found[GUARD_N_TYPES] = { 0 };
    size_t by_state[FILE_FAILED + 1] = { 0 };
    totals(f, found, by_state);
    fputs("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>hearth sanitize</title>\n"
          "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;width:100%}"
          "td,th{text-align:left;padding:.3em .8em;border-bottom:1px solid #ccc}td.n{text-align:right}</style>\n<h1>hearth sanitize</h1>\n<p>", to);
    for (int s = FILE_CLEAN, n = 0; s <= FILE_FAILED; s++)
        if (by_state[s])
            fprintf(to, "%s%zu %s", n++ ? ", " : "", by_state[s], states[s]);
    fprintf(to, "; %lld bytes.</p>\n<h2>By type</h2><table><tr><th>type<th>found\n", (long long)f->bytes);
    for (int t = 0; t < GUARD_N_TYPES; t++)
        if (found[t])
            fprintf(to, "<tr><td>%s<td class=\"n\">%u\n", guard_type_name(j->finder, (enum guard_type)t), found[t]);
    fputs("</table>\n<h2>By rule</h2><table><tr><th>rule<th>found\n", to);
    for (unsigned r = 0; r < SANITIZE_RULES; r++)
        if (j->rules[r])
            fprintf(to, "<tr><td>%s<td class=\"n\">%zu\n", guard_rule_name((uint16_t)r), j->rules[r]);
    fputs("</table>\n<h2>By file</h2><table><tr><th>file<th>state<th>bytes<th>found\n", to);
    for (size_t i = 0; i < f->n; i++) {
        fputs("<tr><td>", to);
        html(to, f->v[i].path);
        fprintf(to, "<td>%s<td class=\"n\">%lld<td>", states[f->v[i].state], (long long)f->v[i].bytes);
        html_found(to, j->finder, f->v[i].found);
        if (f->v[i].why)
            html(to, f->v[i].why);
        fputc('\n', to);
    }
    fputs("</table></html>\n", to);
}

bool sanitize_report(const char *path, const struct sanitize_files *f, const struct sanitize_job *j)
{
    FILE *to = fopen(path, "we");
    if (!to)
        return false;
    bool ok = true;
    if (str_ends(str_of(path), S(".html")))
        write_html(to, f, j);
    else
        ok = write_json(to, f, j) == ERR_OK;
    ok = ok && !ferror(to);
    return fclose(to) == 0 && ok;
}
