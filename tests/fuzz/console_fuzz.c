/* Fuzzing the frames of consoles, cut as console_conn.c does. */

#include <string.h>

#include "api/console_codec.h"
#include "base/obj.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_open(const uint8_t *p, size_t n)
{
    struct console_open o, back;
    enum console_frame type = CONSOLE_PING;
    const uint8_t *q = NULL;
    struct buf b = { 0 };
    size_t len = 0, used;
    struct err err;

    if (console_get_open(p, n, &o, &err) != 0) {
        CHECK(err.code == ERR_BAD_REQUEST);
        return;
    }
    console_put_open(&b, &o);
    CHECK(console_get(b.data, b.len, &type, &q, &len, &used, &err) == 0 && used == b.len);
    CHECK(type == CONSOLE_OPEN && console_get_open(q, len, &back, &err) == 0);
    CHECK(strcmp(o.vm, back.vm) == 0 && strcmp(o.uid, back.uid) == 0);
    CHECK(strcmp(o.by, back.by) == 0 && strcmp(o.via, back.via) == 0 && o.take == back.take);
    buf_done(&b);
}

static void one_end(const uint8_t *p, size_t n)
{
    struct buf b = { 0 };
    struct err err;

    console_get_end(p, n, &err);
    CHECK(err.code < 0 && err.msg[0] != '\0');
    for (const char *c = err.msg; *c != '\0'; c++) {
        CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
    }
    console_put_end(&b, &err);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum console_frame type = CONSOLE_PING;
    const uint8_t *p = NULL;
    size_t len = 0, used = 0;
    struct err err;

    while (console_get(data, size, &type, &p, &len, &used, &err) == 0 && used > 0) {
        CHECK(len <= CONSOLE_PAYLOAD_MAX && used <= size);
        if (type == CONSOLE_OPEN) {
            one_open(p, len);
        } else if (type == CONSOLE_END) {
            one_end(p, len);
        }
        data += used;
        size -= used;
    }
    return 0;
}
