/* Objects into interfaces. */

#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/nw_want.h"

struct ctx {
    const json_t *spec;
    const json_t *host; /* spec.perHost.NAME, or NULL */
    struct err *err;
    const char *object;
};

/* A field of this host, or else the general one. */
static const json_t *field(const struct ctx *c, const char *name)
{
    const json_t *v = json_object_get(c->host, name);

    return v != NULL ? v : json_object_get(c->spec, name);
}

bool nw_want_applies(const json_t *object, const char *host, const json_t *labels)
{
    return obj_on_host(object, host, labels);
}

static int bad(const struct ctx *c, const char *name, const char *what)
{
    return err_set(c->err, ERR_INVALID, "%s: spec.%s %s", c->object, name, what);
}

static int read_name(const struct ctx *c, const char *name, const json_t *v, char dst[NW_NAME])
{
    const char *s = json_string_value(v);

    dst[0] = 0;
    if (v == NULL) {
        return 0;
    }
    if (s == NULL || s[0] == 0 || strchr(s, '/') != NULL || !str_copy(dst, NW_NAME, s)) {
        return bad(c, name, "is not the name of an interface (at most 15 characters)");
    }
    return 0;
}

static int read_members(const struct ctx *c, const char *name, struct nw_iface *ret)
{
    const json_t *list = field(c, name);
    int rc = 0;

    if (json_array_size(list) > NW_MEMBERS) {
        return bad(c, name, "has too many entries (at most 32)");
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        rc = read_name(c, name, json_array_get(list, i), ret->members[ret->n_members++]);
        for (size_t k = 0; rc == 0 && k < i; k++) {
            if (strcmp(ret->members[k], ret->members[i]) == 0) {
                rc = bad(c, name, "names an interface twice");
            }
        }
    }
    return rc;
}

static int read_common(const struct ctx *c, struct nw_iface *ret)
{
    const json_t *addrs = field(c, "addresses");
    const json_t *gw = field(c, "gateway");
    const json_t *mtu = field(c, "mtu");

    if (json_array_size(addrs) > NW_ADDRESSES) {
        return bad(c, "addresses", "has too many entries (at most 16)");
    }
    for (size_t i = 0; i < json_array_size(addrs); i++) {
        if (!nw_addr_parse(json_string_value(json_array_get(addrs, i)), &ret->addrs[i])) {
            return bad(c, "addresses", "holds something that is no address with prefix length");
        }
        ret->n_addrs++;
    }
    if (gw != NULL && !nw_ip_parse(json_string_value(gw), &ret->gateway)) {
        return bad(c, "gateway", "is not an IP address");
    }
    if (mtu != NULL && (json_integer_value(mtu) < 68 || json_integer_value(mtu) > 65535)) {
        return bad(c, "mtu", "is not a number from 68 to 65535");
    }
    ret->mtu = (uint32_t)json_integer_value(mtu);
    return 0;
}

static int word_index(const struct ctx *c, const char *name, const char *const *words,
                      const char *fallback, uint8_t *ret)
{
    const char *s = jget_str(c->spec, name, fallback);

    for (uint8_t i = 0; words[i] != NULL; i++) {
        if (str_eq(words[i], s)) {
            *ret = i;
            return 0;
        }
    }
    return bad(c, name, "is none of the known words");
}

static uint32_t duration(const struct ctx *c, const char *name, uint32_t fallback)
{
    uint64_t ms = jget_duration(c->spec, name, fallback);

    return ms > 3600000 ? 3600000 : (uint32_t)ms;
}

/* Delays are counted in whole intervals of miimon; the kernel would round down with a warning. */
static uint32_t whole(uint32_t ms, uint32_t interval)
{
    return interval == 0 ? 0 : ms / interval * interval;
}

