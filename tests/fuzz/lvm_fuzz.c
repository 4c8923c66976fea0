/* What LVM, dmsetup and wipefs print, from nowhere: a parser answers or says what is wrong. The
 * first byte chooses the parser. Volumes that were read can be made into names for device-mapper.
 */

#include "base/obj.h"
#include "storage/dm_codec.h"
#include "storage/lvm_codec.h"
#include "storage/sig_codec.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void report(const char *text, size_t len, struct arena *a)
{
    struct lvm_report r = { 0 };
    struct err err = { 0 };

    if (lvm_report_parse(text, len, a, &r, &err) != 0) {
        CHECK(err.code == ERR_CORRUPT && err.msg[0] != '\0');
        return;
    }
    for (size_t i = 0; i < r.n_lvs; i++) {
        char *uuid = lvm_dm_uuid(a, r.lvs[i].vg_uuid, r.lvs[i].uuid);

        CHECK(uuid == NULL || strlen(uuid) == 68);
        CHECK(strlen(lvm_mapper_path(a, r.lvs[i].vg, r.lvs[i].name)) > 12);
        CHECK(lvm_find_lv(&r, r.lvs[i].vg, r.lvs[i].name) != NULL);
        (void)lvm_name_ok(r.lvs[i].name);
    }
}

static void devices(const char *text, size_t len, struct arena *a)
{
    struct dm_devices d;
    struct err err = { 0 };

    if (dm_parse(text, len, a, &d, &err) != 0) {
        CHECK(err.code == ERR_CORRUPT && err.msg[0] != '\0');
        return;
    }
    for (size_t i = 0; i < d.n; i++) {
        CHECK(d.list[i].name[0] != '\0');
        CHECK(dm_find(&d, d.list[i].uuid) != NULL);
    }
}

static void signatures(const char *text, size_t len, struct arena *a)
{
    struct sig_verdict v;
    struct err err = { 0 };

    if (sig_parse_wipefs(text, len, a, &v, &err) != 0) {
        CHECK(v.blank == SIG_UNKNOWN && err.msg[0] != '\0');
        return;
    }
    CHECK((v.blank == SIG_EMPTY) == (v.what[0] == '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = { 0 };

    if (size >= 2) {
        const char *text = (const char *)data + 1;

        if (data[0] % 3 == 0) {
            report(text, size - 1, &a);
        } else if (data[0] % 3 == 1) {
            devices(text, size - 1, &a);
        } else {
            signatures(text, size - 1, &a);
        }
    }
    arena_done(&a);
    return 0;
}
