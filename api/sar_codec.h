#ifndef API_SAR_CODEC_H
#define API_SAR_CODEC_H

/* A SelfSubjectAccessReview as clients send it: JSON, and from kubectl 1.32 on protobuf in
 * Kubernetes' envelope.  Answers are JSON, which they all take.  Pure.
 *
 * Sources: apimachinery runtime/serializer/protobuf (magic "k8s\0", runtime.Unknown: typeMeta 1,
 * raw 2), api/authorization/v1 generated.proto (spec 2: resourceAttributes 1 with namespace 1, verb
 * 2, group 3, version 4, resource 5, subresource 6, name 7; nonResourceAttributes 2 with path 1,
 * verb 2).
 */

#include <jansson.h>

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SAR_TEXT_MAX 256

struct sar {
    char verb[SAR_TEXT_MAX], group[SAR_TEXT_MAX], version[SAR_TEXT_MAX];
    char resource[SAR_TEXT_MAX], subresource[SAR_TEXT_MAX], name[SAR_TEXT_MAX];
    char ns[SAR_TEXT_MAX];   /* "": none; nothing here has one */
    char path[SAR_TEXT_MAX]; /* not a resource; "": it is one */
};

/* ERR_BAD_REQUEST says what is wrong. */
int sar_decode(const uint8_t *body, size_t len, struct sar *ret, struct err *err) ERR_USED;
/* The spec of the answer, new. */
json_t *sar_spec_json(const struct sar *s);

#endif