static int read_bond(const struct ctx *c, struct nw_iface *ret)
{
    static const char *const modes[] = { "BalanceRR", "ActiveBackup", "BalanceXor", "Broadcast",
                                         "LACP",      "BalanceTLB",   "BalanceALB", NULL };
    static const char *const hashes[] = { "Layer2",  "Layer34",    "Layer23", "Encap23",
                                          "Encap34", "VlanSrcMac", NULL };
    static const char *const rates[] = { "Slow", "Fast", NULL };
    struct nw_bond *b = &ret->bond;
    int rc = read_members(c, "members", ret);

    rc = rc != 0 ? rc : word_index(c, "mode", modes, "ActiveBackup", &b->mode);
    rc = rc != 0 ? rc : word_index(c, "lacpRate", rates, "Fast", &b->lacp_rate);
    rc = rc != 0 ? rc : word_index(c, "xmitHashPolicy", hashes, "Layer2", &b->xmit_hash);
    rc = rc != 0 ? rc : read_name(c, "primary", field(c, "primary"), b->primary);
    b->set = NW_BOND_MODE | NW_BOND_MIIMON | NW_BOND_UPDELAY | NW_BOND_DOWNDELAY;
    if (b->mode == 1 || b->mode == 5 || b->mode == 6) {
        b->set |= NW_BOND_PRIMARY;
    }
    if (b->mode == NW_BOND_MODE_LACP) {
        b->set |= NW_BOND_LACP_RATE;
    }
    if (jget(c->spec, "xmitHashPolicy") != NULL) {
        b->set |= NW_BOND_XMIT_HASH;
    }
    b->miimon = duration(c, "miimon", 100);
    b->updelay = whole(duration(c, "upDelay", 0), b->miimon);
    b->downdelay = whole(duration(c, "downDelay", 0), b->miimon);
    if (rc == 0 && ret->n_members == 0) {
        rc = bad(c, "members", "is empty");
    }
    return rc;
}

static int read_bridge(const struct ctx *c, struct nw_iface *ret)
{
    struct nw_bridge *b = &ret->bridge;
    int64_t cost = jget_int(c->spec, "pathCost", 0);

    b->set = NW_BRIDGE_STP | NW_BRIDGE_DELAY | NW_BRIDGE_VLANS;
    b->stp = jget_bool(c->spec, "stp", false);
    b->vlan_filtering = jget_bool(c->spec, "vlanFiltering", false);
    b->forward_delay = duration(c, "forwardDelay", 0) / 10U * 10U;
    if (b->stp && b->forward_delay < 2000) {
        b->forward_delay = 2000; /* the least that the kernel takes with spanning tree */
    }
    if (jget(c->spec, "helloTime") != NULL) {
        b->set |= NW_BRIDGE_HELLO;
        b->hello_time = duration(c, "helloTime", 2000) / 10U * 10U;
    }
    if (jget(c->spec, "maxAge") != NULL) {
        b->set |= NW_BRIDGE_MAX_AGE;
        b->max_age = duration(c, "maxAge", 20000) / 10U * 10U;
    }
    if (cost < 0 || cost > 65535) {
        return bad(c, "pathCost", "is not a number from 1 to 65535");
    }
    ret->path_cost = (uint32_t)cost;
    return read_members(c, "ports", ret);
}

static int read_vlan(const struct ctx *c, struct nw_iface *ret)
{
    int64_t id = jget_int(c->spec, "id", 0);

    if (id < 1 || id > 4094) {
        return bad(c, "id", "is not a number from 1 to 4094");
    }
    ret->vlan_id = (uint16_t)id;
    if (field(c, "link") == NULL) {
        return bad(c, "link", "is missing");
    }
    return read_name(c, "link", field(c, "link"), ret->lower);
}

int nw_want_iface(enum nw_kind kind, const json_t *object, const char *host, struct nw_iface *ret,
                  struct err *err)
{
    const char *name = jget_str(object, "metadata.name", "");
    const json_t *spec = jget(object, "spec");
    struct ctx c = { .spec = spec, .err = err, .object = ret->object };
    int rc;

    CHECK(kind != NW_OTHER);
    *ret = (struct nw_iface){ .kind = kind };
    (void)snprintf(ret->object, sizeof(ret->object), "%s/%s", nw_kind_plural(kind), name);
    if (name[0] == 0 || strchr(name, '/') != NULL || !str_copy(ret->name, NW_NAME, name)) {
        return err_set(err, ERR_INVALID, "%s: not the name of an interface", ret->object);
    }
    c.host = json_object_get(json_object_get(spec, "perHost"), host);
    ret->paused = jget_bool(spec, "paused", false);
    ret->commit_timeout = jget_duration(spec, "commitTimeout", 30000);
    rc = read_common(&c, ret);
    if (rc != 0) {
        return rc;
    }
    switch (kind) {
    case NW_BOND:
        return read_bond(&c, ret);
    case NW_BRIDGE:
        return read_bridge(&c, ret);
    case NW_VLAN:
        return read_vlan(&c, ret);
    case NW_OTHER:
        break;
    }
    CHECK_UNREACHABLE();
}
