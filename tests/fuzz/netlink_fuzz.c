/* Whatever comes out of a netlink socket: it is read, resolved, planned upon, and never trusted.
 * Seeds in tests/fuzz/corpus/netlink are real
 * answers of a kernel.
 */

#include "base/obj.h"
#include "net/nl_codec.h"
#include "net/nw_plan.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void plan(struct nw_obs *o, struct arena *a)
{
    struct nw_iface br = { .kind = NW_BRIDGE,
                           .name = "br0",
                           .object = "bridges/br0",
                           .members = { "e0" },
                           .n_members = 1,
                           .mtu = 1500 };
    struct nw_want want = { .ifaces = &br, .n_ifaces = 1 };
    struct nw_record none = { 0 };
    struct nw_plan p;
    struct buf b = { 0 };

    if (o->n_links + o->n_addrs + o->n_routes > 300) {
        return;
    }
    br.bridge.set = NW_BRIDGE_STP | NW_BRIDGE_DELAY;
    nw_plan_make(&want, o, &none, a, &p);
    nw_plan_format(&want, &p, &b);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_dup(data, size); /* aligned, and of exactly that size */
    struct nl_answer answer;
    struct arena a = { 0 };
    struct nw_obs o;
    struct err err;
    int rc;

    nw_obs_init(&o, &a);
    rc = nl_parse(copy, size, 0, &o, &answer, &err);
    CHECK(rc == 0 || err.msg[0] != 0);
    CHECK(strlen(answer.text) < sizeof(answer.text));
    nw_obs_resolve(&o);
    for (size_t i = 0; i < o.n_links; i++) {
        CHECK(o.links[i].name[0] != 0 && strlen(o.links[i].name) < NW_NAME);
    }
    plan(&o, &a);
    arena_done(&a);
    free(copy);
    return 0;
}
