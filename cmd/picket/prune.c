#include "cmd/picket/prune.h"

#include <stdio.h>

#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

/* In the order of deletion: who uses before what is used.  Never the cluster, hosts, fence devices,
 * secrets and rights: to lose one of those by a label would cost too much. */
static const char *const kinds[] = {
    "virtualmachines",   "placementrules", "networkchecks",     "virtualips",   "iscsiexports",
    "replicatedvolumes", "volumes",        "sharedfilesystems", "volumegroups", "luns",
    "multipathpolicies", "iscsitargets",   "bridges",           "vlans",        "bonds"
};

static bool declared(const struct manifests *ms, const struct kind *k, const char *name)
{
    for (size_t i = 0; i < manifest_count(ms->m); i++) {
        const json_t *obj = manifest_doc(ms->m, i)->obj;

        if (kind_find(jget_str(obj, "kind", "")) == k && str_eq(obj_name(obj), name)) {
            return true;
        }
    }
    return false;
}

static int prune_one(struct cli *c, const struct kind *k, const char *name, bool dry_run)
{
    struct api_op op = { .method = "DELETE",
                         .plural = k->plural,
                         .name = name,
                         .query = dry_run ? "dryRun=All" : NULL };
    struct err err = { 0 };
    int rc = cli_request(c, &op, NULL, &err);

    if (rc == ERR_NOT_FOUND) {
        return CLI_OK;
    }
    if (rc != 0) {
        cli_say("picket apply: %s/%s is not declared any more, and cannot be pruned:", k->singular,
                name);
        return cli_fail(c, &err);
    }
    (void)printf("%s/%s pruned%s\n", k->singular, name, dry_run ? " (server dry run)" : "");
    (void)fflush(stdout);
    return CLI_OK;
}

static int prune_kind(struct cli *c, const struct manifests *ms, const struct kind *k,
                      const char *labels, bool dry_run)
{
    struct err err = { 0 };
    json_t *items = NULL, *v;
    int rc = CLI_OK;
    size_t i;

    if (cli_list(c, k->plural, labels, NULL, &items, &err) != 0) {
        return cli_fail(c, &err);
    }
    json_array_foreach (items, i, v) {
        /* What belongs to another object goes with that. */
        if (!declared(ms, k, obj_name(v)) && jget(v, "metadata.ownerReferences.0") == NULL &&
            jget(v, "metadata.deletionTimestamp") == NULL) {
            int one = prune_one(c, k, obj_name(v), dry_run);

            rc = one == CLI_OK ? rc : one;
        }
    }
    json_decref(items);
    return rc;
}

int prune_undeclared(struct cli *c, const struct manifests *ms, const char *labels, bool dry_run)
{
    int rc = CLI_OK;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct kind *k = kind_by_plural(kinds[i]);
        int one;

        CHECK(k != NULL);
        one = prune_kind(c, ms, k, labels, dry_run);
        rc = one == CLI_OK ? rc : one;
    }
    return rc;
}
