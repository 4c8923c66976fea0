#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/xen_map.h"

/* spec.extra: settings of xl.cfg(5) that have no field of their own, under the names they have
 * there. */

enum extra_type {
    X_BOOL = 1, /* libxl_defbool */
    X_U32,
    X_INT,
    X_MIB, /* uint64_t in KiB */
    X_STR,
    X_LIST, /* libxl_string_list */
    X_ENUM, /* by the word that libxl has for it */
};

enum extra_for { FOR_ALL = 0, FOR_HVM, FOR_PV };

struct extra {
    const char *name;
    enum extra_type type;
    enum extra_for only;
    size_t offset; /* in libxl_domain_config */
    int (*parse)(const char *s, int *ret);
};

#define B(f) offsetof(libxl_domain_config, b_info.f)
#define C(f) offsetof(libxl_domain_config, c_info.f)

/* libxl's enums are int-sized; each has its own parser. */
#define ENUM_PARSER(name, type)                                                                    \
    static int name(const char *s, int *ret)                                                       \
    {                                                                                              \
        type v;                                                                                    \
        int rc = type##_from_string(s, &v);                                                        \
                                                                                                   \
        *ret = rc == 0 ? (int)v : 0;                                                               \
        return rc;                                                                                 \
    }

ENUM_PARSER(parse_tsc, libxl_tsc_mode)
ENUM_PARSER(parse_timer, libxl_timer_mode)
ENUM_PARSER(vga_word, libxl_vga_interface_type)
ENUM_PARSER(parse_hdtype, libxl_hdtype)
ENUM_PARSER(parse_passthrough, libxl_passthrough)
ENUM_PARSER(parse_altp2m, libxl_altp2m_mode)

/* xl.cfg(5) says stdvga where libxl says std. */
static int parse_vga(const char *s, int *ret)
{
    return vga_word(str_eq(s, "stdvga") ? "std" : s, ret);
}

/* clang-format off */
static const struct extra extras[] = {
    { "acpi", X_BOOL, FOR_ALL, B(acpi), NULL },
    { "acpi_firmware", X_STR, FOR_HVM, B(u.hvm.acpi_firmware), NULL },
    { "acpi_laptop_slate", X_BOOL, FOR_HVM, B(u.hvm.acpi_laptop_slate), NULL },
    { "acpi_s3", X_BOOL, FOR_HVM, B(u.hvm.acpi_s3), NULL },
    { "acpi_s4", X_BOOL, FOR_HVM, B(u.hvm.acpi_s4), NULL },
    { "altp2m", X_ENUM, FOR_ALL, B(altp2m), parse_altp2m },
    { "apic", X_BOOL, FOR_ALL, B(apic), NULL },
    { "blkdev_start", X_STR, FOR_ALL, B(blkdev_start), NULL },
    { "device_model_args", X_LIST, FOR_ALL, B(extra), NULL },
    { "device_model_args_hvm", X_LIST, FOR_ALL, B(extra_hvm), NULL },
    { "device_model_args_pv", X_LIST, FOR_ALL, B(extra_pv), NULL },
    { "device_model_override", X_STR, FOR_ALL, B(device_model), NULL },
    { "device_model_stubdomain_override", X_BOOL, FOR_ALL, B(device_model_stubdomain), NULL },
    { "device_model_user", X_STR, FOR_ALL, B(device_model_user), NULL },
    { "dm_restrict", X_BOOL, FOR_ALL, B(dm_restrict), NULL },
    { "e820_host", X_BOOL, FOR_PV, B(u.pv.e820_host), NULL },
    { "event_channels", X_U32, FOR_ALL, B(event_channels), NULL },
    { "hap", X_BOOL, FOR_ALL, C(hap), NULL },
    { "hdtype", X_ENUM, FOR_HVM, B(u.hvm.hdtype), parse_hdtype },
    { "hpet", X_BOOL, FOR_HVM, B(u.hvm.hpet), NULL },
    { "localtime", X_BOOL, FOR_ALL, B(localtime), NULL },
    { "max_grant_frames", X_U32, FOR_ALL, B(max_grant_frames), NULL },
    { "max_maptrack_frames", X_U32, FOR_ALL, B(max_maptrack_frames), NULL },
    { "mmio_hole", X_MIB, FOR_HVM, B(u.hvm.mmio_hole_memkb), NULL },
    { "nestedhvm", X_BOOL, FOR_ALL, B(nested_hvm), NULL },
    { "nomigrate", X_BOOL, FOR_ALL, B(disable_migrate), NULL },
    { "nx", X_BOOL, FOR_HVM, B(u.hvm.nx), NULL },
    { "oos", X_BOOL, FOR_ALL, C(oos), NULL },
    { "pae", X_BOOL, FOR_HVM, B(u.hvm.pae), NULL },
    { "passthrough", X_ENUM, FOR_ALL, C(passthrough), parse_passthrough },
    { "pool", X_STR, FOR_ALL, C(pool_name), NULL },
    { "rtc_timeoffset", X_U32, FOR_ALL, B(rtc_timeoffset), NULL },
    { "serial", X_STR, FOR_HVM, B(u.hvm.serial), NULL },
    { "shadow_memory", X_MIB, FOR_ALL, B(shadow_memkb), NULL },
    { "smbios_firmware", X_STR, FOR_HVM, B(u.hvm.smbios_firmware), NULL },
    { "soundhw", X_STR, FOR_HVM, B(u.hvm.soundhw), NULL },
    { "timer_mode", X_ENUM, FOR_ALL, B(timer_mode), parse_timer },
    { "tsc_mode", X_ENUM, FOR_ALL, B(tsc_mode), parse_tsc },
    { "usb", X_BOOL, FOR_HVM, B(u.hvm.usb), NULL },
    { "usbdevice", X_STR, FOR_HVM, B(u.hvm.usbdevice), NULL },
    { "usbversion", X_INT, FOR_HVM, B(u.hvm.usbversion), NULL },
    { "vga", X_ENUM, FOR_HVM, B(u.hvm.vga.kind), parse_vga },
    { "videoram", X_MIB, FOR_HVM, B(video_memkb), NULL },
    { "viridian", X_BOOL, FOR_HVM, B(u.hvm.viridian), NULL },
    { "vkb_device", X_BOOL, FOR_HVM, B(u.hvm.vkb_device), NULL },
    { "vpmu", X_BOOL, FOR_ALL, B(vpmu), NULL },
    { "vpt_align", X_BOOL, FOR_HVM, B(u.hvm.vpt_align), NULL },
    { "xen_platform_pci", X_BOOL, FOR_HVM, B(u.hvm.xen_platform_pci), NULL },
};
/* clang-format on */

