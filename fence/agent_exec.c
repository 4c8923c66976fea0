#include "fence/agent_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/agent_rules.h"
#include "fence/tls_pin.h"

#define OUTPUT_MAX 4096U
#define READBACK_MS 1000U
#define TICK_MS 20
#define STATUS_ON 0

struct agent {
    struct fence_run *run;
    const char *program;
    char path[256];
    struct buf params;  /* without action; secrets: wiped */
    struct tls_pin pin; /* Redfish with a fingerprint: the relay */
};

/* How one call of the program went. */
struct call {
    bool started; /* false: nothing was done */
    bool killed;  /* by us, at a deadline */
    bool off;     /* says that it is off */
    int status;   /* exit status, -1: none */
    char line[160];
};

/* --- parameters
 * -------------------------------------------------------------------------------------- */

static void add_param(struct agent *x, const char *name, const char *value)
{
    if (value != NULL) {
        buf_printf(&x->params, "%s=%s\n", name, value);
    }
}

/* address=IP[:PORT] or [IP6]:PORT */
static void add_address(struct agent *x)
{
    const char *address = fence_op_get(x->run->op, "address");
    char host[256];
    char *colon;

    if (address == NULL || !str_copy(host, sizeof(host), address)) {
        return;
    }
    colon = strrchr(host, ':');
    if (colon != NULL && (host[0] == '[' || strchr(host, ':') == colon)) {
        *colon = '\0';
        add_param(x, "ipport", colon + 1);
    }
    if (host[0] == '[') {
        host[strcspn(host, "]")] = '\0';
        add_param(x, "ip", host + 1);
    } else {
        add_param(x, "ip", host);
    }
}

static void add_own(struct agent *x)
{
    const struct fence_op *op = x->run->op;

    add_address(x);
    for (size_t i = 0; i < op->n_params; i++) {
        if (str_starts(op->params[i].key, "param.")) {
            add_param(x, op->params[i].key + strlen("param."), op->params[i].value);
        }
    }
    add_param(x, "username", fence_op_get(op, "username"));
    add_param(x, "password", fence_op_get(op, "password"));
    add_param(x, "plug", fence_op_get(op, "plugs"));
}

static void add_ipmi(struct agent *x)
{
    const struct fence_op *op = x->run->op;
    const char *lanplus = fence_op_get(op, "lanplus");

    add_address(x);
    add_param(x, "username", fence_op_get(op, "username"));
    add_param(x, "password", fence_op_get(op, "password"));
    add_param(x, "lanplus", lanplus != NULL ? lanplus : "1");
    add_param(x, "privlvl", fence_op_get(op, "privilege"));
    add_param(x, "cipher", fence_op_get(op, "cipher"));
    add_param(x, "method", "onoff");
}

/* The card has to show the pinned certificate now, and to the relay each time again. */
static int add_pinned(struct agent *x, const char *fingerprint, struct err *err)
{
    const char *address = fence_op_get(x->run->op, "address");
    uint8_t pin[TLS_PIN_BYTES];
    char port[8];
    int rc = tls_pin_parse(fingerprint, pin, err);

    if (rc == 0 && address == NULL) {
        rc = err_set(err, ERR_INVALID, "address is missing");
    }
    rc = rc == 0 ? tls_pin_check(address, pin, fence_run_left_ms(x->run), err) : rc;
    rc = rc == 0 ? tls_pin_start(address, pin, &x->pin, err) : rc;
    if (rc == 0) {
        (void)snprintf(port, sizeof(port), "%u", x->pin.port);
        add_param(x, "ip", "127.0.0.1");
        add_param(x, "ipport", port);
        add_param(x, "ssl_insecure", "1"); /* of the relay's certificate */
    }
    return rc;
}

