#include "api/sar_codec.h"

#include <string.h>

#include "api/json_path.h"
#include "api/manifest.h"
#include "api/valid.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

/* --- protobuf: just enough of it --- */

static uint64_t varint(struct rd *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = rd_u8(r);

        v |= (uint64_t)(b & 0x7fU) << shift;
        if ((b & 0x80U) == 0) {
            return v;
        }
    }
    r->bad = true;
    return 0;
}

/* The next field that has a length; others are passed over.  False at the end, or when r->bad. */
static bool next_field(struct rd *r, uint64_t *ret_number, struct rd *ret)
{
    while (!r->bad && rd_left(r) > 0) {
        uint64_t tag = varint(r), n;
        const uint8_t *p;

        switch (tag & 7) {
        case 0:
            (void)varint(r);
            continue;
        case 1:
            (void)rd_u64(r);
            continue;
        case 5:
            (void)rd_u32(r);
            continue;
        case 2:
            n = varint(r);
            p = n > rd_left(r) ? NULL : rd_bytes(r, (size_t)n);
            r->bad = r->bad || (p == NULL && n > 0);
            if (r->bad) {
                return false;
            }
            *ret_number = tag >> 3;
            *ret = rd_make(p, (size_t)n);
            return true;
        default:
            r->bad = true;
        }
    }
    return false;
}

static void text(struct rd *f, char dst[SAR_TEXT_MAX], bool *bad)
{
    if (f->len >= SAR_TEXT_MAX || (f->len > 0 && memchr(f->p, 0, f->len) != NULL)) {
        *bad = true;
        return;
    }
    if (f->len > 0) {
        memcpy(dst, f->p, f->len);
    }
    dst[f->len] = '\0';
}

static bool attributes(struct rd r, char *const *fields, size_t n)
{
    uint64_t number;
    bool bad = false;
    struct rd f;

    while (next_field(&r, &number, &f)) {
        if (number >= 1 && number <= n && fields[number - 1] != NULL) {
            text(&f, fields[number - 1], &bad);
        }
    }
    return !r.bad && !bad;
}

static bool spec(struct rd r, struct sar *s)
{
    char *const resource[] = { s->ns,       s->verb,        s->group, s->version,
                               s->resource, s->subresource, s->name };
    char *const other[] = { s->path, s->verb };
    uint64_t number;
    struct rd f;
    bool ok = true;

    while (ok && next_field(&r, &number, &f)) {
        if (number == 1) {
            ok = attributes(f, resource, ARRAY_LEN(resource));
        } else if (number == 2) {
            ok = attributes(f, other, ARRAY_LEN(other));
        }
    }
    return ok && !r.bad;
}

/* Field `want` of each of these messages in turn. */
static bool inside(struct rd *r, uint64_t want)
{
    struct rd f, found = { 0 };
    uint64_t number;
    bool ok = false;

    while (next_field(r, &number, &f)) {
        if (number == want) {
            found = f;
            ok = true;
        }
    }
    ok = ok && !r->bad;
    *r = found;
    return ok;
}

static int decode_protobuf(const uint8_t *p, size_t len, struct sar *s, struct err *err)
{
    struct rd r = rd_make(p + 4, len - 4);

    if (!inside(&r, 2) || !inside(&r, 2) || !spec(r, s)) {
        return err_set(err, ERR_BAD_REQUEST, "body: not a SelfSubjectAccessReview in protobuf");
    }
    return 0;
}

/* --- JSON --- */

static bool member(const json_t *j, const char *name, char dst[SAR_TEXT_MAX])
{
    const json_t *v = json_object_get(j, name);

    return v == NULL || json_is_null(v) ||
           (json_is_string(v) && str_copy(dst, SAR_TEXT_MAX, json_string_value(v)));
}

static int decode_json(const uint8_t *p, size_t len, struct sar *s, struct err *err)
{
    json_t *j = NULL;
    const json_t *a, *n;
    bool ok;

    if (json_parse_strict((const char *)p, len, &j, err) != 0) {
        err->code = ERR_BAD_REQUEST;
        return err->code;
    }
    a = jget(j, "spec.resourceAttributes");
    n = jget(j, "spec.nonResourceAttributes");
    ok = member(a, "namespace", s->ns) && member(a, "verb", s->verb) &&
         member(a, "group", s->group) && member(a, "version", s->version) &&
         member(a, "resource", s->resource) && member(a, "subresource", s->subresource) &&
         member(a, "name", s->name) && member(n, "path", s->path) &&
         (n == NULL || member(n, "verb", s->verb));
    json_decref(j);
    return ok ? 0 : err_set(err, ERR_BAD_REQUEST, "body: a value in spec is no text, or too long");
}

int sar_decode(const uint8_t *body, size_t len, struct sar *ret, struct err *err)
{
    int rc;

    memset(ret, 0, sizeof(*ret));
    rc = len >= 4 && memcmp(body, "k8s\0", 4) == 0 ? decode_protobuf(body, len, ret, err)
                                                   : decode_json(body, len, ret, err);
    if (rc == 0 && (ret->verb[0] == '\0' || (ret->path[0] == '\0' && ret->resource[0] == '\0'))) {
        rc = err_set(err, ERR_BAD_REQUEST,
                     "body: spec.resourceAttributes needs verb and resource (or "
                     "spec.nonResourceAttributes verb and path)");
    }
    return rc;
}

json_t *sar_spec_json(const struct sar *s)
{
    if (s->path[0] != '\0') {
        return json_pack("{s:{s:o, s:o}}", "nonResourceAttributes", "path",
                         json_string_lossy(s->path), "verb", json_string_lossy(s->verb));
    }
    return json_pack("{s:{s:o, s:o, s:o, s:o, s:o}}", "resourceAttributes", "verb",
                     json_string_lossy(s->verb), "group", json_string_lossy(s->group), "resource",
                     json_string_lossy(s->resource), "subresource",
                     json_string_lossy(s->subresource), "name", json_string_lossy(s->name));
}