static int wrong(const char *name, const char *wanted, struct err *err)
{
    return err_set(err, ERR_INVALID, "spec.extra.%s: %s is expected", name, wanted);
}

static bool whole_number(const json_t *v, int64_t max, int64_t *ret)
{
    uint64_t n;

    if (json_is_integer(v)) {
        *ret = json_integer_value(v);
    } else if (json_is_string(v) && str_parse_u64(json_string_value(v), &n) && n <= (uint64_t)max) {
        *ret = (int64_t)n;
    } else {
        return false;
    }
    return *ret >= 0 && *ret <= max;
}

static bool flag(const json_t *v, bool *ret)
{
    int64_t n;

    if (json_is_boolean(v)) {
        *ret = json_is_true(v);
        return true;
    }
    if (!whole_number(v, 1, &n)) {
        return false;
    }
    *ret = n == 1;
    return true;
}

static int set_list(const char *name, const json_t *v, libxl_string_list *ret, struct err *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    char **list = mem_alloc((n + 1) * sizeof(*list));

    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);

        list[i] = mem_strdup(s == NULL ? "" : s);
        if (s == NULL) {
            libxl_string_list_dispose(&list);
            return wrong(name, "a list of strings", err);
        }
    }
    libxl_string_list_dispose(ret);
    *ret = list;
    return 0;
}

static int set_text(const struct extra *x, const json_t *v, void *field, struct err *err)
{
    const char *s = json_string_value(v);
    int n = 0;

    if (x->type == X_LIST) {
        return set_list(x->name, v, field, err);
    }
    if (s == NULL) {
        return wrong(x->name, "a string", err);
    }
    if (x->type == X_STR) {
        char **text = field;

        free(*text);
        *text = mem_strdup(s);
        return 0;
    }
    if (x->parse(s, &n) != 0) {
        return wrong(x->name, "one of the words of xl.cfg(5)", err);
    }
    *(int *)field = n;
    return 0;
}