static int add_redfish(struct agent *x, struct err *err)
{
    const struct fence_op *op = x->run->op;
    const char *fingerprint = fence_op_get(op, "fingerprint");

    if (fingerprint != NULL) {
        if (add_pinned(x, fingerprint, err) != 0) {
            return err->code;
        }
    } else {
        add_address(x);
        add_param(x, "ssl_insecure", fence_op_get(op, "insecure"));
    }
    add_param(x, "username", fence_op_get(op, "username"));
    add_param(x, "password", fence_op_get(op, "password"));
    add_param(x, "systems_uri", fence_op_get(op, "systems_uri"));
    return 0;
}

static int check_params(const struct fence_op *op, struct err *err)
{
    for (size_t i = 0; i < op->n_params; i++) {
        const char *key = op->params[i].key;
        const char *why =
            str_starts(key, "param.") ? agent_rules_param_refused(key + strlen("param.")) : NULL;

        if (why != NULL) {
            return err_set(err, ERR_INVALID, "%s is refused: %s", key, why);
        }
    }
    return 0;
}

static int agent_init(struct agent *x, const char *dir, struct err *err)
{
    const struct fence_op *op = x->run->op;
    const char *program;

    if (op->type == FENCE_TYPE_IPMI) {
        program = "fence_ipmilan";
        add_ipmi(x);
    } else if (op->type == FENCE_TYPE_REDFISH) {
        program = "fence_redfish";
        if (add_redfish(x, err) != 0) {
            return err->code;
        }
    } else {
        program = fence_op_get(op, "program");
        add_own(x);
    }
    if (!agent_rules_program_ok(program)) {
        return err_set(err, ERR_INVALID, "program: give the name of a fence agent, fence_...");
    }
    if (check_params(op, err) != 0) {
        return err->code;
    }
    x->program = program;
    (void)snprintf(x->path, sizeof(x->path), "%s/%s", dir, program);
    if (access(x->path, X_OK) != 0) {
        return err_native(err, ERR_NOT_FOUND, "errno", errno, "%s (package fence-agents)", x->path);
    }
    return 0;
}

/* --- one call
 * ---------------------------------------------------------------------------------------- */

/* Values that may be shown; every other one could be a secret. */
static bool is_public(const char *key)
{
    static const char *const keys[] = { "address", "plugs",       "outlets",    "program",
                                        "lanplus", "privilege",   "cipher",     "insecure",
                                        "version", "systems_uri", "fingerprint" };

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static void redact(const struct agent *x, char *line)
{
    const struct fence_op *op = x->run->op;

    for (size_t i = 0; i < op->n_params; i++) {
        const char *value = op->params[i].value;
        size_t n = strlen(value);
        char *at = line;

        while (n > 0 && !is_public(op->params[i].key) && (at = strstr(at, value)) != NULL) {
            memset(at, '*', n);
            at += n;
        }
    }
}

/* The last line that says something. */
static void last_line(const struct agent *x, char *text, char *dst, size_t size)
{
    char *save = NULL;

    dst[0] = '\0';
    for (char *t = strtok_r(text, "\r\n", &save); t != NULL; t = strtok_r(NULL, "\r\n", &save)) {
        redact(x, t);
        (void)str_copy(dst, size, t);
    }
}

static pid_t spawn(const struct agent *x, int in_fd, int out_fd)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid != 0) {
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setpgid(0, 0);
    if (getppid() == parent && dup2(in_fd, STDIN_FILENO) >= 0 && dup2(out_fd, STDOUT_FILENO) >= 0 &&
        dup2(out_fd, STDERR_FILENO) >= 0) {
        (void)execl(x->path, x->path, (char *)NULL);
    }
    _exit(126);
}

static void drain(int fd, char *text, size_t *len)
{
    char junk[512];

    for (;;) {
        bool room = *len + 1 < OUTPUT_MAX;
        ssize_t n =
            room ? read(fd, text + *len, OUTPUT_MAX - 1 - *len) : read(fd, junk, sizeof(junk));

        if (n <= 0) {
            return;
        }
        *len += room ? (size_t)n : 0;
    }
}

