/* Sessions and node records of open-iscsi from nowhere. A record that takes settings takes them a
 * second time without any change. */

#include "base/obj.h"
#include "storage/iscsi_codec.h"
#include "storage/iscsi_disc_codec.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sessions(const char *text, size_t len)
{
    struct arena a = { 0 };
    struct iscsi_sessions s;
    struct err err = { 0 };

    if (iscsi_parse_sessions(text, len, &a, &s, &err) != 0) {
        CHECK(err.code == ERR_CORRUPT && err.msg[0] != '\0');
    } else {
        for (size_t i = 0; i < s.n; i++) {
            CHECK(s.list[i].sid != 0);
            CHECK(iscsi_portal_eq(s.list[i].portal, s.list[i].portal));
            CHECK(iscsi_find(&s, s.list[i].target, s.list[i].portal) != NULL);
        }
    }
    arena_done(&a);
}

static void record(const char *text, size_t len)
{
    const struct iscsi_settings s = { .username = "u", .password = "p", .replacement_ms = 5000 };
    struct buf once = { 0 };
    struct buf twice = { 0 };
    struct err err;

    if (iscsi_record_set(text, len, &s, &once, &err) == 0) {
        CHECK(iscsi_record_set((const char *)once.data, once.len, &s, &twice, &err) == 0);
        CHECK(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    }
    buf_done(&once);
    buf_done(&twice);
}

static void discovery(const char *text, size_t len)
{
    struct iscsi_founds f = { 0 };
    struct arena a = { 0 };
    struct buf out = { 0 };
    struct err err;

    if (iscsi_parse_discovery(text, len, &a, &f, &err) != 0) {
        CHECK(err.code == ERR_CORRUPT || err.code == ERR_TOO_LARGE);
    }
    for (size_t i = 0; i < f.n; i++) {
        CHECK(f.list[i].n_portals > 0 && f.list[i].n_portals <= ISCSI_PORTALS_MAX);
    }
    iscsi_manifests(&f, &out);
    buf_done(&out);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0) {
        discovery((const char *)data, size);
        sessions((const char *)data, size);
        record((const char *)data, size);
    }
    return 0;
}
