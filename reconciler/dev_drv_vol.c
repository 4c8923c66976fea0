#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/dev_drv_priv.h"
#include "reconciler/intent.h"

/* Volumes are files; that one is active here is a marker with the boot id in it: one more name of
 * one file, since a file of its own for each costs far more (intent.c). */

char *dev_vol_path(const struct dev_drv *d, const char *group, const char *name)
{
    return mem_printf("%s/%s/%s.img", d->san_dir, group, name);
}

/* "a.b" and "c" give "a..b.c": names hold no two dots in a row, so no two volumes share a marker.
 */
static char *marker_path(const struct dev_drv *d, const char *group, const char *name)
{
    struct buf b = { 0 };

    buf_printf(&b, "%s/", d->active_dir);
    for (const char *p = group; *p != '\0'; p++) {
        buf_add_str(&b, *p == '.' ? ".." : "");
        if (*p != '.') {
            buf_add_byte(&b, (uint8_t)*p);
        }
    }
    buf_printf(&b, ".%s", name);
    (void)buf_cstr(&b);
    return buf_take(&b, NULL);
}

bool dev_vol_active(const struct dev_drv *d, const char *group, const char *name)
{
    char *path = marker_path(d, group, name);
    char *text = NULL;
    struct err err;
    bool active = false;

    if (intent_read_file(path, &text, &err) == 0) {
        active = str_starts(text, d->boot_id);
        if (!active) {
            (void)unlink(path); /* of another boot */
        }
    }
    free(text);
    free(path);
    return active;
}

static void emit(struct dev_drv *d, const char *group, const char *name, enum vol_state st)
{
    struct drv_volume v = { .state = st };
    struct drv_event ev = { .kind = DRV_EV_VOLUME, .volume = &v };
    char *path = dev_vol_path(d, group, name);

    v.group = mem_strdup(group);
    v.name = mem_strdup(name);
    v.open = dev_dom_uses(d, path);
    drv_emit(&d->drv, &ev);
    drv_volume_done(&v);
    free(path);
}

static void vol_create(struct dev_drv *d, struct dev_job *j, const char *path)
{
    char *dir = mem_printf("%s/%s", d->san_dir, j->job->group);
    int fd = -1;

    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        (void)dev_job_fail(j, ERR_DRIVER, "create %s: %s", dir, strerror(errno));
    } else if ((fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600)) < 0 &&
               errno != EEXIST) {
        (void)dev_job_fail(j, ERR_DRIVER, "create %s: %s", path, strerror(errno));
    } else {
        emit(d, j->job->group, j->job->volume,
             dev_vol_active(d, j->job->group, j->job->volume) ? VOL_ACTIVE : VOL_INACTIVE);
        dev_job_done(j);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(dir);
}

/* The file with this boot's id; made anew in each boot, so that markers of the one before keep
 * theirs. */
static int boot_file(const struct dev_drv *d, const char *path, struct err *err)
{
    char *text = NULL;
    int rc = 0;

    if (intent_read_file(path, &text, err) != 0 || !str_eq(text, d->boot_id)) {
        rc = intent_write_file(path, d->boot_id, false, err);
    }
    free(text);
    return rc;
}

static int mark(struct dev_drv *d, const char *group, const char *name, struct err *err)
{
    char *marker = marker_path(d, group, name);
    char *boot = mem_printf("%s/.boot", d->active_dir); /* no name begins with a dot */
    int rc = 0;

    if (!dev_vol_active(d, group, name)) {
        rc = boot_file(d, boot, err);
        if (rc == 0 && link(boot, marker) != 0) {
            rc = err_native(err, ERR_DRIVER, "errno", errno, "mark %s", marker);
        }
    }
    free(boot);
    free(marker);
    return rc;
}

static void vol_activate(struct dev_drv *d, struct dev_job *j, const char *path)
{
    if (access(path, F_OK) != 0) {
        (void)dev_job_fail(j, ERR_DRIVER, "volume %s/%s does not exist (%s)", j->job->group,
                           j->job->volume, path);
    } else if (mark(d, j->job->group, j->job->volume, &j->err) != 0) {
        j->failed = true;
        dev_job_done(j);
    } else {
        emit(d, j->job->group, j->job->volume, VOL_ACTIVE);
        dev_job_done(j);
    }
}

