#include "cmd/picketd/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/valid.h"
#include "base/addrmap.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/seal.h"

struct secret_ref {
    const char *path;  /* in the FenceDevice's spec */
    const char *param; /* what picket-fence calls it */
};

static int set(struct fence_op *op, const char *key, const char *value, struct err *err)
{
    return value == NULL || *value == 0 ? 0 : fence_op_set(op, key, value, err);
}

static int add_secret(struct node *n, const json_t *dev, const struct secret_ref *ref,
                      struct fence_op *op, struct err *err)
{
    char path[96];
    const char *secret, *key;
    char *plain = NULL;
    int rc;

    (void)snprintf(path, sizeof(path), "spec.%s.secret", ref->path);
    secret = jget_str(dev, path, NULL);
    (void)snprintf(path, sizeof(path), "spec.%s.key", ref->path);
    key = jget_str(dev, path, ref->param);
    if (secret == NULL) {
        return 0;
    }
    rc = seal_lookup(n, secret, key, &plain, err);
    if (rc == 0) {
        rc = fence_op_set(op, ref->param, plain, err);
        explicit_bzero(plain, strlen(plain));
        free(plain);
    }
    return rc == 0 ? 0 : err_wrap(err, "spec.%s", ref->path);
}

static uint16_t default_port(enum fence_type t)
{
    switch (t) {
    case FENCE_TYPE_APC_SNMP:
        return 161;
    case FENCE_TYPE_IPMI:
        return 623;
    case FENCE_TYPE_REDFISH:
        return 443;
    case FENCE_TYPE_NONE:
    case FENCE_TYPE_SCSI_RESERVATION:
    case FENCE_TYPE_WATCHDOG:
    case FENCE_TYPE_AGENT:
    case FENCE_TYPE_SSH:
    case FENCE_TYPE_MANUAL:
    case FENCE_TYPE_NULL:
        return 0;
    }
    CHECK_UNREACHABLE();
}

static int add_address(const json_t *dev, struct fence_op *op, struct err *err)
{
    const char *address = jget_str(dev, "spec.address", NULL);
    uint16_t port = (uint16_t)jget_int(dev, "spec.port", default_port(op->type));
    bool udp = op->type == FENCE_TYPE_APC_SNMP || op->type == FENCE_TYPE_IPMI;
    char real[128];

    if (address == NULL || port == 0) {
        return set(op, "address", address, err);
    }
    if (addr_resolve(address, port, udp ? ADDR_UDP : ADDR_TCP, real, sizeof(real), err) != 0) {
        return err->code;
    }
    return fence_op_set(op, "address", real, err);
}

/* outlets: Auto, or {host: "3"} or {host: ["3", "7"]} */
static int add_outlets(const json_t *dev, const char *host, struct fence_op *op, struct err *err)
{
    const json_t *outlets = jget(dev, "spec.outlets");
    const json_t *mine = json_object_get(outlets, host);
    struct buf plugs = { 0 };
    int rc;

    if (!json_is_object(outlets)) {
        return fence_op_set(op, "outlets", "Auto", err);
    }
    if (mine == NULL) {
        return err_set(err, ERR_INVALID, "spec.outlets has no entry for host %s", host);
    }
    if (json_is_string(mine)) {
        buf_add_str(&plugs, json_string_value(mine));
    } else if (json_is_integer(mine)) {
        buf_printf(&plugs, "%" JSON_INTEGER_FORMAT, json_integer_value(mine));
    }
    for (size_t i = 0; i < json_array_size(mine); i++) {
        const json_t *v = json_array_get(mine, i);

        buf_printf(&plugs, "%s", i == 0 ? "" : ",");
        if (json_is_integer(v)) {
            buf_printf(&plugs, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        } else {
            buf_add_str(&plugs, json_string_value(v) == NULL ? "" : json_string_value(v));
        }
    }
    rc = fence_op_set(op, "plugs", buf_cstr(&plugs), err);
    buf_done(&plugs);
    return rc;
}

static int add_parameters(const json_t *dev, struct fence_op *op, struct err *err)
{
    const json_t *params = jget(dev, "spec.parameters");
    const char *key;
    const json_t *value;
    int rc = 0;

    for (void *it = json_object_iter((json_t *)(uintptr_t)params); it != NULL && rc == 0;
         it = json_object_iter_next((json_t *)(uintptr_t)params, it)) {
        char name[96];

        key = json_object_iter_key(it);
        value = json_object_iter_value(it);
        (void)snprintf(name, sizeof(name), "%s%s", op->type == FENCE_TYPE_AGENT ? "param." : "",
                       key);
        rc = json_is_string(value) ? fence_op_set(op, name, json_string_value(value), err) : 0;
    }
    return rc;
}

static int fill(struct node *n, const json_t *dev, const char *host, struct fence_op *op,
                struct err *err)
{
    static const struct secret_ref refs[] = { { "communityRef", "community" },
                                              { "passwordRef", "password" },
                                              { "authPasswordRef", "auth_password" },
                                              { "privPasswordRef", "priv_password" } };
    const char *version = jget_str(dev, "spec.snmpVersion", "v1");
    int rc = add_address(dev, op, err);

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(refs); i++) {
        rc = add_secret(n, dev, &refs[i], op, err);
    }
    if (rc == 0 && op->type == FENCE_TYPE_APC_SNMP) {
        rc = fence_op_set(op, "version", *version == 'v' ? version + 1 : version, err);
        rc = rc == 0 ? add_outlets(dev, host, op, err) : rc;
    }
    if (rc == 0 && op->type == FENCE_TYPE_NULL) {
        rc = n->opts.lab ? fence_op_set(op, "lab", "1", err) : 0;
    }
    if (rc == 0) {
        rc = set(op, "username", jget_str(dev, "spec.username", NULL), err);
    }
    if (rc == 0) {
        rc = set(op, "program", jget_str(dev, "spec.agent", NULL), err);
    }
    return rc == 0 ? add_parameters(dev, op, err) : rc;
}

int device_op(struct node *n, const char *device, enum fence_action action, const char *host,
              uint64_t timeout_ms, uint64_t deadline_ms, struct fence_op *ret, struct err *err)
{
    json_t *dev = object_read(n->store, "fencedevices", device, err);
    int rc;

    if (dev == NULL) {
        return err->code;
    }
    memset(ret, 0, sizeof(*ret));
    ret->type = fence_type_parse(jget_str(dev, "spec.type", ""));
    ret->action = action;
    ret->timeout_ms = timeout_ms;
    ret->deadline_boottime_ms = deadline_ms;
    (void)str_copy(ret->host, sizeof(ret->host), host);
    rc = fill(n, dev, host, ret, err);
    if (rc != 0) {
        fence_op_done(ret);
        (void)err_wrap(err, "FenceDevice %s", device);
    }
    json_decref(dev);
    return rc;
}
