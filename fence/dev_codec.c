#include "fence/dev.h"

#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "base/obj.h"
#include "base/str.h"

/* --- the operation: key=value lines
 * ---------------------------------------------------------------- */

static bool key_ok(const char *key)
{
    size_t n = strlen(key);

    if (n == 0 || n >= sizeof(((struct fence_param *)NULL)->key)) {
        return false;
    }
    return strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

static bool value_ok(const char *value, size_t size)
{
    size_t n = strlen(value);

    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) {
            return false;
        }
    }
    return n < size;
}

const char *fence_op_get(const struct fence_op *op, const char *key)
{
    for (size_t i = 0; i < op->n_params; i++) {
        if (strcmp(op->params[i].key, key) == 0) {
            return op->params[i].value;
        }
    }
    return NULL;
}

int fence_op_set(struct fence_op *op, const char *key, const char *value, struct err *err)
{
    struct fence_param *p;

    if (!key_ok(key)) {
        return err_set(err, ERR_INVALID,
                       "fence parameter name is empty, too long or has odd characters");
    }
    if (!value_ok(value, sizeof(p->value))) {
        return err_set(err, ERR_INVALID,
                       "value of fence parameter %s has control characters or %zu bytes or more",
                       key, sizeof(p->value));
    }
    if (fence_op_get(op, key) != NULL) {
        return err_set(err, ERR_INVALID, "fence parameter %s is given twice", key);
    }
    if (op->n_params == FENCE_OP_MAX_PARAMS) {
        return err_set(err, ERR_INVALID, "more than %u fence parameters", FENCE_OP_MAX_PARAMS);
    }
    p = &op->params[op->n_params++];
    (void)str_copy(p->key, sizeof(p->key), key);
    (void)str_copy(p->value, sizeof(p->value), value);
    return 0;
}

void fence_op_done(struct fence_op *op)
{
    explicit_bzero(op, sizeof(*op));
}

void fence_op_encode(const struct fence_op *op, struct buf *out)
{
    buf_printf(out, "type=%s\naction=%s\nhost=%s\ntimeout_ms=%" PRIu64 "\n",
               fence_type_name(op->type), fence_action_name(op->action), op->host, op->timeout_ms);
    if (op->deadline_boottime_ms != 0) {
        buf_printf(out, "deadline_boottime_ms=%" PRIu64 "\n", op->deadline_boottime_ms);
    }
    for (size_t i = 0; i < op->n_params; i++) {
        buf_printf(out, "%s=%s\n", op->params[i].key, op->params[i].value);
    }
    buf_add_str(out, "\n");
}

static int set_number(const char *key, const char *value, uint64_t *ret, struct err *err)
{
    if (!str_parse_u64(value, ret)) {
        return err_set(err, ERR_INVALID, "%s is not a whole number", key);
    }
    return 0;
}

static int set_known(struct fence_op *op, const char *key, const char *value, struct err *err)
{
    if (strcmp(key, "type") == 0) {
        op->type = fence_type_parse(value);
        return op->type != FENCE_TYPE_NONE ? 0 : err_set(err, ERR_INVALID, "unknown type");
    }
    if (strcmp(key, "action") == 0) {
        op->action = fence_action_parse(value);
        return op->action != FENCE_ACTION_NONE ? 0 : err_set(err, ERR_INVALID, "unknown action");
    }
    if (strcmp(key, "host") == 0) {
        return value_ok(value, sizeof(op->host)) && str_copy(op->host, sizeof(op->host), value)
                   ? 0
                   : err_set(err, ERR_INVALID, "host is too long or has control characters");
    }
    if (strcmp(key, "timeout_ms") == 0) {
        return set_number(key, value, &op->timeout_ms, err);
    }
    if (strcmp(key, "deadline_boottime_ms") == 0) {
        return set_number(key, value, &op->deadline_boottime_ms, err);
    }
    return fence_op_set(op, key, value, err);
}

static int decode_line(struct fence_op *op, const char *line, size_t n, struct err *err)
{
    char text[sizeof(struct fence_param)];
    char *eq;
    int rc;

    if (n >= sizeof(text) || memchr(line, '\0', n) != NULL) {
        return err_set(err, ERR_INVALID, "too long, or a NUL byte in it");
    }
    memcpy(text, line, n);
    text[n] = '\0';
    eq = strchr(text, '=');
    if (eq == NULL) {
        rc = err_set(err, ERR_INVALID, "not of the form key=value");
    } else {
        *eq = '\0';
        rc = set_known(op, text, eq + 1, err);
    }
    explicit_bzero(text, sizeof(text));
    return rc;
}

static int check_op(const struct fence_op *op, struct err *err)
{
    if (op->type == FENCE_TYPE_NONE) {
        return err_set(err, ERR_INVALID, "type is missing");
    }
    if (op->action == FENCE_ACTION_NONE) {
        return err_set(err, ERR_INVALID, "action is missing");
    }
    if (op->timeout_ms == 0 || op->timeout_ms > 600000) {
        return err_set(err, ERR_INVALID, "timeout_ms must be between 1 and 600000");
    }
    return 0;
}

