# The build, and everything that is checked. `make help` lists the targets; vllm-scm-1.rockspec holds the list of sources.

LUAS = lua5.1 lua5.3 lua5.4 luajit
LUA ?= lua5.4
CC = gcc
CLANG = clang
T = 60
SEEDS = 20
CHAOS_LUAS = lua5.4 luajit
WERROR = -Werror
Q = @
OPTIMIZE = -O2 -g
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wvla $(WERROR)
CFLAGS = -std=c99 $(OPTIMIZE) -fPIC -fvisibility=hidden $(WARNINGS)
TSAN = -O1 -g -fsanitize=thread -fno-omit-frame-pointer
PORTABLE = -DVLLM_NET_PORTABLE
COVERAGE = -std=gnu99 -O0 -g --coverage -fprofile-update=atomic # gnu99: then what a child counted before its exec is kept
COVERAGE_LUAS = lua5.1 lua5.4
SANITIZE = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

ifeq ($(shell uname),Darwin)
MODULE_FLAGS = -bundle -undefined dynamic_lookup
else
MODULE_FLAGS = -shared
endif

# Read without a Lua: Neovim and nginx have theirs inside. `make sources` compares this with what Lua reads.
sources = $(shell sed -n '/\["$(1)"\] = {/,/ },/s/^ *"\(src.*\)",$$/\1/p' vllm-scm-1.rockspec)
CORE := $(call sources,vllm.core)
CURL := $(call sources,vllm.curl)
LUA_MODULES := $(shell sed -n 's/.* = "\(lua\/.*\)",$$/\1/p' vllm-scm-1.rockspec)
SERVER := $(wildcard spec/support/server/*.c)
CTESTS := $(basename $(notdir $(wildcard spec/c/*_test.c)))
ENGINE_CTESTS := $(filter engine_%,$(CTESTS))
BIND_CTESTS := $(LUAS:%=%_memory_test)
FUZZERS := $(basename $(notdir $(wildcard fuzz/*_fuzz.c)))

CORE_PURE = $(filter src/core/%,$(CORE))
CURL_PURE = $(filter src/net/%,$(CURL))
C_FILES = $(sort $(CORE) $(CURL))
LUA_FILES = $(LUA_MODULES) $(wildcard spec/*.lua spec/*/*.lua spec/*/*/*.lua examples/*.lua examples/*/*/*.lua examples/*/*/*/*.lua bench/*.lua bench/*/*.lua scripts/*.lua fuzz/*.lua) $(wildcard .busted .luacheckrc) vllm-scm-1.rockspec

# $(call lua_flags,lua5.4): where the headers of a Lua are. LUA_INCDIR=… overrides it.
lua_flags = $(if $(LUA_INCDIR),-I$(LUA_INCDIR),$(shell pkg-config --cflags $(1) 2>/dev/null))
lua_libs = $(if $(LUA_LIBDIR),-L$(LUA_LIBDIR) -llua,$(shell pkg-config --libs $(1)))
lua_env = LUA_PATH="lua/?.lua;lua/?/init.lua;./?.lua;;" LUA_CPATH="build/$(1)/?.so;;"
run_lua = $(lua_env) $(1)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: help all nvim nginx demo test test-thread check spec ctest mutants coverage asan tsan valgrind lint warnings style layers sources doc doc-check format format-check memory chaos endurance fuzz bench rock property schema-suite test-vllm fresh clean FORCE

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12

all: $(foreach l,$(LUAS),build/$l/vllm/core.so build/$l/vllm/curl.so) build/test-server ## everything, for every Lua

# Building -------------------------------------------------------------------------------------------------------------

# Objects without Lua are made once, those of src/bind once for each Lua; `asan` has a tree of its own.
# $(call c_rules,DIR,FLAGS): objects, C tests.   $(call lua_rules,DIR,LUA,FLAGS): the modules and C tests of one Lua.
define c_rules
$(1)/obj/%.o: %.c Makefile
	@mkdir -p $$(@D)
	@echo "  $$@"
	$$(Q)$$(CC) $$(CFLAGS) $(2) -MMD -MP -c $$< -o $$@
$(1)/ctest/engine_memory_test: LINK = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free,--wrap=curl_easy_reset,--wrap=vllm_options_apply
$(1)/ctest/engine_%: $(1)/obj/spec/c/engine_%.o $(CURL_PURE:%.c=$(1)/obj/%.o)
	@mkdir -p $$(@D)
	@echo "  $$@"
	$$(Q)$$(CC) $(2) $$^ $$(LINK) -lcurl -lpthread -o $$@
$(1)/ctest/%: $(1)/obj/spec/c/%.o $(CORE_PURE:%.c=$(1)/obj/%.o)
	@mkdir -p $$(@D)
	@echo "  $$@"
	$$(Q)$$(CC) $(2) $$^ -o $$@
endef

define lua_rules
$(1)/$(2)/obj/%.o: %.c Makefile
	@mkdir -p $$(@D)
	@echo "  $$@"
	$$(Q)$$(CC) $$(CFLAGS) $(3) $$(call lua_flags,$(2)) -MMD -MP -c $$< -o $$@
$(1)/$(2)/vllm/core.so: $(CORE_PURE:%.c=$(1)/obj/%.o) $(patsubst %.c,$(1)/$(2)/obj/%.o,$(filter src/bind/%,$(CORE)))
	@mkdir -p $$(@D)
	@echo "  $$@"
	$$(Q)$$(CC) $$(MODULE_FLAGS) $(3) $$^ -ldl -o $$@
$(1)/ctest/$(2)_%: $(1)/$(2)/obj/spec/bind/%.o $(CORE_PURE:%.c=$(1)/obj/%.o) $(patsubst %.c,$(1)/$(2)/obj/%.o,$(filter src/bind/%,$(CORE)))
	@mkdir -p $$(@D)
	@echo "  $$@"
	$$(Q)$$(CC) $(3) $$^ $$(call lua_libs,$(2)) -lm -ldl -o $$@
$(1)/$(2)/vllm/curl.so: $(CURL_PURE:%.c=$(1)/obj/%.o) $(patsubst %.c,$(1)/$(2)/obj/%.o,$(filter src/bind/%,$(CURL)))
	@mkdir -p $$(@D)
	@echo "  $$@"
	$$(Q)$$(CC) $$(MODULE_FLAGS) $(3) $$^ -lcurl -ldl -lpthread -o $$@
endef

$(eval $(call c_rules,build,))
$(eval $(call c_rules,build/asan,$(SANITIZE)))
$(eval $(call c_rules,build/portable,$(PORTABLE)))
$(eval $(call c_rules,build/tsan,$(TSAN)))
$(eval $(call c_rules,build/tsan/portable,$(TSAN) $(PORTABLE)))
$(eval $(call c_rules,build/coverage,$(COVERAGE)))
$(eval $(call c_rules,build/coverage/portable,$(COVERAGE) $(PORTABLE)))
$(foreach l,$(LUAS),$(eval $(call lua_rules,build,$l,)))
$(foreach l,$(LUAS),$(eval $(call lua_rules,build/asan,$l,$(SANITIZE))))
$(foreach l,$(LUAS),$(eval $(call lua_rules,build/coverage,$l,$(COVERAGE))))

build/test-server: $(SERVER:%.c=build/obj/%.o)
	@echo "  $@"
	$(Q)$(CC) $^ -lssl -lcrypto -o $@

# The server itself under sanitizers: one spec drives it.
build/test-server-sanitized: $(SERVER) $(wildcard spec/support/server/*.h)
	@mkdir -p $(@D)
	@echo "  $@"
	$(Q)$(CC) -std=c99 $(SANITIZE) $(SERVER) -lssl -lcrypto -o $@

build/preload/%.so: spec/support/preload/%.c
	@mkdir -p $(@D)
	@echo "  $@"
	$(Q)$(CC) $(CFLAGS) -fvisibility=default -shared $< -ldl -o $@

-include $(shell find build -path build/mutants -prune -o -name '*.d' -print 2>/dev/null)

# Neovim finds C modules beside the Lua files in its runtimepath. The rename leaves the old file to an editor that has it open.
nvim: ## the modules for Neovim, into lua/vllm, and the help tags: this directory is a plugin then
	@scripts/check-headers "$(CC)" "$(call lua_flags,luajit)" luajit curl
	@$(MAKE) --no-print-directory WERROR= lua/vllm/core.so lua/vllm/curl.so doc/tags

nginx: ## the module for nginx and OpenResty, into lua/vllm; no libcurl
	@scripts/check-headers "$(CC)" "$(call lua_flags,luajit)" luajit2
	@$(MAKE) --no-print-directory WERROR= lua/vllm/core.so

# What :helptags writes.
doc/tags: doc/vllm.txt
	@echo "  $@"
	$(Q)awk -v OFS='\t' '{ for (i = 1; i <= NF; i++) if ($$i ~ /^\*[^*|]+\*$$/) print substr($$i, 2, length($$i) - 2), "vllm.txt", "/" $$i }' $< \
	  | LC_ALL=C sort >$@

lua/vllm/%.so: build/luajit/vllm/%.so
	@echo "  $@"
	$(Q)cp $< $@.new && mv $@.new $@

build/locale/%: # for locale_spec: one with a decimal comma
	@mkdir -p $(@D)
	@echo "  $@"
	$(Q)localedef -i $(basename $(@F)) -f UTF-8 --no-archive $@

SPEC_NEEDS = build/test-server build/test-server-sanitized build/rocks/manifest build/locale/de_DE.UTF-8

# Trying and testing ---------------------------------------------------------------------------------------------------

demo: build/lua5.4/vllm/core.so build/lua5.4/vllm/curl.so build/test-server ## the agent example, against the test server or VLLM_BASE_URL
	@scripts/run-demo

test: all $(SPEC_NEEDS) $(CTESTS:%=build/ctest/%) $(BIND_CTESTS:%=build/ctest/%) build/preload/slow_names.so ## C tests, the specs on every Lua, then hosts
	@scripts/run-tests build hosts ctest $(LUAS)

hosts: all build/preload/slow_names.so ## every host, on every Lua that it exists for; prints the matrix. SPEC=spec/hosts/x_spec.lua for one
	@SPEC="$(SPEC)" scripts/run-tests build hosts

test-thread: all $(SPEC_NEEDS) $(ENGINE_CTESTS:%=build/portable/ctest/%) ## specs on every Lua with the thread engine; the engine as other systems have it
	@scripts/run-tests build/portable ctest
	@VLLM_TEST_ENGINE=thread scripts/run-tests build $(LUAS)

check: build/$(LUA)/vllm/core.so build/$(LUA)/vllm/curl.so $(SPEC_NEEDS) $(CTESTS:%=build/ctest/%) build/ctest/$(LUA)_memory_test layers ## quick: C tests, specs on LUA=lua5.4
	@CTEST="$(filter build/ctest/%,$^)" scripts/run-tests build ctest $(LUA)

spec: build/$(LUA)/vllm/core.so build/$(LUA)/vllm/curl.so $(SPEC_NEEDS) ## specs on LUA=lua5.4; SPEC=spec/x_spec.lua for one
	@SPEC="$(SPEC)" scripts/run-tests build $(LUA)

ctest: $(CTESTS:%=build/ctest/%) $(BIND_CTESTS:%=build/ctest/%) build/test-server ## C tests
	@scripts/run-tests build ctest

memory: $(BIND_CTESTS:%=build/ctest/%) ## the binding, each of its allocations failing once, on every Lua; ctest tries a part of them
	@printf '%s\n' $^ | MEMORY_TRIES=0 xargs -n 1 -P 2 timeout 1000

MUTATED = $(CTESTS:%=build/ctest/%) build/ctest/lua5.4_memory_test build/preload/slow_names.so
mutants: all $(SPEC_NEEDS) $(MUTATED) ## are the specs awake? changes that they should notice, one by one; MUTANTS=text for those that hold it
	@lua5.4 scripts/mutants.lua spec/mutants.lua "$(MUTANTS)"

# The interpreters are not instrumented, so the runtimes are preloaded. Leaks are looked for everywhere, without suppressions.
asan: $(foreach l,$(LUAS),build/asan/$l/vllm/core.so build/asan/$l/vllm/curl.so) $(CTESTS:%=build/asan/ctest/%) $(BIND_CTESTS:%=build/asan/ctest/%) $(SPEC_NEEDS) ## C tests and all specs under ASan and UBSan
	@ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 TEST_LIMIT_S=1200 \
	  PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	  scripts/run-tests build/asan ctest $(LUAS)

# libcurl is not instrumented: what it does by itself is not looked at, what happens in our own code and memory is.
tsan: $(ENGINE_CTESTS:%=build/tsan/ctest/%) $(ENGINE_CTESTS:%=build/tsan/portable/ctest/%) ## the engine's C tests under ThreadSanitizer
	@for build in build/tsan build/tsan/portable; do \
	  TSAN_OPTIONS="halt_on_error=0 exitcode=66 second_deadlock_stack=1" TEST_LIMIT_S=200 scripts/run-tests $$build ctest || exit 1; done

# Counts of earlier runs are dropped. An integer Lua and one without: what differs between Luas differs between these two.
COVERED = $(foreach l,$(COVERAGE_LUAS),build/coverage/$l/vllm/core.so build/coverage/$l/vllm/curl.so build/coverage/ctest/$l_memory_test) \
  $(CTESTS:%=build/coverage/ctest/%) $(ENGINE_CTESTS:%=build/coverage/portable/ctest/%)
coverage: $(COVERED) $(SPEC_NEEDS) ## which lines of src the tests run; fails when too few
	@find build/coverage -name '*.gcda' -delete
	@status=0; scripts/run-tests build/coverage ctest $(COVERAGE_LUAS) || status=1; \
	  scripts/run-tests build/coverage/portable ctest || status=1; $(LUA) scripts/coverage.lua build/coverage || status=1; exit $$status

valgrind: $(CTESTS:%=build/ctest/%) build/test-server ## C tests under valgrind
	@printf '%s\n' $(CTESTS:%=build/ctest/%) | REPLAY_CUTS=50 xargs -n 1 -P 3 timeout 900 valgrind -q --error-exitcode=9 --leak-check=full

build/trim.so: spec/chaos/trim.c
	@mkdir -p $(@D)
	@echo "  $@"
	$(Q)$(CC) $(CFLAGS) -fvisibility=default -shared $< -o $@

ENDURING = $(foreach l,$(CHAOS_LUAS),build/$l/vllm/core.so build/$l/vllm/curl.so) build/test-server
chaos: $(ENDURING) ## storms of faults, 1000 turns or 300 agents at once, seeds 1 to SEEDS=20, on CHAOS_LUAS
	@ulimit -n 8192; for lua in $(CHAOS_LUAS); do \
	  seq -f "$$lua chaos %g 1000" 1 $(SEEDS); seq -f "$$lua agents %g 300" 1 $(SEEDS); done | xargs -n 4 -P 2 sh -c ' \
	  said=$$($(call lua_env,$$0) timeout 150 $$0 spec/chaos/$$1.lua $$2 $$3 2>&1) && said=$$(echo "$$said" | tail -n 1) || { echo "$$said"; exit 255; }; \
	  echo "$$0, $$1, seed $$2: $$said"'

build/endurance-luajit: spec/chaos/luajit.c
	@mkdir -p $(@D)
	@echo "  $@"
	$(Q)$(CC) $(CFLAGS) $(call lua_flags,luajit) $< $(call lua_libs,luajit) -Wl,-E -o $@

endurance: $(ENDURING) build/trim.so build/endurance-luajit ## 10,000 turns one after another, then 30 times 1000 at once: what memory and descriptors are left
	@ulimit -n 8192; $(call lua_env,lua5.4) timeout 240 lua5.4 spec/chaos/endurance.lua
	@ulimit -n 8192; $(call lua_env,luajit) timeout 240 build/endurance-luajit spec/chaos/endurance.lua

# Everything random runs for T seconds per target; inputs that crash stay in build/fuzz.
fuzz: $(FUZZERS:%=build/fuzz/%) build/fuzz/seeds $(LUAS:%=build/%/vllm/core.so) ## fuzz targets, T=60 seconds each; our JSON against lua-cjson
	@printf '%s\n' $(FUZZERS) | xargs -n 1 -P 2 sh -c 'mkdir -p build/fuzz/corpus/$$0; \
	  timeout $$(( $(T) + 60 )) build/fuzz/$$0 -max_total_time=$(T) -max_len=65536 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$0- build/fuzz/corpus/$$0 build/fuzz/seeds >build/fuzz/$$0.log 2>&1 \
	    || { tail -40 build/fuzz/$$0.log; exit 255; }; \
	  echo "== $$0, $(T) s"; grep -E "number_of_executed_units|new_units_added" build/fuzz/$$0.log'
	@for lua in $(LUAS); do echo "== JSON of the corpus, lua-cjson against ours, on $$lua"; \
	  LUA_PATH="lua/?.lua;lua/?/init.lua;./?.lua;;" LUA_CPATH="build/$$lua/?.so;;" \
	  timeout 300 $$lua fuzz/compare-json.lua build/fuzz/corpus/json_fuzz build/fuzz/seeds >build/fuzz/compare-json.log || { cat build/fuzz/compare-json.log; exit 1; }; \
	  tail -1 build/fuzz/compare-json.log; done

build/fuzz/%: fuzz/%.c $(CORE_PURE) $(wildcard src/core/*.h fuzz/*.h)
	@mkdir -p $(@D)
	@echo "  $@"
	$(Q)$(CLANG) -std=c99 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $< $(CORE_PURE) -o $@

build/fuzz/seeds: scripts/fuzz-seeds.lua $(wildcard spec/fixtures/*/*.http)
	@mkdir -p $@
	$(LUA) scripts/fuzz-seeds.lua $@ $(filter %.http,$^)
	@touch $@

