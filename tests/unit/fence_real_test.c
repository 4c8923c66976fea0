/* picket-fence with Debian's fence agents against real counterparts: fence_ipmilan and OpenIPMI's
 * ipmi_sim, fence_redfish and a small service (tests/fence/redfish.py), fence_apc_snmp and
 * picket-pdu.  Needs the packages fence-agents, ipmitool, openipmi (`make deps`). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "fence/exec_uv.h"

#define GENEROUS_MS 100000U /* for what succeeds in its own time */
#define STUCK_MS 10000U     /* for what never does; the first steps have to fit */
#define IPMI_SECRET "1pmi-Secret"
#define REDFISH_SECRET "r3dfish-Secret"

struct rig {
    char bin[400], dir[64], address[64];
    unsigned port;
    pid_t pid; /* of the counterpart */
    int fd;    /* what it prints, or a socket that never answers */
};

/* --- the rig
 * ------------------------------------------------------------------------------------------ */

static void path_of(const struct rig *r, char dst[128], const char *name)
{
    (void)snprintf(dst, 128, "%s/%s", r->dir, name);
}

static void put_file(const struct rig *r, const char *name, const char *text, mode_t mode)
{
    char path[128];
    FILE *f;

    path_of(r, path, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static bool file_has(const struct rig *r, const char *name, const char *part)
{
    char path[128], text[16384];
    FILE *f;
    size_t n;

    path_of(r, path, name);
    f = fopen(path, "r");
    if (f == NULL) {
        return false;
    }
    n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    (void)fclose(f);
    return strstr(text, part) != NULL;
}

static void read_file(const struct rig *r, const char *name, char *dst, size_t size)
{
    char path[128];
    FILE *f;

    path_of(r, path, name);
    f = fopen(path, "re");
    assert_non_null(f);
    assert_non_null(fgets(dst, (int)size, f));
    (void)fclose(f);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    char self[400] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    assert_non_null(r);
    assert_true(n > 0);
    *strrchr(self, '/') = '\0'; /* .../unit */
    *strrchr(self, '/') = '\0';
    assert_true(str_copy(r->bin, sizeof(r->bin), self));
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/fence-real-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->fd = -1;
    *state = r;
    return 0;
}

static int remove_dir(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        char sub[400];

        if (e->d_name[0] == '.') {
            continue;
        }
        (void)snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
        if (unlink(sub) != 0) {
            (void)remove_dir(sub);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return rmdir(path);
}

static int teardown(void **state)
{
    struct rig *r = *state;

    if (r->pid > 0) {
        (void)kill(r->pid, SIGKILL);
        (void)waitpid(r->pid, NULL, 0);
    }
    if (r->fd >= 0) {
        (void)close(r->fd);
    }
    (void)remove_dir(r->dir);
    free(r);
    return 0;
}

/* A UDP socket on a port of its own. */
static int udp_socket(unsigned *ret_port)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    *ret_port = ntohs(sin.sin_port);
    return fd;
}

static void use_port(struct rig *r, unsigned port)
{
    r->port = port;
    (void)snprintf(r->address, sizeof(r->address), "127.0.0.1:%u", port);
}

/* Its output (stdout and stderr) comes to r->fd. */
static void start(struct rig *r, const char *const *argv)
{
    int out[2];

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        int null = open("/dev/null", O_RDONLY);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(out[1], STDERR_FILENO);
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        (void)fprintf(stderr, "cannot start %s: run `make deps`\n", argv[0]);
        _exit(127);
    }
    (void)close(out[1]);
    r->fd = out[0];
}

/* What it printed, up to and with `word`. */
static void wait_word(const struct rig *r, const char *word, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    while (strstr(text, word) == NULL) {
        struct pollfd pfd = { .fd = r->fd, .events = POLLIN };
        ssize_t n;

        assert_true(poll(&pfd, 1, (int)GENEROUS_MS) > 0);
        n = read(r->fd, text + len, size - 1 - len);
        if (n <= 0) {
            fail_msg("it ended, and had said: %s", text);
        }
        len += (size_t)n;
        text[len] = '\0';
    }
}

static void set(struct fence_op *op, const char *key, const char *value)
{
    struct err err;

    assert_int_equal(fence_op_set(op, key, value, &err), 0);
}

static struct fence_op new_op(const struct rig *r, enum fence_type type, enum fence_action action)
{
    struct fence_op op;

    memset(&op, 0, sizeof(op));
    op.type = type;
    op.action = action;
    op.timeout_ms = GENEROUS_MS;
    op.deadline_boottime_ms = clock_now_ms() + 2 * (uint64_t)GENEROUS_MS;
    (void)str_copy(op.host, sizeof(op.host), "node1");
    set(&op, "address", r->address);
    return op;
}

static void on_answer(void *ctx, const struct fence_answer *ans)
{
    *(struct fence_answer *)ctx = *ans;
}

static struct fence_answer run_op(const struct rig *r, struct fence_op *op)
{
    struct fence_answer ans = { .n_outlets = 999 };
    struct fence_exec *x = NULL;
    char bin[512];
    uv_loop_t loop;
    struct err err;

    (void)snprintf(bin, sizeof(bin), "%s/picket-fence", r->bin);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(fence_exec_start(&loop, bin, op, 0, on_answer, &ans, &x, &err), 0);
    fence_op_done(op);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_not_equal(ans.n_outlets, 999); /* the callback came */
    return ans;
}

static void expect(const struct fence_answer *a, enum fence_outcome result, enum fence_power power)
{
    if (a->result != result || a->power != power) {
        fail_msg("%s, %s: %s", fence_outcome_name(a->result), fence_power_name(a->power),
                 a->detail);
    }
}

/* --- Ipmi
 * --------------------------------------------------------------------------------------------- */

static struct fence_answer ipmi(const struct rig *r, enum fence_action action, const char *password,
                                uint64_t timeout_ms)
{
    struct fence_op op = new_op(r, FENCE_TYPE_IPMI, action);

    op.timeout_ms = timeout_ms;
    set(&op, "username", "admin");
    set(&op, "password", password);
    set(&op, "cipher", "3"); /* ipmi_sim cannot be asked for its suites */
    return run_op(r, &op);
}

/* ipmi_sim calls it as: PROGRAM 0x20 get|set|check PARAMETER [VALUE] */
static const char chassis[] =
    "#!/bin/sh\n"
    "cd ${0%/*} && echo \"$*\" >>calls\n"
    "while [ $# -gt 0 ] && [ $1 != get ] && [ $1 != set ]; do shift; done\n"
    "case \"$1 $2 $3\" in\n"
    "get*) if [ -e off ]; then echo power:0; else echo power:1; fi;;\n"
    "set*power*0) [ -e lie ] || touch off;;\n"
    "set*power*1) rm -f off;;\n"
    "esac\n";

static void write_bmc(const struct rig *r)
{
    char conf[2048], state_dir[128];

    (void)snprintf(conf, sizeof(conf),
                   "name \"node1\"\nset_working_mc 0x20\n"
                   "  startlan 1\n    addr 127.0.0.1 %u\n    priv_limit admin\n"
                   "    allowed_auths_callback none md2 md5 straight\n"
                   "    allowed_auths_user none md2 md5 straight\n"
                   "    allowed_auths_operator none md2 md5 straight\n"
                   "    allowed_auths_admin none md2 md5 straight\n"
                   "    guid a123456789abcdefa123456789abcdef\n  endlan\n"
                   "  chassis_control \"%s/chassis\"\n  startnow false\n"
                   "  user 1 true \"\" \"\" user 10 none md2 md5 straight\n"
                   "  user 2 true \"admin\" \"" IPMI_SECRET "\" admin 10 none md2 md5 straight\n",
                   r->port, r->dir);
    put_file(r, "lan.conf", conf, 0600);
    put_file(r, "bmc.emu",
             "mc_setbmc 0x20\n"
             "mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n"
             "sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n",
             0600);
    put_file(r, "chassis", chassis, 0700);
    path_of(r, state_dir, "state");
    assert_int_equal(mkdir(state_dir, 0700), 0);
}

static void start_bmc(struct rig *r)
{
    char conf[128], emu[128], state_dir[128];
    const char *const argv[] = { "ipmi_sim", "-n", "-c", conf, "-f", emu, "-s", state_dir, NULL };
    struct fence_answer a = { 0 };
    unsigned port = 0;

    (void)close(udp_socket(&port));
    use_port(r, port);
    write_bmc(r);
    path_of(r, conf, "lan.conf");
    path_of(r, emu, "bmc.emu");
    path_of(r, state_dir, "state");
    start(r, argv);
    for (int i = 0; i < 20 && a.result != FENCE_SUCCEEDED; i++) {
        assert_int_equal(waitpid(r->pid, NULL, WNOHANG), 0);
        a = ipmi(r, FENCE_ACTION_STATUS, IPMI_SECRET, GENEROUS_MS);
        (void)poll(NULL, 0, 100);
    }
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
}

static void ipmi_off_and_on(void **state)
{
    struct rig *r = *state;
    struct fence_answer a;

    start_bmc(r);
    a = ipmi(r, FENCE_ACTION_OFF, IPMI_SECRET, GENEROUS_MS);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_OFF);
    assert_true(file_has(r, "calls", "set power 0"));
    a = ipmi(r, FENCE_ACTION_STATUS, IPMI_SECRET, GENEROUS_MS);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_OFF);
    a = ipmi(r, FENCE_ACTION_OFF, IPMI_SECRET, GENEROUS_MS);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_OFF);
    assert_non_null(strstr(a.detail, "already"));
    a = ipmi(r, FENCE_ACTION_ON, IPMI_SECRET, GENEROUS_MS);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
}

