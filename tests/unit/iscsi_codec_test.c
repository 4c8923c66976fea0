/* Sessions and node records of open-iscsi (tests/fixtures/storage). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "api/manifest.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/iscsi_codec.h"
#include "storage/iscsi_disc_codec.h"
#include "tests/unit/storage_fixture.h"

#define SAN "iqn.2026-01.example:san"

static void reads_sessions(void **state)
{
    struct arena a = { 0 };
    struct iscsi_sessions ss;
    const struct iscsi_session *s;
    struct err err;
    size_t len = 0;
    char *text = storage_fixture("iscsi-sessions.txt", &len);

    (void)state;
    assert_int_equal(iscsi_parse_sessions(text, len, &a, &ss, &err), 0);
    assert_int_equal(ss.n, 3);
    s = iscsi_find(&ss, SAN, "10.77.1.1");
    assert_non_null(s);
    assert_int_equal(s->sid, 1);
    assert_true(s->logged_in);
    assert_string_equal(s->initiator, "iqn.2026-01.example:host1");
    assert_int_equal(s->n_disks, 2); /* LUN 0 is the target's controller, no disk */
    assert_int_equal(s->disks[1].lun, 2);
    assert_string_equal(s->disks[1].device, "sdc");
    assert_true(s->disks[1].running);
    s = iscsi_find(&ss, SAN, "10.77.2.1:3260");
    assert_non_null(s);
    assert_false(s->logged_in);
    assert_string_equal(s->state, "FAILED");
    assert_string_equal(s->connection, "TRANSPORT WAIT");
    assert_false(s->disks[0].running);
    /* found where it was configured, not where the target sent it */
    s = iscsi_find(&ss, "iqn.2026-01.example:other", "2001:db8::1");
    assert_non_null(s);
    assert_string_equal(s->current, "[2001:db8::9]:3260");
    assert_null(iscsi_find(&ss, "iqn.2026-01.example:other", "[2001:db8::9]:3260"));
    assert_null(iscsi_find(&ss, SAN, "10.77.1.1:3261"));
    free(text);
    arena_done(&a);
}

static void reads_a_discovery(void **state)
{
    static const char first[] = "10.77.1.1:3260,1 iqn.2026-01.example:san\n"
                                "10.77.2.1:3260,1 iqn.2026-01.example:san\n"
                                "[2001:db8::1]:3260,2 iqn.2026-01.other:Big_San\n";
    static const char second[] = "10.77.1.1:3260,1 iqn.2026-01.example:san\r\n"
                                 "10.77.3.1:3261,1 iqn.2026-01.example:san\n\n"
                                 "10.77.3.1:3261,1 iqn.2026-02.example:san\n";
    struct iscsi_founds f = { 0 };
    struct arena a = { 0 };
    struct buf out = { 0 };
    struct manifest *m = NULL;
    struct problems ps = { 0 };
    struct err err;

    (void)state;
    /* an underscore is in no IQN (RFC 3722), so that line is refused, and what came before stays */
    assert_int_equal(iscsi_parse_discovery(first, sizeof(first) - 1, &a, &f, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "line 3"));
    assert_int_equal(iscsi_parse_discovery(second, sizeof(second) - 1, &a, &f, &err), 0);
    assert_int_equal(f.n, 2);
    assert_int_equal(f.list[0].n_portals, 3);
    assert_string_equal(f.list[0].portals[2], "10.77.3.1:3261");
    iscsi_manifests(&f, &out);
    assert_int_equal(manifest_parse(buf_cstr(&out), out.len, "found", &m, &err), 0);
    assert_int_equal(manifest_count(m), 2);
    for (size_t i = 0; i < 2; i++) {
        json_t *obj = manifest_doc(m, i)->obj;

        obj_validate(kind_find("ISCSITarget"), obj, false, &ps);
        assert_false(problems_bad(&ps));
        assert_string_equal(jget_str(obj, "metadata.name", ""), i == 0 ? "san" : "san-x2");
        assert_string_equal(jget_str(obj, "spec.iqn", ""), f.list[i].iqn);
    }
    problems_done(&ps);
    manifest_free(m);
    buf_done(&out);
    arena_done(&a);
}

static void hostile_discoveries(void **state)
{
    static const char *const bad[] = {
        "10.0.0.1:3260 iqn.2026-01.a:b",
        "10.0.0.1:3260,x iqn.2026-01.a:b",
        ",1 iqn.2026-01.a:b",
        "10.0.0.1:3260,1",
        "10.0.0.1:3260,1 iqn.2026-01.a:b\"}\n",
        "10.0.0.1:3260,1 san",
        "10.0.0.1:3260\",1 iqn.2026-01.a:b",
        "10.0.0.1:3260,1 iqn.a b",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct iscsi_founds f = { 0 };
        struct arena a = { 0 };
        struct err err;

        assert_int_equal(iscsi_parse_discovery(bad[i], strlen(bad[i]), &a, &f, &err), ERR_CORRUPT);
        arena_done(&a);
    }
}

static void compares_portals(void **state)
{
    (void)state;
    assert_true(iscsi_portal_eq("10.0.0.1", "10.0.0.1:3260"));
    assert_true(iscsi_portal_eq("2001:DB8::1", "[2001:db8::1]:3260"));
    assert_true(iscsi_portal_eq("san.example:3261", "SAN.example:3261"));
    assert_false(iscsi_portal_eq("10.0.0.1", "10.0.0.1:3261"));
    assert_false(iscsi_portal_eq("10.0.0.1", "10.0.0.10"));
}

