/* ScsiReservation against a real target: `tgtd -f` with two portals, in a network namespace of this
 * test.  The victim is a pair of sessions of this process, registered with a host's key, that
 * write. Needs root and the package tgt; says so and skips without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "base/clock.h"
#include "base/str.h"
#include "fence/exec_uv.h"
#include "fence/pr.h"

#define IQN "iqn.2026-01.org.picket.test:disk"
#define PORTALS "127.0.0.1:3260,127.0.0.2:3260"
#define VICTIM 0x504b000000000002U
#define VICTIM_HEX "504b000000000002"
#define OWN_HEX "504b000000000001"
#define GENEROUS_MS 60000U

static char bin[400], dir[64], why_not[200];
static pid_t tgtd_pid;

/* --- the target ----------------------------------------------------------------------------------
 */

static int run_cmd(const char *const *argv)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) != NULL) {
            (void)execv(argv[0], (char *const *)(uintptr_t)argv);
        }
        _exit(126);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void tgtd_start(void)
{
    char file[128];
    const char *target[] = { "/usr/sbin/tgtadm", "--lld", "iscsi", "--op", "new", "--mode",
                             "target",           "--tid", "1",     "-T",   IQN,   NULL };
    const char *lun[] = { "/usr/sbin/tgtadm",
                          "--lld",
                          "iscsi",
                          "--op",
                          "new",
                          "--mode",
                          "logicalunit",
                          "--tid",
                          "1",
                          "--lun",
                          "1",
                          "-b",
                          file,
                          NULL };
    const char *bind[] = { "/usr/sbin/tgtadm", "--lld", "iscsi", "--op", "bind", "--mode",
                           "target",           "--tid", "1",     "-I",   "ALL",  NULL };
    int tries = 0;

    (void)snprintf(file, sizeof(file), "%s/disk", dir);
    tgtd_pid = fork();
    if (tgtd_pid == 0) {
        char log[128];

        (void)snprintf(log, sizeof(log), "%s/log", dir);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen(log, "a", stderr) != NULL && freopen("/dev/null", "w", stdout) != NULL) {
            (void)execl("/usr/sbin/tgtd", "tgtd", "-f", "--iscsi",
                        "portal=127.0.0.1:3260,portal=127.0.0.2:3260", (char *)NULL);
        }
        _exit(126);
    }
    assert_true(tgtd_pid > 0);
    while (run_cmd(target) != 0) {
        assert_true(++tries < 600);
        (void)poll(NULL, 0, 50);
    }
    assert_int_equal(run_cmd(lun), 0);
    assert_int_equal(run_cmd(bind), 0);
}

static void tgtd_stop(void)
{
    if (tgtd_pid > 0) {
        (void)kill(tgtd_pid, SIGKILL);
        (void)waitpid(tgtd_pid, NULL, 0);
        tgtd_pid = 0;
    }
}

/* A namespace whose only interface is a loopback: nothing else hears of the target. */
static const char *own_network(void)
{
    struct ifreq ifr = { .ifr_flags = IFF_UP };
    int fd;

    if (geteuid() != 0) {
        return "not root: no network namespace and no tgtd";
    }
    if (access("/usr/sbin/tgtd", X_OK) != 0) {
        return "/usr/sbin/tgtd is not installed (package tgt)";
    }
    if (unshare(CLONE_NEWNET) != 0) {
        return "network namespaces are not permitted here";
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), "lo");
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) != 0) {
        return "the loopback of the namespace cannot be brought up";
    }
    (void)close(fd);
    return NULL;
}

static int group_setup(void **state)
{
    ssize_t n = readlink("/proc/self/exe", bin, sizeof(bin) - 1);
    const char *why = own_network();

    (void)state;
    assert_true(n > 0);
    *strrchr(bin, '/') = '\0';
    *strrchr(bin, '/') = '\0';
    if (why != NULL) {
        (void)str_copy(why_not, sizeof(why_not), why);
    }
    return 0;
}

static int setup(void **state)
{
    char path[128];
    FILE *f;

    (void)state;
    if (why_not[0] != '\0') {
        return 0;
    }
    (void)snprintf(dir, sizeof(dir), "/tmp/fence-tgt-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/ipc", dir);
    assert_int_equal(setenv("TGT_IPC_SOCKET", path, 1), 0);
    (void)snprintf(path, sizeof(path), "%s/disk", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), 8 << 20), 0);
    assert_int_equal(fclose(f), 0);
    tgtd_start();
    return 0;
}

