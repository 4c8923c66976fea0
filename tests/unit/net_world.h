#ifndef TESTS_UNIT_NET_WORLD_H
#define TESTS_UNIT_NET_WORLD_H

/* Host networks from lines of text, and what has to be true of every plan. */

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nw_journal_codec.h"
#include "net/nw_plan.h"
#include "net/nw_want.h"

#define NET_WORLD_OBJECTS 32

struct net_world {
    struct arena a;
    struct nw_obs obs;
    struct nw_want want;
    struct nw_record rec;
};

static inline void net_world_init(struct net_world *w)
{
    memset(w, 0, sizeof(*w));
    nw_obs_init(&w->obs, &w->a);
    w->want.ifaces = ARENA_ARRAY(&w->a, struct nw_iface, NET_WORLD_OBJECTS);
}

static inline void net_world_die(const char *line)
{
    (void)fprintf(stderr, "net world: cannot read: %s\n", line);
    abort();
}

/* link NAME [up] [carrier] [loopback] [kind=K] [master=M] [lower=L] [id=N] [mtu=N] [mode=N] ... */
static inline void net_world_link(struct net_world *w, char *args)
{
    struct nw_link *l = nw_obs_add_link(&w->obs);
    char *save = NULL;
    const char *word = strtok_r(args, " ", &save);

    (void)str_copy(l->name, sizeof(l->name), word);
    l->mtu = 1500;
    while ((word = strtok_r(NULL, " ", &save)) != NULL) {
        const char *v = strchr(word, '=') != NULL ? strchr(word, '=') + 1 : "";

        if (str_eq(word, "up")) {
            l->up = l->carrier = true;
        } else if (str_eq(word, "loopback")) {
            l->loopback = true;
        } else if (str_starts(word, "kind=")) {
            (void)str_copy(l->type, sizeof(l->type), v);
            l->kind = str_eq(v, "bond")     ? NW_BOND
                      : str_eq(v, "bridge") ? NW_BRIDGE
                      : str_eq(v, "vlan")   ? NW_VLAN
                                            : NW_OTHER;
        } else if (str_starts(word, "master=")) {
            (void)str_copy(l->master, sizeof(l->master), v);
        } else if (str_starts(word, "lower=")) {
            (void)str_copy(l->lower, sizeof(l->lower), v);
        } else if (str_starts(word, "id=")) {
            l->vlan_id = (uint16_t)strtoul(v, NULL, 10);
        } else if (str_starts(word, "mtu=")) {
            l->mtu = (uint32_t)strtoul(v, NULL, 10);
        } else if (str_starts(word, "mode=")) {
            l->bond.mode = (uint8_t)strtoul(v, NULL, 10);
        } else if (str_starts(word, "miimon=")) {
            l->bond.miimon = (uint32_t)strtoul(v, NULL, 10);
        } else {
            net_world_die(word);
        }
    }
    if (l->kind == NW_BRIDGE) {
        l->bridge = (struct nw_bridge){
            .set = 31, .forward_delay = 15000, .hello_time = 2000, .max_age = 20000
        };
    } else if (l->kind == NW_BOND) {
        l->bond.set = 127;
    }
}

static inline void net_world_addr(struct net_world *w, const char *dev, const char *text)
{
    struct nw_ifaddr *a = nw_obs_add_addr(&w->obs);

    (void)str_copy(a->dev, sizeof(a->dev), dev);
    a->permanent = true;
    if (!nw_addr_parse(text, &a->addr)) {
        net_world_die(text);
    }
}

/* route DESTINATION GATEWAY|- DEV [METRIC] */
static inline void net_world_route(struct net_world *w, const char *args)
{
    struct nw_route *r = nw_obs_add_route(&w->obs);
    char dst[80], gw[80], dev[80];
    unsigned metric = 0;
    struct nw_addr d;

    if (sscanf(args, "%79s %79s %79s %u", dst, gw, dev, &metric) < 3 || !nw_addr_parse(dst, &d)) {
        net_world_die(args);
    }
    r->dst = d.ip;
    r->dst_len = d.prefix;
    r->table = RT_TABLE_MAIN;
    r->type = RTN_UNICAST;
    r->protocol = RTPROT_STATIC;
    r->metric = metric;
    (void)str_copy(r->dev, sizeof(r->dev), dev);
    if (!str_eq(gw, "-") && !nw_ip_parse(gw, &r->gw)) {
        net_world_die(gw);
    }
}

static inline void net_world_object(struct net_world *w, const char *plural, const char *name,
                                    const char *spec)
{
    enum nw_kind kind = NW_OTHER;
    json_t *s = json_loads(spec, 0, NULL);
    json_t *o = json_pack("{s:{s:s}, s:o}", "metadata", "name", name, "spec", s);
    struct err err;

    CHECK(w->want.n_ifaces < NET_WORLD_OBJECTS);
    if (s == NULL || !nw_kind_from_plural(plural, &kind)) {
        net_world_die(spec);
    }
    if (nw_want_iface(kind, o, "node1", &w->want.ifaces[w->want.n_ifaces++], &err) != 0) {
        net_world_die(err.msg);
    }
    json_decref(o);
}

