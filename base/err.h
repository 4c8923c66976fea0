#ifndef BASE_ERR_H
#define BASE_ERR_H

/* Errors: a code for decisions, a message for people, the foreign number for the log.
 *
 * `int f(..., struct err *err)` returns 0 or the code; *err is written only on failure and may not
 * be NULL.  Libraries return, programs log, and each failure is logged once.
 * ERR_TIMEOUT means that it did not happen; ERR_UNKNOWN_OUTCOME that it may have: the only legal
 * reaction to the latter is to read back (or to repeat under the same request identity).
 * Nothing here allocates.  Value types: any thread.
 */

#include <stdbool.h>
#include <stddef.h>

/* name, value, HTTP status, may the caller retry unchanged?, Kubernetes reason, text */
#define ERR_TABLE(X)                                                                               \
    X(ERR_INVALID, -1, 422, false, "Invalid", "invalid object or argument")                        \
    X(ERR_NOT_FOUND, -2, 404, false, "NotFound", "not found")                                      \
    X(ERR_EXISTS, -3, 409, false, "AlreadyExists", "already exists")                               \
    X(ERR_CONFLICT, -4, 409, false, "Conflict", "conflict")                                        \
    X(ERR_COMPACTED, -5, 410, false, "Expired", "revision has been compacted")                     \
    X(ERR_NOT_LEADER, -6, 503, true, "ServiceUnavailable", "not the leader")                       \
    X(ERR_NO_QUORUM, -7, 503, true, "ServiceUnavailable", "no quorum")                             \
    X(ERR_UNKNOWN_OUTCOME, -8, 504, false, "Timeout", "outcome unknown")                           \
    X(ERR_TIMEOUT, -9, 504, true, "Timeout", "deadline exceeded")                                  \
    X(ERR_CANCELED, -10, 499, false, "Canceled", "canceled")                                       \
    X(ERR_LIMIT, -11, 429, true, "TooManyRequests", "limit reached")                               \
    X(ERR_DENIED, -12, 403, false, "Forbidden", "not permitted")                                   \
    X(ERR_CORRUPT, -13, 500, false, "InternalError", "stored data is corrupt")                     \
    X(ERR_SYS, -14, 500, true, "InternalError", "system call failed")                              \
    X(ERR_DRIVER, -15, 502, true, "InternalError", "driver failed")                                \
    X(ERR_BAD_REQUEST, -16, 400, false, "BadRequest", "malformed request")                         \
    X(ERR_UNSUPPORTED, -17, 415, false, "UnsupportedMediaType", "not supported")                   \
    X(ERR_REFUSED, -18, 409, false, "Conflict", "refused by the safety rules")                     \
    X(ERR_STALE, -19, 409, false, "Conflict", "stale session, epoch or token")                     \
    X(ERR_UNREACHABLE, -20, 502, true, "InternalError", "unreachable")                             \
    X(ERR_UNAUTHORIZED, -21, 401, false, "Unauthorized", "not authenticated")                      \
    X(ERR_METHOD, -22, 405, false, "MethodNotAllowed", "method not allowed")                       \
    X(ERR_TOO_LARGE, -23, 413, false, "RequestEntityTooLarge", "too large")

enum err_code {
#define ERR_ENUM(name, value, http, retry, reason, text) name = (value),
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

#define ERR_MSG_MAX 512

struct err {
    int code;              /* enum err_code, 0 when none */
    int native;            /* errno, libxl rc, uv status...; 0 if none */
    const char *origin;    /* "errno", "libxl", "uv", "raft"; static; NULL if none */
    char msg[ERR_MSG_MAX]; /* outermost context first, one line */
};

/* Set *err and return `code`. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same with a foreign number, of which the text is appended where `origin` is "errno". */
int err_native(struct err *err, int code, const char *origin, int native, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Put "context: " in front of the message; returns err->code. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__ /* which does not know that these return what they are given */
#define err_set(err, code, ...) (err_set(err, code, __VA_ARGS__), (code))
#define err_native(err, code, ...) (err_native(err, code, __VA_ARGS__), (code))
#endif

/* Facts from the table.  An unknown code gives 500, false, "InternalError", "unknown error". */
int err_http(int code);
bool err_may_retry(int code);
const char *err_reason(int code);
const char *err_text(int code);
const char *err_name(int code);

#define ERR_USED __attribute__((warn_unused_result))

#endif
