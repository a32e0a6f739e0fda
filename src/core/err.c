/* core/err.c: the one list of errors, as a table. */
#include "core/err.h"

static const struct { const char *name, *type, *code, *text; int http; } list[ERR_COUNT] = {
#define X(name, http, type, code, text) [ERR_##name] = { #name, type, code, text, http },
    ERR_LIST(X)
#undef X
};

/* An error from elsewhere (a cast, a newer file) is an internal one. */
static enum err known(enum err e) { return (unsigned)e < ERR_COUNT ? e : ERR_INTERNAL; }

int err_http(enum err e) { return list[known(e)].http; }
const char *err_name(enum err e) { return list[known(e)].name; }
const char *err_type(enum err e) { return list[known(e)].type; }
const char *err_code(enum err e) { return list[known(e)].code; }
const char *err_text(enum err e) { return list[known(e)].text; }

bool err_from_name(str name, enum err *out)
{
    for (int i = 0; i < ERR_COUNT; i++)
        if (str_eq(name, str_of(list[i].name))) {
            *out = (enum err)i;
            return true;
        }
    return false;
}
