/* POST hosts/H/secrets {kind, name}: the secrets that an object needs on this host, in plain.
 *
 * An agent asks for an object, never for a Secret: it gets what the object refers to, and only if
 * the object is its host's business.  Nothing of it is logged or kept. */

#include <stdlib.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/object.h"
#include "cmd/picketd/rest_ops.h"
#include "cmd/picketd/seal.h"

static bool here_target(const json_t *obj, const char *host, const json_t *labels)
{
    return obj_on_host(obj, host, labels);
}

static bool here_machine(const json_t *obj, const char *host, const json_t *labels)
{
    (void)labels;
    return str_eq(jget_str(obj, "status.assignedHost", ""), host) ||
           str_eq(jget_str(obj, "status.migration.target", ""), host);
}

static const struct {
    const char *kind, *plural, *path, *key;
    bool (*here)(const json_t *obj, const char *host, const json_t *labels);
} needed[] = {
    { "ISCSITarget", "iscsitargets", "spec.chap.passwordRef", "password", here_target },
    { "ISCSITarget", "iscsitargets", "spec.chap.mutualPasswordRef", "mutualPassword", here_target },
    { "VirtualMachine", "virtualmachines", "spec.graphics.passwordRef", "password", here_machine },
};

static int collect(struct rest *r, const json_t *obj, const json_t *labels, json_t *values,
                   struct err *err)
{
    const char *kind = jget_str(r->body, "kind", "");
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(needed); i++) {
        char *plain = NULL;

        if (!str_eq(needed[i].kind, kind)) {
            continue;
        }
        if (!needed[i].here(obj, r->name, labels)) {
            return err_set(err, ERR_DENIED, "%s %s does not concern host %s", kind, obj_name(obj),
                           r->name);
        }
        rc = seal_ref(r->node, obj, needed[i].path, needed[i].key, &plain, err);
        if (plain != NULL) {
            (void)json_object_set_new(values, needed[i].path, json_string(plain));
        }
        seal_wipe(plain);
    }
    return rc;
}

static const char *plural_of(const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        if (str_eq(needed[i].kind, kind)) {
            return needed[i].plural;
        }
    }
    return NULL;
}

void rest_secrets_go(struct rest *r)
{
    const char *kind = jget_str(r->body, "kind", "");
    const char *name = jget_str(r->body, "name", "");
    const char *plural = plural_of(kind);
    json_t *values = json_object();
    json_t *host = NULL, *obj = NULL;
    struct err err;
    int rc;

    if (plural == NULL) {
        rc = err_set(&err, ERR_INVALID, "kind \"%.60s\": no secrets of this kind are for hosts",
                     kind);
    } else if ((host = object_read(r->node->store, "hosts", r->name, &err)) == NULL ||
               (obj = object_read(r->node->store, plural, name, &err)) == NULL) {
        rc = err.code;
    } else {
        rc = collect(r, obj, jget(host, "metadata.labels"), values, &err);
    }
    if (rc == 0) {
        rest_json(r, 200, json_pack("{s:O}", "values", values));
    } else {
        rest_err(r, &err);
    }
    json_decref(values);
    json_decref(host);
    json_decref(obj);
}
