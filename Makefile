# The verbs of the project. Each says what it could not do; none skips silently.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
# Whoever is root, as in a container, has no sudo and needs none.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Each runs a whole fleet and mostly waits for it, so there may be more than cores.
STORIES_AT_ONCE ?= 4

.PHONY: run test lint fix docs servers bench chaos recovery autobahn demo-fleet

## Starts everything in one process, on SQLite, with nothing to install.
run:
	$(CARGO) run

## Installs the servers that are missing, runs every test of the workspace, and sums up. An ignored test is a failure: it
## would look like one that passed.
test: servers
	@$(CARGO) build --package carillon --features sabotage
	cp target/debug/carillon target/debug/carillon-sabotage
	$(CARGO) build --package carillon
	export CARILLON_BIN="$${CARILLON_BIN:-$$PWD/target/debug/carillon}"
	export CARILLON_SABOTAGED_BIN="$$PWD/target/debug/carillon-sabotage"
	status=0
	log=target/test.log
	: > $$log
	tests() { $(CARGO) test --no-fail-fast "$$@" 2>&1 | tee -a $$log || status=1; }
	tests --workspace --exclude fleet --features testing
	tests --package fleet -- --test-threads $(STORIES_AT_ONCE)
	awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	  /^test .* FAILED$$/ { print "FAILED: " $$2 } \
	  END { printf "\n%d passed, %d failed, %d ignored\n", passed, failed, ignored; exit failed + ignored > 0 }' $$log || status=1
	exit $$status

## Formatting, clippy, and the licences and advisories of what is built in.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features testing -- -D warnings
	@if ! command -v cargo-deny >/dev/null; then
	  echo "NOT CHECKED: licences and advisories; cargo install cargo-deny to check them"
	else
	  $(CARGO) deny --all-features check bans licenses sources
	  if $(CARGO) deny --all-features fetch db 2>/dev/null; then $(CARGO) deny --all-features check advisories
	  else echo "NOT CHECKED: advisories, their database cannot be fetched"; fi
	fi

## Mends what a machine can mend.
fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --features testing --fix --allow-dirty --allow-staged

## Writes what is generated from the code.
docs:
	$(CARGO) run --quiet --package carillon -- check --docs > docs/configuration.md

## Installs what the tests start for themselves, from Debian's packages, where it is missing; and from PyPI what speaks S3 and
## what asks everything that the api's description says.
servers:
	@missing=()
	command -v redis-server >/dev/null || missing+=(redis-server)
	command -v redis-sentinel >/dev/null || missing+=(redis-sentinel)
	compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx)
	python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
	compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
	if [ "$${#missing[@]}" -gt 0 ]; then
	  $(SUDO) apt-get update
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$${missing[@]}"
	fi
	if [ ! -x target/servers/moto/bin/moto_server ]; then
	  python3 -m venv target/servers/moto
	  target/servers/moto/bin/pip install --quiet 'moto[s3,server]==5.2.5'
	fi
	if [ ! -x target/servers/schemathesis/bin/schemathesis ]; then
	  python3 -m venv target/servers/schemathesis
	  target/servers/schemathesis/bin/pip install --quiet 'schemathesis==4.32.5'
	fi

## Measures the program built for release, on a PostgreSQL and a Redis of its own, in about three minutes. Every figure is also
## a ratio to a bare loop on the same machine. BENCH="fanout --payload 128" for one of them, otherwise than by default.
BENCH ?= all
bench: servers
	$(CARGO) build --release --package carillon --target-dir target/bench
	$(CARGO) run --quiet --package fleet --bin with-servers -- target/bench/release/carillon bench $(BENCH)

## Breaks a fleet of the program built for release while people use it, RUNS times for SECONDS each, with the faults of SEED and those
## after it, and has a checker judge each run. CHAOS=--crash has pods die at named points besides, and CHAOS=--sabotages breaks the
## product on purpose, to see that the checker finds that: both on a build that is never released.
SEED ?= 1
RUNS ?= 1
SECONDS ?= 60
CHAOS ?=
chaos: servers
	case "$(CHAOS)" in
	*--crash* | *--sabotage*)
	  $(CARGO) build --release --package carillon --features sabotage --target-dir target/bench
	  cp target/bench/release/carillon target/bench/carillon-sabotage
	  program=target/bench/carillon-sabotage ;;
	*)
	  $(CARGO) build --release --package carillon --target-dir target/bench
	  program=target/bench/release/carillon ;;
	esac
	$(CARGO) build --package fleet --bins
	CARILLON_BIN=$$PWD/$$program target/debug/chaos \
	  --seed $(SEED) --runs $(RUNS) --seconds $(SECONDS) $(CHAOS)

## Measures how long a fleet of the program built for release takes to heal, with nothing lost, and what 100,000 missed messages and 5,000
## sockets that take nothing cost: in about eight minutes. MEASURES="update missed" for some of it. What needs a build that errs
## on purpose is measured on a debug build.
MEASURES ?=
recovery: servers
	$(CARGO) build --release --package carillon --target-dir target/bench
	$(CARGO) build --package fleet --bins
	CARILLON_BIN=$$PWD/target/bench/release/carillon target/debug/recovery $(MEASURES)
	if [ -z "$(MEASURES)" ]; then
	  $(CARGO) build --package carillon --features sabotage --target-dir target/sabotage
	  CARILLON_BIN=$$PWD/target/sabotage/debug/carillon target/debug/recovery lost api-killed
	fi

## Puts the Autobahn test suite to the program, straight and through nginx, in about four minutes; the suite's report is
## target/autobahn/index.html. The suite wants Python 2.7, which this does not install.
PYTHON2 ?= python2.7
autobahn: servers
	$(PYTHON2) -V || { echo "make autobahn PYTHON2=... : the suite wants Python 2.7 with pip" >&2; exit 1; }
	export PYTHONUSERBASE=$$PWD/target/servers/autobahn
	$(PYTHON2) -c 'import autobahntestsuite' 2>/dev/null ||
	  $(PYTHON2) -m pip install --quiet --user --no-warn-script-location 'autobahntestsuite==25.10.1'
	$(CARGO) build --package carillon
	$(CARGO) build --package fleet --bins
	CARILLON_BIN=$$PWD/target/debug/carillon target/debug/autobahn $(PYTHON2) target/autobahn

## A fleet of two pods of each kind behind nginx, to play with, until ctrl-c.
demo-fleet: servers
	$(CARGO) run --package fleet --bin demo-fleet

.ONESHELL:
