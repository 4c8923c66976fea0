/* YAML text of a value, on libyaml's emitter: keys in the order people expect, text in quotes
 * whenever some reader could take it for something else. */

#include "api/json_path.h"
#include "api/manifest.h"
#include "api/manifest_tree.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

static int to_buf(void *ctx, unsigned char *data, size_t size)
{
    buf_add(ctx, data, size);
    return 1;
}

static void emit(yaml_emitter_t *e, yaml_event_t *event)
{
    CHECK(yaml_emitter_emit(e, event) == 1);
}

/* libyaml wants its own character type, without const. */
static yaml_char_t *yaml_text(const char *s)
{
    union {
        const char *in;
        yaml_char_t *out;
    } u = { .in = s };

    return u.out;
}

static void emit_scalar(yaml_emitter_t *e, const char *s, size_t len, yaml_scalar_style_t style)
{
    yaml_event_t event;

    CHECK(yaml_scalar_event_initialize(&event, NULL, NULL, yaml_text(s), (int)len, 1, 1, style) ==
          1);
    emit(e, &event);
}

/* Words that YAML 1.1 readers (kubectl's, too) take for a truth value. */
static bool is_old_word(const char *s)
{
    static const char *const words[] = { "y",  "n", "yes",  "no",   "on", "off",
                                         "<<", "=", ".inf", ".nan", NULL };

    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcasecmp(s, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Sizes, durations and IPv4 addresses begin with a digit, but are no number or date for any reader:
 * letters and digits without a prefix such as 0x and not only an exponent, or at least two dots. */
static bool digits_are_safe(const char *s)
{
    size_t dots = 0;
    size_t letters = 0;

    if (s[0] == '0' && isalpha((unsigned char)s[1])) {
        return false;
    }
    for (const char *p = s; *p != 0; p++) {
        dots += *p == '.' ? 1U : 0U;
        letters += isalpha((unsigned char)*p) && *p != 'e' && *p != 'E' ? 1U : 0U;
        if (!isalnum((unsigned char)*p) && *p != '.' && (dots < 3 || strchr("/:", *p) == NULL)) {
            return false;
        }
    }
    return letters > 0 || dots >= 3;
}

static bool begins_safely(const char *s)
{
    return isalpha((unsigned char)s[0]) || strchr("/_", s[0]) != NULL ||
           (isdigit((unsigned char)s[0]) && digits_are_safe(s));
}

/* Plain only when it cannot be anything but text: a safe beginning, no odd characters, and no
 * reader takes it for null, a truth value or a number. */
static bool plain_is_safe(const char *s, size_t len)
{
    json_t *v;
    bool text;

    if (len == 0 || len > 1024 || is_old_word(s) || !begins_safely(s)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)s[i]) && strchr(" -_./+:@(),%=;", s[i]) == NULL) {
            return false;
        }
        if (s[i] == ':' && (s[i + 1] == ' ' || s[i + 1] == 0)) {
            return false;
        }
    }
    if (s[len - 1] == ' ') {
        return false;
    }
    v = yaml_plain(s, len);
    text = json_is_string(v);
    json_decref(v);
    return text;
}

static void emit_string(yaml_emitter_t *e, const char *s, size_t len)
{
    bool lines = memchr(s, '\n', len) != NULL;
    bool block =
        lines && s[0] != ' ' && s[0] != '\n' && s[len - 1] == '\n' && len > 1 && s[len - 2] != '\n';

    for (size_t i = 0; i < len && block; i++) {
        block =
            s[i] == '\n' ? i == 0 || s[i - 1] != ' ' : (unsigned char)s[i] >= 0x20 && s[i] != 0x7f;
    }
    if (plain_is_safe(s, len)) {
        emit_scalar(e, s, len, YAML_PLAIN_SCALAR_STYLE);
    } else {
        emit_scalar(e, s, len, block ? YAML_LITERAL_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE);
    }
}

static void emit_other(yaml_emitter_t *e, const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));

    CHECK(text != NULL);
    emit_scalar(e, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
    free(text);
}

static const char *const first_keys[] = {
    "apiVersion", "kind", "metadata", "spec", "data", "status"
};

static size_t key_rank(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(first_keys); i++) {
        if (str_eq(key, first_keys[i])) {
            return i;
        }
    }
    return ARRAY_LEN(first_keys);
}

static int by_key(const void *a, const void *b)
{
    const char *x = *(const char *const *)a;
    const char *y = *(const char *const *)b;

    return strcmp(x, y);
}

static int by_rank(const void *a, const void *b)
{
    size_t x = key_rank(*(const char *const *)a);
    size_t y = key_rank(*(const char *const *)b);

    return x != y ? (x < y ? -1 : 1) : by_key(a, b);
}

static void emit_value(yaml_emitter_t *e, const json_t *v, bool top);

static void emit_object(yaml_emitter_t *e, const json_t *v, bool top)
{
    size_t n = json_object_size(v);
    const char **keys = mem_alloc((n + 1) * sizeof(*keys));
    yaml_event_t event;
    const char *key;
    json_t *item;
    size_t i = 0;

    json_object_foreach (json_loose(v), key, item) {
        keys[i++] = key;
    }
    qsort(keys, n, sizeof(*keys), top ? by_rank : by_key);
    CHECK(yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                              n == 0 ? YAML_FLOW_MAPPING_STYLE
                                                     : YAML_BLOCK_MAPPING_STYLE) == 1);
    emit(e, &event);
    for (i = 0; i < n; i++) {
        emit_string(e, keys[i], strlen(keys[i]));
        emit_value(e, json_object_get(v, keys[i]), false);
    }
    CHECK(yaml_mapping_end_event_initialize(&event) == 1);
    emit(e, &event);
    free(keys);
}

static void emit_array(yaml_emitter_t *e, const json_t *v)
{
    size_t n = json_array_size(v);
    yaml_event_t event;

    CHECK(yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                               n == 0 ? YAML_FLOW_SEQUENCE_STYLE
                                                      : YAML_BLOCK_SEQUENCE_STYLE) == 1);
    emit(e, &event);
    for (size_t i = 0; i < n; i++) {
        emit_value(e, json_array_get(v, i), false);
    }
    CHECK(yaml_sequence_end_event_initialize(&event) == 1);
    emit(e, &event);
}

static void emit_value(yaml_emitter_t *e, const json_t *v, bool top)
{
    if (json_is_object(v)) {
        emit_object(e, v, top);
    } else if (json_is_array(v)) {
        emit_array(e, v);
    } else if (json_is_string(v)) {
        emit_string(e, json_string_value(v), json_string_length(v));
    } else {
        emit_other(e, v);
    }
}

char *json_to_yaml(const json_t *v)
{
    struct buf out = { 0 };
    yaml_emitter_t e;
    yaml_event_t event;

    CHECK(yaml_emitter_initialize(&e) == 1);
    yaml_emitter_set_output(&e, to_buf, &out);
    yaml_emitter_set_unicode(&e, 1);
    yaml_emitter_set_width(&e, -1);
    CHECK(yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) == 1);
    emit(&e, &event);
    CHECK(yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) == 1);
    emit(&e, &event);
    emit_value(&e, v, true);
    CHECK(yaml_document_end_event_initialize(&event, 1) == 1);
    emit(&e, &event);
    CHECK(yaml_stream_end_event_initialize(&event) == 1);
    emit(&e, &event);
    yaml_emitter_delete(&e);
    return buf_take(&out, NULL);
}
