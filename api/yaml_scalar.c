/* Plain scalars by the core schema of YAML 1.2. */

#include "api/manifest_tree.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_digits(const char *s, size_t n)
{
    return n > 0 && strspn(s, "0123456789") >= n;
}

/* [-+]?(0|[1-9][0-9]*): "012" is text, since half of the world reads it as ten. */
static bool looks_int(const char *s, size_t len)
{
    size_t sign = len > 0 && (s[0] == '-' || s[0] == '+') ? 1 : 0;

    return is_digits(s + sign, len - sign) && (s[sign] != '0' || len == sign + 1);
}

/* [-+]? digits [. digits] [e [-+] digits], with a dot or an exponent, digits on both sides of the
 * dot. */
static bool looks_real(const char *s, size_t len)
{
    const char *p = s + (len > 0 && (s[0] == '-' || s[0] == '+') ? 1 : 0);
    size_t n = strspn(p, "0123456789");
    bool real = false;

    if (n == 0 || (n > 1 && p[0] == '0')) {
        return false;
    }
    p += n;
    if (*p == '.') {
        n = strspn(++p, "0123456789");
        if (n == 0) {
            return false;
        }
        p += n;
        real = true;
    }
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        n = strspn(p, "0123456789");
        if (n == 0) {
            return false;
        }
        p += n;
        real = true;
    }
    return real && p == s + len;
}

json_t *yaml_plain(const char *s, size_t len)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
    static const char *const trues[] = { "true", "True", "TRUE", NULL };
    static const char *const falses[] = { "false", "False", "FALSE", NULL };

    for (size_t i = 0; nulls[i] != NULL; i++) {
        if (str_eq(s, nulls[i])) {
            return json_null();
        }
    }
    for (size_t i = 0; trues[i] != NULL; i++) {
        if (str_eq(s, trues[i]) || str_eq(s, falses[i])) {
            return json_boolean(str_eq(s, trues[i]));
        }
    }
    if (looks_int(s, len)) {
        long long v;

        errno = 0;
        v = strtoll(s, NULL, 10);
        return errno == 0 ? json_integer(v) : NULL;
    }
    if (looks_real(s, len)) {
        return json_real(strtod(s, NULL)); /* NULL when it is infinite */
    }
    return json_stringn(s, len);
}

bool yaml_is_number(const char *s, size_t len)
{
    return looks_int(s, len) || looks_real(s, len);
}