/* Until it ends, or a deadline passes. */
static void supervise(struct agent *x, pid_t pid, int out_fd, bool switching, struct call *ret)
{
    char text[OUTPUT_MAX];
    size_t len = 0;
    struct err err;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        drain(out_fd, text, &len);
        if (fence_run_left_ms(x->run) == 0 ||
            (switching && fence_run_may_switch(x->run, &err) != 0)) {
            ret->killed = true;
            (void)kill(-pid, SIGKILL);
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            break;
        }
        (void)poll(&(struct pollfd){ .fd = out_fd, .events = 0 }, 1, TICK_MS);
    }
    (void)kill(-pid, SIGKILL); /* whatever it left behind */
    drain(out_fd, text, &len);
    text[len] = '\0';
    ret->status = !ret->killed && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (ret->status == 126) {
        ret->started = false;
    }
    ret->off = agent_rules_says_off(x->program, ret->status, text);
    last_line(x, text, ret->line, sizeof(ret->line));
    explicit_bzero(text, sizeof(text));
}

static bool write_params(const struct agent *x, int fd, const char *action)
{
    struct buf in = { 0 };
    bool ok;

    buf_add(&in, x->params.data, x->params.len);
    buf_printf(&in, "action=%s\n", action);
    /* Less than a pipe holds (64 KiB), so this never waits. */
    CHECK(in.len <= 2 * FENCE_OP_MAX_BYTES);
    ok = write(fd, in.data, in.len) == (ssize_t)in.len;
    explicit_bzero(in.data, in.len);
    buf_done(&in);
    return ok;
}

static void call_agent(struct agent *x, const char *action, bool switching, struct call *ret)
{
    int in[2] = { -1, -1 }, out[2] = { -1, -1 };
    struct err err;
    pid_t pid = -1;

    memset(ret, 0, sizeof(*ret));
    ret->status = -1;
    if (switching && fence_run_may_switch(x->run, &err) != 0) {
        (void)str_copy(ret->line, sizeof(ret->line), err.msg);
        return;
    }
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 ||
        fcntl(out[0], F_SETFL, O_NONBLOCK) != 0 || !write_params(x, in[1], action)) {
        (void)str_copy(ret->line, sizeof(ret->line), "no pipes to the fence agent");
    } else {
        (void)close(in[1]);
        in[1] = -1;
        pid = spawn(x, in[0], out[1]);
    }
    if (pid > 0) {
        ret->started = true;
        supervise(x, pid, out[0], switching, ret);
    }
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0) {
            (void)close(in[i]);
        }
        if (out[i] >= 0) {
            (void)close(out[i]);
        }
    }
}

/* --- operations
 * -------------------------------------------------------------------------------------- */

static enum fence_power agent_power(struct agent *x, struct call *ret)
{
    call_agent(x, "status", false, ret);
    if (ret->status == STATUS_ON) {
        return FENCE_POWER_ON;
    }
    return ret->off ? FENCE_POWER_OFF : FENCE_POWER_UNKNOWN;
}

static void set_failure(struct fence_answer *ans, enum fence_outcome result, const char *what,
                        const struct call *c)
{
    fence_answer_set(ans, result, "%s: %s%.150s", what, c->killed ? "ended at its deadline; " : "",
                     c->line[0] != '\0' ? c->line : "the fence agent said nothing");
}

/* Off twice, at least 1 s apart. */
static bool reads_off_twice(struct agent *x, struct fence_answer *ans, struct call *c)
{
    uint64_t first_ms = 0;

    while (fence_run_left_ms(x->run) > 0) {
        uint64_t asked_ms = clock_now_ms();
        enum fence_power power = agent_power(x, c);

        if (power != FENCE_POWER_UNKNOWN) {
            ans->power = power;
        }
        if (power == FENCE_POWER_OFF && first_ms != 0 && asked_ms >= first_ms + READBACK_MS) {
            return true;
        }
        if (power == FENCE_POWER_OFF && first_ms == 0) {
            first_ms = clock_now_ms();
        } else if (power == FENCE_POWER_ON) {
            first_ms = 0;
        }
        fence_run_sleep(x->run, first_ms != 0 ? READBACK_MS : 200);
    }
    return false;
}

