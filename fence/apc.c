#include "fence/apc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define POLL_MS 200U

struct apc {
    const struct fence_op *op;
    const struct apc_io *io;
    struct fence_answer *ans;
    uint32_t plugs[FENCE_MAX_PLUGS];
    enum fence_power power[FENCE_MAX_PLUGS];
    size_t n;
};

/* --- which plugs
 * ------------------------------------------------------------------------------------- */

static int parse_plugs(struct apc *x, const char *text, struct err *err)
{
    const char *p = text;

    while (*p != '\0') {
        size_t len = strcspn(p, ",");
        char one[16];
        uint64_t v;

        if (len >= sizeof(one) || x->n == FENCE_MAX_PLUGS) {
            return err_set(err, ERR_INVALID, "plugs=%s: at most %u numbers", text, FENCE_MAX_PLUGS);
        }
        memcpy(one, p, len);
        one[len] = '\0';
        if (!str_parse_u64(one, &v) || v == 0 || v > 999) {
            return err_set(err, ERR_INVALID, "plugs=%s: \"%s\" is not an outlet number", text, one);
        }
        x->plugs[x->n++] = (uint32_t)v;
        p += len;
        p += *p == ',' ? 1 : 0;
    }
    return x->n > 0 ? 0 : err_set(err, ERR_INVALID, "plugs is empty");
}

static void names_text(const struct fence_outlet *o, size_t n, char *dst, size_t size)
{
    size_t at = 0;

    dst[0] = '\0';
    for (size_t i = 0; i < n && at + 1 < size; i++) {
        int w = snprintf(dst + at, size - at, "%s%s", i > 0 ? ", " : "", o[i].name);

        at += w > 0 ? (size_t)w : 0;
    }
}

static int find_plugs(struct apc *x, struct err *err)
{
    struct fence_outlet outlets[FENCE_MAX_OUTLETS];
    size_t match[FENCE_MAX_OUTLETS];
    char names[160];
    size_t n = 0;
    int rc = x->io->names(x->io->ctx, outlets, &n, err);

    if (rc != 0) {
        return rc;
    }
    x->n = fence_outlets_match(outlets, n, x->op->host, match);
    if (x->n == 0 || x->n > FENCE_MAX_PLUGS) {
        names_text(outlets, n, names, sizeof(names));
        return err_set(err, ERR_NOT_FOUND, "%s outlet has the name of host %s; names are: %s",
                       x->n == 0 ? "no" : "more than 16", x->op->host, names);
    }
    for (size_t i = 0; i < x->n; i++) {
        uint64_t plug = 0;

        if (!str_parse_u64(outlets[match[i]].plug, &plug)) {
            return err_set(err, ERR_DRIVER, "outlet \"%s\" has no number", outlets[match[i]].plug);
        }
        x->plugs[i] = (uint32_t)plug;
    }
    return 0;
}

static int resolve_plugs(struct apc *x, struct err *err)
{
    const char *plugs = fence_op_get(x->op, "plugs");
    const char *outlets = fence_op_get(x->op, "outlets");

    if (plugs != NULL) {
        return parse_plugs(x, plugs, err);
    }
    if (!str_eq(outlets, "Auto") || x->op->host[0] == '\0') {
        return err_set(err, ERR_INVALID, "give plugs=N[,N...], or outlets=Auto and host=NAME");
    }
    return find_plugs(x, err);
}

/* --- reading
 * ----------------------------------------------------------------------------------------- */

static int read_power(struct apc *x, struct err *err)
{
    int rc = x->io->status(x->io->ctx, x->plugs, x->n, x->power, err);
    bool on = false, unknown = false;

    if (rc != 0) {
        return rc;
    }
    x->ans->n_outlets = x->n;
    for (size_t i = 0; i < x->n; i++) {
        struct fence_outlet *o = &x->ans->outlets[i];

        on = on || x->power[i] == FENCE_POWER_ON;
        unknown = unknown || x->power[i] == FENCE_POWER_UNKNOWN;
        (void)snprintf(o->plug, sizeof(o->plug), "%" PRIu32, x->plugs[i]);
        (void)str_copy(o->name, sizeof(o->name), x->op->host);
        o->power = x->power[i];
    }
    x->ans->power = on ? FENCE_POWER_ON : unknown ? FENCE_POWER_UNKNOWN : FENCE_POWER_OFF;
    return 0;
}

