/* What a host reads that others have written: metadata of a fence agent, a slot of the storage
 * heartbeat, an answer of picket-fence, the stream of a migration, and its own journal of the
 * network after a crash.  The first byte chooses the parser. */

#include "base/obj.h"
#include "fence/agent_meta.h"
#include "fence/dev.h"
#include "fence/slot.h"
#include "net/nw_journal_codec.h"
#include "reconciler/xen_move_codec.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void meta(const char *text, size_t len)
{
    struct buf out = { 0 };
    struct err err = { 0 };

    CHECK(agent_meta_print(text, len, &out, &err) == 0 || err.msg[0] != '\0');
    buf_done(&out);
}

static void slot(const uint8_t *data, size_t len)
{
    uint8_t image[SLOT_BYTES] = { 0 }, again[SLOT_BYTES];
    struct slot_rec r;

    memcpy(image, data, len < SLOT_BYTES ? len : SLOT_BYTES);
    if (slot_decode(image, &r)) {
        CHECK(memchr(r.host, '\0', sizeof(r.host)) != NULL);
        slot_encode(&r, again);
        CHECK(slot_decode(again, &r));
    }
}

static void answer(const char *text, size_t len)
{
    struct fence_answer ans;
    struct err err = { 0 };

    CHECK(fence_answer_decode(text, len, &ans, &err) == 0 || err.msg[0] != '\0');
}

static int on_frame(void *ctx, enum xen_frame type, const uint8_t *data, size_t len,
                    struct err *err)
{
    struct xen_hello h;

    (*(size_t *)ctx)++;
    if (type == XEN_FRAME_HELLO && xen_hello_get(data, len, &h, err) == 0) {
        CHECK(memchr(h.vm, '\0', sizeof(h.vm)) != NULL);
    }
    return type == XEN_FRAME_RESULT ? xen_result_get(data, len, err) : 0;
}

/* In two pieces, wherever it is cut. */
static void stream(const uint8_t *data, size_t len)
{
    struct xen_frames f = { 0 };
    struct err err;
    size_t n = 0, cut = len > 0 ? data[0] % len : 0;

    if (xen_frames_feed(&f, data, cut, on_frame, &n, &err) == 0) {
        (void)!xen_frames_feed(&f, data + cut, len - cut, on_frame, &n, &err);
    }
    xen_frames_done(&f);
}

static void journal(const char *text, size_t len)
{
    json_t *j = json_loadb(text, len, JSON_DECODE_ANY, NULL);
    struct arena a = { 0 };
    struct nw_record r = { 0 };
    struct nw_op *ops = NULL;
    struct err err;
    size_t n = 0;

    if (j != NULL && nw_record_decode(j, &a, &r, &err) == 0) {
        json_decref(nw_record_encode(&r));
    }
    if (j != NULL && nw_ops_decode(j, &a, &ops, &n, &err) == 0) {
        json_decref(nw_ops_encode(ops, n));
    }
    json_decref(j);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    switch (data[0] % 5) {
    case 0:
        meta((const char *)data + 1, size - 1);
        break;
    case 1:
        slot(data + 1, size - 1);
        break;
    case 2:
        answer((const char *)data + 1, size - 1);
        break;
    case 3:
        stream(data + 1, size - 1);
        break;
    default:
        journal((const char *)data + 1, size - 1);
        break;
    }
    return 0;
}
