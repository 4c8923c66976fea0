/* Storage objects on a host whose programs are scripts that keep their state in files: from nothing
 * to a group, and everything that must stop it on the way. */

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
#define IQN "iqn.2026-01.example:san"

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
    bool lock_needed, changed;
    json_t *detail;
    uint64_t at_ms;
};

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

static const char iscsiadm[] =
    "sess() { printf 'Target: " IQN
    " (non-flash)\\n\\tCurrent Portal: %s,1\\n\\tPersistent Portal: %s,1\\n"
    "\\t\\tIface Initiatorname: iqn.x:h\\n\\t\\tSID: %s\\n\\t\\tiSCSI Connection State: LOGGED "
    "IN\\n"
    "\\t\\tiSCSI Session State: LOGGED_IN\\n\\t\\tInternal iscsid Session State: NO CHANGE\\n"
    "\\t\\tHost Number: %s\\tState: running\\n\\t\\tscsi%s Channel 00 Id 0 Lun: 1\\n"
    "\\t\\t\\tAttached scsi disk %s\\t\\tState: running\\n' $1 $1 $2 $2 $2 $3; }\n"
    "case \"$*\" in\n"
    "*session*-P*) [ -e $D/in1 ] || [ -e $D/in2 ] || exit 21\n"
    "  [ -e $D/in1 ] && sess 10.0.0.1:3260 1 sdb; [ -e $D/in2 ] && sess 10.0.1.1:3260 2 sdc; exit "
    "0;;\n"
    "*'-o new') p=$(echo \"$*\" | sed 's/.*-p //; s/ .*//; s/:/,/')\n"
    "  mkdir -p $D/etc/iscsi/nodes/" IQN "/$p,1\n"
    "  printf '# BEGIN RECORD 2.1.8\\nnode.name = x\\nnode.session.timeo.replacement_timeout = "
    "120\\n"
    "# END RECORD\\n' >$D/etc/iscsi/nodes/" IQN "/$p,1/default;;\n"
    "*10.0.0.1*--login) [ -e $D/in1 ] && exit 15; [ -e $D/slow ] && sleep 0.5; touch $D/in1;;\n"
    "*10.0.1.1*--login) [ -e $D/dark ] && { echo 'login timed out' >&2; exit 8; }; touch $D/in2;;\n"
    "esac";

static const char multipathd[] =
    "p() { printf "
    "'{\"dev\":\"%s\",\"dm_st\":\"active\",\"dev_st\":\"running\",\"chk_st\":\"ready\",\"target_"
    "wwnn\":\"" IQN "\"}' $1; }\n"
    "case \"$*\" in\n"
    "'show maps json') if [ -e $D/map ]; then printf "
    "'{\"major_version\":0,\"maps\":[{\"name\":\"" WWID "\",\"uuid\":\"" WWID
    "\",\"sysfs\":\"dm-0\",\"queueing\":\"12 chk\",\"path_groups\":[{\"paths\":['\n"
    "  p sdb; [ -e $D/in2 ] && { printf ,; p sdc; }; printf ']}]}]}'; else echo "
    "'{\"major_version\":0,\"maps\":[]}'; fi;;\n"
    "'add map'*) touch $D/map;;\n"
    "esac";

static const char lvm[] =
    "case \"$1\" in\n"
    "vgs) if [ -e $D/vg ]; then echo "
    "'{\"report\":[{\"vg\":[{\"vg_uuid\":\"u1\",\"vg_name\":\"vg0\",\"vg_size\":\"104857600\","
    "\"vg_free\":\"104857600\",\"vg_extent_size\":\"4194304\",\"vg_attr\":\"wz--n-\",\"pv_count\":"
    "\"1\",\"vg_missing_pv_count\":\"0\"}]}]}'\n"
    "  else echo '{\"report\":[{\"vg\":[]}]}'; fi;;\n"
    "pvs) if [ -e $D/vg ]; then echo "
    "'{\"report\":[{\"pv\":[{\"pv_uuid\":\"p1\",\"pv_name\":\"/dev/mapper/" WWID
    "\",\"vg_name\":\"vg0\",\"vg_uuid\":\"u1\",\"pv_size\":\"104857600\",\"pv_free\":\"104857600\","
    "\"dev_size\":\"104857600\","
    "\"pv_missing\":\"\",\"pv_duplicate\":\"\",\"pv_in_use\":\"used\"}]}]}'\n"
    "  else echo '{\"report\":[{\"pv\":[]}]}'; fi;;\n"
    "vgcreate) touch $D/vg;;\n"
    "esac";

