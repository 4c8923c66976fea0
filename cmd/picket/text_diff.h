#ifndef CMD_PICKET_TEXT_DIFF_H
#define CMD_PICKET_TEXT_DIFF_H

/* The unified difference of two texts, line by line (POSIX diff -u).  Pure.
 *
 * The longest common subsequence by dynamic programming, after common beginnings and ends were
 * taken off.  Parts of more than TEXT_DIFF_CELLS (lines of one times lines of the other) are shown
 * as replaced as a whole.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define TEXT_DIFF_CELLS (16U << 20)

/* Append "--- a", "+++ b" and the hunks with `context` lines around; false when they are equal. */
bool text_diff(const char *name_a, const char *a, const char *name_b, const char *b, size_t context,
               bool color, struct buf *out);

#endif
