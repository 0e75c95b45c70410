# make test is what CI runs: lint, tests with everything they need, and a search
# of their log for secrets. What it installs goes below .cache.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

PYTHON ?= python3
FUZZTIME ?= 20s
SOAKTIME ?= 30m
CACHE := $(CURDIR)/.cache
BENCHFLAGS ?=
LINTER := $(CACHE)/bin/golangci-lint
TOXIPROXY := $(CACHE)/bin/toxiproxy-server
LOG := $(CACHE)/test.log
DIST ?= dist
ALLOCATIONS := go test -count=1 -v -run Allocat ./test/allocations ./proxy/... ./policy ./credentials
PYTHONS := sdk4 sdk3 cli
# What tests print for people, by how it begins.
FIGURES := battery: [0-9]|contender: .* hostile|Expect: 100|corpus: |browser: |explain: |another uid|hostile answers: |toxiproxy: |stale keep-alive: |GOAWAY: |reset after|early answer: |truncated: [0-9]|drain: |slow heads: |descriptors: |log (pipe|closed|disk)|breaker: |30 days: |allocations: |bench: |[0-9]+ [GM]iB (up|down).*: idle |.*configurations,
SHOWN := ^ *(\w+_test\.go:[0-9]+: )?($(FIGURES))

.PHONY: build test lint allocations bench provider clients toxiproxy packages demo dist fuzz soak clean

build:
	go build -o bearerd .

# The log has every line of every test; printed are those of tests that failed or
# were skipped, a line a package, which real clients took part, and what the battery,
# the corpus and the browser show.
test: packages lint clients provider toxiproxy
	@mkdir -p $(CACHE)
	@echo "go test -race ./..."
	@go test -race -count=1 -timeout 10m -v ./... >$(LOG).part 2>&1 || failed=$$?; \
	$(ALLOCATIONS) >>$(LOG).part 2>&1 || failed=$$?; \
	mv $(LOG).part $(LOG); \
	awk -f test/harness/report.awk $(LOG); \
	grep -oE 'real client: .*' $(LOG) || echo "real client: none"; \
	go test -run '^$$' -bench 'Decide/100rules$$' -benchtime 500ms ./policy | grep ^Benchmark | tee -a $(LOG); \
	grep -E '$(SHOWN)' $(LOG) | sed -E 's/^ *(\w+_test\.go:[0-9]+: )?//' || true; \
	go run ./test/harness/nosecrets $(LOG); \
	exit $${failed:-0}

# What a request may allocate: exact, but not under the race detector.
allocations:
	$(ALLOCATIONS)

lint: $(LINTER)
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	go vet ./...
	GOOS=darwin go vet ./...
	go vet -tags soak ./test/soak
	GOLANGCI_LINT_CACHE=$(CACHE)/golangci-lint $(LINTER) run ./...

$(LINTER): tools/go.mod tools/go.sum
	go build -C tools -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

clients: $(PYTHONS:%=$(CACHE)/clients/%/installed) $(CACHE)/clients/javascript/installed

# A Python for each, with what its requirement file pins and nothing else.
$(CACHE)/clients/%/installed: test/clients/requirements-%.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(@D)/bin/python -m pip check
	touch $@

$(CACHE)/clients/javascript/installed: test/clients/javascript/package.json test/clients/javascript/package-lock.json
	rm -rf $(@D) && mkdir -p $(@D)
	cp $^ $(@D)
	npm ci --prefix $(@D) --silent --no-audit --no-fund --ignore-scripts
	touch $@

provider: $(CACHE)/provider/installed

$(CACHE)/provider/installed: test/provider/javascript/package.json test/provider/javascript/package-lock.json
	rm -rf $(@D) && mkdir -p $(@D)
	cp $^ $(@D)
	npm ci --prefix $(@D) --silent --no-audit --no-fund --ignore-scripts
	touch $@

# A module of its own, so that bearerd needs nothing of what it needs.
toxiproxy: $(TOXIPROXY)

$(TOXIPROXY): tools/toxiproxy/go.mod tools/toxiproxy/go.sum
	go build -C tools/toxiproxy -o $@ github.com/Shopify/toxiproxy/v2/cmd/server

# What tests need of the system. It is installed in CI only, where we are root.
packages:
	@missing=(); \
	[ -n "$$(command -v curl)" ] || missing+=(curl); \
	[ -n "$$(command -v gcc)" ] || missing+=(gcc libc6-dev); \
	[ -n "$$(command -v wget)" ] || missing+=(wget); \
	[ -n "$$(command -v http)" ] || missing+=(httpie); \
	[ -n "$$(command -v javac)" ] || missing+=(openjdk-17-jdk-headless); \
	[ -n "$$(command -v npm)" ] || missing+=(nodejs npm); \
	[ -n "$$(command -v redis-server)" ] || missing+=(redis-server); \
	[ -n "$$(command -v Rscript)" ] || missing+=(r-base-core); \
	[ -n "$$(command -v nginx)" ] || missing+=(nginx-light); \
	[ -n "$$(command -v haproxy)" ] || missing+=(haproxy); \
	[ -n "$$(command -v chromium)" ] || missing+=(chromium); \
	[ -n "$$(command -v systemd-analyze)" ] || missing+=(systemd); \
	perl -MLWP::UserAgent -MHTTP::Tiny -e1 2>/dev/null || missing+=(perl libwww-perl); \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv); \
	if [ $${#missing[@]} -eq 0 ]; then exit 0; fi; \
	if [ "$${CI:-}" != true ] || [ "$$(id -u)" != 0 ]; then \
		echo "make test needs $${missing[*]}; go test ./... skips what needs them"; exit 1; fi; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$${missing[@]}"

demo:
	go run . demo --once

# Static tarballs for Linux; VERSION and SOURCE_DATE_EPOCH are git's unless given.
dist:
	deploy/dist $(DIST)

# Each fuzz test in turn, for FUZZTIME.
fuzz:
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime=1x $$package; \
		done; \
	done

# bearerd beside its peers, of which Debian's nginx, HAProxy and Caddy take part where
# they are installed (apt-get install nginx-light haproxy caddy), the first two in
# /usr/sbin; BENCHFLAGS are those of test/bench.
bench:
	PATH="$$PATH:/usr/sbin" go run ./test/bench $(BENCHFLAGS)

# bearerd under everything at once, for SOAKTIME. On a laptop that sleeps meanwhile the
# clock goes on and the upstreams do not: keep it awake.
soak:
	SOAKTIME=$(SOAKTIME) go test -tags soak -count=1 -timeout 24h -v ./test/soak

clean:
	rm -rf bearerd dist $(CACHE)
