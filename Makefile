# vifplug: see README.md. `make help` lists the targets.
SHELL       := /bin/bash
GO          ?= go
DESTDIR     ?=
PREFIX      ?= /usr
SBINDIR     := $(DESTDIR)$(PREFIX)/sbin
LIBEXECDIR  := $(DESTDIR)$(PREFIX)/lib
UNITDIR     := $(DESTDIR)$(PREFIX)/lib/systemd/system
MANDIR      := $(DESTDIR)$(PREFIX)/share/man
SCRIPTDIR   := $(DESTDIR)/etc/xen/scripts
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0

export CGO_ENABLED := 0

# Debian's packages: those that the tests on this machine need, and those of the lab (test/xenvm prints the latter; a test keeps the lists equal).
TEST_PACKAGES := gcc libc6-dev iproute2 xen-utils-4.17 xen-utils-common xenstore-utils systemd udev bridge-utils
LAB_PACKAGES  := xen-hypervisor-4.17-amd64 qemu-system-x86 qemu-system-xen seabios ipxe-qemu ovmf busybox-static cpio kmod nftables ethtool tcpdump

.PHONY: help build deps demo test test-xen bench fuzz lint install clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## static bin/vifplugd, bin/vifctl, bin/vif-plug
	$(GO) build -trimpath -ldflags='-s -w' -o bin/ ./cmd/vifplugd ./cmd/vifctl ./cmd/vif-plug

deps: ## install the Debian packages that tests and lab need (root)
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(TEST_PACKAGES) $(LAB_PACKAGES)

demo: build ## show it at work, without Xen, in a network namespace of its own (root)
	$(GO) build -o bin/vifdemo ./test/demo
	bin/vifdemo

test: build ## every test that needs no Xen, with the race detector (root; needs gcc)
	CGO_ENABLED=1 $(GO) test -race -timeout 10m ./...

test-xen: build ## the tests in a real Xen dom0, in QEMU
	$(GO) build -o bin/xenvm ./test/xenvm
	XENVM_FILES=bin/vifplugd:bin/vifctl:bin/vif-plug $(GO) test -tags xen -count=1 -timeout 10m -v -exec '$(CURDIR)/bin/xenvm exec' ./test/dom0

bench: build ## vifplug beside the stock script, in one run (root)
	$(GO) build -o bin/vifbench ./test/bench
	$(GO) build -trimpath -ldflags='-s -w' -o bin/minimal-client ./test/bench/minimal
	$(GO) build -trimpath -ldflags='-s -w' -o bin/minimal-client-empty ./test/bench/empty
	bin/vifbench

FUZZTIME ?= 10m
fuzz: ## every fuzz target for FUZZTIME (10m) each
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	  echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -parallel 2 $$p || exit 1; done; done

lint: ## go vet, staticcheck, gofumpt
	$(GO) vet ./... && $(GO) vet -tags xen ./test/...
	$(GO) run $(STATICCHECK) ./... && $(GO) run $(STATICCHECK) -tags xen ./test/...
	@out=$$($(GO) run $(GOFUMPT) -l .); if [ -n "$$out" ]; then echo "not gofumpt-clean:"; echo "$$out"; exit 1; fi

clean: ## remove what the build made
	rm -rf bin
