/* `picket explain`: what a field is for, from the tables. */

#include "api/json_path.h"
#include "api/table.h"
#include "api/valid.h"
#include "api/valid_walk.h"
#include "base/obj.h"
#include "base/str.h"

#include <inttypes.h>
#include <string.h>

static const char *scalar_name(enum field_type type)
{
    switch (type) {
    case F_STRING:
        return "string";
    case F_BOOL:
        return "boolean";
    case F_INT:
        return "integer";
    case F_SIZE:
        return "size";
    case F_DURATION:
        return "duration";
    case F_ENUM:
        return "enum";
    case F_NAME:
        return "name";
    case F_ADDRESS:
        return "address";
    case F_CIDR:
        return "cidr";
    case F_MAC:
        return "mac";
    case F_OBJECT:
        return "object";
    case F_QUANTITY:
        return "integer or string";
    case F_ANY:
        return "any";
    case F_MAP:
    case F_LIST:
        break;
    }
    CHECK_UNREACHABLE();
}

void field_type_name(const struct field *f, struct buf *out)
{
    for (; f->type == F_LIST || f->type == F_MAP; f = &f->fields[0]) {
        buf_add_str(out, f->type == F_LIST ? "[]" : "map of ");
    }
    buf_add_str(out, scalar_name(f->type));
}

static void add_words(struct buf *out, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        buf_printf(out, "%s%s", i == 0 ? "" : (words[i + 1] == NULL ? " or " : ", "), words[i]);
    }
}

static void add_limit(struct buf *out, const struct field *f, int64_t v)
{
    char text[32];

    if (f->type == F_SIZE) {
        str_format_size((uint64_t)v, text, sizeof(text));
        buf_add_str(out, text);
    } else if (f->type == F_DURATION) {
        str_format_duration((uint64_t)v, text, sizeof(text));
        buf_add_str(out, text);
    } else {
        buf_printf(out, "%" PRId64, v);
    }
}

static void add_range(struct buf *out, const struct field *f)
{
    const char *unit = "";
    bool upper = f->max >= f->min && f->max < INT64_MAX;

    if (f->min == 0 && f->max == 0) {
        return;
    }
    unit = f->type == F_LIST ? " elements" : unit;
    unit = f->type == F_MAP ? " entries" : unit;
    unit = f->type == F_STRING ? " characters" : unit;
    buf_add_str(out, "; ");
    if (f->min != 0 && !upper) {
        buf_add_str(out, "at least ");
        add_limit(out, f, f->min);
    } else if (f->min == 0 && (f->type == F_LIST || f->type == F_MAP || f->type == F_STRING)) {
        buf_add_str(out, "at most ");
        add_limit(out, f, f->max);
    } else {
        add_limit(out, f, f->min);
        buf_add_str(out, " to ");
        add_limit(out, f, f->max);
    }
    buf_add_str(out, unit);
}

static void add_default(struct buf *out, const struct field *f)
{
    size_t len = f->deflt != NULL ? strlen(f->deflt) : 0;

    if (len == 0 || f->type == F_OBJECT) {
        return;
    }
    if (f->deflt[0] == '"') { /* JSON text of a word */
        buf_printf(out, "; default %.*s", (int)(len - 2), f->deflt + 1);
    } else {
        buf_printf(out, "; default %s", f->deflt);
    }
}

/* The element of lists and maps: what is said about it holds for them. */
static const struct field *innermost(const struct field *f)
{
    while (f->type == F_LIST || f->type == F_MAP) {
        f = &f->fields[0];
    }
    return f;
}

