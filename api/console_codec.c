#include "api/console_codec.h"

#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define TAKE 1U

void console_put(struct buf *b, enum console_frame type, const void *data, size_t len)
{
    const uint8_t head[CONSOLE_HEAD] = { (uint8_t)type, (uint8_t)(len >> 8), (uint8_t)len };

    CHECK(len <= CONSOLE_PAYLOAD_MAX);
    buf_add(b, head, sizeof(head));
    buf_add(b, data, len);
}

void console_put_open(struct buf *b, const struct console_open *o)
{
    const char *const texts[] = { o->vm, o->uid, o->by, o->via };
    struct buf p = { 0 };

    buf_add_byte(&p, o->take ? TAKE : 0);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        buf_add(&p, texts[i], strlen(texts[i]) + 1);
    }
    console_put(b, CONSOLE_OPEN, p.data, p.len);
    buf_done(&p);
}

/* Codes are small negative numbers (base/err.h) that never change their meaning. */
void console_put_end(struct buf *b, const struct err *err)
{
    struct buf p = { 0 };

    buf_add_byte(&p, (uint8_t)-err->code);
    buf_add_str(&p, err->msg);
    console_put(b, CONSOLE_END, p.data, p.len);
    buf_done(&p);
}

int console_get(const uint8_t *p, size_t len, enum console_frame *ret_type,
                const uint8_t **ret_data, size_t *ret_len, size_t *ret_used, struct err *err)
{
    size_t n;

    *ret_used = 0;
    if (len > 0 && (p[0] < CONSOLE_OPEN || p[0] > CONSOLE_FRAME_MAX)) {
        return err_set(err, ERR_BAD_REQUEST, "a console frame of the unknown type %u", p[0]);
    }
    if (len < CONSOLE_HEAD) {
        return 0;
    }
    n = ((size_t)p[1] << 8) | p[2];
    if (n > CONSOLE_PAYLOAD_MAX) {
        return err_set(err, ERR_BAD_REQUEST, "a console frame of %zu bytes; the longest has %u", n,
                       CONSOLE_PAYLOAD_MAX);
    }
    if (len - CONSOLE_HEAD < n) {
        return 0;
    }
    *ret_type = (enum console_frame)p[0];
    *ret_data = p + CONSOLE_HEAD;
    *ret_len = n;
    *ret_used = CONSOLE_HEAD + n;
    return 0;
}

/* The next text with its NUL; false when there is none or it is too long. */
static bool take_text(struct rd *r, char *dst, size_t size)
{
    const uint8_t *p = r->p + r->pos;
    const uint8_t *nul = memchr(p, 0, rd_left(r));

    if (nul == NULL || (size_t)(nul - p) >= size) {
        return false;
    }
    memcpy(dst, p, (size_t)(nul - p) + 1);
    return rd_bytes(r, (size_t)(nul - p) + 1) != NULL;
}

int console_get_open(const uint8_t *p, size_t len, struct console_open *ret, struct err *err)
{
    struct rd r = rd_make(p, len);
    uint8_t flags = rd_u8(&r);
    bool ok = !r.bad && take_text(&r, ret->vm, sizeof(ret->vm)) &&
              take_text(&r, ret->uid, sizeof(ret->uid)) &&
              take_text(&r, ret->by, sizeof(ret->by)) &&
              take_text(&r, ret->via, sizeof(ret->via)) && str_is_name(ret->vm);

    ret->take = (flags & TAKE) != 0;
    return ok ? 0 : err_set(err, ERR_BAD_REQUEST, "a console request that is not understood");
}

void console_get_end(const uint8_t *p, size_t len, struct err *ret)
{
    int code = len == 0 ? 0 : -(int)p[0];
    size_t n = len == 0 ? 0 : len - 1;
    char text[ERR_MSG_MAX];

    n = n < sizeof(text) ? n : sizeof(text) - 1;
    if (n > 0) {
        memcpy(text, p + 1, n);
    }
    text[n] = '\0';
    for (char *c = text; *c != '\0'; c++) {
        *c = (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c; /* it goes to a terminal */
    }
    if (err_text(code) == err_text(1)) { /* not one of ours */
        code = ERR_DRIVER;
    }
    (void)err_set(ret, code, "%s", text[0] == '\0' ? "the console has ended" : text);
}
