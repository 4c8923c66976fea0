#include "reconciler/xen_map.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#define CPUS_MAX 1024U /* bits in a list of physical CPUs */

/* --- identity ----------------------------------------------------------------------------------
 */

void xen_map_uuid(const json_t *object, const char *uid, libxl_uuid *ret)
{
    const char *text = jget_str(object, "spec.uuid", jget_str(object, "status.uuid", uid));
    uint32_t crc[4];

    if (libxl_uuid_from_string(ret, text) == 0 && strlen(text) == 36) {
        return;
    }
    /* Not a UUID: always the same one for the same text. */
    for (uint32_t i = 0; i < 4; i++) {
        crc[i] = crc32c(i, text, strlen(text));
    }
    memcpy(ret->uuid, crc, sizeof(crc));
    ret->uuid[6] = (uint8_t)((ret->uuid[6] & 0x0f) | 0x40);
    ret->uuid[8] = (uint8_t)((ret->uuid[8] & 0x3f) | 0x80);
}

static char *number(uint64_t n)
{
    return mem_printf("%" PRIu64, n);
}

static void add_marks(const struct xen_map_in *in, libxl_domain_create_info *c)
{
    char *pairs[] = {
        mem_strdup(XEN_MARK_VM),
        mem_strdup(in->vm),
        mem_strdup(XEN_MARK_UID),
        mem_strdup(in->uid),
        mem_strdup(XEN_MARK_INCARNATION),
        number(in->incarnation),
        mem_strdup(XEN_MARK_TOKEN),
        number(in->token),
        mem_strdup(XEN_MARK_SINCE),
        number(in->since_wall_ms),
        NULL,
    };

    c->xsdata = mem_dup(pairs, sizeof(pairs));
}

/* --- processors and memory ---------------------------------------------------------------------
 */

uint64_t xen_map_memory_kb(const json_t *object)
{
    return jget_size(object, "spec.memory", 0) / 1024;
}

uint32_t xen_map_vcpus(const json_t *object)
{
    return (uint32_t)jget_int(object, "spec.vcpus", 1);
}

static void bits_alloc(libxl_bitmap *b, uint32_t n)
{
    libxl_bitmap_dispose(b);
    b->size = (n + 7) / 8;
    b->map = mem_alloc(b->size);
}

static void bit_put(libxl_bitmap *b, uint32_t i, bool on)
{
    uint8_t mask = (uint8_t)(1U << (i % 8));

    if (on) {
        b->map[i / 8] |= mask;
    } else {
        b->map[i / 8] &= (uint8_t)~mask;
    }
}

void xen_bits_first(libxl_bitmap *b, uint32_t n)
{
    bits_alloc(b, n);
    for (uint32_t i = 0; i < n; i++) {
        bit_put(b, i, true);
    }
}

static bool cpu_number(const char **s, uint32_t *ret)
{
    size_t n = strspn(*s, "0123456789");
    char text[8];
    uint64_t v;

    if (n == 0 || n >= sizeof(text)) {
        return false;
    }
    memcpy(text, *s, n);
    text[n] = '\0';
    *s += n;
    (void)str_parse_u64(text, &v);
    *ret = (uint32_t)v;
    return true;
}

/* One element of a list: "^", then "all", "3" or "0-5". */
static bool cpu_range(const char **s, uint32_t n, libxl_bitmap *b)
{
    bool on = **s != '^';
    uint32_t from = 0, to = n - 1;

    *s += on ? 0 : 1;
    if (str_starts(*s, "all")) {
        *s += 3;
    } else {
        if (!cpu_number(s, &from)) {
            return false;
        }
        to = from;
        if (**s == '-') {
            (*s)++;
            if (!cpu_number(s, &to)) {
                return false;
            }
        }
    }
    for (uint32_t i = from; i <= to && i < n; i++) {
        bit_put(b, i, on);
    }
    return from <= to;
}

bool xen_parse_cpus(const char *s, uint32_t n, libxl_bitmap *ret)
{
    bool ok = true;

    bits_alloc(ret, n);
    while (ok) {
        ok = cpu_range(&s, n, ret);
        if (*s == '\0') {
            break;
        }
        ok = ok && *s++ == ',';
    }
    for (uint32_t i = 0; ok && i < ret->size; i++) {
        if (ret->map[i] != 0) {
            return true;
        }
    }
    libxl_bitmap_dispose(ret);
    return false;
}

