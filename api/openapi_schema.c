/* Schemas of OpenAPI v3, from the field tables. */

#include "api/openapi.h"
#include "api/table.h"
#include "api/valid_walk.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#include <string.h>

static json_t *schema_of(const struct field *f);

static json_t *schema_of_fields(const struct field *fields)
{
    json_t *properties = json_object();
    json_t *required = json_array();
    json_t *s;

    for (const struct field *f = fields; f->name != NULL; f++) {
        json_object_set_new(properties, f->name, schema_of(f));
        if ((f->flags & FF_REQUIRED) != 0 && f->deflt == NULL) {
            json_array_append_new(required, json_string(f->name));
        }
    }
    s = json_pack("{s:s, s:o}", "type", "object", "properties", properties);
    if (json_array_size(required) > 0) {
        json_object_set(s, "required", required);
    }
    json_decref(required);
    return s;
}

static json_t *schema_of_list_field(const struct field *f)
{
    const struct field *key = field_list_key(f);
    json_t *s = json_pack("{s:s, s:o, s:s}", "type", "array", "items", schema_of(&f->fields[0]),
                          "x-kubernetes-list-type", key != NULL ? "map" : "atomic");

    if (key != NULL) {
        json_object_set_new(s, "x-kubernetes-list-map-keys", json_pack("[s]", key->name));
    }
    return s;
}

static json_t *schema_of_enum(const struct field *f)
{
    json_t *words = json_array();

    for (size_t i = 0; f->values[i] != NULL; i++) {
        json_array_append_new(words, json_string(f->values[i]));
    }
    return json_pack("{s:s, s:o}", "type", "string", "enum", words);
}

static json_t *int_or_string(void)
{
    return json_pack("{s:[{s:s},{s:s}], s:b}", "anyOf", "type", "integer", "type", "string",
                     "x-kubernetes-int-or-string", 1);
}

/* Without description and default. */
static json_t *schema_plain(const struct field *f)
{
    switch (f->type) {
    case F_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case F_INT:
        return json_pack("{s:s, s:s}", "type", "integer", "format", "int64");
    case F_SIZE:
    case F_QUANTITY:
        return int_or_string();
    case F_ENUM:
        return schema_of_enum(f);
    case F_OBJECT:
        return schema_of_fields(f->fields);
    case F_MAP:
        return json_pack("{s:s, s:o}", "type", "object", "additionalProperties",
                         schema_of(&f->fields[0]));
    case F_LIST:
        return schema_of_list_field(f);
    case F_ANY:
        return json_pack("{s:b}", "x-kubernetes-preserve-unknown-fields", 1);
    case F_STRING:
    case F_DURATION:
    case F_NAME:
    case F_ADDRESS:
    case F_CIDR:
    case F_MAC:
        return json_pack("{s:s}", "type", "string");
    }
    CHECK_UNREACHABLE();
}

static json_t *schema_of(const struct field *f)
{
    /* A word may stand instead of a mapping: no type then. */
    bool mixed = f->type == F_MAP && f->values != NULL;
    json_t *s =
        mixed ? json_pack("{s:b}", "x-kubernetes-preserve-unknown-fields", 1) : schema_plain(f);
    struct buf text = { 0 };
    struct buf facts = { 0 };

    buf_add_str(&text, f->text);
    field_facts(f, &facts);
    if (facts.len > 0) {
        buf_printf(&text, " (%s)", buf_cstr(&facts));
    }
    json_object_set_new(s, "description", json_string(buf_cstr(&text)));
    buf_done(&text);
    buf_done(&facts);
    if (f->deflt != NULL && strchr(f->deflt, '#') == NULL) {
        json_error_t e;
        json_t *v = json_loads(f->deflt, JSON_DECODE_ANY, &e);

        CHECK(v != NULL);
        json_object_set_new(s, "default", v);
    }
    return s;
}

json_t *schema_name(const struct kind *k, const char *suffix)
{
    return json_sprintf("picket.v1.%s%s", k->name, suffix);
}

json_t *schema_ref(const char *name)
{
    return json_pack("{s:s+}", "$ref", "#/components/schemas/", name);
}

json_t *openapi_gvk(const struct kind *k)
{
    return json_pack("{s:s, s:s, s:s}", "group", API_GROUP, "kind", k->name, "version", "v1");
}

