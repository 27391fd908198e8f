# SPDX-License-Identifier: Apache-2.0
#
# A thin front for people; the work is done by scripts/ and CMake. `make help` lists the targets.
# Variables: ARGS (for run and bench), ENGINE_LLAMA=prebuilt|source|system|off, ENGINE_ONNX=on|off, FUZZ_SECONDS, CI=1
# (warnings are errors).

MAKEFLAGS += --no-print-directory
export ENGINE_LLAMA ?= prebuilt
export ENGINE_ONNX ?= on
export FUZZ_SECONDS ?= 60
PYTHON = deps/venv/bin/python

.DEFAULT_GOAL := build
.PHONY: help run build debug deps test unit wire fault e2e asan tsan bench fuzz lint format lock install clean distclean

help:            ## this list
	@sed -n 's/^\([a-z0-9 ]*\):.*## /\1\t/p' Makefile | expand -t 34

run:             ## fetch, build, get the default model, serve on 127.0.0.1:8080
	@scripts/setup.sh --for run
	@scripts/build.sh release roundhouse roundhouse-worker
	@exec scripts/run.sh $(ARGS)

build:           ## fetch and build build/roundhouse and build/roundhouse-worker
	@scripts/setup.sh --for build
	@scripts/build.sh release roundhouse roundhouse-worker

debug:           ## the same without optimization, in build/debug
	@scripts/setup.sh --for test
	@scripts/build.sh debug

deps:            ## only fetch what building and testing need
	@scripts/setup.sh --for test

test:            ## everything: all suites, and again under the sanitizers
	@scripts/setup.sh --for test
	@$(PYTHON) scripts/run_tests.py all

unit wire fault e2e asan tsan: ## one suite, or all that run under one sanitizer
	@scripts/setup.sh --for test
	@$(PYTHON) scripts/run_tests.py $@

bench:           ## measure, beside llama-server where that makes sense
	@scripts/setup.sh --for bench
	@scripts/build.sh release roundhouse roundhouse-worker bench_http_latency bench_fake_upstream bench_route_speed
	@$(PYTHON) bench/run.py --llama-server deps/bin/llama-server $(ARGS)

fuzz:            ## run each fuzz target for FUZZ_SECONDS
	@scripts/setup.sh --for fuzz
	@scripts/build.sh fuzz
	@scripts/fuzz.sh

lint:            ## static checks
	@scripts/setup.sh --for lint
	@scripts/lint.sh

format:          ## format the C sources
	@scripts/setup.sh --for lint
	@scripts/lint.sh --fix

lock:            ## pin the newest Python packages for the tests (needs the network)
	@scripts/setup.sh --for test
	@scripts/lock.sh

install: build   ## install below PREFIX (/usr/local), or DESTDIR
	@cmake --install build --prefix "$(or $(PREFIX),/usr/local)"

clean:           ## remove what was built
	rm -rf build

distclean: clean ## and what was fetched into the tree; the download cache stays
	rm -rf deps
