#include "cmd/picketd/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/auth.h"
#include "raft/rep_offline.h"

#define MEMBERS_MAX 64
#define CHUNK (256U << 10)
#define NAME "backup"

struct backup {
    uv_work_t work;
    struct rest *rest;
    struct http_req *req;
    struct node *node;
    struct store_snap *snap;
    struct rep_peer_info members[MEMBERS_MAX];
    size_t n_members;
    uint64_t index, term, rev;
    char *dir;
    int fd; /* of the unlinked file */
    uint64_t off;
    uint8_t *chunk;
    int rc;
    struct err err;
};

static bool busy; /* loop thread only */

static int backup_put(void *ctx, const void *data, size_t len, struct err *err)
{
    struct rep_sink *sink = ctx;

    return sink->write(sink, data, len, err);
}

static int backup_fill(void *ctx, struct rep_sink *sink, struct err *err)
{
    struct backup *b = ctx;

    return store_snap_write(b->snap, backup_put, sink, err);
}

/* Worker thread. */
static void backup_work(uv_work_t *w)
{
    struct backup *b = w->data;
    char *path = mem_printf("%s/" NAME, b->dir);

    b->rc = rep_backup_write(b->dir, NAME, b->members, b->n_members, b->index, b->term, backup_fill,
                             b, &b->err);
    if (b->rc == 0) {
        b->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (b->fd < 0) {
            b->rc = err_native(&b->err, ERR_SYS, "errno", errno, "open %s", path);
        }
        (void)unlink(path);
    }
    free(path);
}

static void backup_free(struct backup *b)
{
    if (b->fd >= 0) {
        (void)close(b->fd);
    }
    free(b->chunk);
    free(b->dir);
    free(b);
    busy = false;
}

static void backup_end(struct backup *b)
{
    struct rest *r = b->rest;

    http_stream_end(b->req);
    backup_free(b);
    rest_free(r);
}

static void backup_abort(struct http_req *req)
{
    backup_end(req->data);
}

/* Send until the queue is full, or to the end.  A file that cannot be read breaks the answer short;
 * who verifies it finds out. */
static void backup_send(struct http_req *req)
{
    struct backup *b = req->data;
    bool room = true;

    while (room) {
        ssize_t n = pread(b->fd, b->chunk, CHUNK, (off_t)b->off);

        if (n <= 0) {
            if (n < 0) {
                lg_err("backup", "errno=%d msg=\"cannot read the backup's temporary file\"", errno);
            }
            backup_end(b);
            return;
        }
        b->off += (uint64_t)n;
        room = http_stream_write(req, b->chunk, (size_t)n);
    }
}

static void backup_written(uv_work_t *w, int status)
{
    struct backup *b = w->data;
    struct http_header revision = { .name = "Picket-Revision" };
    char text[32];

    CHECK(status == 0);
    store_snap_end(b->snap);
    if (b->rc != 0) {
        struct rest *r = b->rest;
        struct err err = b->err;

        backup_free(b);
        rest_err(r, &err);
        return;
    }
    lg_info("backup", "revision=%" PRIu64 " by=%s msg=\"backup taken\"", b->rev, b->req->peer.name);
    (void)snprintf(text, sizeof(text), "%" PRIu64, b->rev);
    revision.value = text;
    b->chunk = mem_alloc(CHUNK);
    b->req->data = b;
    b->req->on_drain = backup_send;
    b->req->on_abort = backup_abort;
    http_stream_begin(b->req, 200, "application/octet-stream", &revision, 1);
    if (http_req_aborted(b->req)) {
        backup_end(b);
        return;
    }
    backup_send(b->req);
}

static void backup_go(struct rest *r)
{
    struct backup *b;
    struct err err;

    if (busy) {
        (void)err_set(&err, ERR_LIMIT, "a backup is being taken here already; try again later");
        rest_err(r, &err);
        return;
    }
    busy = true;
    b = OBJ_NEW(struct backup);
    b->rest = r;
    b->req = r->req;
    b->node = r->node;
    b->fd = -1;
    b->dir = mem_printf("%s/backup", r->node->opts.data);
    b->n_members = rep_peers(r->node->rep, b->members, MEMBERS_MAX);
    b->index = store_index(r->node->store);
    b->term = rep_term(r->node->rep);
    b->rev = store_rev(r->node->store);
    b->snap = store_snap_begin(r->node->store);
    b->work.data = b;
    CHECK(uv_queue_work(r->node->loop, &b->work, backup_work, backup_written) == 0);
}

void rest_backup(struct rest *r)
{
    struct err err = { 0 };

    if (!str_eq(r->req->method, "GET")) {
        (void)err_set(&err, ERR_METHOD, "backup: GET");
    } else if (r->req->peer.role[0] == 0) {
        (void)err_set(&err, ERR_UNAUTHORIZED, "a client certificate of this cluster is needed");
    } else if (!str_eq(r->req->peer.role, "picket:admins")) {
        (void)err_set(&err, ERR_DENIED, "%s \"%s\" may not take backups: they contain everything",
                      r->req->peer.role, r->req->peer.name);
    }
    if (err.code != 0) {
        rest_err(r, &err);
    } else {
        rest_read_then(r, backup_go);
    }
}
