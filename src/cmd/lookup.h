/* cmd/lookup.h: a call of the ledger by its id. Includes: app.h. */
#ifndef HEARTH_CMD_LOOKUP_H
#define HEARTH_CMD_LOOKUP_H

#include "cmd/app.h"

enum { LOOKUP_ROWS = 8 };
struct lookup {                         /* its rows, the latest first, with their texts copied into `a` */
    struct arena *a;
    struct ledger_reader *r;
    str want;
    struct ledger_seen rows[LOOKUP_ROWS];
    int n;
};

/* Opens configuration and ledger for a command that reads; an exit_code, said. */
int lookup_open(struct cmd *c, struct app_config **k, struct ledger_reader **r);
/* "15m": so long ago. Unset (NULL) leaves *us as it is. */
bool lookup_ago(const char *text, int64_t *us);
/* ERR_RANGE: too short; ERR_NOTFOUND. */
enum err lookup_find(struct arena *a, struct ledger_reader *r, str id, struct lookup *out);
/* `id`: a call's id, its beginning, or the eight characters that hearth log prints. An exit_code, said. */
int lookup_call(struct cmd *c, struct ledger_reader *r, const char *id, struct lookup *out);
/* The row of its latest end; the first row when there is none. */
const struct ledger_row *lookup_end(const struct lookup *w);
/* Its request or answer; ERR_NOTFOUND: not kept or erased, ERR_FORBIDDEN: the key is not here. */
enum err lookup_body(const struct lookup *w, int64_t id, str *out, bool *truncated);
/* One line of JSON for a row, as `log --json` prints it. With `bodies`, its request and answer too: JSON as such, anything else as a string, what
 * is not kept as null, and *missing counts those. `open_only`: those of private calls are withheld. */
struct lookup_bodies { struct ledger_reader *r; bool open_only; int64_t missing; };
enum err lookup_line(struct buf *b, const struct ledger_seen *s, struct lookup_bodies *bodies);
/* The random end of a UUIDv7 tells calls of one minute apart; its beginning is the time. */
static inline str short_id(str id) { return id.n == 36 ? (str){ id.p + 28, 8 } : id; }

#endif
