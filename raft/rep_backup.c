#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "raft/conf_codec.h"
#include "raft/rep_offline.h"
#include "raft/snapfile.h"

/* Backups: snapshot files outside of any node's directory. */

struct backup_content {
    struct snap_content content;
    int (*fill)(void *ctx, struct rep_sink *sink, struct err *err);
    void *ctx;
};

static int backup_fill(struct snap_content *c, struct rep_sink *sink, struct err *err)
{
    struct backup_content *b = CONTAINER_OF(c, struct backup_content, content);

    return b->fill(b->ctx, sink, err);
}

static void backup_conf(const struct rep_peer_info *members, size_t n, struct raft_buffer *ret)
{
    struct raft_configuration c;
    char address[REP_ADDRESS_MAX + 64];

    raft_configuration_init(&c);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(address, sizeof(address), "%s@%s", members[i].name, members[i].address);
        CHECK(raft_configuration_add(&c, members[i].id, address,
                                     conf_role_to_raft(members[i].role)) == 0);
    }
    CHECK(raft_configuration_encode(&c, ret) == 0);
    raft_configuration_close(&c);
}

int rep_backup_write(const char *dir, const char *name, const struct rep_peer_info *members,
                     size_t n_members, uint64_t index, uint64_t term,
                     int (*fill)(void *ctx, struct rep_sink *sink, struct err *err), void *ctx,
                     struct err *err)
{
    struct backup_content content = { .content = { .fill = backup_fill },
                                      .fill = fill,
                                      .ctx = ctx };
    struct snap_meta m = { .index = index, .term = term, .conf_index = index };
    struct rep_disk *disk;
    int rc;

    rc = rep_disk_posix(dir, &disk, err);
    if (rc != 0) {
        return rc;
    }
    backup_conf(members, n_members, &m.conf);
    CHECK(str_copy(m.name, sizeof(m.name), name));
    rc = snapfile_write(disk, &m, &content.content, err);
    snap_meta_done(&m);
    disk->free(disk);
    return rc;
}

struct backup_restore {
    struct snap_reader reader;
    const struct rep_fsm *fsm;
};

static int backup_use(struct snap_reader *u, struct rep_source *source, struct err *err)
{
    const struct rep_fsm *fsm = CONTAINER_OF(u, struct backup_restore, reader)->fsm;

    return fsm->restore(fsm->ctx, source, err);
}

static void backup_members(const struct snap_meta *m, struct rep_offline *ret)
{
    struct raft_configuration c;
    size_t n = 0;

    if (!conf_decode(m->conf.base, m->conf.len, &c)) {
        return; /* cannot be: snapfile_meta has checked it */
    }
    for (unsigned i = 0; i < c.n && n < REP_OFFLINE_MEMBERS; i++) {
        struct rep_peer_info *p = &ret->members[n];

        *p = (struct rep_peer_info){ .id = c.servers[i].id, .role = conf_role(c.servers[i].role) };
        n += conf_split(c.servers[i].address, p);
    }
    ret->n_members = n;
    raft_configuration_close(&c);
}

static int backup_read(struct rep_disk *disk, const char *name, const struct rep_fsm *fsm,
                       struct rep_offline *ret, struct err *err)
{
    struct backup_restore restore = { .reader = { .use = backup_use }, .fsm = fsm };
    struct snap_meta m = { 0 };
    int rc;

    rc = snapfile_verify(disk, name, err);
    if (rc == 0) {
        rc = snapfile_meta(disk, name, &m, err);
    }
    if (rc == 0) {
        backup_members(&m, ret);
        ret->snap_index = m.index;
        ret->snap_term = m.term;
        ret->bytes = m.size;
        rc = snapfile_read(disk, name, &restore.reader, err);
    }
    snap_meta_done(&m);
    return rc;
}

/* The advice of a snapshot file is about a member; here it is another one. */
static int backup_advice(const char *dir, int rc, struct err *err)
{
    char *at = strstr(err->msg, "; remove this member");

    if (rc == ERR_CORRUPT) {
        if (at != NULL) {
            *at = 0;
        }
        (void)err_wrap(err, "%s", dir);
        (void)strncat(err->msg, "; this is no whole backup, use another one",
                      sizeof(err->msg) - strlen(err->msg) - 1);
    }
    return rc;
}

int rep_backup_load(const char *file, const struct rep_fsm *fsm, struct rep_offline *ret,
                    struct err *err)
{
    const char *slash = strrchr(file, '/');
    char *dir = slash == NULL ? mem_strdup(".") : mem_strndup(file, (size_t)(slash - file) + 1);
    const char *name = slash == NULL ? file : slash + 1;
    struct rep_disk *disk = NULL;
    int rc;

    *ret = (struct rep_offline){ 0 };
    if (name[0] == 0 || strlen(name) >= 64) {
        rc = err_set(err, ERR_INVALID, "%.200s: a backup's name has 1 to 63 characters", file);
    } else {
        rc = rep_disk_posix(dir, &disk, err);
    }
    if (rc == 0) {
        rc = backup_advice(dir, backup_read(disk, name, fsm, ret, err), err);
    }
    if (disk != NULL) {
        disk->free(disk);
    }
    free(dir);
    return rc;
}
