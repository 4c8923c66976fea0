/* The few fields of API objects that the safety rules read: whether a pinned level is one that the
 * Host declares, of which type a device is, and what a reservation covers.
 *
 * The names are those of the field tables in api/kinds_*.c.  Reading them here, in the state
 * machine, means that not even our own controllers can pin a level that nobody declared. */

#include "store/store_priv.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

int obj_open(const struct store *s, const char *plural, const char *name, struct obj_info *ret,
             struct err *err)
{
    char key[CMD_MAX_KEY];
    const struct kv *v;
    const char *text;
    json_error_t je;
    size_t n;
    int len, rc;

    ret->json = NULL;
    len = snprintf(key, sizeof(key), "o/%s/%s", plural, name);
    if (len < 0 || (size_t)len >= sizeof(key) || (v = st_get(s, key, (size_t)len)) == NULL) {
        return err_set(err, ERR_NOT_FOUND, "%s \"%s\" does not exist", plural, name);
    }
    rc = objval_decode(kv_value(v), v->vlen, &ret->generation, &ret->flags, &text, &n, err);
    if (rc != 0) {
        return err_wrap(err, "%s \"%s\"", plural, name);
    }
    ret->create_rev = v->create_rev;
    ret->json = json_loadb(text, n, 0, &je);
    if (ret->json == NULL) {
        return err_set(err, ERR_CORRUPT, "%s \"%s\": no JSON at byte %d: %s", plural, name,
                       je.position, je.text);
    }
    return 0;
}

void obj_done(struct obj_info *o)
{
    json_decref(o->json);
    o->json = NULL;
}

static const json_t *spec_of(const struct obj_info *o, const char *field)
{
    return json_object_get(json_object_get(o->json, "spec"), field);
}

const char *obj_uid(const struct obj_info *o)
{
    return json_string_value(json_object_get(json_object_get(o->json, "metadata"), "uid"));
}

const char *obj_spec_str(const struct obj_info *o, const char *field)
{
    return json_string_value(spec_of(o, field));
}

static bool same_value(const json_t *a, const json_t *b)
{
    return a == b || (a != NULL && b != NULL && json_equal(a, b));
}

bool obj_same_spec(const struct objval *a, const struct objval *b)
{
    json_error_t je;
    json_t *x = json_loadb(a->json, a->len, 0, &je);
    json_t *y = json_loadb(b->json, b->len, 0, &je);
    bool same = x != NULL && y != NULL &&
                same_value(json_object_get(x, "spec"), json_object_get(y, "spec")) &&
                same_value(json_object_get(json_object_get(x, "metadata"), "uid"),
                           json_object_get(json_object_get(y, "metadata"), "uid"));

    json_decref(x);
    json_decref(y);
    return same;
}

/* --- fencing levels ----------------------------------------------------------------------------
 */

static bool level_equals(const json_t *names, const struct cmd_fence_level *lv)
{
    if (!json_is_array(names) || json_array_size(names) != lv->n_devices) {
        return false;
    }
    for (size_t i = 0; i < lv->n_devices; i++) {
        if (!str_eq(json_string_value(json_array_get(names, i)), lv->devices[i].name)) {
            return false;
        }
    }
    return true;
}

bool obj_host_declares_level(const struct obj_info *host, const struct cmd_fence_level *lv)
{
    const json_t *levels = spec_of(host, "fencing");

    for (size_t i = 0; i < json_array_size(levels); i++) {
        if (level_equals(json_object_get(json_array_get(levels, i), "devices"), lv)) {
            return true;
        }
    }
    return false;
}

/* --- what reservations cover -------------------------------------------------------------------
 */

struct scsi {
    const struct store *s;
    const char *const *devs;
    size_t n_devs;
    struct err *err;
};

static bool list_has(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (str_eq(json_string_value(json_array_get(list, i)), name)) {
            return true;
        }
    }
    return false;
}

