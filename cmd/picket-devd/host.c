/* The power of a host.
 *
 *   off --boot--> on --kill--> dying --group gone--> off (--after boot_after_ms--> on)
 *
 * On: a process group led by `picket-devd --host-init`.  Off means that kill(-pgid, 0) says ESRCH:
 * this process is the subreaper of all orphans, so that no zombie keeps a group alive and nothing
 * escapes from one.  While a host is dying its traffic is dropped, so that peers see silence and
 * not the connection resets of a kernel that cleans up.
 */

#include "cmd/picket-devd/dev.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define GONE_POLL_MS 5
#define CRASH_REBOOT_MS 1000
#define DYING_WARN_MS 5000
#define OUTLET_REBOOT_MS 1000

void host_init_timers(struct dev_host *h)
{
    CHECK(uv_timer_init(h->dev->loop, &h->timer) == 0);
    h->timer.data = h;
}

static void set_why(struct dev_host *h, const char *why)
{
    (void)str_copy(h->why, sizeof(h->why), why);
    h->since_wall_ms = clock_wall_ms();
}

/* What a real host loses with its power: /run, active volumes, traces of running guests. */
static void clear_volatile(struct dev_host *h)
{
    static const char *const dirs[] = { "run", "active", "guests" };
    char path[DEV_PATH_MAX];
    const struct dirent *e;

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        DIR *dir;

        host_path(h, path, "%s", dirs[i]);
        dir = opendir(path);
        while (dir != NULL && (e = readdir(dir)) != NULL) {
            (void)unlinkat(dirfd(dir), e->d_name, 0); /* folders stay */
        }
        if (dir != NULL) {
            (void)closedir(dir);
        }
    }
}

static int write_boot(struct dev_host *h, struct err *err)
{
    char path[DEV_PATH_MAX];
    json_t *init;
    char *text;
    int rc;

    clear_volatile(h);
    clock_uuid(h->boot_id);
    h->boots++;
    host_path(h, path, "boot-id");
    rc = dev_write_file(path, h->boot_id, strlen(h->boot_id), err);
    if (rc != 0) {
        return rc;
    }
    init = init_describe(h);
    text = json_dumps(init, JSON_INDENT(1));
    CHECK(text != NULL);
    host_path(h, path, "init.json");
    rc = dev_write_file(path, text, strlen(text), err);
    free(text);
    json_decref(init);
    return rc == 0 ? dev_layout_save(h->dev, err) : rc;
}

static int start_init(struct dev_host *h, struct err *err)
{
    char exe[] = "/proc/self/exe";
    char option[] = "--host-init";
    char file[DEV_PATH_MAX], log[DEV_PATH_MAX];
    char *argv[] = { exe, option, file, NULL };
    struct spawn s = { .argv = argv, .log = log, .stdin_fd = -1, .new_group = true };

    host_path(h, file, "init.json");
    host_path(h, log, "log/init.log");
    return dev_spawn(&s, &h->pgid, err);
}

int host_boot(struct dev_host *h, const char *why, struct err *err)
{
    int rc;

    CHECK(h->power == DEV_OFF);
    (void)uv_timer_stop(&h->timer);
    h->boot_after_ms = -1;
    rc = write_boot(h, err);
    if (rc == 0) {
        rc = start_init(h, err);
    }
    if (rc != 0) {
        return err_wrap(err, "power %s on", h->name);
    }
    h->power = DEV_ON;
    h->wedged = false;
    h->outlet_on = h->outlet_on || h->outlet_back;
    h->outlet_back = false;
    set_why(h, why);
    guard_add(h->dev, h->pgid);
    net_changed(h->dev);
    lg_info("power", "host=%s power=on pgid=%d boot=%s why=\"%s\"", h->name, (int)h->pgid,
            h->boot_id, why);
    dev_waits_check(h->dev);
    return 0;
}

static void boot_timer(uv_timer_t *timer)
{
    struct dev_host *h;
    struct err err = { 0 };

    OBJ_FROM(h, timer->data, DEV_HOST_MAGIC);
    if (!h->dev->stopping && host_boot(h, h->why, &err) != 0) {
        lg_err("power", "host=%s msg=\"%s\"", h->name, err.msg);
        (void)uv_timer_start(&h->timer, boot_timer, CRASH_REBOOT_MS, 0);
    }
}

