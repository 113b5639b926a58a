# llavatrain: `make demo` to see it work, `make test` for the tests. Needs Go 1.26, a C++ compiler, Python 3 with pip (to fetch
# libtorch once) on Linux x86-64. Everything else is in scripts/.
SHELL := /bin/bash
ENV := . scripts/env.sh &&

.PHONY: build demo test test-long ranks mutate reference real-check browser lint bench doctor clean

build: ## the binary, ./llavatrain
	@$(ENV) echo "building (the first time compiles gotch's C++ glue: three to five minutes)" && go build -o llavatrain ./cmd/llavatrain

demo: build ## both stages on drawn shapes, in minutes
	./llavatrain demo

test: ## every test but the long suites
	@$(ENV) scripts/test.sh

test-long: ## 200 kills a stage, 2,000 steps in flat memory, two minutes for each fuzz target; KILLS=3 FUZZTIME=5s for a try
	@$(ENV) KILLS="$(KILLS)" FUZZTIME="$(FUZZTIME)" scripts/test-long.sh

ranks: ## all combinations of several processes, with a table; ranks.log keeps the output
	@$(ENV) scripts/ranks.sh

mutate: ## which changes of the code no test notices; ROOMS="data loss" for some; mutations.jsonl keeps the results
	@$(ENV) go run ./scripts/mutate mutations.jsonl $(ROOMS)

reference: ## exported folders loaded by transformers, adapters by PEFT, event files by TensorBoard; REFERENCE_PYTHON is a Python with scripts/reference/requirements.txt
	@test -n "$$REFERENCE_PYTHON" || { echo "set REFERENCE_PYTHON: see scripts/reference/exported.py" >&2; exit 2; }
	@$(ENV) go test -count=1 -v -run 'ReadBy(Transformers|PEFT|TensorBoard)' ./cmd/llavatrain

real-check: ## a run of real small models compared with transformers; fetches 180 MB once; REFERENCE_PYTHON as above
	@$(ENV) scripts/real-check.sh

browser: ## the page of serve in Chromium, with axe-core, which is fetched once (npm); about a minute
	@scripts/axe.sh || echo "axe-core could not be fetched: the page is not checked with it" >&2
	@CGO_ENABLED=0 go test -count=1 ./serve/web/browsertest

lint: ## formatting, lines of at most 120 columns, vet, staticcheck, unreachable functions
	@$(ENV) scripts/lint.sh

bench: build ## our step beside the Hugging Face step, in turn
	@$(ENV) scripts/bench.sh

doctor: build ## what this machine offers
	./llavatrain doctor

clean: ## the binary; runs stay
	rm -f llavatrain
