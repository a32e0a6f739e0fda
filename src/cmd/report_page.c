/* The page of `hearth report`: plots as SVG, tables as HTML, no script, nothing from elsewhere. */
#include "cmd/report.h"

#include "cmd/term.h"

enum { PLOT_WIDTH = 960, PLOT_HEIGHT = 220, PLOT_LEFT = 60, PLOT_BOTTOM = 24 };

static const char style[] =
    "<style>:root{--fg:#1c1c1e;--bg:#fff;--soft:#6b6b70;--line:#d9d9de;--local:#2f9e5b;--cloud:#3b6fd4;--failed:#cf3f3a}"
    "@media(prefers-color-scheme:dark){:root{--fg:#e8e8ea;--bg:#18181a;--soft:#9a9aa0;--line:#3a3a3f;--local:#4cc47d;--cloud:#6f9cf0;--failed:#ef6b65}}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color:var(--fg);background:var(--bg)}h1{font-size:1.4em}h2{font-size:1.1em;margin:2em 0 .4em}"
    "p.soft,th,figcaption{color:var(--soft)}dl{display:flex;flex-wrap:wrap;gap:1em 2.5em;margin:1.5em 0}dt{color:var(--soft);font-size:.85em}dd{margin:0;font-size:1.6em}dd small{font-size:.5em;color:var(--soft)}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{padding:.3em .6em;border-bottom:1px solid var(--line);text-align:right;font-weight:400}"
    "td:first-child,th:first-child{text-align:left}div.wide{overflow-x:auto}figure{margin:0}svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--soft)}"
    ".local{fill:var(--local)}.cloud{fill:var(--cloud)}.failed{fill:var(--failed)}path{fill:none;stroke-width:2}path.local{fill:none;stroke:var(--local)}path.cloud{fill:none;stroke:var(--cloud)}"
    "line{stroke:var(--line)}i{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}i.local{background:var(--local)}i.cloud{background:var(--cloud)}i.failed{background:var(--failed)}</style>\n";

static void put_escaped(FILE *to, str s)
{
    for (size_t i = 0; i < s.n; i++)
        switch (s.p[i]) {
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '&': fputs("&amp;", to); break;
        case '"': fputs("&quot;", to); break;
        default: fputc((unsigned char)s.p[i] < 0x20 ? ' ' : s.p[i], to);
        }
}

static double share(int64_t of, int64_t all) { return all ? 100 * (double)of / (double)all : 0; }

/* ---- plots ---- */

static double left_of(const struct report *r, size_t i) { return PLOT_LEFT + (double)(PLOT_WIDTH - PLOT_LEFT) * (double)i / (double)r->n_buckets; }
static double height_of(double v, double most) { return most > 0 ? v * (PLOT_HEIGHT - PLOT_BOTTOM - 10) / most : 0; }

