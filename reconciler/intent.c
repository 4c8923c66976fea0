#include "reconciler/intent.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

#define FILE_MAX (1U << 20)

void intent_init(struct intent *i, const char *vm)
{
    *i = (struct intent){ 0 };
    i->vm = mem_strdup(vm);
    i->uid = mem_strdup("");
}

void intent_done(struct intent *i)
{
    for (size_t k = 0; k < i->n_vols; k++) {
        free(i->vols[k].group);
        free(i->vols[k].name);
    }
    free(i->vols);
    free(i->vm);
    free(i->uid);
    *i = (struct intent){ 0 };
}

bool intent_has_vol(const struct intent *i, const char *name)
{
    for (size_t k = 0; k < i->n_vols; k++) {
        if (str_eq(i->vols[k].name, name)) {
            return true;
        }
    }
    return false;
}

void intent_add_vol(struct intent *i, const char *group, const char *name)
{
    if (intent_has_vol(i, name)) {
        return;
    }
    i->vols = mem_realloc(i->vols, (i->n_vols + 1) * sizeof(*i->vols));
    i->vols[i->n_vols].group = mem_strdup(group);
    i->vols[i->n_vols].name = mem_strdup(name);
    i->n_vols++;
}

void intent_drop_vol(struct intent *i, const char *name)
{
    for (size_t k = 0; k < i->n_vols; k++) {
        if (str_eq(i->vols[k].name, name)) {
            free(i->vols[k].group);
            free(i->vols[k].name);
            i->vols[k] = i->vols[--i->n_vols];
            return;
        }
    }
}

/* --- files -------------------------------------------------------------------------------------
 */

int intent_write_all(int fd, const char *path, const char *text, size_t len, struct err *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, text + done, len - done);

        if (n < 0 && errno != EINTR) {
            return err_native(err, ERR_SYS, "errno", errno, "write %s", path);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int intent_sync_folder(const char *path, struct err *err)
{
    char *dir = mem_strdup(path);
    char *slash = strrchr(dir, '/');
    int fd, rc = 0;

    if (slash != NULL) {
        *slash = '\0';
    }
    fd = open(slash == NULL ? "." : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "sync folder of %s", path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(dir);
    return rc;
}

int intent_write_file(const char *path, const char *text, bool sync, struct err *err)
{
    char *tmp = mem_printf("%s.tmp", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc;

    if (fd < 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "create %s", tmp);
        goto out;
    }
    rc = intent_write_all(fd, tmp, text, strlen(text), err);
    if (rc == 0 && sync && fsync(fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "sync %s", tmp);
    }
    (void)close(fd);
    if (rc == 0 && rename(tmp, path) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "rename %s to %s", tmp, path);
    }
    if (rc == 0 && sync) {
        rc = intent_sync_folder(path, err);
    }
out:
    free(tmp);
    return rc;
}

int intent_read_file(const char *path, char **ret, struct err *err)
{
    struct buf b = { .max = FILE_MAX };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;
    int rc = 0;

    if (fd < 0) {
        return err_native(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, "errno", errno, "open %s",
                          path);
    }
    while (n > 0 && !b.overflow) {
        char chunk[4096];

        n = read(fd, chunk, sizeof(chunk));
        if (n < 0) {
            rc = err_native(err, ERR_SYS, "errno", errno, "read %s", path);
        } else {
            buf_add(&b, chunk, (size_t)n);
        }
    }
    (void)close(fd);
    if (rc == 0 && b.overflow) {
        rc = err_set(err, ERR_TOO_LARGE, "%s has more than %u bytes", path, FILE_MAX);
    }
    while (rc == 0 && b.len > 0 && b.data[b.len - 1] == '\n') {
        b.len--;
    }
    if (rc == 0) {
        *ret = buf_take(&b, NULL);
    }
    buf_done(&b);
    return rc;
}

/* --- records -----------------------------------------------------------------------------------
 */

static json_t *plan_to_json(const struct vm_intent *p)
{
    json_t *ends = json_array();

    for (uint32_t i = 0; i < p->n_restarts; i++) {
        (void)json_array_append_new(ends, json_integer((json_int_t)p->restart_ms[i]));
    }
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:o, s:I}", "phase", vm_phase_name(p->phase), "why",
                     vm_why_name(p->why), "sinceMs", (json_int_t)p->since_ms, "latch",
                     vm_latch_name(p->latch), "latchGeneration", (json_int_t)p->latch_generation,
                     "endsMs", ends, "restarts", (json_int_t)p->restarts_total);
}

