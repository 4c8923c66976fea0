/* Are replicas compared at the right entry, and is the right one blamed? */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/obj.h"
#include "cmd/picketd/agree_plan.h"

static void found_while_in_the_ring(void **state)
{
    struct agree_ring *r = OBJ_NEW(struct agree_ring);
    uint64_t hash, index;

    (void)state;
    assert_false(agree_find(r, 1, &hash));
    assert_false(agree_newest(r, &index, &hash));
    for (uint64_t i = 1; i <= AGREE_RING + 10; i++) {
        agree_note(r, 3 * i, i * i); /* barriers leave holes */
    }
    assert_true(agree_newest(r, &index, &hash));
    assert_int_equal(index, 3 * (AGREE_RING + 10));
    assert_false(agree_find(r, 3 * 10, &hash)); /* overwritten */
    for (uint64_t i = 11; i <= AGREE_RING + 10; i++) {
        assert_true(agree_find(r, 3 * i, &hash));
        assert_int_equal(hash, i * i);
        assert_false(agree_find(r, 3 * i + 1, &hash));
    }
    assert_false(agree_find(r, 3 * (AGREE_RING + 11), &hash));
    free(r);
}

static void the_minority_is_blamed(void **state)
{
    (void)state;
    assert_int_equal(agree_judge(0, 0), AGREE_OK);
    assert_int_equal(agree_judge(2, 0), AGREE_OK);
    assert_int_equal(agree_judge(1, 1), AGREE_OTHERS); /* 2 of 3 */
    assert_int_equal(agree_judge(0, 2), AGREE_SELF);
    assert_int_equal(agree_judge(0, 1), AGREE_OTHERS); /* a tie: clients have seen the leader's */
    assert_int_equal(agree_judge(1, 3), AGREE_SELF);   /* of five */
    assert_int_equal(agree_judge(1, 2), AGREE_OTHERS);
    assert_int_equal(agree_judge(2, 2), AGREE_OTHERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_while_in_the_ring),
        cmocka_unit_test(the_minority_is_blamed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
