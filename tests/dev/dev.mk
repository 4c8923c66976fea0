# A picketd that can be told to diverge (tests/dev/fault_diverge.c): for replicas_test.py only.
FAULTY_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard cmd/picketd/*.c)) $(O)/tests/dev/fault_diverge.o
$(O)/faulty/picketd: $(FAULTY_OBJS) $(LINK) $(O)/picket-fence
	@mkdir -p $(@D); echo "  LD    $@"; ln -sf ../picket-fence $(@D)/
	$(Q)$(CC) $(LDFLAGS) -Wl,--wrap=upkeep_tick -o $@ $(FAULTY_OBJS) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)
-include $(O)/tests/dev/fault_diverge.d
