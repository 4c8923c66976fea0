/* The file of intents: append, replay, rewrite.
 *
 *   DATA/intents/log   {"vm": "vm1", "plan": {...}, ...}
 *                      {"vm": "vm1", "gone": true}
 *
 * It is rewritten when it is opened and whenever it has grown to several times of what it says.  A
 * line without an end was being written when the agent was killed: nothing was done on the strength
 * of it. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/valid.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/intent.h"

#define READ_MAX (256U << 20)
#define GROW_MIN (1U << 20) /* smaller is not worth rewriting */
#define GROW_TIMES 4U
#define OLD_SUFFIX ".json"

struct intent_log {
    char *dir, *path, *boot_id;
    int fd;
    size_t size; /* of the file */
    size_t live; /* of what it said when it was rewritten */
};

/* --- reading -----------------------------------------------------------------------------------
 */

struct replay {
    struct map lines; /* vm -> its newest line, owned */
    bool damaged;
};

static void line_drop(struct replay *r, const char *vm)
{
    free(map_del(&r->lines, vm));
}

static void line_apply(struct replay *r, const char *file, size_t number, const char *line)
{
    json_error_t je;
    json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, &je);
    const char *vm = jget_str(j, "vm", "");

    if (*vm == '\0') {
        lg_warn("intent",
                "file=%s line=%zu err=\"%s\" msg=\"record skipped; what it said is unknown\"", file,
                number, j == NULL ? je.text : "it names no vm");
        r->damaged = true;
    } else if (jget_bool(j, "gone", false)) {
        line_drop(r, vm);
    } else {
        free(map_put(&r->lines, vm, mem_strdup(line)));
    }
    json_decref(j);
}

static int read_all(const char *path, struct buf *b, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;
    int rc = 0;

    if (fd < 0) {
        return errno == ENOENT ? 0 : err_native(err, ERR_SYS, "errno", errno, "open %s", path);
    }
    while (n > 0 && rc == 0) {
        char chunk[16384];

        n = read(fd, chunk, sizeof(chunk));
        if (n < 0) {
            rc = err_native(err, ERR_SYS, "errno", errno, "read %s", path);
        } else {
            buf_add(b, chunk, (size_t)n);
        }
    }
    (void)close(fd);
    if (rc == 0 && b->overflow) {
        rc = err_set(err, ERR_SYS, "%s has more than %u MiB", path, READ_MAX >> 20);
    }
    return rc;
}

static int replay_log(const char *path, struct replay *r, struct err *err)
{
    struct buf b = { .max = READ_MAX };
    int rc = read_all(path, &b, err);
    size_t number = 0;
    char *at, *end;

    if (rc == 0) {
        at = (char *)(uintptr_t)buf_cstr(&b);
        for (; (end = strchr(at, '\n')) != NULL; at = end + 1) {
            *end = '\0';
            line_apply(r, path, ++number, at);
        }
    }
    buf_done(&b);
    return rc;
}

static int is_old(const struct dirent *e)
{
    return str_ends(e->d_name, OLD_SUFFIX) && strlen(e->d_name) > strlen(OLD_SUFFIX);
}

/* A file for each machine, as versions before wrote them; the log knows better. */
static int replay_old(const char *dir, struct replay *r, struct err *err)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, is_old, alphasort);

    if (n < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "read folder %s", dir);
    }
    for (int i = 0; i < n; i++) {
        char *path = mem_printf("%s/%s", dir, names[i]->d_name);
        char *text = NULL;
        struct err e;

        if (intent_read_file(path, &text, &e) == 0) {
            for (char *p = text; *p != '\0'; p++) {
                *p = *p == '\n' ? ' ' : *p;
            }
            line_apply(r, path, 1, text);
        }
        free(text);
        free(path);
        free(names[i]);
    }
    free(names);
    return 0;
}

static void remove_old(const char *dir)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, is_old, alphasort);

    for (int i = 0; i < n; i++) {
        char *path = mem_printf("%s/%s", dir, names[i]->d_name);

        (void)unlink(path);
        free(path);
        free(names[i]);
    }
    free(names);
}

/* --- rewriting ---------------------------------------------------------------------------------
 */

static int write_lines(const char *tmp, const struct replay *r, size_t *ret_size, struct err *err)
{
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct buf b = { .max = READ_MAX };
    const char *vm;
    void *v;
    int rc;

    for (size_t i = 0; map_next(&r->lines, &i, &vm, &v);) {
        buf_add_str(&b, v);
        buf_add_byte(&b, '\n');
    }
    if (fd < 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "create %s", tmp);
    } else {
        rc = intent_write_all(fd, tmp, (const char *)b.data, b.len, err);
    }
    if (rc == 0 && fsync(fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "sync %s", tmp);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    *ret_size = b.len;
    buf_done(&b);
    return rc;
}