void field_facts(const struct field *f, struct buf *out)
{
    const struct field *in = innermost(f);
    struct buf facts = { 0 };

    if ((f->flags & FF_REQUIRED) != 0) {
        buf_add_str(&facts, "; required");
    }
    if (in->type == F_ENUM) {
        buf_add_str(&facts, "; one of ");
        add_words(&facts, in->values);
    } else if (f->values != NULL) {
        buf_add_str(&facts, "; or ");
        add_words(&facts, f->values);
    }
    if (in->ref != NULL) {
        buf_printf(&facts, "; names a %s", in->ref);
    }
    if (f != in && f->ref != NULL) {
        buf_printf(&facts, "; keys name a %s", f->ref);
    }
    add_range(&facts, f);
    add_default(&facts, f);
    if ((in->flags & FF_PORT_OK) != 0) {
        buf_add_str(&facts, "; a port may follow");
    }
    if ((f->flags & FF_LIST_KEY) != 0) {
        buf_add_str(&facts, "; identifies the element");
    }
    if ((f->flags & FF_IMMUTABLE) != 0) {
        buf_add_str(&facts, "; cannot be changed later");
    }
    if ((f->flags & FF_SECRET) != 0) {
        buf_add_str(&facts, "; never shown");
    }
    if (facts.len > 2) {
        buf_add(out, facts.data + 2, facts.len - 2);
    }
    buf_done(&facts);
}

/* Text broken at spaces, each line behind `indent` spaces. */
static void add_wrapped(struct buf *out, const char *text, int indent)
{
    size_t width = 78 - (size_t)indent;

    while (*text != 0) {
        size_t n = strlen(text);

        if (n > width) {
            n = width;
            while (n > 0 && text[n] != ' ') {
                n--;
            }
            n = n == 0 ? width : n;
        }
        buf_printf(out, "%*s%.*s\n", indent, "", (int)n, text);
        text += n;
        text += strspn(text, " ");
    }
}

static void add_field(struct buf *out, const struct field *f, bool recursive, int indent)
{
    const struct field *in = innermost(f);
    struct buf facts = { 0 };

    buf_printf(out, "%*s%s <", indent, "", f->name);
    field_type_name(f, out);
    buf_printf(out, ">%s\n", (f->flags & FF_REQUIRED) != 0 ? " -required-" : "");
    if (!recursive) {
        struct field shown = *f;

        shown.flags &= ~(unsigned)FF_REQUIRED; /* said already */
        add_wrapped(out, f->text, indent + 2);
        field_facts(&shown, &facts);
        if (facts.len > 0) {
            buf_printf(out, "%*s(%s)\n", indent + 2, "", buf_cstr(&facts));
        }
        buf_add_str(out, "\n");
        buf_done(&facts);
        return;
    }
    for (const struct field *c = in->type == F_OBJECT ? in->fields : NULL;
         c != NULL && c->name != NULL; c++) {
        add_field(out, c, true, indent + 2);
    }
}

/* The members of every object, beside those of its kind. */
static const struct field *top_fields(const struct kind *k, size_t i)
{
    static const struct field common[] = {
        { .name = "apiVersion",
          .type = F_STRING,
          .flags = FF_REQUIRED,
          .text = "Always " API_VERSION "." },
        { .name = "kind", .type = F_STRING, .flags = FF_REQUIRED, .text = "Name of the kind." },
        { .name = "metadata",
          .type = F_OBJECT,
          .flags = FF_REQUIRED,
          .fields = metadata_fields,
          .text = "Name, labels and what the server keeps about the object." },
    };

    (void)k;
    return i < ARRAY_LEN(common) ? &common[i] : NULL;
}

/* The field below a kind with this name; *tmp is used for spec and status. */
static const struct field *top_find(const struct kind *k, const char *name, struct field *tmp)
{
    bool spec = str_eq(name, "spec") && k->spec != NULL;

    for (size_t i = 0; top_fields(k, i) != NULL; i++) {
        if (str_eq(top_fields(k, i)->name, name)) {
            return top_fields(k, i);
        }
    }
    if (!spec && !str_eq(name, "status")) {
        return field_find(k->top, name);
    }
    memset(tmp, 0, sizeof(*tmp));
    tmp->name = spec ? "spec" : "status";
    tmp->type = F_OBJECT;
    tmp->fields = spec ? k->spec : k->status;
    tmp->text = spec ? "What is wanted." : "What was found. Written by Picket, never by you.";
    return tmp;
}

