/* What comes back from devices, targets and the shared volume of storage heartbeats.
 *
 * The first byte chooses: 0 an operation for picket-fence, 1 its answer, 2 to 4 what a SCSI target
 * says about reservations, 5 its VPD page, 6 a sector of the heartbeat volume (7: with a right
 * checksum).  What is taken encodes to the same again.  Seeds in tests/fuzz/corpus/fence.
 */

#include <string.h>

#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/dev.h"
#include "fence/pr.h"
#include "fence/slot.h"

#define CRC_AT (8U + SLOT_HOST_MAX + 4U * 8U) /* slot_codec.c: magic, host, four numbers */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void give_op(const char *text, size_t len)
{
    static struct fence_op op, again;
    struct pr_ask ask;
    struct buf b = { 0 }, c = { 0 };
    struct err err = { 0 };

    if (fence_op_decode(text, len, &op, &err) != 0) {
        CHECK(err.code == ERR_INVALID && err.msg[0] != 0);
        return;
    }
    fence_op_encode(&op, &b);
    CHECK(fence_op_decode(buf_cstr(&b), b.len, &again, &err) == 0);
    fence_op_encode(&again, &c);
    CHECK(b.len == c.len);
    CHECK(memcmp(b.data, c.data, b.len) == 0);
    if (pr_ask_decode(&op, &ask, &err) != 0) {
        CHECK(err.msg[0] != 0);
    }
    buf_done(&b);
    buf_done(&c);
}

static void give_answer(const char *text, size_t len)
{
    static struct fence_answer ans, again;
    struct buf b = { 0 };
    struct err err = { 0 };

    if (fence_answer_decode(text, len, &ans, &err) != 0) {
        CHECK(err.code == ERR_INVALID && err.msg[0] != 0);
        return;
    }
    CHECK(ans.n_outlets <= FENCE_MAX_OUTLETS);
    fence_answer_encode(&ans, &b);
    CHECK(fence_answer_decode(buf_cstr(&b), b.len, &again, &err) == 0);
    CHECK(again.result == ans.result && again.power == ans.power);
    CHECK(again.n_outlets == ans.n_outlets);
    buf_done(&b);
}

static void give_target(uint8_t kind, const uint8_t *p, size_t n)
{
    struct pr_keys keys;
    struct pr_reservation res;
    struct pr_caps caps;
    struct err err = { 0 };

    if (kind == 2) {
        CHECK(pr_keys_decode(p, n, &keys, &err) != 0 || keys.n <= PR_MAX_KEYS);
    } else if (kind == 3) {
        CHECK(pr_reservation_decode(p, n, &res, &err) == 0 || err.msg[0] != 0);
    } else if (kind == 4) {
        CHECK(pr_caps_decode(p, n, &caps, &err) == 0 || err.msg[0] != 0);
    } else {
        (void)pr_vpd_has_wwid(p, n, "36001405aaaaaaaabbbbbbbbccccccccd");
        (void)pr_vpd_has_wwid(p, n, "8iqn.2026-01.lab:store,t,0x0001");
    }
}

static void give_sector(const uint8_t *p, size_t n, bool right)
{
    static uint8_t image[SLOT_FILE_BYTES];
    static struct slot_table table;
    uint8_t sector[SLOT_BYTES] = { 0 }, again[SLOT_BYTES] = { 0 };
    struct slot_rec rec;

    memcpy(sector, p, n < SLOT_BYTES ? n : SLOT_BYTES);
    if (right) { /* over all before it: slot_codec.c */
        uint32_t crc = crc32c(0, sector, CRC_AT);

        for (unsigned i = 0; i < 4; i++) {
            sector[CRC_AT + i] = (uint8_t)(crc >> (8 * i));
        }
    }
    if (slot_decode(sector, &rec)) {
        CHECK(str_is_name(rec.host));
        slot_encode(&rec, again);
        CHECK(slot_decode(again, &rec));
    }
    memcpy(image, sector, SLOT_BYTES);
    slot_table_feed(&table, image, 1);
    CHECK(slot_table_pick(&table, "node1", 2, 1000) < (int)SLOT_COUNT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    switch (data[0] % 8) {
    case 0:
        give_op((const char *)data + 1, size - 1);
        break;
    case 1:
        give_answer((const char *)data + 1, size - 1);
        break;
    case 6:
    case 7:
        give_sector(data + 1, size - 1, data[0] % 8 == 7);
        break;
    default:
        give_target(data[0] % 8, data + 1, size - 1);
        break;
    }
    return 0;
}
