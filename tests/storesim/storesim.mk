# The simulator of the store (docs/testing.md).  SEEDS, SEED0, STORY=1 keeps every story.
SIM_SRC  := $(wildcard tests/storesim/*.c)
SIM_OBJS := $(patsubst %.c,$(O)/%.o,$(SIM_SRC)) $(O)/cmd/picketd/fsm.o $(O)/cmd/picketd/leasebook_sm.o
SEEDS    ?= 100
SEED0    ?= 1

$(O)/storesim: $(SIM_OBJS) $(LINK)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(SIM_OBJS) -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)
-include $(patsubst %.c,$(O)/%.d,$(SIM_SRC))

.PHONY: sim
sim: $(O)/storesim ## random worlds of the store: SEEDS=100 SEED0=1, STORY=1 keeps the stories
	@$(O)/storesim --seeds $(SEEDS) --seed0 $(SEED0) --dir $(O)/sim $(if $(STORY),--story)

# Tests of the checkers link them.
$(O)/unit/storesim_check_test: $(addprefix $(O)/tests/storesim/,wgl.o model.o lockcheck.o)
$(O)/unit/storesim_check_test: LDLIBS += $(addprefix $(O)/tests/storesim/,wgl.o model.o lockcheck.o)
$(O)/unit/leasebook_test: $(O)/cmd/picketd/leasebook_sm.o
$(O)/unit/leasebook_test: LDLIBS += $(O)/cmd/picketd/leasebook_sm.o
