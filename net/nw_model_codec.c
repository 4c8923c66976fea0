/* Names, addresses and the picture of a host's network. */

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nw.h"

static const struct {
    const char *name;
    const char *plural;
} kinds[] = {
    [NW_OTHER] = { "interface", NULL },
    [NW_BOND] = { "bond", "bonds" },
    [NW_BRIDGE] = { "bridge", "bridges" },
    [NW_VLAN] = { "vlan", "vlans" },
};

const char *nw_kind_name(enum nw_kind kind)
{
    CHECK((size_t)kind < ARRAY_LEN(kinds));
    return kinds[kind].name;
}

const char *nw_kind_plural(enum nw_kind kind)
{
    CHECK((size_t)kind < ARRAY_LEN(kinds));
    return kinds[kind].plural;
}

bool nw_kind_from_plural(const char *plural, enum nw_kind *ret)
{
    for (size_t i = 1; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(kinds[i].plural, plural)) {
            *ret = (enum nw_kind)i;
            return true;
        }
    }
    return false;
}

const char *nw_bond_mode_name(uint8_t mode)
{
    static const char *const names[] = { "BalanceRR", "ActiveBackup", "BalanceXor", "Broadcast",
                                         "LACP",      "BalanceTLB",   "BalanceALB" };

    return mode < ARRAY_LEN(names) ? names[mode] : "Unknown";
}

/* --- addresses ---------------------------------------------------------------------------------
 */

bool nw_ip_parse(const char *text, struct nw_ip *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (text == NULL) {
        return false;
    }
    ret->family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(ret->family, text, ret->b) != 1) {
        memset(ret, 0, sizeof(*ret));
        return false;
    }
    return true;
}

bool nw_addr_parse(const char *text, struct nw_addr *ret)
{
    const char *slash = text == NULL ? NULL : strchr(text, '/');
    char ip[NW_ADDR_TEXT];
    uint64_t n;

    memset(ret, 0, sizeof(*ret));
    if (slash == NULL || (size_t)(slash - text) >= sizeof(ip)) {
        return false;
    }
    memcpy(ip, text, (size_t)(slash - text));
    ip[slash - text] = 0;
    if (!nw_ip_parse(ip, &ret->ip) || !str_parse_u64(slash + 1, &n) ||
        n > (ret->ip.family == AF_INET ? 32U : 128U)) {
        return false;
    }
    ret->prefix = (uint8_t)n;
    return true;
}

void nw_ip_format(const struct nw_ip *ip, char *dst, size_t size)
{
    char text[INET6_ADDRSTRLEN];

    if (ip->family == 0 || inet_ntop(ip->family, ip->b, text, sizeof(text)) == NULL) {
        (void)str_copy(dst, size, "none");
        return;
    }
    (void)str_copy(dst, size, text);
}

void nw_addr_format(const struct nw_addr *a, char *dst, size_t size)
{
    char ip[INET6_ADDRSTRLEN];

    nw_ip_format(&a->ip, ip, sizeof(ip));
    (void)snprintf(dst, size, "%s/%u", ip, (unsigned)a->prefix);
}

