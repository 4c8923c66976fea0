/* Persistent reservations of a group on a host whose sg_persist is a script with a target's rules:
 * who is registered may write, who was preempted is out. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "storage/st_host.h"

#define WWID "36000000000000000000000000ab00001"
#define KEY 0x504b0000abcdef07ULL
#define KEY_TEXT "504b0000abcdef07"
#define OTHER_TEXT "504b0000abcdef08"

struct world {
    uv_loop_t loop;
    struct st_host *h;
    char dir[64];
};

struct answer {
    int calls;
    enum st_state state;
    char reason[64];
    char message[512];
    bool lock_needed, cut_off;
};

static void shell(const struct world *w, const char *text)
{
    char *cmd = mem_printf("D=%s; %s", w->dir, text);

    assert_int_equal(system(cmd), 0);
    free(cmd);
}

static bool holds(const struct world *w, const char *test)
{
    char *cmd = mem_printf("D=%s; touch $D/calls; %s", w->dir, test);
    bool yes = system(cmd) == 0;

    free(cmd);
    return yes;
}

static void script(const struct world *w, const char *name, const char *body)
{
    char *path = mem_printf("%s/bin/%s", w->dir, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fprintf(f, "#!/bin/sh\nD=%s\necho \"%s $*\" >>$D/calls\n%s\n", w->dir, name, body) >
                0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
}

static const char sg_persist[] =
    "[ -e $D/broken ] && { echo 'sg_persist failed: timed out' >&2; exit 33; }\n"
    "dev=$(echo \"$*\" | sed 's,.*/dev/,,')\n"
    "rk=$(echo \"$*\" | sed -n 's,.*--param-rk=\\([0-9a-f]*\\).*,\\1,p')\n"
    "sark=$(echo \"$*\" | sed -n 's,.*--param-sark=\\([0-9a-f]*\\).*,\\1,p')\n"
    "mine=$(cat $D/key.$dev 2>/dev/null)\n"
    "conflict() { echo 'persistent reserve out: Reservation conflict' >&2; exit 24; }\n"
    "case \"$*\" in\n"
    "*report-cap*) echo '  Persist Through Power Loss Capable(PTPL_C): 1';;\n"
    "*read-keys*) n=$(cat $D/key.* 2>/dev/null | wc -l)\n"
    "  case $n in 0) echo '  PR generation=0x3, there are NO registered reservation keys';;\n"
    "  1) echo '  PR generation=0x3, 1 registered reservation key follows:';;\n"
    "  *) echo \"  PR generation=0x3, $n registered reservation keys follow:\";; esac\n"
    "  for k in $(cat $D/key.* 2>/dev/null); do echo \"    0x$k\"; done;;\n"
    "*read-reservation*) if [ -e $D/res ]; then printf '  PR generation=0x3, Reservation follows:"
    "\\n    Key=0x0\\n    scope: LU_SCOPE,  type: %s\\n' \"$(cat $D/res)\"\n"
    "  else echo '  PR generation=0x3, there is NO reservation held'; fi;;\n"
    "*--register-ignore*) echo $sark >$D/key.$dev;;\n"
    "*--register*) [ -n \"$mine\" ] && [ \"$mine\" = \"$rk\" ] || conflict\n"
    "  if [ $sark = 0 ]; then rm $D/key.$dev; else echo $sark >$D/key.$dev; fi;;\n"
    "*--reserve*) [ -n \"$mine\" ] && [ \"$mine\" = \"$rk\" ] || conflict\n"
    "  echo 'Write Exclusive, all registrants' >$D/res;;\n"
    "esac";

static const char multipathd[] =
    "p() { printf '{\"dev\":\"%s\",\"dm_st\":\"%s\",\"dev_st\":\"running\",\"chk_st\":\"%s\","
    "\"target_wwnn\":\"t\"}' $1 $2 $3; }\n"
    "printf '{\"major_version\":0,\"maps\":[{\"name\":\"" WWID "\",\"uuid\":\"" WWID
    "\",\"sysfs\":\"dm-0\",\"queueing\":\"12 chk\",\"path_groups\":[{\"paths\":['\n"
    "p sdb active ready; printf ,; if [ -e $D/dark ]; then p sdc failed faulty; else p sdc active "
    "ready; fi; printf ']}]}]}'";