build/bench/concurrent: bench/concurrent.c $(CORE_PURE) $(wildcard src/core/*.h)
	@mkdir -p $(@D)
	@echo "  $@"
	$(Q)$(CC) $(CFLAGS) $< $(CORE_PURE) -lcurl -o $@

bench: all build/bench/concurrent ## measurements, on every Lua
	@for lua in $(LUAS); do echo "== $$lua"; \
	  LUA_PATH="lua/?.lua;lua/?/init.lua;./?.lua;;" LUA_CPATH="build/$$lua/?.so;;" timeout 600 $$lua bench/run.lua || exit 1; done
	@echo "== concurrent"; $(call run_lua,$(LUA)) bench/concurrent.lua $(LUAS)
	@echo "== Neovim"; timeout 300 $(LUA) bench/neovim.lua

SUITE = ../shared/json-schema
property: $(LUAS:%=build/%/vllm/core.so) ## 10,000 random runs of agents on two Luas: their transcripts stay whole
	@for lua in lua5.4 luajit; do VLLM_PROPERTY_RUNS=2500 \
	  $(MAKE) --no-print-directory spec LUA=$$lua SPEC=spec/agent/property_spec.lua || exit 1; done

schema-suite: $(LUAS:%=build/%/vllm/core.so) ## the official tests of JSON Schema 2020-12 on every Lua; SUITE=path of JSON-Schema-Test-Suite
	@for lua in $(LUAS); do LUA_PATH="lua/?.lua;lua/?/init.lua;./?.lua;;" LUA_CPATH="build/$$lua/?.so;;" \
	  timeout 300 $$lua scripts/schema-suite.lua "$(SUITE)" || exit 1; done

test-vllm: build/lua5.4/vllm/core.so build/lua5.4/vllm/curl.so ## install and start a real vLLM, and run spec/live against it
	@spec/live/run

fresh: ## the commands of README.md, scripts/demo and scripts/test, each in a Debian made from nothing
	scripts/fresh-debian scripts/try-readme
	scripts/fresh-debian scripts/demo
	scripts/fresh-debian scripts/test

# Packing --------------------------------------------------------------------------------------------------------------

rock: build/rocks/manifest ## a local rocks server in build/rocks

build/rocks/manifest: vllm-scm-1.rockspec $(C_FILES) $(wildcard src/*/*.h) $(LUA_MODULES)
	@scripts/make-rock build/rocks

