#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Ends the servers of ubd-root(7) once the old root was unmounted. Sourced by dracut's shutdown program.
# shellcheck source=initrd/functions
. /lib/ubd/initrd-functions

# The folder where they were noted has become the root.
ubd_end /ubd-hosts
