# Picket: `make help` lists the targets.  There is no configure step.
#
# O=DIR builds elsewhere, SAN=address,undefined or SAN=thread builds with sanitizers (into a folder
# of its own), WERROR=1 makes warnings errors (CI does), V=1 shows the commands.

comma := ,
O      ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
Q      := $(if $(V),,@)
CC     := gcc
PKGS   := libuv raft liblz4 msgpack jansson yaml-0.1 openssl libmnl
CSTD   := -std=c11 -D_GNU_SOURCE
WARN   := -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
          -Wmissing-prototypes -Wold-style-definition -Wvla -Wundef -Wcast-qual \
          -Wwrite-strings -Wpointer-arith -Wformat=2 -Wlogical-op -Wduplicated-cond \
          -Wduplicated-branches -Wnull-dereference -Wimplicit-fallthrough=5
HARDEN := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE
SANFL  := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -O1 -g -fPIE)
# -iquote, never -I: our net/ and raft/ must not shadow <net/if.h> and <raft/uv.h>.
CPPFLAGS += -iquote . -isystem /usr/share/include/llhttp $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I $(PKGS) 2>/dev/null))
CFLAGS   += $(CSTD) $(WARN) $(if $(SAN),$(SANFL),$(HARDEN)) $(if $(WERROR),-Werror)
LDFLAGS  += $(if $(SAN),-fsanitize=$(SAN)) -pie -Wl,-z,relro,-z,now -Wl,--as-needed
LDLIBS   += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lnetsnmp -liscsi -lxenlight -lxenstore -lpthread -lm

