/* The texts of HTTP: targets, escapes, status lines, the Status object.  Pure. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http_codec.h"
#include "base/obj.h"
#include "base/str.h"

#define HTTP_MAX_PARAMS 100

const char *http_header_get(const struct http_headers *h, const char *name)
{
    for (size_t i = 0; i < h->count; i++) {
        if (strcasecmp(h->items[i].name, name) == 0) {
            return h->items[i].value;
        }
    }
    return NULL;
}

/* --- targets --- */

/* Length of the UTF-8 sequence at p (RFC 3629 section 4), 0 when it is none. */
static size_t http_utf8_len(const uint8_t *p, size_t left)
{
    uint8_t lo = 0x80, hi = 0xbf;
    size_t n;

    if (p[0] < 0x80) {
        return p[0] == 0 ? 0 : 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4) {
        return 0;
    }
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    lo = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : lo;
    hi = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : hi;
    if (left < n || p[1] < lo || p[1] > hi) {
        return 0;
    }
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

bool http_is_utf8(const char *s, size_t len)
{
    const uint8_t *p = (const uint8_t *)s;
    size_t i = 0;

    while (i < len) {
        size_t n = http_utf8_len(p + i, len - i);

        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

static int http_hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decode %XX (and '+' in queries); the result is UTF-8 without NUL. */
static int http_unescape(struct arena *a, const char *s, size_t len, bool plus, const char **ret,
                         struct err *err)
{
    char *dst = arena_alloc(a, len + 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = s[i];

        if (c == '%') {
            int hi = len - i < 3 ? -1 : http_hex_digit(s[i + 1]);
            int lo = hi < 0 ? -1 : http_hex_digit(s[i + 2]);

            if (lo < 0) {
                return err_set(err, ERR_BAD_REQUEST, "request target: broken escape \"%.*s\"",
                               (int)(len - i < 3 ? len - i : 3), s + i);
            }
            c = (char)(hi * 16 + lo);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        dst[n++] = c;
    }
    dst[n] = '\0';
    if (!http_is_utf8(dst, n)) {
        return err_set(err, ERR_BAD_REQUEST, "request target: not UTF-8, or with an encoded NUL");
    }
    *ret = dst;
    return 0;
}

static int http_decode_param(struct http_msg *m, const char *s, size_t len, struct err *err)
{
    const char *eq = memchr(s, '=', len);
    size_t key_len = eq == NULL ? len : (size_t)(eq - s);
    const char *key, *value;
    void *mine;
    int rc;

    if (len == 0) {
        return 0;
    }
    rc = http_unescape(&m->arena, s, key_len, true, &key, err);
    if (rc == 0 && eq != NULL) {
        rc = http_unescape(&m->arena, eq + 1, len - key_len - 1, true, &value, err);
    } else {
        value = "";
    }
    if (rc != 0) {
        return rc;
    }
    if (m->params.count >= HTTP_MAX_PARAMS) {
        return err_set(err, ERR_BAD_REQUEST, "request target: more than %d query parameters",
                       HTTP_MAX_PARAMS);
    }
    if (map_get(&m->params, key) == NULL) {
        mine = arena_strdup(&m->arena, value);
        (void)map_put(&m->params, key, mine);
    }
    return 0;
}

/* The path of an absolute-form target (RFC 9112 section 3.2.2), or the target itself. */
static const char *http_target_path(struct arena *a, const char *target)
{
    const char *host = NULL;
    size_t n;

    if (strncasecmp(target, "http://", 7) == 0) {
        host = target + 7;
    } else if (strncasecmp(target, "https://", 8) == 0) {
        host = target + 8;
    }
    if (host == NULL) {
        return target;
    }
    n = strcspn(host, "/?");
    return host[n] == '/' ? host + n : arena_printf(a, "/%s", host + n);
}

int http_target_decode(struct http_msg *m, const char *target, struct err *err)
{
    const char *s = http_target_path(&m->arena, target);
    const char *mark = strchr(s, '?');
    size_t path_len = mark == NULL ? strlen(s) : (size_t)(mark - s);
    int rc;

    if (s[0] != '/') {
        return err_set(err, ERR_BAD_REQUEST, "request target: a path begins with '/'");
    }
    if (strchr(s, '#') != NULL) {
        return err_set(err, ERR_BAD_REQUEST,
                       "request target: a fragment ('#') does not belong in "
                       "a request");
    }
    rc = http_unescape(&m->arena, s, path_len, false, &m->path, err);
    m->query = mark == NULL ? "" : arena_strdup(&m->arena, mark + 1);
    for (const char *q = m->query; rc == 0 && q != NULL;) {
        const char *amp = strchr(q, '&');

        rc = http_decode_param(m, q, amp == NULL ? strlen(q) : (size_t)(amp - q), err);
        q = amp == NULL ? NULL : amp + 1;
    }
    return rc;
}

void http_escape(struct buf *b, const char *s)
{
    for (; *s != '\0'; s++) {
        uint8_t c = (uint8_t)*s;

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~') {
            buf_add_byte(b, c);
        } else {
            buf_printf(b, "%%%02X", c);
        }
    }
}

/* --- what is sent --- */

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        { 100, "Continue" },
        { 101, "Switching Protocols" },
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 206, "Partial Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 410, "Gone" },
        { 411, "Length Required" },
        { 412, "Precondition Failed" },
        { 413, "Content Too Large" },
        { 415, "Unsupported Media Type" },
        { 417, "Expectation Failed" },
        { 421, "Misdirected Request" },
        { 422, "Unprocessable Content" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 499, "Client Closed Request" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].status == status) {
            return rows[i].text;
        }
    }
    return "Unknown";
}

