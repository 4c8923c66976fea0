/* rtnetlink requests. */

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/obj.h"
#include "net/nl_codec.h"

static struct nlmsghdr *start(void *buf, uint16_t type, uint16_t flags, uint32_t seq)
{
    struct nlmsghdr *h;

    memset(buf, 0, NL_REQUEST_MAX);
    h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    h->nlmsg_seq = seq;
    return h;
}

size_t nl_build_dump(void *buf, uint16_t type, uint32_t seq)
{
    struct nlmsghdr *h = start(buf, type, NLM_F_DUMP, seq);

    if (type == RTM_GETLINK) {
        struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

        m->ifi_family = AF_UNSPEC;
    } else if (type == RTM_GETADDR) {
        struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

        m->ifa_family = AF_UNSPEC;
    } else {
        struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

        CHECK(type == RTM_GETROUTE);
        m->rtm_family = AF_UNSPEC;
    }
    return h->nlmsg_len;
}

static struct nlmsghdr *link_request(void *buf, uint16_t type, uint16_t flags, uint32_t seq,
                                     int index, struct ifinfomsg **ret)
{
    struct nlmsghdr *h = start(buf, type, (uint16_t)(NLM_F_ACK | flags), seq);
    struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->ifi_family = AF_UNSPEC;
    m->ifi_index = index;
    if (ret != NULL) {
        *ret = m;
    }
    return h;
}

static void put_bond(struct nlmsghdr *h, const struct nw_bond *b, int primary)
{
    if ((b->set & NW_BOND_MODE) != 0) {
        mnl_attr_put_u8(h, IFLA_BOND_MODE, b->mode);
    }
    if ((b->set & NW_BOND_MIIMON) != 0) {
        mnl_attr_put_u32(h, IFLA_BOND_MIIMON, b->miimon);
    }
    if ((b->set & NW_BOND_UPDELAY) != 0) {
        mnl_attr_put_u32(h, IFLA_BOND_UPDELAY, b->updelay);
    }
    if ((b->set & NW_BOND_DOWNDELAY) != 0) {
        mnl_attr_put_u32(h, IFLA_BOND_DOWNDELAY, b->downdelay);
    }
    if ((b->set & NW_BOND_PRIMARY) != 0) {
        mnl_attr_put_u32(h, IFLA_BOND_PRIMARY, (uint32_t)primary);
    }
    if ((b->set & NW_BOND_LACP_RATE) != 0) {
        mnl_attr_put_u8(h, IFLA_BOND_AD_LACP_RATE, b->lacp_rate);
    }
    if ((b->set & NW_BOND_XMIT_HASH) != 0) {
        mnl_attr_put_u8(h, IFLA_BOND_XMIT_HASH_POLICY, b->xmit_hash);
    }
}

/* The kernel counts these in hundredths of a second (USER_HZ). */
static uint32_t ticks(uint32_t ms)
{
    return ms / 10U;
}

static void put_bridge(struct nlmsghdr *h, const struct nw_bridge *b)
{
    if ((b->set & NW_BRIDGE_DELAY) != 0) {
        mnl_attr_put_u32(h, IFLA_BR_FORWARD_DELAY, ticks(b->forward_delay));
    }
    if ((b->set & NW_BRIDGE_HELLO) != 0) {
        mnl_attr_put_u32(h, IFLA_BR_HELLO_TIME, ticks(b->hello_time));
    }
    if ((b->set & NW_BRIDGE_MAX_AGE) != 0) {
        mnl_attr_put_u32(h, IFLA_BR_MAX_AGE, ticks(b->max_age));
    }
    if ((b->set & NW_BRIDGE_STP) != 0) {
        mnl_attr_put_u32(h, IFLA_BR_STP_STATE, b->stp ? 1 : 0);
    }
    if ((b->set & NW_BRIDGE_VLANS) != 0) {
        mnl_attr_put_u8(h, IFLA_BR_VLAN_FILTERING, b->vlan_filtering ? 1 : 0);
    }
}

