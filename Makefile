# vifplug: see README.md. `make help` lists the targets.
SHELL       := /bin/bash
GO          ?= go
DESTDIR     ?=
PREFIX      ?= /usr
SBINDIR     := $(PREFIX)/sbin
LIBDIR      := $(PREFIX)/lib
MANDIR      := $(PREFIX)/share/man
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0

export CGO_ENABLED := 0

# Debian's packages: those that the tests on this machine need, and those of the lab (test/xenvm prints the latter; a test keeps the lists equal).
TEST_PACKAGES := gcc libc6-dev iproute2 xen-utils-4.17 xen-utils-common xenstore-utils systemd udev bridge-utils iptables ebtables arptables tcpdump
LAB_PACKAGES  := xen-hypervisor-4.17-amd64 qemu-system-x86 qemu-system-xen seabios ipxe-qemu ovmf busybox-static cpio kmod nftables ethtool tcpdump ifupdown vlan ifenslave

.PHONY: help build deps demo test test-xen bench bench-paths fuzz lint install man clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## static bin/vifplugd, bin/vifctl, bin/vif-plug, bin/vif-loop
	$(GO) build -trimpath -ldflags='-s -w' -o bin/ ./cmd/vifplugd ./cmd/vifctl ./cmd/vif-plug ./cmd/vif-loop

deps: ## install the Debian packages that tests and lab need (root)
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(TEST_PACKAGES) $(LAB_PACKAGES)

demo: build ## show it at work, without Xen, in a network namespace of its own (root)
	$(GO) build -o bin/vifdemo ./test/demo
	bin/vifdemo

test: build ## every test that needs no Xen, with the race detector (root; needs gcc)
	CGO_ENABLED=1 $(GO) test -race -timeout 10m ./...

# what the lab's tests install in dom0; a list with colons
empty :=
LAB_FILES := $(subst $(empty) ,:,bin/vifplugd bin/vifctl bin/vif-plug bin/vif-loop udev/rules/70-vifplug.rules $(wildcard systemd/units/*))
test-xen: build ## the tests in a real Xen dom0, in QEMU
	$(GO) build -o bin/xenvm ./test/xenvm
	XENVM_FILES=$(LAB_FILES) $(GO) test -tags xen -count=1 -p 1 -timeout 45m -v -exec '$(CURDIR)/bin/xenvm exec' \
	  ./test/dom0 ./hotplug/domctl
	$(GO) test -short -count=1 -p 1 -timeout 20m -exec '$(CURDIR)/bin/xenvm exec' ./bridge ./bridge/host ./bridge/network ./hotplug/paths
	$(GO) test -tags xen -count=1 -timeout 20m -run 'TestGoTestExec|TestExecStatus' -v ./test/xenvm

bench: build ## vifplug beside the stock script, and networks beside ip -batch (in the lab, whose kernel has VLANs), each in one run (root)
	$(GO) build -o bin/vifbench ./test/bench
	$(GO) build -o bin/xenvm ./test/xenvm
	$(GO) build -trimpath -ldflags='-s -w' -o bin/minimal-client ./test/bench/minimal
	$(GO) build -trimpath -ldflags='-s -w' -o bin/minimal-client-empty ./test/bench/empty
	bin/vifbench
	bin/vifbench -taps 200
	bin/vifbench -networks plan
	bin/xenvm run -c '/root/vifbench -networks apply' bin/vifbench

bench-paths: ## the paths of a guest's frames beside each other, with the project's goals; BENCH="-quick" and the like (root)
	$(GO) build -o bin/vifpaths ./test/bench/paths
	bin/vifpaths $(BENCH)

FUZZTIME ?= 10m
fuzz: ## every fuzz target for FUZZTIME (10m) each
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep ^Fuzz); do \
	  echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x -parallel 2 $$p || exit 1; done; done

install: build man ## install under DESTDIR: binaries, units, udev rules, what keeps others off vifs, man pages
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(LIBDIR)/systemd/{system,network} $(DESTDIR)$(LIBDIR)/udev/rules.d $(DESTDIR)$(LIBDIR)/NetworkManager/conf.d \
	  $(DESTDIR)$(MANDIR)/man{1,5,8} $(DESTDIR)/etc/xen/scripts $(DESTDIR)/etc/vifplug/conf.d
	install bin/vifplugd bin/vifctl bin/vif-plug bin/vif-loop $(DESTDIR)$(SBINDIR)
	ln -sf $(SBINDIR)/vif-plug $(DESTDIR)/etc/xen/scripts/vif-plug
	install -m 644 systemd/units/*.{service,socket} $(DESTDIR)$(LIBDIR)/systemd/system
	install -m 644 udev/link/*.link udev/network/*.network $(DESTDIR)$(LIBDIR)/systemd/network
	install -m 644 udev/rules/*.rules $(DESTDIR)$(LIBDIR)/udev/rules.d
	install -m 644 udev/NetworkManager/*.conf $(DESTDIR)$(LIBDIR)/NetworkManager/conf.d
	for s in 1 5 8; do for p in bin/man/*.$$s; do [ -e $$p ] && install -m 644 $$p $(DESTDIR)$(MANDIR)/man$$s; done; done; true

man: build ## the man pages, from docs/man and from vifctl itself
	mkdir -p bin/man
	bin/vifctl man bin/man
	for p in docs/man/*.md; do $(GO) run github.com/cpuguy83/go-md2man/v2 -in $$p -out bin/man/$$(basename $$p .md); done

lint: ## go vet, staticcheck, gofumpt
	$(GO) vet ./... && $(GO) vet -tags xen ./... && $(GO) vet -tags afxdpqemu ./...
	$(GO) run $(STATICCHECK) ./... && $(GO) run $(STATICCHECK) -tags xen ./... && $(GO) run $(STATICCHECK) -tags afxdpqemu ./...
	@out=$$($(GO) run $(GOFUMPT) -l .); if [ -n "$$out" ]; then echo "not gofumpt-clean:"; echo "$$out"; exit 1; fi

clean: ## remove what the build made
	rm -rf bin
