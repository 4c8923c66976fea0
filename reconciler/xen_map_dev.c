#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/xen_map.h"

/* Disks, network cards and screens. */

#define RATE_INTERVAL_US 50000U /* as xl does: credit is given so often */

/* --- disks -------------------------------------------------------------------------------------
 */

static const json_t *find_disk(const json_t *object, const char *name)
{
    const json_t *disks = jget(object, "spec.disks");

    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *d = json_array_get(disks, i);

        if (str_eq(jget_str(d, "name", NULL), name)) {
            return d;
        }
    }
    return NULL;
}

/* Firmware reads only emulated disks, and those are hda to hdd; the guest's own driver takes them
 * over as xvda to xvdd. */
static char *vdev(const libxl_domain_config *c, const char *target)
{
    if (c->c_info.type == LIBXL_DOMAIN_TYPE_HVM && strlen(target) == 4 &&
        str_starts(target, "xvd") && target[3] <= 'd') {
        return mem_printf("hd%c", target[3]);
    }
    return mem_strdup(target);
}

static libxl_disk_format disk_format(const json_t *spec)
{
    const char *format = jget_str(spec, "format", "Raw");

    if (str_eq(format, "Qcow2")) {
        return LIBXL_DISK_FORMAT_QCOW2;
    }
    return str_eq(format, "Vhd") ? LIBXL_DISK_FORMAT_VHD : LIBXL_DISK_FORMAT_RAW;
}

static int map_disk(const struct xen_map_in *in, size_t i, libxl_domain_config *c, struct err *err)
{
    const struct drv_disk *in_disk = &in->disks[i];
    const json_t *spec = find_disk(in->object, in_disk->name);
    bool cdrom = json_object_get(spec, "cdrom") != NULL;
    libxl_device_disk *d = &c->disks[i];

    libxl_device_disk_init(d);
    c->num_disks = (int)i + 1;
    if (in->paths[i] == NULL && !cdrom) {
        return err_set(err, ERR_INVALID, "disk %s: nothing says which device or file it is",
                       in_disk->name);
    }
    if (in_disk->target[0] == '\0') {
        return err_set(err, ERR_INVALID, "disk %s has no target such as xvda", in_disk->name);
    }
    d->vdev = vdev(c, in_disk->target);
    d->pdev_path = mem_strdup(in->paths[i]);
    d->format = in->paths[i] == NULL ? LIBXL_DISK_FORMAT_EMPTY : disk_format(spec);
    d->readwrite = !in_disk->read_only && !cdrom;
    d->is_cdrom = cdrom;
    d->removable = cdrom;
    return 0;
}

int xen_map_disks(const struct xen_map_in *in, libxl_domain_config *c, struct err *err)
{
    int rc = 0;

    c->disks = mem_alloc((in->n_disks + 1) * sizeof(*c->disks));
    for (size_t i = 0; rc == 0 && i < in->n_disks; i++) {
        rc = map_disk(in, i, c, err);
    }
    return rc;
}

/* --- network cards -----------------------------------------------------------------------------
 */

bool xen_parse_rate(const char *s, uint64_t *ret_bytes)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = { { "Kb/s", 125 },  { "Mb/s", 125000 },  { "Gb/s", 125000000 },
                  { "KB/s", 1000 }, { "MB/s", 1000000 }, { "GB/s", 1000000000 } };
    size_t n = strspn(s, "0123456789");
    char text[12];
    uint64_t v;

    if (n == 0 || n >= 10) {
        return false;
    }
    memcpy(text, s, n);
    text[n] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (str_eq(s + n, units[i].unit)) {
            (void)str_parse_u64(text, &v);
            *ret_bytes = v * units[i].bytes;
            return v != 0;
        }
    }
    return false;
}

bool xen_parse_mac(const char *s, libxl_mac *ret)
{
    if (strlen(s) != 17) {
        return false;
    }
    for (size_t i = 0; i < 6; i++) {
        char text[3] = { s[3 * i], s[3 * i + 1], '\0' };

        if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]) ||
            (i < 5 && s[3 * i + 2] != ':')) {
            return false;
        }
        (*ret)[i] = (uint8_t)strtoul(text, NULL, 16);
    }
    return true;
}

void xen_make_mac(const char *uid, size_t index, libxl_mac *ret)
{
    uint32_t h = crc32c((uint32_t)index + 1, uid, strlen(uid));

    (*ret)[0] = 0x00;
    (*ret)[1] = 0x16;
    (*ret)[2] = 0x3e;
    (*ret)[3] = (uint8_t)((h >> 16) & 0x7f);
    (*ret)[4] = (uint8_t)(h >> 8);
    (*ret)[5] = (uint8_t)h;
}

