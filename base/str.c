#include "base/str.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/obj.h"

bool str_eq(const char *a, const char *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s);
    size_t m = strlen(suffix);

    return n >= m && strcmp(s + n - m, suffix) == 0;
}

bool str_copy(char *dst, size_t size, const char *src)
{
    size_t n = strlen(src);

    CHECK(size > 0);
    if (n >= size) {
        memcpy(dst, src, size - 1);
        dst[size - 1] = 0;
        return false;
    }
    memcpy(dst, src, n + 1);
    return true;
}

/* Digits at *s; moves *s behind them. */
static bool str_digits(const char **s, uint64_t *ret)
{
    const char *p = *s;
    uint64_t v = 0;

    if (*p < '0' || *p > '9') {
        return false;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t d = (uint64_t)(*p - '0');

        if (v > (UINT64_MAX - d) / 10) {
            return false;
        }
        v = v * 10 + d;
    }
    *s = p;
    *ret = v;
    return true;
}

bool str_parse_u64(const char *s, uint64_t *ret)
{
    uint64_t v;

    if (!str_digits(&s, &v) || *s != 0) {
        return false;
    }
    *ret = v;
    return true;
}

bool str_parse_i64(const char *s, int64_t *ret)
{
    bool neg = *s == '-';
    uint64_t v;

    if (!str_parse_u64(neg ? s + 1 : s, &v) || v > (uint64_t)INT64_MAX) {
        return false;
    }
    *ret = neg ? -(int64_t)v : (int64_t)v;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* The factor of the longest unit that `s` begins with; moves *s behind it. */
static bool str_unit(const char **s, const struct unit *units, size_t n, uint64_t *ret_factor)
{
    size_t best_len = 0;

    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(units[i].name);

        if (len > best_len && strncmp(*s, units[i].name, len) == 0) {
            best_len = len;
            *ret_factor = units[i].factor;
        }
    }
    *s += best_len;
    return best_len > 0;
}

static bool str_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

bool str_parse_size(const char *s, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        { "Ki", 1ULL << 10 },         { "Mi", 1ULL << 20 },   { "Gi", 1ULL << 30 },
        { "Ti", 1ULL << 40 },         { "Pi", 1ULL << 50 },   { "k", 1000ULL },
        { "M", 1000000ULL },          { "G", 1000000000ULL }, { "T", 1000000000000ULL },
        { "P", 1000000000000000ULL },
    };
    uint64_t v;
    uint64_t factor = 1;

    if (!str_digits(&s, &v)) {
        return false;
    }
    if (*s != 0 && (!str_unit(&s, units, ARRAY_LEN(units), &factor) || *s != 0)) {
        return false;
    }
    return str_mul(v, factor, ret_bytes);
}

void str_format_size(uint64_t bytes, char *dst, size_t size)
{
    static const char *const names[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi" };
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(names) && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        i++;
    }
    (void)snprintf(dst, size, "%" PRIu64 "%s", bytes, names[i]);
}

bool str_parse_duration(const char *s, uint64_t *ret_ms)
{
    static const struct unit units[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
    };
    uint64_t total = 0;

    do {
        uint64_t v, factor, part;

        if (!str_digits(&s, &v) || !str_unit(&s, units, ARRAY_LEN(units), &factor) ||
            !str_mul(v, factor, &part) || __builtin_add_overflow(total, part, &total)) {
            return false;
        }
    } while (*s != 0);
    *ret_ms = total;
    return true;
}

