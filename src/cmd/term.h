/* cmd/term.h: what people see: colour and progress on a terminal, plain lines in a pipe. Includes: core. */
#ifndef HEARTH_CMD_TERM_H
#define HEARTH_CMD_TERM_H

#include "core/str.h"

bool term_is_out(void);                         /* standard output is a terminal */
bool term_is_err(void);
/* The escape sequence for `code` ("1;31", "0"), or "" where there is no terminal, or NO_COLOR is set (no-color.org). */
const char *term_out(const char *code);
const char *term_err(const char *code);
int term_width(void);

/* Text from a model or a client: control bytes but newline and tab are shown as "·", so that it cannot drive the terminal. */
void term_text(FILE *to, str text);
/* The same on one line, cut to `width` columns with "…", padded with spaces when `pad`. */
void term_cell(FILE *to, str text, int width, bool pad);

/* A bar on stderr, redrawn in place; nothing in a pipe. total 0: a spinner. */
void term_progress(const char *what, int64_t done, int64_t total);
/* The same with a text after it, on one line of the terminal. */
void term_progress_with(const char *what, int64_t done, int64_t total, const char *after);
void term_progress_end(void);

/* "1.2 GB", "312 MB", "840 B"; "3.2 s", "812 ms"; "2 h ago": into `out`, which is returned. */
char *term_bytes(int64_t n, char out[24]);
char *term_duration(int64_t us, char out[24]);
/* "135M", "7.2B": a number of parameters. */
char *term_count(uint64_t n, char out[24]);

#endif
