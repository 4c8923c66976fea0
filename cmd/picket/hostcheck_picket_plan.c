/* Picket itself: identity, daemons, and whether this host could be fenced. */

#include "cmd/picket/hostcheck.h"

#include <string.h>

#include "base/str.h"

/* Boards whose maker left the same id in all of them. */
static bool is_shared_id(const char *id)
{
    static const char *const bad[] = { "00000000-0000-0000-0000-000000000000",
                                       "ffffffff-ffff-ffff-ffff-ffffffffffff",
                                       "03000200-0400-0500-0006-000700080009",
                                       "12345678-1234-5678-90ab-cddeefaabbcc" };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (strncasecmp(id, bad[i], 36) == 0) {
            return true;
        }
    }
    return false;
}

static void judge_hardware_id(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const struct hc_file *f = hc_file(h, "/sys/class/dmi/id/product_uuid");
    const char *given = hc_setting(hc_text(h, "/etc/picket/agent.conf"), "hardware-id", a);
    static const char *const fix = "hardware-id = SOMETHING-OF-ITS-OWN in /etc/picket/agent.conf "
                                   "(the serial number of the board), never copied to another host";

    if (given != NULL) {
        hc_add(r, HC_OK, "hardware id", arena_printf(a, "%s (agent.conf)", given), NULL);
    } else if (f->state == HC_UNREADABLE) {
        hc_add(r, HC_UNKNOWN, "hardware id", "product_uuid cannot be read", "run this as root");
    } else if (f->state == HC_MISSING || f->text[0] == '\0') {
        hc_add(r, HC_FAIL, "hardware id", "the board has none: picket-agent does not start", fix);
    } else if (is_shared_id(f->text)) {
        hc_add(r, HC_FAIL, "hardware id",
               arena_printf(a,
                            "%s: many boards have that one, so a copy of this host cannot be "
                            "told from it",
                            f->text),
               fix);
    } else {
        hc_add(r, HC_OK, "hardware id", f->text, NULL);
    }
}

static void judge_enrolled(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    const struct hc_file *f = hc_file(h, "/etc/picket/agent.conf");
    const char *name, *driver;

    if (f->state == HC_MISSING) {
        hc_add(r, HC_WARN, "picket", "this host is in no cluster yet",
               "picket init on the first host, picket join TOKEN on each other one");
        return;
    }
    if (f->state == HC_UNREADABLE ||
        hc_file(h, "/etc/picket/tls/agent.key")->state == HC_UNREADABLE) {
        hc_add(r, HC_UNKNOWN, "picket", "/etc/picket cannot be read", "run this as root");
        return;
    }
    name = hc_setting(f->text, "name", a);
    driver = hc_setting(f->text, "driver", a);
    hc_add(r, HC_OK, "picket", arena_printf(a, "enrolled as %s", name == NULL ? "?" : name), NULL);
    if (!str_eq(driver, "xen")) {
        hc_add(r, HC_FAIL, "picket driver",
               driver == NULL ? "agent.conf does not say what runs the guests"
                              : arena_printf(a, "agent.conf says driver = %s", driver),
               "driver = xen in /etc/picket/agent.conf");
    }
    if (hc_setting(f->text, "watchdog-socket", a) == NULL) {
        hc_add(r, HC_WARN, "picket watchdog",
               "agent.conf names no watchdog-socket: the host is never guarded by its watchdog",
               "watchdog-socket = /run/picket/watchdog.sock in /etc/picket/agent.conf");
    }
}

static void judge_daemons(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    static const char *const daemons[] = { "picket-watchdog", "picket-agent", "picketd" };

    for (size_t i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++) {
        bool wanted = !str_eq(daemons[i], "picketd") ||
                      hc_file(h, "/etc/picket/picketd.conf")->state == HC_PRESENT;

        if (hc_file(h, "/etc/picket/agent.conf")->state != HC_PRESENT || !wanted) {
            continue;
        }
        if (h->processes == NULL) {
            hc_add(r, HC_UNKNOWN, daemons[i], "the processes could not be listed",
                   "run this as root");
        } else if (hc_runs(h, daemons[i])) {
            hc_add(r, HC_OK, daemons[i], "runs", NULL);
        } else {
            hc_add(r, HC_FAIL, daemons[i], "does not run",
                   arena_printf(a, "systemctl enable --now %s; journalctl -u %s", daemons[i],
                                daemons[i]));
        }
    }
}

static void judge_fencing(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    if (str_eq(h->fencing, "True")) {
        hc_add(r, HC_OK, "fencing", h->fencing_why, NULL);
    } else if (h->fencing != NULL) {
        hc_add(r, HC_FAIL, "fencing", h->fencing_why,
               "picket fence test HOST asks every device and says what is wrong with it");
    } else if (hc_file(h, "/etc/picket/agent.conf")->state == HC_PRESENT) {
        hc_add(r, HC_UNKNOWN, "fencing",
               arena_printf(a, "the cluster could not be asked: %s", h->fencing_why),
               "picket fence test HOST, from a machine that has an administrator's configuration");
    }
}

void hc_judge_picket(const struct hc_host *h, struct arena *a, struct hc_report *r)
{
    judge_hardware_id(h, a, r);
    judge_enrolled(h, a, r);
    judge_daemons(h, a, r);
    judge_fencing(h, a, r);
}
