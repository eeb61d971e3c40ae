#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Serves disks of ubd-root(7), each when the device with its image is there. Sourced by dracut, again and again.
# shellcheck source=initrd/functions
. /lib/ubd/initrd-functions

# Prints the node, if it is there.
ubd_find()
{
	case $1 in
	LABEL=* | UUID=* | PARTLABEL=* | PARTUUID=*) blkid -l -t "$1" -o device ;;
	*) [ ! -e "$1" ] || printf '%s\n' "$1" ;;
	esac
}

while read -r name image options; do
	[ ! -e "/ubd-tried-$name" ] || continue
	node=$(ubd_find "$(ubd_device "$image")")
	[ -n "$node" ] || continue
	# Once: if it fails, it will again.
	: >"/ubd-tried-$name"
	ubd_serve "$name" "$image" "$options" "$node" </dev/null || warn "ubd: $name cannot be served; see dmesg"
done </ubd-disks
