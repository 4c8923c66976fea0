#include "store/mpk.h"

#include <string.h>

#include "base/obj.h"

/* --- writing -----------------------------------------------------------------------------------
 */

static void put_be(struct buf *b, uint8_t tag, uint64_t v, size_t n)
{
    uint8_t raw[9];

    raw[0] = tag;
    for (size_t i = 0; i < n; i++) {
        raw[1 + i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    }
    buf_add(b, raw, n + 1);
}

void mpk_nil(struct buf *b)
{
    buf_add_byte(b, 0xc0);
}

void mpk_bool(struct buf *b, bool v)
{
    buf_add_byte(b, v ? 0xc3 : 0xc2);
}

void mpk_uint(struct buf *b, uint64_t v)
{
    if (v < 0x80) {
        buf_add_byte(b, (uint8_t)v);
    } else if (v <= UINT8_MAX) {
        put_be(b, 0xcc, v, 1);
    } else if (v <= UINT16_MAX) {
        put_be(b, 0xcd, v, 2);
    } else if (v <= UINT32_MAX) {
        put_be(b, 0xce, v, 4);
    } else {
        put_be(b, 0xcf, v, 8);
    }
}

void mpk_array(struct buf *b, size_t n)
{
    CHECK(n <= UINT32_MAX);
    if (n < 16) {
        buf_add_byte(b, (uint8_t)(0x90U | n));
    } else if (n <= UINT16_MAX) {
        put_be(b, 0xdc, n, 2);
    } else {
        put_be(b, 0xdd, n, 4);
    }
}

void mpk_str(struct buf *b, const char *s)
{
    size_t n;

    if (s == NULL) {
        mpk_nil(b);
        return;
    }
    n = strlen(s);
    CHECK(n <= UINT32_MAX);
    if (n < 32) {
        buf_add_byte(b, (uint8_t)(0xa0U | n));
    } else if (n <= UINT8_MAX) {
        put_be(b, 0xd9, n, 1);
    } else if (n <= UINT16_MAX) {
        put_be(b, 0xda, n, 2);
    } else {
        put_be(b, 0xdb, n, 4);
    }
    buf_add(b, s, n);
}

void mpk_bin(struct buf *b, const void *p, size_t n)
{
    CHECK(n <= UINT32_MAX);
    if (n <= UINT8_MAX) {
        put_be(b, 0xc4, n, 1);
    } else if (n <= UINT16_MAX) {
        put_be(b, 0xc5, n, 2);
    } else {
        put_be(b, 0xc6, n, 4);
    }
    buf_add(b, p, n);
}

void mpk_bytes(struct buf *b, struct bytes v)
{
    if (v.p == NULL) {
        mpk_nil(b);
    } else {
        mpk_bin(b, v.p, v.n);
    }
}

/* --- reading -----------------------------------------------------------------------------------
 */

struct mpk mpk_make(const void *data, size_t len, struct arena *a)
{
    return (struct mpk){ .p = data, .len = len, .arena = a };
}

void mpk_fail(struct mpk *m, const char *what)
{
    if (m->bad == NULL) {
        m->bad = what;
        m->bad_pos = m->pos;
    }
}

static bool need(struct mpk *m, size_t n, const char *what)
{
    if (m->bad != NULL) {
        return false;
    }
    if (m->len - m->pos < n) {
        mpk_fail(m, what);
        return false;
    }
    return true;
}

static uint64_t get_be(struct mpk *m, size_t n, const char *what)
{
    uint64_t v = 0;

    if (!need(m, n, what)) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        v = v << 8 | m->p[m->pos++];
    }
    return v;
}

static uint8_t get_tag(struct mpk *m, const char *what)
{
    return (uint8_t)get_be(m, 1, what);
}

static bool at_nil(struct mpk *m)
{
    if (m->bad == NULL && m->pos < m->len && m->p[m->pos] == 0xc0) {
        m->pos++;
        return true;
    }
    return false;
}

uint64_t mpk_get_uint(struct mpk *m, uint64_t max, const char *what)
{
    size_t start = m->pos;
    uint8_t tag = get_tag(m, what);
    uint64_t v = tag;

    if (tag >= 0xcc && tag <= 0xcf) {
        v = get_be(m, (size_t)1 << (tag - 0xcc), what);
    } else if (tag >= 0x80) {
        m->pos = start;
        mpk_fail(m, what);
    }
    if (m->bad == NULL && v > max) {
        m->pos = start;
        mpk_fail(m, what);
    }
    return m->bad == NULL ? v : 0;
}

bool mpk_get_bool(struct mpk *m, const char *what)
{
    uint8_t tag = get_tag(m, what);

    if (m->bad == NULL && tag != 0xc2 && tag != 0xc3) {
        m->pos--;
        mpk_fail(m, what);
    }
    return m->bad == NULL && tag == 0xc3;
}

