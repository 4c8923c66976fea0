#include "net/nw_journal_codec.h"

#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/obj.h"
#include "base/str.h"

#define OPS_MAX 4096
#define ITEMS_MAX 1024

/* --- out ---------------------------------------------------------------------------------------
 */

static json_t *addr_text(const struct nw_addr *a)
{
    char text[NW_ADDR_TEXT];

    nw_addr_format(a, text, sizeof(text));
    return json_string(text);
}

static json_t *ip_text(const struct nw_ip *ip)
{
    char text[NW_ADDR_TEXT];

    nw_ip_format(ip, text, sizeof(text));
    return ip->family == 0 ? json_string("") : json_string(text);
}

static json_t *owned_encode(const struct nw_owned *o)
{
    json_t *members = json_array();
    json_t *addrs = json_array();

    for (size_t i = 0; i < o->n_members; i++) {
        CHECK(json_array_append_new(members, json_string(o->members[i])) == 0);
    }
    for (size_t i = 0; i < o->n_addrs; i++) {
        CHECK(json_array_append_new(addrs,
                                    json_pack("{s:o, s:s}", "address", addr_text(&o->addrs[i].addr),
                                              "from", o->addrs[i].from)) == 0);
    }
    return json_pack("{s:s, s:i, s:b, s:o, s:o, s:o}", "name", o->name, "kind", (int)o->kind,
                     "made", o->made, "members", members, "addresses", addrs, "gateway",
                     ip_text(&o->gateway));
}

json_t *nw_record_encode(const struct nw_record *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->n_items; i++) {
        CHECK(json_array_append_new(list, owned_encode(&r->items[i])) == 0);
    }
    return list;
}

static json_t *bond_encode(const struct nw_bond *b)
{
    return json_pack("{s:I, s:i, s:i, s:i, s:I, s:I, s:I, s:s}", "set", (json_int_t)b->set, "mode",
                     (int)b->mode, "lacpRate", (int)b->lacp_rate, "xmitHash", (int)b->xmit_hash,
                     "miimon", (json_int_t)b->miimon, "upDelay", (json_int_t)b->updelay,
                     "downDelay", (json_int_t)b->downdelay, "primary", b->primary);
}

static json_t *bridge_encode(const struct nw_bridge *b)
{
    return json_pack("{s:I, s:b, s:b, s:I, s:I, s:I}", "set", (json_int_t)b->set, "stp", b->stp,
                     "vlanFiltering", b->vlan_filtering, "forwardDelay",
                     (json_int_t)b->forward_delay, "helloTime", (json_int_t)b->hello_time, "maxAge",
                     (json_int_t)b->max_age);
}

static json_t *route_encode(const struct nw_route *r)
{
    struct nw_addr dst = { .ip = r->dst, .prefix = r->dst_len };

    return json_pack("{s:o, s:o, s:o, s:s, s:i, s:i, s:I}", "destination", addr_text(&dst),
                     "gateway", ip_text(&r->gw), "source", ip_text(&r->src), "dev", r->dev,
                     "protocol", (int)r->protocol, "scope", (int)r->scope, "metric",
                     (json_int_t)r->metric);
}

static json_t *op_encode(const struct nw_op *op)
{
    json_t *v =
        json_pack("{s:i, s:s, s:s, s:s, s:i, s:i, s:I}", "op", (int)op->kind, "dev", op->dev,
                  "other", op->other, "object", op->object, "kind", (int)op->link_kind, "vlan",
                  (int)op->vlan_id, "value", (json_int_t)op->value);

    CHECK(v != NULL);
    CHECK(json_object_set_new(v, "bond", bond_encode(&op->bond)) == 0);
    CHECK(json_object_set_new(v, "bridge", bridge_encode(&op->bridge)) == 0);
    if (op->kind == NW_OP_ADDR_ADD || op->kind == NW_OP_ADDR_DEL) {
        CHECK(json_object_set_new(v, "address", addr_text(&op->addr)) == 0);
    }
    if (op->kind == NW_OP_ROUTE_PUT || op->kind == NW_OP_ROUTE_DEL) {
        CHECK(json_object_set_new(v, "route", route_encode(&op->route)) == 0);
    }
    return v;
}

