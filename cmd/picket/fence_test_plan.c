#include "cmd/picket/fence_test_plan.h"

#include <inttypes.h>
#include <string.h>

#include "api/valid.h"
#include "base/str.h"

/* --- one device --------------------------------------------------------------------------------
 */

/* The device was changed since: another outlet perhaps. */
static bool wiring_proved(const json_t *dev)
{
    return json_object_get(dev, "tested") != NULL &&
           jget_int(dev, "tested.generation", -1) == jget_int(dev, "generation", 0);
}

static void print_wiring(const json_t *dev, uint64_t now_wall_ms, struct buf *out)
{
    const char *time = jget_str(dev, "tested.time", "");
    char age[32] = "";
    uint64_t at;

    if (!str_eq(jget_str(dev, "proves", ""), "Power")) {
        return;
    }
    if (str_parse_time(time, &at)) {
        str_format_age(now_wall_ms > at ? now_wall_ms - at : 0, age, sizeof(age));
    }
    if (wiring_proved(dev)) {
        buf_printf(out, ", wiring proved %s ago", age);
    } else if (*time != 0) {
        buf_printf(out, ", wiring proved %s ago but changed since", age);
    } else {
        buf_add_str(out, ", wiring never proved");
    }
}

static bool reached(const json_t *executor)
{
    return str_eq(jget_str(executor, "result", ""), "Succeeded");
}

static void print_executor(const json_t *e, bool live, struct buf *out,
                           struct fence_test_verdict *ret)
{
    const char *power = jget_str(e, "power", "Unknown");

    if (!reached(e)) {
        buf_printf(out, "    FAIL  %-12s %s: %s\n", jget_str(e, "name", "?"),
                   jget_str(e, "result", "?"), jget_str(e, "message", ""));
        return;
    }
    buf_printf(out, "    ok    %-12s power %-8s %4" PRId64 " ms  %s\n", jget_str(e, "name", "?"),
               power, jget_int(e, "ms", 0), jget_str(e, "message", ""));
    if (live && str_eq(power, "Off")) {
        ret->suspicious = true;
    }
}

static void print_device(const json_t *dev, bool live, uint64_t now_wall_ms, struct buf *out,
                         struct fence_test_verdict *ret)
{
    const json_t *list = json_object_get(dev, "executors");

    buf_printf(out, "  %s (%s, proves %s", jget_str(dev, "name", "?"), jget_str(dev, "type", "?"),
               jget_str(dev, "proves", "None"));
    print_wiring(dev, now_wall_ms, out);
    buf_add_str(out, ")\n");
    if (json_object_get(dev, "problem") != NULL) {
        buf_printf(out, "    -     %s\n", jget_str(dev, "problem", ""));
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        print_executor(json_array_get(list, i), live, out, ret);
    }
}

/* --- a level ------------------------------------------------------------------------------------
 */

static bool reached_by(const json_t *dev, const char *name)
{
    const json_t *list = json_object_get(dev, "executors");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);

        if (reached(e) && str_eq(jget_str(e, "name", ""), name)) {
            return true;
        }
    }
    return false;
}

static bool reaches_all(const json_t *devices, const char *name, const char *proves)
{
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const json_t *dev = json_array_get(devices, i);

        if (!reached_by(dev, name) || !str_eq(jget_str(dev, "proves", ""), proves)) {
            return false;
        }
    }
    return json_array_size(devices) > 0;
}

/* Who could work through the level, as "node1, node3"; they all are in the first device's list. */
static size_t print_who(const json_t *devices, const char *proves, struct buf *out)
{
    const json_t *list = json_object_get(json_array_get(devices, 0), "executors");
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = jget_str(json_array_get(list, i), "name", "");

        if (reaches_all(devices, name, proves)) {
            buf_printf(out, "%s%s", n++ > 0 ? ", " : "", name);
        }
    }
    return n;
}

static bool level_proved(const json_t *devices)
{
    for (size_t i = 0; i < json_array_size(devices); i++) {
        if (!wiring_proved(json_array_get(devices, i))) {
            return false;
        }
    }
    return json_array_size(devices) > 0;
}

static void print_level(const json_t *devices, struct buf *out, struct fence_test_verdict *ret)
{
    struct buf who = { 0 };

    if (print_who(devices, "Power", &who) > 0) {
        buf_printf(out, "  -> can switch it off: %s\n", buf_cstr(&who));
        ret->proved = ret->proved || level_proved(devices);
        ret->can = true;
    } else if (print_who(devices, "Storage", &who) > 0) {
        buf_printf(out, "  -> can take its disks from it: %s\n", buf_cstr(&who));
        ret->storage = true;
    } else {
        buf_add_str(out, "  -> nobody can work through this level\n");
    }
    buf_done(&who);
}

/* --- all -----------------------------------------------------------------------------------------
 */

static void print_watchdog(const json_t *answer, struct buf *out)
{
    bool counts = jget_bool(answer, "watchdog.counts", false);

    buf_printf(out, "\nWatchdog: %s; %s%s\n", jget_str(answer, "watchdog.kind", "None"),
               counts ? "when its lease ends it ends the host, and the time it takes is a proof"
                      : "proves nothing: ",
               counts ? "" : jget_str(answer, "watchdog.why", ""));
}

void fence_test_print(const json_t *answer, uint64_t now_wall_ms, struct buf *out,
                      struct fence_test_verdict *ret)
{
    const json_t *levels = json_object_get(answer, "levels");
    const char *host = jget_str(answer, "host", "?");
    bool live = str_eq(jget_str(answer, "state", ""), "Live");

    *ret = (struct fence_test_verdict){ 0 };
    buf_printf(out, "%s: incarnation %" PRId64 ", %s\n", host, jget_int(answer, "incarnation", 0),
               jget_str(answer, "state", "None"));
    for (size_t i = 0; i < json_array_size(levels); i++) {
        const json_t *devices = json_object_get(json_array_get(levels, i), "devices");

        buf_printf(out, "\nLevel %zu\n", i + 1);
        for (size_t k = 0; k < json_array_size(devices); k++) {
            print_device(json_array_get(devices, k), live, now_wall_ms, out, ret);
        }
        print_level(devices, out, ret);
    }
    print_watchdog(answer, out);
    buf_add_byte(out, '\n');
    if (ret->suspicious) {
        buf_printf(out, "A plug reads Off although %s is alive: does it feed another host?\n",
                   host);
    }
    if (!ret->can) {
        buf_printf(out, "No device can prove now that %s is off%s.\n", host,
                   ret->storage                                  ? "; its disks can be taken"
                   : jget_bool(answer, "watchdog.counts", false) ? "; its watchdog can"
                                                                 : "");
    } else if (!ret->proved) {
        buf_printf(out,
                   "%s can be fenced. That the outlets are its own was never seen: when it is "
                   "empty, picket fence test --cycle %s\n",
                   host, host);
    } else {
        buf_printf(out, "%s can be fenced, and was seen to go off and come back.\n", host);
    }
}
