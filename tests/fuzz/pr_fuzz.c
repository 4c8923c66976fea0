/* Persistent reservations from nowhere: what sg_persist prints, what a target answers, and a
 * lvmlocal.conf.  The first byte chooses the parser.  Whoever cannot see every key must not say
 * that one is gone: an answer that was cut off is an error or holds as many keys as it said. */

#include "base/obj.h"
#include "fence/pr.h"
#include "storage/lvm_cmd_codec.h"
#include "storage/pr_text_codec.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void printed(const char *text, size_t len, struct arena *a)
{
    struct prt_keys k;
    struct prt_reservation r;
    struct err err = { 0 };
    bool ptpl;

    if (prt_keys_parse(text, len, a, &k, &err) == 0) {
        CHECK(k.n <= PRT_KEYS_MAX && (k.n == 0 || prt_keys_have(&k, k.keys[k.n - 1])));
    } else {
        CHECK(err.code == ERR_CORRUPT && err.msg[0] != '\0');
    }
    if (prt_reservation_parse(text, len, a, &r, &err) == 0) {
        CHECK((r.type == PRT_NONE) == (r.text[0] == '\0'));
    }
    (void)!prt_caps_parse(text, len, a, &ptpl, &err);
}

static void answered(const uint8_t *data, size_t len)
{
    static struct pr_keys k;
    struct pr_reservation r;
    struct pr_caps c;
    struct err err;

    if (pr_keys_decode(data, len, &k, &err) == 0) {
        CHECK(k.n <= PR_MAX_KEYS && 8 + 8 * k.n <= len);
    }
    (void)!pr_reservation_decode(data, len, &r, &err);
    (void)!pr_caps_decode(data, len, &c, &err);
    (void)pr_vpd_has_wwid(data, len, "36000000000000000000000000ab00001");
}

static void conf(const char *text, size_t len)
{
    static const char *const groups[] = { "root" };
    struct buf b = { 0 };
    struct err err;

    CHECK(lvm_conf_render(groups, 1, &b, &err) == 0);
    CHECK(lvm_conf_owner((const char *)b.data, b.len) == LVM_CONF_OURS);
    if (lvm_conf_drift(text, len, buf_cstr(&b)) == 0) {
        CHECK(lvm_conf_owner(text, len) == LVM_CONF_OURS);
    }
    (void)lvm_conf_owner(text, len);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = { 0 };

    if (size >= 2 && data[0] % 3 == 0) {
        printed((const char *)data + 1, size - 1, &a);
    } else if (size >= 2 && data[0] % 3 == 1) {
        answered(data + 1, size - 1);
    } else if (size >= 2) {
        conf((const char *)data + 1, size - 1);
    }
    arena_done(&a);
    return 0;
}
