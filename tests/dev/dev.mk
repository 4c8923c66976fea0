# A picketd that can be told to diverge (tests/dev/fault_diverge.c): for replicas_test.py only.
FAULTY_OBJS := $(patsubst %.c,$(O)/%.o,$(wildcard cmd/picketd/*.c)) $(O)/tests/dev/fault_diverge.o
$(O)/faulty/picketd: $(FAULTY_OBJS) $(LINK) $(O)/picket-fence
	@mkdir -p $(@D); echo "  LD    $@"; ln -sf ../picket-fence $(@D)/
	$(Q)$(CC) $(LDFLAGS) -Wl,--wrap=upkeep_tick -o $@ $(FAULTY_OBJS) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)
-include $(O)/tests/dev/fault_diverge.d

# A picketd of the feature level after ours, with a command of it (tests/dev/next_level.c): for upgrade_test.py only.
# All of store/ and of the daemon is compiled anew, so that nothing of the level is left behind.
NEXT_OBJS := $(patsubst %.c,$(O)/next-obj/%.o,$(wildcard store/*.c cmd/picketd/*.c) tests/dev/next_level.c)
$(O)/next-obj/%.o: %.c $(O)/flags
	@mkdir -p $(@D); echo "  CC    $< (next level)"
	$(Q)$(CC) $(CPPFLAGS) -DSTORE_FEATURE_MAX=3U $(CFLAGS) -MMD -MP -c -o $@ $<
$(O)/next/picketd: $(NEXT_OBJS) $(LINK) $(O)/picket-fence
	@mkdir -p $(@D); echo "  LD    $@"; ln -sf ../picket-fence $(@D)/
	$(Q)$(CC) $(LDFLAGS) -Wl,--wrap=upkeep_tick,--wrap=store_apply -o $@ $(NEXT_OBJS) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)
-include $(NEXT_OBJS:.o=.d)
