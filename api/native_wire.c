#include "api/native_wire.h"

#include <string.h>

#include "base/obj.h"

/* --- writing --- */

static void wire_be(struct buf *b, uint8_t tag, uint64_t v, size_t n)
{
    uint8_t raw[9];

    raw[0] = tag;
    for (size_t i = 0; i < n; i++) {
        raw[1 + i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    }
    buf_add(b, raw, n + 1);
}

void nwire_nil(struct buf *b)
{
    buf_add_byte(b, 0xc0);
}

void nwire_bool(struct buf *b, bool v)
{
    buf_add_byte(b, v ? 0xc3 : 0xc2);
}

void nwire_uint(struct buf *b, uint64_t v)
{
    if (v < 0x80) {
        buf_add_byte(b, (uint8_t)v);
    } else if (v <= UINT8_MAX) {
        wire_be(b, 0xcc, v, 1);
    } else if (v <= UINT16_MAX) {
        wire_be(b, 0xcd, v, 2);
    } else if (v <= UINT32_MAX) {
        wire_be(b, 0xce, v, 4);
    } else {
        wire_be(b, 0xcf, v, 8);
    }
}

void nwire_array(struct buf *b, size_t n)
{
    CHECK(n <= UINT32_MAX);
    if (n < 16) {
        buf_add_byte(b, (uint8_t)(0x90U | n));
    } else if (n <= UINT16_MAX) {
        wire_be(b, 0xdc, n, 2);
    } else {
        wire_be(b, 0xdd, n, 4);
    }
}

void nwire_text(struct buf *b, const char *s)
{
    size_t n;

    if (s == NULL) {
        nwire_nil(b);
        return;
    }
    n = strlen(s);
    CHECK(n <= UINT32_MAX);
    if (n < 32) {
        buf_add_byte(b, (uint8_t)(0xa0U | n));
    } else if (n <= UINT8_MAX) {
        wire_be(b, 0xd9, n, 1);
    } else if (n <= UINT16_MAX) {
        wire_be(b, 0xda, n, 2);
    } else {
        wire_be(b, 0xdb, n, 4);
    }
    buf_add(b, s, n);
}

void nwire_bytes(struct buf *b, struct native_bytes v)
{
    if (v.p == NULL) {
        nwire_nil(b);
        return;
    }
    CHECK(v.n <= UINT32_MAX);
    if (v.n <= UINT8_MAX) {
        wire_be(b, 0xc4, v.n, 1);
    } else if (v.n <= UINT16_MAX) {
        wire_be(b, 0xc5, v.n, 2);
    } else {
        wire_be(b, 0xc6, v.n, 4);
    }
    buf_add(b, v.p, v.n);
}

/* --- reading --- */

struct nwire nwire_make(const void *data, size_t len)
{
    return (struct nwire){ .p = data, .len = len };
}

void nwire_fail(struct nwire *w, const char *what)
{
    if (w->bad == NULL) {
        w->bad = what;
        w->bad_pos = w->pos;
    }
}

static bool wire_need(struct nwire *w, size_t n, const char *what)
{
    if (w->bad == NULL && w->len - w->pos < n) {
        nwire_fail(w, what);
    }
    return w->bad == NULL;
}

/* The number of n bytes behind the tag. */
static uint64_t wire_number(struct nwire *w, size_t n, const char *what)
{
    uint64_t v = 0;

    if (!wire_need(w, 1 + n, what)) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        v = v << 8 | w->p[w->pos + 1 + i];
    }
    w->pos += 1 + n;
    return v;
}

uint64_t nwire_get_uint(struct nwire *w, uint64_t max, const char *what)
{
    size_t at = w->pos;
    uint64_t v;
    uint8_t tag;

    if (!wire_need(w, 1, what)) {
        return 0;
    }
    tag = w->p[at];
    if (tag < 0x80) {
        w->pos++;
        v = tag;
    } else if (tag >= 0xcc && tag <= 0xcf) {
        v = wire_number(w, (size_t)1 << (tag - 0xcc), what);
    } else {
        nwire_fail(w, what);
        return 0;
    }
    if (v > max) {
        w->pos = at;
        nwire_fail(w, what);
    }
    return w->bad == NULL ? v : 0;
}

bool nwire_get_bool(struct nwire *w, const char *what)
{
    if (!wire_need(w, 1, what)) {
        return false;
    }
    if ((w->p[w->pos] & 0xfeU) != 0xc2) {
        nwire_fail(w, what);
        return false;
    }
    return w->p[w->pos++] == 0xc3;
}

size_t nwire_get_array(struct nwire *w, size_t max, size_t least, const char *what)
{
    size_t at = w->pos;
    uint64_t n;
    uint8_t tag;

    CHECK(least > 0);
    if (!wire_need(w, 1, what)) {
        return 0;
    }
    tag = w->p[at];
    if ((tag & 0xf0U) == 0x90) {
        w->pos++;
        n = tag & 0x0fU;
    } else if (tag == 0xdc || tag == 0xdd) {
        n = wire_number(w, tag == 0xdc ? 2 : 4, what);
    } else {
        nwire_fail(w, what);
        return 0;
    }
    if (w->bad == NULL && (n > max || n > (w->len - w->pos) / least)) {
        w->pos = at;
        nwire_fail(w, what);
    }
    return w->bad == NULL ? (size_t)n : 0;
}

struct native_bytes nwire_get_bytes(struct nwire *w, size_t max, const char *what)
{
    struct native_bytes none = { 0 };
    size_t at = w->pos;
    uint64_t n;
    uint8_t tag;

    if (!wire_need(w, 1, what)) {
        return none;
    }
    tag = w->p[at];
    if (tag == 0xc0) {
        w->pos++;
        return none;
    }
    if ((tag & 0xe0U) == 0xa0) {
        w->pos++;
        n = tag & 0x1fU;
    } else if (tag >= 0xc4 && tag <= 0xc6) {
        n = wire_number(w, (size_t)1 << (tag - 0xc4), what);
    } else if (tag >= 0xd9 && tag <= 0xdb) {
        n = wire_number(w, (size_t)1 << (tag - 0xd9), what);
    } else {
        nwire_fail(w, what);
        return none;
    }
    if (w->bad == NULL && (n > max || n > w->len - w->pos)) {
        w->pos = at;
        nwire_fail(w, what);
    }
    if (w->bad != NULL) {
        return none;
    }
    w->pos += (size_t)n;
    return (struct native_bytes){ .p = w->p + w->pos - n, .n = (size_t)n };
}

int nwire_end(struct nwire *w, const char *whole, struct err *err)
{
    if (w->bad == NULL && w->pos != w->len) {
        nwire_fail(w, "the end");
    }
    if (w->bad == NULL) {
        return 0;
    }
    return err_set(err, ERR_BAD_REQUEST, "%s: %s is missing, malformed or too large at byte %zu",
                   whole, w->bad, w->bad_pos);
}