static json_t *described(json_t *s, const char *text)
{
    json_object_set_new(s, "description", json_string(text));
    return s;
}

json_t *schema_of_kind(const struct kind *k)
{
    json_t *properties = json_object();
    json_t *meta =
        json_pack("{s:[{s:s}]}", "allOf", "$ref", "#/components/schemas/" SCHEMA_META "ObjectMeta");

    json_object_set_new(
        properties, "apiVersion",
        json_pack("{s:s, s:s}", "type", "string", "description", "Always " API_VERSION "."));
    json_object_set_new(
        properties, "kind",
        json_pack("{s:s, s:s}", "type", "string", "description", "Name of the kind."));
    json_object_set_new(
        properties, "metadata",
        described(meta, "Name, labels and what the server keeps about the object."));
    for (const struct field *f = k->top; f != NULL && f->name != NULL; f++) {
        json_object_set_new(properties, f->name, schema_of(f));
    }
    if (k->spec != NULL) {
        json_object_set_new(properties, "spec",
                            described(schema_of_fields(k->spec), "What is wanted."));
    }
    json_object_set_new(
        properties, "status",
        described(schema_of_fields(k->status), "What was found. Written by Picket."));
    return json_pack("{s:s, s:s, s:o, s:[o]}", "description", k->text, "type", "object",
                     "properties", properties, "x-kubernetes-group-version-kind", openapi_gvk(k));
}

json_t *schema_of_list(const struct kind *k)
{
    json_t *name = schema_name(k, "");
    json_t *gvk =
        json_pack("{s:s, s:s+, s:s}", "group", API_GROUP, "kind", k->name, "List", "version", "v1");
    json_t *s = json_pack("{s:s+, s:s, s:{s:{s:s}, s:{s:s}, s:{s:[{s:s}]}, s:{s:s, s:o}}, s:[o]}",
                          "description", "A list of ", k->plural, "type", "object", "properties",
                          "apiVersion", "type", "string", "kind", "type", "string", "metadata",
                          "allOf", "$ref", "#/components/schemas/" SCHEMA_META "ListMeta", "items",
                          "type", "array", "items", schema_ref(json_string_value(name)),
                          "x-kubernetes-group-version-kind", gvk);

    json_decref(name);
    return s;
}

static const struct field list_meta_fields[] = {
    { .name = "resourceVersion", .type = F_STRING, .text = "Revision of the list." },
    { .name = "continue", .type = F_STRING, .text = "Where the next part begins." },
    { .name = "remainingItemCount", .type = F_INT, .text = "What is left." },
    { .name = NULL },
};

static const struct field status_fields[] = {
    { .name = "status", .type = F_STRING, .text = "Success or Failure." },
    { .name = "message", .type = F_STRING, .text = "For people." },
    { .name = "reason", .type = F_STRING, .text = "For programs." },
    { .name = "code", .type = F_INT, .text = "HTTP status." },
    { .name = "details", .type = F_ANY, .text = "Object and causes." },
    { .name = NULL },
};

static const struct field dry_run_elem[] = {
    { .name = "*", .type = F_STRING, .text = "All." },
    { .name = NULL },
};

static const struct field delete_fields[] = {
    { .name = "dryRun",
      .type = F_LIST,
      .fields = dry_run_elem,
      .text = "[All]: only say what would happen." },
    { .name = "propagationPolicy",
      .type = F_STRING,
      .text = "Not used: nothing here owns other objects." },
    { .name = "gracePeriodSeconds", .type = F_INT, .text = "Not used." },
    { .name = "preconditions",
      .type = F_ANY,
      .text = "uid and resourceVersion that the object has to have." },
    { .name = NULL },
};

void schema_add_meta(json_t *schemas)
{
    json_object_set_new(schemas, SCHEMA_META "ObjectMeta", schema_of_fields(metadata_fields));
    json_object_set_new(schemas, SCHEMA_META "ListMeta", schema_of_fields(list_meta_fields));
    json_object_set_new(schemas, SCHEMA_META "Status", schema_of_fields(status_fields));
    json_object_set_new(schemas, SCHEMA_META "DeleteOptions", schema_of_fields(delete_fields));
    json_object_set_new(schemas, SCHEMA_META "Patch",
                        json_pack("{s:s, s:s}", "type", "object", "description", "A patch."));
}