static inline void net_world_record(struct net_world *w, const char *text)
{
    json_t *v = json_loads(text, 0, NULL);
    struct err err;

    if (nw_record_decode(v, &w->a, &w->rec, &err) != 0) {
        net_world_die(err.msg);
    }
    json_decref(v);
}

static inline void net_world_line(struct net_world *w, char *line)
{
    char *save = NULL;
    char *word = strtok_r(line, " ", &save);

    if (word == NULL || word[0] == '#') {
        return;
    }
    if (str_eq(word, "link")) {
        net_world_link(w, save);
    } else if (str_eq(word, "addr")) {
        const char *dev = strtok_r(NULL, " ", &save);

        net_world_addr(w, dev, strtok_r(NULL, " ", &save));
    } else if (str_eq(word, "route")) {
        net_world_route(w, save);
    } else if (str_eq(word, "object")) {
        const char *plural = strtok_r(NULL, " ", &save);
        const char *name = strtok_r(NULL, " ", &save);

        net_world_object(w, plural, name, save);
    } else if (str_eq(word, "record")) {
        net_world_record(w, save);
    } else {
        net_world_die(word);
    }
}

/* --- the picture as sorted text, to compare two of them ----------------------------------------
 */

static inline int net_world_by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline char *net_world_text(const struct nw_obs *o)
{
    struct arena a = { 0 };
    size_t n = 0;
    char **lines = ARENA_ARRAY(&a, char *, o->n_links + o->n_addrs + o->n_routes + 1);
    struct buf all = { 0 };

    for (size_t i = 0; i < o->n_links; i++) {
        const struct nw_link *l = &o->links[i];

        lines[n++] = arena_printf(&a,
                                  "link %s kind %d up %d mtu %u master %s lower %s id %u mode %u "
                                  "miimon %u stp %d delay %u",
                                  l->name, (int)l->kind, l->up, l->mtu, l->master, l->lower,
                                  (unsigned)l->vlan_id, (unsigned)l->bond.mode, l->bond.miimon,
                                  l->bridge.stp, l->bridge.forward_delay);
    }
    for (size_t i = 0; i < o->n_addrs; i++) {
        char text[NW_ADDR_TEXT];

        nw_addr_format(&o->addrs[i].addr, text, sizeof(text));
        lines[n++] = arena_printf(&a, "addr %s %s", o->addrs[i].dev, text);
    }
    for (size_t i = 0; i < o->n_routes; i++) {
        struct buf b = { 0 };

        nw_route_format(&o->routes[i], &b);
        lines[n++] = arena_printf(&a, "route %s", buf_cstr(&b));
        buf_done(&b);
    }
    qsort(lines, n, sizeof(*lines), net_world_by_text);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&all, "%s\n", lines[i]);
    }
    arena_done(&a);
    return buf_take(&all, NULL);
}

static inline const struct nw_op *net_world_ops(struct net_world *w, const struct nw_plan *p,
                                                size_t *ret_n)
{
    json_t *v = nw_ops_encode(p->undo, p->n_undo); /* as through the journal */
    struct nw_op *ops = NULL;
    struct err err;

    CHECK(nw_ops_decode(v, &w->a, &ops, ret_n, &err) == 0);
    json_decref(v);
    return ops;
}

/* Every plan: doing it leaves (nearly) nothing to do; undoing it, after any number of its steps,
 * leaves the world as it was. Returns NULL, or what is wrong (to be freed). */
static inline char *net_world_check(struct net_world *w, const struct nw_plan *p)
{
    char *before = net_world_text(&w->obs);
    char *after = NULL;
    struct nw_obs now;
    struct nw_plan again;
    size_t n_undo = 0;
    const struct nw_op *undo = net_world_ops(w, p, &n_undo);
    char *wrong = NULL;

    for (size_t done = 0; wrong == NULL && done <= p->n_ops; done++) {
        nw_obs_copy(&now, &w->obs, &w->a);
        for (size_t i = 0; i < done; i++) {
            nw_obs_apply(&now, &p->ops[i]);
        }
        for (size_t i = 0; i < n_undo; i++) {
            bool exists = nw_obs_link(&now, undo[i].dev) != NULL;

            if ((undo[i].kind == NW_OP_ADD_LINK) != exists) { /* as nw_drv_undo does */
                nw_obs_apply(&now, &undo[i]);
            }
        }
        after = net_world_text(&now);
        if (strcmp(before, after) != 0) {
            wrong = mem_printf("undone after %zu of %zu steps:\n%s--- was:\n%s", done, p->n_ops,
                               after, before);
        }
        free(after);
    }
    free(before);
    /* What objects do to one card, and what blocks them, may need some more looks, never endless
     * ones. */
    nw_obs_copy(&now, &w->obs, &w->a);
    again = *p;
    for (int round = 0; round < 8 && again.n_ops > 0; round++) {
        struct nw_record rec;

        for (size_t i = 0; i < again.n_ops; i++) {
            nw_obs_apply(&now, &again.ops[i]);
        }
        rec = again.next;
        nw_plan_make(&w->want, &now, &rec, &w->a, &again);
    }
    if (wrong == NULL && again.n_ops > 0) {
        struct buf b = { 0 };

        nw_plan_format(&w->want, &again, &b);
        wrong = mem_printf("something is left to do:\n%s", buf_cstr(&b));
        buf_done(&b);
    }
    return wrong;
}

#endif