static void ipmi_wrong_password(void **state)
{
    struct rig *r = *state;
    struct fence_answer a;

    start_bmc(r);
    a = ipmi(r, FENCE_ACTION_STATUS, "wr0ng-Secret", GENEROUS_MS);
    expect(&a, FENCE_UNKNOWN, FENCE_POWER_UNKNOWN);
    assert_null(strstr(a.detail, "wr0ng-Secret"));
    a = ipmi(r, FENCE_ACTION_OFF, "wr0ng-Secret", 4000);
    assert_int_not_equal(a.result, FENCE_SUCCEEDED);
    assert_false(file_has(r, "calls", "set power"));
    a = ipmi(r, FENCE_ACTION_STATUS, IPMI_SECRET, GENEROUS_MS);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
}

/* It says that it is done, and the power stays. */
static void ipmi_says_yes_and_stays_on(void **state)
{
    struct rig *r = *state;
    struct fence_answer a;

    start_bmc(r);
    put_file(r, "lie", "", 0600);
    a = ipmi(r, FENCE_ACTION_OFF, IPMI_SECRET, STUCK_MS);
    assert_int_equal(a.result, FENCE_UNKNOWN);
    assert_int_not_equal(a.power, FENCE_POWER_OFF);
    assert_true(file_has(r, "calls", "set power 0"));
}