/* True when every plug has read `want` twice, 1 s apart; false when the time is up.  A request that
 * got no answer is no reading. */
static bool wait_power(struct apc *x, enum fence_power want)
{
    uint64_t first_ms = 0;
    struct err err;

    while (x->io->left_ms(x->io->ctx) > 0) {
        uint64_t asked_ms = x->io->now_ms(x->io->ctx);
        uint64_t wait_ms = POLL_MS;

        if (read_power(x, &err) == 0) {
            if (x->ans->power != want) {
                first_ms = 0;
            } else if (first_ms == 0) {
                first_ms = x->io->now_ms(x->io->ctx);
                wait_ms = APC_READBACK_MS;
            } else if (asked_ms >= first_ms + APC_READBACK_MS) {
                return true;
            }
        }
        x->io->sleep(x->io->ctx, wait_ms);
    }
    return false;
}

/* --- switching
 * --------------------------------------------------------------------------------------- */

/* How switching of several plugs went. */
struct switched {
    size_t sent;     /* may have been done */
    size_t not_done; /* certainly was not */
    struct err err;  /* of the last one that was not */
};

static void switch_all(struct apc *x, enum apc_command cmd, enum fence_power want,
                       struct switched *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < x->n; i++) {
        struct err err = { 0 };
        int rc;

        if (x->power[i] == want) {
            continue;
        }
        rc = x->io->command(x->io->ctx, x->plugs[i], cmd, &err);
        if (rc == 0 || rc == ERR_UNKNOWN_OUTCOME) {
            ret->sent++;
        } else {
            ret->not_done++;
            ret->err = err;
        }
    }
}

static void plugs_text(const struct apc *x, char *dst, size_t size)
{
    size_t at = 0;

    dst[0] = '\0';
    for (size_t i = 0; i < x->n && at + 8 < size; i++) {
        int w = snprintf(dst + at, size - at, "%s%" PRIu32, i > 0 ? "+" : "", x->plugs[i]);

        at += w > 0 ? (size_t)w : 0;
    }
}

/* Leaves *ans Succeeded only when off was read back twice. */
static void apc_off(struct apc *x)
{
    char plugs[80];
    struct switched sw;
    struct err err;

    if (read_power(x, &err) != 0) {
        fence_answer_set(x->ans, FENCE_FAILED, "nothing was switched: %.180s", err.msg);
        return;
    }
    switch_all(x, APC_OFF, FENCE_POWER_OFF, &sw);
    if (sw.sent == 0 && sw.not_done > 0) {
        fence_answer_set(x->ans, FENCE_FAILED, "nothing was switched: %.180s", sw.err.msg);
        return;
    }
    plugs_text(x, plugs, sizeof(plugs));
    if (wait_power(x, FENCE_POWER_OFF)) {
        fence_answer_set(x->ans, FENCE_SUCCEEDED, "outlets %s read back off twice%s", plugs,
                         sw.sent == 0 ? ", they were off already" : "");
    } else if (sw.not_done > 0) {
        fence_answer_set(x->ans, FENCE_UNKNOWN, "outlets %s: %.180s", plugs, sw.err.msg);
    } else {
        fence_answer_set(x->ans, FENCE_UNKNOWN, "outlets %s were told to go off and read %s", plugs,
                         fence_power_name(x->ans->power));
    }
}

