#ifndef STORE_MPK_H
#define STORE_MPK_H

/* Writing and reading msgpack without an object tree: just what commands, answers and records need.
 *
 * Writing appends to a buf.  Reading is a pull parser with a sticky error that remembers what was
 * expected and where; a failed read gives zeroes.  Strings and bytes are copied into the arena,
 * never left pointing into the input.  Every count is checked against the bytes that are left
 * before anything is allocated for it, and nothing recurses.  Pure.
 *
 * Source: the msgpack specification (spec.md of github.com/msgpack/msgpack), formats nil, bool,
 * uint, str, bin, array.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "store/cmd.h"

void mpk_nil(struct buf *b);
void mpk_bool(struct buf *b, bool v);
void mpk_uint(struct buf *b, uint64_t v);
void mpk_array(struct buf *b, size_t n);
void mpk_str(struct buf *b, const char *s); /* NULL: nil */
void mpk_bin(struct buf *b, const void *p, size_t n);
void mpk_bytes(struct buf *b, struct bytes v); /* absent: nil */

struct mpk {
    const uint8_t *p;
    size_t len;
    size_t pos;
    const char *bad; /* what could not be read; NULL while all is well.  Static strings */
    size_t bad_pos;
    struct arena *arena;
};

struct mpk mpk_make(const void *data, size_t len, struct arena *a);
/* `what` names the field in the error; values above max are an error. */
uint64_t mpk_get_uint(struct mpk *m, uint64_t max, const char *what);
bool mpk_get_bool(struct mpk *m, const char *what);
size_t mpk_get_array(struct mpk *m, size_t min, size_t max, const char *what);
/* UTF-8 without NUL, or NULL for nil. */
const char *mpk_get_str(struct mpk *m, size_t max, const char *what);
struct bytes mpk_get_bytes(struct mpk *m, size_t max, const char *what); /* nil: absent */
void mpk_skip(struct mpk *m, size_t n, const char *what);                /* n whole values */
/* All was read, and nothing is left.  Else `code`, naming `whole`, the field and the offset. */
int mpk_end(struct mpk *m, int code, const char *whole, struct err *err);
void mpk_fail(struct mpk *m, const char *what);

bool mpk_utf8_ok(const char *s, size_t n); /* valid, and no NUL */

#endif
