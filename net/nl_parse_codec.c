/* rtnetlink answers. */

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nl_codec.h"

#define ATTRS 80 /* numbers above are of newer kernels and none of ours */

struct attrs {
    const struct nlattr *at[ATTRS];
};

static int note_attr(const struct nlattr *attr, void *data)
{
    struct attrs *t = data;
    uint16_t type = mnl_attr_get_type(attr);

    if (type < ATTRS) {
        t->at[type] = attr;
    }
    return MNL_CB_OK;
}

/* Attributes behind a header of `skip` bytes. */
static void read_attrs(const struct nlmsghdr *h, size_t skip, struct attrs *t)
{
    memset(t, 0, sizeof(*t));
    (void)mnl_attr_parse(h, (unsigned)skip, note_attr, t);
}

static void read_nested(const struct nlattr *nest, struct attrs *t)
{
    memset(t, 0, sizeof(*t));
    if (nest != NULL) {
        (void)mnl_attr_parse_nested(nest, note_attr, t);
    }
}

static bool get_u8(const struct attrs *t, unsigned type, uint8_t *ret)
{
    if (t->at[type] == NULL || mnl_attr_get_payload_len(t->at[type]) < sizeof(*ret)) {
        return false;
    }
    *ret = mnl_attr_get_u8(t->at[type]);
    return true;
}

static uint32_t get_u32(const struct attrs *t, unsigned type)
{
    if (t->at[type] == NULL || mnl_attr_get_payload_len(t->at[type]) < sizeof(uint32_t)) {
        return 0;
    }
    return mnl_attr_get_u32(t->at[type]);
}

static bool has_u32(const struct attrs *t, unsigned type)
{
    return t->at[type] != NULL && mnl_attr_get_payload_len(t->at[type]) >= sizeof(uint32_t);
}

static void get_name(const struct attrs *t, unsigned type, char dst[NW_NAME])
{
    size_t n;

    dst[0] = 0;
    if (t->at[type] == NULL) {
        return;
    }
    n = strnlen(mnl_attr_get_payload(t->at[type]), mnl_attr_get_payload_len(t->at[type]));
    n = n < NW_NAME ? n : NW_NAME - 1;
    memcpy(dst, mnl_attr_get_payload(t->at[type]), n);
    dst[n] = 0;
}

static void get_ip(const struct attrs *t, unsigned type, uint8_t family, struct nw_ip *ret)
{
    size_t len = family == AF_INET6 ? 16 : 4;

    memset(ret, 0, sizeof(*ret));
    if (t->at[type] != NULL && mnl_attr_get_payload_len(t->at[type]) == len) {
        ret->family = family;
        memcpy(ret->b, mnl_attr_get_payload(t->at[type]), len);
    }
}

static void bond_data(const struct nlattr *nest, struct nw_link *l)
{
    struct attrs t;

    read_nested(nest, &t);
    l->bond.set = 0;
    l->bond.set |= get_u8(&t, IFLA_BOND_MODE, &l->bond.mode) ? NW_BOND_MODE : 0U;
    l->bond.set |= get_u8(&t, IFLA_BOND_AD_LACP_RATE, &l->bond.lacp_rate) ? NW_BOND_LACP_RATE : 0U;
    l->bond.set |=
        get_u8(&t, IFLA_BOND_XMIT_HASH_POLICY, &l->bond.xmit_hash) ? NW_BOND_XMIT_HASH : 0U;
    l->bond.set |= has_u32(&t, IFLA_BOND_MIIMON) ? NW_BOND_MIIMON : 0U;
    l->bond.set |= has_u32(&t, IFLA_BOND_UPDELAY) ? NW_BOND_UPDELAY : 0U;
    l->bond.set |= has_u32(&t, IFLA_BOND_DOWNDELAY) ? NW_BOND_DOWNDELAY : 0U;
    l->bond.set |= NW_BOND_PRIMARY; /* no attribute: no primary */
    l->bond.miimon = get_u32(&t, IFLA_BOND_MIIMON);
    l->bond.updelay = get_u32(&t, IFLA_BOND_UPDELAY);
    l->bond.downdelay = get_u32(&t, IFLA_BOND_DOWNDELAY);
    l->bond_active_index = (int)get_u32(&t, IFLA_BOND_ACTIVE_SLAVE);
    l->bond_primary_index = (int)get_u32(&t, IFLA_BOND_PRIMARY);
}

static uint32_t ms_of(uint32_t ticks)
{
    return ticks > UINT32_MAX / 10U ? UINT32_MAX : ticks * 10U;
}