void str_format_duration(uint64_t ms, char *dst, size_t size)
{
    static const struct unit units[] = {
        { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
    };
    size_t n = 0;

    CHECK(size >= 24);
    if (ms == 0) {
        (void)snprintf(dst, size, "0s");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(units) && n < size; i++) {
        uint64_t k = ms / units[i].factor;

        if (k > 0) {
            n += (size_t)snprintf(dst + n, size - n, "%" PRIu64 "%s", k, units[i].name);
            ms %= units[i].factor;
        }
    }
}

void str_format_age(uint64_t ms, char *dst, size_t size)
{
    uint64_t s = ms / 1000;

    if (s < 120) {
        (void)snprintf(dst, size, "%" PRIu64 "s", s);
    } else if (s < 600) {
        (void)snprintf(dst, size, "%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
    } else if (s < 10800) {
        (void)snprintf(dst, size, "%" PRIu64 "m", s / 60);
    } else if (s < 172800) {
        (void)snprintf(dst, size, "%" PRIu64 "h", s / 3600);
    } else {
        (void)snprintf(dst, size, "%" PRIu64 "d", s / 86400);
    }
}

static bool str_is_alnum_lower(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool str_is_name(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > 253 || !str_is_alnum_lower(s[0]) || !str_is_alnum_lower(s[n - 1])) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!str_is_alnum_lower(s[i]) && s[i] != '-' && s[i] != '.') {
            return false;
        }
        if (s[i] == '.' && (s[i - 1] == '.' || s[i - 1] == '-' || s[i + 1] == '-')) {
            return false;
        }
    }
    return true;
}

void str_format_time(uint64_t unix_ms, char *dst, size_t size)
{
    time_t t = (time_t)(unix_ms / 1000);
    struct tm tm;

    CHECK(size >= 32);
    CHECK(gmtime_r(&t, &tm) != NULL);
    (void)strftime(dst, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

bool str_parse_time(const char *s, uint64_t *ret_unix_ms)
{
    struct tm tm = { 0 };
    const char *end = strptime(s, "%Y-%m-%dT%H:%M:%SZ", &tm);
    time_t t;

    if (end == NULL || *end != 0) {
        return false;
    }
    t = timegm(&tm);
    if (t < 0) {
        return false;
    }
    *ret_unix_ms = (uint64_t)t * 1000;
    return true;
}

void str_hex(const void *data, size_t len, char *dst)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        dst[2 * i] = digits[p[i] >> 4];
        dst[2 * i + 1] = digits[p[i] & 15U];
    }
    dst[2 * len] = 0;
}

static const char b64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void str_b64_encode(const void *data, size_t len, char *dst)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        size_t n = len - i < 3 ? len - i : 3;

        v |= n > 1 ? (uint32_t)p[i + 1] << 8 : 0U;
        v |= n > 2 ? (uint32_t)p[i + 2] : 0U;
        *dst++ = b64_digits[v >> 18];
        *dst++ = b64_digits[(v >> 12) & 63U];
        *dst++ = n > 1 ? b64_digits[(v >> 6) & 63U] : '=';
        *dst++ = n > 2 ? b64_digits[v & 63U] : '=';
    }
    *dst = 0;
}

static int b64_value(char c)
{
    const char *p = c == 0 ? NULL : strchr(b64_digits, c);

    return p == NULL ? -1 : (int)(p - b64_digits);
}

bool str_b64_decode(const char *s, size_t slen, uint8_t *dst, size_t cap, size_t *ret_len)
{
    size_t out = 0;
    size_t pad = 0;

    if (slen % 4 != 0) {
        return false;
    }
    if (slen > 0) {
        pad = s[slen - 1] != '=' ? 0U : (s[slen - 2] == '=' ? 2U : 1U);
    }
    if (slen / 4 * 3 - pad > cap) {
        return false;
    }
    for (size_t i = 0; i < slen; i += 4) {
        size_t n = i + 4 == slen ? 4 - pad : 4;
        uint32_t v = 0;

        for (size_t k = 0; k < 4; k++) {
            int d = k < n ? b64_value(s[i + k]) : 0;

            if (d < 0) {
                return false;
            }
            v = (v << 6) | (uint32_t)d;
        }
        for (size_t k = 0; k + 1 < n; k++) {
            dst[out++] = (uint8_t)(v >> (16 - 8 * k));
        }
    }
    *ret_len = out;
    return true;
}
