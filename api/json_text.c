/* JSON text: strict reading, canonical writing. */

#include "api/manifest.h"
#include "base/obj.h"

#include <stdlib.h>
#include <string.h>

#define JSON_MAX_BYTES (16U << 20)
#define JSON_MAX_DEPTH 64

/* jansson recurses up to 2048 levels (JSON_PARSER_MAX_DEPTH); our trees are walked by recursion,
 * too. */
static int check_depth(const char *text, size_t len, struct err *err)
{
    size_t depth = 0;
    unsigned line = 1;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        line += c == '\n' ? 1U : 0U;
        if (in_string) {
            i += c == '\\' ? 1 : 0;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if ((c == '{' || c == '[') && ++depth > JSON_MAX_DEPTH) {
            return err_set(err, ERR_BAD_REQUEST, "line %u: nested more than %d levels deep", line,
                           JSON_MAX_DEPTH);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return 0;
}

int json_parse_strict(const char *text, size_t len, json_t **ret, struct err *err)
{
    json_error_t e;
    json_t *v;
    int rc;

    if (len > JSON_MAX_BYTES) {
        return err_set(err, ERR_TOO_LARGE, "%zu bytes; at most %u MiB are taken", len,
                       JSON_MAX_BYTES >> 20);
    }
    rc = check_depth(text, len, err);
    if (rc != 0) {
        return rc;
    }
    v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (v == NULL) {
        return err_set(err, ERR_BAD_REQUEST, "line %d, column %d: %.200s", e.line, e.column,
                       e.text);
    }
    *ret = v;
    return 0;
}

char *json_canonical(const json_t *v, size_t *ret_len)
{
    char *text = json_dumps(v, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);

    CHECK(text != NULL);
    if (ret_len != NULL) {
        *ret_len = strlen(text);
    }
    return text;
}
