# Fuzzers of things in cmd/, and where the seeds come from.
$(O)/fuzz/v3_fuzz: $(O)/fuzz-obj/cmd/picketd/v3_json.o
$(O)/fuzz/host_fuzz: $(O)/fuzz-obj/reconciler/xen_move_codec.o

.PHONY: fuzz-seeds
fuzz-seeds: $(O)/tests/fuzz/seeds.o $(LINK) ## write the seeds of the fuzzers with the real encoders anew
	$(Q)$(CC) $(LDFLAGS) -o $(O)/fuzz-seeds $< -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)
	@mkdir -p $(addprefix tests/fuzz/corpus/,wal snap frame v3)
	@$(O)/fuzz-seeds tests/fuzz/corpus
