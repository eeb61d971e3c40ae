// SPDX-License-Identifier: GPL-2.0-or-later
/* In the place of tools/ctl/origin.c, for tests without the driver: any descriptor is ubd's. */
#include "ctl.h"

bool ctl_is_disk(int fd)
{
	return true;
}

bool ctl_is_control(int fd)
{
	return true;
}