static const char lvm[] =
    "case \"$1\" in\n"
    "vgs) echo '{\"report\":[{\"vg\":[{\"vg_uuid\":\"u1\",\"vg_name\":\"vg0\",\"vg_size\":"
    "\"104857600\",\"vg_free\":\"0\",\"vg_extent_size\":\"4194304\",\"vg_attr\":\"wz--n-\","
    "\"pv_count\":\"1\",\"vg_missing_pv_count\":\"0\"}]}]}';;\n"
    "pvs) echo '{\"report\":[{\"pv\":[{\"pv_uuid\":\"p1\",\"pv_name\":\"/dev/mapper/" WWID
    "\",\"vg_name\":\"vg0\",\"vg_uuid\":\"u1\",\"pv_size\":\"104857600\",\"pv_free\":\"0\","
    "\"dev_size\":\"104857600\",\"pv_missing\":\"\",\"pv_duplicate\":\"\",\"pv_in_use\":\"used\"}]}"
    "]}';;\n"
    "lvs) a=; [ -e $D/active ] && a=active\n"
    "  t=-wi-------; [ -e $D/active ] && t=-wi-a-----\n"
    "  printf '{\"report\":[{\"lv\":[{\"lv_uuid\":\"l1\",\"lv_name\":\"v\",\"vg_uuid\":\"u1\","
    "\"vg_name\":\"vg0\",\"lv_size\":\"4194304\",\"lv_attr\":\"%s\",\"lv_active\":\"%s\","
    "\"lv_device_open\":\"\"}]}]}' $t $a;;\n"
    "esac";

static void open_host(struct world *w)
{
    char *bin = mem_printf("%s/bin", w->dir), *etc = mem_printf("%s/etc", w->dir);
    struct st_host_opts opts = { .loop = &w->loop, .programs = bin, .etc = etc, .data = w->dir };

    w->h = st_host_new(&opts);
    st_reservation_key(w->h, KEY);
    free(bin);
    free(etc);
}

