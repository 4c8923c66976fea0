/* Ssh devices against a real sshd on loopback, whose ForceCommand records what it is asked and does
 * nothing of it.  Needs the package openssh-server; says so and skips without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "base/clock.h"
#include "base/str.h"
#include "fence/exec_uv.h"
#include "fence/ssh_exec.h"

#define GENEROUS_MS 60000U
#define BOOT "b007b007-0000-4000-8000-00000000b007"

static char bin[400], dir[64], user[64], pem[8192], why_not[200];
static unsigned port;
static pid_t sshd_pid;

static void path_of(char dst[128], const char *name)
{
    (void)snprintf(dst, 128, "%s/%s", dir, name);
}

static void put_file(const char *name, mode_t mode, const char *text)
{
    char path[128];
    FILE *f;

    path_of(path, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static size_t get_file(const char *name, char *dst, size_t size)
{
    char path[128];
    FILE *f;
    size_t n;

    path_of(path, name);
    f = fopen(path, "r");
    if (f == NULL) {
        dst[0] = '\0';
        return 0;
    }
    n = fread(dst, 1, size - 1, f);
    dst[n] = '\0';
    (void)fclose(f);
    return n;
}

static void keygen(const char *name)
{
    char path[128];
    int status = 0;
    pid_t pid;

    path_of(path, name);
    pid = fork();
    if (pid == 0) {
        (void)execl("/usr/bin/ssh-keygen", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C",
                    "test", "-f", path, (char *)NULL);
        _exit(126);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static unsigned free_port(void)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    (void)close(fd);
    return ntohs(sin.sin_port);
}

static bool listens(void)
{
    struct sockaddr_in sin = { .sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0;

    (void)close(fd);
    return yes;
}

static void sshd_start(void)
{
    char conf[2048], path[128];

    port = free_port();
    (void)snprintf(conf, sizeof(conf),
                   "ListenAddress 127.0.0.1\nPort %u\nHostKey %s/host\nAuthorizedKeysFile "
                   "%s/allowed\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin "
                   "prohibit-password\nForceCommand %s/record\n",
                   port, dir, dir, dir);
    put_file("conf", 0600, conf);
    path_of(path, "conf");
    sshd_pid = fork();
    if (sshd_pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execl("/usr/sbin/sshd", "/usr/sbin/sshd", "-D", "-q", "-f", path, (char *)NULL);
        _exit(126);
    }
    for (int i = 0; i < 600 && !listens(); i++) {
        (void)poll(NULL, 0, 50);
    }
    assert_true(listens());
}

static int group_setup(void **state)
{
    char script[512], pub[1024];
    const struct passwd *pw = getpwuid(geteuid());
    ssize_t n = readlink("/proc/self/exe", bin, sizeof(bin) - 1);

    (void)state;
    assert_true(n > 0);
    *strrchr(bin, '/') = '\0';
    *strrchr(bin, '/') = '\0';
    if (access("/usr/sbin/sshd", X_OK) != 0 || pw == NULL) {
        (void)str_copy(why_not, sizeof(why_not), "no /usr/sbin/sshd (package openssh-server)");
        return 0;
    }
    if (geteuid() == 0) {
        (void)mkdir("/run/sshd", 0755); /* where sshd confines itself */
    }
    (void)str_copy(user, sizeof(user), pw->pw_name);
    (void)snprintf(dir, sizeof(dir), "/tmp/fence-ssh-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    keygen("host");
    keygen("id");
    (void)get_file("id.pub", pub, sizeof(pub));
    put_file("allowed", 0644, pub);
    (void)snprintf(script, sizeof(script),
                   "#!/bin/sh\necho \"$SSH_ORIGINAL_COMMAND\" >>%s/asked\ncat >%s/stdin\n"
                   "echo picket-ssh " BOOT "\n",
                   dir, dir);
    put_file("record", 0755, script);
    assert_true(get_file("id", pem, sizeof(pem)) > 0);
    sshd_start();
    return 0;
}

