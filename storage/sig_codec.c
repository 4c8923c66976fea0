#include "storage/sig_codec.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define SIGNATURES_MAX 256

const char *sig_blank_name(enum sig_blank b)
{
    switch (b) {
    case SIG_UNKNOWN:
        return "Unknown";
    case SIG_EMPTY:
        return "Empty";
    case SIG_LVM:
        return "Lvm";
    case SIG_FOREIGN:
        return "Foreign";
    }
    CHECK_UNREACHABLE();
}

/* Printable text only: labels are what somebody wrote on a disk. */
static const char *clean(struct arena *a, const char *s)
{
    char *copy = arena_strndup(a, s, strnlen(s, 64));

    for (char *p = copy; *p != '\0'; p++) {
        *p = (unsigned char)*p < ' ' || (unsigned char)*p > '~' ? '?' : *p;
    }
    return copy;
}

static const char *describe(struct arena *a, const json_t *sig, const char *before)
{
    const char *type = json_string_value(json_object_get(sig, "type"));
    const char *label = json_string_value(json_object_get(sig, "label"));
    const char *offset = json_string_value(json_object_get(sig, "offset"));

    return arena_printf(a, "%s%s%s%s%s%s at %s", before, before[0] != '\0' ? ", " : "",
                        type != NULL ? clean(a, type) : "a signature",
                        label != NULL ? " (label " : "", label != NULL ? clean(a, label) : "",
                        label != NULL ? ")" : "", offset != NULL ? clean(a, offset) : "?");
}

int sig_parse_wipefs(const char *text, size_t len, struct arena *a, struct sig_verdict *ret,
                     struct err *err)
{
    json_error_t je;
    json_t *root = json_loadb(text, len, 0, &je);
    const json_t *sigs = json_object_get(root, "signatures");
    size_t n = json_array_size(sigs);
    int rc = 0;

    *ret = (struct sig_verdict){ .blank = SIG_UNKNOWN, .what = "" };
    if (!json_is_array(sigs) || n > SIGNATURES_MAX) {
        rc = err_set(err, ERR_CORRUPT, "wipefs: %s",
                     root == NULL ? je.text : "no list of signatures, or a too long one");
        goto out;
    }
    ret->blank = n == 0 ? SIG_EMPTY : SIG_LVM;
    for (size_t i = 0; i < n; i++) {
        const json_t *sig = json_array_get(sigs, i);

        if (!str_eq(json_string_value(json_object_get(sig, "type")), "LVM2_member")) {
            ret->blank = SIG_FOREIGN;
        }
        ret->what = i < 8 ? describe(a, sig, ret->what) : ret->what;
    }
out:
    json_decref(root);
    return rc;
}

size_t sig_first_data(const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t i = 0;

    while (i < len && p[i] == 0) {
        i++;
    }
    return i;
}

struct sig_verdict sig_verdict_of(struct arena *a, const struct sig_verdict *sigs, bool edges_read,
                                  uint64_t data_at)
{
    struct sig_verdict v = { .blank = SIG_UNKNOWN, .what = "" };

    if (sigs != NULL && (sigs->blank == SIG_FOREIGN || sigs->blank == SIG_LVM)) {
        return *sigs; /* what was found is there, whatever else could not be read */
    }
    if (edges_read && data_at != UINT64_MAX) {
        v.blank = SIG_FOREIGN;
        v.what = arena_printf(a, "data without a known signature at byte %" PRIu64, data_at);
    } else if (!edges_read) {
        v.what = "its first and last MiB could not be read";
    } else if (sigs == NULL || sigs->blank == SIG_UNKNOWN) {
        v.what = "its signatures could not be read";
    } else {
        v.blank = SIG_EMPTY;
    }
    return v;
}
