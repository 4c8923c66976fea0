#include "storage/lvm_codec.h"

#include <jansson.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define UUID_LEN 32

struct ctx {
    struct arena *a;
    const json_t *row;
    const char *section;
    size_t index;
    int rc;
    struct err *err;
};

static void bad(struct ctx *c, const char *column, const char *what)
{
    if (c->rc == 0) {
        c->rc = err_set(c->err, ERR_CORRUPT, "LVM's report, %s %zu: column %s %s", c->section,
                        c->index, column, what);
    }
}

static const char *text(struct ctx *c, const char *column)
{
    const char *s = json_string_value(json_object_get(c->row, column));

    if (s == NULL) {
        bad(c, column, "is not there");
        return "";
    }
    return arena_strdup(c->a, s);
}

static uint64_t number(struct ctx *c, const char *column)
{
    const char *s = json_string_value(json_object_get(c->row, column));
    uint64_t v = 0;

    if (s == NULL || !str_parse_u64(s, &v)) {
        bad(c, column, "is not a whole number");
    }
    return v;
}

/* Flags are printed as their own name, or as nothing. */
static bool flag(struct ctx *c, const char *column)
{
    return text(c, column)[0] != '\0';
}

static char attr(struct ctx *c, const char *column, size_t pos)
{
    const char *s = text(c, column);

    if (strlen(s) <= pos) {
        bad(c, column, "is too short");
        return '-';
    }
    return s[pos];
}

static enum lvm_tri tri(const char *s, const char *yes)
{
    if (str_eq(s, yes)) {
        return LVM_YES;
    }
    return s[0] == '\0' ? LVM_NO : LVM_UNKNOWN;
}

static void read_vg(struct ctx *c, struct lvm_vg *g)
{
    g->uuid = text(c, "vg_uuid");
    g->name = text(c, "vg_name");
    g->size = number(c, "vg_size");
    g->free = number(c, "vg_free");
    g->extent = number(c, "vg_extent_size");
    g->pvs = number(c, "pv_count");
    g->missing = number(c, "vg_missing_pv_count");
    g->writable = attr(c, "vg_attr", 0) == 'w';
    g->exported = attr(c, "vg_attr", 2) == 'x';
    g->shared = attr(c, "vg_attr", 5) == 's' || attr(c, "vg_attr", 5) == 'c';
}

static void read_pv(struct ctx *c, struct lvm_pv *p)
{
    p->uuid = text(c, "pv_uuid");
    p->device = text(c, "pv_name");
    p->vg = text(c, "vg_name");
    p->vg_uuid = text(c, "vg_uuid");
    p->size = number(c, "pv_size");
    p->free = number(c, "pv_free");
    p->dev_size = number(c, "dev_size");
    p->missing = flag(c, "pv_missing");
    p->duplicate = flag(c, "pv_duplicate");
}

/* lv_attr(5): state, 'X' when device-mapper could not be asked; then lv_active is empty as well,
 * which alone would read as "not active". */
static void read_lv(struct ctx *c, struct lvm_lv *v)
{
    char state = attr(c, "lv_attr", 4);

    v->uuid = text(c, "lv_uuid");
    v->name = text(c, "lv_name");
    v->vg = text(c, "vg_name");
    v->vg_uuid = text(c, "vg_uuid");
    v->size = number(c, "lv_size");
    v->type = attr(c, "lv_attr", 0);
    v->writable = attr(c, "lv_attr", 1) == 'w';
    v->active = tri(text(c, "lv_active"), "active");
    v->open = tri(text(c, "lv_device_open"), "open");
    if (state == 'X' || (v->active == LVM_NO && state != '-')) {
        v->active = LVM_UNKNOWN;
        v->open = LVM_UNKNOWN;
    }
}

/* Room for what is there and the rows of `list`; a new array, the old rows copied. */
static void *grow(struct arena *a, const void *old, size_t n, size_t more, size_t size)
{
    void *p = arena_alloc(a, size * (n + more + 1));

    if (n > 0) {
        memcpy(p, old, size * n);
    }
    return p;
}

static void read_section(struct ctx *c, const char *name, const json_t *list,
                         struct lvm_report *ret)
{
    size_t n = json_array_size(list);