static const char *nic_mac(const struct xen_map_in *in, const json_t *spec, size_t i)
{
    const json_t *kept = json_array_get(jget(in->object, "status.nics"), i);

    return jget_str(spec, "mac", jget_str(kept, "mac", NULL));
}

static int map_nic(const struct xen_map_in *in, size_t i, libxl_domain_config *c, struct err *err)
{
    const json_t *spec = json_array_get(jget(in->object, "spec.nics"), i);
    const char *mac = nic_mac(in, spec, i);
    const char *rate = jget_str(spec, "rate", NULL);
    const char *model = jget_str(spec, "model", "PV");
    libxl_device_nic *n = &c->nics[i];
    uint64_t bytes;

    libxl_device_nic_init(n);
    c->num_nics = (int)i + 1;
    if (mac == NULL) {
        xen_make_mac(in->uid, i, &n->mac);
    } else if (!xen_parse_mac(mac, &n->mac)) {
        return err_set(err, ERR_INVALID, "spec.nics[%zu].mac: \"%s\" is not a MAC address", i, mac);
    }
    if (json_object_get(spec, "vlan") != NULL) {
        return err_set(err, ERR_UNSUPPORTED,
                       "spec.nics[%zu].vlan: Xen's vif-bridge script cannot tag a guest's port; "
                       "make a VLAN object and a bridge on it",
                       i);
    }
    n->bridge = mem_strdup(jget_str(spec, "bridge", ""));
    n->nictype = LIBXL_NIC_TYPE_VIF;
    if (!str_eq(model, "PV")) {
        n->nictype = LIBXL_NIC_TYPE_VIF_IOEMU;
        n->model = mem_strdup(str_eq(model, "virtio") ? "virtio-net-pci" : model);
    }
    if (rate != NULL) {
        if (!xen_parse_rate(rate, &bytes)) {
            return err_set(err, ERR_INVALID, "spec.nics[%zu].rate: \"%s\" is not a rate", i, rate);
        }
        n->rate_interval_usecs = RATE_INTERVAL_US;
        n->rate_bytes_per_interval = bytes * RATE_INTERVAL_US / 1000000;
    }
    return 0;
}

int xen_map_nics(const struct xen_map_in *in, libxl_domain_config *c, struct err *err)
{
    size_t n = json_array_size(jget(in->object, "spec.nics"));
    int rc = 0;

    c->nics = mem_alloc((n + 1) * sizeof(*c->nics));
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = map_nic(in, i, c, err);
    }
    return rc;
}

/* --- screens -----------------------------------------------------------------------------------
 */

static void map_vnc(const struct xen_map_in *in, libxl_vnc_info *v)
{
    const json_t *g = jget(in->object, "spec.graphics");
    int64_t port = jget_int(g, "port", 0);

    libxl_defbool_set(&v->enable, true);
    v->listen = mem_strdup(jget_str(g, "listen", "127.0.0.1"));
    v->passwd = mem_strdup(in->vnc_password);
    libxl_defbool_set(&v->findunused, port == 0);
    v->display = port == 0 ? 0 : (int)(port - 5900);
}

int xen_map_graphics(const struct xen_map_in *in, libxl_domain_config *c, struct err *err)
{
    const json_t *g = jget(in->object, "spec.graphics");
    bool vnc = str_eq(jget_str(g, "type", "None"), "VNC");
    const char *keymap = jget_str(g, "keymap", NULL);

    if (vnc && json_object_get(g, "passwordRef") != NULL && in->vnc_password == NULL) {
        return err_set(err, ERR_UNSUPPORTED,
                       "spec.graphics.passwordRef: the password is not known to this host, and "
                       "the screen is not opened without it");
    }
    if (c->c_info.type == LIBXL_DOMAIN_TYPE_HVM) {
        libxl_defbool_set(&c->b_info.u.hvm.vnc.enable, vnc);
        libxl_defbool_set(&c->b_info.u.hvm.sdl.enable, false);
        if (vnc) {
            map_vnc(in, &c->b_info.u.hvm.vnc);
            c->b_info.u.hvm.keymap = mem_strdup(keymap);
        }
        return 0;
    }
    if (!vnc) {
        return 0;
    }
    c->vfbs = mem_alloc(sizeof(*c->vfbs));
    c->vkbs = mem_alloc(sizeof(*c->vkbs));
    libxl_device_vfb_init(&c->vfbs[0]);
    libxl_device_vkb_init(&c->vkbs[0]);
    c->num_vfbs = 1;
    c->num_vkbs = 1;
    map_vnc(in, &c->vfbs[0].vnc);
    c->vfbs[0].keymap = mem_strdup(keymap);
    return 0;
}
