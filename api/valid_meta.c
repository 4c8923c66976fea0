/* metadata: the same for all kinds, as Kubernetes has it. */

#include "api/json_path.h"
#include "api/kind_table.h"
#include "api/valid_walk.h"
#include "base/str.h"

#include <string.h>

#define ANNOTATIONS_MAX (256U << 10) /* as Kubernetes: TotalAnnotationSizeLimitB */

/* clang-format off */
static const char *check_finalizer(const char *s)
{
    return check_label_key(s);
}

const struct field metadata_fields[] = {
    { .name = "name", .type = F_NAME, .text = "Name of the object, unique among those of its kind." },
    { .name = "generateName", .type = F_STRING, .check = check_word, .max = 240, .text = "Beginning of a name that the server completes." },
    { .name = "namespace", .type = F_STRING, .text = "Not used: nothing here is in a namespace." },
    { .name = "uid", .type = F_STRING, .text = "Made by the server; another object of the same name has another one." },
    { .name = "resourceVersion", .type = F_STRING, .text = "Revision of the last change; a write that carries an old one is refused." },
    { .name = "generation", .type = F_INT, .text = "Counts the changes of what is wanted (not of status or metadata)." },
    { .name = "labels", MAP_OF(.type = F_STRING, .check = check_label_value, .text = "The label's value."), .check = check_label_key, .max = 256, .text = "To be selected by." },
    { .name = "annotations", MAP_OF(.type = F_STRING, .text = "Any text."), .check = check_label_key, .max = 256, .text = "Notes of people and programs." },
    { .name = "finalizers", LIST_OF(.type = F_STRING, .check = check_finalizer, .text = "A finalizer."), .max = 64, .text = "Who has to agree before the object is gone." },
    { .name = "creationTimestamp", .type = F_STRING, .text = "When it was made." },
    { .name = "deletionTimestamp", .type = F_STRING, .text = "When its deletion was asked for." },
    { .name = "deletionGracePeriodSeconds", .type = F_INT, .text = "Not used." },
    { .name = "ownerReferences", .type = F_ANY, .text = "The object that it was made for." },
    { .name = "managedFields", .type = F_ANY, .text = "Who applied which fields." },
    { .name = "selfLink", .type = F_STRING, .text = "Not used." },
    FIELD_END
};
/* clang-format on */

static void check_name(struct walk *w, const struct kind *k, const json_t *meta)
{
    const char *name = json_string_value(json_object_get(meta, "name"));
    const char *generate = json_string_value(json_object_get(meta, "generateName"));
    size_t mark = walk_key(w, "name");

    if (name == NULL && generate == NULL && json_object_get(meta, "name") == NULL) {
        walk_problem(w, "FieldValueRequired", NULL, "every object needs a name");
    } else if (k->singleton != NULL && !str_eq(name, k->singleton)) {
        walk_problem(w, "FieldValueInvalid", NULL, "there is only one %s, and its name is \"%s\"",
                     k->name, k->singleton);
    }
    walk_up(w, mark);
}

static void check_annotations(struct walk *w, const json_t *annotations)
{
    size_t mark = walk_key(w, "annotations");
    size_t total = 0;
    const char *key;
    json_t *v;

    json_object_foreach (json_loose(annotations), key, v) {
        total += strlen(key) + json_string_length(v);
    }
    if (total > ANNOTATIONS_MAX) {
        walk_problem(w, "FieldValueInvalid", NULL, "%zu bytes in all; at most %u are taken", total,
                     ANNOTATIONS_MAX);
    }
    walk_up(w, mark);
}

void walk_metadata(struct walk *w, const struct kind *k, const json_t *obj)
{
    const json_t *meta = json_object_get(obj, "metadata");
    const char *ns = jget_str(meta, "namespace", "");
    size_t mark = walk_key(w, "metadata");

    if (meta != NULL && !json_is_object(meta)) {
        walk_problem(w, "FieldValueInvalid", NULL, "has to be a mapping with at least a name");
        walk_up(w, mark);
        return;
    }
    walk_object(w, metadata_fields, meta);
    check_name(w, k, meta);
    check_annotations(w, json_object_get(meta, "annotations"));
    if (*ns != 0) {
        size_t at = walk_key(w, "namespace");

        walk_problem(w, "FieldValueForbidden", NULL,
                     "nothing here is in a namespace; leave it out");
        walk_up(w, at);
    }
    walk_up(w, mark);
}
