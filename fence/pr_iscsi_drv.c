#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/pr.h"

/* One session a portal, made by this process itself.  Its ISID is fixed for each portal, so that a
 * registration made with it is found again by the next operation, and differs from the kernel's.
 * libiscsi is asynchronous; each call here runs its sockets until the answer or the deadline. */

#define ISID_RANDOM 0x504bU /* within ISIDs of the type "random" (RFC 7143, 11.12.5) */
#define DATA_MAX 4096U
#define UNIT_ATTENTIONS_MAX 8
#define LOGIN_ONLY (-1)

struct pr_path {
    struct iscsi_context *iscsi;
    uint64_t until_ms;
    bool broken;
    char name[PR_NAME_MAX];
};

/* What a callback brings back. */
struct wait {
    bool done;
    int status;
    uint32_t response; /* of task management */
};

static void on_done(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
    struct wait *w = private_data;

    (void)iscsi;
    (void)data;
    w->done = true;
    w->status = status;
}

static void on_managed(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
    struct wait *w = private_data;

    (void)iscsi;
    w->done = true;
    w->status = status;
    w->response = status == SCSI_STATUS_GOOD && data != NULL ? *(uint32_t *)data : UINT32_MAX;
}

/* Until the callback has come: 0, or ERR_UNKNOWN_OUTCOME; then the session is of no use any more.
 */
static int run_until(struct pr_path *p, struct wait *w, struct err *err)
{
    while (!w->done && !p->broken) {
        uint64_t now_ms = clock_now_ms();
        struct pollfd pfd = { .fd = iscsi_get_fd(p->iscsi) };

        if (now_ms >= p->until_ms) {
            p->broken = true;
            return err_set(err, ERR_UNKNOWN_OUTCOME, "%s: no answer in time", p->name);
        }
        pfd.events = (short)iscsi_which_events(p->iscsi);
        if (poll(&pfd, 1, (int)(p->until_ms - now_ms)) > 0 &&
            iscsi_service(p->iscsi, pfd.revents) != 0) {
            p->broken = true;
        }
    }
    return w->done ? 0
                   : err_set(err, ERR_UNKNOWN_OUTCOME, "%s: %.200s", p->name,
                             iscsi_get_error(p->iscsi));
}

static void drv_close(struct pr_path *p)
{
    if (p == NULL) {
        return;
    }
    if (!p->broken) {
        struct wait w = { 0 };
        struct err err;

        if (iscsi_logout_async(p->iscsi, on_done, &w) == 0) {
            (void)run_until(p, &w, &err);
        }
    }
    (void)iscsi_destroy_context(p->iscsi); /* ends what is under way, with callbacks */
    free(p);
}

static int session_setup(struct pr_path *p, const struct pr_target *t, size_t portal)
{
    int rc = iscsi_set_targetname(p->iscsi, t->iqn);

    iscsi_set_noautoreconnect(p->iscsi, 1);
    rc |= iscsi_set_session_type(p->iscsi, ISCSI_SESSION_NORMAL);
    rc |= iscsi_set_header_digest(p->iscsi, ISCSI_HEADER_DIGEST_NONE_CRC32C);
    rc |= iscsi_set_isid_random(p->iscsi, ISID_RANDOM, (uint32_t)portal);
    if (t->chap_user != NULL) {
        rc |= iscsi_set_initiator_username_pwd(p->iscsi, t->chap_user, t->chap_password);
    }
    if (t->mutual_user != NULL) {
        rc |= iscsi_set_target_username_pwd(p->iscsi, t->mutual_user, t->mutual_password);
    }
    return rc;
}

static int drv_open(const struct pr_ask *ask, size_t target, size_t portal, uint64_t until_ms,
                    struct pr_path **ret, struct err *err)
{
    const struct pr_target *t = &ask->targets[target];
    struct pr_path *p = OBJ_NEW(struct pr_path);
    struct wait w = { 0 };
    int rc;

    p->until_ms = until_ms;
    (void)str_copy(p->name, sizeof(p->name), t->portals[portal]);
    p->iscsi = iscsi_create_context(ask->initiator);
    CHECK(p->iscsi != NULL);
    if (session_setup(p, t, portal) != 0 ||
        iscsi_full_connect_async(p->iscsi, p->name, LOGIN_ONLY, on_done, &w) != 0) {
        rc = err_set(err, ERR_UNREACHABLE, "%s: %.200s", p->name, iscsi_get_error(p->iscsi));
        w.done = false;
    } else {
        rc = run_until(p, &w, err);
    }
    if (rc == 0 && w.status != SCSI_STATUS_GOOD) {
        rc = err_set(err, ERR_UNREACHABLE, "%s: login: %.200s", p->name, iscsi_get_error(p->iscsi));
    }
    if (rc != 0) {
        err->code = ERR_UNREACHABLE; /* a login takes nothing from anybody */
        p->broken = true;
        drv_close(p);
        return ERR_UNREACHABLE;
    }
    *ret = p;
    return 0;
}

/* --- commands ----------------------------------------------------------------------------------
 */

static int status_err(const struct pr_path *p, const struct scsi_task *task, const char *what,
                      struct err *err)
{
    switch (task->status) {
    case SCSI_STATUS_RESERVATION_CONFLICT:
        return err_set(err, ERR_CONFLICT, "%s: %s: reservation conflict", p->name, what);
    case SCSI_STATUS_CHECK_CONDITION:
        if (task->sense.key == SCSI_SENSE_ILLEGAL_REQUEST) {
            return err_set(err, ERR_UNSUPPORTED, "%s: %s: illegal request (asc 0x%04x)", p->name,
                           what, (unsigned)task->sense.ascq);
        }
        return err_set(err, ERR_DRIVER, "%s: %s: sense key %d, asc 0x%04x", p->name, what,
                       (int)task->sense.key, (unsigned)task->sense.ascq);
    default:
        return err_set(err, ERR_UNKNOWN_OUTCOME, "%s: %s: SCSI status 0x%x", p->name, what,
                       (unsigned)task->status);
    }
}

