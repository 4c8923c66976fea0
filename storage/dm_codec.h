#ifndef STORAGE_DM_CODEC_H
#define STORAGE_DM_CODEC_H

/* What device-mapper has on this host: the truth about what is active, and it never touches a disk.
 * Memory belongs to the arena of the caller. Pure; any thread. Source: dmsetup(8). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/* dmsetup info -c --noheadings --separator '|' -o DM_COLUMNS. The name comes last, since it is the
 * only column that might hold the separator. */
#define DM_COLUMNS "uuid,major,minor,open,suspended,readonly,tables_loaded,name"
#define DM_DEVICES_MAX 16384

struct dm_device {
    const char *name;
    const char *uuid; /* "LVM-...", "mpath-WWID", "" */
    uint32_t major;
    uint32_t minor;
    uint64_t open; /* openers */
    bool suspended;
    bool read_only;
    bool live; /* has a table: without one it is an empty shell */
};

struct dm_devices {
    struct dm_device *list;
    size_t n;
};

/* ERR_CORRUPT: not such a list. "No devices found" is the empty list. */
int dm_parse(const char *text, size_t len, struct arena *a, struct dm_devices *ret,
             struct err *err) ERR_USED;
/* The group and the volume whose mapping this is; false: it is none, or one below a volume. */
bool dm_lvm_name(const struct dm_device *d, struct arena *a, const char **ret_group,
                 const char **ret_volume);
/* By uuid; NULL when there is none. */
const struct dm_device *dm_find(const struct dm_devices *d, const char *uuid);

#endif
