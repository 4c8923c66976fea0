#ifndef API_NATIVE_WIRE_H
#define API_NATIVE_WIRE_H

/* The few msgpack forms that the native protocol uses, written into a buf and read in place.
 *
 * Reading is a pull parser with a sticky error that remembers what was expected and where; a failed
 * read gives zeroes.  Bytes and strings are left where they are: what is read lives as long as the
 * input (store/mpk.h copies instead, since commands outlive the log entry that they came in).
 * Counts are checked against the bytes that are left before anything is allocated for them.  Pure.
 *
 * Source: the msgpack specification (spec.md of github.com/msgpack/msgpack), formats nil, bool,
 * uint, str, bin, array.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct native_bytes {
    const uint8_t *p; /* NULL only when absent (nil); empty is p != NULL, n == 0 */
    size_t n;
};

void nwire_nil(struct buf *b);
void nwire_bool(struct buf *b, bool v);
void nwire_uint(struct buf *b, uint64_t v);
void nwire_array(struct buf *b, size_t n);
void nwire_text(struct buf *b, const char *s); /* NULL: nil */
void nwire_bytes(struct buf *b, struct native_bytes v);

struct nwire {
    const uint8_t *p;
    size_t len;
    size_t pos;
    const char *bad; /* what could not be read; NULL while all is well.  Static strings */
    size_t bad_pos;
};

struct nwire nwire_make(const void *data, size_t len);
/* `what` names the field in the error; values above max are an error. */
uint64_t nwire_get_uint(struct nwire *w, uint64_t max, const char *what);
bool nwire_get_bool(struct nwire *w, const char *what);
/* The number of elements, each of which takes at least `least` bytes (>= 1). */
size_t nwire_get_array(struct nwire *w, size_t max, size_t least, const char *what);
/* str or bin, at most max bytes; nil: absent. */
struct native_bytes nwire_get_bytes(struct nwire *w, size_t max, const char *what);
void nwire_fail(struct nwire *w, const char *what);
/* All was read, and nothing is left.  Else ERR_BAD_REQUEST, naming `whole`, field and offset. */
int nwire_end(struct nwire *w, const char *whole, struct err *err) ERR_USED;

#endif
