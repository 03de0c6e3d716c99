# A thin front of meson and ninja; what needs more than a line is a script in tools/.
# `make help` lists the targets.

# Debian's own tools, whatever else stands first on PATH.
MESON := $(firstword $(wildcard /usr/bin/meson) meson)
NINJA := $(firstword $(wildcard /usr/bin/ninja) ninja)
BUILD := build
PREFIX ?= /usr/local
DESTDIR ?=
# A shell without tilde expansion in arguments hands over PREFIX=~/.local as it stands.
override PREFIX := $(abspath $(patsubst ~/%,$(HOME)/%,$(PREFIX)))

.PHONY: all build demo check check-unit check-static check-e2e check-lab check-stress bench fuzz \
        install format tidy abi-baseline capabilities lab-report clean help

all: build ## builds everything into build/

$(BUILD)/build.ninja:
	@tools/setup demo
	$(MESON) setup $(BUILD) --prefix=$(PREFIX)

build: $(BUILD)/build.ninja
	$(NINJA) -C $(BUILD)

demo: ## installs what is missing, builds, boots a real guest and shows its whole life
	@tools/setup demo
	@tools/demo

check: ## every test; the last line is the total
	@tools/check all

check-unit: ## units, contract suite, fuzz replay (ASan + UBSan)
	@tools/check unit

check-static: ## form and structure of the sources
	@tools/check static

check-e2e: ## end to end over the installed viv
	@tools/check e2e

check-lab: ## in a guest with a real /dev/kvm
	@tools/check lab

check-stress: ## the long storms
	@tools/check stress

bench: ## measures us beside our peers
	@tools/setup bench
	@tools/check build
	@bench/run

fuzz: ## libFuzzer targets; FUZZ_SECONDS=60 each
	@tools/setup dev
	@tools/fuzz

install: $(BUILD)/build.ninja ## PREFIX=DIR [DESTDIR=DIR]
	@tools/install $(BUILD) $(PREFIX) $(DESTDIR)

format: ## rewrites the C sources to the one form
	@tools/check-format --fix

tidy: ## clang-tidy over every source (slow; make check runs a subset)
	@tools/check-tidy --all

abi-baseline: build ## takes the ABI of this build as the one to keep
	@tools/check-abi --update $(BUILD)

capabilities: ## writes docs/CAPABILITIES.md from the rows, their tests and the last results
	@tools/capabilities

lab-report: ## writes docs/LAB.md from the verdicts of the last make check-lab
	@tools/lab-report $(BUILD)/results/lab.verdicts

clean: ## removes the build directories
	rm -rf build build-asan build-clang build-fuzz

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1 /p' Makefile | while read -r t text; do \
	  printf '  make %-14s %s\n' "$$t" "$$text"; done