/* The new file takes the place of the old one, or everything stays as it was. */
static int rewrite(struct intent_log *l, const struct replay *r, struct err *err)
{
    char *tmp = mem_printf("%s.tmp", l->path);
    size_t size = 0;
    int fd = -1;
    int rc = write_lines(tmp, r, &size, err);

    if (rc == 0 && (fd = open(tmp, O_WRONLY | O_APPEND | O_CLOEXEC)) < 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "open %s", tmp);
    }
    if (rc == 0 && rename(tmp, l->path) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "rename %s to %s", tmp, l->path);
        (void)close(fd);
    }
    if (rc == 0) {
        if (l->fd >= 0) {
            (void)close(l->fd);
        }
        l->fd = fd;
        l->size = size;
        l->live = size;
        rc = intent_sync_folder(l->path, err);
    }
    free(tmp);
    return rc;
}

static void replay_done(struct replay *r)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&r->lines, &i, &vm, &v);) {
        free(v);
    }
    map_done(&r->lines);
}

/* --- opening -----------------------------------------------------------------------------------
 */

static void tell(const struct intent_log *l, struct replay *r,
                 void (*fn)(void *ctx, const struct intent *i), void *ctx)
{
    const char *vm;
    void *v;

    for (size_t i = 0; map_next(&r->lines, &i, &vm, &v);) {
        json_t *j = json_loads(v, JSON_REJECT_DUPLICATES, NULL);
        struct intent rec;
        struct err err;

        if (intent_decode(j, l->boot_id, &rec, &err) == 0) {
            fn(ctx, &rec);
            intent_done(&rec);
        } else {
            lg_warn("intent", "vm=%s err=\"%s\" msg=\"record skipped; what it said is unknown\"",
                    vm, err.msg);
            r->damaged = true;
            line_drop(r, vm);
        }
        json_decref(j);
    }
}

static void keep_bad(const struct intent_log *l)
{
    char *bad = mem_printf("%s.bad", l->path);

    (void)unlink(bad);
    if (link(l->path, bad) != 0) {
        lg_warn("intent", "file=%s err=\"%s\" msg=\"cannot be kept\"", bad, strerror(errno));
    }
    free(bad);
}

struct intent_log *intent_open(const char *dir, const char *boot_id,
                               void (*fn)(void *ctx, const struct intent *i), void *ctx,
                               struct err *err)
{
    struct intent_log *l = OBJ_NEW(struct intent_log);
    struct replay r = { 0 };
    int rc;

    l->dir = mem_strdup(dir);
    l->path = mem_printf("%s/log", dir);
    l->boot_id = mem_strdup(boot_id);
    l->fd = -1;
    rc = replay_old(dir, &r, err);
    if (rc == 0) {
        rc = replay_log(l->path, &r, err);
    }
    if (rc == 0) {
        tell(l, &r, fn, ctx);
        if (r.damaged) {
            keep_bad(l);
        }
        rc = rewrite(l, &r, err);
    }
    replay_done(&r);
    if (rc != 0) {
        intent_close(l);
        return NULL;
    }
    remove_old(dir);
    return l;
}

void intent_close(struct intent_log *l)
{
    if (l != NULL) {
        if (l->fd >= 0) {
            (void)close(l->fd);
        }
        free(l->dir);
        free(l->path);
        free(l->boot_id);
        free(l);
    }
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void shrink(struct intent_log *l)
{
    struct replay r = { 0 };
    struct err err;

    if (replay_log(l->path, &r, &err) != 0 || rewrite(l, &r, &err) != 0) {
        lg_warn("intent", "file=%s err=\"%s\" msg=\"it grows on\"", l->path, err.msg);
        l->live = l->size; /* not at every record */
    }
    replay_done(&r);
}

static int append(struct intent_log *l, const char *line, bool sync, struct err *err)
{
    size_t len = strlen(line);
    int rc;

    if (l->size > GROW_MIN && l->size > l->live * GROW_TIMES) {
        shrink(l);
    }
    rc = intent_write_all(l->fd, l->path, line, len, err);
    if (rc == 0 && sync && fsync(l->fd) != 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "sync %s", l->path);
    }
    if (rc != 0) {
        (void)!ftruncate(l->fd, (off_t)l->size); /* half a line would spoil the next one */
        return rc;
    }
    l->size += len;
    return 0;
}

int intent_save(struct intent_log *l, const struct intent *i, struct err *err)
{
    char *text = intent_encode(l->boot_id, i);
    char *line = mem_printf("%s\n", text);
    int rc = append(l, line, i->plan.latch != VM_LATCH_NONE, err);

    free(line);
    free(text);
    return rc;
}

int intent_remove(struct intent_log *l, const char *vm, struct err *err)
{
    json_t *j = json_pack("{s:b, s:s}", "gone", 1, "vm", vm);
    char *text = json_dumps(j, JSON_COMPACT);
    char *line = mem_printf("%s\n", text);
    int rc = append(l, line, false, err);

    free(line);
    free(text);
    json_decref(j);
    return rc;
}