static void refuses_half_an_outline(void **state)
{
    static const char *const cases[] = {
        "\tCurrent Portal: 10.0.0.1:3260,1\n\t\tSID: 1\n", /* no target */
        "Target: t\n\tCurrent Portal: \n",
        "Target: t\n\tCurrent Portal: 10.0.0.1:3260,1\n", /* no SID */
        "Target: t\n\tCurrent Portal: 10.0.0.1:3260,1\n\t\tSID: x\n",
        "Target: \n",
        "Target: t\n\tCurrent Portal: p,1\n\t\tSID: 1\n\t\t\tAttached scsi disk sdb State: "
        "running\n",
        "Target: t\n\tCurrent Portal: p,1\n\t\tSID: 1\n\t\tscsi3 Channel 00 Id 0 Lun: x\n",
    };
    struct arena a = { 0 };
    struct iscsi_sessions ss;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(iscsi_parse_sessions(cases[i], strlen(cases[i]), &a, &ss, &err),
                         ERR_CORRUPT);
    }
    assert_int_equal(iscsi_parse_sessions("", 0, &a, &ss, &err), 0);
    assert_int_equal(ss.n, 0);
    arena_done(&a);
}

static int set(const struct iscsi_settings *s, struct buf *out, struct err *err)
{
    size_t len = 0;
    char *text = storage_fixture("iscsi-record.txt", &len);
    int rc = iscsi_record_set(text, len, s, out, err);

    free(text);
    return rc;
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (const char *p = text; (p = strstr(p, what)) != NULL; p++) {
        n++;
    }
    return n;
}

static void writes_settings_into_a_record(void **state)
{
    struct iscsi_settings s = { .username = "picket",
                                .password = "abcdefghijkl=m n",
                                .mutual_username = "san",
                                .mutual_password = "nmlkjihgfedc",
                                .header_crc = true,
                                .replacement_ms = 5000,
                                .noop_interval_ms = 1500,
                                .noop_timeout_ms = 5000 };
    struct buf out = { 0 };
    struct buf again = { 0 };
    struct err err;
    const char *text;

    (void)state;
    assert_int_equal(set(&s, &out, &err), 0);
    text = buf_cstr(&out);
    assert_int_equal(count(text, "node.session.auth.authmethod = CHAP\n"), 1);
    assert_int_equal(count(text, "node.session.auth.authmethod"), 1);
    assert_int_equal(count(text, "\nnode.session.auth.password = abcdefghijkl=m n\n"), 1);
    assert_int_equal(count(text, "\nnode.session.auth.password_in = nmlkjihgfedc\n"), 1);
    assert_int_equal(count(text, "\nnode.session.timeo.replacement_timeout = 5\n"), 1);
    assert_int_equal(count(text, "replacement_timeout"), 1);
    assert_int_equal(count(text, "noop_out_interval = 2\n"), 1);
    assert_int_equal(count(text, "iscsi.HeaderDigest = CRC32C\n"), 1);
    assert_int_equal(count(text, "node.session.auth.chap_algs = MD5\n"), 1); /* kept */
    assert_true(str_ends(text, "# END RECORD\n"));
    /* once more changes nothing */
    assert_int_equal(iscsi_record_set(text, out.len, &s, &again, &err), 0);
    assert_string_equal(buf_cstr(&again), text);
    /* and without CHAP no secret is left */
    s = (struct iscsi_settings){ .replacement_ms = 5000 };
    buf_clear(&again);
    assert_int_equal(iscsi_record_set(text, out.len, &s, &again, &err), 0);
    assert_int_equal(count(buf_cstr(&again), "abcdefghijkl"), 0);
    assert_int_equal(count(buf_cstr(&again), "auth.username"), 0);
    assert_int_equal(count(buf_cstr(&again), "authmethod = None\n"), 1);
    buf_done(&out);
    buf_done(&again);
}

static void refuses_values_that_would_be_lines(void **state)
{
    struct iscsi_settings s = { .username = "u", .password = "secret\nnode.startup = automatic" };
    struct buf out = { 0 };
    struct err err;

    (void)state;
    assert_int_equal(set(&s, &out, &err), ERR_INVALID);
    assert_null(strstr(err.msg, "secret"));
    assert_non_null(strstr(err.msg, "node.session.auth.password"));
    s.password = NULL;
    assert_int_equal(set(&s, &out, &err), ERR_INVALID);
    s = (struct iscsi_settings){ .mutual_username = "u", .mutual_password = "p" };
    assert_int_equal(set(&s, &out, &err), ERR_INVALID);
    s = (struct iscsi_settings){ .username = NULL };
    assert_int_equal(iscsi_record_set("node.name = x\n", 14, &s, &out, &err), ERR_CORRUPT);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_sessions),
        cmocka_unit_test(reads_a_discovery),
        cmocka_unit_test(hostile_discoveries),
        cmocka_unit_test(compares_portals),
        cmocka_unit_test(refuses_half_an_outline),
        cmocka_unit_test(writes_settings_into_a_record),
        cmocka_unit_test(refuses_values_that_would_be_lines),
    };

    return cmocka_run_group_tests_name("iscsi_codec", tests, NULL, NULL);
}
