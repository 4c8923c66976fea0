#include "cmd/picket/hostcheck.h"

#include <ctype.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

const char *const hc_paths[] = {
    "/proc/xen/capabilities",
    "/sys/hypervisor/type",
    "/sys/hypervisor/version/major",
    "/sys/hypervisor/version/minor",
    "/sys/hypervisor/version/extra",
    "/dev/xen/privcmd",
    "/dev/xen/gntdev",
    "/dev/xen/evtchn",
    "/etc/default/grub",
    "/etc/default/grub.d/xen.cfg",
    "/etc/xen/auto",
    "/proc/modules",
    "/lib/modules/%r/modules.builtin",
    "/lib/modules/%r/modules.dep",
    "/etc/lvm/lvm.conf",
    "/etc/lvm/lvmlocal.conf",
    "/etc/lvm/devices/system.devices",
    "/etc/multipath.conf",
    "/etc/multipath/conf.d",
    "/etc/iscsi/initiatorname.iscsi",
    "/etc/iscsi/iscsid.conf",
    "/dev/watchdog",
    "/dev/watchdog0",
    "/sys/class/watchdog/watchdog0/identity",
    "/sys/class/watchdog/watchdog0/nowayout",
    "/sys/class/watchdog/watchdog0/state",
    "/sys/class/watchdog/watchdog0/timeout",
    "/etc/systemd/system.conf",
    "/proc/sys/kernel/panic",
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/sys/class/dmi/id/product_uuid",
    "/etc/picket/picketd.conf",
    "/etc/picket/agent.conf",
    "/etc/picket/tls/agent.key",
    "/etc/passwd",
    NULL,
};

const char *hc_level_name(enum hc_level level)
{
    switch (level) {
    case HC_OK:
        return "ok";
    case HC_WARN:
        return "warn";
    case HC_FAIL:
        return "fail";
    case HC_UNKNOWN:
        return "unknown";
    }
    CHECK_UNREACHABLE();
}

void hc_add(struct hc_report *r, enum hc_level level, const char *topic, const char *text,
            const char *fix)
{
    CHECK(r->n < HC_LINES_MAX);
    CHECK(level == HC_OK || fix != NULL);
    r->lines[r->n++] = (struct hc_line){ level, topic, text, level == HC_OK ? NULL : fix };
}

size_t hc_count(const struct hc_report *r, enum hc_level level)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++) {
        n += r->lines[i].level == level ? 1 : 0;
    }
    return n;
}

const struct hc_file *hc_file(const struct hc_host *h, const char *path)
{
    static const struct hc_file none = { NULL, HC_MISSING, NULL };

    for (size_t i = 0; i < h->n_files; i++) {
        if (str_eq(h->files[i].path, path)) {
            return &h->files[i];
        }
    }
    return &none;
}

const char *hc_text(const struct hc_host *h, const char *path)
{
    const struct hc_file *f = hc_file(h, path);

    return f->text == NULL ? "" : f->text;
}

/* comm of the kernel is cut after 15 bytes. */
bool hc_runs(const struct hc_host *h, const char *process)
{
    size_t n = strlen(process) < 15 ? strlen(process) : 15;

    for (const char *p = h->processes; p != NULL; p = strchr(p, '\n')) {
        p++;
        if (strncmp(p, process, n) == 0 && (p[n] == '\n' || p[n] == '\0')) {
            return true;
        }
    }
    return false;
}

static char *value_of(const char *p, const char *end, struct arena *a)
{
    while (p < end && (isspace((unsigned char)*p) || *p == '=')) {
        p++;
    }
    while (end > p && isspace((unsigned char)end[-1])) {
        end--;
    }
    if (end - p >= 2 && *p == '"' && end[-1] == '"') {
        p++;
        end--;
    }
    return arena_strndup(a, p, (size_t)(end - p));
}

/* Where the value of `key` begins in a line, NULL: it is not about it. A line may open a section:
 * "global { event_activation = 0 }". */
static const char *find_key(const char *line, const char *end, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = line; p + n < end; p++) {
        bool begins = p == line || isspace((unsigned char)p[-1]) || p[-1] == '{';

        if (begins && strncmp(p, key, n) == 0 && (p[n] == '=' || isspace((unsigned char)p[n]))) {
            return p + n;
        }
        if (*p == '=') {
            return NULL; /* values are not keys */
        }
    }
    return NULL;
}

const char *hc_setting(const char *text, const char *key, struct arena *a)
{
    const char *found = NULL;

    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        const char *end = line + strcspn(line, "#\n");
        const char *value = find_key(line, end, key);

        if (value != NULL) {
            const char *close = memchr(value, '}', (size_t)(end - value));

            found = value_of(value, close == NULL ? end : close, a);
        }
        line += len + (line[len] == '\n' ? 1 : 0);
    }
    return found;
}

/* '-' and '_' are the same in names of modules. */
static bool same_name(const char *p, const char *name, const char *ends)
{
    for (; *name != '\0'; p++, name++) {
        if (*p != *name && !((*p == '-' || *p == '_') && (*name == '-' || *name == '_'))) {
            return false;
        }
    }
    return *p != '\0' && strchr(ends, *p) != NULL;
}

static bool in_paths(const char *list, const char *name)
{
    for (const char *p = list; p != NULL && *p != '\0'; p = strchr(p, '\n')) {
        const char *base = p;

        for (p += *p == '\n' ? 1 : 0; *p != '\0' && *p != '\n' && *p != ':'; p++) {
            base = *p == '/' ? p + 1 : base;
        }
        if (same_name(base, name, ".")) {
            return true;
        }
    }
    return false;
}

enum hc_module hc_module(const struct hc_host *h, const char *name)
{
    for (const char *p = hc_text(h, "/proc/modules"); *p != '\0';) {
        if (same_name(p, name, " ")) {
            return HC_MODULE_LOADED;
        }
        p += strcspn(p, "\n");
        p += *p == '\n' ? 1 : 0;
    }
    if (in_paths(hc_text(h, "/lib/modules/%r/modules.builtin"), name)) {
        return HC_MODULE_LOADED;
    }
    return in_paths(hc_text(h, "/lib/modules/%r/modules.dep"), name) ? HC_MODULE_AT_HAND
                                                                     : HC_MODULE_NONE;
}

void hc_judge(const struct hc_host *h, struct arena *a, struct hc_report *ret)
{
    ret->n = 0;
    hc_judge_xen(h, a, ret);
    hc_judge_storage(h, a, ret);
    hc_judge_guard(h, a, ret);
    hc_judge_picket(h, a, ret);
}