static int set_extra(const struct extra *x, const json_t *v, void *field, struct err *err)
{
    int64_t n;
    bool on;

    switch (x->type) {
    case X_BOOL:
        if (!flag(v, &on)) {
            return wrong(x->name, "true or false", err);
        }
        libxl_defbool_set(field, on);
        return 0;
    case X_U32:
    case X_INT:
        if (!whole_number(v, x->type == X_INT ? INT32_MAX : UINT32_MAX, &n)) {
            return wrong(x->name, "a whole number", err);
        }
        *(uint32_t *)field = (uint32_t)n;
        return 0;
    case X_MIB:
        if (!whole_number(v, 1 << 20, &n)) {
            return wrong(x->name, "a number of MiB", err);
        }
        *(uint64_t *)field = (uint64_t)n * 1024;
        return 0;
    case X_STR:
    case X_LIST:
    case X_ENUM:
        return set_text(x, v, field, err);
    }
    CHECK_UNREACHABLE();
}

/* --- PCI devices -------------------------------------------------------------------------------
 */

static bool hex_part(const char **s, size_t digits, unsigned *ret)
{
    *ret = 0;
    for (size_t i = 0; i < digits; i++, (*s)++) {
        char c = (char)tolower((unsigned char)**s);

        if (!isxdigit((unsigned char)c)) {
            return false;
        }
        *ret = *ret * 16 + (unsigned)(c >= 'a' ? c - 'a' + 10 : c - '0');
    }
    return true;
}

bool xen_parse_pci(const char *s, libxl_device_pci *ret)
{
    unsigned domain = 0, bus, dev, fn;
    bool ok = true;

    if (strlen(s) == strlen("0000:00:00.0")) {
        ok = hex_part(&s, 4, &domain) && *s++ == ':';
    } else if (strlen(s) != strlen("00:00.0")) {
        return false;
    }
    ok = ok && hex_part(&s, 2, &bus) && *s++ == ':' && hex_part(&s, 2, &dev) && *s++ == '.' &&
         hex_part(&s, 1, &fn);
    if (!ok || dev > 31 || fn > 7) {
        return false;
    }
    ret->domain = (int)domain;
    ret->bus = (uint8_t)bus;
    ret->dev = (uint8_t)dev;
    ret->func = (uint8_t)fn;
    return true;
}

static int map_pci(const json_t *list, libxl_domain_config *c, struct err *err)
{
    size_t n = json_array_size(list);

    if (!json_is_array(list)) {
        return wrong("pci", "a list of devices such as 0000:03:00.0", err);
    }
    c->pcidevs = mem_alloc((n + 1) * sizeof(*c->pcidevs));
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));

        libxl_device_pci_init(&c->pcidevs[i]);
        c->num_pcidevs = (int)i + 1;
        if (s == NULL || !xen_parse_pci(s, &c->pcidevs[i])) {
            return wrong("pci", "a list of devices such as 0000:03:00.0", err);
        }
    }
    return 0;
}

/* --- all ---------------------------------------------------------------------------------------
 */

static bool applies(enum extra_for only, libxl_domain_type type)
{
    return only == FOR_ALL || (only == FOR_HVM && type == LIBXL_DOMAIN_TYPE_HVM) ||
           (only == FOR_PV && type == LIBXL_DOMAIN_TYPE_PV);
}

static int map_one(const char *name, const json_t *v, libxl_domain_config *c, struct err *err)
{
    if (str_eq(name, "pci")) {
        return map_pci(v, c, err);
    }
    for (size_t i = 0; i < ARRAY_LEN(extras); i++) {
        const struct extra *x = &extras[i];

        if (!str_eq(x->name, name)) {
            continue;
        }
        if (!applies(x->only, c->c_info.type)) {
            return err_set(err, ERR_INVALID, "spec.extra.%s is for %s guests, this one is %s", name,
                           x->only == FOR_HVM ? "HVM" : "PV",
                           libxl_domain_type_to_string(c->c_info.type));
        }
        return set_extra(x, v, (char *)c + x->offset, err);
    }
    return err_set(
        err, ERR_UNSUPPORTED,
        "spec.extra.%s is not a setting that is passed on to Xen; docs/xen.md lists them", name);
}

int xen_map_extra(const struct xen_map_in *in, libxl_domain_config *c, struct err *err)
{
    json_t *extra = json_object_get(json_object_get(in->object, "spec"), "extra");
    const char *name;
    json_t *v;
    int rc = 0;

    json_object_foreach (extra, name, v) {
        rc = map_one(name, v, c, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