static void put_info(struct nlmsghdr *h, enum nw_kind kind, const struct nw_op *op, int primary)
{
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    struct nlattr *data;

    mnl_attr_put_str(h, IFLA_INFO_KIND, nw_kind_name(kind));
    data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    if (kind == NW_BOND) {
        put_bond(h, &op->bond, primary);
    } else if (kind == NW_BRIDGE) {
        put_bridge(h, &op->bridge);
    } else {
        mnl_attr_put_u16(h, IFLA_VLAN_ID, op->vlan_id);
    }
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
}

static struct nlmsghdr *add_link(void *buf, const struct nw_op *op, const struct nl_indices *ix,
                                 uint32_t seq)
{
    struct nlmsghdr *h = link_request(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, seq, 0, NULL);

    mnl_attr_put_strz(h, IFLA_IFNAME, op->dev);
    if (op->link_kind == NW_VLAN) {
        mnl_attr_put_u32(h, IFLA_LINK, (uint32_t)ix->other);
    }
    put_info(h, op->link_kind, op, ix->primary);
    return h;
}

static struct nlmsghdr *port_cost(void *buf, const struct nw_op *op, int index, uint32_t seq)
{
    struct nlmsghdr *h = link_request(buf, RTM_NEWLINK, 0, seq, index, NULL);
    struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    struct nlattr *data;

    mnl_attr_put_str(h, IFLA_INFO_SLAVE_KIND, "bridge");
    data = mnl_attr_nest_start(h, IFLA_INFO_SLAVE_DATA);
    mnl_attr_put_u32(h, IFLA_BRPORT_COST, op->value);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    return h;
}

static size_t ip_len(const struct nw_ip *ip)
{
    return ip->family == AF_INET6 ? 16 : 4;
}

static struct nlmsghdr *address(void *buf, const struct nw_op *op, int index, uint32_t seq)
{
    bool add = op->kind == NW_OP_ADDR_ADD;
    const struct nw_ip *ip = &op->addr.ip;
    struct nlmsghdr *h = start(buf, add ? RTM_NEWADDR : RTM_DELADDR,
                               (uint16_t)(NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_EXCL : 0)), seq);
    struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->ifa_family = ip->family;
    m->ifa_prefixlen = op->addr.prefix;
    m->ifa_index = (uint32_t)index;
    m->ifa_scope = RT_SCOPE_UNIVERSE;
    mnl_attr_put(h, IFA_LOCAL, ip_len(ip), ip->b);
    mnl_attr_put(h, IFA_ADDRESS, ip_len(ip), ip->b);
    if (add && ip->family == AF_INET && op->addr.prefix < 31) {
        uint8_t b[4];

        memcpy(b, ip->b, sizeof(b));
        for (unsigned i = op->addr.prefix; i < 32; i++) {
            b[i / 8] = (uint8_t)(b[i / 8] | 0x80U >> (i % 8));
        }
        mnl_attr_put(h, IFA_BROADCAST, sizeof(b), b);
    }
    if (add && ip->family == AF_INET6) { /* it may be moving: usable at once */
        m->ifa_flags = IFA_F_NODAD;
    }
    return h;
}

static struct nlmsghdr *route(void *buf, const struct nw_op *op, int index, uint32_t seq)
{
    bool put = op->kind == NW_OP_ROUTE_PUT;
    const struct nw_route *r = &op->route;
    struct nlmsghdr *h =
        start(buf, put ? RTM_NEWROUTE : RTM_DELROUTE,
              (uint16_t)(NLM_F_ACK | (put ? NLM_F_CREATE | NLM_F_REPLACE : 0)), seq);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

