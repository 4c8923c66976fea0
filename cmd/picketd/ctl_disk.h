#ifndef CMD_PICKETD_CTL_DISK_H
#define CMD_PICKETD_CTL_DISK_H

#include "cmd/picketd/ctl_priv.h"

/* What hosts report about LUNs, groups, sessions and interfaces, into the status of `next`. */
void ctl_disk_status(struct pass *p, const struct ctl_obj *o, json_t *next);

#endif
