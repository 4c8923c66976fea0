/* picket-pdu with a supervisor behind it, switched by picket-fence. */
#include "tests/unit/snmp_rig.h"

/* --- a supervisor behind the PDU
 * ---------------------------------------------------------------------- */

/* One line in, one out; keeps the power of node1 in *on, and ends at "reboot node3". */
static void supervise(int listen_fd)
{
    bool on = true;

    for (;;) {
        int fd = accept(listen_fd, NULL, NULL);
        char line[128] = { 0 };
        const char *reply = "ok\n";
        bool last;

        if (fd < 0 || read(fd, line, sizeof(line) - 1) <= 0) {
            _exit(1);
        }
        last = strcmp(line, "reboot node3\n") == 0;
        if (strcmp(line, "off node1\n") == 0) {
            on = false;
        } else if (strcmp(line, "on node1\n") == 0) {
            on = true;
        } else if (strcmp(line, "status node1\n") == 0) {
            reply = on ? "on\n" : "off\n";
        } else if (strncmp(line, "status ", 7) == 0) {
            reply = "no such outlet\n";
        }
        (void)!write(fd, reply, strlen(reply));
        (void)close(fd);
        if (last) {
            _exit(0);
        }
    }
}

static void control_socket(void **state)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    char dir[] = "/tmp/pdu-test-XXXXXX";
    char path[64];
    const char *const extra[] = { "--control", path, NULL };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct fence_answer a;
    struct pdu p;
    pid_t child;
    int status;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/pdu.sock", dir);
    (void)strncpy(sun.sun_path, path, sizeof(sun.sun_path) - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 8), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        supervise(fd);
    }
    pdu_start(&p, extra);
    assert_int_equal(apc(&p, FENCE_ACTION_STATUS, "node1", "1").power, FENCE_POWER_ON);
    a = apc(&p, FENCE_ACTION_OFF, "node1", "1");
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_OFF);
    assert_int_equal(apc(&p, FENCE_ACTION_ON, "node1", "1").power, FENCE_POWER_ON);
    /* The supervisor does not know it: an error, never a state. */
    a = apc(&p, FENCE_ACTION_OFF, "node3", "1");
    assert_int_equal(a.result, FENCE_FAILED);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    (void)close(fd);
    (void)unlink(path);
    a = apc(&p, FENCE_ACTION_OFF, "node1", "1"); /* the supervisor is gone */
    assert_int_equal(a.result, FENCE_FAILED);
    pdu_stop(&p);
    (void)rmdir(dir);
}

/* Keeps the power of all outlets, and writes every command that switches to log_fd. */
static void supervise_order(int listen_fd, int log_fd)
{
    char off[8][32] = { { 0 } };

    for (;;) {
        int fd = accept(listen_fd, NULL, NULL);
        char line[128] = { 0 };
        const char *reply = "ok\n";
        const char *name;
        int at = -1, room = 0;

        if (fd < 0 || read(fd, line, sizeof(line) - 1) <= 0 || strchr(line, ' ') == NULL) {
            _exit(1);
        }
        name = strchr(line, ' ') + 1;
        for (int i = 0; i < 8; i++) {
            at = strcmp(off[i], name) == 0 ? i : at;
            room = off[i][0] == '\0' ? i : room;
        }
        if (strncmp(line, "status ", 7) == 0) {
            reply = at >= 0 ? "off\n" : "on\n";
        } else {
            (void)!write(log_fd, line, strlen(line));
            if (strncmp(line, "off ", 4) == 0 && at < 0) {
                (void)snprintf(off[room], sizeof(off[room]), "%.31s", name);
            } else if (strncmp(line, "on ", 3) == 0 && at >= 0) {
                off[at][0] = '\0';
            }
        }
        (void)!write(fd, reply, strlen(reply));
        (void)close(fd);
    }
}

/* A host with two supplies: both are off before either is switched on again. */
static void reboot_is_off_everywhere_first(void **state)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    char dir[] = "/tmp/pdu-test-XXXXXX";
    char path[64], order[512] = "";
    const char *const extra[] = { "--control", path, NULL };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct fence_answer a;
    struct pdu p;
    pid_t child;
    int log[2];

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/pdu.sock", dir);
    (void)strncpy(sun.sun_path, path, sizeof(sun.sun_path) - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(pipe(log), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        supervise_order(fd, log[1]);
    }
    pdu_start(&p, extra);
    a = apc(&p, FENCE_ACTION_REBOOT, "node2", "2c");
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_true(read(log[0], order, sizeof(order) - 1) > 0);
    assert_string_equal(order, "off node2-A\noff node2-B\non node2-A\non node2-B\n");
    pdu_stop(&p);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(fd);
    (void)close(log[0]);
    (void)close(log[1]);
    (void)unlink(path);
    (void)rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_socket),
        cmocka_unit_test(reboot_is_off_everywhere_first),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, find_bins, NULL);
}
