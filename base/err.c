#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"

struct err_row {
    int code;
    int http;
    bool retry;
    const char *reason;
    const char *text;
    const char *name;
};

static const struct err_row err_rows[] = {
#define ERR_ROW(name, value, http, retry, reason, text) { name, http, retry, reason, text, #name },
    ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

static const struct err_row *err_row(int code)
{
    static const struct err_row other = { 0,          500, false, "InternalError", "unknown error",
                                          "ERR_OTHER" };

    for (size_t i = 0; i < ARRAY_LEN(err_rows); i++) {
        if (err_rows[i].code == code) {
            return &err_rows[i];
        }
    }
    return &other;
}

#undef err_set /* err.h: what clang's analyzer sees in their place */
#undef err_native

int err_set(struct err *err, int code, const char *fmt, ...)
{
    va_list ap;

    CHECK(err != NULL);
    CHECK(code != 0);
    err->code = code;
    err->native = 0;
    err->origin = NULL;
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    return code;
}

int err_native(struct err *err, int code, const char *origin, int native, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    CHECK(err != NULL);
    CHECK(code != 0);
    err->code = code;
    err->native = native;
    err->origin = origin;
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    n = strlen(err->msg);
    if (strcmp(origin, "errno") == 0) {
        char text[128];

        (void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s",
                       strerror_r(native, text, sizeof(text)));
    } else {
        (void)snprintf(err->msg + n, sizeof(err->msg) - n, " (%s %d)", origin, native);
    }
    return code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char inner[ERR_MSG_MAX];
    va_list ap;
    size_t n;

    CHECK(err != NULL);
    memcpy(inner, err->msg, sizeof(inner));
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    n = strlen(err->msg);
    (void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", inner);
    return err->code;
}

int err_http(int code)
{
    return err_row(code)->http;
}

bool err_may_retry(int code)
{
    return err_row(code)->retry;
}

const char *err_reason(int code)
{
    return err_row(code)->reason;
}

const char *err_text(int code)
{
    return err_row(code)->text;
}

const char *err_name(int code)
{
    return err_row(code)->name;
}
