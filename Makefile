# `make` lists what can be made. Go and make are enough for everything but test-real and proto.

.DEFAULT_GOAL := help
.PHONY: help build demo demo-tamper test test-real kills chaos fuzz soak mutants bench bench-outage profile check reference proto clean FORCE

LIBRARY   := bin/libWeWorkFinanceSdk_C.so
VERSITYGW := bin/versitygw

# What test-real runs beyond test: packages with tests of their own for real servers, and long runs of whole processes.
REAL      := ./plugins/wecom/... ./plugins/decrypt ./plugins/s3 ./plugins/kintone/kintonesim/real
REAL_RUNS := TestOfficialLibrary|TestS3|TestTwentyThousand|TestKills|TestRandomKills|TestStopped|TestRebuild|TestEnginesOnTwoMachines|TestOneOfTwoEngines|TestKintoneAway121HoursOf2000Messages
WITH_REAL  = WEIR_WECOM_LIBRARY=$(CURDIR)/$(LIBRARY) WEIR_VERSITYGW=$(CURDIR)/bin

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: bin/weir bin/weir-sandbox ## bin/weir, and bin/weir-sandbox to try it with

bin/weir: FORCE
	go build -trimpath -o $@ ./engine/cmd/weir

bin/weir-sandbox: FORCE
	go build -trimpath -o $@ ./examples/sandbox

demo: build ## 200 messages from WeCom to kintone and OSS through three kills, then proof that none is missing
	bin/weir-sandbox demo --weir bin/weir

demo-tamper: build ## spoil an archive in every way, and see that the comparison notices
	bin/weir-sandbox demo --weir bin/weir --tamper

test: build ## vet and every test that needs Go alone, demo and demo-tamper among them
	go vet ./...
	go test -timeout 10m $$(go list ./... | grep -v /e2e$$)
	go test -timeout 10m -run TestRandomWorlds ./engine/internal/flow -for 60s
	go test -timeout 30m ./examples/sandbox/e2e # alone: it lives through days, in more real time the busier the machine is

soak: ## random worlds of the flow machine: FOR=10m, or SEEDS=100000 of them, FROM=1
	go test -timeout 0 -v -run TestRandomWorlds ./engine/internal/flow -from $(or $(FROM),1) $(if $(SEEDS),-seeds $(SEEDS),-for $(or $(FOR),10m))

mutants: ## break the flow machine in every way of a list; the simulation alone has to notice each
	cd engine/internal/flow && go test -timeout 0 -run TestMutants -mutants

test-real: build $(LIBRARY) $(VERSITYGW) ## with the official library, a real S3 server and the official kintone client; kills and outages of 20,000 messages
	command -v npm >/dev/null || { $(APT) nodejs npm; }
	/sbin/ldconfig -p | grep -q 'libz\.so\.1 ' || { $(APT) zlib1g; }
	/sbin/ldconfig -p | grep -q 'libcrypto\.so\.3 ' || { $(APT) openssl; }
	go vet -tags real ./...
	$(WITH_REAL) go test -tags real -timeout 20m $(REAL)
	$(WITH_REAL) go test -tags real -timeout 50m -run '^($(REAL_RUNS))$$' ./examples/sandbox/e2e

kills: build ## kill -9 in every phase of a run of 20,000 messages, and of every plugin
	go test -tags failpoints -run TestKills -timeout 40m -v ./examples/sandbox/e2e

KILLS    ?= 1000
MESSAGES ?= 100000
SEED     ?= 1
chaos: build ## KILLS=1000 kill -9 at random, of the engine or a plugin, in a run of MESSAGES=100000; SEED=1. Some 45 minutes
	go test -tags failpoints -run TestRandomKills -timeout 180m -v ./examples/sandbox/e2e -args -kills $(KILLS) -messages $(MESSAGES) -seed $(SEED)

FUZZTIME  ?= 10m
FUZZFLAGS ?=

