#include "cmd/picketd/roles_plan.h"

#include <string.h>

#include "api/json_path.h"
#include "api/valid.h"
#include "base/str.h"

bool roles_bound(const json_t *binding, const struct roles_ask *ask)
{
    const json_t *subjects = jget(binding, "spec.subjects");

    for (size_t i = 0; i < json_array_size(subjects); i++) {
        const json_t *s = json_array_get(subjects, i);
        const char *name = jget_str(s, "name", "");
        bool group = str_eq(jget_str(s, "kind", ""), "Group");

        if (name[0] != '\0' && str_eq(name, group ? ask->group : ask->user)) {
            return true;
        }
    }
    return false;
}

static bool has(const json_t *list, const char *word)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (str_eq(json_string_value(json_array_get(list, i)), word)) {
            return true;
        }
    }
    return false;
}

/* "virtualmachines" is the objects and not what is below them: that is "virtualmachines/console",
 * or a star behind the slash. */
static bool about(const json_t *resources, const struct roles_ask *ask)
{
    size_t n = strlen(ask->resource);

    for (size_t i = 0; i < json_array_size(resources); i++) {
        const char *r = json_string_value(json_array_get(resources, i));

        if (r == NULL || str_eq(r, "*")) {
            return r != NULL;
        }
        if (strncmp(r, ask->resource, n) != 0) {
            continue;
        }
        if (r[n] == '\0' ? ask->sub[0] == '\0'
                         : r[n] == '/' && ask->sub[0] != '\0' &&
                               (str_eq(r + n + 1, "*") || str_eq(r + n + 1, ask->sub))) {
            return true;
        }
    }
    return false;
}

static bool rule_allows(const json_t *rule, const struct roles_ask *ask)
{
    const json_t *verbs = json_object_get(rule, "verbs");
    const json_t *names = json_object_get(rule, "resourceNames");

    if (!has(verbs, "*") && !has(verbs, ask->verb)) {
        return false;
    }
    if (json_array_size(names) > 0 && (ask->name[0] == '\0' || !has(names, ask->name))) {
        return false;
    }
    return about(json_object_get(rule, "resources"), ask);
}

bool roles_allow(const json_t *role, const struct roles_ask *ask)
{
    const json_t *rules = jget(role, "spec.rules");

    for (size_t i = 0; i < json_array_size(rules); i++) {
        if (rule_allows(json_array_get(rules, i), ask)) {
            return true;
        }
    }
    return false;
}