# Checking without running ---------------------------------------------------------------------------------------------

lint: warnings layers sources style format-check doc-check ## warnings of two compilers, static analysis, style, rooms, banned calls
	luacheck -q $(LUA_FILES)
	for file in $(LUA_FILES); do luac5.1 -p $$file || exit 1; done
	cppcheck -q --std=c99 --enable=warning,portability,performance --error-exitcode=1 $(CPPCHECK_FACTS) $(C_FILES)

# What cppcheck cannot see: the compiler's __has_include, libcurl's version, and that an address taken is not a read.
CPPCHECK_FACTS = '-D__has_include(x)=1' -DLIBCURL_VERSION_NUM=0x075800 --suppress=uninitvar:src/core/json.c --suppress=uninitvar:src/core/chunk_choice.c

sources: ## the rockspec lists what is on the disk, and each source has its tests
	@$(LUA) scripts/sources.lua $(CORE) $(CURL) $(LUA_MODULES)
	@$(LUA) scripts/tested.lua $(CORE) $(CURL) $(LUA_MODULES)

layers: build/$(LUA)/vllm/core.so build/$(LUA)/vllm/curl.so ## who includes, links, exports and requires what
	@scripts/lint-layers build/$(LUA)/vllm
	@$(LUA) scripts/layers.lua $(LUA_MODULES)

