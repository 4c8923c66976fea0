#include "tests/sim/sim.h"
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    struct sim_opts o = { .seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1,
                          .hosts = 3,
                          .log = stdout,
                          .debug = argc > 2 };
    struct sim *s = sim_new(&o);
    struct err err;
    char *y;
    sim_run(s, 15000);
    y = sim_base_yaml(s, 3);
    if (sim_apply(s, y, 60000, &err) != 0) {
        printf("apply: %s\n%s\n", err.msg, y);
        return 1;
    }
    sim_run(s, 30000);
    sim_power_off(s, "node2");
    sim_run(s, 60000);
    struct sim_stats st;
    sim_stats(s, &st);
    printf("events %lu violations %zu\n", st.events, sim_violations(s));
    return 0;
}
