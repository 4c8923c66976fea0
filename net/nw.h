#ifndef NET_NW_H
#define NET_NW_H

/* The host's network as data: what is (links, addresses, routes), what should be (interfaces made
 * from Bond, VLAN and Bridge objects), what is ours (the record), and what to do (operations).
 *
 * Times are milliseconds. Interfaces are known by name: an index belongs to one life of a link
 * only. Arrays and strings belong to the arena that was given to whoever filled them. Pure; any
 * thread. Sources: linux/if_link.h, rtnetlink(7), Documentation/networking/bonding.rst.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define NW_NAME 16      /* IFNAMSIZ */
#define NW_MEMBERS 32   /* members of a bond or ports of a bridge */
#define NW_ADDRESSES 16 /* of one object */
#define NW_ADDR_TEXT 64 /* "address/prefix" and a NUL */

enum nw_kind {
    NW_OTHER = 0, /* a card, or anything that we do not make */
    NW_BOND,
    NW_BRIDGE,
    NW_VLAN,
};
const char *nw_kind_name(enum nw_kind kind);   /* "interface", "bond", "bridge", "vlan" */
const char *nw_kind_plural(enum nw_kind kind); /* "bonds", ...; NULL for NW_OTHER */
bool nw_kind_from_plural(const char *plural, enum nw_kind *ret);

/* Options; `set` says which of them are given. */
enum nw_bond_bit {
    NW_BOND_MODE = 1U << 0,
    NW_BOND_MIIMON = 1U << 1,
    NW_BOND_UPDELAY = 1U << 2,
    NW_BOND_DOWNDELAY = 1U << 3,
    NW_BOND_PRIMARY = 1U << 4,
    NW_BOND_LACP_RATE = 1U << 5,
    NW_BOND_XMIT_HASH = 1U << 6,
};
struct nw_bond {
    uint32_t set;
    uint8_t mode; /* of the kernel: 0 balance-rr ... 6 balance-alb */
    uint8_t lacp_rate;
    uint8_t xmit_hash;
    uint32_t miimon;
    uint32_t updelay;
    uint32_t downdelay;
    char primary[NW_NAME]; /* "": none */
};
const char *nw_bond_mode_name(uint8_t mode); /* as in objects: "ActiveBackup" */
#define NW_BOND_MODE_LACP 4

enum nw_bridge_bit {
    NW_BRIDGE_STP = 1U << 0,
    NW_BRIDGE_DELAY = 1U << 1,
    NW_BRIDGE_HELLO = 1U << 2,
    NW_BRIDGE_MAX_AGE = 1U << 3,
    NW_BRIDGE_VLANS = 1U << 4,
};
struct nw_bridge {
    uint32_t set;
    bool stp;
    bool vlan_filtering;
    uint32_t forward_delay;
    uint32_t hello_time;
    uint32_t max_age;
};

struct nw_ip {
    uint8_t family; /* AF_INET, AF_INET6; 0: none */
    uint8_t b[16];
};
struct nw_addr {
    struct nw_ip ip;
    uint8_t prefix;
};
bool nw_ip_parse(const char *text, struct nw_ip *ret);
bool nw_addr_parse(const char *text, struct nw_addr *ret); /* "10.0.0.1/24" */
void nw_ip_format(const struct nw_ip *ip, char *dst, size_t size);
void nw_addr_format(const struct nw_addr *a, char *dst, size_t size); /* NW_ADDR_TEXT */
bool nw_ip_eq(const struct nw_ip *a, const struct nw_ip *b);
bool nw_addr_eq(const struct nw_addr *a, const struct nw_addr *b);
bool nw_addr_covers(const struct nw_addr *net, const struct nw_ip *ip);

/* --- what is -----------------------------------------------------------------------------------
 */

struct nw_link {
    int index;
    char name[NW_NAME];
    enum nw_kind kind;
    char type[NW_NAME]; /* the kernel's word: "veth", "bond"; "" for a card */
    bool loopback;
    bool up;      /* switched on */
    bool carrier; /* and with a link */
    uint32_t mtu;
    uint32_t own_mtu; /* of a member: what it gets back when it leaves; 0: not known */
    int master_index;
    int lower_index; /* of a VLAN, in this namespace */
    char master[NW_NAME];
    char lower[NW_NAME];
    uint16_t vlan_id;
    struct nw_bond bond;
    int bond_active_index;
    int bond_primary_index;
    char bond_active[NW_NAME]; /* the card in use, "" */
    struct nw_bridge bridge;
    bool is_slave; /* the next three are about a member of a bond */
    bool slave_active;
    bool slave_mii_up;
    uint32_t slave_failures;
    uint32_t port_cost;  /* of a bridge's port, 0 otherwise */
    uint8_t port_state;  /* of a bridge's port: 3 forwards */
    uint32_t speed_mbps; /* 0: not known */
};

struct nw_ifaddr {
    int index;
    char dev[NW_NAME];
    struct nw_addr addr;
    uint8_t scope;  /* RT_SCOPE_* */
    bool permanent; /* not from a lease or an advertisement */
};

