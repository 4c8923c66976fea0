#ifndef API_KIND_TABLE_H
#define API_KIND_TABLE_H

/* What the field tables (kinds_*.c) share: macros to write them, common fields, format checks.
 * Only for kinds_*.c and kind.c.  Pure.
 */

#include "api/kind.h"
#include "api/valid.h"

/* clang-format off */
#define FIELD_END { .name = NULL }
#define COLUMN_END { .title = NULL }
#define ELEM(...) (const struct field[]){ { .name = "*", __VA_ARGS__ }, FIELD_END }
#define LIST_OF(...) .type = F_LIST, .fields = ELEM(__VA_ARGS__)
#define MAP_OF(...) .type = F_MAP, .fields = ELEM(__VA_ARGS__)
#define ENUM_OF(...) .type = F_ENUM, .values = WORDS(__VA_ARGS__)
#define WORDS(...) (const char *const[]){ __VA_ARGS__, NULL }
#define NAME_OF(kind) .type = F_NAME, .ref = (kind)
#define OBJECT_OF(f) .type = F_OBJECT, .fields = (f)
#define COLUMN_NAME { .title = "Name", .path = ".metadata.name" }
#define COLUMN_AGE { .title = "Age", .path = "@age" }
#define COLUMN_READY { .title = "Ready", .path = "@ready" }

#define KIB (1LL << 10)
#define MIB (1LL << 20)
#define GIB (1LL << 30)
#define TIB (1LL << 40)
#define SEC 1000LL
#define MINUTE (60LL * SEC)
#define HOUR (60LL * MINUTE)
#define DAY (24LL * HOUR)

/* Fields of every status. */
#define STATUS_FIELDS \
    { .name = "observedGeneration", .type = F_INT, \
      .text = "The metadata.generation that the rest of the status is about." }, \
    { .name = "conditions", .type = F_LIST, .fields = common_condition_elem, \
      .text = "What is the matter, one entry per type; the reason is for programs, the message for people." }

/* "paused" of everything that is acted upon. */
#define PAUSED_FIELD(what) \
    { .name = "paused", .type = F_BOOL, .deflt = "false", \
      .text = "Leave " what " exactly as it is: nothing is started, stopped or changed while this is true." }

/* On which hosts something is: all, unless one of these is given. */
#define ON_HOSTS_FIELDS \
    { .name = "hosts", LIST_OF(NAME_OF("Host"), .text = "A host."), .min = 1, .max = 256, \
      .text = "Only on these hosts. Without hosts and hostSelector: on every host." }, \
    { .name = "hostSelector", MAP_OF(.type = F_STRING, .check = check_label_value, .text = "The label's value."), \
      .check = check_label_key, .min = 1, .max = 32, \
      .text = "Only on hosts that have all these labels." }
/* clang-format on */

extern const struct field common_condition_elem[];
extern const struct field common_secret_ref[]; /* {secret, key} */
extern const struct field common_status[];     /* only STATUS_FIELDS */

/* For struct field.check: NULL, or what is allowed. */
const char *check_label_key(const char *s);
const char *check_label_value(const char *s);
const char *check_iqn(const char *s);
const char *check_wwid(const char *s);
const char *check_ifname(const char *s);
const char *check_file_path(const char *s); /* absolute, no "..", not below /dev */
const char *check_dir_path(const char *s);
const char *check_dev_path(const char *s); /* below /dev */
const char *check_boot_order(const char *s);
const char *check_bootloader(const char *s);
const char *check_disk_target(const char *s);
const char *check_rate(const char *s);
const char *check_cpu_list(const char *s);
const char *check_uuid(const char *s);
const char *check_fence_agent(const char *s);
const char *check_word(const char *s);        /* letters, digits, . _ - */
const char *check_oneline(const char *s);     /* no control characters */
const char *check_fingerprint(const char *s); /* SHA-256 */
const char *check_multipath_selector(const char *s);
const char *check_hw_handler(const char *s);

/* For struct kind.check. */
/* Complain when an element of a list of scalars, or its member `key`, comes twice. */
void check_list_unique(const json_t *obj, const char *path, const char *key, struct problems *ps);
/* metadata.name has to be usable as the name of a network interface. */
void check_name_ifname(const json_t *obj, struct problems *ps);
/* How many of the members are present? */
size_t count_present(const json_t *obj, const char *const *names);

#endif
