#ifndef API_JSON_PATH_H
#define API_JSON_PATH_H

/* Field paths: "spec.disks[0].size", "spec.disks.0.size", "spec.perHost[node1.example.org].mtu".
 * A leading dot is skipped.  Pure.
 */

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

#define PATH_STEP_MAX 256

/* Copy the next step of *path and move behind it; false at the end (or when it is not a path). */
bool path_next(const char **path, char dst[PATH_STEP_MAX]);
/* The member (of an object) or element (of a list) that a step names, or NULL. */
json_t *path_member(const json_t *v, const char *step);
/* Append a member name or an index to the path in dst[size], of length len; returns the new length.
 * What does not fit is cut. */
size_t path_add_key(char *dst, size_t size, size_t len, const char *key);
size_t path_add_index(char *dst, size_t size, size_t len, size_t i);

/* jansson's iterators want a pointer that is not const though they change nothing. */
json_t *json_loose(const json_t *v);

/* json_loadb, several times as fast on what Picket itself writes.  Flags: those that reject or
 * allow something, not the other ones. */
json_t *json_load_quick(const char *text, size_t len, size_t flags, json_error_t *ret_err);

/* Overwrite every string in it with zeroes, in place: it held secrets.  The second also gives back
 * the reference.  NULL is fine. */
void json_blank(json_t *v);
void json_wipe(json_t *v);

/* Text that may come from anywhere or was cut: bytes that are not UTF-8 become '?'.  Never NULL. */
json_t *json_string_lossy(const char *s);

#endif