DIRS   := base api store raft fence net storage reconciler
LIBS   := $(foreach d,$(DIRS),$(if $(wildcard $(d)/*.c),$(O)/lib$(d).a))
# Static archives in the order of the arrows of docs/architecture.md, users before what they use.
LINK   := $(foreach d,reconciler fence storage net raft store api base,$(filter $(O)/lib$(d).a,$(LIBS)))
CMDS   := $(notdir $(patsubst %/,%,$(dir $(wildcard cmd/*/main.c))))
BINS   := $(addprefix $(O)/,$(CMDS))
UNITS  := $(patsubst tests/unit/%.c,$(O)/unit/%,$(wildcard tests/unit/*_test.c))
OBJS   := $(foreach d,$(DIRS) $(addprefix cmd/,$(CMDS)),$(patsubst %.c,$(O)/%.o,$(wildcard $(d)/*.c)))
# The daemon without its main: what unit tests and the simulator link.
NODE_OBJS := $(patsubst %.c,$(O)/%.o,$(filter-out cmd/picketd/main%.c,$(wildcard cmd/picketd/*.c)))

.DEFAULT_GOAL := all
.PHONY: all help clean deps check run-check check-unit check-tidy units demo install fuzz analyze FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BINS) ## build everything

$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D); echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The HTTP parser that Debian ships as source (package node-llhttp); not ours, so without our warnings.
LLHTTP := /usr/share/llhttp
$(O)/llhttp/%.o: $(LLHTTP)/%.c $(O)/flags
	@mkdir -p $(@D); echo "  CC    llhttp/$*.c"
	$(Q)$(CC) -DLLHTTP_STRICT_MODE=1 -isystem /usr/share/include/llhttp -I$(LLHTTP) $(if $(SAN),$(SANFL),-O2 -g -fPIE) -w -c -o $@ $<

define lib_rule
$(O)/lib$(1).a: $(patsubst %.c,$(O)/%.o,$(wildcard $(1)/*.c)) $(if $(filter api,$(1)),$(addprefix $(O)/llhttp/,llhttp.o api.o http.o))
	@echo "  AR    $$@"; rm -f $$@
	$$(Q)ar rcs $$@ $$^
endef
$(foreach d,$(DIRS),$(eval $(call lib_rule,$(d))))

define bin_rule
$(O)/$(1): $(patsubst %.c,$(O)/%.o,$(wildcard cmd/$(1)/*.c)) $(LINK)
	@echo "  LD    $$@"
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $(LINK) -Wl,--end-group $$(LDLIBS)
endef
$(foreach c,$(CMDS),$(eval $(call bin_rule,$(c))))

$(O)/unit/%: $(O)/tests/unit/%.o $(LINK)
	@mkdir -p $(@D); echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS) -lcmocka

$(O)/bench/%: $(O)/tests/bench/%.o $(LINK)
	@mkdir -p $(@D); echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(LINK) -Wl,--end-group $(LDLIBS)

# Tests that start a program of ours.
$(O)/unit/wdog_process_test: $(O)/picket-watchdog
$(O)/unit/fence_exec_test $(O)/unit/fence_real_test $(O)/unit/fence_tgt_test $(O)/unit/fence_ssh_test $(O)/unit/snmp_test $(O)/unit/snmp_control_test: $(O)/picket-fence $(O)/picket-pdu

$(O)/flags: FORCE
	@mkdir -p $(@D); echo '$(CC) $(CPPFLAGS) $(CFLAGS)' | cmp -s - $@ || \
	  echo '$(CC) $(CPPFLAGS) $(CFLAGS)' > $@

-include $(OBJS:.o=.d) $(patsubst %.c,$(O)/%.d,$(wildcard tests/unit/*.c))

units: $(UNITS)

check-unit: $(UNITS) ## unit tests; M=kv_test runs one program
	@for t in $(if $(M),$(O)/unit/$(M),$(UNITS)); do echo "  TEST  $$t"; $$t || exit 1; done

# What is C and ours; the folders that exist.
SOURCES = $(sort $(shell find $(DIRS) cmd tests -name '*.[ch]' 2>/dev/null))

check-tidy: $(OBJS) ## folders, purity, banned calls, headers alone, format
	@rc=0; export CC="$(CC)" CPPFLAGS="$(CPPFLAGS)"; \
	for t in selftest layers banned headers pure; do \
	  echo "  TIDY  $$t"; tests/tidy/$$t.sh $(O) || rc=1; done; \
	echo "  TIDY  format"; printf '%s\n' $(SOURCES) | xargs -P 2 -n 20 clang-format-14 --dry-run -Werror || rc=1; \
	exit $$rc

deps: ## install the Debian packages that are missing
	@tests/tools/deps.sh

check: deps ## everything: tidy, unit tests, sanitizers, fuzzing, dev clusters
	@$(MAKE) -s --no-print-directory run-check

run-check:
	@tests/check.sh $(SECTIONS)

demo: deps ## three hosts, the book's cluster, a power cut and a network cut
	@$(MAKE) --no-print-directory -j2 all
	@tests/demo/demo.py

PREFIX ?= /usr/local
UNITDIR ?= /lib/systemd/system
install: all ## copy programs, unit files and documentation below $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/picket/examples
	install -m 755 $(BINS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 README.md LICENSE $(wildcard docs/*.md) $(DESTDIR)$(PREFIX)/share/doc/picket
	install -m 644 $(wildcard examples/*.yaml) $(DESTDIR)$(PREFIX)/share/doc/picket/examples
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)/usr/lib/sysusers.d
	for u in picketd picket-agent picket-watchdog; do \
	  sed 's,@PREFIX@,$(PREFIX),' packaging/systemd/$$u.service > $(DESTDIR)$(UNITDIR)/$$u.service || exit 1; \
	  chmod 644 $(DESTDIR)$(UNITDIR)/$$u.service; done
	install -m 644 packaging/systemd/picket.sysusers $(DESTDIR)/usr/lib/sysusers.d/picket.conf

# Fuzzers: clang's libFuzzer on the library sources a target needs (first line of each target:
# "// sources: ...").  FUZZ_SECONDS bounds each.
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*_fuzz.c))
# One file a process: with several, clang-tidy 14 reports false valist.Uninitialized.
analyze: ## clang-tidy on every source; F="a.c b.c" for some
	@printf '%s\n' $(if $(F),$(F),$(filter-out tests/%,$(filter %.c,$(SOURCES)))) | \
	  xargs -P 2 -I{} sh -c 'clang-tidy-14 --quiet {} -- $(CPPFLAGS) $(CSTD) 2>/dev/null || echo "  FAILED {}"'

fuzz: $(addprefix run-fuzz-,$(FUZZERS)) ## run every fuzzer for FUZZ_SECONDS

run-fuzz-%: $(O)/fuzz/%
	@echo "  FUZZ  $*"; mkdir -p $(O)/fuzz/corpus-$*
	$(Q)$(O)/fuzz/$* -max_total_time=$(FUZZ_SECONDS) -print_final_stats=0 -verbosity=0 -rss_limit_mb=2048 \
	  -artifact_prefix=$(O)/fuzz/ $(O)/fuzz/corpus-$* $(wildcard tests/fuzz/corpus/$(patsubst %_fuzz,%,$*))

FUZZ_OBJS := $(patsubst %.c,$(O)/fuzz-obj/%.o,$(wildcard base/*.c api/*.c store/*.c raft/*.c fence/*.c net/*.c storage/*.c))
FUZZFL    := -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -O1 -g
$(O)/fuzz-obj/llhttp/%.o: $(LLHTTP)/%.c
	@mkdir -p $(@D)
	$(Q)clang-14 -isystem /usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1 $(FUZZFL) -w -c -o $@ $<
$(O)/fuzz-obj/%.o: %.c
	@mkdir -p $(@D); echo "  FCC   $<"
	$(Q)clang-14 $(CPPFLAGS) $(CSTD) $(FUZZFL) -w -MMD -MP -c -o $@ $<
$(O)/fuzz/%: $(O)/fuzz-obj/tests/fuzz/%.o $(FUZZ_OBJS) $(addprefix $(O)/fuzz-obj/llhttp/,llhttp.o api.o http.o)
	@mkdir -p $(@D); echo "  FLD   $@"
	$(Q)clang-14 -fsanitize=fuzzer,address,undefined -o $@ $^ $(LDLIBS)
-include $(FUZZ_OBJS:.o=.d)

# Targets of the bigger test tools: tests/sim/sim.mk and the like.
include $(wildcard tests/*/*.mk)

clean: ## remove what was built
	rm -rf build build-*

help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