json_t *nw_ops_encode(const struct nw_op *ops, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        CHECK(json_array_append_new(list, op_encode(&ops[i])) == 0);
    }
    return list;
}

/* --- in: everything that is wrong sets `bad` ---------------------------------------------------
 */

struct in {
    const char *bad; /* the first field that is wrong, or NULL */
};

static void note_bad(struct in *in, const char *field)
{
    in->bad = in->bad != NULL ? in->bad : field;
}

static uint32_t number(struct in *in, const json_t *v, const char *field, uint32_t max)
{
    const json_t *n = json_object_get(v, field);

    if (!json_is_integer(n) || json_integer_value(n) < 0 || json_integer_value(n) > max) {
        note_bad(in, field);
        return 0;
    }
    return (uint32_t)json_integer_value(n);
}

static bool truth(struct in *in, const json_t *v, const char *field)
{
    if (!json_is_boolean(json_object_get(v, field))) {
        note_bad(in, field);
    }
    return json_is_true(json_object_get(v, field));
}

static void text(struct in *in, const json_t *v, const char *field, char *dst, size_t size)
{
    const char *s = json_string_value(json_object_get(v, field));

    dst[0] = 0;
    if (s == NULL || !str_copy(dst, size, s)) {
        note_bad(in, field);
    }
}

static void ip(struct in *in, const json_t *v, const char *field, struct nw_ip *ret)
{
    const char *s = json_string_value(json_object_get(v, field));

    memset(ret, 0, sizeof(*ret));
    if (s == NULL || (s[0] != 0 && !nw_ip_parse(s, ret))) {
        note_bad(in, field);
    }
}

static void addr(struct in *in, const json_t *v, const char *field, struct nw_addr *ret)
{
    if (!nw_addr_parse(json_string_value(json_object_get(v, field)), ret)) {
        note_bad(in, field);
    }
}

static void owned_decode(struct in *in, const json_t *v, struct nw_owned *o)
{
    const json_t *members = json_object_get(v, "members");
    const json_t *addrs = json_object_get(v, "addresses");

    text(in, v, "name", o->name, sizeof(o->name));
    o->kind = (enum nw_kind)number(in, v, "kind", NW_VLAN);
    o->made = truth(in, v, "made");
    ip(in, v, "gateway", &o->gateway);
    if (!json_is_array(members) || json_array_size(members) > NW_MEMBERS || !json_is_array(addrs) ||
        json_array_size(addrs) > NW_ADDRESSES || o->kind == NW_OTHER) {
        note_bad(in, "members");
        return;
    }
    for (size_t i = 0; i < json_array_size(members); i++) {
        const char *s = json_string_value(json_array_get(members, i));

        if (s == NULL || !str_copy(o->members[o->n_members++], NW_NAME, s)) {
            note_bad(in, "members");
        }
    }
    for (size_t i = 0; i < json_array_size(addrs); i++) {
        struct nw_owned_addr *x = &o->addrs[o->n_addrs++];

        addr(in, json_array_get(addrs, i), "address", &x->addr);
        text(in, json_array_get(addrs, i), "from", x->from, sizeof(x->from));
    }
}

int nw_record_decode(const json_t *v, struct arena *a, struct nw_record *ret, struct err *err)
{
    struct in in = { 0 };

    *ret = (struct nw_record){ 0 };
    if (!json_is_array(v) || json_array_size(v) > ITEMS_MAX) {
        return err_set(err, ERR_CORRUPT, "the network record is no list");
    }
    ret->items = ARENA_ARRAY(a, struct nw_owned, json_array_size(v) + 1);
    for (size_t i = 0; in.bad == NULL && i < json_array_size(v); i++) {
        owned_decode(&in, json_array_get(v, i), &ret->items[ret->n_items++]);
    }
    if (in.bad != NULL) {
        return err_set(err, ERR_CORRUPT, "entry %zu of the network record: bad \"%s\"",
                       ret->n_items - 1, in.bad);
    }
    return 0;
}

