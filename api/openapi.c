/* OpenAPI v3: the document of the group and its index.
 *
 * kubectl looks for fieldValidation among the parameters of the PATCH operation that carries the
 * kind's group, version and kind; without it, it falls back to OpenAPI v2 and fails (measured
 * with 1.29 to 1.33). */

#include "api/openapi.h"

#include "api/manifest.h"
#include "api/table.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

struct param {
    const char *name;
    const char *type;
    const char *text;
};

static const struct param write_params[] = {
    { "dryRun", "string", "All: check everything, change nothing." },
    { "fieldManager", "string", "Who changes it." },
    { "fieldValidation", "string",
      "Unknown fields: Strict refuses them, Warn warns, Ignore drops them." },
    { NULL, NULL, NULL },
};

static const struct param force_params[] = {
    { "force", "boolean", "Take fields over that another manager applied." },
    { NULL, NULL, NULL },
};

static const struct param list_params[] = {
    { "labelSelector", "string", "Only objects with these labels." },
    { "fieldSelector", "string", "Only objects with these fields." },
    { "limit", "integer", "At most so many." },
    { "continue", "string", "Where the part before ended." },
    { "resourceVersion", "string", "0: what the server has; else at least this new." },
    { "watch", "boolean", "Stream what changes." },
    { "allowWatchBookmarks", "boolean", "Also say how far the stream is." },
    { "sendInitialEvents", "boolean", "Begin the stream with what is there." },
    { "timeoutSeconds", "integer", "End the stream after so long." },
    { NULL, NULL, NULL },
};

static const struct param dry_run_params[] = {
    { "dryRun", "string", "All: check everything, change nothing." },
    { NULL, NULL, NULL },
};

static const struct param no_params[] = { { NULL, NULL, NULL } };

static void add_params(json_t *list, const struct param *params)
{
    for (size_t i = 0; params[i].name != NULL; i++) {
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:{s:s, s:b}}", "name", params[i].name,
                                        "in", "query", "description", params[i].text, "schema",
                                        "type", params[i].type, "uniqueItems", 1));
    }
}

static json_t *responses(const char *schema)
{
    return json_pack("{s:{s:s, s:{s:{s:o}}}}", "200", "description", "OK", "content",
                     "application/json", "schema", schema_ref(schema));
}

/* An operation; `schema` is that of the answer.  action as Kubernetes calls it. */
static json_t *operation(const struct kind *k, const char *action, const char *verb,
                         const char *schema, const struct param *params)
{
    json_t *list = json_array();

    add_params(list, params);
    return json_pack("{s:s, s:[s], s:s++, s:o, s:o, s:s, s:o}", "description", action, "tags",
                     "picket_v1", "operationId", verb, "PicketV1", k->name, "parameters", list,
                     "responses", responses(schema), "x-kubernetes-action", action,
                     "x-kubernetes-group-version-kind", openapi_gvk(k));
}

static void add_body(json_t *op, const char *const *types, const char *schema)
{
    json_t *content = json_object();

    for (size_t i = 0; types[i] != NULL; i++) {
        json_object_set_new(content, types[i], json_pack("{s:o}", "schema", schema_ref(schema)));
    }
    json_object_set_new(op, "requestBody", json_pack("{s:o}", "content", content));
}

static const char *const json_types[] = { "application/json", NULL };
static const char *const patch_types[] = { "application/apply-patch+yaml",
                                           "application/json-patch+json",
                                           "application/merge-patch+json", NULL };

static json_t *patch_operation(const struct kind *k, const char *verb, const char *schema)
{
    json_t *op = operation(k, "patch", verb, schema, write_params);

    add_params(json_object_get(op, "parameters"), force_params);
    add_body(op, patch_types, SCHEMA_META "Patch");
    return op;
}

static json_t *put_operation(const struct kind *k, const char *verb, const char *schema)
{
    json_t *op = operation(k, "put", verb, schema, write_params);

    add_body(op, json_types, schema);
    return op;
}

static json_t *collection_paths(const struct kind *k, const char *schema, const char *list_schema)
{
    json_t *item = json_object();
    json_t *op;

    json_object_set_new(item, "get", operation(k, "list", "list", list_schema, list_params));
    if (!k->read_only) {
        op = operation(k, "post", "create", schema, write_params);
        add_body(op, json_types, schema);
        json_object_set_new(item, "post", op);
        json_object_set_new(item, "delete",
                            operation(k, "deletecollection", "deletecollection",
                                      SCHEMA_META "Status", list_params));
    }
    return item;
}

static json_t *object_paths(const struct kind *k, const char *schema, bool status)
{
    json_t *item = json_object();
    json_t *op;

    json_object_set_new(item, "get",
                        operation(k, "get", status ? "readStatus" : "read", schema, no_params));
    if (!k->read_only) {
        json_object_set_new(item, "put",
                            put_operation(k, status ? "replaceStatus" : "replace", schema));
        json_object_set_new(item, "patch",
                            patch_operation(k, status ? "patchStatus" : "patch", schema));
    }
    if (!k->read_only && !status) {
        op = operation(k, "delete", "delete", SCHEMA_META "Status", dry_run_params);
        add_body(op, json_types, SCHEMA_META "DeleteOptions");
        json_object_set_new(item, "delete", op);
    }
    json_object_set_new(item, "parameters",
                        json_pack("[{s:s, s:s, s:s, s:b, s:{s:s, s:b}}]", "name", "name", "in",
                                  "path", "description", "Name of the object.", "required", 1,
                                  "schema", "type", "string", "uniqueItems", 1));
    return item;
}

static void add_path(json_t *paths, const struct kind *k, const char *rest, json_t *item)
{
    char *path = mem_printf("/apis/" API_VERSION "/%s%s", k->plural, rest);

    json_object_set_new(paths, path, item);
    free(path);
}

void openapi_add_paths(json_t *paths, const struct kind *k)
{
    json_t *schema = schema_name(k, "");
    json_t *list = schema_name(k, "List");

    add_path(paths, k, "", collection_paths(k, json_string_value(schema), json_string_value(list)));
    add_path(paths, k, "/{name}", object_paths(k, json_string_value(schema), false));
    if (!k->read_only) {
        add_path(paths, k, "/{name}/status", object_paths(k, json_string_value(schema), true));
    }
    json_decref(schema);
    json_decref(list);
}

static void add_schema(json_t *schemas, json_t *name, json_t *schema)
{
    json_object_set_new(schemas, json_string_value(name), schema);
    json_decref(name);
}

json_t *openapi_v3_group(void)
{
    json_t *paths = json_object();
    json_t *schemas = json_object();

    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);

        openapi_add_paths(paths, k);
        add_schema(schemas, schema_name(k, ""), schema_of_kind(k));
        add_schema(schemas, schema_name(k, "List"), schema_of_list(k));
    }
    schema_add_meta(schemas);
    return json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:o}}", "openapi", "3.0.0", "info", "title",
                     "Picket", "version", "v1", "paths", paths, "components", "schemas", schemas);
}

/* Clients cache the document under its hash. */
json_t *openapi_v3_index(void)
{
    json_t *doc = openapi_v3_group();
    size_t len = 0;
    char *text = json_canonical(doc, &len);
    char *url =
        mem_printf("/openapi/v3/apis/" API_VERSION "?hash=%08X%08zX", crc32c(0, text, len), len);
    json_t *index =
        json_pack("{s:{s:{s:s}}}", "paths", "apis/" API_VERSION, "serverRelativeURL", url);

    free(url);
    free(text);
    json_decref(doc);
    return index;
}
