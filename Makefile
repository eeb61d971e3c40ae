# SPDX-License-Identifier: GPL-2.0-or-later
# A thin front: meson builds user space, Kbuild the driver, tests/ tests. See `make help`.

BUILD ?= build
KDIR ?= /lib/modules/$(shell uname -r)/build
MESON_OPTIONS ?=
DESTDIR ?=
MODULES = $(DESTDIR)/lib/modules
STEPS ?=
FUZZ_SECONDS ?= 600
CRASH_SECONDS ?= 1800
CRASH_SEED ?= 1000
STRESS_SECONDS ?= 60
STRESS_SEED ?= 1000

all: $(BUILD)/build.ninja
	$(if $(MESON_OPTIONS),meson configure $(BUILD) $(MESON_OPTIONS))
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	tests/setup.sh build
	meson setup $(MESON_OPTIONS) $(BUILD)

# As meson.build says.
VERSION = $(shell $(MAKE) -s --no-print-directory -C driver version)

driver:
	@[ -e $(KDIR)/Makefile ] || { echo "no kernel headers in $(KDIR); set KDIR" >&2; exit 1; }
	$(MAKE) -C driver KDIR=$(KDIR) O=$(abspath $(BUILD))/driver

install: all
	DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

install-driver: driver
	release=$$(/sbin/modinfo -F vermagic $(BUILD)/driver/ubd.ko | cut -d' ' -f1) && \
		install -D -m 644 $(BUILD)/driver/ubd.ko $(MODULES)/$$release/updates/ubd.ko && \
		if [ -z "$(DESTDIR)" ]; then /sbin/depmod $$release; fi