static int teardown(void **state)
{
    static const char *const files[] = { "disk", "log", "ipc.0", "ipc.0.lock" };
    char path[128];

    (void)state;
    tgtd_stop();
    for (size_t i = 0; why_not[0] == '\0' && i < 4; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
    return 0;
}

static void need_target(void)
{
    if (why_not[0] != '\0') {
        print_message("skipped: %s\n", why_not);
        skip();
    }
}

/* --- the victim ----------------------------------------------------------------------------------
 */

struct victim {
    struct iscsi_context *path[2];
};

static int out(struct iscsi_context *c, int action, uint64_t key, uint64_t service_key)
{
    struct scsi_persistent_reserve_out_basic p = { .reservation_key = key,
                                                   .service_action_reservation_key = service_key };
    struct scsi_task *t = iscsi_persistent_reserve_out_sync(
        c, 1, action, SCSI_PERSISTENT_RESERVE_SCOPE_LU, PR_TYPE_WRITE_ALL, &p);
    int status = t == NULL ? -1 : t->status;

    scsi_free_scsi_task(t);
    return status;
}

static int write_block(struct iscsi_context *c)
{
    unsigned char block[512] = "a guest's data";
    int status = SCSI_STATUS_CHECK_CONDITION;

    for (int i = 0; i < 8 && status == SCSI_STATUS_CHECK_CONDITION; i++) { /* unit attentions */
        struct scsi_task *t = iscsi_write10_sync(c, 1, 5, block, sizeof(block), 512, 0, 0, 0, 0, 0);

        status = t == NULL ? -1 : t->status;
        scsi_free_scsi_task(t);
    }
    return status;
}

/* A host: registered on every path, as its agent does. */
static struct victim victim_new(const char *initiator, uint64_t key)
{
    static const char *const portals[] = { "127.0.0.1:3260", "127.0.0.2:3260" };
    struct victim v;

    for (size_t i = 0; i < 2; i++) {
        v.path[i] = iscsi_create_context(initiator);
        assert_non_null(v.path[i]);
        iscsi_set_noautoreconnect(v.path[i], 1);
        assert_int_equal(iscsi_set_targetname(v.path[i], IQN), 0);
        assert_int_equal(iscsi_set_session_type(v.path[i], ISCSI_SESSION_NORMAL), 0);
        assert_int_equal(iscsi_set_isid_random(v.path[i], 77, (uint32_t)i), 0);
        assert_int_equal(iscsi_full_connect_sync(v.path[i], portals[i], 1), 0);
        assert_int_equal(
            out(v.path[i], SCSI_PERSISTENT_RESERVE_REGISTER_AND_IGNORE_EXISTING_KEY, 0, key), 0);
        assert_int_equal(write_block(v.path[i]), SCSI_STATUS_GOOD);
    }
    return v;
}

static void victim_done(struct victim *v)
{
    for (size_t i = 0; i < 2; i++) {
        (void)iscsi_logout_sync(v->path[i]);
        (void)iscsi_destroy_context(v->path[i]);
    }
}

/* --- picket-fence ------------------------------------------------------------------------------
 */

static void on_answer(void *ctx, const struct fence_answer *ans)
{
    *(struct fence_answer *)ctx = *ans;
}

static struct fence_answer fence(enum fence_action action, const char *key, const char *value)
{
    const char *params[][2] = { { "initiator", "iqn.2026-01.org.picket.test:node1" },
                                { "own_key", OWN_HEX },
                                { "key", VICTIM_HEX },
                                { "target0", IQN " " PORTALS },
                                { "lun0", "0:1" },
                                { key, value } };
    struct fence_op op = { .type = FENCE_TYPE_SCSI_RESERVATION, .action = action };
    struct fence_answer ans = { 0 };
    struct fence_exec *x;
    char helper[500];
    struct err err;
    uv_loop_t loop;

    op.timeout_ms = GENEROUS_MS;
    op.deadline_boottime_ms = clock_now_ms() + GENEROUS_MS;
    (void)str_copy(op.host, sizeof(op.host), "node2");
    for (size_t i = 0; i < 6 && params[i][0] != NULL; i++) {
        assert_int_equal(fence_op_set(&op, params[i][0], params[i][1], &err), 0);
    }
    if (key == NULL || !str_eq(key, "lab")) {
        assert_int_equal(fence_op_set(&op, "lab", "1", &err), 0);
    }
    (void)snprintf(helper, sizeof(helper), "%s/picket-fence", bin);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(fence_exec_start(&loop, helper, &op, 0, on_answer, &ans, &x, &err), 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    print_message("%s: %s, power %s, %s\n", fence_action_name(action),
                  fence_outcome_name(ans.result), fence_power_name(ans.power), ans.detail);
    return ans;
}

/* --- tests
 * ---------------------------------------------------------------------------------------- */

static void a_host_is_cut_off_from_its_disk(void **state)
{
    struct victim v, other;
    struct fence_answer a;

    (void)state;
    need_target();
    v = victim_new("iqn.2026-01.org.picket.test:node2", VICTIM);
    other = victim_new("iqn.2026-01.org.picket.test:node3", 0x504b000000000003U);
    a = fence(FENCE_ACTION_PROBE, NULL, NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_non_null(strstr(a.detail, "registered on 1"));
    a = fence(FENCE_ACTION_OFF, NULL, NULL);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_non_null(strstr(a.detail, "LUN reset")); /* tgtd refuses PREEMPT AND ABORT */
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(write_block(v.path[i]), SCSI_STATUS_RESERVATION_CONFLICT);
        assert_int_equal(write_block(other.path[i]), SCSI_STATUS_GOOD);
    }
    assert_int_equal(fence(FENCE_ACTION_STATUS, NULL, NULL).power, FENCE_POWER_OFF);
    /* again, as after an executor that died in the middle */
    assert_int_equal(fence(FENCE_ACTION_OFF, NULL, NULL).result, FENCE_SUCCEEDED);
    assert_int_equal(write_block(other.path[0]), SCSI_STATUS_GOOD);
    victim_done(&v);
    victim_done(&other);
}

static void a_declared_drain_time_instead_of_an_abort(void **state)
{
    struct victim v;
    struct fence_answer a;

    (void)state;
    need_target();
    v = victim_new("iqn.2026-01.org.picket.test:node2", VICTIM);
    a = fence(FENCE_ACTION_OFF, "drain_ms", "100");
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_non_null(strstr(a.detail, "drained for 100 ms (lab)"));
    assert_int_equal(write_block(v.path[1]), SCSI_STATUS_RESERVATION_CONFLICT);
    victim_done(&v);
}

/* S20: a target that forgets reservations must not be believed outside a lab, and in a lab one sees
 * that it has forgotten. */
static void a_target_that_forgets(void **state)
{
    struct fence_answer a;

    (void)state;
    need_target();
    a = fence(FENCE_ACTION_OFF, "lab", "0");
    assert_int_equal(a.result, FENCE_FAILED);
    assert_non_null(strstr(a.detail, "PTPL_C"));
    assert_int_equal(fence(FENCE_ACTION_OFF, NULL, NULL).result, FENCE_SUCCEEDED);
    assert_int_equal(fence(FENCE_ACTION_STATUS, NULL, NULL).power, FENCE_POWER_OFF);
    tgtd_stop();
    a = fence(FENCE_ACTION_OFF, NULL, NULL);
    assert_int_equal(a.result, FENCE_FAILED); /* nobody answers: nothing was taken */
    tgtd_start();
    assert_int_equal(fence(FENCE_ACTION_STATUS, NULL, NULL).power, FENCE_POWER_ON);
}

static void the_wrong_disk_is_not_touched(void **state)
{
    struct fence_answer a;

    (void)state;
    need_target();
    a = fence(FENCE_ACTION_OFF, "lun1", "0:1:3600aabbccddeeff");
    assert_int_equal(a.result, FENCE_FAILED);
    assert_non_null(strstr(a.detail, "renumbered"));
    a = fence(FENCE_ACTION_PROBE, "lun1", "0:1:360000000000000000e00000000010001");
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    a = fence(FENCE_ACTION_OFF, "lun1", "0:9"); /* no such unit */
    assert_int_equal(a.result, FENCE_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_host_is_cut_off_from_its_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(a_declared_drain_time_instead_of_an_abort, setup, teardown),
        cmocka_unit_test_setup_teardown(a_target_that_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(the_wrong_disk_is_not_touched, setup, teardown),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
