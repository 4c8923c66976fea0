/* JSON text: strict reading, canonical writing. */

#include "api/json_path.h"
#include "api/manifest.h"
#include "base/obj.h"

#include <stdbool.h>
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
    v = json_load_quick(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
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

/* Length of the well-formed UTF-8 sequence at p (RFC 3629 section 4), 0 when there is none. */
static size_t utf8_length(const unsigned char *p)
{
    static const struct {
        unsigned char lead_from, lead_to, second_from, second_to;
        size_t len;
    } forms[] = {
        { 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };

    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        bool ok = p[0] >= forms[i].lead_from && p[0] <= forms[i].lead_to;

        ok = ok &&
             (forms[i].len < 2 || (p[1] >= forms[i].second_from && p[1] <= forms[i].second_to));
        for (size_t k = 2; k < forms[i].len && ok; k++) {
            ok = (p[k] & 0xc0U) == 0x80U;
        }
        if (ok) {
            return forms[i].len;
        }
    }
    return 0;
}

json_t *json_string_lossy(const char *s)
{
    char *copy = mem_strdup(s);
    json_t *v;

    for (char *p = copy; *p != 0;) {
        size_t n = utf8_length((const unsigned char *)p);

        if (n == 0) {
            *p = '?';
            n = 1;
        }
        p += n;
    }
    v = json_string(copy);
    free(copy);
    CHECK(v != NULL);
    return v;
}
