#include "api/json_path.h"
#include "api/kind_table.h"
#include "api/kinds.h"
#include "base/obj.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const struct field lock_spec[] = {
    { .name = "object", .type = F_STRING, .text = "What is locked: plural and name." },
    FIELD_END
};

static const struct field lock_status[] = {
    STATUS_FIELDS,
    { .name = "object", .type = F_STRING, .text = "What is locked: plural and name." },
    { .name = "holder", .type = F_STRING, .text = "The host that holds it; empty when it is free." },
    { .name = "incarnation", .type = F_INT, .text = "The incarnation of that host." },
    { .name = "token", .type = F_INT, .text = "The fencing token of this acquisition." },
    { .name = "since", .type = F_STRING, .text = "Since when." },
    { .name = "reason", .type = F_STRING, .text = "Why it was taken." },
    { .name = "peer", .type = F_STRING, .text = "The host at the other end of a running migration." },
    { .name = "peerIncarnation", .type = F_INT, .text = "Its incarnation." },
    { .name = "peerToken", .type = F_INT, .text = "Its token." },
    { .name = "aborted", .type = F_BOOL, .text = "The migration was given up: that host cannot become the holder any more." },
    { .name = "quarantined", .type = F_BOOL, .text = "After a restore: nobody can take it until all hosts told what they run." },
    FIELD_END
};

static const struct column lock_columns[] = {
    COLUMN_NAME,
    { .title = "Object", .path = ".status.object" },
    { .title = "Holder", .path = ".status.holder" },
    { .title = "Incarnation", .path = ".status.incarnation" },
    { .title = "Token", .path = ".status.token" },
    { .title = "Peer", .path = ".status.peer" },
    { .title = "Since", .path = "@since:.status.since" },
    { .title = "Reason", .path = ".status.reason", .wide = true },
    COLUMN_END
};

static const struct field secret_top[] = {
    { .name = "stringData", MAP_OF(.type = F_STRING, .flags = FF_SECRET, .max = 65536, .text = "The value as text."), .flags = FF_SECRET,
      .check = check_word, .max = 64, .text = "Values as text. They are sealed when stored and never given out." },
    { .name = "data", MAP_OF(.type = F_STRING, .flags = FF_SECRET, .max = 131072, .text = "The value in base64."), .flags = FF_SECRET,
      .check = check_word, .max = 64, .text = "The same for binary values, in base64." },
    FIELD_END
};

static const struct field secret_status[] = {
    STATUS_FIELDS,
    { .name = "keys", LIST_OF(.type = F_STRING, .text = "A key."), .text = "The keys that it has." },
    FIELD_END
};

static const struct column secret_columns[] = {
    COLUMN_NAME,
    { .title = "Keys", .path = ".status.keys" },
    COLUMN_AGE,
    COLUMN_END
};

static const struct field role_rule[] = {
    { .name = "verbs", LIST_OF(.type = F_STRING, .check = check_word, .values = WORDS("*"), .text = "A verb."), .flags = FF_REQUIRED, .min = 1, .max = 32,
      .text = "get, list, watch, create, update, patch, delete; of hosts also fence (and power on) and confirm (that one is off); or \"*\"." },
    { .name = "resources", LIST_OF(.type = F_STRING, .check = check_oneline, .max = 253, .text = "A plural, such as virtualmachines, or virtualmachines/console (verb get)."), .flags = FF_REQUIRED, .min = 1, .max = 64,
      .text = "Plurals of kinds, with /status or /console what is below the objects; \"*\" is everything." },
    { .name = "resourceNames", LIST_OF(.type = F_STRING, .check = check_oneline, .max = 253, .text = "A name."), .max = 1024, .text = "Only these objects. What names no object (list, watch, create) is not allowed by such a rule." },
    FIELD_END
};

static const struct field role_spec[] = {
    { .name = "rules", LIST_OF(OBJECT_OF(role_rule), .text = "What may be done with what."), .flags = FF_REQUIRED, .min = 1, .max = 64,
      .text = "What the role allows: everything that one of its rules allows." },
    FIELD_END
};

static const struct column role_columns[] = { COLUMN_NAME, COLUMN_AGE, COLUMN_END };

static const struct field subject_fields[] = {
    { .name = "kind", ENUM_OF("User", "Group"), .flags = FF_REQUIRED, .text = "A user (CN of a certificate) or a group (O). Hosts, members and raw programs get nothing by a binding." },
    { .name = "name", .type = F_STRING, .flags = FF_REQUIRED | FF_NONEMPTY, .check = check_oneline, .max = 255, .text = "Its name." },
    FIELD_END
};

