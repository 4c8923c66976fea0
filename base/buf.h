#ifndef BASE_BUF_H
#define BASE_BUF_H

/* A growable byte buffer with a sticky overflow: append freely, ask once at the end.
 *
 * A zeroed struct is a valid empty buffer without a limit.  The bytes belong to the buffer until
 * buf_take.  Value type; one thread at a time.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max;    /* 0: none; appending past it sets overflow and drops the bytes */
    bool overflow; /* sticky */
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);  /* frees; the buffer is empty and usable again */
void buf_clear(struct buf *b); /* keeps the memory */

void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_add_byte(struct buf *b, uint8_t c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Little-endian integers, for our own formats. */
void buf_add_u16(struct buf *b, uint16_t v);
void buf_add_u32(struct buf *b, uint32_t v);
void buf_add_u64(struct buf *b, uint64_t v);

/* Room for `len` more bytes at the end, or NULL on overflow; buf_commit makes them part of it. */
uint8_t *buf_reserve(struct buf *b, size_t len);
void buf_commit(struct buf *b, size_t len);

/* Drop `len` bytes at the front (len <= b->len). */
void buf_consume(struct buf *b, size_t len);

/* The content with a NUL behind it (not counted); never NULL.  Valid until the next change. */
const char *buf_cstr(struct buf *b);

/* Move the content out; the caller frees it.  A NUL follows it.  *ret_len may be NULL. */
void *buf_take(struct buf *b, size_t *ret_len);

/* A bounds-checked reader over bytes of others: a failed read sets `bad` and gives zeroes. */
struct rd {
    const uint8_t *p;
    size_t len;
    size_t pos;
    bool bad; /* sticky */
};

struct rd rd_make(const void *data, size_t len);
uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
const uint8_t *rd_bytes(struct rd *r, size_t len); /* NULL when there are fewer */
size_t rd_left(const struct rd *r);

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), `seed` is 0 or the CRC of what came before. */
uint32_t crc32c(uint32_t seed, const void *data, size_t len);

#endif