static void vol_deactivate(struct dev_drv *d, struct dev_job *j, const char *path)
{
    char *marker = marker_path(d, j->job->group, j->job->volume);

    if (dev_dom_uses(d, path)) {
        (void)dev_job_fail(j, ERR_DRIVER, "volume %s/%s is in use by a guest", j->job->group,
                           j->job->volume);
    } else if (unlink(marker) != 0 && errno != ENOENT) {
        (void)dev_job_fail(j, ERR_DRIVER, "remove %s: %s", marker, strerror(errno));
    } else {
        emit(d, j->job->group, j->job->volume, access(path, F_OK) == 0 ? VOL_INACTIVE : VOL_ABSENT);
        dev_job_done(j);
    }
    free(marker);
}

void dev_vol_job(struct dev_drv *d, struct dev_job *j)
{
    char *path;

    if (!str_is_name(j->job->group) || !str_is_name(j->job->volume)) {
        (void)dev_job_fail(j, ERR_INVALID, "\"%s/%s\" is not the name of a volume", j->job->group,
                           j->job->volume);
        return;
    }
    path = dev_vol_path(d, j->job->group, j->job->volume);
    if (j->job->op == DRV_VOL_CREATE) {
        vol_create(d, j, path);
    } else if (j->job->op == DRV_VOL_GROW) {
        (void)dev_job_fail(j, ERR_UNSUPPORTED, "a file has no size of its own here");
    } else if (j->job->op == DRV_VOL_ACTIVATE) {
        vol_activate(d, j, path);
    } else {
        vol_deactivate(d, j, path);
    }
    free(path);
}

/* --- listing -----------------------------------------------------------------------------------
 */

struct vol_list {
    struct drv_volume *v;
    size_t n, cap;
};

static void list_add(struct dev_drv *d, struct vol_list *l, const char *group, const char *file)
{
    char *name = mem_strndup(file, strlen(file) - strlen(".img"));
    char *path = dev_vol_path(d, group, name);

    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : l->cap * 2;
        l->v = mem_realloc(l->v, l->cap * sizeof(*l->v));
    }
    l->v[l->n++] = (struct drv_volume){
        .group = mem_strdup(group),
        .name = name,
        .state = dev_vol_active(d, group, name) ? VOL_ACTIVE : VOL_INACTIVE,
        .open = dev_dom_uses(d, path),
    };
    free(path);
}

static int list_group(struct dev_drv *d, struct vol_list *l, const char *group, struct err *err)
{
    char *dir = mem_printf("%s/%s", d->san_dir, group);
    DIR *f = opendir(dir);
    const struct dirent *e;
    int rc = 0;

    if (f == NULL) {
        rc = err_native(err, ERR_DRIVER, "errno", errno, "read folder %s", dir);
    }
    while (rc == 0 && (e = readdir(f)) != NULL) {
        if (str_ends(e->d_name, ".img") && strlen(e->d_name) > strlen(".img")) {
            list_add(d, l, group, e->d_name);
        }
    }
    if (f != NULL) {
        (void)closedir(f);
    }
    free(dir);
    return rc;
}

void dev_vol_list(struct dev_drv *d, struct dev_job *j)
{
    struct vol_list l = { 0 };
    DIR *f = opendir(d->san_dir);
    const struct dirent *e;
    struct err err;
    int rc = 0;

    if (f == NULL) {
        rc = err_native(&err, ERR_DRIVER, "errno", errno, "read folder %s", d->san_dir);
    }
    while (rc == 0 && (e = readdir(f)) != NULL) {
        if (e->d_name[0] != '.') {
            rc = list_group(d, &l, e->d_name, &err);
        }
    }
    if (f != NULL) {
        (void)closedir(f);
    }
    j->job->result.volumes = l.v;
    j->job->result.n_volumes = l.n;
    j->job->cb(j->job, rc == 0 ? NULL : &err);
    for (size_t i = 0; i < l.n; i++) {
        drv_volume_done(&l.v[i]);
    }
    free(l.v);
}
