// SPDX-License-Identifier: GPL-2.0-or-later
/* Stops a device that another process serves. Usage: stop-device ID */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib.h"

int main(int argc, char **argv)
{
	int fd, res;

	if (argc != 2)
		return 1;
	fd = open_dev(atoi(argv[1]));
	res = fd < 0 ? fd : control(fd, UBD_CMD_STOP_DEV, NULL, 0);
	if (res < 0)
		fprintf(stderr, "stop-device: %s\n", strerror(-res));
	return res < 0;
}
