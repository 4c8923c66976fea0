#ifndef STORAGE_LVM_CMD_CODEC_H
#define STORAGE_LVM_CMD_CODEC_H

/* Steps and looks as commands, and the LVM configuration that Picket needs.
 *
 * Reports take no lock of LVM, so that they never wait behind a command that hangs. Nothing here is
 * told to answer questions with yes: when LVM finds something on a disk that the look before did
 * not, it asks, gets an end of input, and refuses. Volumes are deactivated through device-mapper,
 * which reads no disk. Memory belongs to the arena. Pure; any thread. Sources: lvm(8), lvm.conf(5),
 * dmsetup(8). */

#include "storage/st_plan.h"

#define LVM_PROGRAM "/usr/sbin/lvm"
#define DMSETUP_PROGRAM "/usr/sbin/dmsetup"

enum lvm_look { LVM_LOOK_VGS = 0, LVM_LOOK_PVS, LVM_LOOK_LVS, LVM_LOOK_DM };

/* For cmd_start: NULL at the end. The first three are for lvm_report_parse, the last for dm_parse.
 */
const char *const *lvm_look_argv(enum lvm_look look, struct arena *a);

struct lvm_cmd {
    const char *group;
    const char *volume;         /* NULL for steps of a group */
    uint64_t extent;            /* ST_VG_CREATE: 0 is LVM's default */
    const char *const *devices; /* ST_VG_CREATE: by WWID, NULL at the end */
    const char *map;            /* ST_VOL_FAIL_NO_PATH: the multipath map's name */
};

/* ERR_INVALID: a name that LVM would not take, a device that is not an absolute path, or no device.
 * ERR_UNSUPPORTED: not a command (ST_VOL_TELL_GUEST is the hypervisor's). */
int lvm_step_argv(const struct st_step *step, const struct lvm_cmd *c, struct arena *a,
                  const char *const **ret, struct err *err) ERR_USED;

enum lvm_conf_owner {
    LVM_CONF_NONE = 0, /* says nothing: empty, or comments and empty sections, as Debian ships it */
    LVM_CONF_OURS,     /* made by Picket, and as it was made */
    LVM_CONF_EDITED,   /* made by Picket, and changed by somebody since */
    LVM_CONF_FOREIGN,  /* somebody else's settings */
};
/* Whose is this text?  What Picket makes names its own checksum (CRC-32C) in the first line. */
enum lvm_conf_owner lvm_conf_owner(const char *text, size_t len);

/* The whole of lvmlocal.conf: nobody but the agent activates a volume of Picket's groups. Only
 * `local` groups (not Picket's) can be activated by hand or at boot; the agent names the one volume
 * whose lock it holds on its own command line. ERR_INVALID: a bad name. */
int lvm_conf_render(const char *const *local, size_t n, struct buf *out, struct err *err) ERR_USED;
/* Number of the first line that differs from `want`, from 1; 0: no drift. */
size_t lvm_conf_drift(const char *have, size_t have_len, const char *want);

#endif
