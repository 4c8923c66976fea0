#ifndef NET_NW_JOURNAL_CODEC_H
#define NET_NW_JOURNAL_CODEC_H

/* The record and the journal as JSON, for the two files that nw_host keeps. Pure; any thread.
 * Decoding refuses what encoding would not have written (ERR_CORRUPT, naming the place). */

#include <jansson.h>

#include "net/nw.h"

json_t *nw_record_encode(const struct nw_record *r); /* the caller's reference */
int nw_record_decode(const json_t *v, struct arena *a, struct nw_record *ret,
                     struct err *err) ERR_USED;

json_t *nw_ops_encode(const struct nw_op *ops, size_t n);
int nw_ops_decode(const json_t *v, struct arena *a, struct nw_op **ret, size_t *ret_n,
                  struct err *err) ERR_USED;

#endif
