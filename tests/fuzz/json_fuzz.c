/* Bodies and patches from nowhere: strict JSON, merge patch, JSON patch, selectors.  The input is
 * JSON text; a list of two is taken as target and patch, and any text also as a selector.  Seeds in
 * tests/fuzz/corpus/json.
 */

#include "api/manifest.h"
#include "api/valid.h"
#include "base/obj.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_patches(const json_t *target, const json_t *patch)
{
    json_t *copy = json_deep_copy(target);
    json_t *merged = json_merge_patch(target, patch);
    json_t *out = NULL;
    struct err err;
    int rc = json_patch(target, patch, &out, &err);

    CHECK(merged != NULL);
    CHECK((rc == 0) == (out != NULL));
    CHECK(rc == 0 || err.msg[0] != 0);
    CHECK(json_equal(copy, target));
    json_decref(out);
    json_decref(merged);
    json_decref(copy);
}

static void check_canonical(const json_t *v)
{
    struct err err;
    size_t len = 0;
    char *text = json_canonical(v, &len);
    json_t *again = NULL;
    char *second;

    CHECK(json_parse_strict(text, len, &again, &err) == 0);
    second = json_canonical(again, NULL);
    CHECK(strcmp(text, second) == 0);
    json_decref(again);
    free(second);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size);
    json_t *labels = json_pack("{s:s, s:s}", "app", "web", "tier", "1");
    json_t *v = NULL;
    struct err err;
    bool match;
    int rc = json_parse_strict(text, size, &v, &err);

    CHECK(rc == 0 || err.msg[0] != 0);
    (void)!selector_match(text, labels, &match, &err);
    (void)!field_selector_match(text, labels, &match, &err);
    if (rc == 0) {
        check_canonical(v);
        (void)!field_selector_match("metadata.name=x", v, &match, &err);
        if (json_array_size(v) == 2) {
            check_patches(json_array_get(v, 0), json_array_get(v, 1));
        }
    }
    json_decref(v);
    json_decref(labels);
    free(text);
    return 0;
}
