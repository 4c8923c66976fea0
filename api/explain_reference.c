/* docs/reference/kinds.md, from the tables. */

#include "api/json_path.h"
#include "api/kind_table.h"
#include "api/table.h"
#include "base/obj.h"
#include "base/str.h"

#include <string.h>

/* Text in a Markdown table. */
static void add_cell(struct buf *out, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '|' || *text == '*' || *text == '<' || *text == '_') {
            buf_add_byte(out, '\\');
        }
        buf_add_byte(out, (uint8_t)*text);
    }
}

static void add_rows(struct buf *out, const struct field *fields, const char *prefix)
{
    for (const struct field *f = fields; f != NULL && f->name != NULL; f++) {
        const struct field *in = f;
        struct buf facts = { 0 };
        struct buf type = { 0 };
        char path[PATH_STEP_MAX];
        size_t len;

        len = (size_t)snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix != 0 ? "." : "",
                               f->name);
        CHECK(len < sizeof(path) - 16);
        field_facts(f, &facts);
        field_type_name(f, &type);
        buf_printf(out, "| `%s` | %s | ", path, buf_cstr(&type));
        add_cell(out, f->text);
        if (facts.len > 0) {
            buf_add_str(out, " (");
            add_cell(out, buf_cstr(&facts));
            buf_add_str(out, ")");
        }
        buf_add_str(out, " |\n");
        for (; in->type == F_LIST || in->type == F_MAP; in = &in->fields[0]) {
            len += (size_t)snprintf(path + len, sizeof(path) - len, "%s",
                                    in->type == F_LIST ? "[]" : ".*");
        }
        if (in->type == F_OBJECT && f->fields != common_condition_elem) {
            add_rows(out, in->fields, path);
        }
        buf_done(&facts);
        buf_done(&type);
    }
}

static void add_kind(struct buf *out, const struct kind *k)
{
    buf_printf(out, "\n## %s\n\n%s\n\n`%s`", k->name, k->text, k->plural);
    for (size_t i = 0; k->short_names[i] != NULL; i++) {
        buf_printf(out, ", `%s`", k->short_names[i]);
    }
    if (k->read_only) {
        buf_add_str(out, "; read only");
    }
    if (k->one_shot && !k->read_only) {
        buf_add_str(out, "; acted upon once");
    }
    if (k->singleton != NULL) {
        buf_printf(out, "; the only name is `%s`", k->singleton);
    }
    buf_add_str(out, "\n\n| field | type | what it is |\n|---|---|---|\n");
    add_rows(out, k->top, "");
    add_rows(out, k->spec, "spec");
    add_rows(out, k->status, "status");
}

void reference_print(struct buf *out)
{
    buf_add_str(out, "# Kinds and their fields\n\n"
                     "Made from the field tables (`api/kinds_*.c`) by `PICKET_GOLDEN=write "
                     "build/unit/table_test`; do not "
                     "edit.\n\n"
                     "All objects have `apiVersion: " API_VERSION
                     "`, `kind`, and `metadata` with `name`, `labels` and `annotations` as in "
                     "Kubernetes. A size is a "
                     "number of bytes or a number with Ki, Mi, Gi, Ti, Pi (1024) or k, M, G, T, P "
                     "(1000). A duration has a "
                     "unit: ms, s, m, h, d, also `1m30s`. `[]` stands for every element of a list, "
                     "`*` for every key of a "
                     "map. A condition has `type`, `status` (True, False or Unknown), `reason`, "
                     "`message`, `lastTransitionTime` and "
                     "`observedGeneration`.\n");
    for (size_t i = 0; i < kind_count(); i++) {
        add_kind(out, kind_at(i));
    }
}
