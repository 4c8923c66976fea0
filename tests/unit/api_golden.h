#ifndef TESTS_UNIT_API_GOLDEN_H
#define TESTS_UNIT_API_GOLDEN_H

/* Comparing text with a golden file.  PICKET_GOLDEN=write in the environment writes the file anew;
 * look at the difference before committing it.  Include it after cmocka.h. */

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/str.h"

static inline void golden_check(const char *path, const char *text)
{
    bool writing = str_eq(getenv("PICKET_GOLDEN"), "write");
    FILE *f = fopen(path, writing ? "w" : "r");
    struct buf have = { 0 };

    if (f == NULL) {
        fail_msg("%s is missing; PICKET_GOLDEN=write makes it", path);
        return;
    }
    if (writing) {
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
        return;
    }
    for (int c = fgetc(f); c != EOF; c = fgetc(f)) {
        buf_add_byte(&have, (uint8_t)c);
    }
    (void)fclose(f);
    if (!str_eq(buf_cstr(&have), text)) {
        fail_msg("%s differs; PICKET_GOLDEN=write and git diff show how. Now it is:\n%s", path,
                 text);
    }
    buf_done(&have);
}

#endif