static void apc_on(struct apc *x)
{
    struct switched sw;
    struct err err;

    if (read_power(x, &err) != 0) {
        fence_answer_set(x->ans, FENCE_FAILED, "nothing was switched: %.180s", err.msg);
        return;
    }
    switch_all(x, APC_ON, FENCE_POWER_ON, &sw);
    if (sw.sent == 0 && sw.not_done > 0) {
        fence_answer_set(x->ans, FENCE_FAILED, "nothing was switched: %.180s", sw.err.msg);
        return;
    }
    for (;;) {
        bool all = read_power(x, &err) == 0;

        for (size_t i = 0; i < x->n; i++) {
            all = all && x->power[i] == FENCE_POWER_ON;
        }
        if (all) {
            fence_answer_set(x->ans, FENCE_SUCCEEDED, "read back on");
            return;
        }
        if (x->io->left_ms(x->io->ctx) == 0) {
            break;
        }
        x->io->sleep(x->io->ctx, POLL_MS);
    }
    fence_answer_set(x->ans, FENCE_UNKNOWN, "told to go on, and reads %s",
                     fence_power_name(x->ans->power));
}

/* The proof is the Off; switching on again is a convenience and cannot spoil it. */
static void apc_reboot(struct apc *x)
{
    struct fence_answer off;

    apc_off(x);
    if (x->ans->result != FENCE_SUCCEEDED) {
        return;
    }
    off = *x->ans;
    apc_on(x);
    if (x->ans->result == FENCE_SUCCEEDED) {
        fence_answer_set(x->ans, FENCE_SUCCEEDED, "%.160s, then on", off.detail);
    } else {
        enum fence_power power = x->ans->power;

        *x->ans = off;
        x->ans->power = power;
        fence_answer_set(x->ans, FENCE_SUCCEEDED, "%.160s, but did not go on again", off.detail);
    }
}

/* Looking at a device: Failed is a mistake of whoever declared it, no answer is Unknown. */
static void look_failed(struct fence_answer *ans, const struct err *err)
{
    bool mistake = err->code == ERR_INVALID || err->code == ERR_NOT_FOUND;

    fence_answer_set(ans, mistake ? FENCE_FAILED : FENCE_UNKNOWN, "%.200s", err->msg);
}

static void apc_status(struct apc *x)
{
    struct err err;

    if (read_power(x, &err) != 0) {
        look_failed(x->ans, &err);
    } else {
        fence_answer_set(x->ans, FENCE_SUCCEEDED, "outlets were read");
    }
}

static void apc_list(struct apc *x)
{
    struct fence_answer *ans = x->ans;
    struct err err;

    if (x->io->names(x->io->ctx, ans->outlets, &ans->n_outlets, &err) != 0) {
        fence_answer_set(ans, FENCE_UNKNOWN, "%.200s", err.msg);
        ans->n_outlets = 0;
        return;
    }
    for (size_t i = 0; i < ans->n_outlets; i++) {
        uint64_t plug = 0;
        uint32_t one;

        if (str_parse_u64(ans->outlets[i].plug, &plug)) {
            one = (uint32_t)plug;
            if (x->io->status(x->io->ctx, &one, 1, &ans->outlets[i].power, &err) != 0) {
                ans->outlets[i].power = FENCE_POWER_UNKNOWN;
            }
        }
    }
    fence_answer_set(ans, FENCE_SUCCEEDED, "%zu outlets", ans->n_outlets);
}

void apc_run(const struct fence_op *op, const struct apc_io *io, struct fence_answer *ans)
{
    struct apc x = { .op = op, .io = io, .ans = ans };
    struct err err;

    memset(ans, 0, sizeof(*ans));
    if (op->action == FENCE_ACTION_LIST) {
        apc_list(&x);
        return;
    }
    if (resolve_plugs(&x, &err) != 0) {
        if (op->action == FENCE_ACTION_STATUS || op->action == FENCE_ACTION_PROBE) {
            look_failed(ans, &err);
        } else {
            fence_answer_set(ans, FENCE_FAILED, "nothing was switched: %.200s", err.msg);
        }
        return;
    }
    switch (op->action) {
    case FENCE_ACTION_STATUS:
    case FENCE_ACTION_PROBE:
        apc_status(&x);
        return;
    case FENCE_ACTION_OFF:
        apc_off(&x);
        return;
    case FENCE_ACTION_ON:
        apc_on(&x);
        return;
    case FENCE_ACTION_REBOOT:
        apc_reboot(&x);
        return;
    case FENCE_ACTION_LIST:
    case FENCE_ACTION_NONE:
        break;
    }
    CHECK_UNREACHABLE();
}
