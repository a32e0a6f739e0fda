/* Terminals: colour, progress, cells of a table. */
#include "cmd/term.h"

#include "core/clock.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool term_is_out(void) { return isatty(1) == 1; }
bool term_is_err(void) { return isatty(2) == 1; }

static const char *sequence(bool is_term, const char *code)
{
    static const struct { const char *code, *sequence; } known[] = {
        { "0", "\033[0m" }, { "1", "\033[1m" }, { "2", "\033[2m" }, { "1;31", "\033[1;31m" }, { "31", "\033[31m" }, { "32", "\033[32m" },
        { "33", "\033[33m" }, { "36", "\033[36m" },
    };
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    if (!is_term || (no && *no) || (term && strcmp(term, "dumb") == 0))
        return "";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].code, code) == 0)
            return known[i].sequence;
    return "";
}

const char *term_out(const char *code) { return sequence(term_is_out(), code); }
const char *term_err(const char *code) { return sequence(term_is_err(), code); }

int term_width(void)
{
    struct winsize w;
    return ioctl(1, TIOCGWINSZ, &w) == 0 && w.ws_col >= 40 ? w.ws_col : 100;
}

/* Length of the character at `s` and whether it may be shown: C0, DEL and C1 (U+0080 to U+009F) may not. */
static size_t character(str s, bool *shown)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n > s.n || !str_is_utf8((str){ s.p, n })) {
        *shown = false;
        return 1;
    }
    *shown = c >= 0x20 && c != 0x7F && !(c == 0xC2 && (unsigned char)s.p[1] < 0xA0);
    return n;
}

void term_text(FILE *to, str text)
{
    while (text.n) {
        bool shown;
        size_t n = character(text, &shown);
        if (shown || text.p[0] == '\n' || text.p[0] == '\t')
            fwrite(text.p, 1, n, to);
        else
            fputs("·", to);
        text = str_skip(text, n);
    }
}

void term_cell(FILE *to, str text, int width, bool pad)
{
    int used = 0;
    while (text.n && used < width) {
        bool shown;
        size_t n = character(text, &shown);
        if (used == width - 1 && n < text.n) {
            fputs("…", to);
            used++;
            break;
        }
        if (shown)
            fwrite(text.p, 1, n, to);
        else
            fputs(text.p[0] == '\n' || text.p[0] == '\t' ? " " : "·", to);
        used++;
        text = str_skip(text, n);
    }
    while (pad && used++ < width)
        fputc(' ', to);
}

void term_progress(const char *what, int64_t done, int64_t total) { term_progress_with(what, done, total, ""); }

void term_progress_with(const char *what, int64_t done, int64_t total, const char *after)
{
    static const char *const spin[] = { "⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏" };
    static int64_t last_ms;
    enum { CELLS = 28, CELLS_LEAST = 6 };
    int64_t now = clock_mono_us(&clock_system) / 1000;
    if (!term_is_err() || (now - last_ms < 80 && done != total))
        return;
    last_ms = now;
    if (total <= 0) {
        fprintf(stderr, "\r\033[K%s %s%s", spin[now / 80 % 10], what, after);
        return;
    }
    int room = term_width() - (int)strlen(what) - (int)strlen(after) - 10, cells = room < CELLS_LEAST ? CELLS_LEAST : room < CELLS ? room : CELLS;
    int full = (int)((double)done / (double)total * cells);
    fprintf(stderr, "\r\033[K%s [", what);
    for (int i = 0; i < cells; i++)
        fputs(i < full ? "█" : "·", stderr);
    fprintf(stderr, "] %3d %%%s", (int)((double)done / (double)total * 100), after);
}

void term_progress_end(void)
{
    if (term_is_err())
        fputs("\r\033[K", stderr);
}

char *term_bytes(int64_t n, char out[24])
{
    static const char *const unit[] = { "B", "KB", "MB", "GB", "TB" };
    double v = (double)n;
    int u = 0;
    while (v >= 1000 && u < 4) {
        v /= 1000;
        u++;
    }
    snprintf(out, 24, u && v < 10 ? "%.1f %s" : "%.0f %s", v, unit[u]);
    return out;
}

char *term_duration(int64_t us, char out[24])
{
    if (us < 1000)
        snprintf(out, 24, "%d µs", (int)us);
    else if (us < 1000000)
        snprintf(out, 24, "%d ms", (int)(us / 1000));
    else if (us < 100000000)
        snprintf(out, 24, "%.1f s", (double)us / 1e6);
    else
        snprintf(out, 24, "%d min %d s", (int)(us / 60000000), (int)(us / 1000000 % 60));
    return out;
}

char *term_count(uint64_t n, char out[24])
{
    static const char *const unit[] = { "", "K", "M", "B", "T" };
    double v = (double)n;
    int u = 0;
    while (v >= 999.5 && u < 4) {
        v /= 1000;
        u++;
    }
    snprintf(out, 24, u && v < 9.95 ? "%.1f%s" : "%.0f%s", v, unit[u]);
    return out;
}
