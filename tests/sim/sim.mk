# The cluster simulator: the product's objects, with the simulator's in the place of clocks, event
# loop, streams, disks, fence programs and the watchdog's socket (docs/simulation.md).
CLUSTERSIM_C     := $(wildcard tests/sim/sim*.c)
CLUSTERSIM_OBJS  := $(patsubst %.c,$(O)/%.o,$(CLUSTERSIM_C))
CLUSTERSIM_WRAP  := open close read write fsync fdatasync fopen _exit rename unlink link access mkdir scandir
CLUSTERSIM_LDFL  := $(patsubst %,-Wl$(comma)--wrap=%,$(CLUSTERSIM_WRAP))

# All of it but main in one file, for other programs that stand on the simulator.
$(O)/clustersim.o: $(filter-out %/sim_main.o,$(CLUSTERSIM_OBJS))
	$(Q)ld -r -o $@ $^

$(O)/sim-cluster: $(O)/tests/sim/sim_main.o $(O)/clustersim.o $(NODE_OBJS) $(LINK)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $(CLUSTERSIM_LDFL) -o $@ $(filter %.o,$^) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)

$(O)/sim-selftest: $(O)/tests/sim/selftest.o $(O)/clustersim.o $(NODE_OBJS) $(LINK)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $(CLUSTERSIM_LDFL) -o $@ $(filter %.o,$^) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS) -lcmocka

-include $(CLUSTERSIM_OBJS:.o=.d) $(O)/tests/sim/selftest.d

.PHONY: sim-cluster
sim-cluster: $(O)/sim-cluster ## random clusters under faults in virtual time; SEEDS=N SEED0=S MINUTES=M HOURS=H SECONDS=T
	@$(O)/sim-cluster --seeds $(or $(SEEDS),20) --seed0 $(or $(SEED0),1) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(HOURS),--hours $(HOURS)) $(if $(SECONDS),--seconds $(SECONDS))
