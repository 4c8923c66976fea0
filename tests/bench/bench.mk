# The load client of bench-store and torture.
LOAD_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard tests/bench/load*.c))
$(O)/bench/load: $(LOAD_OBJS) $(LINK)
	@mkdir -p $(@D); echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(LOAD_OBJS) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)
-include $(LOAD_OBJS:.o=.d)

.PHONY: bench-store
bench-store: all $(O)/bench/load ## our store next to etcd and the disk; PART=put,get,... ROUNDS=N
	@tests/bench/store.py --bin $(O) $(if $(PART),--part $(PART)) $(if $(ROUNDS),--rounds $(ROUNDS))