static int group_teardown(void **state)
{
    DIR *d = opendir(dir);
    const struct dirent *e;

    (void)state;
    if (sshd_pid > 0) {
        (void)kill(sshd_pid, SIGKILL);
        (void)waitpid(sshd_pid, NULL, 0);
    }
    while (d != NULL && (e = readdir(d)) != NULL) {
        (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    (void)rmdir(dir);
    return 0;
}

static void on_answer(void *ctx, const struct fence_answer *ans)
{
    *(struct fence_answer *)ctx = *ans;
}

static struct fence_answer run(enum fence_action action, bool lab, const char *key, unsigned at)
{
    struct fence_op op = { .type = FENCE_TYPE_SSH, .action = action };
    struct fence_answer ans = { 0 };
    struct fence_exec *x;
    char helper[500], address[64];
    struct err err;
    uv_loop_t loop;

    op.timeout_ms = GENEROUS_MS;
    op.deadline_boottime_ms = clock_now_ms() + GENEROUS_MS;
    (void)str_copy(op.host, sizeof(op.host), "node2");
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", at);
    assert_int_equal(fence_op_set(&op, "address", address, &err), 0);
    assert_int_equal(fence_op_set(&op, "username", user, &err), 0);
    if (lab) {
        assert_int_equal(fence_op_set(&op, "lab", "1", &err), 0);
    }
    if (key != NULL) {
        assert_int_equal(ssh_identity_set(&op, key, &err), 0);
    }
    (void)snprintf(helper, sizeof(helper), "%s/picket-fence", bin);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(fence_exec_start(&loop, helper, &op, 0, on_answer, &ans, &x, &err), 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    print_message("%s: %s, %s\n", fence_action_name(action), fence_outcome_name(ans.result),
                  ans.detail);
    return ans;
}

static void need_sshd(void)
{
    if (why_not[0] != '\0') {
        print_message("skipped: %s\n", why_not);
        skip();
    }
}

static void a_host_that_answers(void **state)
{
    struct fence_answer a;
    char text[4096];

    (void)state;
    need_sshd();
    a = run(FENCE_ACTION_PROBE, true, pem, port);
    assert_int_equal(a.result, FENCE_SUCCEEDED);
    assert_int_equal(a.power, FENCE_POWER_ON);
    assert_non_null(strstr(a.detail, BOOT));
    (void)get_file("asked", text, sizeof(text));
    assert_null(strstr(text, "sysrq")); /* a probe only asks */
    a = run(FENCE_ACTION_OFF, true, pem, port);
    assert_int_equal(a.result, FENCE_UNKNOWN); /* whatever it says: asked is not off */
    assert_non_null(strstr(a.detail, "only its next boot proves"));
    (void)get_file("asked", text, sizeof(text));
    assert_non_null(strstr(text, "echo b >/proc/sysrq-trigger"));
    assert_int_equal(get_file("stdin", text, sizeof(text)), 0); /* above all not the key */
}

static void nothing_is_known_of_a_silent_host(void **state)
{
    (void)state;
    need_sshd();
    assert_int_equal(run(FENCE_ACTION_PROBE, true, pem, free_port()).result, FENCE_UNKNOWN);
    assert_int_equal(run(FENCE_ACTION_OFF, true, pem, free_port()).result, FENCE_UNKNOWN);
}

static void refused_before_anything_is_sent(void **state)
{
    struct fence_answer a;

    (void)state;
    need_sshd();
    a = run(FENCE_ACTION_OFF, false, pem, port);
    assert_int_equal(a.result, FENCE_FAILED);
    assert_non_null(strstr(a.detail, "lab"));
    assert_int_equal(run(FENCE_ACTION_OFF, true, NULL, port).result, FENCE_FAILED);
    assert_int_equal(run(FENCE_ACTION_ON, true, pem, port).result, FENCE_FAILED);
}

static void keys_that_are_none(void **state)
{
    static const char *const bad[] = { "", "hello", "-----BEGIN X-----\nAAAA", "-----BEGIN X",
                                       "-----END X-----" };
    struct fence_op op = { .type = FENCE_TYPE_SSH };
    char *big = calloc(1, 20000);
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ssh_identity_set(&op, bad[i], &err), ERR_INVALID);
    }
    assert_non_null(big);
    (void)snprintf(big, 64, "-----BEGIN X-----\n");
    memset(big + 18, 'A', 12000);
    (void)snprintf(big + 12018, 64, "\n-----END X-----\n");
    op.n_params = 0;
    assert_int_equal(ssh_identity_set(&op, big, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "longer than"));
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_answers),
        cmocka_unit_test(nothing_is_known_of_a_silent_host),
        cmocka_unit_test(refused_before_anything_is_sent),
        cmocka_unit_test(keys_that_are_none),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
