#include "api/table.h"

#include "api/json_path.h"
#include "api/valid.h"
#include "base/obj.h"
#include "base/str.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The field that a column shows, or NULL when it is computed. */
static const struct field *column_field(const struct kind *k, const char *path)
{
    char step[PATH_STEP_MAX];
    const struct field *f = NULL;

    if (path[0] != '.' || !path_next(&path, step)) {
        return NULL;
    }
    if (str_eq(step, "spec") || str_eq(step, "status")) {
        const struct field *fields = str_eq(step, "spec") ? k->spec : k->status;

        while (path_next(&path, step)) {
            if (!str_eq(step, "*")) {
                f = field_find(fields, step);
            }
            if (f == NULL) {
                return NULL;
            }
            fields =
                f->type == F_OBJECT ? f->fields : (f->type == F_LIST ? f->fields[0].fields : NULL);
        }
    }
    return f;
}

static json_t *column_definition(const struct kind *k, const struct column *c)
{
    const struct field *f = column_field(k, c->path);
    bool name = str_eq(c->path, ".metadata.name");

    return json_pack("{s:s, s:s, s:s, s:s, s:i}", "name", c->title, "type", "string", "format",
                     name ? "name" : "", "description",
                     f != NULL ? f->text : (name ? "Name of the object." : c->title), "priority",
                     c->wide ? 1 : 0);
}

static json_t *row_object(const json_t *obj, const char *include_object)
{
    if (str_eq(include_object, "None")) {
        return json_null();
    }
    if (str_eq(include_object, "Object")) {
        return json_deep_copy(obj);
    }
    return json_pack("{s:s, s:s, s:o}", "kind", "PartialObjectMetadata", "apiVersion",
                     "meta.k8s.io/v1", "metadata",
                     json_deep_copy(json_object_get(obj, "metadata")));
}

static json_t *row_build(const struct kind *k, const json_t *obj, const char *include_object,
                         uint64_t now_wall_ms)
{
    json_t *cells = json_array();

    for (const struct column *c = k->columns; c->title != NULL; c++) {
        char *text = column_text(c, obj, now_wall_ms);

        json_array_append_new(cells, json_string(text));
        free(text);
    }
    return json_pack("{s:o, s:o}", "cells", cells, "object", row_object(obj, include_object));
}

json_t *table_build(const struct kind *k, const json_t *items, const char *resource_version,
                    const char *include_object, uint64_t now_wall_ms)
{
    json_t *columns = json_array();
    json_t *rows = json_array();

    for (const struct column *c = k->columns; c->title != NULL; c++) {
        json_array_append_new(columns, column_definition(k, c));
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        json_array_append_new(rows,
                              row_build(k, json_array_get(items, i), include_object, now_wall_ms));
    }
    return json_pack("{s:s, s:s, s:{s:s}, s:o, s:o}", "kind", "Table", "apiVersion",
                     "meta.k8s.io/v1", "metadata", "resourceVersion", resource_version,
                     "columnDefinitions", columns, "rows", rows);
}

/* Characters, not bytes. */
static size_t text_width(const char *s)
{
    size_t n = 0;

    for (; *s != 0; s++) {
        n += ((unsigned char)*s & 0xc0U) != 0x80U ? 1U : 0U;
    }
    return n;
}

struct grid {
    char **cells; /* rows x columns */
    size_t columns;
    size_t rows;
};

static void grid_print(const struct grid *g, struct buf *out)
{
    size_t *widths = mem_alloc((g->columns + 1) * sizeof(*widths));

    for (size_t i = 0; i < g->rows * g->columns; i++) {
        size_t w = text_width(g->cells[i]);

        widths[i % g->columns] = w > widths[i % g->columns] ? w : widths[i % g->columns];
    }
    for (size_t i = 0; i < g->rows * g->columns; i++) {
        size_t column = i % g->columns;
        bool last = column + 1 == g->columns;

        buf_add_str(out, g->cells[i]);
        for (size_t w = text_width(g->cells[i]); !last && w < widths[column] + 3; w++) {
            buf_add_byte(out, ' ');
        }
        buf_add_str(out, last ? "\n" : "");
    }
    free(widths);
}

static char *heading(const char *title)
{
    char *s = mem_strdup(title);

    for (char *p = s; *p != 0; p++) {
        *p = (char)toupper((unsigned char)*p);
    }
    return s;
}

void table_print(const struct kind *k, const json_t *items, bool wide, bool headings,
                 uint64_t now_wall_ms, struct buf *out)
{
    struct grid g = { .rows = json_array_size(items) + (headings ? 1 : 0) };
    size_t n = 0;

    for (const struct column *c = k->columns; c->title != NULL; c++) {
        g.columns += wide || !c->wide ? 1U : 0U;
    }
    g.cells = mem_alloc((g.rows * g.columns + 1) * sizeof(*g.cells));
    for (size_t row = 0; row < g.rows; row++) {
        for (const struct column *c = k->columns; c->title != NULL; c++) {
            const json_t *obj = json_array_get(items, row - (headings ? 1 : 0));

            if (wide || !c->wide) {
                g.cells[n++] =
                    headings && row == 0 ? heading(c->title) : column_text(c, obj, now_wall_ms);
            }
        }
    }
    grid_print(&g, out);
    for (size_t i = 0; i < n; i++) {
        free(g.cells[i]);
    }
    free(g.cells);
}
