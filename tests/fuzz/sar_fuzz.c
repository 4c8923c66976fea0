/* Fuzzing access reviews, JSON and protobuf.  What was understood can be said again in JSON. */

#include <stdlib.h>
#include <string.h>

#include "api/sar_codec.h"
#include "base/obj.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sar s, back;
    struct err err;
    json_t *j;
    char *text;

    if (sar_decode(data, size, &s, &err) != 0) {
        CHECK(err.code == ERR_BAD_REQUEST && err.msg[0] != '\0');
        return 0;
    }
    CHECK(s.verb[0] != '\0' && (s.path[0] != '\0' || s.resource[0] != '\0'));
    j = json_pack("{s:o}", "spec", sar_spec_json(&s));
    text = json_dumps(j, JSON_COMPACT);
    CHECK(text != NULL);
    if (sar_decode((const uint8_t *)text, strlen(text), &back, &err) == 0) {
        CHECK(s.path[0] == '\0' || back.path[0] != '\0');
    }
    free(text);
    json_decref(j);
    return 0;
}
