#ifndef BASE_STR_H
#define BASE_STR_H

/* Bounded string helpers and parsers for quantities with units.  Pure; any thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool str_eq(const char *a, const char *b); /* NULL equals only NULL */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* Copy into dst[size] with a NUL; false when it was cut. */
bool str_copy(char *dst, size_t size, const char *src);

/* Decimal digits only, no sign, no space; false on anything else or overflow. */
bool str_parse_u64(const char *s, uint64_t *ret);
bool str_parse_i64(const char *s, int64_t *ret);

/* Bytes: a whole number with an optional Ki Mi Gi Ti Pi (powers of 1024) or k M G T P (of 1000),
 * as Kubernetes quantities (apimachinery, resource.Quantity) without fractions. */
bool str_parse_size(const char *s, uint64_t *ret_bytes);
/* The shortest exact form with a binary unit, e.g. "4Gi"; dst holds at least 24 bytes. */
void str_format_size(uint64_t bytes, char *dst, size_t size);

/* Milliseconds: a whole number with ms, s, m, h or d; also sequences such as "1m30s". */
bool str_parse_duration(const char *s, uint64_t *ret_ms);
void str_format_duration(uint64_t ms, char *dst, size_t size); /* "500ms", "1m30s" */
/* For people, at most two units, as kubectl prints ages: "5s", "3m12s", "4h", "12d". */
void str_format_age(uint64_t ms, char *dst, size_t size);

/* RFC 1123 label rules as Kubernetes applies them to object names (subdomain form, 253 bytes). */
bool str_is_name(const char *s);

/* RFC 3339 in UTC with seconds ("2026-01-02T03:04:05Z"); dst holds at least 32 bytes. */
void str_format_time(uint64_t unix_ms, char *dst, size_t size);
bool str_parse_time(const char *s, uint64_t *ret_unix_ms);

/* Lower-case hex; dst holds 2 * len + 1. */
void str_hex(const void *data, size_t len, char *dst);

/* Base64 with padding (RFC 4648 section 4).  Encoding: dst holds 4 * ((len + 2) / 3) + 1. */
void str_b64_encode(const void *data, size_t len, char *dst);
/* Strict decoding into dst[cap]; false on a bad character, bad padding or too little room. */
bool str_b64_decode(const char *s, size_t slen, uint8_t *dst, size_t cap, size_t *ret_len);

#endif
