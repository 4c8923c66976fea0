#include "base/obj.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void (*check_handler)(const char *expr, const char *file, int line);

void check_set_handler(void (*fn)(const char *expr, const char *file, int line))
{
    check_handler = fn;
}

void check_fail(const char *expr, const char *func, const char *file, int line)
{
    if (check_handler != NULL) {
        check_handler(expr, file, line);
    }
    (void)fprintf(stderr, "<2>check failed: %s in %s (%s:%d)\n", expr, func, file, line);
    (void)fflush(stderr);
    abort();
}

/* glibc's calloc passes its own per-thread cache by, which malloc takes small blocks from. */
#define SMALL 1032U

void *mem_alloc(size_t size)
{
    void *p = size <= SMALL ? malloc(size == 0 ? 1 : size) : calloc(1, size);

    CHECK(p != NULL);
    if (size <= SMALL) {
        memset(p, 0, size);
    }
    return p;
}

void *mem_realloc(void *p, size_t size)
{
    void *q = realloc(p, size == 0 ? 1 : size);

    CHECK(q != NULL);
    return q;
}

char *mem_strndup(const char *s, size_t n)
{
    char *d;

    CHECK(s != NULL);
    CHECK(n < SIZE_MAX);
    d = mem_alloc(n + 1);
    memcpy(d, s, n);
    return d;
}

char *mem_strdup(const char *s)
{
    return s == NULL ? NULL : mem_strndup(s, strlen(s));
}

void *mem_dup(const void *p, size_t n)
{
    void *d = mem_alloc(n);

    if (n > 0) {
        memcpy(d, p, n);
    }
    return d;
}

char *mem_printf(const char *fmt, ...)
{
    va_list ap;
    char *s;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    s = mem_alloc((size_t)n + 1);
    va_start(ap, fmt);
    (void)vsnprintf(s, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return s;
}
