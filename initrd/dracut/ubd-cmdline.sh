#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the initqueue of dracut wait for disks of ubd-root(7), which ubd-attach.sh serves. Sourced by dracut.
# shellcheck source=initrd/functions
. /lib/ubd/initrd-functions

ubd_disks >/ubd-disks
while read -r name _; do
	# shellcheck disable=SC2154
	echo "[ -e /dev/disk/by-id/ubd-$name ]" >"$hookdir/initqueue/finished/ubd-$name.sh"
done </ubd-disks
# The server ends after the root file system was unmounted, which takes a file system to return to.
[ ! -s /ubd-disks ] || need_shutdown