static void bridge_data(const struct nlattr *nest, struct nw_bridge *b)
{
    struct attrs t;
    uint8_t vlans = 0;

    read_nested(nest, &t);
    b->set = get_u8(&t, IFLA_BR_VLAN_FILTERING, &vlans) ? NW_BRIDGE_VLANS : 0U;
    b->set |= has_u32(&t, IFLA_BR_STP_STATE) ? NW_BRIDGE_STP : 0U;
    b->set |= has_u32(&t, IFLA_BR_FORWARD_DELAY) ? NW_BRIDGE_DELAY : 0U;
    b->set |= has_u32(&t, IFLA_BR_HELLO_TIME) ? NW_BRIDGE_HELLO : 0U;
    b->set |= has_u32(&t, IFLA_BR_MAX_AGE) ? NW_BRIDGE_MAX_AGE : 0U;
    b->vlan_filtering = vlans != 0;
    b->stp = get_u32(&t, IFLA_BR_STP_STATE) != 0;
    b->forward_delay = ms_of(get_u32(&t, IFLA_BR_FORWARD_DELAY));
    b->hello_time = ms_of(get_u32(&t, IFLA_BR_HELLO_TIME));
    b->max_age = ms_of(get_u32(&t, IFLA_BR_MAX_AGE));
}

static void slave_data(const char *kind, const struct nlattr *nest, struct nw_link *l)
{
    struct attrs t;
    uint8_t v = 0;

    read_nested(nest, &t);
    if (str_eq(kind, "bond")) {
        l->is_slave = true;
        l->slave_active = get_u8(&t, IFLA_BOND_SLAVE_STATE, &v) && v == 0;
        l->slave_mii_up = get_u8(&t, IFLA_BOND_SLAVE_MII_STATUS, &v) && v == 0;
        l->slave_failures = get_u32(&t, IFLA_BOND_SLAVE_LINK_FAILURE_COUNT);
    } else if (str_eq(kind, "bridge")) {
        l->port_cost = get_u32(&t, IFLA_BRPORT_COST);
        l->port_state = get_u8(&t, IFLA_BRPORT_STATE, &v) ? v : 0;
    }
}

static void link_info(const struct nlattr *nest, struct nw_link *l)
{
    struct attrs t;
    struct attrs vlan;
    char slave[NW_NAME];

    read_nested(nest, &t);
    get_name(&t, IFLA_INFO_KIND, l->type);
    get_name(&t, IFLA_INFO_SLAVE_KIND, slave);
    if (str_eq(l->type, "bond")) {
        l->kind = NW_BOND;
        bond_data(t.at[IFLA_INFO_DATA], l);
    } else if (str_eq(l->type, "bridge")) {
        l->kind = NW_BRIDGE;
        bridge_data(t.at[IFLA_INFO_DATA], &l->bridge);
    } else if (str_eq(l->type, "vlan")) {
        l->kind = NW_VLAN;
        read_nested(t.at[IFLA_INFO_DATA], &vlan);
        if (vlan.at[IFLA_VLAN_ID] != NULL &&
            mnl_attr_get_payload_len(vlan.at[IFLA_VLAN_ID]) >= sizeof(uint16_t)) {
            l->vlan_id = mnl_attr_get_u16(vlan.at[IFLA_VLAN_ID]);
        }
    }
    slave_data(slave, t.at[IFLA_INFO_SLAVE_DATA], l);
}

static void parse_link(const struct nlmsghdr *h, struct nw_obs *o)
{
    const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
    struct attrs t;
    struct nw_link *l;
    uint8_t carrier = 0;

    if (mnl_nlmsg_get_payload_len(h) < sizeof(*m) || m->ifi_family != AF_UNSPEC) {
        return; /* the bridge's own notifications have another family */
    }
    read_attrs(h, sizeof(*m), &t);
    l = nw_obs_add_link(o);
    l->index = m->ifi_index;
    l->up = (m->ifi_flags & IFF_UP) != 0;
    l->loopback = (m->ifi_flags & IFF_LOOPBACK) != 0;
    l->carrier = l->up && get_u8(&t, IFLA_CARRIER, &carrier) && carrier != 0;
    l->mtu = get_u32(&t, IFLA_MTU);
    l->master_index = (int)get_u32(&t, IFLA_MASTER);
    if (t.at[IFLA_LINK_NETNSID] == NULL) {
        l->lower_index = (int)get_u32(&t, IFLA_LINK);
    }
    get_name(&t, IFLA_IFNAME, l->name);
    link_info(t.at[IFLA_LINKINFO], l);
    if (l->name[0] == 0) {
        o->n_links--;
    }
}

static void parse_addr(const struct nlmsghdr *h, struct nw_obs *o)
{
    const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
    struct attrs t;
    struct nw_ip ip;
    struct nw_ifaddr *a;
    uint32_t flags;

    if (mnl_nlmsg_get_payload_len(h) < sizeof(*m) ||
        (m->ifa_family != AF_INET && m->ifa_family != AF_INET6) ||
        m->ifa_prefixlen > (m->ifa_family == AF_INET ? 32 : 128)) {
        return;
    }
    read_attrs(h, sizeof(*m), &t);
    flags = has_u32(&t, IFA_FLAGS) ? get_u32(&t, IFA_FLAGS) : m->ifa_flags;
    get_ip(&t, IFA_LOCAL, m->ifa_family, &ip);
    if (ip.family == 0) {
        get_ip(&t, IFA_ADDRESS, m->ifa_family, &ip);
    }
    if (ip.family == 0) {
        return;
    }
    a = nw_obs_add_addr(o);
    a->index = (int)m->ifa_index;
    a->addr = (struct nw_addr){ .ip = ip, .prefix = m->ifa_prefixlen };
    a->scope = m->ifa_scope;
    a->permanent = (flags & IFA_F_PERMANENT) != 0;
}