static void ipmi_silent(void **state)
{
    struct rig *r = *state;
    struct fence_answer a;
    unsigned port = 0;

    r->fd = udp_socket(&port); /* takes everything, answers nothing */
    use_port(r, port);
    a = ipmi(r, FENCE_ACTION_STATUS, IPMI_SECRET, 4000);
    expect(&a, FENCE_UNKNOWN, FENCE_POWER_UNKNOWN);
    a = ipmi(r, FENCE_ACTION_OFF, IPMI_SECRET, 4000);
    assert_int_not_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_UNKNOWN);
    assert_null(strstr(a.detail, IPMI_SECRET));
}

/* --- Redfish
 * ------------------------------------------------------------------------------------------ */

static void start_redfish(struct rig *r)
{
    char text[512];
    const char *const argv[] = { "python3", "tests/fence/redfish.py", r->dir, NULL };
    uint64_t port = 0;

    start(r, argv); /* tests are run from the top of the tree */
    wait_word(r, "\n", text, sizeof(text));
    text[strcspn(text, "\n")] = '\0';
    if (!str_parse_u64(text, &port)) {
        fail_msg("redfish.py: %s", text);
    }
    use_port(r, (unsigned)port);
}

static struct fence_answer redfish(const struct rig *r, enum fence_action action,
                                   const char *password, bool insecure, uint64_t timeout_ms)
{
    struct fence_op op = new_op(r, FENCE_TYPE_REDFISH, action);

    op.timeout_ms = timeout_ms;
    set(&op, "username", "admin");
    set(&op, "password", password);
    if (insecure) {
        set(&op, "insecure", "1");
    }
    return run_op(r, &op);
}

