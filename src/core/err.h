/* core/err.h: every error of hearth, from one list. Includes: libc.
 *
 * A function that can fail returns `enum err`; results go out through the last arguments and are written only on
 * success. Each error has the HTTP status a client gets and a sentence that can be shown to a person. */
#ifndef HEARTH_CORE_ERR_H
#define HEARTH_CORE_ERR_H

#include "core/str.h"

/*  name, HTTP status, `type` in OpenAI's error object, `code` in it or "", text */
#define ERR_LIST(X)                                                                                              \
    X(OK,          200, "",                      "",                        "")                                  \
    X(AGAIN,       500, "server_error",          "",                        "not ready: resume later")           \
    X(SYNTAX,      400, "invalid_request_error", "",                        "the request is not valid")          \
    X(RANGE,       400, "invalid_request_error", "",                        "a value is out of its range")       \
    X(UNSUPPORTED, 400, "invalid_request_error", "unsupported_parameter",   "this is not supported here")        \
    X(GRAMMAR,     400, "invalid_request_error", "grammar_failed",          "no token of this model goes on by the grammar, or it is too ambiguous") \
    X(CONTEXT,     400, "invalid_request_error", "context_length_exceeded", "the prompt is longer than the model's context") \
    X(AUTH,        401, "authentication_error",  "invalid_api_key",         "no valid key was given")            \
    X(PRIVATE,     403, "permission_error",      "private_data",            "private data may not leave this machine") \
    X(GUARD,       403, "permission_error",      "guard_failed",            "the call could not be guarded, so it did not leave") \
    X(FORBIDDEN,   403, "permission_error",      "forbidden",               "this is not allowed")               \
    X(NOTFOUND,    404, "invalid_request_error", "not_found",               "there is no such thing")            \
    X(MODEL,       404, "invalid_request_error", "model_not_found",         "there is no such model")            \
    X(METHOD,      405, "invalid_request_error", "method_not_allowed",      "this path does not take that method") \
    X(TIMEOUT,     408, "invalid_request_error", "request_timeout",         "the request did not arrive in time") \
    X(LIMIT,       413, "invalid_request_error", "request_too_large",       "the request is larger than the configured limit") \
    X(BUSY,        429, "rate_limit_error",      "overloaded",              "too many calls at once: try again in a moment") \
    X(RATE,        429, "rate_limit_error",      "rate_limit_exceeded",     "this key's limit is reached")       \
    X(BUDGET,      429, "insufficient_quota",    "insufficient_quota",      "this key's budget is spent")        \
    X(CLIENT,      499, "server_error",          "client_closed_request",   "the client went away")              \
    X(INTERNAL,    500, "server_error",          "internal_error",          "an internal error")                 \
    X(MEMORY,      500, "server_error",          "out_of_memory",           "out of memory")                     \
    X(IO,          500, "server_error",          "io_error",                "reading or writing failed")         \
    X(TLS,         502, "server_error",          "upstream_tls",            "the upstream's certificate could not be verified") \
    X(UPSTREAM,    502, "server_error",          "upstream_error",          "the upstream's reply was not usable") \
    X(CUT,         502, "server_error",          "upstream_cut",            "the upstream closed the connection before its reply was complete") \
    X(REFUSED,     502, "server_error",          "upstream_unreachable",    "the upstream could not be reached") \
    X(LOADING,     503, "server_error",          "model_loading",           "the model is being loaded")         \
    X(ENGINE,      503, "server_error",          "engine_failed",           "the local engine is not running")   \
    X(OPEN,        503, "server_error",          "upstream_unavailable",    "the upstream failed several times and is left alone for a moment") \
    X(STORE,       503, "server_error",          "ledger_unavailable",      "the ledger could not be read or written; the call was refused") \
    X(DEADLINE,    504, "server_error",          "upstream_timeout",        "the upstream did not answer in time")

enum err {
#define X(name, http, type, code, text) ERR_##name,
    ERR_LIST(X)
#undef X
    ERR_COUNT
};

int err_http(enum err e);               /* HTTP status */
const char *err_name(enum err e);       /* "LIMIT" */
const char *err_type(enum err e);       /* OpenAI error type */
const char *err_code(enum err e);       /* OpenAI error code, "" for none */
const char *err_text(enum err e);       /* a sentence for people */
bool err_from_name(str name, enum err *out);

#endif
