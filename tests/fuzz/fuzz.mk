# Fuzzers of things in cmd/, and where the seeds come from.
$(O)/fuzz/v3_fuzz: $(O)/fuzz-obj/cmd/picketd/v3_json.o
$(O)/fuzz/host_fuzz: $(O)/fuzz-obj/reconciler/xen_move_codec.o

.PHONY: fuzz-seeds
fuzz-seeds: $(O)/tests/fuzz/seeds.o $(LINK) ## write the seeds of the fuzzers with the real encoders anew
	$(Q)$(CC) $(LDFLAGS) -o $(O)/fuzz-seeds $< -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)
	@mkdir -p $(addprefix tests/fuzz/corpus/,wal snap frame v3)
	@$(O)/fuzz-seeds tests/fuzz/corpus

# A picketd without log, network and devices (ops_node.c).
OPS_OBJS := $(patsubst %.c,$(O)/fuzz-obj/%.o,$(wildcard reconciler/*.c) tests/fuzz/ops_node.c \
              $(filter-out %/main.c %/node.c %/probe.c %/exec.c,$(wildcard cmd/picketd/*.c)))
$(O)/fuzz/ops_fuzz: $(O)/fuzz-obj/tests/fuzz/ops_fuzz.o $(OPS_OBJS) $(filter-out $(O)/fuzz-obj/raft/%,$(FUZZ_OBJS)) \
    $(addprefix $(O)/fuzz-obj/llhttp/,llhttp.o api.o http.o)
	@mkdir -p $(@D); echo "  FLD   $@"
	$(Q)clang-14 -fsanitize=fuzzer,address,undefined -o $@ $^ $(LDLIBS)
-include $(OPS_OBJS:.o=.d)