static void redfish_off_and_on(void **state)
{
    struct rig *r = *state;
    struct fence_answer a;

    start_redfish(r);
    a = redfish(r, FENCE_ACTION_STATUS, REDFISH_SECRET, true, GENEROUS_MS);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
    a = redfish(r, FENCE_ACTION_OFF, REDFISH_SECRET, true, GENEROUS_MS);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_OFF);
    assert_true(file_has(r, "calls", "POST /redfish/v1/Systems/1/Reset"));
    a = redfish(r, FENCE_ACTION_ON, REDFISH_SECRET, true, GENEROUS_MS);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
}

static void redfish_wrong_password(void **state)
{
    struct rig *r = *state;
    struct fence_answer a;

    start_redfish(r);
    a = redfish(r, FENCE_ACTION_STATUS, "wr0ng-Secret", true, GENEROUS_MS);
    expect(&a, FENCE_UNKNOWN, FENCE_POWER_UNKNOWN);
    assert_null(strstr(a.detail, "wr0ng-Secret"));
}

/* Its certificate is nobody's: the password is not even sent. */
static void redfish_unknown_certificate(void **state)
{
    struct rig *r = *state;
    struct fence_answer a;

    start_redfish(r);
    a = redfish(r, FENCE_ACTION_STATUS, REDFISH_SECRET, false, GENEROUS_MS);
    expect(&a, FENCE_UNKNOWN, FENCE_POWER_UNKNOWN);
    assert_false(file_has(r, "calls", "GET"));
}

static struct fence_answer redfish_pinned(const struct rig *r, enum fence_action action,
                                          const char *fingerprint)
{
    struct fence_op op = new_op(r, FENCE_TYPE_REDFISH, action);

    op.timeout_ms = GENEROUS_MS;
    set(&op, "username", "admin");
    set(&op, "password", REDFISH_SECRET);
    set(&op, "fingerprint", fingerprint);
    return run_op(r, &op);
}

/* Known by the fingerprint of its certificate: the right card does what it is told, another one
 * hears nothing. */
static void redfish_fingerprint(void **state)
{
    struct rig *r = *state;
    struct fence_answer a;
    char right[200], wrong[200];

    start_redfish(r);
    read_file(r, "fingerprint", right, sizeof(right));
    right[strcspn(right, "\n")] = '\0';
    (void)str_copy(wrong, sizeof(wrong), right);
    wrong[0] = wrong[0] == '0' ? '1' : '0';
    a = redfish_pinned(r, FENCE_ACTION_OFF, wrong);
    expect(&a, FENCE_FAILED, FENCE_POWER_UNKNOWN);
    assert_non_null(strstr(a.detail, "nothing was switched"));
    assert_non_null(strstr(a.detail, "fingerprint"));
    assert_false(file_has(r, "calls", "/"));
    a = redfish_pinned(r, FENCE_ACTION_OFF, "00:11");
    expect(&a, FENCE_FAILED, FENCE_POWER_UNKNOWN);
    a = redfish_pinned(r, FENCE_ACTION_STATUS, right);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
    a = redfish_pinned(r, FENCE_ACTION_OFF, right);
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_OFF);
    assert_true(file_has(r, "calls", "POST /redfish/v1/Systems/1/Reset"));
    use_port(r, 1); /* nobody is there */
    a = redfish_pinned(r, FENCE_ACTION_OFF, right);
    expect(&a, FENCE_FAILED, FENCE_POWER_UNKNOWN);
}

static void redfish_misbehaves(void **state)
{
    static const char *const modes[] = { "lie", "refuse" };
    struct rig *r = *state;
    struct fence_answer a;

    start_redfish(r);
    for (size_t i = 0; i < 2; i++) {
        char path[128];

        put_file(r, modes[i], "", 0600);
        a = redfish(r, FENCE_ACTION_OFF, REDFISH_SECRET, true, STUCK_MS);
        assert_int_equal(a.result, FENCE_UNKNOWN);
        assert_int_not_equal(a.power, FENCE_POWER_OFF);
        path_of(r, path, modes[i]);
        assert_int_equal(unlink(path), 0);
    }
    put_file(r, "silent", "", 0600);
    a = redfish(r, FENCE_ACTION_OFF, REDFISH_SECRET, true, 4000);
    assert_int_not_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_UNKNOWN);
}