    m->rtm_family = r->dst.family;
    m->rtm_dst_len = r->dst_len;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = r->protocol;
    m->rtm_type = RTN_UNICAST;
    m->rtm_scope = r->scope;
    if (r->dst_len > 0) {
        mnl_attr_put(h, RTA_DST, ip_len(&r->dst), r->dst.b);
    }
    if (r->gw.family != 0) {
        mnl_attr_put(h, RTA_GATEWAY, ip_len(&r->gw), r->gw.b);
    }
    if (r->src.family != 0) {
        mnl_attr_put(h, RTA_PREFSRC, ip_len(&r->src), r->src.b);
    }
    if (r->metric != 0) {
        mnl_attr_put_u32(h, RTA_PRIORITY, r->metric);
    }
    mnl_attr_put_u32(h, RTA_OIF, (uint32_t)index);
    return h;
}

/* Existing links: flags, MTU, master. */
static struct nlmsghdr *change_link(void *buf, const struct nw_op *op, const struct nl_indices *ix,
                                    uint32_t seq)
{
    struct ifinfomsg *m;
    struct nlmsghdr *h = link_request(buf, RTM_NEWLINK, 0, seq, ix->dev, &m);

    if (op->kind == NW_OP_UP || op->kind == NW_OP_DOWN) {
        m->ifi_change = IFF_UP;
        m->ifi_flags = op->kind == NW_OP_UP ? IFF_UP : 0;
    } else if (op->kind == NW_OP_MTU) {
        mnl_attr_put_u32(h, IFLA_MTU, op->value);
    } else if (op->kind == NW_OP_MASTER) {
        mnl_attr_put_u32(h, IFLA_MASTER, (uint32_t)ix->other);
    } else {
        put_info(h, op->kind == NW_OP_BOND_SET ? NW_BOND : NW_BRIDGE, op, ix->primary);
    }
    return h;
}

static const char *missing(const struct nw_op *op, const struct nl_indices *ix)
{
    bool link_other = op->kind == NW_OP_MASTER || op->kind == NW_OP_ADD_LINK;

    if (op->kind != NW_OP_ADD_LINK && ix->dev <= 0) {
        return op->kind == NW_OP_ROUTE_PUT || op->kind == NW_OP_ROUTE_DEL ? op->route.dev : op->dev;
    }
    if (link_other && op->other[0] != 0 && ix->other <= 0) {
        return op->other;
    }
    if ((op->bond.set & NW_BOND_PRIMARY) != 0 && op->bond.primary[0] != 0 && ix->primary <= 0) {
        return op->bond.primary;
    }
    return NULL;
}

int nl_build_op(void *buf, const struct nw_op *op, const struct nl_indices *ix, uint32_t seq,
                size_t *ret_len, struct err *err)
{
    const char *name = missing(op, ix);
    struct nlmsghdr *h = NULL;

    if (name != NULL) {
        return err_set(err, ERR_INVALID, "there is no interface %s", name);
    }
    switch (op->kind) {
    case NW_OP_ADD_LINK:
        h = add_link(buf, op, ix, seq);
        break;
    case NW_OP_DEL_LINK:
        h = link_request(buf, RTM_DELLINK, 0, seq, ix->dev, NULL);
        break;
    case NW_OP_UP:
    case NW_OP_DOWN:
    case NW_OP_MTU:
    case NW_OP_MASTER:
    case NW_OP_BOND_SET:
    case NW_OP_BRIDGE_SET:
        h = change_link(buf, op, ix, seq);
        break;
    case NW_OP_PORT_COST:
        h = port_cost(buf, op, ix->dev, seq);
        break;
    case NW_OP_ADDR_ADD:
    case NW_OP_ADDR_DEL:
        h = address(buf, op, ix->dev, seq);
        break;
    case NW_OP_ROUTE_PUT:
    case NW_OP_ROUTE_DEL:
        h = route(buf, op, ix->dev, seq);
        break;
    case NW_OP_NONE:
        break;
    }
    CHECK(h != NULL && h->nlmsg_len <= NL_REQUEST_MAX);
    *ret_len = h->nlmsg_len;
    return 0;
}