/* A device without a list covers all LUNs that the host uses (api/kinds_fence.c). */
static int lun_covered(const struct scsi *q, const char *lun)
{
    for (size_t i = 0; i < q->n_devs; i++) {
        struct obj_info dev;
        const json_t *luns;
        bool yes;

        if (obj_open(q->s, "fencedevices", q->devs[i], &dev, q->err) != 0) {
            return q->err->code;
        }
        luns = spec_of(&dev, "luns");
        yes = luns == NULL || list_has(luns, lun);
        obj_done(&dev);
        if (yes) {
            return 0;
        }
    }
    return err_set(q->err, ERR_REFUSED, "LUN %s is not covered by the reservation", lun);
}

static int group_covered(const struct scsi *q, const char *group)
{
    struct obj_info vg;
    const json_t *luns;
    int rc;

    rc = obj_open(q->s, "volumegroups", group, &vg, q->err);
    if (rc != 0) {
        return rc;
    }
    luns = spec_of(&vg, "luns");
    if (json_array_size(luns) == 0) {
        rc = err_set(q->err, ERR_REFUSED, "volume group %s names no LUNs", group);
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(luns); i++) {
        const char *lun = json_string_value(json_array_get(luns, i));

        rc = lun == NULL
                 ? err_set(q->err, ERR_CORRUPT, "volume group %s: a LUN without name", group)
                 : lun_covered(q, lun);
    }
    obj_done(&vg);
    return rc;
}

static int volume_covered(const struct scsi *q, const char *volume)
{
    struct obj_info vol;
    const char *group;
    int rc;

    rc = obj_open(q->s, "volumes", volume, &vol, q->err);
    if (rc != 0) {
        return rc;
    }
    group = obj_spec_str(&vol, "volumeGroup");
    rc = group == NULL ? err_set(q->err, ERR_REFUSED, "volume %s names no volume group", volume)
                       : group_covered(q, group);
    obj_done(&vol);
    return rc;
}

static int disk_covered(const struct scsi *q, const char *vm, const json_t *disk)
{
    const char *volume = json_string_value(json_object_get(disk, "volume"));
    const char *group = json_string_value(json_object_get(disk, "volumeGroup"));

    if (volume != NULL) {
        return volume_covered(q, volume);
    }
    if (group != NULL) {
        return group_covered(q, group);
    }
    return err_set(q->err, ERR_REFUSED, "a disk of VM %s is no volume: no reservation covers it",
                   vm);
}

/* A guest that is cut off from its disks still answers on the network, so its VM must say that this
 * is good enough, and every disk must be covered. */
static int vm_covered(const struct scsi *q, const char *name)
{
    struct obj_info vm;
    const json_t *disks;
    int rc;

    rc = obj_open(q->s, "virtualmachines", name, &vm, q->err);
    if (rc != 0) {
        return rc;
    }
    disks = spec_of(&vm, "disks");
    if (!str_eq(obj_spec_str(&vm, "fencing"), "StorageOnly")) {
        rc = err_set(
            q->err, ERR_REFUSED,
            "VM %s needs a proof that its host is off: it does not say fencing: StorageOnly", name);
    } else if (json_array_size(disks) == 0) {
        rc = err_set(q->err, ERR_REFUSED, "VM %s has no disks that could be taken from it", name);
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(disks); i++) {
        rc = disk_covered(q, name, json_array_get(disks, i));
    }
    obj_done(&vm);
    return rc;
}

int obj_scsi_covers(const struct store *s, const char *const *devs, size_t n_devs, const char *lock,
                    struct err *err)
{
    struct scsi q = { .s = s, .devs = devs, .n_devs = n_devs, .err = err };

    if (str_starts(lock, "volumes/")) {
        return volume_covered(&q, lock + 8);
    }
    if (str_starts(lock, "volumegroups/")) {
        return group_covered(&q, lock + 13);
    }
    if (str_starts(lock, "virtualmachines/")) {
        return vm_covered(&q, lock + 16);
    }
    return err_set(err, ERR_REFUSED, "a reservation says nothing about %s", lock);
}