/* --- Agent
 * -------------------------------------------------------------------------------------------- */

static struct fence_answer agent(const struct rig *r, enum fence_action action, const char *plug)
{
    struct fence_op op = new_op(r, FENCE_TYPE_AGENT, action);

    set(&op, "program", "fence_apc_snmp");
    set(&op, "param.community", "s3cret-write");
    set(&op, "plugs", plug);
    return run_op(r, &op);
}

static void agent_apc_snmp(void **state)
{
    struct rig *r = *state;
    char bin[512], text[4096];
    const char *const argv[] = { bin,           "--listen",    r->address,     "--outlets",
                                 "node1,node2", "--community", "s3cret-write", NULL };
    struct fence_answer a;
    unsigned port = 0;

    (void)close(udp_socket(&port));
    use_port(r, port);
    (void)snprintf(bin, sizeof(bin), "%s/picket-pdu", r->bin);
    start(r, argv);
    wait_word(r, "msg=started", text, sizeof(text));
    a = agent(r, FENCE_ACTION_STATUS, "2");
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
    a = agent(r, FENCE_ACTION_OFF, "2");
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_OFF);
    a = agent(r, FENCE_ACTION_STATUS, "1");
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
    a = agent(r, FENCE_ACTION_REBOOT, "2");
    expect(&a, FENCE_SUCCEEDED, FENCE_POWER_ON);
    a = agent(r, FENCE_ACTION_STATUS, "9"); /* there is no such outlet */
    expect(&a, FENCE_UNKNOWN, FENCE_POWER_UNKNOWN);
}

/* --- metadata
 * ----------------------------------------------------------------------------------------- */

static int metadata(const struct rig *r, const char *program, char *text, size_t size)
{
    char cmd[600];
    size_t n;
    FILE *p;

    (void)snprintf(cmd, sizeof(cmd), "'%s/picket-fence' --metadata '%s' 2>&1", r->bin, program);
    p = popen(cmd, "r");
    assert_non_null(p);
    n = fread(text, 1, size - 1, p);
    text[n] = '\0';
    return WEXITSTATUS(pclose(p));
}

static void metadata_of_an_agent(void **state)
{
    char text[32768];

    assert_int_equal(metadata(*state, "fence_apc_snmp", text, sizeof(text)), 0);
    assert_non_null(strstr(text, "PARAMETER"));
    assert_non_null(strstr(text, "\ncommunity "));
    assert_non_null(strstr(text, "Set the community string"));
    assert_null(strstr(text, "\nip "));           /* a field of the device */
    assert_null(strstr(text, "\nipaddr "));       /* deprecated */
    assert_null(strstr(text, "\naction "));       /* not the device's */
    assert_null(strstr(text, "password_script")); /* refused */
    assert_int_equal(metadata(*state, "fence_absent", text, sizeof(text)), 1);
    assert_non_null(strstr(text, "package fence-agents"));
    assert_int_equal(metadata(*state, "../bin/sh", text, sizeof(text)), 1);
    assert_non_null(strstr(text, "give the name of a fence agent"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ipmi_off_and_on, setup, teardown),
        cmocka_unit_test_setup_teardown(ipmi_wrong_password, setup, teardown),
        cmocka_unit_test_setup_teardown(ipmi_says_yes_and_stays_on, setup, teardown),
        cmocka_unit_test_setup_teardown(ipmi_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(redfish_off_and_on, setup, teardown),
        cmocka_unit_test_setup_teardown(redfish_wrong_password, setup, teardown),
        cmocka_unit_test_setup_teardown(redfish_unknown_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(redfish_fingerprint, setup, teardown),
        cmocka_unit_test_setup_teardown(redfish_misbehaves, setup, teardown),
        cmocka_unit_test_setup_teardown(agent_apc_snmp, setup, teardown),
        cmocka_unit_test_setup_teardown(metadata_of_an_agent, setup, teardown),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