static int setup(void **state)
{
    struct world *w = OBJ_NEW(struct world);
    struct st_host_opts opts = { .loop = &w->loop };
    char *bin, *etc, *sys;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)str_copy(w->dir, sizeof(w->dir), "/tmp/picket-st-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    bin = mem_printf("%s/bin", w->dir);
    etc = mem_printf("%s/etc", w->dir);
    sys = mem_printf("%s/sys", w->dir);
    assert_int_equal(mkdir(bin, 0755), 0);
    script(w, "iscsiadm", iscsiadm);
    script(w, "multipathd", multipathd);
    script(w, "multipath", "");
    script(w, "scsi_id",
           "case $3 in /dev/$(cat $D/odd 2>/dev/null)) echo 3bad;; *) echo " WWID ";; esac");
    script(w, "lvm", lvm);
    script(w, "wipefs", "cat $D/sigs 2>/dev/null || echo '{\"signatures\":[]}'");
    script(w, "blockdev", "echo 104857600");
    script(w, "dd", "head -c 1048576 /dev/zero");
    assert_int_equal(uv_loop_init(&w->loop), 0);
    opts.programs = bin;
    opts.etc = etc;
    opts.sys = sys;
    w->h = st_host_new(&opts);
    free(bin);
    free(etc);
    free(sys);
    *state = w;
    return 0;
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static int teardown(void **state)
{
    struct world *w = *state;
    bool closed = false;
    char *cmd = mem_printf("rm -rf %s", w->dir);

    st_host_close(w->h, on_closed, &closed);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(system(cmd), 0);
    free(cmd);
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
    a->changed = ans->changed;
    a->detail = json_deep_copy(ans->detail);
    a->at_ms = clock_now_ms();
}

static void touch(const struct world *w, const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", w->dir, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static bool called(const struct world *w, const char *what)
{
    char *cmd = mem_printf("grep -q -e '%s' %s/calls", what, w->dir);
    bool yes = system(cmd) == 0;

    free(cmd);
    return yes;
}

static struct st_op *begin(struct world *w, const char *plural, const char *name, const char *text,
                           bool lock, uint64_t ms, struct answer *a)
{
    json_t *o = json_loads(text, 0, NULL);
    struct st_op *op;

    assert_non_null(o);
    *a = (struct answer){ 0 };
    op = st_apply(w->h, plural, name, o, lock, clock_now_ms() + ms, on_answer, a);
    assert_int_equal(a->calls, 0);
    json_decref(o);
    return op;
}

static void apply(struct world *w, const char *plural, const char *name, const char *text,
                  bool lock, struct answer *a)
{
    (void)begin(w, plural, name, text, lock, 30000, a);
    while (a->calls == 0) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_int_equal(a->calls, 1);
}

static const char target[] =
    "{\"spec\":{\"iqn\":\"" IQN "\",\"portals\":[\"10.0.0.1:3260\",\"10.0.1.1:3260\"],"
    "\"replacementTimeout\":\"7s\"}}";
static const char lun[] = "{\"spec\":{\"target\":\"san\",\"lun\":1}}";
static const char lun_pinned[] =
    "{\"spec\":{\"target\":\"san\",\"lun\":1},\"status\":{\"wwid\":\"" WWID "\"}}";
static const char group[] = "{\"spec\":{\"luns\":[\"l1\"],\"initialise\":true}}";

static void make_lun(struct world *w, struct answer *a)
{
    apply(w, "iscsitargets", "san", target, false, a);
    json_decref(a->detail);
    apply(w, "luns", "l1", lun_pinned, false, a);
    json_decref(a->detail);
    a->detail = NULL;
}

/* --- LUNs --- */

static void test_lun_from_nothing(void **state)
{
    struct world *w = *state;
    struct answer a;
    char *cmd;

    apply(w, "iscsitargets", "san", target, false, &a);
    assert_string_equal(a.reason, "Idle");
    json_decref(a.detail);
    apply(w, "luns", "l1", lun, false, &a);
    assert_string_equal(a.reason, "PinNeeded");
    assert_string_equal(jget_str(a.detail, "wwid", ""), WWID);
    assert_false(called(w, "add map"));
    json_decref(a.detail);
    apply(w, "luns", "l1", lun_pinned, false, &a);
    assert_int_equal(a.state, ST_READY);
    assert_string_equal(jget_str(a.detail, "device", ""), "/dev/mapper/" WWID);
    assert_int_equal(jget_int(a.detail, "paths.active", 0), 2);
    assert_true(a.changed);
    json_decref(a.detail);
    apply(w, "luns", "l1", lun_pinned, false, &a);
    assert_false(a.changed); /* only looked at */
    json_decref(a.detail);
    cmd = mem_printf("grep -q 'replacement_timeout = 7$' %s/etc/iscsi/nodes/" IQN
                     "/10.0.1.1,3260,1/default",
                     w->dir);
    assert_int_equal(system(cmd), 0);
    free(cmd);
    apply(w, "iscsitargets", "san", target, false, &a);
    assert_string_equal(a.reason, "LoggedIn");
    json_decref(a.detail);
}

static void test_one_portal_is_dark(void **state)
{
    struct world *w = *state;
    struct answer a;

    touch(w, "dark", "");
    apply(w, "iscsitargets", "san", target, false, &a);
    json_decref(a.detail);
    apply(w, "luns", "l1", lun_pinned, false, &a);
    assert_int_equal(a.state, ST_READY);
    assert_non_null(strstr(a.message, "1 of 2 paths work; login: "));
    assert_non_null(strstr(a.message, "login timed out"));
    assert_int_equal(json_array_size(jget(a.detail, "paths.list")), 1);
    assert_string_equal(jget_str(a.detail, "paths.list.0.device", ""), "sdb");
    assert_string_equal(jget_str(a.detail, "paths.list.0.state", ""), "ready");
    json_decref(a.detail);
}

static size_t count(const struct world *w, const char *what)
{
    char *cmd = mem_printf("grep -c -e '%s' %s/calls", what, w->dir);
    FILE *f = popen(cmd, "r");
    unsigned n = 0;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%u", &n), 1);
    (void)pclose(f);
    free(cmd);
    return n;
}

/* Both want sessions that are not there: each portal is logged in to once, none of them fails. */
static void test_two_luns_of_one_target(void **state)
{
    struct world *w = *state;
    struct answer a, b;

    touch(w, "slow", "");
    apply(w, "iscsitargets", "san", target, false, &a);
    json_decref(a.detail);
    (void)begin(w, "luns", "l1", lun_pinned, false, 30000, &a);
    (void)begin(w, "luns", "l2", lun_pinned, false, 30000, &b);
    while (a.calls == 0 || b.calls == 0) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_int_equal(a.state, ST_READY);
    assert_int_equal(b.state, ST_READY);
    assert_int_equal(count(w, "--login"), 2);
    assert_int_equal(count(w, "-o new"), 2);
    json_decref(a.detail);
    json_decref(b.detail);
}

/* Somebody logged in between the look and the login. */
static void test_session_exists(void **state)
{
    struct world *w = *state;
    struct answer a;

    script(w, "scsi_id", "touch $D/in1; echo " WWID);
    touch(w, "in2", "");
    apply(w, "iscsitargets", "san", target, false, &a);
    json_decref(a.detail);
    apply(w, "luns", "l1", lun_pinned, false, &a);
    assert_int_equal(a.state, ST_READY);
    assert_string_equal(a.message, "");
    json_decref(a.detail);
}

static void test_another_disk(void **state)
{
    struct world *w = *state;
    struct answer a;

    touch(w, "odd", "sdc");
    make_lun(w, &a);
    assert_int_equal(a.state, ST_NOT_READY);
    assert_string_equal(a.reason, "WrongWwid");
    assert_non_null(strstr(a.message, "3bad"));
    assert_false(called(w, "add map"));
}

static void test_lun_without_its_target(void **state)
{
    struct world *w = *state;
    struct answer a;

    apply(w, "luns", "l1", lun, false, &a);
    assert_string_equal(a.reason, "TargetMissing");
    json_decref(a.detail);
}

static void test_programs_missing(void **state)
{
    struct world *w = *state;
    struct answer a;
    char *cmd = mem_printf("rm %s/bin/iscsiadm", w->dir);

    assert_int_equal(system(cmd), 0);
    free(cmd);
    make_lun(w, &a);
    assert_int_equal(a.state, ST_UNKNOWN);
    assert_string_equal(a.reason, "CannotLook");
    assert_non_null(strstr(a.message, "iscsiadm"));
}

/* --- the initiator's name --- */

static void run_a_while(struct world *w)
{
    while (!called(w, "try-restart iscsid")) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
}

static void test_initiator_name(void **state)
{
    struct world *w = *state;
    struct st_initiator i;
    char *cmd = mem_printf("mkdir -p %s/etc/iscsi", w->dir);

    assert_int_equal(system(cmd), 0);
    free(cmd);
    script(w, "systemctl", "");
    st_initiator(w->h, NULL, &i);
    assert_string_equal(i.name, "");
    assert_string_equal(i.problem, "");
    touch(w, "etc/iscsi/initiatorname.iscsi",
          "## x\nInitiatorName=iqn.a:1\nInitiatorName=iqn.a:2 \n");
    st_initiator(w->h, "iqn.a:2", &i);
    assert_string_equal(i.name, "iqn.a:2");
    assert_string_equal(i.problem, "");
    st_initiator(w->h, "iqn.a:3", &i);
    assert_string_equal(i.name, "iqn.a:3");
    assert_string_equal(i.problem, "");
    run_a_while(w);
    st_initiator(w->h, NULL, &i);
    assert_string_equal(i.name, "iqn.a:3");
}

static void test_initiator_name_in_use(void **state)
{
    struct world *w = *state;
    struct st_initiator i;
    char *cmd =
        mem_printf("mkdir -p %s/etc/iscsi %s/sys/class/iscsi_session/session1", w->dir, w->dir);

    assert_int_equal(system(cmd), 0);
    free(cmd);
    touch(w, "etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.a:1\n");
    st_initiator(w->h, "iqn.a:3", &i);
    assert_string_equal(i.name, "iqn.a:1");
    assert_non_null(strstr(i.problem, "no iSCSI session"));
}

/* --- CHAP --- */

#define CHAP_TARGET(more)                                                                          \
    "{\"spec\":{\"iqn\":\"" IQN "\",\"portals\":[\"10.0.0.1:3260\",\"10.0.1.1:3260\"],"            \
    "\"chap\":{\"username\":\"we\",\"passwordRef\":{\"secret\":\"san\"}" more "}}}"

static void secrets(struct world *w, const char *text)
{
    json_t *j = json_loads(text, 0, NULL);

    st_secrets(w->h, "iscsitargets", "san", j);
    json_decref(j);
}

static bool recorded(const struct world *w, const char *line)
{
    char *cmd = mem_printf("grep -qx -e '%s' %s/etc/iscsi/nodes/" IQN "/10.0.1.1,3260,1/default",
                           line, w->dir);
    bool yes = system(cmd) == 0;

    free(cmd);
    return yes;
}

static unsigned record_mode(const struct world *w)
{
    char *path = mem_printf("%s/etc/iscsi/nodes/" IQN "/10.0.1.1,3260,1/default", w->dir);
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    free(path);
    return st.st_mode & 07777;
}

static void test_chap_one_way(void **state)
{
    struct world *w = *state;
    struct answer a;

    secrets(w, "{\"spec.chap.passwordRef\":\"geheim 1\"}");
    apply(w, "iscsitargets", "san", CHAP_TARGET(""), false, &a);
    assert_string_equal(a.reason, "Idle");
    json_decref(a.detail);
    apply(w, "luns", "l1", lun_pinned, false, &a);
    assert_int_equal(a.state, ST_READY);
    json_decref(a.detail);
    assert_true(recorded(w, "node.session.auth.authmethod = CHAP"));
    assert_true(recorded(w, "node.session.auth.username = we"));
    assert_true(recorded(w, "node.session.auth.password = geheim 1"));
    assert_false(recorded(w, "node.session.auth.username_in = .*"));
    assert_int_equal(record_mode(w), 0600);
    assert_false(called(w, "geheim")); /* never an argument */
}

static void test_chap_mutual_and_changed(void **state)
{
    static const char mutual[] =
        CHAP_TARGET(",\"mutualUsername\":\"they\",\"mutualPasswordRef\":{\"secret\":\"san\"}");
    struct world *w = *state;
    struct answer a;

    secrets(w, "{\"spec.chap.passwordRef\":\"geheim 1\",\"spec.chap.mutualPasswordRef\":\"2\"}");
    apply(w, "iscsitargets", "san", mutual, false, &a);
    json_decref(a.detail);
    apply(w, "luns", "l1", lun_pinned, false, &a);
    json_decref(a.detail);
    assert_true(recorded(w, "node.session.auth.username_in = they"));
    assert_true(recorded(w, "node.session.auth.password_in = 2"));
    secrets(w, "{\"spec.chap.passwordRef\":\"neu\",\"spec.chap.mutualPasswordRef\":\"2\"}");
    apply(w, "iscsitargets", "san", mutual, false, &a);
    json_decref(a.detail);
    assert_true(recorded(w, "node.session.auth.password = neu"));
    assert_int_equal(record_mode(w), 0600);
    apply(w, "iscsitargets", "san", target, false, &a); /* CHAP is gone again */
    json_decref(a.detail);
    assert_true(recorded(w, "node.session.auth.authmethod = None"));
    assert_false(recorded(w, "node.session.auth.password.*"));
}

static void test_chap_without_secrets(void **state)
{
    struct world *w = *state;
    struct answer a;

    apply(w, "iscsitargets", "san", CHAP_TARGET(""), false, &a);
    assert_string_equal(a.reason, "SecretsMissing");
    json_decref(a.detail);
    apply(w, "luns", "l1", lun_pinned, false, &a);
    assert_int_equal(a.state, ST_NOT_READY);
    assert_string_equal(a.reason, "SecretsMissing");
    json_decref(a.detail);
    assert_false(called(w, "--login")); /* a login without them would only fail */
    secrets(w, "{\"spec.chap.passwordRef\":\"geheim 1\"}");
    apply(w, "luns", "l1", lun_pinned, false, &a);
    assert_int_equal(a.state, ST_READY);
    json_decref(a.detail);
}

/* A record that lost its secrets would end what works at the next login. */
static void test_chap_record_kept_without_secrets(void **state)
{
    struct world *w = *state;
    struct answer a;
    char *cmd = mem_printf("mkdir -p %s/etc/iscsi/nodes/" IQN "/10.0.1.1,3260,1; printf '# BEGIN "
                           "RECORD\\nnode.session.auth.password = old\\n# END RECORD\\n' "
                           ">%s/etc/iscsi/nodes/" IQN "/10.0.1.1,3260,1/default",
                           w->dir, w->dir);

    assert_int_equal(system(cmd), 0);
    free(cmd);
    touch(w, "in1", "");
    touch(w, "in2", "");
    apply(w, "iscsitargets", "san", CHAP_TARGET(""), false, &a);
    assert_string_equal(a.reason, "LoggedIn");
    json_decref(a.detail);
    assert_true(recorded(w, "node.session.auth.password = old"));
}

/* --- groups --- */

static void test_group_under_its_lock(void **state)
{
    struct world *w = *state;
    struct answer a;

    make_lun(w, &a);
    assert_int_equal(a.state, ST_READY);
    apply(w, "volumegroups", "vg0", group, false, &a);
    assert_true(a.lock_needed);
    assert_false(called(w, "vgcreate"));
    json_decref(a.detail);
    apply(w, "volumegroups", "vg0", group, true, &a);
    assert_int_equal(a.state, ST_READY);
    assert_string_equal(jget_str(a.detail, "uuid", ""), "u1");
    assert_true(called(w, "vgcreate.* vg0 /dev/mapper/" WWID));
    json_decref(a.detail);
}

static void test_foreign_data(void **state)
{
    struct world *w = *state;
    struct answer a;

    touch(w, "sigs",
          "{\"signatures\":[{\"device\":\"x\",\"offset\":\"0x438\",\"type\":\"ext4\",\"uuid\":null,"
          "\"label\":\"mail\"}]}");
    make_lun(w, &a);
    apply(w, "volumegroups", "vg0", group, true, &a);
    assert_int_equal(a.state, ST_NOT_READY);
    assert_non_null(strstr(a.message, "ext4"));
    assert_false(called(w, "vgcreate"));
    json_decref(a.detail);
}

static void test_data_without_signature(void **state)
{
    struct world *w = *state;
    struct answer a;

    script(w, "dd", "head -c 1048575 /dev/zero; printf x");
    make_lun(w, &a);
    apply(w, "volumegroups", "vg0", group, true, &a);
    assert_int_equal(a.state, ST_NOT_READY);
    assert_non_null(strstr(a.message, "1048575"));
    assert_false(called(w, "vgcreate"));
    json_decref(a.detail);
}

static void test_edges_unreadable(void **state)
{
    struct world *w = *state;
    struct answer a;

    script(w, "dd", "exit 1");
    make_lun(w, &a);
    apply(w, "volumegroups", "vg0", group, true, &a);
    assert_int_not_equal(a.state, ST_READY);
    assert_false(called(w, "vgcreate"));
    json_decref(a.detail);
}

static void test_lvm_cannot_look(void **state)
{
    struct world *w = *state;
    struct answer a;

    make_lun(w, &a);
    script(w, "lvm", "[ $1 = pvs ] && exit 5; echo '{\"report\":[{\"vg\":[]}]}'");
    apply(w, "volumegroups", "vg0", group, true, &a);
    assert_int_equal(a.state, ST_UNKNOWN);
    assert_false(called(w, "vgcreate"));
    json_decref(a.detail);
}

/* --- LVM's configuration --- */

static bool conf_has(const struct world *w, const char *line)
{
    char *cmd = mem_printf("grep -qF -e '%s' %s/etc/lvm/lvmlocal.conf 2>/dev/null", line, w->dir);
    bool yes = system(cmd) == 0;

    free(cmd);
    return yes;
}

/* A group of Picket's, one of the host's own, and what is in lvmlocal.conf. */
static void conf_setup(struct world *w, const char *text)
{
    char *dir = mem_printf("mkdir -p %s/etc/lvm", w->dir);
    struct answer a;

    assert_int_equal(system(dir), 0);
    free(dir);
    script(w, "lvm",
           "case \"$1\" in\n"
           "vgs) g() { printf "
           "'{\"vg_uuid\":\"%s\",\"vg_name\":\"%s\",\"vg_size\":\"104857600\",\"vg_free\":\"0\","
           "\"vg_extent_size\":\"4194304\",\"vg_attr\":\"wz--n-\",\"pv_count\":\"1\","
           "\"vg_missing_pv_count\":\"0\"}' $1 $2; }\n"
           "  printf '{\"report\":[{\"vg\":['; g u1 vg0; printf ,; g u2 root; echo ']}]}';;\n"
           "pvs) echo "
           "'{\"report\":[{\"pv\":[{\"pv_uuid\":\"p1\",\"pv_name\":\"/dev/mapper/" WWID
           "\",\"vg_name\":\"vg0\",\"vg_uuid\":\"u1\",\"pv_size\":\"104857600\",\"pv_free\":\"0\","
           "\"dev_size\":\"104857600\",\"pv_missing\":\"\",\"pv_duplicate\":\"\",\"pv_in_use\":"
           "\"used\"}]}]}';;\n"
           "esac");
    if (text != NULL) {
        touch(w, "etc/lvm/lvmlocal.conf", text);
    }
    make_lun(w, &a);
}

static void test_lvm_conf_written(void **state)
{
    struct world *w = *state;
    struct answer a;

    conf_setup(w, "# shipped\nlocal {\n\t# host_id = 0\n}\n");
    apply(w, "volumegroups", "vg0", group, false, &a);
    assert_string_equal(a.reason, "Ready");
    json_decref(a.detail);
    assert_true(conf_has(w, "# shipped")); /* not before every object is known */
    st_host_synced(w->h);
    apply(w, "volumegroups", "vg0", group, false, &a);
    assert_string_equal(a.reason, "Ready");
    json_decref(a.detail);
    assert_true(conf_has(w, " volume_list = [ \"root\" ]"));
    assert_true(conf_has(w, "auto_activation_volume_list = [ \"root\" ]"));
}

static void test_lvm_conf_changed_by_hand(void **state)
{
    struct world *w = *state;
    struct answer a;
    char *cmd =
        mem_printf("sed -i 's/\"root\"/\"root\", \"vg0\"/' %s/etc/lvm/lvmlocal.conf", w->dir);

    conf_setup(w, NULL);
    st_host_synced(w->h);
    apply(w, "volumegroups", "vg0", group, false, &a);
    json_decref(a.detail);
    assert_int_equal(system(cmd), 0);
    free(cmd);
    apply(w, "volumegroups", "vg0", group, false, &a);
    assert_string_equal(a.reason, "LvmConfigDrift");
    assert_non_null(strstr(a.message, "changed by somebody"));
    json_decref(a.detail);
    assert_false(conf_has(w, "\"vg0\""));
    apply(w, "volumegroups", "vg0", group, false, &a);
    assert_string_equal(a.reason, "Ready");
    json_decref(a.detail);
}

static void test_lvm_conf_of_others(void **state)
{
    struct world *w = *state;
    struct answer a;

    conf_setup(w, "local {\n  system_id = \"h1\"\n}\n");
    st_host_synced(w->h);
    apply(w, "volumegroups", "vg0", group, false, &a);
    assert_int_equal(a.state, ST_READY);
    assert_string_equal(a.reason, "LvmConfigDrift");
    assert_non_null(strstr(a.message, "not Picket's"));
    json_decref(a.detail);
    assert_true(conf_has(w, "system_id = \"h1\""));
    assert_false(conf_has(w, "volume_list"));
}

/* --- what hangs --- */

static void test_a_stuck_command_blocks_nobody(void **state)
{
    struct world *w = *state;
    struct answer stuck, other;

    make_lun(w, &other);
    script(w, "lvm", "exec sleep 100");
    (void)begin(w, "volumegroups", "vg0", group, false, 3000, &stuck);
    apply(w, "luns", "l1", lun_pinned, false, &other);
    assert_int_equal(other.state, ST_READY);
    assert_int_equal(stuck.calls, 0);
    while (stuck.calls == 0) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_int_equal(stuck.state, ST_UNKNOWN);
    assert_string_equal(stuck.reason, "CannotLook");
    json_decref(stuck.detail);
    json_decref(other.detail);
}

static void test_abort(void **state)
{
    struct world *w = *state;
    struct answer a;
    struct st_op *op;

    script(w, "iscsiadm", "exec sleep 100");
    op = begin(w, "iscsitargets", "san", target, false, 60000, &a);
    (void)uv_run(&w->loop, UV_RUN_ONCE);
    st_op_abort(op);
    while (a.calls == 0) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_int_equal(a.state, ST_UNKNOWN);
    json_decref(a.detail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lun_from_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_portal_is_dark, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_luns_of_one_target, setup, teardown),
        cmocka_unit_test_setup_teardown(test_session_exists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lun_without_its_target, setup, teardown),
        cmocka_unit_test_setup_teardown(test_initiator_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_initiator_name_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chap_one_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chap_mutual_and_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chap_without_secrets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chap_record_kept_without_secrets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lvm_conf_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lvm_conf_changed_by_hand, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lvm_conf_of_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_programs_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_under_its_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_data_without_signature, setup, teardown),
        cmocka_unit_test_setup_teardown(test_edges_unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lvm_cannot_look, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_stuck_command_blocks_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
