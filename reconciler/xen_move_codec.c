#include "reconciler/xen_move_codec.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

/* --- frames ------------------------------------------------------------------------------------
 */

static size_t limit_of(uint8_t type)
{
    switch (type) {
    case XEN_FRAME_HELLO:
    case XEN_FRAME_RESULT:
        return XEN_MOVE_TEXT_MAX;
    case XEN_FRAME_DATA:
        return XEN_MOVE_DATA_MAX;
    default:
        return 0;
    }
}

static uint32_t length_of(const uint8_t *header)
{
    return (uint32_t)header[1] | (uint32_t)header[2] << 8 | (uint32_t)header[3] << 16 |
           (uint32_t)header[4] << 24;
}

/* The first frame of what is pending: 0 none is whole, 1 one was taken, else an error. */
static int take(struct xen_frames *f, xen_frame_cb *cb, void *ctx, struct err *err)
{
    const uint8_t *p = f->pending.data;
    uint32_t len;
    int rc;

    if (f->pending.len < XEN_MOVE_HEADER) {
        return 0;
    }
    len = length_of(p);
    if (p[0] < XEN_FRAME_HELLO || p[0] > XEN_FRAME_RESULT || len > limit_of(p[0])) {
        f->broken = true;
        return err_set(err, ERR_CORRUPT, "a frame of type %u with %u bytes: not a migration", p[0],
                       len);
    }
    if (f->pending.len < XEN_MOVE_HEADER + (size_t)len) {
        return 0;
    }
    rc = cb(ctx, (enum xen_frame)p[0], p + XEN_MOVE_HEADER, len, err);
    if (rc != 0) {
        f->broken = true;
        return rc;
    }
    buf_consume(&f->pending, XEN_MOVE_HEADER + (size_t)len);
    return 1;
}

int xen_frames_feed(struct xen_frames *f, const uint8_t *data, size_t len, xen_frame_cb *cb,
                    void *ctx, struct err *err)
{
    int rc;

    if (f->broken) {
        return err_set(err, ERR_CORRUPT, "the connection is out of step");
    }
    buf_add(&f->pending, data, len);
    do {
        rc = take(f, cb, ctx, err);
    } while (rc == 1);
    return rc;
}

void xen_frames_done(struct xen_frames *f)
{
    buf_done(&f->pending);
}

void xen_frame_put(struct buf *out, enum xen_frame type, const void *data, size_t len)
{
    CHECK(len <= limit_of((uint8_t)type));
    buf_add_byte(out, (uint8_t)type);
    buf_add_u32(out, (uint32_t)len);
    if (len > 0) {
        buf_add(out, data, len);
    }
}

/* --- texts -------------------------------------------------------------------------------------
 */

static void put_json(struct buf *out, enum xen_frame type, json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);

    CHECK(text != NULL && strlen(text) <= XEN_MOVE_TEXT_MAX);
    xen_frame_put(out, type, text, strlen(text));
    free(text);
    json_decref(j);
}

void xen_hello_put(struct buf *out, const struct xen_hello *h)
{
    put_json(out, XEN_FRAME_HELLO,
             json_pack("{s:i, s:s, s:s, s:s}", "version", XEN_MOVE_VERSION, "vm", h->vm, "uid",
                       h->uid, "migration", h->migration));
}

static bool copy(char *dst, size_t size, const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s != NULL && s[0] != '\0' && str_copy(dst, size, s);
}

int xen_hello_get(const uint8_t *data, size_t len, struct xen_hello *ret, struct err *err)
{
    json_t *j = json_loadb((const char *)data, len, 0, NULL);
    json_int_t version = json_integer_value(json_object_get(j, "version"));
    bool ok = copy(ret->vm, sizeof(ret->vm), j, "vm") &&
              copy(ret->uid, sizeof(ret->uid), j, "uid") &&
              copy(ret->migration, sizeof(ret->migration), j, "migration");

    json_decref(j);
    if (!ok) {
        return err_set(err, ERR_CORRUPT, "what the source says of the migration is not understood");
    }
    if (version != XEN_MOVE_VERSION) {
        return err_set(err, ERR_UNSUPPORTED,
                       "the source speaks version %lld of the migration protocol, we %d",
                       (long long)version, XEN_MOVE_VERSION);
    }
    return 0;
}

void xen_result_put(struct buf *out, bool ok, const char *message)
{
    char text[512];
    json_t *m;

    (void)str_copy(text, sizeof(text), message);
    m = json_string(text);
    if (m == NULL) { /* not UTF-8, perhaps since it was cut */
        m = json_string(ok ? "" : "the target failed; its log says why");
    }
    put_json(out, XEN_FRAME_RESULT, json_pack("{s:b, s:o}", "ok", ok, "message", m));
}

int xen_result_get(const uint8_t *data, size_t len, struct err *err)
{
    json_t *j = json_loadb((const char *)data, len, 0, NULL);
    const json_t *ok = json_object_get(j, "ok");
    const char *message = json_string_value(json_object_get(j, "message"));
    int rc = 0;

    if (!json_is_boolean(ok)) {
        rc = err_set(err, ERR_CORRUPT, "the target's answer is not understood");
    } else if (!json_is_true(ok)) {
        rc = err_set(err, ERR_DRIVER, "%s", message == NULL ? "the target failed" : message);
    }
    json_decref(j);
    return rc;
}
