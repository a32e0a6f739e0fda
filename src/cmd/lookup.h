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
/* `id`: a call's id, its beginning, or the eight characters that hearth log prints. An exit_code, said. */
int lookup_call(struct cmd *c, struct ledger_reader *r, const char *id, struct lookup *out);
/* The row of its latest end; the first row when there is none. */
const struct ledger_row *lookup_end(const struct lookup *w);
/* Its request or answer; ERR_NOTFOUND: not kept or erased, ERR_FORBIDDEN: the key is not here. */
enum err lookup_body(const struct lookup *w, int64_t id, str *out, bool *truncated);
/* The random end of a UUIDv7 tells calls of one minute apart; its beginning is the time. */
static inline str short_id(str id) { return id.n == 36 ? (str){ id.p + 28, 8 } : id; }

#endif