/* The line at the bottom with the first and the last moment, and the highest value on the left. */
static void put_frame(FILE *to, const struct report *r, const char *most)
{
    char from[CLOCK_TEXT], until[CLOCK_TEXT];
    clock_text(r->since_us, from);
    clock_text(r->until_us, until);
    fprintf(to, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"%d\">%.16s</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.16s UTC</text>", PLOT_LEFT, PLOT_HEIGHT - PLOT_BOTTOM,
            PLOT_WIDTH, PLOT_HEIGHT - PLOT_BOTTOM, PLOT_LEFT, PLOT_HEIGHT - 6, from, PLOT_WIDTH, PLOT_HEIGHT - 6, until);
    fprintf(to, "<text x=\"%d\" y=\"14\" text-anchor=\"end\">%s</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">0</text>", PLOT_LEFT - 6, most, PLOT_LEFT - 6, PLOT_HEIGHT - PLOT_BOTTOM);
}

static void open_plot(FILE *to, const char *what)
{
    fprintf(to, "<figure><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", PLOT_WIDTH, PLOT_HEIGHT, what);
}

static void put_calls(FILE *to, const struct report *r)
{
    int64_t most = 1;
    char top[24], at[CLOCK_TEXT];
    for (size_t i = 0; i < r->n_buckets; i++) {
        int64_t n = r->buckets[i].local + r->buckets[i].cloud + r->buckets[i].failed;
        most = n > most ? n : most;
    }
    open_plot(to, "Calls over time: local, cloud and failed");
    double wide = (left_of(r, 1) - left_of(r, 0)) * 0.86;
    for (size_t i = 0; i < r->n_buckets; i++) {
        const struct report_bucket *b = &r->buckets[i];
        const struct { const char *name; int64_t n; } parts[] = { { "local", b->local }, { "cloud", b->cloud }, { "failed", b->failed } };
        double y = PLOT_HEIGHT - PLOT_BOTTOM;
        clock_text(r->since_us + (int64_t)i * r->bucket_us, at);
        fprintf(to, "<g><title>from %.16s: %lld local, %lld cloud, %lld failed</title>", at, (long long)b->local, (long long)b->cloud, (long long)b->failed);
        for (size_t k = 0; k < 3; k++) {
            double h = height_of((double)parts[k].n, (double)most);
            y -= h;
            if (parts[k].n)
                fprintf(to, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", parts[k].name, left_of(r, i), y, wide, h);
        }
        fputs("</g>", to);
    }
    put_frame(to, r, report_count(most, top));
    fprintf(to, "</svg><figcaption>Calls a column of %s:<i class=\"local\"></i>local<i class=\"cloud\"></i>cloud<i class=\"failed\"></i>failed</figcaption></figure>\n", report_length(r->bucket_us, top));
}

/* The sum up to each column's end, as a line. */
static void put_sum_line(FILE *to, const struct report *r, bool spent, double most)
{
    double sum = 0;
    fprintf(to, "<path class=\"%s\" d=\"M%d %d", spent ? "cloud" : "local", PLOT_LEFT, PLOT_HEIGHT - PLOT_BOTTOM);
    for (size_t i = 0; i < r->n_buckets; i++) {
        sum += (double)(spent ? r->buckets[i].cost_micros : r->buckets[i].elsewhere_micros);
        fprintf(to, "L%.1f %.1f", left_of(r, i + 1), PLOT_HEIGHT - PLOT_BOTTOM - height_of(sum, most));
    }
    fputs("\"/>", to);
}

static void put_money(FILE *to, const struct report *r)
{
    int64_t most = r->now.cost_micros > r->now.elsewhere_micros ? r->now.cost_micros : r->now.elsewhere_micros;
    char top[24];
    if (!most)
        return;
    open_plot(to, "Money over time: spent, and what local answers would have cost elsewhere");
    put_sum_line(to, r, true, (double)most);
    put_sum_line(to, r, false, (double)most);
    put_frame(to, r, report_money(most, true, top));
    fputs("</svg><figcaption>Money since the beginning:<i class=\"cloud\"></i>spent<i class=\"local\"></i>what the local answers would have cost with the references of their tasks</figcaption></figure>\n", to);
}

/* ---- numbers ---- */

static void put_tile(FILE *to, const char *name, const char *value, const char *small) { fprintf(to, "<div><dt>%s<dd>%s <small>%s</small></div>", name, value, small); }

static const char *took(const struct report_sum *s, double p, char out[24]) { return s->answered ? term_duration(report_percentile(s, p), out) : "-"; }

static void put_tiles(FILE *to, const struct report *r)
{
    const struct report_sum *s = &r->now, *b = &r->before;
    char t[2][48], n[3][24];
    fputs("<dl>", to);
    snprintf(t[1], sizeof t[1], "before: %s", report_count(b->calls, n[0]));
    put_tile(to, "calls", report_count(s->calls, n[1]), t[1]);
    snprintf(t[0], sizeof t[0], "%.1f %%", share(s->local, s->answered));
    snprintf(t[1], sizeof t[1], "before: %.1f %%", share(b->local, b->answered));
    put_tile(to, "of the answers local", t[0], t[1]);
    snprintf(t[0], sizeof t[0], "%.1f %%", share(s->ok, s->calls));
    snprintf(t[1], sizeof t[1], "before: %.1f %%", share(b->ok, b->calls));
    put_tile(to, "ok", t[0], t[1]);
    snprintf(t[1], sizeof t[1], "before: %s", report_money(b->cost_micros, b->cost_micros || !b->unpriced, n[0]));
    put_tile(to, "spent", report_money(s->cost_micros, s->cost_micros || !s->unpriced, n[1]), t[1]);
    put_tile(to, "local answers, elsewhere", report_money(s->elsewhere_micros, s->elsewhere_micros > 0, n[1]), "");
    snprintf(t[1], sizeof t[1], "95 %%: %s", took(s, 0.95, n[0]));
    put_tile(to, "half within", took(s, 0.5, n[1]), t[1]);
    snprintf(t[1], sizeof t[1], "read, %s written", report_count(s->output_tokens, n[0]));
    put_tile(to, "tokens", report_count(s->input_tokens, n[1]), t[1]);
    fputs("</dl>\n", to);
}

static void put_table(FILE *to, const struct report_table *t)
{
    char n[8][24];
    fprintf(to, "<h2>By %.*s</h2>\n<div class=\"wide\"><table><tr><th>name<th>calls<th>before<th>ok<th>local<th>tokens read<th>written<th>spent<th>elsewhere<th>half within<th>95 %% within\n",
            (int)strlen(t->column) - 1, t->column);
    for (size_t i = 0; i < t->n; i++) {
        const struct report_sum *s = &t->lines[i].now;
        fputs("<tr><td>", to);
        put_escaped(to, t->lines[i].name);
        fprintf(to, "<td>%s<td>%s<td>%.1f %%<td>%.1f %%<td>%s<td>%s<td>%s<td>%s<td>%s<td>%s\n", report_count(s->calls, n[0]), report_count(t->lines[i].before.calls, n[1]), share(s->ok, s->calls),
                share(s->local, s->answered), report_count(s->input_tokens, n[2]), report_count(s->output_tokens, n[3]), report_money(s->cost_micros, s->cost_micros || !s->unpriced, n[4]),
                report_money(s->elsewhere_micros, s->elsewhere_micros > 0, n[5]), took(s, 0.5, n[6]), took(s, 0.95, n[7]));
    }
    fputs("</table></div>\n", to);
}

void report_page(FILE *to, const struct report *r)
{
    char from[CLOCK_TEXT], until[CLOCK_TEXT];
    clock_text(r->since_us, from);
    clock_text(r->until_us, until);
    fprintf(to, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>hearth report, %.10s to %.10s</title>\n%s", from, until, style);
    fprintf(to, "<h1>Calls, money and time</h1>\n<p class=\"soft\">%.16s to %.16s UTC, beside the same time before it</p>\n", from, until);
    put_tiles(to, r);
    put_calls(to, r);
    put_money(to, r);
    for (size_t i = 0; i < REPORT_TABLES; i++)
        put_table(to, &r->tables[i]);
    if (r->now.incomparable)
        fprintf(to, "<p class=\"soft\">%lld local answers are not in \"elsewhere\": their task has no reference with a price.</p>\n", (long long)r->now.incomparable);
    if (r->now.unpriced)
        fprintf(to, "<p class=\"soft\">%lld answers of a cloud have no price and are not in \"spent\".</p>\n", (long long)r->now.unpriced);
    if (r->other_prices)
        fprintf(to, "<p class=\"soft\">%lld local answers are from before the configuration was changed: the prices compared with are today's.</p>\n", (long long)r->other_prices);
    fputs("</html>\n", to);
}
