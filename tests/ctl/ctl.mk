# The controllers without Raft, leases and devices: their test and their bench.
CTL_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard cmd/picketd/ctl*.c cmd/picketd/world*.c)) \
            $(patsubst %,$(O)/cmd/picketd/%.o,capacity macs change object view admit seal record reign_sm) $(O)/tests/ctl/fake_node.o
define ctl_rule
$(O)/$(1): $(O)/tests/$(1).o $(CTL_OBJS) $(LINK)
	@mkdir -p $$(@D); echo "  LD    $$@"
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $(LINK) -Wl,--end-group $$(LDLIBS) -lcmocka
endef
$(foreach t,unit/ctl_test bench/ctl_bench,$(eval $(call ctl_rule,$(t))))
-include $(O)/tests/ctl/fake_node.d $(O)/tests/bench/ctl_bench.d

.PHONY: bench-ctl
bench-ctl: $(O)/bench/ctl_bench ## loop stalls of the controllers: 64 hosts, 5,000 machines
	$(O)/bench/ctl_bench

$(O)/unit/reign_test: $(O)/cmd/picketd/reign_sm.o
$(O)/unit/reign_test: LDLIBS += $(O)/cmd/picketd/reign_sm.o
