#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs the Debian packages that building and testing need.
# Usage: tests/setup.sh build|check|cross|arm64|packages|debug-kernel|bench
# Without root it uses sudo; on another system it says what is missing, and fails if anything is.
set -eu
PATH=$PATH:/sbin:/usr/sbin

build_packages=(gcc make meson ninja-build pkg-config liburing-dev zlib1g-dev libzstd-dev
	libglib2.0-dev libjansson-dev libgnutls28-dev libnbd-dev libnl-genl-3-dev
	libisal-dev libdeflate-dev systemtap-sdt-dev libseccomp-dev libcap-ng-dev)
check_packages=("${build_packages[@]}" apparmor bpftrace checkpolicy selinux-policy-dev clang-19 clang-format libclang-rt-19-dev lld-19 shellcheck
	codespell qemu-utils qemu-system-x86 linux-headers-amd64 busybox-static fio libnbd-bin python3-libnbd nbdkit gnutls-bin e2fsprogs xfsprogs fdisk util-linux cpio zstd xz-utils
	kmod python3 python3-prometheus-client mandoc dkms sparse crun jq dmsetup btrfs-progs nbd-client systemd mmdebstrap fuse2fs bubblewrap mtools procps python3-yaml)

case "${1:-}" in
build) packages=("${build_packages[@]}") ;;
check) packages=("${check_packages[@]}") ;;
cross) packages=("${check_packages[@]}" llvm-19 qemu-user) ;;
arm64) packages=("${check_packages[@]}" llvm-19 qemu-user qemu-system-arm gcc-12-aarch64-linux-gnu) ;;
packages) packages=("${build_packages[@]}" debhelper dh-dkms dpkg-dev lintian rpm) ;;
debug-kernel) packages=("${check_packages[@]}" bc bison flex libelf-dev libssl-dev) ;;
bench) packages=("${check_packages[@]}") ;;
*)
	echo "usage: $0 build|check|cross|arm64|packages|debug-kernel|bench" >&2
	exit 2
	;;
esac

# What the packages are for, where they have other names.
commands_and_libraries()
{
	local item
	for item in gcc make meson ninja pkg-config; do
		command -v $item >/dev/null || echo "  $item"
	done
	for item in liburing zlib libzstd glib-2.0 jansson gnutls libnbd libnl-genl-3.0 libisal libdeflate libseccomp libcap-ng; do
		pkg-config --exists $item 2>/dev/null || echo "  $item (library and headers)"
	done
	[ "$1" = check ] || return 0
	for item in apparmor_parser checkmodule clang-19 clang-format ld.lld-19 codespell shellcheck qemu-img qemu-io qemu-nbd nbdinfo nbdcopy nbdkit certtool psktool \
		qemu-system-x86_64 busybox fio mke2fs debugfs mkfs.xfs sfdisk setpriv cpio zstd xz depmod python3 mandoc dkms crun jq dmsetup mkfs.btrfs nbd-client; do
		command -v $item >/dev/null || echo "  $item"
	done
	echo "  Debian 12's linux-headers-amd64, and apt-get to fetch the kernel that the tests boot"
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	missing=$(commands_and_libraries "$1")
	[ -n "$missing" ] || exit 0
	echo "$0: this is not Debian; please install what is missing:" >&2
	echo "$missing" >&2
	exit 1
fi

missing=()
for package in "${packages[@]}"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "$0: not root and no sudo; please install: ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
	apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