static const struct field binding_spec[] = {
    { .name = "role", NAME_OF("Role"), .flags = FF_REQUIRED, .text = "The role." },
    { .name = "subjects", LIST_OF(OBJECT_OF(subject_fields), .text = "Who."), .flags = FF_REQUIRED, .min = 1, .max = 256, .text = "Who has it." },
    FIELD_END
};

static const struct column binding_columns[] = {
    COLUMN_NAME,
    { .title = "Role", .path = ".spec.role" },
    { .title = "Subjects", .path = ".spec.subjects.*.name" },
    COLUMN_AGE,
    COLUMN_END
};
/* clang-format on */

static void check_base64(const json_t *data, struct problems *ps)
{
    const char *key;
    json_t *v;

    json_object_foreach (json_loose(data), key, v) {
        const char *s = json_string_value(v);
        size_t len = json_string_length(v);
        uint8_t *dst;
        size_t n;
        char path[128];

        if (s == NULL || len > 131072) {
            continue; /* the table has said so */
        }
        dst = mem_alloc(len + 1);
        (void)snprintf(path, sizeof(path), "data.%.100s", key);
        if (!str_b64_decode(s, len, dst, len + 1, &n)) {
            problem_add(ps, "FieldValueInvalid", path,
                        "not base64; plain text belongs into stringData");
        }
        explicit_bzero(dst, len + 1);
        free(dst);
    }
}

static void secret_check(const json_t *obj, void *problems)
{
    check_base64(json_object_get(obj, "data"), problems);
}

static const char *next_plural(const void *ctx, size_t i)
{
    (void)ctx;
    return i < kind_count() ? kind_at(i)->plural : NULL;
}

static void check_resource(const char *name, const char *path, struct problems *ps)
{
    char plural[64];
    const char *slash = strchr(name, '/');
    size_t len = slash != NULL ? (size_t)(slash - name) : strlen(name);
    const char *near;

    if (str_eq(name, "*") || len >= sizeof(plural)) {
        return;
    }
    memcpy(plural, name, len);
    plural[len] = 0;
    if (kind_by_plural(plural) != NULL) {
        return;
    }
    near = kind_find(plural) != NULL ? kind_find(plural)->plural
                                     : word_suggest(plural, next_plural, NULL);
    problem_add(ps, "FieldValueInvalid", path, "\"%s\" is no resource%s%s%s", plural,
                near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                near != NULL ? "\"?" : "; `picket api-resources` lists them");
}

static void role_check(const json_t *obj, void *problems)
{
    const json_t *rules = jget(obj, "spec.rules");

    for (size_t i = 0; i < json_array_size(rules); i++) {
        const json_t *resources = json_object_get(json_array_get(rules, i), "resources");

        for (size_t k = 0; k < json_array_size(resources); k++) {
            const char *name = json_string_value(json_array_get(resources, k));
            char path[96];

            (void)snprintf(path, sizeof(path), "spec.rules[%zu].resources[%zu]", i, k);
            if (name != NULL) {
                check_resource(name, path, problems);
            }
        }
    }
}

static const char *const no_short[] = { NULL };

const struct kind kind_lock = {
    .name = "Lock",
    .plural = "locks",
    .singular = "lock",
    .short_names = no_short,
    .spec = lock_spec,
    .status = lock_status,
    .columns = lock_columns,
    .read_only = true,
    .text =
        "Who holds what, since when and why. Read only: locks move by release, proof or migration.",
};

const struct kind kind_secret = {
    .name = "Secret",
    .plural = "secrets",
    .singular = "secret",
    .short_names = no_short,
    .spec = NULL,
    .status = secret_status,
    .columns = secret_columns,
    .text = "Passwords and communities. They can be written, but not read back.",
    .check = secret_check,
    .top = secret_top,
};

const struct kind kind_role = {
    .name = "Role",
    .plural = "roles",
    .singular = "role",
    .short_names = no_short,
    .spec = role_spec,
    .status = common_status,
    .columns = role_columns,
    .text = "A set of permissions.",
    .check = role_check,
};

const struct kind kind_role_binding = {
    .name = "RoleBinding",
    .plural = "rolebindings",
    .singular = "rolebinding",
    .short_names = no_short,
    .spec = binding_spec,
    .status = common_status,
    .columns = binding_columns,
    .text = "Gives a role to users and groups.",
};