static int setup(void **state)
{
    struct world *w = OBJ_NEW(struct world);

    (void)signal(SIGPIPE, SIG_IGN);
    (void)str_copy(w->dir, sizeof(w->dir), "/tmp/picket-pr-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    shell(w, "mkdir $D/bin $D/etc");
    script(w, "iscsiadm", "exit 21");
    script(w, "multipathd", multipathd);
    script(w, "multipath", "");
    script(w, "scsi_id", "echo " WWID);
    script(w, "lvm", lvm);
    script(w, "wipefs", "echo '{\"signatures\":[]}'");
    script(w, "blockdev", "echo 104857600");
    script(w, "sg_persist", sg_persist);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    open_host(w);
    *state = w;
    return 0;
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static void close_host(struct world *w)
{
    bool closed = false;

    st_host_close(w->h, on_closed, &closed);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_true(closed);
}

static int teardown(void **state)
{
    struct world *w = *state;

    close_host(w);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    shell(w, "rm -rf $D");
    free(w);
    return 0;
}

static void on_answer(void *ctx, const struct st_answer *ans)
{
    struct answer *a = ctx;

    a->calls++;
    a->state = ans->state;
    (void)snprintf(a->reason, sizeof(a->reason), "%s", ans->reason);
    (void)snprintf(a->message, sizeof(a->message), "%s", ans->message);
    a->lock_needed = ans->lock_needed;
    a->cut_off = ans->cut_off;
}

static void apply(struct world *w, const char *plural, const char *name, const char *text,
                  bool lock, struct answer *a)
{
    json_t *o = text == NULL ? NULL : json_loads(text, 0, NULL);

    *a = (struct answer){ 0 };
    (void)st_apply(w->h, plural, name, o, lock, clock_now_ms() + 60000, on_answer, a);
    while (a->calls == 0) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    json_decref(o);
}

static const char reserved[] =
    "{\"spec\":{\"luns\":[\"l1\"],\"reservation\":\"PersistentReservation\"}}";

static void group(struct world *w, bool lock, struct answer *a)
{
    apply(w, "luns", "l1", "{\"spec\":{\"wwid\":\"" WWID "\"}}", false, a);
    assert_int_equal(a->state, ST_READY);
    apply(w, "volumegroups", "vg0", reserved, lock, a);
}

/* --- registering --- */

static void test_registered_under_the_lock_only(void **state)
{
    struct world *w = *state;
    struct answer a;

    group(w, false, &a);
    assert_true(a.lock_needed);
    assert_string_equal(a.reason, "LockNeeded");
    assert_false(holds(w, "grep -q -e register-ignore -e --reserve $D/calls"));
    assert_false(st_group_usable(w->h, "vg0"));
    group(w, true, &a);
    assert_string_equal(a.reason, "Ready");
    assert_true(st_group_usable(w->h, "vg0"));
    assert_true(holds(w, "grep -qx " KEY_TEXT " $D/key.sdb"));
    assert_true(holds(w, "grep -qx " KEY_TEXT " $D/key.sdc"));
    assert_true(holds(w, "grep -q 'all registrants' $D/res"));
    assert_true(holds(w, "grep -q -e 'register-ignore.*--param-aptpl' $D/calls"));
    group(w, false, &a); /* nothing is left to do, so no lock is wanted */
    assert_string_equal(a.reason, "Ready");
}

static void test_groups_without_reservations_are_not_asked(void **state)
{
    struct world *w = *state;
    struct answer a;

    assert_true(st_group_usable(w->h, "vg9"));
    apply(w, "luns", "l1", "{\"spec\":{\"wwid\":\"" WWID "\"}}", false, &a);
    apply(w, "volumegroups", "vg0", "{\"spec\":{\"luns\":[\"l1\"]}}", false, &a);
    assert_string_equal(a.reason, "Ready");
    assert_true(st_group_usable(w->h, "vg0"));
    assert_false(holds(w, "grep -q sg_persist $D/calls"));
}

static void test_a_fresh_path(void **state)
{
    struct world *w = *state;
    struct answer a;

    shell(w, "touch $D/dark");
    group(w, true, &a);
    assert_string_equal(a.reason, "Ready"); /* the path that is down is not waited for */
    assert_false(holds(w, "test -e $D/key.sdc"));
    shell(w, "rm $D/dark");
    group(w, false, &a);
    assert_true(a.lock_needed);
    assert_false(holds(w, "test -e $D/key.sdc"));
    group(w, true, &a);
    assert_string_equal(a.reason, "Ready");
    assert_true(holds(w, "grep -qx " KEY_TEXT " $D/key.sdc"));
    assert_true(holds(w, "test $(grep -c 'register-ignore.*sdb' $D/calls) = 1"));
}

/* --- cut off --- */

static void assert_cut_off(struct world *w)
{
    struct answer a;

    group(w, true, &a);
    assert_string_equal(a.reason, "KeyGone");
    assert_false(a.cut_off); /* looked once more before anything is done about it */
    assert_false(st_group_usable(w->h, "vg0"));
    group(w, true, &a);
    assert_string_equal(a.reason, "KeyGone");
    assert_true(a.cut_off);
    assert_false(holds(w, "ls $D/key.sd* 2>/dev/null | grep -q ."));
}

static void test_preempted(void **state)
{
    struct world *w = *state;
    struct answer a;

    group(w, true, &a);
    assert_string_equal(a.reason, "Ready");
    shell(w, "rm $D/key.sdb $D/key.sdc; echo " OTHER_TEXT " >$D/key.other");
    assert_cut_off(w);
}

static void test_preempted_while_the_agent_was_away(void **state)
{
    struct world *w = *state;
    struct answer a;

    group(w, true, &a);
    close_host(w);
    shell(w, "rm $D/key.sdb $D/key.sdc; echo " OTHER_TEXT " >$D/key.other");
    open_host(w);
    assert_cut_off(w);
}

static void test_another_incarnation_begins_anew(void **state)
{
    struct world *w = *state;
    struct answer a;

    group(w, true, &a);
    close_host(w);
    shell(w, "rm $D/key.sdb $D/key.sdc");
    open_host(w);
    st_reservation_key(w->h, KEY + 1); /* the host has booted since */
    group(w, true, &a);
    assert_string_equal(a.reason, "Ready");
    assert_true(holds(w, "grep -qx " OTHER_TEXT " $D/key.sdc"));
}

/* --- what is not known, and what is foreign --- */

static void test_unknown_is_no_answer(void **state)
{
    struct world *w = *state;
    struct answer a;

    group(w, true, &a);
    shell(w, "touch $D/broken");
    group(w, true, &a);
    assert_int_equal(a.state, ST_UNKNOWN);
    assert_false(a.cut_off);
    assert_non_null(strstr(a.message, "timed out"));
    shell(w, "rm $D/broken");
    group(w, true, &a);
    assert_string_equal(a.reason, "Ready");
}

static void test_somebody_elses_reservation(void **state)
{
    struct world *w = *state;
    struct answer a;

    shell(w, "echo 'Exclusive Access' >$D/res");
    group(w, true, &a);
    assert_string_equal(a.reason, "ForeignReservation");
    assert_false(holds(w, "grep -q register-ignore $D/calls"));
}

/* --- giving up --- */

static void test_unregistered_when_nothing_is_active(void **state)
{
    static const char open_group[] = "{\"spec\":{\"luns\":[\"l1\"]}}";
    struct world *w = *state;
    struct answer a;

    group(w, true, &a);
    shell(w, "touch $D/active");
    apply(w, "volumegroups", "vg0", open_group, false, &a);
    assert_int_equal(a.state, ST_READY);
    assert_true(holds(w, "test -e $D/key.sdb"));
    shell(w, "rm $D/active");
    apply(w, "volumegroups", "vg0", open_group, false, &a);
    assert_string_equal(a.reason, "Ready");
    assert_false(holds(w, "ls $D/key.sd* 2>/dev/null | grep -q ."));
}

static void test_unregistered_when_the_group_goes(void **state)
{
    struct world *w = *state;
    struct answer a;

    group(w, true, &a);
    apply(w, "volumegroups", "vg0", NULL, false, &a);
    assert_string_equal(a.reason, "Deleted");
    assert_false(holds(w, "ls $D/key.sd* 2>/dev/null | grep -q ."));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_registered_under_the_lock_only),
        TEST(test_groups_without_reservations_are_not_asked),
        TEST(test_a_fresh_path),
        TEST(test_preempted),
        TEST(test_preempted_while_the_agent_was_away),
        TEST(test_another_incarnation_begins_anew),
        TEST(test_unknown_is_no_answer),
        TEST(test_somebody_elses_reservation),
        TEST(test_unregistered_when_nothing_is_active),
        TEST(test_unregistered_when_the_group_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
