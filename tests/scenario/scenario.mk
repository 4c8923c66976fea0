# Scenarios: tests/scenario/*.scn on the simulator, or with ON=dev on real processes; S=name runs one.
$(O)/scenario/shell: $(O)/tests/scenario/shell.o $(O)/clustersim.o $(NODE_OBJS) $(LINK)
	@mkdir -p $(@D); echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $(CLUSTERSIM_LDFL) -o $@ $(filter %.o,$^) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)

.PHONY: scenario
scenario: $(O)/scenario/shell $(BINS) ## failure stories; S=name runs one, ON=dev real processes, UPDATE=1 keeps the stories
	@PICKET_BIN_DIR=$(CURDIR)/$(O) PICKET_SIM_SHELL=$(O)/scenario/shell tests/scenario/run.py \
	  $(if $(ON),--on $(ON)) $(if $(UPDATE),--update) $(if $(V),-v) $(foreach s,$(S),tests/scenario/$(s).scn)
