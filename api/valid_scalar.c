/* Scalars: text, numbers, sizes, durations, names, addresses. */

#include "api/valid_walk.h"
#include "base/obj.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A text in quotes, shortened, without control characters. */
static void quote(const char *s, char *dst, size_t size)
{
    size_t n = 0;

    dst[n++] = '"';
    for (; *s != 0 && n + 6 < size; s++) {
        dst[n++] = (unsigned char)*s < 0x20 || *s == 0x7f ? ' ' : *s;
    }
    /* Never cut inside a UTF-8 sequence. */
    while (*s != 0 && n > 1 && ((unsigned char)*s & 0xc0U) == 0x80U) {
        s--;
        n--;
    }
    (void)snprintf(dst + n, size - n, "%s\"", *s != 0 ? "..." : "");
}

void value_text(const struct field *f, const json_t *v, char *dst, size_t size)
{
    size_t shown = size < 64 ? size : 64;

    if (f != NULL && (f->flags & FF_SECRET) != 0) {
        (void)str_copy(dst, size, "the value");
        return;
    }
    switch (json_typeof(v)) {
    case JSON_STRING:
        quote(json_string_value(v), dst, shown);
        return;
    case JSON_INTEGER:
        (void)snprintf(dst, size, "%lld", (long long)json_integer_value(v));
        return;
    case JSON_REAL:
        (void)snprintf(dst, size, "%g", json_real_value(v));
        return;
    case JSON_TRUE:
        (void)str_copy(dst, size, "true");
        return;
    case JSON_FALSE:
        (void)str_copy(dst, size, "false");
        return;
    case JSON_OBJECT:
        (void)str_copy(dst, size, "a mapping");
        return;
    case JSON_ARRAY:
        (void)str_copy(dst, size, "a list");
        return;
    case JSON_NULL:
        (void)str_copy(dst, size, "null");
        return;
    }
    CHECK_UNREACHABLE();
}

const char *field_type_text(const struct field *f)
{
    switch (f->type) {
    case F_STRING:
        return "text";
    case F_BOOL:
        return "true or false";
    case F_INT:
        return "a whole number";
    case F_SIZE:
        return "a size such as 512Mi or 4Gi";
    case F_DURATION:
        return "a duration such as 500ms, 30s or 10m";
    case F_ENUM:
        return "one of the known words";
    case F_NAME:
        return "a name";
    case F_ADDRESS:
        return "an IP address";
    case F_CIDR:
        return "an IP address with prefix length, such as 192.168.1.101/24";
    case F_MAC:
        return "a MAC address such as 00:16:3e:5a:01:02";
    case F_OBJECT:
        return "a mapping of field names to values";
    case F_MAP:
        return "a mapping of names to values";
    case F_LIST:
        return "a list";
    case F_QUANTITY:
        return "a number or text";
    case F_ANY:
        return "any value";
    }
    CHECK_UNREACHABLE();
}

bool field_is_word(const struct field *f, const json_t *v)
{
    const char *s = json_string_value(v);

    for (size_t i = 0; f->values != NULL && f->values[i] != NULL && s != NULL; i++) {
        if (str_eq(s, f->values[i])) {
            return true;
        }
    }
    return false;
}

/* "A, B or C" */
void words_text(const char *const *words, char *dst, size_t size)
{
    size_t len = 0;

    dst[0] = 0;
    for (size_t i = 0; words[i] != NULL && len < size; i++) {
        const char *sep = i == 0 ? "" : (words[i + 1] == NULL ? " or " : ", ");

        len += (size_t)snprintf(dst + len, size - len, "%s%s", sep, words[i]);
    }
}

/* For a value of the wrong type where words may stand instead of one. */
static void bad_word(struct walk *w, const struct field *f, const char *text, const char *s)
{
    const char *near = s != NULL ? word_suggest_in(s, f->values) : NULL;
    char words[200];

    words_text(f->values, words, sizeof(words));
    walk_problem(w, "FieldValueInvalid", f, "is %s, but %s, or %s, is wanted%s%s%s", text,
                 field_type_text(f), words, near != NULL ? "; did you mean " : "",
                 near != NULL ? near : "", near != NULL ? "?" : "");
}

void walk_bad_type(struct walk *w, const struct field *f, const json_t *v)
{
    bool secret = (f->flags & FF_SECRET) != 0;
    char text[80];

    value_text(f, v, text, sizeof(text));
    if (f->values != NULL && f->type != F_ENUM) {
        bad_word(w, f, text, json_string_value(v));
    } else if (f->type == F_LIST) {
        walk_problem(w, "FieldValueInvalid", f,
                     "is %s, but a list is wanted: [..] or lines with \"- \"", text);
    } else if (f->type == F_STRING && json_is_number(v) && !secret) {
        walk_problem(w, "FieldValueInvalid", f,
                     "%s is a number, but text is wanted; put it in quotes: \"%s\"", text, text);
    } else if (f->type == F_STRING && (json_is_number(v) || json_is_boolean(v))) {
        walk_problem(w, "FieldValueInvalid", f, "%s is a %s, but text is wanted; put it in quotes",
                     text, json_is_number(v) ? "number" : "truth value");
    } else if (f->type == F_DURATION && json_is_integer(v)) {
        walk_problem(w, "FieldValueInvalid", f, "%s has no unit; write %ss or %sms", text, text,
                     text);
    } else {
        walk_problem(w, "FieldValueInvalid", f, "is %s, but %s is wanted", text,
                     field_type_text(f));
    }
}

