#ifndef API_KINDS_H
#define API_KINDS_H

/* All kinds, each defined in a kinds_*.c.  Everyone else goes through kind_find() and kind_at(). */

#include "api/kind.h"

extern const struct kind kind_cluster;
extern const struct kind kind_host;
extern const struct kind kind_fence_device;
extern const struct kind kind_fencing;
extern const struct kind kind_fence_confirmation;
extern const struct kind kind_lock;
extern const struct kind kind_secret;
extern const struct kind kind_iscsi_target;
extern const struct kind kind_lun;
extern const struct kind kind_multipath_policy;
extern const struct kind kind_volume_group;
extern const struct kind kind_volume;
extern const struct kind kind_shared_filesystem;
extern const struct kind kind_replicated_volume;
extern const struct kind kind_iscsi_export;
extern const struct kind kind_virtual_ip;
extern const struct kind kind_bond;
extern const struct kind kind_bridge;
extern const struct kind kind_vlan;
extern const struct kind kind_virtual_machine;
extern const struct kind kind_placement_rule;
extern const struct kind kind_migration;
extern const struct kind kind_network_check;
extern const struct kind kind_role;
extern const struct kind kind_role_binding;

/* kinds_vm_check.c */
void kind_vm_check(const json_t *obj, void *problems);
void kind_vm_fill(json_t *obj);

#endif
