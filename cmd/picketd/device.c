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
#include "fence/ssh_exec.h"

static int set(struct fence_op *op, const char *key, const char *value, struct err *err)
{
    return value == NULL || *value == 0 ? 0 : fence_op_set(op, key, value, err);
}

int device_secret(struct node *n, const json_t *obj, const char *path, const char *key,
                  const char *param, struct fence_op *op, struct err *err)
{
    char *plain;
    int rc = seal_ref(n, obj, path, key, &plain, err);

    if (rc == 0 && plain != NULL) {
        rc = fence_op_set(op, param, plain, err);
        if (rc != 0) {
            (void)err_wrap(err, "%s", path);
        }
    }
    seal_wipe(plain);
    return rc;
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
    case FENCE_TYPE_MANUAL:
    case FENCE_TYPE_NULL:
        return 0;
    case FENCE_TYPE_SSH:
        return 22;
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
        (void)snprintf(name, sizeof(name), "param.%s", key);
        rc = json_is_string(value) ? fence_op_set(op, name, json_string_value(value), err) : 0;
    }
    return rc;
}

/* --- by type -----------------------------------------------------------------------------------
 */

static int fill_snmp(struct node *n, const json_t *dev, const char *host, struct fence_op *op,
                     struct err *err)
{
    const char *version = jget_str(dev, "spec.snmpVersion", "v1");
    int rc = fence_op_set(op, "version", *version == 'v' ? version + 1 : version, err);

    rc = rc == 0 ? set(op, "auth_protocol", jget_str(dev, "spec.authProtocol", NULL), err) : rc;
    rc = rc == 0 ? set(op, "priv_protocol", jget_str(dev, "spec.privProtocol", NULL), err) : rc;
    rc = rc == 0 ? device_secret(n, dev, "spec.communityRef", "community", "community", op, err)
                 : rc;
    rc = rc == 0
             ? device_secret(n, dev, "spec.passwordRef", "auth_password", "auth_password", op, err)
             : rc;
    rc = rc == 0 ? device_secret(n, dev, "spec.privPasswordRef", "priv_password", "priv_password",
                                 op, err)
                 : rc;
    return rc == 0 ? add_outlets(dev, host, op, err) : rc;
}

static int fill_ssh(struct node *n, const json_t *dev, struct fence_op *op, struct err *err)
{
    char *pem = NULL;
    int rc = seal_ref(n, dev, "spec.identityRef", "ssh-privatekey", &pem, err);

    if (rc == 0 && pem != NULL) {
        rc = ssh_identity_set(op, pem, err);
    }
    seal_wipe(pem);
    return rc == 0 && n->opts.lab ? fence_op_set(op, "lab", "1", err) : rc;
}

/* outlets: Auto is the plug of the host's own name (a domain of a hypervisor, say). */
static int fill_agent(struct node *n, const json_t *dev, const char *host, struct fence_op *op,
                      struct err *err)
{
    const json_t *outlets = jget(dev, "spec.outlets");
    int rc = device_secret(n, dev, "spec.passwordRef", "password", "password", op, err);

    rc = rc == 0 ? set(op, "program", jget_str(dev, "spec.agent", NULL), err) : rc;
    if (rc == 0 && json_is_object(outlets)) {
        rc = add_outlets(dev, host, op, err);
    } else if (rc == 0 && outlets != NULL) {
        rc = fence_op_set(op, "plugs", host, err);
    }
    return rc == 0 ? add_parameters(dev, op, err) : rc;
}

static int fill_card(struct node *n, const json_t *dev, struct fence_op *op, struct err *err)
{
    int64_t cipher = jget_int(dev, "spec.cipher", -1);
    int rc = device_secret(n, dev, "spec.passwordRef", "password", "password", op, err);
    char text[24];

    if (rc == 0 && cipher >= 0) {
        (void)snprintf(text, sizeof(text), "%" PRId64, cipher);
        rc = fence_op_set(op, "cipher", text, err);
    }
    rc = rc == 0 ? set(op, "fingerprint", jget_str(dev, "spec.tlsFingerprint", NULL), err) : rc;
    return rc == 0 ? set(op, "systems_uri", jget_str(dev, "spec.system", NULL), err) : rc;
}

static int fill(struct node *n, const json_t *dev, const struct device_ask *ask,
                struct fence_op *op, struct err *err)
{
    int rc = add_address(dev, op, err);

    rc = rc == 0 ? set(op, "username", jget_str(dev, "spec.username", NULL), err) : rc;
    if (rc != 0) {
        return rc;
    }
    switch (op->type) {
    case FENCE_TYPE_APC_SNMP:
        return fill_snmp(n, dev, ask->host, op, err);
    case FENCE_TYPE_IPMI:
    case FENCE_TYPE_REDFISH:
        return fill_card(n, dev, op, err);
    case FENCE_TYPE_AGENT:
        return fill_agent(n, dev, ask->host, op, err);
    case FENCE_TYPE_SSH:
        return fill_ssh(n, dev, op, err);
    case FENCE_TYPE_SCSI_RESERVATION:
        return device_pr(n, dev, ask->incarnation, op, err);
    case FENCE_TYPE_NULL:
        return n->opts.lab ? fence_op_set(op, "lab", "1", err) : 0;
    case FENCE_TYPE_MANUAL:
    case FENCE_TYPE_WATCHDOG:
        return 0;
    case FENCE_TYPE_NONE:
        break;
    }
    return err_set(err, ERR_INVALID, "its type is not known");
}

/* spec.timeout is for operations; a probe takes no longer than asked for. */
static void own_timeout(const json_t *dev, const struct device_ask *ask, struct fence_op *ret)
{
    uint64_t own = jget_duration(dev, "spec.timeout", ask->timeout_ms);
    bool question = ask->action == FENCE_ACTION_PROBE || ask->action == FENCE_ACTION_STATUS;

    ret->timeout_ms = (question && own > ask->timeout_ms ? ask->timeout_ms : own);
    ret->deadline_boottime_ms = ask->deadline_ms - ask->timeout_ms + ret->timeout_ms;
}

int device_op(struct node *n, const struct device_ask *ask, struct fence_op *ret, struct err *err)
{
    json_t *dev = object_read(n->store, "fencedevices", ask->device, err);
    int rc;

    if (dev == NULL) {
        return err->code;
    }
    memset(ret, 0, sizeof(*ret));
    ret->type = fence_type_parse(jget_str(dev, "spec.type", ""));
    ret->action = ask->action;
    own_timeout(dev, ask, ret);
    (void)str_copy(ret->host, sizeof(ret->host), ask->host);
    rc = fill(n, dev, ask, ret, err);
    if (rc != 0) {
        fence_op_done(ret);
        (void)err_wrap(err, "FenceDevice %s", ask->device);
    }
    json_decref(dev);
    return rc;
}
