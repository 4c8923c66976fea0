/* rtnetlink over a socket. */

#include "net/nw_drv.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nl_codec.h"
#include "net/nw_plan.h"

#define NW_DRV_MAGIC 0x6e776472U
#define RECEIVE_BYTES 65536
#define DUMP_TRIES 5

struct nw_drv {
    unsigned magic;
    int fd;
    int ioctl_fd;
    uint32_t seq;
    void *in;  /* RECEIVE_BYTES */
    void *out; /* NL_REQUEST_MAX */
};

static int open_socket(int flags, uint32_t groups, int *ret, struct err *err)
{
    struct sockaddr_nl me = { .nl_family = AF_NETLINK, .nl_groups = groups };
    int on = 1;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);

    if (fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "open a netlink socket");
    }
    if (bind(fd, (struct sockaddr *)&me, sizeof(me)) != 0) {
        int e = errno;

        (void)close(fd);
        return err_native(err, ERR_SYS, "errno", e, "bind a netlink socket");
    }
    /* Texts for refusals and no copies of requests in them; old kernels do without. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
    *ret = fd;
    return 0;
}

int nw_drv_open(struct nw_drv **ret, struct err *err)
{
    struct nw_drv *d;
    int fd;
    int rc = open_socket(0, 0, &fd, err);

    if (rc != 0) {
        return rc;
    }
    d = OBJ_NEW(struct nw_drv);
    d->magic = NW_DRV_MAGIC;
    d->fd = fd;
    d->ioctl_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (d->ioctl_fd < 0) {
        rc = err_native(err, ERR_SYS, "errno", errno, "open a socket");
        nw_drv_close(d);
        return rc;
    }
    d->in = mem_alloc(RECEIVE_BYTES);
    d->out = mem_alloc(NL_REQUEST_MAX);
    *ret = d;
    return 0;
}

void nw_drv_close(struct nw_drv *d)
{
    if (d == NULL) {
        return;
    }
    OBJ_CHECK(d, NW_DRV_MAGIC);
    (void)close(d->fd);
    if (d->ioctl_fd >= 0) {
        (void)close(d->ioctl_fd);
    }
    free(d->in);
    free(d->out);
    d->magic = 0;
    free(d);
}

/* --- one request -------------------------------------------------------------------------------
 */

static int send_request(struct nw_drv *d, size_t len, struct err *err)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

    if (sendto(d->fd, d->out, len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "send to the kernel's routing socket");
    }
    return 0;
}

static int receive(struct nw_drv *d, uint64_t deadline_ms, size_t *ret_len, struct err *err)
{
    for (;;) {
        struct pollfd p = { .fd = d->fd, .events = POLLIN };
        uint64_t now = clock_now_ms();
        int left = now >= deadline_ms           ? 0
                   : deadline_ms - now > 600000 ? 600000
                                                : (int)(deadline_ms - now);
        int n = poll(&p, 1, left);
        ssize_t got;

        if (n == 0) {
            return err_set(err, ERR_UNKNOWN_OUTCOME, "the kernel's routing socket did not answer");
        }
        got = n < 0 ? -1 : recv(d->fd, d->in, RECEIVE_BYTES, MSG_TRUNC);
        if (got > RECEIVE_BYTES) {
            return err_set(err, ERR_TOO_LARGE, "a netlink message of %zd bytes", got);
        }
        if (got >= 0) {
            *ret_len = (size_t)got;
            return 0;
        }
        if (errno != EINTR) {
            return err_native(err, ERR_UNKNOWN_OUTCOME, "errno", errno,
                              "read from the kernel's routing socket");
        }
    }
}

/* Read until the answer to request d->seq is complete. *ret_inconsistent may be NULL. */
static int read_answer(struct nw_drv *d, uint64_t deadline_ms, struct nw_obs *o,
                       struct nl_answer *ret, bool *ret_inconsistent, struct err *err)
{
    bool inconsistent = false;
    size_t len = 0;
    int rc;

    do {
        rc = receive(d, deadline_ms, &len, err);
        if (rc == 0) {
            rc = nl_parse(d->in, len, d->seq, o, ret, err);
        }
        if (rc != 0) {
            return rc;
        }
        inconsistent = inconsistent || ret->inconsistent;
    } while (ret->end == NL_MORE);
    if (ret_inconsistent != NULL) {
        *ret_inconsistent = inconsistent;
    }
    return 0;
}

/* --- look --------------------------------------------------------------------------------------
 */

static int dump_once(struct nw_drv *d, struct nw_obs *o, uint64_t deadline_ms, bool *ret_again,
                     struct err *err)
{
    static const uint16_t types[] = { RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE };

    *ret_again = false;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct nl_answer answer;
        bool again = false;
        int rc = send_request(d, nl_build_dump(d->out, types[i], ++d->seq), err);

        rc = rc != 0 ? rc : read_answer(d, deadline_ms, o, &answer, &again, err);
        if (rc != 0) {
            return rc;
        }
        if (answer.end == NL_REFUSED) {
            return err_native(err, ERR_DRIVER, "errno", answer.error, "list the host's network");
        }
        *ret_again = *ret_again || again;
    }
    return 0;
}

static uint32_t speed_of(struct nw_drv *d, const char *name)
{
    struct {
        struct ethtool_link_settings s;
        uint32_t masks[3 * 127];
    } req = { .s = { .cmd = ETHTOOL_GLINKSETTINGS } };
    struct ifreq ifr = { 0 };

    (void)str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), name);
    ifr.ifr_data = (void *)&req;
    if (ioctl(d->ioctl_fd, SIOCETHTOOL, &ifr) != 0 || req.s.link_mode_masks_nwords >= 0) {
        return 0;
    }
    req.s.link_mode_masks_nwords =
        (int8_t)-req.s.link_mode_masks_nwords; /* as the protocol wants */
    if (ioctl(d->ioctl_fd, SIOCETHTOOL, &ifr) != 0 || req.s.speed > INT32_MAX) {
        return 0;
    }
    return req.s.speed;
}