static void explain_kind(const struct kind *k, bool recursive, struct buf *out)
{
    struct field tmp;
    static const char *const parts[] = { "spec", "status" };

    buf_add_str(out, "DESCRIPTION:\n");
    add_wrapped(out, k->text, 4);
    buf_add_str(out, "\nFIELDS:\n");
    for (size_t i = 0; top_fields(k, i) != NULL; i++) {
        if (!recursive || !str_eq(top_fields(k, i)->name, "metadata")) {
            add_field(out, top_fields(k, i), recursive, 2);
        } else {
            buf_add_str(out, "  metadata <object> -required-\n");
        }
    }
    for (const struct field *f = k->top; f != NULL && f->name != NULL; f++) {
        add_field(out, f, recursive, 2);
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const struct field *f = top_find(k, parts[i], &tmp);

        if (f != NULL) {
            add_field(out, f, recursive, 2);
        }
    }
}

static void explain_field(const struct field *f, bool recursive, struct buf *out)
{
    const struct field *in = innermost(f);
    struct buf facts = { 0 };

    buf_printf(out, "FIELD:    %s <", f->name);
    field_type_name(f, out);
    buf_add_str(out, ">\n\nDESCRIPTION:\n");
    add_wrapped(out, f->text, 4);
    field_facts(f, &facts);
    if (facts.len > 0) {
        buf_printf(out, "    (%s)\n", buf_cstr(&facts));
    }
    buf_done(&facts);
    if (f->hint != NULL) {
        add_wrapped(out, f->hint, 4);
    }
    if (in->type == F_OBJECT) {
        buf_add_str(out, "\nFIELDS:\n");
        for (const struct field *c = in->fields; c->name != NULL; c++) {
            add_field(out, c, recursive, 2);
        }
    }
}

static const char *next_field_name(const void *ctx, size_t i)
{
    const struct field *const *fields = ctx;

    return (*fields)[i].name;
}

static bool no_field(const char *step, const char *where, const struct field *f, struct buf *out)
{
    const struct field *in = f != NULL ? innermost(f) : NULL;
    const char *near;

    buf_printf(out, "there is no field \"%s\" in %s", step, where);
    if (f == NULL) {
        buf_add_str(out, "; it has: apiVersion kind metadata spec status\n");
    } else if (in->type != F_OBJECT) {
        buf_add_str(out, ", which has no fields\n");
    } else {
        near = word_suggest(step, next_field_name, &in->fields);
        buf_printf(out, "%s%s%s; it has:", near != NULL ? " (did you mean " : "",
                   near != NULL ? near : "", near != NULL ? "?)" : "");
        for (const struct field *c = in->fields; c->name != NULL; c++) {
            buf_printf(out, " %s", c->name);
        }
        buf_add_str(out, "\n");
    }
    return false;
}

static const char *next_kind_name(const void *ctx, size_t i)
{
    (void)ctx;
    return i < kind_count() ? kind_at(i)->singular : NULL;
}

static bool no_kind(const char *name, struct buf *out)
{
    const char *near = word_suggest(name, next_kind_name, NULL);

    buf_printf(out, "there is no kind \"%s\"%s%s%s; the kinds are:", name,
               near != NULL ? " (did you mean " : "", near != NULL ? near : "",
               near != NULL ? "?)" : "");
    for (size_t i = 0; i < kind_count(); i++) {
        buf_printf(out, " %s", kind_at(i)->plural);
    }
    buf_add_str(out, "\n");
    return false;
}

bool explain_print(const char *path, bool recursive, struct buf *out)
{
    char step[PATH_STEP_MAX] = "", where[PATH_STEP_MAX];
    struct field tmp;
    const struct field *f = NULL;
    const struct kind *k = path_next(&path, step) ? kind_find(step) : NULL;

    if (k == NULL) {
        return no_kind(step, out);
    }
    (void)str_copy(where, sizeof(where), k->name);
    while (path_next(&path, step)) {
        const struct field *in = f != NULL ? innermost(f) : NULL;
        const struct field *below =
            in != NULL && in->type == F_OBJECT ? field_find(in->fields, step) : NULL;

        below = f == NULL ? top_find(k, step, &tmp) : below;
        if (below == NULL) {
            return no_field(step, where, f, out);
        }
        f = below;
        (void)str_copy(where, sizeof(where), f->name);
    }
    buf_printf(out, "KIND:     %s\nVERSION:  " API_VERSION "\n", k->name);
    if (f == NULL) {
        buf_add_str(out, "\n");
        explain_kind(k, recursive, out);
    } else {
        explain_field(f, recursive, out);
    }
    return true;
}
