#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){ .max = max };
}

void buf_done(struct buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = 0;
    b->cap = 0;
    b->overflow = false;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->overflow = false;
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
    size_t need, cap;

    if (b->overflow || len > SIZE_MAX / 4 || (b->max != 0 && b->len + len > b->max)) {
        b->overflow = true;
        return NULL;
    }
    need = b->len + len + 1; /* room for buf_cstr's NUL */
    if (need > b->cap) {
        cap = b->cap < 64 ? 64 : b->cap * 2;
        cap = cap < need ? need : cap;
        b->data = mem_realloc(b->data, cap);
        b->cap = cap;
    }
    return b->data + b->len;
}

void buf_commit(struct buf *b, size_t len)
{
    CHECK(b->len + len < b->cap);
    b->len += len;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    uint8_t *p = buf_reserve(b, len);

    if (p != NULL && len > 0) {
        memcpy(p, data, len);
        b->len += len;
    }
}

void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_byte(struct buf *b, uint8_t c)
{
    buf_add(b, &c, 1);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    uint8_t *p;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    CHECK(n >= 0);
    p = buf_reserve(b, (size_t)n);
    if (p != NULL) {
        (void)vsnprintf((char *)p, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_add_u16(struct buf *b, uint16_t v)
{
    uint8_t d[2] = { (uint8_t)v, (uint8_t)(v >> 8) };

    buf_add(b, d, sizeof(d));
}

void buf_add_u32(struct buf *b, uint32_t v)
{
    buf_add_u16(b, (uint16_t)v);
    buf_add_u16(b, (uint16_t)(v >> 16));
}

void buf_add_u64(struct buf *b, uint64_t v)
{
    buf_add_u32(b, (uint32_t)v);
    buf_add_u32(b, (uint32_t)(v >> 32));
}

void buf_consume(struct buf *b, size_t len)
{
    CHECK(len <= b->len);
    if (len > 0) {
        memmove(b->data, b->data + len, b->len - len);
        b->len -= len;
    }
}

const char *buf_cstr(struct buf *b)
{
    if (b->data == NULL) {
        return "";
    }
    b->data[b->len] = 0;
    return (const char *)b->data;
}

void *buf_take(struct buf *b, size_t *ret_len)
{
    uint8_t *data = b->data;

    if (data == NULL) {
        data = mem_alloc(1);
    }
    data[b->len] = 0;
    if (ret_len != NULL) {
        *ret_len = b->len;
    }
    b->data = NULL;
    buf_done(b);
    return data;
}

struct rd rd_make(const void *data, size_t len)
{
    return (struct rd){ .p = data, .len = len };
}

size_t rd_left(const struct rd *r)
{
    return r->bad ? 0 : r->len - r->pos;
}

const uint8_t *rd_bytes(struct rd *r, size_t len)
{
    const uint8_t *p;

    if (r->bad || len > r->len - r->pos) {
        r->bad = true;
        return NULL;
    }
    p = r->p + r->pos;
    r->pos += len;
    return p;
}

static uint64_t rd_le(struct rd *r, size_t n)
{
    const uint8_t *p = rd_bytes(r, n);
    uint64_t v = 0;

    for (size_t i = 0; p != NULL && i < n; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

uint8_t rd_u8(struct rd *r)
{
    return (uint8_t)rd_le(r, 1);
}

uint16_t rd_u16(struct rd *r)
{
    return (uint16_t)rd_le(r, 2);
}

uint32_t rd_u32(struct rd *r)
{
    return (uint32_t)rd_le(r, 4);
}

uint64_t rd_u64(struct rd *r)
{
    return rd_le(r, 8);
}
