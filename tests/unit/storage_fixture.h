#ifndef TESTS_UNIT_STORAGE_FIXTURE_H
#define TESTS_UNIT_STORAGE_FIXTURE_H

/* A file below tests/fixtures/storage as text; the caller frees it. */

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"

static inline char *storage_fixture(const char *name, size_t *ret_len)
{
    char path[256];
    char part[4096];
    struct buf b = { 0 };
    FILE *f;
    size_t n;

    (void)snprintf(path, sizeof(path), "tests/fixtures/storage/%s", name);
    f = fopen(path, "r");
    if (f == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        abort();
    }
    while ((n = fread(part, 1, sizeof(part), f)) > 0) {
        buf_add(&b, part, n);
    }
    (void)fclose(f);
    return buf_take(&b, ret_len);
}

#endif
