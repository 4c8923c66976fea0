# Real processes under random faults (tests/torture/torture.py).
$(O)/torture/clockstep.so: tests/torture/clockstep.c
	@mkdir -p $(@D); echo "  LD    $@"
	$(Q)$(CC) $(CSTD) -Wall -Wextra -O2 -fPIC -shared -o $@ $< -ldl

.PHONY: torture torture-build
torture-build: all $(O)/bench/load $(O)/torture/clockstep.so
torture: torture-build ## real picketds, kill, stop, cuts, full disks, clock steps; SECONDS=N SEED=S MEMBERS=5
	@tests/torture/torture.py --bin $(O) --seconds $(or $(SECONDS),60) --members $(or $(MEMBERS),3) $(if $(SEED),--seed $(SEED))
