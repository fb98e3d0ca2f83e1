# The benchmark.  BENCH=PATTERN measures a part.

BENCH ?=
BENCH_SECONDS ?= 3
BENCH_ROUNDS ?= 5

BENCH_APP := $(OUT)/bench/app.so

bench: build $(BENCH_APP) $(OUT)/bench/app $(OUT)/bench/mod_bench.so ## measure, into build/out/bench.json and bench.svg
	@$(GO_RUN) build -o $(OUT)/bench/bench ./build/bench
	@$(OUT)/bench/bench -out $(OUT) -run '$(BENCH)' \
	    -seconds $(BENCH_SECONDS) -rounds $(BENCH_ROUNDS)

microbench: | $(OUT)/packages-build ## measure the parts: packing, requests, responses, round trips
	@$(MAKE) -s -C cshim/host/test bench
	@$(GO_RUN) test -run '^$$' -bench . -benchmem ./module ./cshim/bridgetest ./goapp

$(BENCH_APP): $(LIBRARY_SOURCES) $(wildcard build/bench/app/*.go) $(OUT)/go-version
	@echo "building $@"
	@$(GO_RUN) build -buildmode=c-shared -o $(OUT)/bench/new/app.so ./build/bench/app
	@mv $(OUT)/bench/new/app.so $@
	@rm -r $(OUT)/bench/new

$(OUT)/bench/app: $(LIBRARY_SOURCES) $(wildcard build/bench/app/*.go) $(OUT)/go-version
	@echo "building $@"
	@$(GO_RUN) build -o $@ ./build/bench/app

$(OUT)/bench/mod_bench.so: build/bench/apache/mod_bench.c | $(PACKAGES_STAMP)
	@echo "building $@"
	@mkdir -p $(OUT)/bench/apache
	@cp $< $(OUT)/bench/apache/
	@cd $(OUT)/bench/apache && $(APXS) -c mod_bench.c > build.log 2>&1 \
	    || { cat build.log; exit 1; }
	@cp $(OUT)/bench/apache/.libs/mod_bench.so $@
