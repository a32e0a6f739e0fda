/* core/log.h: the program's own log: one event a line, key=value or JSON, on stderr. Includes: core.
 *
 * Never a key, never a prompt, never a reply: only what the program itself does. Safe from any thread; a line goes out
 * with one write(2), and one that does not fit 2 KiB is cut with "…".
 *
 *   log_info("engine_ready", LOG_S("model", name), LOG_I("ms", ms));
 *   2026-11-24T09:30:00.123Z info engine_ready model=smollm2 ms=812
 */
#ifndef HEARTH_CORE_LOG_H
#define HEARTH_CORE_LOG_H

#include "core/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field { const char *key; enum { LOG_F_STR, LOG_F_I64, LOG_F_F64 } kind; str s; int64_t i; double f; };
#define LOG_S(k, v)   ((struct log_field){ .key = (k), .kind = LOG_F_STR, .s = (v) })           /* v: str */
#define LOG_C(k, v)   ((struct log_field){ .key = (k), .kind = LOG_F_STR, .s = str_of(v) })     /* v: const char * */
#define LOG_I(k, v)   ((struct log_field){ .key = (k), .kind = LOG_F_I64, .i = (v) })
#define LOG_F(k, v)   ((struct log_field){ .key = (k), .kind = LOG_F_F64, .f = (v) })

void log_setup(enum log_level least, enum log_format format, int fd);   /* before threads start; default info, text, 2 */
bool log_level_from(str name, enum log_level *out);
void log_event(enum log_level level, const char *event, const struct log_field *fields, size_t n);

#define log_at(level, event, ...) \
    log_event((level), (event), (struct log_field[]){ __VA_ARGS__ }, sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))
#define log_debug(event, ...) log_at(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  log_at(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  log_at(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_at(LOG_ERROR, event, __VA_ARGS__)

#endif