static void agent_off(struct agent *x, struct fence_answer *ans)
{
    bool was_off;
    struct call c;

    ans->power = agent_power(x, &c);
    was_off = ans->power == FENCE_POWER_OFF;
    if (!was_off) {
        call_agent(x, "off", true, &c);
        if (!c.started) {
            set_failure(ans, FENCE_FAILED, "nothing was switched", &c);
            return;
        }
        ans->power = FENCE_POWER_UNKNOWN;
    }
    if (reads_off_twice(x, ans, &c)) {
        fence_answer_set(ans, FENCE_SUCCEEDED, "read back off twice%s",
                         was_off ? ", it was off already" : "");
    } else {
        set_failure(ans, FENCE_UNKNOWN, "did not read back off", &c);
    }
}

static void agent_on(struct agent *x, struct fence_answer *ans)
{
    struct call c;

    call_agent(x, "on", true, &c);
    if (!c.started) {
        set_failure(ans, FENCE_FAILED, "nothing was switched", &c);
        return;
    }
    ans->power = agent_power(x, &c);
    if (ans->power == FENCE_POWER_ON) {
        fence_answer_set(ans, FENCE_SUCCEEDED, "read back on");
    } else {
        set_failure(ans, FENCE_UNKNOWN, "did not read back on", &c);
    }
}

/* The proof is the Off; switching on again cannot spoil it. */
static void agent_reboot(struct agent *x, struct fence_answer *ans)
{
    agent_off(x, ans);
    if (ans->result == FENCE_SUCCEEDED) {
        agent_on(x, ans);
        fence_answer_set(ans, FENCE_SUCCEEDED, "read back off twice, then %s",
                         ans->result == FENCE_SUCCEEDED ? "on" : "did not go on again");
    }
}

static void agent_status(struct agent *x, struct fence_answer *ans)
{
    struct call c;

    ans->power = agent_power(x, &c);
    if (ans->power == FENCE_POWER_UNKNOWN) {
        set_failure(ans, FENCE_UNKNOWN, "power is not known", &c);
    } else {
        fence_answer_set(ans, FENCE_SUCCEEDED, "power was read");
    }
}

static void agent_list(struct fence_answer *ans)
{
    fence_answer_set(ans, FENCE_FAILED, "list: fence agents have no common form of it");
}

static void agent_do(struct agent *x, struct fence_answer *ans)
{
    switch (x->run->op->action) {
    case FENCE_ACTION_STATUS:
    case FENCE_ACTION_PROBE:
        agent_status(x, ans);
        return;
    case FENCE_ACTION_OFF:
        agent_off(x, ans);
        return;
    case FENCE_ACTION_ON:
        agent_on(x, ans);
        return;
    case FENCE_ACTION_REBOOT:
        agent_reboot(x, ans);
        return;
    case FENCE_ACTION_LIST:
        agent_list(ans);
        return;
    case FENCE_ACTION_NONE:
        break;
    }
    CHECK_UNREACHABLE();
}

void agent_exec_run(struct fence_run *run, const char *dir, struct fence_answer *ans)
{
    struct agent x = { .run = run };
    struct err err;

    memset(ans, 0, sizeof(*ans));
    if (agent_init(&x, dir, &err) != 0) {
        fence_answer_set(ans, FENCE_FAILED, "nothing was switched: %.200s", err.msg);
    } else {
        agent_do(&x, ans);
    }
    tls_pin_stop(&x.pin);
    explicit_bzero(x.params.data, x.params.len);
    buf_done(&x.params);
}
