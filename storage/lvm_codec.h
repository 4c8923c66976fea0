#ifndef STORAGE_LVM_CODEC_H
#define STORAGE_LVM_CODEC_H

/* What LVM reports in JSON, as data; which columns to ask for; how volumes look in device-mapper.
 *
 * A report counts only when its command ended with status 0: for a group that is missing, vgs
 * prints a proper empty report and exits with 5. What LVM prints as unknown stays unknown. Memory
 * belongs to the arena of the caller. Pure; any thread. Source: lvmreport(7), LVM 2.03.16.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

#define LVM_VG_COLUMNS                                                                             \
    "vg_uuid,vg_name,vg_size,vg_free,vg_extent_size,vg_attr,pv_count,vg_missing_pv_count"
#define LVM_PV_COLUMNS                                                                             \
    "pv_uuid,pv_name,vg_name,vg_uuid,pv_size,pv_free,dev_size,pv_missing,pv_duplicate,pv_in_use"
#define LVM_LV_COLUMNS "lv_uuid,lv_name,vg_uuid,vg_name,lv_size,lv_attr,lv_active,lv_device_open"

#define LVM_NAME_MAX 127 /* lvm(8), VALID NAMES */
#define LVM_ROWS_MAX 16384

enum lvm_tri { LVM_UNKNOWN = 0, LVM_NO, LVM_YES };

struct lvm_vg {
    const char *uuid;
    const char *name;
    uint64_t size; /* bytes, as all sizes here */
    uint64_t free;
    uint64_t extent;
    uint64_t pvs;
    uint64_t missing; /* physical volumes that are not to be seen */
    bool writable;
    bool exported;
    bool shared; /* lvmlockd's or clvmd's */
};

struct lvm_pv {
    const char *uuid;
    const char *device; /* "[unknown]" when it is missing */
    const char *vg;     /* "": in no group */
    const char *vg_uuid;
    uint64_t size;
    uint64_t free;
    uint64_t dev_size;
    bool missing;
    bool duplicate;
};

struct lvm_lv {
    const char *uuid;
    const char *name;
    const char *vg;
    const char *vg_uuid;
    uint64_t size;
    char type; /* first character of lv_attr: '-' for a plain volume */
    bool writable;
    enum lvm_tri active; /* on this host */
    enum lvm_tri open;
};

struct lvm_report {
    struct lvm_vg *vgs;
    size_t n_vgs;
    struct lvm_pv *pvs;
    size_t n_pvs;
    struct lvm_lv *lvs;
    size_t n_lvs;
};

/* Read the output of vgs, pvs or lvs (whatever it holds) and add it to *ret, which begins zeroed.
 * ERR_CORRUPT: not a report, or one without the columns above. */
int lvm_report_parse(const char *text, size_t len, struct arena *a, struct lvm_report *ret,
                     struct err *err) ERR_USED;

const struct lvm_vg *lvm_find_vg(const struct lvm_report *r, const char *name);
const struct lvm_lv *lvm_find_lv(const struct lvm_report *r, const char *vg, const char *name);
const struct lvm_pv *lvm_find_pv(const struct lvm_report *r, const char *device);

/* May a group or volume be named so (lvm(8))? No leading '-', none of LVM's own names. */
bool lvm_name_ok(const char *name);
/* "/dev/mapper/vg-lv": a '-' inside a name is doubled. */
char *lvm_mapper_path(struct arena *a, const char *vg, const char *lv);
/* "LVM-" and both ids without their dashes: what device-mapper says about a plain volume. NULL
 * when an id has not the 32 characters of LVM's ids. */
char *lvm_dm_uuid(struct arena *a, const char *vg_uuid, const char *lv_uuid);

#endif