struct command {
    unsigned char cdb[16];
    int cdb_len;
    int direction;
    int len;
    struct iscsi_data out;
    const char *what;
};

/* Once; *ret_again: a unit attention was in its way, and it was not carried out. */
static int send_once(struct pr_path *p, uint16_t lun, struct command *c, struct buf *ret,
                     bool *ret_again, struct err *err)
{
    struct scsi_task *task = scsi_create_task(c->cdb_len, c->cdb, c->direction, c->len);
    struct wait w = { 0 };
    int rc;

    *ret_again = false;
    CHECK(task != NULL);
    if (p->broken || iscsi_scsi_command_async(p->iscsi, lun, task, on_done,
                                              c->out.size > 0 ? &c->out : NULL, &w) != 0) {
        p->broken = true;
        scsi_free_scsi_task(task);
        return err_set(err, ERR_UNREACHABLE, "%s: %s: not sent: the session is broken", p->name,
                       c->what);
    }
    rc = run_until(p, &w, err);
    if (rc != 0) {
        return err_wrap(err, "%s", c->what); /* the task belongs to the context until it ends */
    }
    if (w.status == SCSI_STATUS_GOOD) {
        if (ret != NULL && task->datain.size > 0) {
            buf_add(ret, task->datain.data, (size_t)task->datain.size);
        }
    } else if (w.status == SCSI_STATUS_CANCELLED || w.status == SCSI_STATUS_ERROR) {
        rc = err_set(err, ERR_UNKNOWN_OUTCOME, "%s: %s: the session broke", p->name, c->what);
    } else {
        *ret_again = task->status == SCSI_STATUS_CHECK_CONDITION &&
                     task->sense.key == SCSI_SENSE_UNIT_ATTENTION;
        rc = status_err(p, task, c->what, err);
    }
    scsi_free_scsi_task(task);
    return rc;
}

static int command(struct pr_path *p, uint16_t lun, struct command *c, struct buf *ret,
                   struct err *err)
{
    bool again = true;
    int rc = 0;

    for (int i = 0; again && i < UNIT_ATTENTIONS_MAX; i++) {
        rc = send_once(p, lun, c, ret, &again, err);
    }
    return rc;
}

static int drv_in(struct pr_path *p, uint16_t lun, enum pr_in action, struct buf *ret,
                  struct err *err)
{
    struct command c = { .cdb = { SCSI_OPCODE_PERSISTENT_RESERVE_IN, (unsigned char)action },
                         .cdb_len = 10,
                         .direction = SCSI_XFER_READ,
                         .len = DATA_MAX,
                         .what = "PERSISTENT RESERVE IN" };

    c.cdb[7] = DATA_MAX >> 8;
    c.cdb[8] = DATA_MAX & 0xff;
    return command(p, lun, &c, ret, err);
}

static void put_key(unsigned char *dst, uint64_t key)
{
    for (unsigned i = 0; i < 8; i++) {
        dst[i] = (unsigned char)(key >> (56 - 8 * i));
    }
}

static int drv_out(struct pr_path *p, uint16_t lun, enum pr_out action, uint8_t type, uint64_t key,
                   uint64_t service_key, bool aptpl, struct err *err)
{
    unsigned char param[24] = { 0 };
    struct command c = { .cdb = { SCSI_OPCODE_PERSISTENT_RESERVE_OUT, (unsigned char)action,
                                  type & 15 },
                         .cdb_len = 10,
                         .direction = SCSI_XFER_WRITE,
                         .len = sizeof(param),
                         .out = { .size = sizeof(param), .data = param },
                         .what = "PERSISTENT RESERVE OUT" };

    c.cdb[8] = sizeof(param);
    put_key(param, key);
    put_key(param + 8, service_key);
    param[20] = aptpl ? 1 : 0;
    return command(p, lun, &c, NULL, err);
}

static int drv_vpd(struct pr_path *p, uint16_t lun, uint8_t page, struct buf *ret, struct err *err)
{
    struct command c = { .cdb = { SCSI_OPCODE_INQUIRY, 1, page, 4, 0 },
                         .cdb_len = 6,
                         .direction = SCSI_XFER_READ,
                         .len = 1024,
                         .what = "INQUIRY" };

    return command(p, lun, &c, ret, err);
}

static int drv_reset(struct pr_path *p, uint16_t lun, struct err *err)
{
    struct wait w = { 0 };
    int rc;

    if (p->broken || iscsi_task_mgmt_lun_reset_async(p->iscsi, lun, on_managed, &w) != 0) {
        p->broken = true;
        return err_set(err, ERR_UNREACHABLE, "%s: LUN RESET: the session is broken", p->name);
    }
    rc = run_until(p, &w, err);
    if (rc == 0 && (w.status != SCSI_STATUS_GOOD || w.response != ISCSI_TMR_FUNC_COMPLETE)) {
        rc = err_set(err, ERR_UNSUPPORTED, "%s: LUN RESET was refused (response %u)", p->name,
                     w.response);
    }
    return rc;
}

const struct pr_drv pr_iscsi_drv = {
    .open = drv_open,
    .in = drv_in,
    .out = drv_out,
    .vpd = drv_vpd,
    .reset = drv_reset,
    .close = drv_close,
};