static void http_encode_headers(struct buf *b, const struct http_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *v = headers[i].value;
        size_t len = 0;

        while (v[len] != '\0' && ((uint8_t)v[len] >= 0x20 || v[len] == '\t') && v[len] != 0x7f) {
            len++;
        }
        buf_add_str(b, headers[i].name);
        buf_add_str(b, ": ");
        buf_add(b, v, len);
        buf_add_str(b, "\r\n");
    }
    buf_add_str(b, "\r\n");
}

void http_encode_response(struct buf *b, int status, const struct http_header *headers, size_t n)
{
    CHECK(status >= 100);
    CHECK(status <= 599);
    buf_printf(b, "HTTP/1.1 %d %s\r\n", status, http_status_text(status));
    http_encode_headers(b, headers, n);
}

void http_encode_request(struct buf *b, const char *method, const char *target,
                         const struct http_header *headers, size_t n)
{
    CHECK(target[0] == '/');
    buf_printf(b, "%s %s HTTP/1.1\r\n", method, target);
    http_encode_headers(b, headers, n);
}

/* A JSON string; what is not UTF-8 becomes U+FFFD, so that the result always parses. */
static void http_json_string(struct buf *b, const char *s)
{
    const uint8_t *p = (const uint8_t *)s;
    size_t len = strlen(s);

    buf_add_byte(b, '"');
    for (size_t i = 0; i < len;) {
        size_t n = http_utf8_len(p + i, len - i);

        if (n == 0) {
            buf_add_str(b, "\\ufffd");
            n = 1;
        } else if (n == 1 && p[i] < 0x20) {
            buf_printf(b, "\\u%04x", p[i]);
        } else {
            if (p[i] == '"' || p[i] == '\\') {
                buf_add_byte(b, '\\');
            }
            buf_add(b, p + i, n);
        }
        i += n;
    }
    buf_add_byte(b, '"');
}

void http_status_json(struct buf *b, const struct err *err)
{
    buf_add_str(b, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
                   "\"status\":\"Failure\",\"message\":");
    http_json_string(b, err->msg);
    buf_printf(b, ",\"reason\":\"%s\",\"code\":%d}\n", err_reason(err->code), err_http(err->code));
}