static void host_is_off(struct dev_host *h)
{
    lg_info("power", "host=%s power=off pgid=%d why=\"%s\" boot_after_ms=%" PRId64, h->name,
            (int)h->pgid, h->why, h->boot_after_ms);
    guard_del(h->dev, h->pgid);
    h->power = DEV_OFF;
    h->pgid = 0;
    h->wedged = false;
    (void)uv_timer_stop(&h->timer);
    if (h->boot_after_ms >= 0 && !h->dev->stopping) {
        (void)uv_timer_start(&h->timer, boot_timer, (uint64_t)h->boot_after_ms, 0);
    }
    dev_waits_check(h->dev);
}

static void poll_gone(uv_timer_t *timer)
{
    struct dev_host *h;

    OBJ_FROM(h, timer->data, DEV_HOST_MAGIC);
    CHECK(h->power == DEV_DYING);
    /* Repeated: a process that was just being made may have missed the first signal. */
    if (kill(-h->pgid, SIGKILL) != 0 && errno == ESRCH) {
        host_is_off(h);
        return;
    }
    if (clock_now_ms() - h->dying_since_ms > DYING_WARN_MS) {
        lg_warn("power", "host=%s pgid=%d msg=\"processes do not end after SIGKILL\"", h->name,
                (int)h->pgid);
        h->dying_since_ms = clock_now_ms();
    }
}

void host_kill(struct dev_host *h, const char *why, int64_t boot_after_ms)
{
    switch (h->power) {
    case DEV_OFF:
    case DEV_DYING:
        /* Somebody's hand on the switch decides over a restart that was on its way. */
        h->boot_after_ms = boot_after_ms;
        if (h->power == DEV_OFF) {
            (void)uv_timer_stop(&h->timer);
            if (boot_after_ms >= 0) {
                (void)uv_timer_start(&h->timer, boot_timer, (uint64_t)boot_after_ms, 0);
            }
        }
        set_why(h, why);
        return;
    case DEV_ON:
        break;
    }
    lg_info("power", "host=%s pgid=%d msg=\"power is cut\" why=\"%s\"", h->name, (int)h->pgid, why);
    h->power = DEV_DYING;
    h->boot_after_ms = boot_after_ms;
    h->dying_since_ms = clock_now_ms();
    set_why(h, why);
    net_changed(h->dev); /* first silence, then death */
    wdog_dev_reset(h);
    (void)kill(-h->pgid, SIGKILL);
    (void)uv_timer_start(&h->timer, poll_gone, 1, GONE_POLL_MS);
}

void host_on(struct dev_host *h, const char *why)
{
    struct err err = { 0 };

    if (!h->plugged || !(h->outlet_on || h->outlet_back)) {
        return;
    }
    switch (h->power) {
    case DEV_ON:
        return;
    case DEV_DYING:
        h->boot_after_ms = 0;
        set_why(h, why);
        return;
    case DEV_OFF:
        if (host_boot(h, why, &err) != 0) {
            lg_err("power", "host=%s msg=\"%s\"", h->name, err.msg);
            h->boot_after_ms = CRASH_REBOOT_MS;
            (void)uv_timer_start(&h->timer, boot_timer, CRASH_REBOOT_MS, 0);
        }
        return;
    }
    CHECK_UNREACHABLE();
}

void host_outlet(struct dev_host *h, bool on)
{
    h->outlet_on = on;
    h->outlet_back = false;
    if (on) {
        host_on(h, "outlet switched on");
    } else {
        host_kill(h, "outlet switched off", -1);
    }
}

void host_outlet_reboot(struct dev_host *h)
{
    h->outlet_on = !h->plugged; /* without a cord there is no boot that would switch it on */
    h->outlet_back = h->plugged;
    host_kill(h, "outlet rebooted", h->plugged ? OUTLET_REBOOT_MS : -1);
}

bool host_outlet_reads_on(const struct dev_host *h)
{
    return h->outlet_on || h->power != DEV_OFF;
}

void host_child_gone(struct dev_host *h, int status)
{
    char why[64];

    if (h->power != DEV_ON) {
        return; /* expected; poll_gone sees the rest */
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
        (void)str_copy(why, sizeof(why), "reset that the host asked for");
    } else if (WIFSIGNALED(status)) {
        (void)snprintf(why, sizeof(why), "crash (init: signal %d)", WTERMSIG(status));
    } else {
        (void)snprintf(why, sizeof(why), "crash (init: exit %d)", WEXITSTATUS(status));
    }
    host_kill(h, why, CRASH_REBOOT_MS);
}

