#include "cmd/picketd/macs.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/ctl.h"
#include "cmd/picketd/world.h"

static const char *old_mac(const json_t *old, const char *nic)
{
    const json_t *list = jget(old, "spec.nics");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *n = json_array_get(list, i);

        if (str_eq(jget_str(n, "name", ""), nic)) {
            return jget_str(n, "mac", NULL);
        }
    }
    return NULL;
}

/* 00:16:3e is Xen's own range; 24 bits of chance, checked against all others at admission. */
static json_t *new_mac(void)
{
    uint8_t b[3];

    clock_random(b, sizeof(b));
    return json_sprintf("00:16:3e:%02x:%02x:%02x", b[0] & 0x7fU, b[1], b[2]);
}

void macs_fill(const json_t *old, json_t *vm)
{
    const json_t *list = jget(vm, "spec.nics");

    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *n = json_array_get(list, i);
        const char *kept = old_mac(old, jget_str(n, "name", ""));

        if (json_object_get(n, "mac") == NULL) {
            (void)json_object_set_new(n, "mac", kept == NULL ? new_mac() : json_string(kept));
        }
    }
}

struct users {
    const struct change *changes;
    size_t count;
    const char *self;
    const char *other;
};

static bool is_changed(const struct users *u, const char *vm)
{
    for (size_t i = 0; i < u->count; i++) {
        if (str_eq(u->changes[i].k->name, "VirtualMachine") && str_eq(u->changes[i].name, vm)) {
            return true;
        }
    }
    return false;
}

static void user_visit(void *ctx, struct ctl_obj *o)
{
    struct users *u = ctx;

    if (u->other == NULL && !str_eq(o->name, u->self) && !is_changed(u, o->name)) {
        u->other = o->name;
    }
}

static int refuse(struct err *err, const char *vm, const char *mac, const char *other)
{
    return err_set(
        err, ERR_INVALID,
        "VirtualMachine \"%.100s\": MAC address %s is that of VirtualMachine \"%.100s\": "
        "two guests with one address do not get their packets; leave spec.nics[].mac out "
        "and one is made",
        vm, mac, other);
}

static int admit_one(const struct world *w, struct users *u, struct map *here, struct err *err)
{
    const struct change *c = NULL;

    for (size_t i = 0; i < u->count; i++) {
        const json_t *list;

        c = &u->changes[i];
        list = str_eq(c->k->name, "VirtualMachine") ? jget(c->stored, "spec.nics") : NULL;
        u->self = c->name;
        for (size_t k = 0; k < json_array_size(list); k++) {
            char mac[32];
            const char *first;

            (void)str_copy(mac, sizeof(mac), jget_str(json_array_get(list, k), "mac", ""));
            for (char *p = mac; *p != 0; p++) {
                *p = (char)tolower((unsigned char)*p);
            }
            u->other = NULL;
            if (c->result != CHANGE_UNCHANGED) {
                world_mac_users(w, mac, user_visit, u);
            }
            first = *mac == 0 ? NULL : map_put(here, mac, (void *)(uintptr_t)c->name);
            u->other = u->other == NULL ? first : u->other;
            if (*mac != 0 && u->other != NULL) {
                return refuse(err, c->name, mac, u->other);
            }
        }
    }
    return 0;
}

int macs_admit(struct node *n, const struct change *changes, size_t count, struct err *err)
{
    struct users u = { .changes = changes, .count = count };
    struct map here = { 0 };
    int rc = admit_one(controller_world(n->ctl), &u, &here, err);

    map_done(&here);
    return rc;
}
