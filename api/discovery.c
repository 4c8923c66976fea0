/* Kubernetes discovery: legacy (/api, /apis, /apis/picket/v1) and aggregated. */

#include "api/kind.h"
#include "api/table.h"
#include "base/obj.h"
#include "base/str.h"

static const char *const verbs_all[] = { "create", "delete", "deletecollection",
                                         "get",    "list",   "patch",
                                         "update", "watch",  NULL };
static const char *const verbs_read[] = { "get", "list", "watch", NULL };
static const char *const verbs_status[] = { "get", "patch", "update", NULL };
static const char *const verbs_create[] = { "create", NULL };

/* Kinds that `get all` leaves out. */
static const char *const not_in_all[] = { "locks", "secrets", "roles", "rolebindings", NULL };

/* Operations on hosts that are not object writes (docs/architecture.md). */
static const char *const host_actions[] = { "fence", "confirm-off", NULL };

static json_t *texts(const char *const *words)
{
    json_t *list = json_array();

    for (size_t i = 0; words[i] != NULL; i++) {
        json_array_append_new(list, json_string(words[i]));
    }
    return list;
}

static json_t *categories(const struct kind *k)
{
    json_t *list = json_array();
    bool all = true;

    for (size_t i = 0; not_in_all[i] != NULL; i++) {
        all = all && !str_eq(k->plural, not_in_all[i]);
    }
    if (all) {
        json_array_append_new(list, json_string("all"));
    }
    json_array_append_new(list, json_string("picket"));
    return list;
}

static const char *const *kind_verbs(const struct kind *k)
{
    return k->read_only ? verbs_read : verbs_all;
}

static json_t *resource(const struct kind *k)
{
    json_t *r =
        json_pack("{s:s, s:s, s:b, s:s, s:s, s:s, s:o, s:o}", "name", k->plural, "singularName",
                  k->singular, "namespaced", 0, "kind", k->name, "group", API_GROUP, "version",
                  "v1", "verbs", texts(kind_verbs(k)), "categories", categories(k));

    if (k->short_names[0] != NULL) {
        json_object_set_new(r, "shortNames", texts(k->short_names));
    }
    return r;
}

static json_t *subresource(const struct kind *k, const char *name, const char *const *verbs)
{
    return json_pack("{s:s++, s:s, s:b, s:s, s:s, s:s, s:o}", "name", k->plural, "/", name,
                     "singularName", "", "namespaced", 0, "kind", k->name, "group", API_GROUP,
                     "version", "v1", "verbs", texts(verbs));
}

json_t *discovery_resources(void)
{
    json_t *list = json_array();

    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);

        json_array_append_new(list, resource(k));
        if (!k->read_only) {
            json_array_append_new(list, subresource(k, "status", verbs_status));
        }
        for (size_t a = 0; str_eq(k->plural, "hosts") && host_actions[a] != NULL; a++) {
            json_array_append_new(list, subresource(k, host_actions[a], verbs_create));
        }
    }
    return json_pack("{s:s, s:s, s:s, s:o}", "kind", "APIResourceList", "apiVersion", "v1",
                     "groupVersion", API_VERSION, "resources", list);
}

json_t *discovery_api_versions(void)
{
    return json_pack("{s:s, s:[s], s:[]}", "kind", "APIVersions", "versions", "v1",
                     "serverAddressByClientCIDRs");
}

json_t *discovery_groups(void)
{
    return json_pack("{s:s, s:s, s:[{s:s, s:[{s:s, s:s}], s:{s:s, s:s}}]}", "kind", "APIGroupList",
                     "apiVersion", "v1", "groups", "name", API_GROUP, "versions", "groupVersion",
                     API_VERSION, "version", "v1", "preferredVersion", "groupVersion", API_VERSION,
                     "version", "v1");
}

static json_t *response_kind(const char *group, const char *kind)
{
    return json_pack("{s:s, s:s, s:s}", "group", group, "version", "v1", "kind", kind);
}

static json_t *aggregated_resource(const struct kind *k)
{
    json_t *subs = json_array();
    json_t *r;

    if (!k->read_only) {
        json_array_append_new(subs, json_pack("{s:s, s:o, s:o}", "subresource", "status",
                                              "responseKind", response_kind(API_GROUP, k->name),
                                              "verbs", texts(verbs_status)));
    }
    for (size_t a = 0; str_eq(k->plural, "hosts") && host_actions[a] != NULL; a++) {
        json_array_append_new(subs, json_pack("{s:s, s:o, s:o}", "subresource", host_actions[a],
                                              "responseKind", response_kind(API_GROUP, k->name),
                                              "verbs", texts(verbs_create)));
    }
    r = json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:o}", "resource", k->plural, "responseKind",
                  response_kind(API_GROUP, k->name), "scope", "Cluster", "singularResource",
                  k->singular, "verbs", texts(kind_verbs(k)), "categories", categories(k),
                  "subresources", subs);
    if (k->short_names[0] != NULL) {
        json_object_set_new(r, "shortNames", texts(k->short_names));
    }
    return r;
}

/* One group with version v1; steals resources. */
static json_t *aggregated_list(const char *group, json_t *resources)
{
    json_t *meta = json_object();

    if (*group != 0) {
        json_object_set_new(meta, "name", json_string(group));
    }
    return json_pack("{s:s, s:s, s:{}, s:[{s:o, s:[{s:s, s:s, s:o}]}]}", "kind",
                     "APIGroupDiscoveryList", "apiVersion", "apidiscovery.k8s.io/v2", "metadata",
                     "items", "metadata", meta, "versions", "version", "v1", "freshness", "Current",
                     "resources", resources);
}

json_t *discovery_aggregated(void)
{
    json_t *list = json_array();

    for (size_t i = 0; i < kind_count(); i++) {
        json_array_append_new(list, aggregated_resource(kind_at(i)));
    }
    return aggregated_list(API_GROUP, list);
}

json_t *discovery_core_resources(void)
{
    return json_pack("{s:s, s:s, s:s, s:[{s:s, s:s, s:b, s:s, s:o, s:[s]}]}", "kind",
                     "APIResourceList", "apiVersion", "v1", "groupVersion", "v1", "resources",
                     "name", "events", "singularName", "event", "namespaced", 1, "kind", "Event",
                     "verbs", texts(verbs_read), "shortNames", "ev");
}

json_t *discovery_core_aggregated(void)
{
    return aggregated_list("", json_pack("[{s:s, s:o, s:s, s:s, s:o, s:[s]}]", "resource", "events",
                                         "responseKind", response_kind("", "Event"), "scope",
                                         "Namespaced", "singularResource", "event", "verbs",
                                         texts(verbs_read), "shortNames", "ev"));
}
