/* The planner of LUNs, on the sessions and maps of tests/fixtures/storage. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "storage/lun_plan.h"
#include "tests/unit/storage_fixture.h"

#define W1 "36000000000000000e00000000ab0001"
#define W2 "36000000000000000e00000000ab0002"

static const char *const portals[] = { "10.77.1.1", "10.77.2.1", "10.77.3.1" };

struct world {
    struct arena a;
    struct iscsi_sessions sessions;
    struct mpath_maps maps;
    struct lun_disk disks[4];
    struct lun_want want;
    struct lun_have have;
    struct lun_plan plan;
};

static int setup(void **state)
{
    struct world *w = OBJ_NEW(struct world);
    struct err err;
    size_t len = 0;
    char *text = storage_fixture("iscsi-sessions.txt", &len);

    assert_int_equal(iscsi_parse_sessions(text, len, &w->a, &w->sessions, &err), 0);
    free(text);
    text = storage_fixture("multipath-maps.json", &len);
    assert_int_equal(mpath_parse_maps(text, len, &w->a, &w->maps, &err), 0);
    free(text);
    w->disks[0] = (struct lun_disk){ "sdb", W1 };
    w->disks[1] = (struct lun_disk){ "sdd", W1 };
    w->disks[2] = (struct lun_disk){ "sdc", W2 };
    w->disks[3] = (struct lun_disk){ "sde", W2 };
    w->want = (struct lun_want){ .name = "lun1",
                                 .target = "iqn.2026-01.example:san",
                                 .portals = portals,
                                 .n_portals = 2,
                                 .lun = 1,
                                 .wwid = W1 };
    w->have = (struct lun_have){ .sessions = &w->sessions,
                                 .maps = &w->maps,
                                 .disks = w->disks,
                                 .n_disks = 4,
                                 .why = "iscsiadm timed out" };
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    arena_done(&w->a);
    free(w);
    return 0;
}

static void expect(struct world *w, enum st_state st, const char *reason, size_t n_steps)
{
    lun_plan(&w->want, &w->have, &w->a, &w->plan);
    assert_string_equal(w->plan.reason, reason);
    assert_int_equal(w->plan.state, st);
    assert_int_equal(w->plan.n_steps, n_steps);
}

static void ready_but_not_redundant(void **state)
{
    struct world *w = *state;

    expect(w, ST_READY, "Ready", 0);
    assert_false(w->plan.redundant);
    assert_string_equal(w->plan.message, "1 of 2 paths work");
    assert_string_equal(w->plan.device, "/dev/mapper/" W1);
    w->want.min_paths = 1;
    expect(w, ST_READY, "Ready", 0);
    assert_true(w->plan.redundant);
}

static void logs_in_where_there_is_no_session(void **state)
{
    struct world *w = *state;

    w->want.n_portals = 3;
    expect(w, ST_READY, "Ready", 2);
    assert_string_equal(lun_step_name(w->plan.steps[0].kind), "record");
    assert_string_equal(lun_step_name(w->plan.steps[1].kind), "login");
    assert_string_equal(w->plan.steps[1].portal, "10.77.3.1");
    w->want.paused = true;
    expect(w, ST_READY, "Ready", 0);
}

static void another_disk_under_the_number_is_refused(void **state)
{
    struct world *w = *state;

    w->want.wwid = W2; /* the array has renumbered its LUNs */
    expect(w, ST_NOT_READY, "WrongWwid", 0);
    assert_string_equal(w->plan.device, "");
    w->want.wwid = W1;
    w->disks[1].wwid = W2; /* over the second portal only */
    expect(w, ST_NOT_READY, "WrongWwid", 0);
    w->want.wwid = "";
    expect(w, ST_NOT_READY, "DifferentDisks", 0);
    assert_string_equal(w->plan.pin, "");
}

static void pins_what_every_path_says(void **state)
{
    struct world *w = *state;

    w->want.wwid = "";
    expect(w, ST_NOT_READY, "PinNeeded", 0);
    assert_string_equal(w->plan.pin, W1);
    w->disks[1].wwid = NULL;
    expect(w, ST_UNKNOWN, "WwidUnknown", 0);
    assert_string_equal(w->plan.pin, "");
}

static void nobody_could_look(void **state)
{
    struct world *w = *state;

    w->have.sessions = NULL;
    expect(w, ST_UNKNOWN, "CannotLook", 0);
    assert_string_equal(w->plan.message, "iscsiadm timed out");
    w->have.sessions = &w->sessions;
    w->have.maps = NULL;
    expect(w, ST_UNKNOWN, "CannotLook", 0);
}

static void no_path_and_endless_queueing(void **state)
{
    struct world *w = *state;

    w->want.lun = 2;
    w->want.wwid = W2;
    expect(w, ST_NOT_READY, "NoPath", 1);
    assert_string_equal(lun_step_name(w->plan.steps[0].kind), "stop-queueing");
    assert_string_equal(w->plan.steps[0].wwid, W2);
}

static void not_shown_or_not_mapped(void **state)
{
    struct world *w = *state;

    w->want.lun = 9;
    expect(w, ST_NOT_READY, "NotSeen", 1); /* only the session that works is scanned again */
    assert_string_equal(lun_step_name(w->plan.steps[0].kind), "rescan");
    assert_int_equal(w->plan.steps[0].sid, 1);
    w->want.lun = 1;
    w->maps.n = 0;
    expect(w, ST_NOT_READY, "NoMap", 1);
    assert_string_equal(lun_step_name(w->plan.steps[0].kind), "map");
}

static void by_wwid_alone(void **state)
{
    struct world *w = *state;

    w->want.target = NULL;
    w->want.n_portals = 0;
    expect(w, ST_READY, "Ready", 0);
    assert_true(w->plan.redundant);
    w->want.wwid = "36000000000000000e00000000abffff";
    expect(w, ST_NOT_READY, "NotSeen", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ready_but_not_redundant, setup, teardown),
        cmocka_unit_test_setup_teardown(logs_in_where_there_is_no_session, setup, teardown),
        cmocka_unit_test_setup_teardown(another_disk_under_the_number_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(pins_what_every_path_says, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_could_look, setup, teardown),
        cmocka_unit_test_setup_teardown(no_path_and_endless_queueing, setup, teardown),
        cmocka_unit_test_setup_teardown(not_shown_or_not_mapped, setup, teardown),
        cmocka_unit_test_setup_teardown(by_wwid_alone, setup, teardown),
    };

    return cmocka_run_group_tests_name("lun_plan", tests, NULL, NULL);
}
