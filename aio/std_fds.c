// SPDX-License-Identifier: GPL-2.0-or-later
#include "std_fds.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void std_fds_open(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest free number is @fd. There is no place for a message on failure. */
		if (open("/dev/null", O_RDONLY) != fd)
			exit(EXIT_FAILURE);
	}
}
