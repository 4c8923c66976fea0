#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "net/nw_state.h"

void nw_state_done(struct nw_state *s)
{
    json_decref(s->details);
    s->details = NULL;
}

static void say(struct nw_state *s, bool ready, const char *reason, const char *message)
{
    s->ready = ready;
    (void)str_copy(s->reason, sizeof(s->reason), reason);
    (void)str_copy(s->message, sizeof(s->message), message);
}

static json_t *addresses(const struct nw_obs *o, const char *dev)
{
    json_t *list = json_array();
    char text[NW_ADDR_TEXT];

    for (size_t i = 0; i < o->n_addrs; i++) {
        if (strcmp(o->addrs[i].dev, dev) == 0 && o->addrs[i].scope == RT_SCOPE_UNIVERSE) {
            nw_addr_format(&o->addrs[i].addr, text, sizeof(text));
            CHECK(json_array_append_new(list, json_string(text)) == 0);
        }
    }
    return list;
}

static void about_member(const struct nw_obs *o, const char *name, struct buf *b)
{
    const struct nw_link *l = nw_obs_link(o, name);

    buf_printf(b, "%s%s ", b->len > 0 ? "; " : "", name);
    if (l == NULL) {
        buf_add_str(b, "does not exist");
    } else if (!l->carrier || (l->is_slave && !l->slave_mii_up)) {
        buf_add_str(b, "has no link");
    } else if (l->speed_mbps > 0) {
        buf_printf(b, "%u Mbit/s", l->speed_mbps);
    } else {
        buf_add_str(b, "has a link");
    }
    if (l != NULL && l->slave_failures > 0) {
        buf_printf(b, " (%u link failures)", l->slave_failures);
    }
}

static size_t without_link(const struct nw_iface *f, const struct nw_obs *o)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n_members; i++) {
        const struct nw_link *l = nw_obs_link(o, f->members[i]);

        n += l == NULL || !l->carrier || (l->is_slave && !l->slave_mii_up) ? 1U : 0U;
    }
    return n;
}

/* It is there and as declared: how well does it do? */
static void judge(const struct nw_iface *f, const struct nw_obs *o, const struct nw_link *l,
                  struct nw_state *s)
{
    struct buf b = { 0 };
    size_t bad = without_link(f, o);

    if (f->kind == NW_BOND && l->bond_active[0] != 0) {
        buf_printf(&b, "%s is active", l->bond_active);
    }
    for (size_t i = 0; i < f->n_members; i++) {
        about_member(o, f->members[i], &b);
    }
    if (!l->carrier && (f->kind != NW_BRIDGE || f->n_members > 0)) {
        say(s, false, "NoCarrier", b.len > 0 ? buf_cstr(&b) : "no link");
    } else if (bad > 0) {
        say(s, true, "Degraded", buf_cstr(&b));
    } else {
        say(s, true, "AsDeclared", b.len > 0 ? buf_cstr(&b) : "");
    }
    buf_done(&b);
}

static const char *state_word(const struct nw_state *s, const struct nw_verdict *v,
                              const struct nw_link *l)
{
    if (str_eq(v->reason, "RolledBack")) {
        return "RolledBack";
    }
    if (l == NULL) {
        return "Absent";
    }
    return s->ready ? "Ready" : "Failed";
}

void nw_state_make(const struct nw_iface *f, const struct nw_verdict *v, const struct nw_obs *obs,
                   struct nw_state *ret)
{
    const struct nw_link *l = obs == NULL ? NULL : nw_obs_link(obs, f->name);

    *ret = (struct nw_state){ 0 };
    if (obs == NULL) {
        say(ret, false, "Unknown", "the host's network could not be looked at");
        ret->details = json_pack("{s:s, s:s}", "state", "Unknown", "message", ret->message);
        return;
    }
    if (l == NULL && v->kind == NW_OK) {
        say(ret, false, "Absent", "it does not exist yet");
    } else if (l != NULL) {
        judge(f, obs, l, ret);
    }
    if (v->kind == NW_BLOCKED || (l == NULL && v->reason != NULL)) {
        say(ret, false, v->reason, v->message);
    } else if (v->kind == NW_PAUSED) {
        say(ret, l != NULL, v->reason, v->message);
    }
    ret->details = json_pack("{s:s, s:b, s:s, s:o, s:s}", "state", state_word(ret, v, l), "up",
                             l != NULL && l->carrier, "active", l != NULL ? l->bond_active : "",
                             "addresses", addresses(obs, f->name), "message", ret->message);
}