    c->section = name;
    if (!json_is_array(list) || n > LVM_ROWS_MAX ||
        ret->n_vgs + ret->n_pvs + ret->n_lvs > LVM_ROWS_MAX) {
        c->index = n;
        bad(c, name, "is not a list, or a too long one");
        return;
    }
    if (str_eq(name, "vg")) {
        ret->vgs = grow(c->a, ret->vgs, ret->n_vgs, n, sizeof(*ret->vgs));
    } else if (str_eq(name, "pv")) {
        ret->pvs = grow(c->a, ret->pvs, ret->n_pvs, n, sizeof(*ret->pvs));
    } else {
        ret->lvs = grow(c->a, ret->lvs, ret->n_lvs, n, sizeof(*ret->lvs));
    }
    for (size_t i = 0; i < n; i++) {
        c->row = json_array_get(list, i);
        c->index = i;
        if (str_eq(name, "vg")) {
            read_vg(c, &ret->vgs[ret->n_vgs++]);
        } else if (str_eq(name, "pv")) {
            read_pv(c, &ret->pvs[ret->n_pvs++]);
        } else {
            read_lv(c, &ret->lvs[ret->n_lvs++]);
        }
    }
}

int lvm_report_parse(const char *input, size_t len, struct arena *a, struct lvm_report *ret,
                     struct err *err)
{
    static const char *const sections[] = { "vg", "pv", "lv" };
    struct ctx c = { .a = a, .section = "report", .err = err };
    json_error_t je;
    json_t *root = json_loadb(input, len, JSON_REJECT_DUPLICATES, &je);
    const json_t *report = json_object_get(root, "report");
    size_t found = 0;

    if (root == NULL) {
        return err_set(err, ERR_CORRUPT, "LVM's report, line %d: %s", je.line, je.text);
    }
    for (size_t i = 0; i < json_array_size(report); i++) {
        for (size_t k = 0; k < ARRAY_LEN(sections); k++) {
            const json_t *list = json_object_get(json_array_get(report, i), sections[k]);

            if (list != NULL) {
                found++;
                read_section(&c, sections[k], list, ret);
            }
        }
    }
    if (found == 0) {
        bad(&c, "report", "holds no vg, pv or lv section");
    }
    json_decref(root);
    return c.rc;
}

const struct lvm_vg *lvm_find_vg(const struct lvm_report *r, const char *name)
{
    for (size_t i = 0; i < r->n_vgs; i++) {
        if (str_eq(r->vgs[i].name, name)) {
            return &r->vgs[i];
        }
    }
    return NULL;
}

const struct lvm_lv *lvm_find_lv(const struct lvm_report *r, const char *vg, const char *name)
{
    for (size_t i = 0; i < r->n_lvs; i++) {
        if (str_eq(r->lvs[i].vg, vg) && str_eq(r->lvs[i].name, name)) {
            return &r->lvs[i];
        }
    }
    return NULL;
}

const struct lvm_pv *lvm_find_pv(const struct lvm_report *r, const char *device)
{
    for (size_t i = 0; i < r->n_pvs; i++) {
        if (str_eq(r->pvs[i].device, device)) {
            return &r->pvs[i];
        }
    }
    return NULL;
}

bool lvm_name_ok(const char *name)
{
    static const char *const own[] = { "_cdata",  "_cmeta", "_corig",   "_imeta",   "_iorig",
                                       "_mimage", "_mlog",  "_pmspare", "_rimage",  "_rmeta",
                                       "_tdata",  "_tmeta", "_vdata",   "_vorigin", "_cvol" };
    size_t n = name != NULL ? strlen(name) : 0;

    if (n == 0 || n > LVM_NAME_MAX || name[0] == '-' || str_eq(name, ".") || str_eq(name, "..") ||
        str_starts(name, "snapshot") || str_starts(name, "pvmove")) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        if (strstr(name, own[i]) != NULL) {
            return false;
        }
    }
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-") == n;
}

static char *double_dashes(char *p, const char *s)
{
    for (; *s != '\0'; s++) {
        *p++ = *s;
        if (*s == '-') {
            *p++ = '-';
        }
    }
    return p;
}

char *lvm_mapper_path(struct arena *a, const char *vg, const char *lv)
{
    static const char prefix[] = "/dev/mapper/";
    char *path = arena_alloc(a, sizeof(prefix) + 2 * (strlen(vg) + strlen(lv)) + 1);
    char *p = path + sizeof(prefix) - 1;

    memcpy(path, prefix, sizeof(prefix) - 1);
    p = double_dashes(p, vg);
    *p++ = '-';
    p = double_dashes(p, lv);
    *p = '\0';
    return path;
}

static bool undash(const char *uuid, char *dst)
{
    size_t n = 0;

    for (; *uuid != '\0'; uuid++) {
        if (*uuid == '-') {
            continue;
        }
        if (n == UUID_LEN) {
            return false;
        }
        dst[n++] = *uuid;
    }
    return n == UUID_LEN;
}

char *lvm_dm_uuid(struct arena *a, const char *vg_uuid, const char *lv_uuid)
{
    char *s = arena_alloc(a, 4 + 2 * UUID_LEN + 1);

    memcpy(s, "LVM-", 4);
    return undash(vg_uuid, s + 4) && undash(lv_uuid, s + 4 + UUID_LEN) ? s : NULL;
}
