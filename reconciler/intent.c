#include "reconciler/intent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define FILE_MAX (1U << 20)
#define SUFFIX ".json"

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

static int write_all(int fd, const char *path, const char *text, struct err *err)
{
    size_t len = strlen(text);

    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, text + done, len - done);

        if (n < 0 && errno != EINTR) {
            return err_native(err, ERR_SYS, "errno", errno, "write %s", path);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int sync_folder(const char *path, struct err *err)
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
    rc = write_all(fd, tmp, text, err);
    if (rc == 0 && sync && fsync(fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "sync %s", tmp);
    }
    (void)close(fd);
    if (rc == 0 && rename(tmp, path) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "rename %s to %s", tmp, path);
    }
    if (rc == 0 && sync) {
        rc = sync_folder(path, err);
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

int intent_save(const char *dir, const char *boot_id, const struct intent *i, struct err *err)
{
    char *path = mem_printf("%s/%s" SUFFIX, dir, i->vm);
    json_t *vols = json_array();
    json_t *j;
    char *text;
    int rc;

    for (size_t k = 0; k < i->n_vols; k++) {
        (void)json_array_append_new(
            vols, json_pack("{s:s, s:s}", "group", i->vols[k].group, "name", i->vols[k].name));
    }
    j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o}", "vm", i->vm, "uid", i->uid, "bootID",
                  boot_id, "incarnation", (json_int_t)i->incarnation, "token", (json_int_t)i->token,
                  "plan", plan_to_json(&i->plan), "volumes", vols);
    text = json_dumps(j, JSON_INDENT(1) | JSON_SORT_KEYS);
    CHECK(text != NULL);
    rc = intent_write_file(path, text, i->plan.latch != VM_LATCH_NONE, err);
    free(text);
    json_decref(j);
    free(path);
    return rc;
}

int intent_remove(const char *dir, const char *vm, struct err *err)
{
    char *path = mem_printf("%s/%s" SUFFIX, dir, vm);
    int rc = 0;

    if (unlink(path) != 0 && errno != ENOENT) {
        rc = err_native(err, ERR_SYS, "errno", errno, "remove %s", path);
    }
    free(path);
    return rc;
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

static int record_parse(const char *text, const char *vm, const char *boot_id, struct intent *ret,
                        struct err *err)
{
    json_error_t je;
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    bool same_boot = str_eq(jget_str(j, "bootID", ""), boot_id);
    const json_t *vols = jget(j, "volumes");
    int rc;

    intent_init(ret, vm);
    if (j == NULL) {
        rc = err_set(err, ERR_CORRUPT, "line %d: %s", je.line, je.text);
    } else if (!str_eq(jget_str(j, "vm", ""), vm)) {
        rc = err_set(err, ERR_CORRUPT, "it is of vm \"%.60s\"", jget_str(j, "vm", ""));
    } else {
        rc = plan_from_json(jget(j, "plan"), same_boot, &ret->plan, err);
    }
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
    json_decref(j);
    if (rc != 0) {
        intent_done(ret);
    }
    return rc;
}

static void load_one(const char *dir, const char *file, const char *boot_id,
                     void (*fn)(void *ctx, const struct intent *i), void *ctx)
{
    char *path = mem_printf("%s/%s", dir, file);
    char *vm = mem_strndup(file, strlen(file) - strlen(SUFFIX));
    char *text = NULL;
    struct intent i;
    struct err err;
    int rc = intent_read_file(path, &text, &err);

    if (rc == 0) {
        rc = record_parse(text, vm, boot_id, &i, &err);
    }
    if (rc == 0) {
        fn(ctx, &i);
        intent_done(&i);
    } else {
        char *bad = mem_printf("%s.bad", path);

        lg_warn("intent", "file=%s err=\"%s\" msg=\"record set aside; what it said is unknown\"",
                path, err.msg);
        (void)rename(path, bad);
        free(bad);
    }
    free(text);
    free(vm);
    free(path);
}

int intent_load(const char *dir, const char *boot_id, void (*fn)(void *ctx, const struct intent *i),
                void *ctx, struct err *err)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, NULL, alphasort);

    if (n < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "read folder %s", dir);
    }
    for (int i = 0; i < n; i++) {
        if (str_ends(names[i]->d_name, SUFFIX) && strlen(names[i]->d_name) > strlen(SUFFIX)) {
            load_one(dir, names[i]->d_name, boot_id, fn, ctx);
        }
        free(names[i]);
    }
    free(names);
    return 0;
}
