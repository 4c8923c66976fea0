/* multipathd's maps from nowhere; and the same text as the spec of a policy: what is rendered has
 * balanced braces and never queues without an end. */

#include "base/obj.h"
#include "storage/mpath_codec.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void render(const char *text, size_t len)
{
    json_t *spec = json_loadb(text, len, 0, NULL);
    json_t *policy =
        spec != NULL ? json_pack("{s{ss}so}", "metadata", "name", "p", "spec", spec) : NULL;
    struct buf out = { 0 };
    struct err err = { 0 };

    if (policy != NULL &&
        mpath_conf_render((const json_t *const[]){ policy }, 1, &out, &err) == 0) {
        CHECK(strstr(buf_cstr(&out), "no_path_retry \"queue\"") == NULL);
        CHECK(out.len >= 2 && memcmp(out.data + out.len - 2, "}\n", 2) == 0);
    }
    buf_done(&out);
    json_decref(policy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = { 0 };
    struct mpath_maps m;
    struct err err = { 0 };

    if (size == 0) {
        return 0;
    }
    if (mpath_parse_maps((const char *)data, size, &a, &m, &err) != 0) {
        CHECK(err.code == ERR_CORRUPT && err.msg[0] != '\0');
    } else {
        for (size_t i = 0; i < m.n; i++) {
            CHECK(m.list[i].usable <= m.list[i].n_paths);
            CHECK(mpath_find(&m, m.list[i].wwid) != NULL);
        }
    }
    render((const char *)data, size);
    arena_done(&a);
    return 0;
}