int host_signal(struct dev_host *h, int sig, struct err *err)
{
    if (h->power != DEV_ON) {
        return err_set(err, ERR_CONFLICT, "%s is off", h->name);
    }
    if (kill(-h->pgid, sig) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "signal %d to the group of %s", sig,
                          h->name);
    }
    return 0;
}

int host_wedge(struct dev_host *h, bool wedge, struct err *err)
{
    int rc = host_signal(h, wedge ? SIGSTOP : SIGCONT, err);

    if (rc == 0) {
        h->wedged = wedge;
        lg_info("power", "host=%s msg=\"%s\"", h->name,
                wedge ? "wedged: every process is stopped" : "goes on");
    }
    return rc;
}

pid_t host_process(const struct dev_host *h, const char *process)
{
    char path[DEV_PATH_MAX], text[32] = { 0 };
    uint64_t pid = 0;
    FILE *f;

    host_path(h, path, "run/%s.pid", process);
    f = fopen(path, "re");
    if (f == NULL) {
        return 0;
    }
    if (fgets(text, sizeof(text), f) == NULL || !str_parse_u64(text, &pid) || pid <= 1 ||
        h->pgid == 0 || getpgid((pid_t)pid) != h->pgid) {
        pid = 0;
    }
    (void)fclose(f);
    return (pid_t)pid;
}

int host_kill_process(struct dev_host *h, const char *process, int sig, struct err *err)
{
    pid_t pid;

    if (h->power != DEV_ON) {
        return err_set(err, ERR_CONFLICT, "%s is off", h->name);
    }
    if (!str_is_name(process)) {
        return err_set(err, ERR_INVALID, "\"%s\" is no process name", process);
    }
    pid = host_process(h, process);
    if (pid == 0) {
        return err_set(err, ERR_NOT_FOUND,
                       "no %s runs on %s just now; known are picketd, picket-agent and "
                       "picket-watchdog",
                       process, h->name);
    }
    if (kill(pid, sig) != 0) {
        return err_native(err, ERR_SYS, "errno", errno, "signal %d to %s", sig, process);
    }
    lg_info("power", "host=%s process=%s pid=%d signal=%d", h->name, process, (int)pid, sig);
    return 0;
}

void dev_wait_power(struct dev_host *h, bool on, uint64_t timeout_ms,
                    void (*cb)(void *ctx, const char *error), void *ctx)
{
    struct dev_wait *w = OBJ_NEW(struct dev_wait);

    w->host = h;
    w->want_on = on;
    w->deadline_ms = clock_now_ms() + timeout_ms;
    w->cb = cb;
    w->ctx = ctx;
    TAILQ_INSERT_TAIL(&h->dev->waits, w, link);
    dev_waits_check(h->dev);
}

static bool wait_over(const struct dev_wait *w, uint64_t now, const char **error)
{
    *error = NULL;
    if (w->host->power == (w->want_on ? DEV_ON : DEV_OFF)) {
        return true;
    }
    if (now >= w->deadline_ms) {
        *error = w->want_on ? "the host does not come up in time; see devd.log"
                            : "the host's processes do not end in time; see devd.log";
        return true;
    }
    return false;
}

void dev_waits_check(struct dev *d)
{
    uint64_t now = clock_now_ms();
    struct dev_wait *w = TAILQ_FIRST(&d->waits);
    const char *error;

    while (w != NULL) {
        struct dev_wait *next = TAILQ_NEXT(w, link);

        if (!wait_over(w, now, &error)) {
            w = next;
            continue;
        }
        TAILQ_REMOVE(&d->waits, w, link);
        w->cb(w->ctx, error);
        free(w);
        w = TAILQ_FIRST(&d->waits); /* the callback may have changed the list */
    }
}

void dev_waits_cancel(struct dev *d, void *ctx)
{
    struct dev_wait *w = TAILQ_FIRST(&d->waits);

    while (w != NULL) {
        struct dev_wait *next = TAILQ_NEXT(w, link);

        if (w->ctx == ctx) {
            TAILQ_REMOVE(&d->waits, w, link);
            free(w);
        }
        w = next;
    }
}