static void scalar_string(struct walk *w, const struct field *f, const json_t *v)
{
    const char *s = json_string_value(v);
    size_t len = json_string_length(v);
    bool limits = f->min != 0 || f->max != 0;
    const char *wanted;
    char text[80];

    if (s == NULL) {
        walk_bad_type(w, f, v);
        return;
    }
    value_text(f, v, text, sizeof(text));
    if (strlen(s) != len) {
        walk_problem(w, "FieldValueInvalid", f, "contains a NUL character");
    } else if (((f->flags & FF_NONEMPTY) != 0 || f->min > 0) && len == 0) {
        walk_problem(w, "FieldValueRequired", f, "is empty");
    } else if (limits && (int64_t)len < f->min) {
        walk_problem(w, "FieldValueInvalid", f,
                     "%s has %zu characters; at least %" PRId64 " are wanted", text, len, f->min);
    } else if (limits && f->max >= f->min && (int64_t)len > f->max) {
        walk_problem(w, "FieldValueInvalid", f, "has %zu bytes; at most %" PRId64 " are taken", len,
                     f->max);
    } else if (f->check != NULL) {
        wanted = f->check(s);
        if (wanted != NULL) {
            walk_problem(w, "FieldValueInvalid", f, "%s is not good; wanted: %s", text, wanted);
        }
    }
}

static void limit_text(const struct field *f, int64_t v, char *dst, size_t size)
{
    if (f->type == F_SIZE) {
        str_format_size((uint64_t)v, dst, size);
    } else if (f->type == F_DURATION) {
        str_format_duration((uint64_t)v, dst, size);
    } else {
        (void)snprintf(dst, size, "%" PRId64, v);
    }
}

static void check_range(struct walk *w, const struct field *f, const json_t *v, int64_t n)
{
    char text[80], min[32], max[32];

    if (f->min == 0 && f->max == 0) {
        return;
    }
    value_text(f, v, text, sizeof(text));
    limit_text(f, f->min, min, sizeof(min));
    limit_text(f, f->max >= f->min ? f->max : 0, max, sizeof(max));
    if (n < f->min && f->max >= f->min && f->max < INT64_MAX) {
        walk_problem(w, "FieldValueInvalid", f, "%s is too small; %s to %s is allowed", text, min,
                     max);
    } else if (n < f->min) {
        walk_problem(w, "FieldValueInvalid", f, "%s is too small; at least %s is wanted", text,
                     min);
    } else if (f->max >= f->min && n > f->max) {
        walk_problem(w, "FieldValueInvalid", f, "%s is too large; %s to %s is allowed", text, min,
                     max);
    }
}

static void scalar_number(struct walk *w, const struct field *f, const json_t *v)
{
    uint64_t n = 0;

    if (f->type == F_INT && json_is_integer(v)) {
        check_range(w, f, v, json_integer_value(v));
    } else if ((f->type == F_SIZE && json_as_size(v, &n)) ||
               (f->type == F_DURATION && json_as_duration(v, &n))) {
        check_range(w, f, v, n > INT64_MAX ? INT64_MAX : (int64_t)n);
    } else {
        walk_bad_type(w, f, v);
    }
}

static void scalar_enum(struct walk *w, const struct field *f, const json_t *v)
{
    const char *s = json_string_value(v);
    char text[80], words[200];
    const char *near;

    if (field_is_word(f, v)) {
        return;
    }
    value_text(f, v, text, sizeof(text));
    words_text(f->values, words, sizeof(words));
    near = s != NULL ? word_suggest_in(s, f->values) : NULL;
    walk_problem(w, "FieldValueNotSupported", f, "is %s, but has to be %s%s%s%s", text, words,
                 near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                 near != NULL ? "?" : "");
}

static void scalar_name(struct walk *w, const struct field *f, const json_t *v)
{
    const char *s = json_string_value(v);
    char text[80];

    if (s == NULL) {
        walk_bad_type(w, f, v);
    } else if (!str_is_name(s)) {
        value_text(f, v, text, sizeof(text));
        walk_problem(
            w, "FieldValueInvalid", f,
            "%s is not a name; names have lower-case letters, digits, '-' and '.', and begin and "
            "end with a letter or digit",
            text);
    }
}