size_t mpk_get_array(struct mpk *m, size_t min, size_t max, const char *what)
{
    size_t start = m->pos;
    uint8_t tag = get_tag(m, what);
    uint64_t n = 0;

    if ((tag & 0xf0U) == 0x90) {
        n = tag & 0x0fU;
    } else if (tag == 0xdc || tag == 0xdd) {
        n = get_be(m, tag == 0xdc ? 2 : 4, what);
    } else if (m->bad == NULL) {
        m->pos = start;
        mpk_fail(m, what);
    }
    /* each element takes at least a byte: a lying count ends here, before anything is allocated */
    if (m->bad == NULL && (n < min || n > max || n > m->len - m->pos)) {
        m->pos = start;
        mpk_fail(m, what);
    }
    return m->bad == NULL ? (size_t)n : 0;
}

/* Length of the str (base 0xd9) or bin (base 0xc4) that starts here. */
static size_t get_blob(struct mpk *m, uint8_t base, size_t max, const char *what)
{
    size_t start = m->pos;
    uint8_t tag = get_tag(m, what);
    uint64_t n = 0;

    if (base == 0xd9 && (tag & 0xe0U) == 0xa0) {
        n = tag & 0x1fU;
    } else if (tag >= base && tag <= base + 2) {
        n = get_be(m, (size_t)1 << (tag - base), what);
    } else if (m->bad == NULL) {
        m->pos = start;
        mpk_fail(m, what);
    }
    if (m->bad == NULL && (n > max || n > m->len - m->pos)) {
        m->pos = start;
        mpk_fail(m, what);
    }
    return m->bad == NULL ? (size_t)n : 0;
}

const char *mpk_get_str(struct mpk *m, size_t max, const char *what)
{
    const char *s;
    size_t n;

    if (at_nil(m)) {
        return NULL;
    }
    n = get_blob(m, 0xd9, max, what);
    if (m->bad != NULL) {
        return NULL;
    }
    s = (const char *)m->p + m->pos;
    if (!mpk_utf8_ok(s, n)) {
        mpk_fail(m, what);
        return NULL;
    }
    m->pos += n;
    return arena_strndup(m->arena, s, n);
}

struct bytes mpk_get_bytes(struct mpk *m, size_t max, const char *what)
{
    struct bytes v = { NULL, 0 };
    size_t n;

    if (at_nil(m)) {
        return v;
    }
    n = get_blob(m, 0xc4, max, what);
    if (m->bad == NULL) {
        v.p = (const uint8_t *)arena_strndup(m->arena, (const char *)m->p + m->pos, n);
        v.n = n;
        m->pos += n;
    }
    return v;
}

/* Pass the head of one value; returns how many values follow inside of it. */
static uint64_t skip_head(struct mpk *m, const char *what)
{
    uint8_t tag = m->pos < m->len ? m->p[m->pos] : 0xc1;

    if ((tag & 0xf0U) == 0x90 || tag == 0xdc || tag == 0xdd) {
        return mpk_get_array(m, 0, SIZE_MAX, what);
    }
    if ((tag & 0xe0U) == 0xa0 || (tag >= 0xd9 && tag <= 0xdb)) {
        m->pos += get_blob(m, 0xd9, SIZE_MAX, what);
    } else if (tag >= 0xc4 && tag <= 0xc6) {
        m->pos += get_blob(m, 0xc4, SIZE_MAX, what);
    } else if (tag == 0xc0 || tag == 0xc2 || tag == 0xc3) {
        m->pos++;
    } else {
        (void)mpk_get_uint(m, UINT64_MAX, what);
    }
    return 0;
}

void mpk_skip(struct mpk *m, size_t n, const char *what)
{
    uint64_t todo = n;

    /* ends: every head passed takes a byte, and counts are bounded by the bytes left */
    while (todo > 0 && m->bad == NULL) {
        todo += skip_head(m, what) - 1;
    }
}

int mpk_end(struct mpk *m, int code, const char *whole, struct err *err)
{
    if (m->bad != NULL) {
        return err_set(err, code, "%s: bad %s at byte %zu of %zu", whole, m->bad, m->bad_pos,
                       m->len);
    }
    if (m->pos != m->len) {
        return err_set(err, code, "%s: %zu bytes too many at byte %zu", whole, m->len - m->pos,
                       m->pos);
    }
    return 0;
}

/* --- UTF-8 -------------------------------------------------------------------------------------
 */

/* Bytes of the sequence that starts at s, 0 when it is none (RFC 3629 section 4). */
static size_t utf8_len(const uint8_t *s, size_t n)
{
    uint8_t lo = 0x80;
    uint8_t hi = 0xbf;
    size_t len;

    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        len = 2;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        len = 3;
        lo = s[0] == 0xe0 ? 0xa0 : 0x80;
        hi = s[0] == 0xed ? 0x9f : 0xbf; /* no surrogates */
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        len = 4;
        lo = s[0] == 0xf0 ? 0x90 : 0x80;
        hi = s[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (n < len || s[1] < lo || s[1] > hi) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf) {
            return 0;
        }
    }
    return len;
}

bool mpk_utf8_ok(const char *s, size_t n)
{
    const uint8_t *p = (const uint8_t *)s;
    size_t i = 0;

    while (i < n) {
        size_t len = p[i] != 0 && p[i] < 0x80 ? 1 : utf8_len(p + i, n - i);

        if (len == 0) {
            return false;
        }
        i += len;
    }
    return true;
}