doc: ## docs/reference.md, from the annotations of every public function
	$(LUA) scripts/reference.lua >docs/reference.md

doc-check: # it is what `make doc` writes
	@$(LUA) scripts/reference.lua | diff -u docs/reference.md - || { echo "run: make doc"; exit 1; }

style: ## banned calls, machine paths, sizes of files and functions
	@scripts/lint-style

# The tables of the specs are laid out by hand.
format: ## clang-format over src, in place
	clang-format -i $(wildcard src/*/*.[ch])

format-check: # it is what `make format` writes
	@clang-format --dry-run -Werror $(wildcard src/*/*.[ch]) || { echo "run: make format"; exit 1; }

warnings: $(foreach l,$(LUAS),build/warnings/$l) build/warnings/ctest ## gcc and clang
	@echo "warnings: none"

build/warnings/ctest: $(wildcard src/*/*.[ch] spec/c/*.[ch] spec/support/server/*.[ch] fuzz/*.[ch])
	@mkdir -p $(@D)
	@for cc in $(CC) $(CLANG); do for file in $(filter spec/% fuzz/%,$(filter %.c,$^)); do \
	  $$cc $(CFLAGS) -fsyntax-only $$file || exit 1; done; done
	@touch $@

build/warnings/%: $(wildcard src/*/*.[ch] spec/bind/*.c spec/c/check.h)
	@mkdir -p $(@D)
	@for cc in $(CC) $(CLANG); do for file in $(C_FILES) $(wildcard spec/bind/*.c); do \
	  $$cc $(CFLAGS) $(call lua_flags,$*) -fsyntax-only $$file || exit 1; done; done
	@touch $@

clean: ## remove build
	rm -rf build