static bool is_ip(const char *s)
{
    struct in6_addr any;

    return inet_pton(AF_INET, s, &any) == 1 || inet_pton(AF_INET6, s, &any) == 1;
}

static bool is_port(const char *s)
{
    uint64_t n;

    return str_parse_u64(s, &n) && n >= 1 && n <= 65535;
}

/* "1.2.3.4", "fe80::1", and with port "1.2.3.4:80", "[fe80::1]:80". */
static bool is_address(const char *s, bool port_ok)
{
    char host[64];
    const char *end = s[0] == '[' ? strchr(s, ']') : strrchr(s, ':');
    const char *begin = s[0] == '[' ? s + 1 : s;

    if (is_ip(s)) {
        return true;
    }
    if (!port_ok || end == NULL || (size_t)(end - begin) >= sizeof(host)) {
        return false;
    }
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = 0;
    if (s[0] == '[') {
        return is_ip(host) && strchr(host, ':') != NULL && end[1] == ':' && is_port(end + 2);
    }
    return is_ip(host) && strchr(host, ':') == NULL && is_port(end + 1);
}

static bool is_cidr(const char *s)
{
    const char *slash = strchr(s, '/');
    char host[64];
    uint64_t bits;

    if (slash == NULL || (size_t)(slash - s) >= sizeof(host)) {
        return false;
    }
    memcpy(host, s, (size_t)(slash - s));
    host[slash - s] = 0;
    return is_ip(host) && str_parse_u64(slash + 1, &bits) &&
           bits <= (strchr(host, ':') != NULL ? 128U : 32U);
}

static void scalar_address(struct walk *w, const struct field *f, const json_t *v)
{
    const char *s = json_string_value(v);
    bool port_ok = (f->flags & FF_PORT_OK) != 0;
    char text[80];

    if (s == NULL) {
        walk_bad_type(w, f, v);
        return;
    }
    value_text(f, v, text, sizeof(text));
    if (f->type == F_CIDR && !is_cidr(s)) {
        walk_problem(w, "FieldValueInvalid", f, "%s is not %s", text, field_type_text(f));
    } else if (f->type == F_ADDRESS && !is_address(s, port_ok)) {
        walk_problem(w, "FieldValueInvalid", f, "%s is not an IP address%s%s", text,
                     port_ok ? " (a port may follow: 10.0.0.1:3260, [fd00::1]:3260)" : "",
                     !port_ok && is_address(s, true) ? "; there is no port here" : "");
    }
}

static void scalar_mac(struct walk *w, const struct field *f, const json_t *v)
{
    const char *s = json_string_value(v);
    bool ok = s != NULL && strlen(s) == 17;
    char text[80];

    if (s == NULL) {
        walk_bad_type(w, f, v);
        return;
    }
    for (size_t i = 0; i < 17 && ok; i++) {
        ok = i % 3 == 2 ? s[i] == ':' : isxdigit((unsigned char)s[i]) != 0;
    }
    value_text(f, v, text, sizeof(text));
    if (!ok) {
        walk_problem(w, "FieldValueInvalid", f, "%s is not %s", text, field_type_text(f));
    } else if (strchr("13579bdfBDF", s[1]) != NULL) {
        walk_problem(w, "FieldValueInvalid", f,
                     "%s is a group address (its first byte is odd); Xen's own begin with 00:16:3e",
                     text);
    } else if (str_eq(s, "00:00:00:00:00:00")) {
        walk_problem(w, "FieldValueInvalid", f, "%s is no card's address", text);
    }
}

static void scalar_quantity(struct walk *w, const struct field *f, const json_t *v)
{
    const char *s = json_string_value(v);

    if (json_is_integer(v)) {
        return;
    }
    if (s == NULL) {
        walk_bad_type(w, f, v);
    } else if (strpbrk(s, "\n\r") != NULL || strlen(s) != json_string_length(v)) {
        walk_problem(w, "FieldValueInvalid", f, "has to be one line");
    }
}

void walk_scalar(struct walk *w, const struct field *f, const json_t *v)
{
    switch (f->type) {
    case F_STRING:
        scalar_string(w, f, v);
        return;
    case F_BOOL:
        if (!json_is_boolean(v)) {
            walk_bad_type(w, f, v);
        }
        return;
    case F_INT:
    case F_SIZE:
    case F_DURATION:
        scalar_number(w, f, v);
        return;
    case F_ENUM:
        scalar_enum(w, f, v);
        return;
    case F_NAME:
        scalar_name(w, f, v);
        return;
    case F_ADDRESS:
    case F_CIDR:
        scalar_address(w, f, v);
        return;
    case F_MAC:
        scalar_mac(w, f, v);
        return;
    case F_QUANTITY:
        scalar_quantity(w, f, v);
        return;
    case F_ANY:
        return;
    case F_OBJECT:
    case F_MAP:
    case F_LIST:
        break;
    }
    CHECK_UNREACHABLE();
}