static int pin(const char *list, libxl_domain_build_info *b, struct err *err)
{
    b->num_vcpu_hard_affinity = b->max_vcpus;
    b->vcpu_hard_affinity = mem_alloc((size_t)b->max_vcpus * sizeof(*b->vcpu_hard_affinity));
    for (int i = 0; i < b->max_vcpus; i++) {
        if (!xen_parse_cpus(list, CPUS_MAX, &b->vcpu_hard_affinity[i])) {
            return err_set(err, ERR_INVALID,
                           "spec.cpu.pin: \"%s\" is not a list of CPUs below %u such as 0-3,8",
                           list, CPUS_MAX);
        }
    }
    return 0;
}

static int cpuid(const char *list, libxl_domain_build_info *b, struct err *err)
{
    char *copy = mem_strdup(list);
    char *save = NULL;
    int rc = 0;

    for (char *f = strtok_r(copy, ", ", &save); rc == 0 && f != NULL;
         f = strtok_r(NULL, ", ", &save)) {
        if (str_eq(f, "host")) {
            continue; /* as in xl.cfg(5): what follows is relative to the host */
        }
        if (libxl_cpuid_parse_config(&b->cpuid, f) != 0) {
            rc = err_set(err, ERR_INVALID,
                         "spec.cpu.cpuid: \"%s\" is not a feature that libxl knows (xl.cfg(5), "
                         "cpuid in libxl form)",
                         f);
        }
    }
    free(copy);
    return rc;
}

int xen_map_cpu(const struct xen_map_in *in, libxl_domain_config *c, struct err *err)
{
    libxl_domain_build_info *b = &c->b_info;
    const json_t *cpu = jget(in->object, "spec.cpu");
    uint32_t vcpus = xen_map_vcpus(in->object);
    const char *list;
    int rc = 0;

    b->max_vcpus = (int)jget_int(in->object, "spec.vcpusMax", (int64_t)vcpus);
    xen_bits_first(&b->avail_vcpus, vcpus);
    if (str_eq(jget_str(cpu, "policy", "Migratable"), "Host")) {
        libxl_defbool_set(&b->disable_migrate, true);
    }
    b->sched_params.weight = (int)jget_int(cpu, "weight", LIBXL_DOMAIN_SCHED_PARAM_WEIGHT_DEFAULT);
    b->sched_params.cap = (int)jget_int(cpu, "cap", LIBXL_DOMAIN_SCHED_PARAM_CAP_DEFAULT);
    list = jget_str(cpu, "pin", NULL);
    if (list != NULL) {
        rc = pin(list, b, err);
    }
    list = jget_str(cpu, "cpuid", NULL);
    if (rc == 0 && list != NULL) {
        rc = cpuid(list, b, err);
    }
    return rc;
}

static int map_memory(const struct xen_map_in *in, libxl_domain_build_info *b, struct err *err)
{
    b->target_memkb = xen_map_memory_kb(in->object);
    b->max_memkb = jget_size(in->object, "spec.memoryMax", b->target_memkb * 1024) / 1024;
    libxl_defbool_set(&b->claim_mode, true);
    if (b->target_memkb < 1024 || b->max_memkb < b->target_memkb) {
        return err_set(err, ERR_INVALID,
                       "spec.memory: %" PRIu64 " KiB of at most %" PRIu64
                       " KiB is no memory for a guest",
                       b->target_memkb, b->max_memkb);
    }
    return 0;
}

/* --- how it boots ------------------------------------------------------------------------------
 */

static libxl_string_list string_list(const json_t *list)
{
    size_t n = json_array_size(list);
    char **ret;

    if (n == 0) {
        return NULL;
    }
    ret = mem_alloc((n + 1) * sizeof(*ret));
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));

        ret[i] = mem_strdup(s == NULL ? "" : s);
    }
    return ret;
}