bool nw_ip_eq(const struct nw_ip *a, const struct nw_ip *b)
{
    return a->family == b->family && memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool nw_addr_eq(const struct nw_addr *a, const struct nw_addr *b)
{
    return a->prefix == b->prefix && nw_ip_eq(&a->ip, &b->ip);
}

bool nw_addr_covers(const struct nw_addr *net, const struct nw_ip *ip)
{
    size_t bytes = net->prefix / 8U;
    unsigned bits = net->prefix % 8U;

    if (net->ip.family != ip->family || bytes > sizeof(ip->b) ||
        memcmp(net->ip.b, ip->b, bytes) != 0) {
        return false;
    }
    return bits == 0 || ((unsigned)(net->ip.b[bytes] ^ ip->b[bytes]) >> (8U - bits)) == 0;
}

/* --- the picture -------------------------------------------------------------------------------
 */

void nw_obs_init(struct nw_obs *o, struct arena *a)
{
    *o = (struct nw_obs){ .a = a };
}

static void *grow(struct arena *a, void *items, size_t n, size_t *cap, size_t size)
{
    void *p;

    if (n < *cap) {
        return items;
    }
    *cap = *cap == 0 ? 16 : *cap * 2;
    p = arena_alloc(a, *cap * size);
    if (n > 0) {
        memcpy(p, items, n * size);
    }
    return p;
}

struct nw_link *nw_obs_add_link(struct nw_obs *o)
{
    o->links = grow(o->a, o->links, o->n_links, &o->cap_links, sizeof(*o->links));
    memset(&o->links[o->n_links], 0, sizeof(*o->links));
    return &o->links[o->n_links++];
}

struct nw_ifaddr *nw_obs_add_addr(struct nw_obs *o)
{
    o->addrs = grow(o->a, o->addrs, o->n_addrs, &o->cap_addrs, sizeof(*o->addrs));
    memset(&o->addrs[o->n_addrs], 0, sizeof(*o->addrs));
    return &o->addrs[o->n_addrs++];
}

struct nw_route *nw_obs_add_route(struct nw_obs *o)
{
    o->routes = grow(o->a, o->routes, o->n_routes, &o->cap_routes, sizeof(*o->routes));
    memset(&o->routes[o->n_routes], 0, sizeof(*o->routes));
    return &o->routes[o->n_routes++];
}

void nw_obs_copy(struct nw_obs *dst, const struct nw_obs *src, struct arena *a)
{
    nw_obs_init(dst, a);
    for (size_t i = 0; i < src->n_links; i++) {
        *nw_obs_add_link(dst) = src->links[i];
    }
    for (size_t i = 0; i < src->n_addrs; i++) {
        *nw_obs_add_addr(dst) = src->addrs[i];
    }
    for (size_t i = 0; i < src->n_routes; i++) {
        *nw_obs_add_route(dst) = src->routes[i];
    }
}

static void name_of(const struct nw_obs *o, int index, char dst[NW_NAME])
{
    dst[0] = 0;
    for (size_t i = 0; index > 0 && i < o->n_links; i++) {
        if (o->links[i].index == index) {
            (void)str_copy(dst, NW_NAME, o->links[i].name);
            return;
        }
    }
}

void nw_obs_resolve(struct nw_obs *o)
{
    for (size_t i = 0; i < o->n_links; i++) {
        struct nw_link *l = &o->links[i];

        name_of(o, l->master_index, l->master);
        name_of(o, l->lower_index, l->lower);
        name_of(o, l->bond_active_index, l->bond_active);
        name_of(o, l->bond_primary_index, l->bond.primary);
    }
    for (size_t i = 0; i < o->n_addrs; i++) {
        name_of(o, o->addrs[i].index, o->addrs[i].dev);
    }
    for (size_t i = 0; i < o->n_routes; i++) {
        name_of(o, o->routes[i].index, o->routes[i].dev);
    }
}

struct nw_link *nw_obs_link(const struct nw_obs *o, const char *name)
{
    for (size_t i = 0; i < o->n_links && name[0] != 0; i++) {
        if (strcmp(o->links[i].name, name) == 0) {
            return &o->links[i];
        }
    }
    return NULL;
}

struct nw_ifaddr *nw_obs_addr(const struct nw_obs *o, const char *dev, const struct nw_addr *a)
{
    for (size_t i = 0; i < o->n_addrs; i++) {
        if (strcmp(o->addrs[i].dev, dev) == 0 && nw_addr_eq(&o->addrs[i].addr, a)) {
            return &o->addrs[i];
        }
    }
    return NULL;
}

static bool same_key(const struct nw_route *a, const struct nw_route *b)
{
    return a->dst_len == b->dst_len && a->table == b->table && a->metric == b->metric &&
           nw_ip_eq(&a->dst, &b->dst);
}

struct nw_route *nw_obs_route(const struct nw_obs *o, const struct nw_route *key)
{
    for (size_t i = 0; i < o->n_routes; i++) {
        if (nw_route_is_static(&o->routes[i]) && same_key(&o->routes[i], key)) {
            return &o->routes[i];
        }
    }
    return NULL;
}

bool nw_route_eq(const struct nw_route *a, const struct nw_route *b)
{
    return same_key(a, b) && strcmp(a->dev, b->dev) == 0 && nw_ip_eq(&a->gw, &b->gw) &&
           nw_ip_eq(&a->src, &b->src);
}

bool nw_route_is_static(const struct nw_route *r)
{
    return r->type == RTN_UNICAST && r->table == RT_TABLE_MAIN && r->protocol != RTPROT_KERNEL &&
           r->protocol != RTPROT_RA && r->protocol != RTPROT_REDIRECT && !r->multipath;
}

void nw_route_format(const struct nw_route *r, struct buf *b)
{
    char ip[NW_ADDR_TEXT];

    if (r->dst_len == 0) {
        buf_add_str(b, r->dst.family == AF_INET6 ? "default6" : "default");
    } else {
        nw_addr_format(&(struct nw_addr){ .ip = r->dst, .prefix = r->dst_len }, ip, sizeof(ip));
        buf_add_str(b, ip);
    }
    if (r->gw.family != 0) {
        nw_ip_format(&r->gw, ip, sizeof(ip));
        buf_printf(b, " via %s", ip);
    }
    buf_printf(b, " dev %s", r->dev);
    if (r->src.family != 0) {
        nw_ip_format(&r->src, ip, sizeof(ip));
        buf_printf(b, " src %s", ip);
    }
    if (r->metric != 0) {
        buf_printf(b, " metric %u", r->metric);
    }
}

struct nw_owned *nw_record_find(const struct nw_record *r, const char *name)
{
    for (size_t i = 0; i < r->n_items; i++) {
        if (strcmp(r->items[i].name, name) == 0) {
            return &r->items[i];
        }
    }
    return NULL;
}