int nw_drv_observe(struct nw_drv *d, struct arena *a, uint64_t deadline_ms, struct nw_obs *ret,
                   struct err *err)
{
    bool again = true;

    OBJ_CHECK(d, NW_DRV_MAGIC);
    for (int i = 0; again && i < DUMP_TRIES; i++) {
        int rc;

        nw_obs_init(ret, a);
        rc = dump_once(d, ret, deadline_ms, &again, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (again) {
        return err_set(err, ERR_DRIVER, "the host's network changes faster than it can be listed");
    }
    nw_obs_resolve(ret);
    for (size_t i = 0; i < ret->n_links; i++) {
        struct nw_link *l = &ret->links[i];

        l->speed_mbps = l->carrier && !l->loopback ? speed_of(d, l->name) : 0;
    }
    return 0;
}

/* --- change ------------------------------------------------------------------------------------
 */

static int index_of(struct nw_drv *d, const char *name)
{
    struct ifreq ifr = { 0 };

    if (name[0] == 0 || !str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), name) ||
        ioctl(d->ioctl_fd, SIOCGIFINDEX, &ifr) != 0) {
        return 0;
    }
    return ifr.ifr_ifindex;
}

static bool removes(enum nw_op_kind kind)
{
    return kind == NW_OP_DEL_LINK || kind == NW_OP_ADDR_DEL || kind == NW_OP_ROUTE_DEL;
}

/* Is this refusal the news that things are already so? */
static bool already(const struct nw_op *op, int error)
{
    if (removes(op->kind)) {
        return error == ENODEV || error == EADDRNOTAVAIL || error == ESRCH || error == ENOENT;
    }
    return op->kind == NW_OP_ADDR_ADD && error == EEXIST;
}

static int refused(const struct nw_op *op, const struct nl_answer *answer, struct err *err)
{
    struct buf b = { 0 };
    int code = answer->error == EPERM || answer->error == EACCES ? ERR_DENIED : ERR_DRIVER;

    nw_op_format(op, &b);
    (void)err_native(err, code, "errno", answer->error, "the kernel refuses \"%s\"%s%s%s",
                     buf_cstr(&b), answer->text[0] != 0 ? " (" : "", answer->text,
                     answer->text[0] != 0 ? ")" : "");
    buf_done(&b);
    return code;
}

static int apply_one(struct nw_drv *d, const struct nw_op *op, uint64_t deadline_ms,
                     struct err *err)
{
    struct nl_indices ix = { index_of(d, op->dev), index_of(d, op->other),
                             index_of(d, op->bond.primary) };
    struct nl_answer answer;
    struct nw_obs none;
    struct arena a = { 0 };
    size_t len = 0;
    int rc;

    if (removes(op->kind) && ix.dev == 0) {
        return 0;
    }
    nw_obs_init(&none, &a);
    rc = nl_build_op(d->out, op, &ix, ++d->seq, &len, err);
    rc = rc != 0 ? rc : send_request(d, len, err);
    rc = rc != 0 ? rc : read_answer(d, deadline_ms, &none, &answer, NULL, err);
    if (rc == 0 && answer.end == NL_REFUSED && !already(op, answer.error)) {
        rc = refused(op, &answer, err);
    }
    arena_done(&a);
    return rc;
}

int nw_drv_apply(struct nw_drv *d, const struct nw_op *ops, size_t n, uint64_t deadline_ms,
                 size_t *ret_done, struct err *err)
{
    int rc = 0;
    size_t i;

    OBJ_CHECK(d, NW_DRV_MAGIC);
    for (i = 0; i < n; i++) {
        rc = apply_one(d, &ops[i], deadline_ms, err);
        if (rc != 0) {
            break;
        }
    }
    if (ret_done != NULL) {
        *ret_done = i;
    }
    return rc;
}

/* What does not exist needs no undoing, and what exists need not be made again. */
static bool needless(struct nw_drv *d, const struct nw_op *op)
{
    return (op->kind == NW_OP_ADD_LINK) == (index_of(d, op->dev) != 0);
}

int nw_drv_undo(struct nw_drv *d, const struct nw_op *ops, size_t n, uint64_t deadline_ms,
                struct err *err)
{
    int first = 0;

    OBJ_CHECK(d, NW_DRV_MAGIC);
    for (size_t i = 0; i < n; i++) {
        struct err e;
        int rc = needless(d, &ops[i]) ? 0 : apply_one(d, &ops[i], deadline_ms, &e);

        if (rc != 0 && first == 0) {
            first = rc;
            *err = e;
        }
    }
    return first;
}

/* --- be told -----------------------------------------------------------------------------------
 */

int nw_monitor_open(int *ret_fd, struct err *err)
{
    uint32_t groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                      RTMGRP_IPV6_ROUTE;

    return open_socket(SOCK_NONBLOCK, groups, ret_fd, err);
}

bool nw_monitor_drain(int fd)
{
    uint8_t bytes[8192];
    bool changed = false;
    ssize_t n;

    do {
        n = recv(fd, bytes, sizeof(bytes), MSG_TRUNC);
        changed = changed || n > 0 || (n < 0 && errno == ENOBUFS);
    } while (n > 0 || (n < 0 && (errno == EINTR || errno == ENOBUFS)));
    return changed;
}