# Go 1.26 may end a run of full length with "context deadline exceeded" and no failing input (go.dev/issue/75804): that is no failure.
fuzz: ## every fuzz target for FUZZTIME (10m), one after another, and what became of each; FUZZFLAGS are for go test
	@mkdir -p bin/fuzz && rm -f bin/fuzz/*
	@go test -list '^Fuzz' $$(go list ./... | grep -v /e2e$$) >bin/fuzz/list || { cat bin/fuzz/list; exit 1; }
	@awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, name[i]; n = 0 }' bin/fuzz/list >bin/fuzz/targets
	@printf '%-40s %12s %10s %16s\n' target executions duration 'new interesting'
	@failed=0; while read -r package name; do \
		log=bin/fuzz/$$(echo $$package.$$name | tr / .).log; verdict=; \
		if ! go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x -timeout 0 $(FUZZFLAGS) $$package >$$log 2>&1 </dev/null && \
			{ grep -q 'Failing input' $$log || ! grep -q '^ *context deadline exceeded$$' $$log; }; then verdict=FAILED failed=1; fi; \
		awk -v target="$$(echo $$package | cut -d/ -f4-) $$name" -v verdict=$$verdict '/ execs: / { took = $$3; execs = $$5; sub(/.*interesting: /, ""); fresh = $$1 } \
			END { printf "%-40s %12d %10s %16d %s\n", target, execs, took, fresh, verdict }' $$log | tr -d ,; \
		test -z "$$verdict" || cat $$log; \
	done <bin/fuzz/targets; exit $$failed

bench: build ## the figures of the README; wants a quiet machine. bin/bench.json and bin/growth.svg
	bin/weir bench --json bin/bench.json --svg bin/growth.svg
	go test -run '^$$' -bench . -skip Outage -benchmem ./engine/bench ./engine/internal/state ./sdk/protocol ./plugins/generate ./plugins/decrypt

bench-outage: ## sinks away for a day, a million records owed to each, and back: generate and tide, then kintone, OSS and S3. An hour
	go test -run '^$$' -bench Outage -benchtime 1x -timeout 0 -v ./engine/bench
	go test -run '^$$' -bench Backlog -benchtime 1x ./engine/internal/flow

profile: ## where the processor time of the hop goes, engine and plugins together: bin/profile
	rm -rf bin/profile && mkdir -p bin/profile
	go build -trimpath -tags profile -ldflags '-X "main.profiles=$(CURDIR)/bin/profile"' -o bin/profile/weir ./engine/cmd/weir
	bin/profile/weir bench --runs 1 hop
	cd bin/profile && go tool pprof -proto -output hop.pb.gz weir *.pprof
	cd bin/profile && go tool pprof -tags weir hop.pb.gz >top.txt && go tool pprof -top -nodecount 100 weir hop.pb.gz >>top.txt
	@echo; head -40 bin/profile/top.txt; echo; echo "more in bin/profile/top.txt; flame graph: go tool pprof -http localhost:8000 bin/profile/weir bin/profile/hop.pb.gz"

check: ## formatting, linters and the floor plan; green before every commit
	@unformatted=$$(gofmt -l engine examples plugins sdk) && test -z "$$unformatted" || { echo "gofmt -w" $$unformatted; exit 1; }
	@! grep -rnE '\.Skip(f|Now)?\(' --include='*_test.go' engine examples plugins sdk || { echo "no test is skipped"; exit 1; }
	go vet ./...
	go vet -tags profile ./engine/cmd/weir
	go tool staticcheck -tags real ./...
	go test -run 'TestRooms|TestWalls|TestNothingForTestsInWeir' ./engine

reference: ## write the reference of the plugins, plugins/NAME/README.md, from what they declare
	go run ./engine/cmd/weir plugin docs --dir plugins

proto: ## generate the wire's code; needs protoc (Debian: protobuf-compiler)
	go build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH="$(CURDIR)/bin:$$PATH" go generate ./sdk/protocol

clean: ## remove what was built or left by a demo
	rm -rf bin .weir .sandbox pipelines/.weir examples/*/.weir examples/*/*.jsonl*

# What test-real needs is never committed, and never part of weir. The vendor's library comes with a Go client that somebody else
# published; customers get theirs from Tencent.
$(LIBRARY):
	@mkdir -p bin
	cp "$$(cd / && go mod download -json github.com/NICEXAI/WeWorkFinanceSDK@v1.3.0 | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p')/lib/$(@F)" $@
	echo "47647285b02c399d78d3b5582a8302ec0f08f9eba09456559b2b39547547a38d  $@" | sha256sum -c --quiet || { rm $@; exit 1; }

$(VERSITYGW):
	GOBIN=$(CURDIR)/bin go install github.com/versity/versitygw/cmd/versitygw@v1.8.0

SUDO = $(if $(filter 0,$(shell id -u)),,sudo)
APT  = $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends
