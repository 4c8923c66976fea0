#include "storage/dm_codec.h"

#include <string.h>

#include "base/str.h"

#define COLUMNS 8

static size_t split(char *line, char *col[COLUMNS])
{
    size_t n = 0;

    for (char *p = line; n < COLUMNS; n++) {
        char *sep = n + 1 < COLUMNS ? strchr(p, '|') : NULL;

        col[n] = p;
        if (sep == NULL) {
            return n + 1;
        }
        *sep = '\0';
        p = sep + 1;
    }
    return n;
}

static bool small(const char *s, uint32_t *ret)
{
    uint64_t v;

    if (!str_parse_u64(s, &v) || v > UINT32_MAX) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

/* One of the words that dmsetup uses; any other would mean that we misread its columns. */
static bool word(const char *s, const char *yes, const char *also, const char *no, const char *nor,
                 bool *ret)
{
    *ret = str_eq(s, yes) || str_eq(s, also);
    return *ret || str_eq(s, no) || str_eq(s, nor);
}

static bool read_device(char *line, struct dm_device *d)
{
    char *col[COLUMNS];

    if (split(line, col) != COLUMNS || col[COLUMNS - 1][0] == '\0') {
        return false;
    }
    d->uuid = col[0];
    d->name = col[7];
    return word(col[4], "Suspended", "Suspended", "Active", "Active", &d->suspended) &&
           word(col[5], "Read-only", "Read-only", "Writeable", "Writeable", &d->read_only) &&
           word(col[6], "Live", "Both", "None", "Inactive", &d->live) && small(col[1], &d->major) &&
           small(col[2], &d->minor) && str_parse_u64(col[3], &d->open);
}

int dm_parse(const char *text, size_t len, struct arena *a, struct dm_devices *ret, struct err *err)
{
    char *copy = arena_strndup(a, text, len);
    size_t lines = 0;
    char *next;

    memset(ret, 0, sizeof(*ret));
    if (memchr(text, '\0', len) != NULL) {
        return err_set(err, ERR_CORRUPT, "device-mapper's list holds a NUL");
    }
    for (const char *p = copy; (p = strchr(p, '\n')) != NULL; p++) {
        lines++;
    }
    if (lines > DM_DEVICES_MAX) {
        return err_set(err, ERR_CORRUPT, "device-mapper's list has %zu lines", lines);
    }
    ret->list = ARENA_ARRAY(a, struct dm_device, lines + 1);
    for (char *line = copy; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n') {
            *next++ = '\0';
        }
        if (line[0] == '\0' || str_starts(line, "No devices found")) {
            continue;
        }
        if (!read_device(line, &ret->list[ret->n])) {
            return err_set(err, ERR_CORRUPT, "device-mapper's list, device %zu: not the columns %s",
                           ret->n, DM_COLUMNS);
        }
        ret->n++;
    }
    return 0;
}

const struct dm_device *dm_find(const struct dm_devices *d, const char *uuid)
{
    for (size_t i = 0; uuid != NULL && i < d->n; i++) {
        if (str_eq(d->list[i].uuid, uuid)) {
            return &d->list[i];
        }
    }
    return NULL;
}

/* LVM's mapping is "GROUP-VOLUME", a dash in a name being doubled, and its uuid "LVM-" and twice 32
 * characters; what LVM keeps below a volume has a suffix to both (lib/misc/lvm-string.c). */
#define LVM_UUID_LEN (4 + 64)

bool dm_lvm_name(const struct dm_device *d, struct arena *a, const char **ret_group,
                 const char **ret_volume)
{
    char *group = arena_strdup(a, d->name);
    char *volume = NULL, *to = group;

    if (!str_starts(d->uuid, "LVM-") || strlen(d->uuid) != LVM_UUID_LEN) {
        return false;
    }
    for (const char *p = d->name; *p != '\0'; p++) {
        if (p[0] == '-' && p[1] != '-') {
            if (volume != NULL) {
                return false;
            }
            *to++ = '\0';
            volume = to;
            continue;
        }
        p += p[0] == '-' ? 1 : 0;
        *to++ = *p;
    }
    *to = '\0';
    *ret_group = group;
    *ret_volume = volume;
    return volume != NULL && group[0] != '\0' && volume[0] != '\0';
}