static void parse_route(const struct nlmsghdr *h, struct nw_obs *o)
{
    const struct rtmsg *m = mnl_nlmsg_get_payload(h);
    struct attrs t;
    struct nw_route *r;

    if (mnl_nlmsg_get_payload_len(h) < sizeof(*m) || (m->rtm_flags & RTM_F_CLONED) != 0 ||
        (m->rtm_family != AF_INET && m->rtm_family != AF_INET6) ||
        m->rtm_dst_len > (m->rtm_family == AF_INET ? 32 : 128)) {
        return;
    }
    read_attrs(h, sizeof(*m), &t);
    r = nw_obs_add_route(o);
    r->dst_len = m->rtm_dst_len;
    r->protocol = m->rtm_protocol;
    r->scope = m->rtm_scope;
    r->type = m->rtm_type;
    r->multipath = t.at[RTA_MULTIPATH] != NULL || t.at[RTA_VIA] != NULL;
    r->table = has_u32(&t, RTA_TABLE) ? get_u32(&t, RTA_TABLE) : m->rtm_table;
    r->metric = get_u32(&t, RTA_PRIORITY);
    r->index = (int)get_u32(&t, RTA_OIF);
    get_ip(&t, RTA_DST, m->rtm_family, &r->dst);
    get_ip(&t, RTA_GATEWAY, m->rtm_family, &r->gw);
    get_ip(&t, RTA_PREFSRC, m->rtm_family, &r->src);
    r->dst.family = m->rtm_family;
}

static void parse_error(const struct nlmsghdr *h, struct nl_answer *ret)
{
    const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
    struct attrs t;
    size_t skip = sizeof(*e);
    size_t n;

    if (mnl_nlmsg_get_payload_len(h) < sizeof(*e)) {
        ret->end = NL_REFUSED;
        ret->error = 0;
        return;
    }
    ret->error = e->error < 0 && e->error != INT32_MIN ? -e->error : e->error;
    ret->end = e->error == 0 ? NL_DONE : NL_REFUSED;
    if ((h->nlmsg_flags & NLM_F_ACK_TLVS) == 0) {
        return;
    }
    if ((h->nlmsg_flags & NLM_F_CAPPED) == 0 && e->msg.nlmsg_len >= sizeof(e->msg)) {
        skip += e->msg.nlmsg_len - sizeof(e->msg); /* our request comes back before the text */
    }
    if (skip > mnl_nlmsg_get_payload_len(h)) {
        return;
    }
    read_attrs(h, skip, &t);
    if (t.at[NLMSGERR_ATTR_MSG] != NULL) {
        n = strnlen(mnl_attr_get_payload(t.at[NLMSGERR_ATTR_MSG]),
                    mnl_attr_get_payload_len(t.at[NLMSGERR_ATTR_MSG]));
        n = n < sizeof(ret->text) ? n : sizeof(ret->text) - 1;
        memcpy(ret->text, mnl_attr_get_payload(t.at[NLMSGERR_ATTR_MSG]), n);
        ret->text[n] = 0;
    }
}

static void parse_one(const struct nlmsghdr *h, struct nw_obs *o, struct nl_answer *ret)
{
    switch (h->nlmsg_type) {
    case NLMSG_DONE:
        ret->end = NL_DONE;
        break;
    case NLMSG_ERROR:
        parse_error(h, ret);
        break;
    case RTM_NEWLINK:
        parse_link(h, o);
        break;
    case RTM_NEWADDR:
        parse_addr(h, o);
        break;
    case RTM_NEWROUTE:
        parse_route(h, o);
        break;
    default:
        break;
    }
    if ((h->nlmsg_flags & NLM_F_DUMP_INTR) != 0) {
        ret->inconsistent = true;
    }
}

int nl_parse(const void *data, size_t len, uint32_t seq, struct nw_obs *o, struct nl_answer *ret,
             struct err *err)
{
    const uint8_t *p = data;
    size_t pos = 0;

    CHECK(((uintptr_t)data & 3U) == 0);
    *ret = (struct nl_answer){ .end = NL_MORE };
    while (pos < len) {
        const struct nlmsghdr *h = (const void *)(p + pos);

        if (len - pos < sizeof(*h) || h->nlmsg_len < sizeof(*h) || h->nlmsg_len > len - pos) {
            return err_set(err, ERR_CORRUPT, "a netlink message of wrong length at byte %zu of %zu",
                           pos, len);
        }
        if (seq == 0 || h->nlmsg_seq == seq) {
            parse_one(h, o, ret);
        }
        pos += NLMSG_ALIGN(h->nlmsg_len);
    }
    return 0;
}