# The sources of ubd.ko where DKMS finds them, to build them for each kernel that is installed.
install-dkms:
	dir=$(DESTDIR)/usr/src/ubd-$(VERSION) && \
		install -D -m 644 -t $$dir/driver driver/*.[ch] driver/Makefile driver/Kbuild && \
		install -D -m 644 -t $$dir/include/uapi/linux include/uapi/linux/ubd_cmd.h && \
		sed "s/@VERSION@/$(VERSION)/" driver/dkms.conf >$$dir/dkms.conf
	@echo "now run: dkms install ubd/$(VERSION)"

# For clangd and similar tools, which find it through .clangd. Meson writes that of user space.
compile-commands: driver
	driver/compile-commands $(KDIR) $(BUILD)/driver

check:
	tests/setup.sh check
	tests/run-all --build $(BUILD) $(STEPS)

# All cases of the machines, on the kernels of other Debian releases, too.
check-kernels:
	tests/setup.sh check
	tests/setup.sh packages
	tests/run-all --build $(BUILD) vm-harness vm-driver vm-server vm-boot vm-boot-ublk vm-packages vm-root vm-root-dracut vm-nbd vm-nbd-7.2 vm-cpus vm-ublk $(foreach kernel,6.12 7.2, \
		vm-driver-$(kernel) vm-server-$(kernel))

check-soak:
	tests/setup.sh check
	SOAK_SECONDS=$(or $(SOAK_SECONDS),900) tests/run-all --build $(BUILD) vm-soak vm-soak-7.2

deb:
	tests/setup.sh packages
	packaging/deb $(BUILD)/deb

check-packages:
	tests/setup.sh packages
	tests/run-all --build $(BUILD) packages

# User space for other machines, built and run under emulation.
check-cross:
	tests/setup.sh cross
	tests/run-all --build $(BUILD) cross-refused cross-arm64 cross-riscv64 cross-s390x

# The driver and the server in an emulated arm64 machine, with the short selection of cases.
check-arm64:
	tests/setup.sh arm64
	tests/run-all --build $(BUILD) vm-driver-arm64 vm-server-arm64

# FUZZ_SECONDS=60: of random use of the driver's interfaces, on each kernel.
check-debug-kernel:
	tests/setup.sh debug-kernel
	tests/run-all --build $(BUILD) build-plain
	tests/vm/debug $(BUILD)/check

check-litmus:
	tests/litmus

demo:
	tests/setup.sh check
	tests/vm/demo $(BUILD) $(DRIVER)

# Power cuts with other seeds than those of `make check`.
check-crash:
	tests/setup.sh check
	tests/run-all --build $(BUILD) build-plain
	$(BUILD)/check/plain/tests/crash/crash --seed $(CRASH_SEED) --seconds $(CRASH_SECONDS)
	$(BUILD)/check/plain/tests/crash/crash-chain --seed $(CRASH_SEED) --seeds 100
	$(BUILD)/check/plain/tests/crash/crash-chain --seed $(CRASH_SEED) --seeds 100 --kill

# Each scenario for so long, by both sanitizers; all image tests by AddressSanitizer, by threads and with QEMU's tools.
check-long:
	tests/setup.sh check
	tests/run-all --build $(BUILD) iotests-asan-all iotests-threads-all iotests-v2-all \
		iotests-data-file-all iotests-subclusters-all iotests-4k iotests-fuse iotests-refcount-1 \
		iotests-qemu iotests-qemu-raw
	tests/run-all --build $(BUILD) build-tsan
	for tree in asan tsan; do \
		setarch -R tests/stress/run $(BUILD)/check/$$tree --seconds $(STRESS_SECONDS) --seed $(STRESS_SEED) || exit; done

# Of each target; what it finds is kept in $(BUILD)/check/asan/fuzz.
fuzz:
	tests/setup.sh check
	tests/run-all --build $(BUILD) build-asan
	tests/fuzz/run $(BUILD)/check/asan $(FUZZ_SECONDS)

bench:
	tests/setup.sh bench
	bench/run $(BUILD)

# All C sources, as .clang-format says; the wire header is a table and stays as it is.
format:
	git ls-files '*.c' '*.h' ':!include/uapi' | xargs clang-format -i

clean:
	rm -rf $(BUILD)

distclean: clean
	rm -rf .cache

help:
	@echo 'make            build the server and the tools in $(BUILD)/'
	@echo 'make driver     build ubd.ko for the running kernel, or with KDIR=... for another'
	@echo 'make install    install the server and the tools; DESTDIR=... is respected'
	@echo 'make install-driver   build and install ubd.ko, as make driver does; needs kernel headers'
	@echo 'make install-dkms   install the sources of the driver in /usr/src, for DKMS'
	@echo 'make deb        build packages for Debian, in $(BUILD)/deb'
	@echo 'make demo       show a file system on a qcow2 image on /dev/ubdb0, in a virtual machine'
	@echo 'make check      run all tests, or some with STEPS="unit-plain lint"; tests/run-all --list lists them'
	@echo 'make check-kernels   run all cases of the driver and the server, on Linux 6.1, 6.12 and 7.2'
	@echo 'make check-cross     build and test user space for arm64, riscv64 and s390x, emulated'
	@echo 'make check-arm64     test the driver and the server briefly in an emulated arm64 machine'
	@echo 'make check-packages  check the packages of packaging/: two builds, their contents, lintian'
	@echo 'make check-debug-kernel   test the driver on kernels with KASAN, lockdep, KCSAN'
	@echo 'make check-litmus   check the memory ordering of docs/protocol.md with the kernel'"'"'s memory model'
	@echo 'make check-crash   cut the power for CRASH_SECONDS=1800, from CRASH_SEED=1000 on, and in chains'
	@echo 'make check-long   run longer what make check runs briefly: stress for STRESS_SECONDS=60 each, all image tests'
	@echo 'make check-soak   put disks under load while servers die and disks grow, SOAK_SECONDS=900 on each of two kernels'
	@echo 'make fuzz       search for new inputs of the fuzz targets, for FUZZ_SECONDS=600 each'
	@echo 'make bench      run the benchmarks; see docs/performance.md'
	@echo 'make compile-commands   build the driver and write $(BUILD)/driver/compile_commands.json for clangd'
	@echo 'make format     format the C sources with clang-format; make check STEPS=lint checks the format'
	@echo 'make clean      remove $(BUILD)/; distclean: also the cached kernel'
	@echo 'MESON_OPTIONS="-Db_sanitize=address" and the like are passed on; see meson_options.txt'

.PHONY: all driver install install-driver install-dkms check check-arm64 check-crash check-cross check-debug-kernel check-kernels check-litmus check-long check-packages check-soak compile-commands deb demo format fuzz bench clean distclean help