static void bond_decode(struct in *in, const json_t *v, struct nw_bond *b)
{
    b->set = number(in, v, "set", 127);
    b->mode = (uint8_t)number(in, v, "mode", UINT8_MAX);
    b->lacp_rate = (uint8_t)number(in, v, "lacpRate", UINT8_MAX);
    b->xmit_hash = (uint8_t)number(in, v, "xmitHash", UINT8_MAX);
    b->miimon = number(in, v, "miimon", UINT32_MAX);
    b->updelay = number(in, v, "upDelay", UINT32_MAX);
    b->downdelay = number(in, v, "downDelay", UINT32_MAX);
    text(in, v, "primary", b->primary, sizeof(b->primary));
}

static void bridge_decode(struct in *in, const json_t *v, struct nw_bridge *b)
{
    b->set = number(in, v, "set", 31);
    b->stp = truth(in, v, "stp");
    b->vlan_filtering = truth(in, v, "vlanFiltering");
    b->forward_delay = number(in, v, "forwardDelay", UINT32_MAX);
    b->hello_time = number(in, v, "helloTime", UINT32_MAX);
    b->max_age = number(in, v, "maxAge", UINT32_MAX);
}

static void route_decode(struct in *in, const json_t *v, struct nw_route *r)
{
    struct nw_addr dst;

    addr(in, v, "destination", &dst);
    r->dst = dst.ip;
    r->dst_len = dst.prefix;
    ip(in, v, "gateway", &r->gw);
    ip(in, v, "source", &r->src);
    text(in, v, "dev", r->dev, sizeof(r->dev));
    r->protocol = (uint8_t)number(in, v, "protocol", UINT8_MAX);
    r->scope = (uint8_t)number(in, v, "scope", UINT8_MAX);
    r->metric = number(in, v, "metric", UINT32_MAX);
    r->table = RT_TABLE_MAIN;
    r->type = RTN_UNICAST;
}

static void op_decode(struct in *in, const json_t *v, struct nw_op *op)
{
    op->kind = (enum nw_op_kind)number(in, v, "op", NW_OP_ROUTE_DEL);
    op->link_kind = (enum nw_kind)number(in, v, "kind", NW_VLAN);
    op->vlan_id = (uint16_t)number(in, v, "vlan", 4095);
    op->value = number(in, v, "value", UINT32_MAX);
    op->why = "as it was before";
    text(in, v, "dev", op->dev, sizeof(op->dev));
    text(in, v, "other", op->other, sizeof(op->other));
    text(in, v, "object", op->object, sizeof(op->object));
    bond_decode(in, json_object_get(v, "bond"), &op->bond);
    bridge_decode(in, json_object_get(v, "bridge"), &op->bridge);
    if (op->kind == NW_OP_NONE || (op->kind == NW_OP_ADD_LINK && op->link_kind == NW_OTHER)) {
        note_bad(in, "op");
    }
    if (op->kind == NW_OP_ADDR_ADD || op->kind == NW_OP_ADDR_DEL) {
        addr(in, v, "address", &op->addr);
    }
    if (op->kind == NW_OP_ROUTE_PUT || op->kind == NW_OP_ROUTE_DEL) {
        route_decode(in, json_object_get(v, "route"), &op->route);
    }
}

int nw_ops_decode(const json_t *v, struct arena *a, struct nw_op **ret, size_t *ret_n,
                  struct err *err)
{
    struct in in = { 0 };
    size_t n = 0;

    if (!json_is_array(v) || json_array_size(v) > OPS_MAX) {
        return err_set(err, ERR_CORRUPT, "the list of operations is no list");
    }
    *ret = ARENA_ARRAY(a, struct nw_op, json_array_size(v) + 1);
    for (; in.bad == NULL && n < json_array_size(v); n++) {
        op_decode(&in, json_array_get(v, n), &(*ret)[n]);
    }
    if (in.bad != NULL) {
        return err_set(err, ERR_CORRUPT, "operation %zu: bad \"%s\"", n - 1, in.bad);
    }
    *ret_n = n;
    return 0;
}