static void map_boot(const struct xen_map_in *in, libxl_domain_config *c)
{
    const json_t *boot = jget(in->object, "spec.boot");
    libxl_domain_build_info *b = &c->b_info;

    b->kernel = mem_strdup(jget_str(boot, "kernel", NULL));
    b->ramdisk = mem_strdup(jget_str(boot, "ramdisk", NULL));
    b->cmdline = mem_strdup(jget_str(boot, "args", NULL));
    b->bootloader = mem_strdup(jget_str(boot, "bootloader", NULL));
    b->bootloader_args = string_list(jget(boot, "bootloaderArgs"));
    if (b->type != LIBXL_DOMAIN_TYPE_HVM) {
        return;
    }
    b->u.hvm.boot = mem_strdup(jget_str(boot, "order", "c"));
    b->u.hvm.bios = str_eq(jget_str(boot, "firmware", "BIOS"), "UEFI") ? LIBXL_BIOS_TYPE_OVMF
                                                                       : LIBXL_BIOS_TYPE_SEABIOS;
    if (jget_bool(in->object, "spec.console", true)) {
        b->u.hvm.serial = mem_strdup("pty");
    }
}

static int map_type(const struct xen_map_in *in, libxl_domain_config *c, struct err *err)
{
    const char *virt = jget_str(in->object, "spec.virt", "HVM");

    if (str_eq(virt, "PV")) {
        c->c_info.type = LIBXL_DOMAIN_TYPE_PV;
    } else if (str_eq(virt, "PVH")) {
        c->c_info.type = LIBXL_DOMAIN_TYPE_PVH;
    } else if (str_eq(virt, "HVM")) {
        c->c_info.type = LIBXL_DOMAIN_TYPE_HVM;
    } else {
        return err_set(err, ERR_INVALID, "spec.virt: \"%s\" is not PV, PVH or HVM", virt);
    }
    libxl_domain_build_info_init_type(&c->b_info, c->c_info.type);
    return 0;
}

int xen_map(const struct xen_map_in *in, libxl_domain_config *ret, struct err *err)
{
    int rc;

    libxl_domain_config_init(ret);
    rc = map_type(in, ret, err);
    if (rc != 0) {
        return rc;
    }
    ret->c_info.name = mem_strdup(in->vm);
    xen_map_uuid(in->object, in->uid, &ret->c_info.uuid);
    add_marks(in, &ret->c_info);
    map_boot(in, ret);
    /* What happens at its end is the planner's matter: the domain stays until we remove it. */
    ret->on_poweroff = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    ret->on_reboot = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    ret->on_watchdog = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    ret->on_crash = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    ret->on_soft_reset = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    rc = map_memory(in, &ret->b_info, err);
    rc = rc != 0 ? rc : xen_map_cpu(in, ret, err);
    rc = rc != 0 ? rc : xen_map_disks(in, ret, err);
    rc = rc != 0 ? rc : xen_map_nics(in, ret, err);
    rc = rc != 0 ? rc : xen_map_graphics(in, ret, err);
    return rc != 0 ? rc : xen_map_extra(in, ret, err);
}

/* --- what Xen says ----------------------------------------------------------------------------
 */

enum dom_reason xen_reason(int shutdown_reason, bool asked)
{
    switch (shutdown_reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF:
        return asked ? DOM_REASON_SHUTDOWN : DOM_REASON_POWEROFF;
    case LIBXL_SHUTDOWN_REASON_REBOOT:
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
        return DOM_REASON_REBOOT;
    case LIBXL_SHUTDOWN_REASON_CRASH:
    case LIBXL_SHUTDOWN_REASON_WATCHDOG:
        return DOM_REASON_CRASH;
    default:
        return DOM_REASON_VANISHED;
    }
}

const char *xen_reason_text(int shutdown_reason)
{
    switch (shutdown_reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF:
        return "the guest is powered off";
    case LIBXL_SHUTDOWN_REASON_REBOOT:
        return "the guest asked for a reboot";
    case LIBXL_SHUTDOWN_REASON_SUSPEND:
        return "the guest is suspended";
    case LIBXL_SHUTDOWN_REASON_CRASH:
        return "the guest crashed";
    case LIBXL_SHUTDOWN_REASON_WATCHDOG:
        return "the guest's watchdog ended it";
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
        return "the guest asked for a soft reset (kexec)";
    default:
        return "the guest ended for a reason that Xen does not name";
    }
}
