/* The watchdog, time, and what becomes of a host that panics. */

#include "cmd/picket/hostcheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define WD "/sys/class/watchdog/watchdog0/"

static bool contains_nocase(const char *text, const char *word)
{
    for (; *text != '\0'; text++) {
        if (strncasecmp(text, word, strlen(word)) == 0) {
            return true;
        }
    }
    return false;
}

static void judge_kind(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const char *identity = hc_text(h, WD "identity");

    if (contains_nocase(identity, "software")) {
        hc_add(r, HC_WARN, "watchdog",
               "a software watchdog: it resets a host that is not quite "
               "dead, and proves nothing",
               "load the driver of the board's watchdog (iTCO_wdt, sp5100_tco, ipmi_watchdog), or "
               "xen_wdt; rmmod softdog");
    } else if (identity[0] != '\0') {
        hc_add(r, HC_OK, "watchdog", identity, NULL);
    } else {
        hc_add(r, HC_WARN, "watchdog", "/dev/watchdog is there, but not of which kind it is",
               "see dmesg for its driver");
    }
    if (str_eq(hc_text(h, WD "nowayout"), "0")) {
        hc_add(r, HC_WARN, "watchdog nowayout",
               "the watchdog can be stopped, so it is no proof that a silent host is off",
               arena_printf(a,
                            "echo \"options DRIVER nowayout=1\" >/etc/modprobe.d/watchdog.conf "
                            "with its driver (%s), reboot",
                            identity[0] == '\0' ? "see dmesg" : identity));
    } else if (str_eq(hc_text(h, WD "nowayout"), "1")) {
        hc_add(r, HC_OK, "watchdog nowayout", "it cannot be stopped once it runs", NULL);
    }
}

/* There is one device, and who opens it first has it. */
static void judge_rivals(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    static const char *const others[] = { "watchdog", "wd_keepalive", "sbd", "watchdog-mux" };
    const char *runtime =
        hc_setting(hc_text(h, "/etc/systemd/system.conf"), "RuntimeWatchdogSec", a);

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (hc_runs(h, others[i])) {
            hc_add(r, HC_FAIL, "watchdog", arena_printf(a, "%s feeds the watchdog", others[i]),
                   arena_printf(a, "systemctl disable --now %s: it must be picket-watchdog alone",
                                others[i]));
        }
    }
    if (runtime != NULL && !str_eq(runtime, "0") && !str_eq(runtime, "off")) {
        hc_add(r, HC_FAIL, "watchdog",
               arena_printf(a, "systemd feeds the watchdog (RuntimeWatchdogSec=%s)", runtime),
               "remove RuntimeWatchdogSec from /etc/systemd/system.conf, systemctl daemon-reexec");
    }
}

static void judge_watchdog(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    if (hc_file(h, "/dev/watchdog")->state == HC_MISSING &&
        hc_file(h, "/dev/watchdog0")->state == HC_MISSING) {
        hc_add(r, HC_WARN, "watchdog",
               "no watchdog: a host that loses the cluster ends its guests by itself only as long "
               "as its kernel works",
               "load the driver of the board's watchdog (iTCO_wdt, sp5100_tco, ipmi_watchdog), or "
               "xen_wdt: echo DRIVER >/etc/modules-load.d/watchdog.conf");
        return;
    }
    judge_kind(h, a, r);
    judge_rivals(h, a, r);
}

static void judge_time(const struct hc_host *h, struct hc_report *r)
{
    if (h->clock == HC_CLOCK_SYNCED) {
        hc_add(r, HC_OK, "time", "the clock is synchronised", NULL);
    } else if (hc_runs(h, "chronyd") || hc_runs(h, "ntpd") || hc_runs(h, "systemd-timesyncd")) {
        hc_add(r, h->clock == HC_CLOCK_UNKNOWN ? HC_OK : HC_WARN, "time",
               h->clock == HC_CLOCK_UNKNOWN ? "a time service runs"
                                            : "a time service runs, but the clock is not "
                                              "synchronised (yet)",
               "chronyc sources, or timedatectl timesync-status");
    } else {
        hc_add(r, HC_WARN, "time",
               "nothing keeps the clock: logs of several hosts cannot be compared, and "
               "certificates are judged by it (no decision about guests depends on it)",
               "apt-get install chrony");
    }
}

static void judge_panic(const struct hc_host *h, struct hc_report *r)
{
    const struct hc_file *f = hc_file(h, "/proc/sys/kernel/panic");

    if (f->state == HC_PRESENT && strtol(f->text, NULL, 10) == 0) {
        hc_add(r, HC_WARN, "panic", "after a panic the kernel stands still for ever",
               "echo \"kernel.panic = 10\" >/etc/sysctl.d/picket.conf, sysctl --system");
    }
}

void hc_judge_guard(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    judge_watchdog(h, a, r);
    judge_time(h, r);
    judge_panic(h, r);
}
