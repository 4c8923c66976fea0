#include "cmd/picket-devd/addrs_plan.h"

#include <stdio.h>
#include <string.h>

#include "api/valid.h"
#include "base/str.h"
#include "cmd/picket-devd/cuts_plan.h"

#define MIGRATION_PORT 7445U /* as cmd/picketd/ctl_mig.h has it */
#define SNMP_PORT 161

void addrs_done(struct addrs *a)
{
    json_decref(a->learned);
    a->learned = NULL;
}

static json_t *section(struct addrs *a, const char *name)
{
    json_t *s;

    if (a->learned == NULL) {
        a->learned = json_object();
    }
    s = json_object_get(a->learned, name);
    if (!json_is_object(s)) {
        s = json_object();
        (void)json_object_set_new(a->learned, name, s);
    }
    return s;
}

static void add_text(json_t *list, const json_t *v)
{
    const char *s = json_string_value(v);
    size_t i;
    json_t *have;

    if (s == NULL || *s == 0) {
        return;
    }
    json_array_foreach (list, i, have) {
        if (str_eq(json_string_value(have), s)) {
            return;
        }
    }
    (void)json_array_append_new(list, json_string(s));
}

static json_t *text_list(const json_t *list)
{
    json_t *out = json_array();
    size_t i;
    json_t *v;

    json_array_foreach (list, i, v) {
        add_text(out, v);
    }
    return out;
}

/* {"addresses": in the order of the links, "migration": ADDRESS or ""} */
static json_t *host_addresses(const json_t *obj)
{
    return json_pack("{s:o, s:s}", "addresses", text_list(jget(obj, "spec.addresses")), "migration",
                     jget_str(obj, "spec.migrationAddress", ""));
}

static json_t *pdu_address(const json_t *obj)
{
    const char *address = jget_str(obj, "spec.address", "");
    int64_t port = jget_int(obj, "spec.port", SNMP_PORT);

    if (*address == 0 || !str_eq(jget_str(obj, "spec.type", ""), "ApcSnmp")) {
        return NULL;
    }
    if (strchr(address, ':') != NULL) {
        return json_string(address);
    }
    return json_sprintf("%s:%d", address, (int)port);
}

static const char *section_of(const char *plural)
{
    if (str_eq(plural, "hosts")) {
        return "hosts";
    }
    if (str_eq(plural, "fencedevices")) {
        return "pdus";
    }
    return str_eq(plural, "networkchecks") ? "checks" : NULL;
}

/* What is kept of an object; NULL: nothing. */
static json_t *extract(const char *name, const json_t *obj)
{
    if (str_eq(name, "hosts")) {
        return host_addresses(obj);
    }
    return str_eq(name, "pdus") ? pdu_address(obj) : text_list(jget(obj, "spec.targets"));
}

bool addrs_learn(struct addrs *a, const char *plural, const json_t *obj, bool gone)
{
    const char *name = section_of(plural);
    json_t *map, *value;
    bool changed;

    if (name == NULL) {
        return false;
    }
    map = section(a, name);
    value = gone ? NULL : extract(name, obj);
    if (value == NULL) {
        return json_object_del(map, obj_name(obj)) == 0;
    }
    changed = !json_equal(json_object_get(map, obj_name(obj)), value);
    (void)json_object_set_new(map, obj_name(obj), value);
    return changed;
}

bool addrs_keep(struct addrs *a, const char *plural, const json_t *seen)
{
    const char *name = section_of(plural);
    bool changed = false;
    json_t *map, *v;
    const char *key;
    void *tmp;

    if (name == NULL) {
        return false;
    }
    map = section(a, name);
    json_object_foreach_safe(map, tmp, key, v)
    {
        if (json_object_get(seen, key) == NULL) {
            (void)json_object_del(map, key);
            changed = true;
        }
    }
    return changed;
}

void addrs_ip(int from, int to, int link, char dst[32])
{
    (void)snprintf(dst, 32, "127.%d.%d.%d", 63 + link, from, to);
}

static void add_host_line(const struct addrs_world *w, int host, int to, int link,
                          const char *declared, struct buf *out)
{
    char ip[32];

    addrs_ip(host, to, host == to ? 1 : link, ip);
    for (unsigned p = w->port; p <= w->port + 1U; p++) {
        buf_printf(out, "%s:%u %s:%u\n", declared, p, ip, p);
    }
    buf_printf(out, "%s:%u %s:%u\n", declared, MIGRATION_PORT, ip, w->port + ADDRS_MIGRATION);
}

static void render_host(const struct addrs_world *w, int host, const struct addrs_host *to,
                        struct buf *out)
{
    const json_t *known = json_object_get(json_object_get(w->addrs->learned, "hosts"), to->name);
    const char *migration = jget_str(known, "migration", "");
    bool listed = false;
    size_t i;
    json_t *v;

    add_host_line(w, host, to->number, 1, to->name, out);
    for (int link = 2; link <= ADDRS_LINKS; link++) {
        char name[96];

        (void)snprintf(name, sizeof(name), "%s.link%d", to->name, link);
        add_host_line(w, host, to->number, link, name, out);
    }
    json_array_foreach (json_object_get(known, "addresses"), i, v) {
        listed = listed || str_eq(json_string_value(v), migration);
        if (i < ADDRS_LINKS) {
            add_host_line(w, host, to->number, (int)i + 1, json_string_value(v), out);
        }
    }
    if (*migration != 0 && !listed) {
        add_host_line(w, host, to->number, 1, migration, out);
    }
}

void addrs_render(const struct addrs_world *w, int host, struct buf *out)
{
    const char *name;
    json_t *v, *target;
    size_t i;

    for (i = 0; i < w->n_hosts; i++) {
        render_host(w, host, &w->hosts[i], out);
    }
    json_object_foreach (json_object_get(w->addrs->learned, "pdus"), name, v) {
        buf_printf(out, "%s/udp 127.64.%d.%d:%u\n", json_string_value(v), host, END_PDU,
                   w->port + 2U);
    }
    json_object_foreach (json_object_get(w->addrs->learned, "checks"), name, v) {
        json_array_foreach (v, i, target) {
            const char *s = json_string_value(target);

            buf_printf(out, "%s 127.64.%d.%d:%u\n%s/udp 127.64.%d.%d:%u\n", s, host, END_GATEWAY,
                       w->port + 3U, s, host, END_GATEWAY, w->port + 3U);
        }
    }
}