int fence_op_decode(const char *text, size_t len, struct fence_op *ret, struct err *err)
{
    struct fence_op op;
    unsigned line_no = 0;
    int rc = 0;

    memset(&op, 0, sizeof(op));
    if (len > FENCE_OP_MAX_BYTES) {
        rc = err_set(err, ERR_INVALID, "operation has more than %u bytes", FENCE_OP_MAX_BYTES);
        goto out;
    }
    for (size_t pos = 0; pos < len;) {
        const char *nl = memchr(text + pos, '\n', len - pos);
        size_t n = nl != NULL ? (size_t)(nl - (text + pos)) : len - pos;

        line_no++;
        if (n == 0) {
            break;
        }
        rc = decode_line(&op, text + pos, n, err);
        if (rc != 0) {
            (void)err_wrap(err, "line %u", line_no);
            goto out;
        }
        pos += n + 1;
    }
    rc = check_op(&op, err);
    if (rc == 0) {
        *ret = op;
    }
out:
    fence_op_done(&op);
    return rc;
}

/* --- the answer: one JSON line
 * ----------------------------------------------------------------------- */

/* Device text may hold anything; JSON takes UTF-8 only. */
static json_t *safe_string(const char *s)
{
    char text[sizeof(((struct fence_answer *)NULL)->detail)];
    size_t i = 0;

    for (; s[i] != '\0' && i + 1 < sizeof(text); i++) {
        text[i] = (unsigned char)s[i] < 0x20 || (unsigned char)s[i] > 0x7e ? '?' : s[i];
    }
    text[i] = '\0';
    return json_string(text);
}

void fence_answer_encode(const struct fence_answer *ans, struct buf *out)
{
    json_t *root = json_object();
    json_t *outlets = json_object();
    char *text;

    CHECK(root != NULL);
    CHECK(ans->n_outlets <= FENCE_MAX_OUTLETS);
    (void)json_object_set_new(root, "result", json_string(fence_outcome_name(ans->result)));
    (void)json_object_set_new(root, "power", json_string(fence_power_name(ans->power)));
    (void)json_object_set_new(root, "detail", safe_string(ans->detail));
    for (size_t i = 0; i < ans->n_outlets; i++) {
        const struct fence_outlet *o = &ans->outlets[i];
        json_t *item = json_object();

        (void)json_object_set_new(item, "name", safe_string(o->name));
        (void)json_object_set_new(item, "power", json_string(fence_power_name(o->power)));
        (void)json_object_set_new(outlets, o->plug, item);
    }
    (void)json_object_set_new(root, "outlets", outlets);
    text = json_dumps(root, JSON_COMPACT);
    CHECK(text != NULL);
    buf_add_str(out, text);
    buf_add_byte(out, '\n');
    free(text);
    json_decref(root);
}

static int decode_power(const json_t *v, enum fence_power *ret, struct err *err)
{
    const char *s = json_string_value(v);

    for (int p = FENCE_POWER_UNKNOWN; p <= FENCE_POWER_OFF; p++) {
        if (str_eq(s, fence_power_name((enum fence_power)p))) {
            *ret = (enum fence_power)p;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "answer: power is not On, Off or Unknown");
}

static int decode_result(const json_t *v, enum fence_outcome *ret, struct err *err)
{
    const char *s = json_string_value(v);

    for (int r = FENCE_UNKNOWN; r <= FENCE_FAILED; r++) {
        if (str_eq(s, fence_outcome_name((enum fence_outcome)r))) {
            *ret = (enum fence_outcome)r;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "answer: result is not Succeeded, Failed or Unknown");
}

static int decode_outlets(json_t *v, struct fence_answer *ans, struct err *err)
{
    const char *plug;
    json_t *item;
    int rc = 0;

    if (v == NULL) {
        return 0;
    }
    if (!json_is_object(v) || json_object_size(v) > FENCE_MAX_OUTLETS) {
        return err_set(err, ERR_INVALID, "answer: outlets is not an object of at most %u",
                       FENCE_MAX_OUTLETS);
    }
    json_object_foreach (v, plug, item) {
        struct fence_outlet *o = &ans->outlets[ans->n_outlets++];
        const char *name = json_string_value(json_object_get(item, "name"));

        rc = decode_power(json_object_get(item, "power"), &o->power, err);
        if (rc == 0 && (name == NULL || !str_copy(o->name, sizeof(o->name), name) ||
                        !str_copy(o->plug, sizeof(o->plug), plug))) {
            rc = err_set(err, ERR_INVALID, "answer: bad name or plug of an outlet");
        }
        if (rc != 0) {
            break;
        }
    }
    return rc;
}

int fence_answer_decode(const char *text, size_t len, struct fence_answer *ret, struct err *err)
{
    struct fence_answer ans;
    json_error_t jerr;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &jerr);
    const char *detail;
    int rc;

    memset(&ans, 0, sizeof(ans));
    if (!json_is_object(root)) {
        rc = err_set(err, ERR_INVALID, "answer is not a JSON object");
        goto out;
    }
    rc = decode_result(json_object_get(root, "result"), &ans.result, err);
    if (rc != 0) {
        goto out;
    }
    rc = decode_power(json_object_get(root, "power"), &ans.power, err);
    if (rc != 0) {
        goto out;
    }
    detail = json_string_value(json_object_get(root, "detail"));
    if (detail == NULL) {
        rc = err_set(err, ERR_INVALID, "answer: detail is missing");
        goto out;
    }
    fence_answer_set(&ans, ans.result, "%s", detail);
    rc = decode_outlets(json_object_get(root, "outlets"), &ans, err);
    if (rc == 0) {
        *ret = ans;
    }
out:
    json_decref(root);
    return rc;
}