char *intent_encode(const char *boot_id, const struct intent *i)
{
    json_t *vols = json_array();
    json_t *j;
    char *text;

    for (size_t k = 0; k < i->n_vols; k++) {
        (void)json_array_append_new(
            vols, json_pack("{s:s, s:s}", "group", i->vols[k].group, "name", i->vols[k].name));
    }
    j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o}", "vm", i->vm, "uid", i->uid, "bootID",
                  boot_id, "incarnation", (json_int_t)i->incarnation, "token", (json_int_t)i->token,
                  "plan", plan_to_json(&i->plan), "volumes", vols);
    text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    CHECK(text != NULL);
    json_decref(j);
    return text;
}

static int plan_from_json(const json_t *j, bool same_boot, struct vm_intent *ret, struct err *err)
{
    struct vm_intent p = { 0 };
    const json_t *ends = jget(j, "endsMs");

    if (!vm_phase_parse(jget_str(j, "phase", ""), &p.phase) ||
        !vm_why_parse(jget_str(j, "why", "?"), &p.why) ||
        !vm_latch_parse(jget_str(j, "latch", "?"), &p.latch)) {
        return err_set(err, ERR_CORRUPT, "plan.phase, plan.why or plan.latch is not known");
    }
    p.latch_generation = (uint64_t)jget_int(j, "latchGeneration", 0);
    p.restarts_total = (uint32_t)jget_int(j, "restarts", 0);
    p.since_ms = (uint64_t)jget_int(j, "sinceMs", 0);
    for (size_t i = 0; i < json_array_size(ends) && i < VM_RESTARTS_MAX; i++) {
        p.restart_ms[p.n_restarts++] = (uint64_t)json_integer_value(json_array_get(ends, i));
    }
    if (!same_boot) {
        *ret = (struct vm_intent){ .latch = p.latch,
                                   .latch_generation = p.latch_generation,
                                   .restarts_total = p.restarts_total,
                                   .why = p.latch != VM_LATCH_NONE ? p.why : VM_WHY_NONE,
                                   .phase = p.latch != VM_LATCH_NONE ? VM_PHASE_STOPPED
                                                                     : VM_PHASE_NONE };
        return 0;
    }
    *ret = p;
    return 0;
}

int intent_decode(const json_t *j, const char *boot_id, struct intent *ret, struct err *err)
{
    bool same_boot = str_eq(jget_str(j, "bootID", ""), boot_id);
    const json_t *vols = jget(j, "volumes");
    int rc;

    intent_init(ret, jget_str(j, "vm", ""));
    rc = plan_from_json(jget(j, "plan"), same_boot, &ret->plan, err);
    if (rc == 0) {
        free(ret->uid);
        ret->uid = mem_strdup(jget_str(j, "uid", ""));
    }
    if (rc == 0 && same_boot) {
        ret->incarnation = (uint64_t)jget_int(j, "incarnation", 0);
        ret->token = (uint64_t)jget_int(j, "token", 0);
        for (size_t i = 0; i < json_array_size(vols); i++) {
            intent_add_vol(ret, jget_str(json_array_get(vols, i), "group", ""),
                           jget_str(json_array_get(vols, i), "name", ""));
        }
    }
    if (rc != 0) {
        intent_done(ret);
    }
    return rc;
}
