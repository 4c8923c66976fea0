# The cluster simulator: the product's objects, with the simulator's in the place of clocks, event
# loop, streams, disks, fence programs and the watchdog's socket (docs/simulation.md).
SIM_C     := $(wildcard tests/sim/sim*.c)
SIM_OBJS  := $(patsubst %.c,$(O)/%.o,$(SIM_C))
SIM_WRAP  := open close read write fsync fdatasync fopen rename unlink link access mkdir scandir
SIM_LDFL  := $(patsubst %,-Wl$(comma)--wrap=%,$(SIM_WRAP))

$(O)/sim-cluster: $(SIM_OBJS) $(NODE_OBJS) $(LINK)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $(SIM_LDFL) -o $@ $(SIM_OBJS) $(NODE_OBJS) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)

-include $(SIM_OBJS:.o=.d)

.PHONY: sim-cluster
sim-cluster: $(O)/sim-cluster ## random clusters under faults in virtual time; SEEDS=N SEED0=S MINUTES=M
	@$(O)/sim-cluster --seeds $(or $(SEEDS),20) --seed0 $(or $(SEED0),1) $(if $(MINUTES),--minutes $(MINUTES))