struct nw_route {
    uint8_t dst_len;
    uint8_t protocol; /* RTPROT_* */
    uint8_t scope;
    uint8_t type; /* RTN_UNICAST ... */
    bool multipath;
    uint32_t table;
    uint32_t metric;
    int index;
    char dev[NW_NAME];
    struct nw_ip dst; /* .family always; zero address for a default route */
    struct nw_ip gw;  /* family 0: none */
    struct nw_ip src; /* family 0: none */
};

struct nw_obs {
    struct arena *a;
    struct nw_link *links;
    size_t n_links, cap_links;
    struct nw_ifaddr *addrs;
    size_t n_addrs, cap_addrs;
    struct nw_route *routes;
    size_t n_routes, cap_routes;
};
void nw_obs_init(struct nw_obs *o, struct arena *a);
void nw_obs_copy(struct nw_obs *dst, const struct nw_obs *src, struct arena *a);
/* Fill in the names that belong to indices, after all links were added. */
void nw_obs_resolve(struct nw_obs *o);
struct nw_link *nw_obs_link(const struct nw_obs *o, const char *name); /* NULL when absent */
struct nw_ifaddr *nw_obs_addr(const struct nw_obs *o, const char *dev, const struct nw_addr *a);
struct nw_link *nw_obs_add_link(struct nw_obs *o);
struct nw_ifaddr *nw_obs_add_addr(struct nw_obs *o);
struct nw_route *nw_obs_add_route(struct nw_obs *o);
/* The route with the same family, destination, metric and table; NULL when there is none. */
struct nw_route *nw_obs_route(const struct nw_obs *o, const struct nw_route *key);
bool nw_route_eq(const struct nw_route *a, const struct nw_route *b);
void nw_route_format(const struct nw_route *r, struct buf *b);
/* Set by people or programs: unicast, main table, neither from the kernel nor advertised. */
bool nw_route_is_static(const struct nw_route *r);

/* --- what should be ----------------------------------------------------------------------------
 */

struct nw_iface {
    enum nw_kind kind;
    char name[NW_NAME];
    char object[80]; /* "bridges/br0" */
    bool paused;
    char digest[20];                   /* of the object's spec, "" */
    const char *refused;               /* NULL, or why this very spec is not tried (again) */
    const char *refused_reason;        /* "RolledBack", "Failed", "Invalid" */
    char members[NW_MEMBERS][NW_NAME]; /* of a bond, or ports of a bridge */
    size_t n_members;
    char lower[NW_NAME]; /* of a VLAN */
    uint16_t vlan_id;
    struct nw_bond bond;
    struct nw_bridge bridge;
    uint32_t path_cost; /* 0: leave it */
    uint32_t mtu;       /* 0: leave it */
    struct nw_addr addrs[NW_ADDRESSES];
    size_t n_addrs;
    struct nw_ip gateway; /* family 0: none */
    uint64_t commit_timeout;
};

struct nw_want {
    struct nw_iface *ifaces;
    size_t n_ifaces;
};

/* --- what is ours ------------------------------------------------------------------------------
 */

struct nw_owned_addr {
    struct nw_addr addr;
    char from[NW_NAME]; /* the interface that it was taken from, "" */
};

/* What we did to one interface. Whatever is not in here is never taken away. */
struct nw_owned {
    char name[NW_NAME];
    enum nw_kind kind;
    bool keep; /* its removal was undone and is not tried again; never in files */
    bool made; /* by us; otherwise adopted: it stays when its object goes */
    char members[NW_MEMBERS][NW_NAME]; /* attached by us */
    size_t n_members;
    struct nw_owned_addr addrs[NW_ADDRESSES]; /* added by us */
    size_t n_addrs;
    struct nw_ip gateway; /* set by us; family 0: none */
};

struct nw_record {
    struct nw_owned *items;
    size_t n_items;
};
struct nw_owned *nw_record_find(const struct nw_record *r, const char *name);

/* --- what to do --------------------------------------------------------------------------------
 */

enum nw_op_kind {
    NW_OP_NONE = 0,
    NW_OP_ADD_LINK,   /* dev link_kind bond bridge lower vlan_id */
    NW_OP_DEL_LINK,   /* dev */
    NW_OP_UP,         /* dev */
    NW_OP_DOWN,       /* dev */
    NW_OP_MTU,        /* dev value */
    NW_OP_MASTER,     /* dev other: "" for none */
    NW_OP_BOND_SET,   /* dev bond */
    NW_OP_BRIDGE_SET, /* dev bridge */
    NW_OP_PORT_COST,  /* dev value */
    NW_OP_ADDR_ADD,   /* dev addr */
    NW_OP_ADDR_DEL,   /* dev addr */
    NW_OP_ROUTE_PUT,  /* route: replaces one of the same key */
    NW_OP_ROUTE_DEL,  /* route */
};

struct nw_op {
    enum nw_op_kind kind;
    char dev[NW_NAME];
    char other[NW_NAME];
    char object[80]; /* for whose sake */
    enum nw_kind link_kind;
    uint16_t vlan_id;
    uint32_t value;
    struct nw_bond bond;
    struct nw_bridge bridge;
    struct nw_addr addr;
    struct nw_route route;
    const char *why; /* one clause */
};

/* Change the picture as the kernel would change the host. */
void nw_obs_apply(struct nw_obs *o, const struct nw_op *op);

#endif
