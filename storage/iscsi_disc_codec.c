#include "storage/iscsi_disc_codec.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "storage/iscsi_codec.h"

#define NAME_MAX_LEN 60

/* "10.77.1.1:3260,1 iqn.2026-01.example:san" */

static bool only(const char *s, size_t n, const char *allowed)
{
    return n > 0 && strspn(s, allowed) >= n;
}

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool iqn_ok(const char *s)
{
    size_t n = strlen(s);

    return n <= ISCSI_NAME_LEN_MAX && only(s, n, ALNUM ".:-") &&
           (str_starts(s, "iqn.") || str_starts(s, "eui.") || str_starts(s, "naa."));
}

static bool portal_ok(const char *s, size_t n)
{
    return n < 128 && only(s, n, ALNUM ".:-[]");
}

static struct iscsi_found *target_of(struct arena *a, struct iscsi_founds *f, const char *iqn)
{
    for (size_t i = 0; i < f->n; i++) {
        if (str_eq(f->list[i].iqn, iqn)) {
            return &f->list[i];
        }
    }
    if (f->n == ISCSI_FOUND_MAX) {
        return NULL;
    }
    if (f->list == NULL) {
        f->list = arena_alloc(a, ISCSI_FOUND_MAX * sizeof(*f->list));
    }
    f->list[f->n] = (struct iscsi_found){ .iqn = arena_strdup(a, iqn) };
    return &f->list[f->n++];
}

static void add_portal(struct arena *a, struct iscsi_found *t, const char *portal)
{
    for (size_t i = 0; i < t->n_portals; i++) {
        if (iscsi_portal_eq(t->portals[i], portal)) {
            return;
        }
    }
    if (t->n_portals == ISCSI_PORTALS_MAX) {
        t->n_more++;
    } else {
        t->portals[t->n_portals++] = arena_strdup(a, portal);
    }
}

static int read_line(struct arena *a, struct iscsi_founds *f, char *line, unsigned no,
                     struct err *err)
{
    char *comma = strchr(line, ',');
    char *space = strchr(line, ' ');
    struct iscsi_found *t;

    if (comma == NULL || space == NULL || comma > space ||
        !portal_ok(line, (size_t)(comma - line)) ||
        strspn(comma + 1, "0123456789") != (size_t)(space - comma) - 1) {
        return err_set(err, ERR_CORRUPT,
                       "line %u of the discovery is not \"ADDRESS:PORT,TAG NAME\"", no);
    }
    *comma = '\0';
    space += strspn(space, " ");
    if (!iqn_ok(space)) {
        return err_set(err, ERR_CORRUPT, "line %u of the discovery: no name of a target", no);
    }
    t = target_of(a, f, space);
    if (t == NULL) {
        return err_set(err, ERR_TOO_LARGE, "more than %d targets", ISCSI_FOUND_MAX);
    }
    add_portal(a, t, line);
    return 0;
}

int iscsi_parse_discovery(const char *text, size_t len, struct arena *a, struct iscsi_founds *f,
                          struct err *err)
{
    char *copy = arena_alloc(a, len + 1);
    char *save = NULL;
    unsigned no = 0;
    int rc = 0;

    memcpy(copy, text, len);
    copy[len] = '\0';
    if (strlen(copy) != len) {
        return err_set(err, ERR_CORRUPT, "the discovery has a NUL byte in it");
    }
    for (char *line = strtok_r(copy, "\n", &save); line != NULL && rc == 0;
         line = strtok_r(NULL, "\n", &save)) {
        size_t n = strlen(line);

        while (n > 0 && strchr(" \t\r", line[n - 1]) != NULL) {
            line[--n] = '\0';
        }
        no++;
        rc = n == 0 ? 0 : read_line(a, f, line, no, err);
    }
    return rc;
}

/* --- manifests --- */

/* What stands behind the last colon of the IQN (the part that its owner chose), as a name. */
static void name_of(const char *iqn, char dst[NAME_MAX_LEN + 1])
{
    const char *from = strrchr(iqn, ':');
    size_t n = 0;

    from = from == NULL || from[1] == '\0' ? iqn : from + 1;
    for (; *from != '\0' && n < NAME_MAX_LEN; from++) {
        char c = *from >= 'A' && *from <= 'Z' ? (char)(*from - 'A' + 'a') : *from;

        c = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
        if (c != '-' || (n > 0 && dst[n - 1] != '-')) {
            dst[n++] = c;
        }
    }
    while (n > 0 && dst[n - 1] == '-') {
        n--;
    }
    dst[n] = '\0';
    if (n == 0) {
        memcpy(dst, "target", sizeof("target"));
    }
}

static size_t named_before(const struct iscsi_founds *f, size_t i, const char *name)
{
    char other[NAME_MAX_LEN + 1];
    size_t n = 0;

    for (size_t k = 0; k < i; k++) {
        name_of(f->list[k].iqn, other);
        n += str_eq(other, name);
    }
    return n;
}

void iscsi_manifests(const struct iscsi_founds *f, struct buf *out)
{
    char name[NAME_MAX_LEN + 1];

    for (size_t i = 0; i < f->n; i++) {
        const struct iscsi_found *t = &f->list[i];
        size_t before;

        name_of(t->iqn, name);
        before = named_before(f, i, name);
        buf_printf(out, "%sapiVersion: picket/v1\nkind: ISCSITarget\nmetadata: {name: \"%s",
                   i > 0 ? "---\n" : "", name);
        if (before > 0) {
            buf_printf(out, "-x%zu", before + 1);
        }
        buf_printf(out, "\"}\nspec:\n  iqn: \"%s\"\n  portals:\n", t->iqn);
        for (size_t k = 0; k < t->n_portals; k++) {
            buf_printf(out, "  - \"%s\"\n", t->portals[k]);
        }
        if (t->n_more > 0) {
            buf_printf(out, "  # and %zu more than the %d that an ISCSITarget can have\n",
                       t->n_more, ISCSI_PORTALS_MAX);
        }
    }
}
