/* cmd/config_keys.h: the file of virtual keys: read with the configuration, written by `hearth key`. Includes: options.h, keys.
 *
 *   alice: { hash: 'sha256:…', tasks: [docstring], zone: private, requests_per_minute: 60, dollars_per_day: 5 }
 *
 * It holds no secret that opens anything, but says who there is: it must not be readable by others (mode 0600). */
#ifndef HEARTH_CMD_CONFIG_KEYS_H
#define HEARTH_CMD_CONFIG_KEYS_H

#include "cmd/options.h"
#include "keys/keys.h"

struct key_entry {                      /* as it is written */
    str hash, task, expires;
    struct option_list tasks, models;
    int zone, guard;                    /* guard: an index of guard_words, or -1 */
    bool admin, disabled;
    int64_t requests_per_minute, tokens_per_minute;
    double dollars_per_day, dollars_per_month;
};
struct key_file { str *names; struct key_entry *entries; size_t n; };

/* `path` may not exist: no keys. Mistakes are complained about, with the file's name; ERR_LIMIT, ERR_IO, ERR_SYNTAX. */
enum err key_file_load(struct arena *a, const struct config_env *env, const char *path, struct buf *errors, struct key_file *out);
enum err key_file_read(struct arena *a, const struct config_env *env, str text, const char *path, struct buf *errors, struct key_file *out);
/* For the gate; `p` checks the names. Complains into `errors`. */
enum err key_file_list(struct arena *a, const struct key_file *f, const struct policy *p, const char *path, struct buf *errors, struct key_list *out);
enum err key_file_text(const struct key_file *f, struct buf *out);
enum err key_file_json(const struct key_file *f, struct buf *out);      /* the same as one JSON object */
/* The admin key at `path`, into out->admin; there may be none. Complains; ERR_SYNTAX, ERR_IO, ERR_LIMIT. */
enum err admin_key_load(struct arena *a, const struct config_env *env, const char *path, struct buf *errors, struct key_list *out);
void key_file_manual(struct buf *b);

#endif
