/* HTTP messages: arbitrary bytes as requests and as responses, in pieces of arbitrary size.
 *
 * The first byte chooses the kind and the size of the pieces.  Checked besides the absence of
 * crashes: limits hold, targets are UTF-8 and begin with '/', and what was parsed does not depend
 * on how the bytes were cut.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_codec.h"
#include "base/obj.h"

#define FUZZ_BODY 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    size_t messages;
    uint32_t crc; /* over everything that was delivered */
};

static void see_text(struct seen *s, const char *text)
{
    if (text != NULL) {
        s->crc = crc32c(s->crc, text, strlen(text) + 1);
    }
}

static void see_request(struct seen *s, const struct http_msg *m)
{
    const char *key;
    void *value;

    CHECK(m->path[0] == '/');
    CHECK(http_is_utf8(m->path, strlen(m->path)));
    CHECK(strlen(m->target) <= HTTP_MAX_TARGET);
    for (size_t i = 0; map_next(&m->params, &i, &key, &value);) {
        CHECK(http_is_utf8(key, strlen(key)));
        CHECK(http_is_utf8(value, strlen(value)));
    }
    see_text(s, m->method);
    see_text(s, m->path);
    see_text(s, m->query);
}

static void on_message(void *ctx, struct http_msg *m)
{
    struct seen *s = ctx;

    s->messages++;
    CHECK(m->headers.count <= HTTP_MAX_HEADERS);
    CHECK(m->body.len <= FUZZ_BODY);
    if (m->method != NULL) {
        see_request(s, m);
    } else {
        CHECK(m->status >= 200);
        s->crc = crc32c(s->crc, &m->status, sizeof(m->status));
    }
    for (size_t i = 0; i < m->headers.count; i++) {
        see_text(s, m->headers.items[i].name);
        see_text(s, m->headers.items[i].value);
    }
    s->crc = crc32c(s->crc, m->body.data, m->body.len);
    http_msg_free(m);
}

static int parse(enum http_parser_kind kind, const uint8_t *data, size_t size, size_t step,
                 struct seen *s)
{
    static const struct http_parser_cbs cbs = { .on_message = on_message };
    struct http_parser *p = http_parser_new(kind, FUZZ_BODY, &cbs, s);
    struct err err;
    size_t used;
    int rc = 0;

    for (size_t pos = 0; pos < size && rc == 0; pos += used) {
        size_t n = size - pos < step ? size - pos : step;

        used = 0;
        rc = http_parser_feed(p, data + pos, n, &used, &err);
        if (rc == 0) {
            CHECK(used > 0);
            CHECK(used <= n);
        }
    }
    if (rc == 0) {
        rc = http_parser_finish(p, &err);
    }
    if (rc != 0) {
        struct buf b = { 0 };

        CHECK(err.code == rc);
        http_status_json(&b, &err);
        CHECK(http_is_utf8((const char *)b.data, b.len));
        buf_done(&b);
    }
    http_parser_free(p);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = { 0 }, cut = { 0 };
    enum http_parser_kind kind;
    size_t step;

    if (size < 1) {
        return 0;
    }
    kind = (data[0] & 1) != 0 ? HTTP_RESPONSES : HTTP_REQUESTS;
    step = (size_t)(data[0] >> 1) + 1;
    (void)parse(kind, data + 1, size - 1, 65536, &whole);
    (void)parse(kind, data + 1, size - 1, step, &cut);
    CHECK(whole.messages == cut.messages);
    CHECK(whole.crc == cut.crc);
    return 0;
}
