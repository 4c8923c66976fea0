#ifndef RECONCILER_XEN_MAP_H
#define RECONCILER_XEN_MAP_H

/* From a VirtualMachine to what libxenlight makes a domain of, and small translations back.
 *
 * Pure but for memory: no libxl context, no Xen needed, any thread.  What the objects say was
 * validated by the API; what only a host can know (device paths, a password) comes as an argument.
 * Everything that has no effect in libxl is refused with the field's path rather than ignored.
 */

#include <jansson.h>
#include <libxl.h>

#include "reconciler/drv.h"

/* Nodes below /local/domain/ID that say for whom the domain runs; written with the domain, in one
 * transaction, and found again by whoever comes after us. */
#define XEN_MARK_VM "picket/vm"
#define XEN_MARK_UID "picket/uid"
#define XEN_MARK_INCARNATION "picket/incarnation"
#define XEN_MARK_TOKEN "picket/token"
#define XEN_MARK_SINCE "picket/since" /* wall clock, ms */
#define XEN_MARK_READY "picket/ready" /* complete: written when its start is over */

struct xen_map_in {
    const char *vm;
    const char *uid;
    const json_t *object; /* the VirtualMachine */
    const struct drv_disk *disks;
    const char *const *paths; /* of each disk: device or file; NULL: an empty CD-ROM drive */
    size_t n_disks;
    uint64_t incarnation, token;
    uint64_t since_wall_ms;
    const char *vnc_password; /* NULL: none */
};

/* Fill *ret (to be disposed with libxl_domain_config_dispose, also after a failure).
 * ERR_INVALID, ERR_UNSUPPORTED: which field, and why. */
int xen_map(const struct xen_map_in *in, libxl_domain_config *ret, struct err *err) ERR_USED;

/* The domain's UUID: spec.uuid, else metadata.uid when that is a UUID, else one made of it. */
void xen_map_uuid(const json_t *object, const char *uid, libxl_uuid *ret);
/* What can be changed while it runs. */
uint64_t xen_map_memory_kb(const json_t *object);
uint32_t xen_map_vcpus(const json_t *object);
/* A bitmap with the first n bits set, of at least n bits; libxl_bitmap_dispose. */
void xen_bits_first(libxl_bitmap *b, uint32_t n);

enum dom_reason xen_reason(int shutdown_reason, bool asked);
/* "the guest crashed", ... for people; static. */
const char *xen_reason_text(int shutdown_reason);

/* Parts, for the files of this module only. */
int xen_map_disks(const struct xen_map_in *in, libxl_domain_config *c, struct err *err) ERR_USED;
int xen_map_nics(const struct xen_map_in *in, libxl_domain_config *c, struct err *err) ERR_USED;
int xen_map_graphics(const struct xen_map_in *in, libxl_domain_config *c, struct err *err) ERR_USED;
int xen_map_cpu(const struct xen_map_in *in, libxl_domain_config *c, struct err *err) ERR_USED;
int xen_map_extra(const struct xen_map_in *in, libxl_domain_config *c, struct err *err) ERR_USED;
/* "100Mb/s" and the like in bytes a second; false: not a rate. */
bool xen_parse_rate(const char *s, uint64_t *ret_bytes);
/* "0-3,8", "all,^0" as bits below `n`; false: not a list, or nothing is left. */
bool xen_parse_cpus(const char *s, uint32_t n, libxl_bitmap *ret);
/* "0000:03:00.0" or "03:00.0"; false: neither. */
bool xen_parse_pci(const char *s, libxl_device_pci *ret);
bool xen_parse_mac(const char *s, libxl_mac *ret);
/* The stable address of a card for which nobody chose one (Xen's range 00:16:3e). */
void xen_make_mac(const char *uid, size_t index, libxl_mac *ret);

#endif
