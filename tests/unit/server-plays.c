// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For a server whose journal is a socket of a test (TEST_JOURNAL), and whose file systems have as
 * many percent left as a file says (TEST_SPACE). Linked with --wrap.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>

#include "journal.h"
#include "sandbox_places.h"

int __real_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_fstatvfs(int fd, struct statvfs *st);
int __wrap_fstatvfs64(int fd, struct statvfs *st);

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	const struct sockaddr_un *wanted = (const struct sockaddr_un *)address;
	struct sockaddr_un played = { .sun_family = AF_UNIX };
	const char *path = getenv("TEST_JOURNAL");

	if (!path || address->sa_family != AF_UNIX || strcmp(wanted->sun_path, JOURNAL_SOCKET) != 0)
		return __real_connect(fd, address, len);
	strncpy(played.sun_path, path, sizeof(played.sun_path) - 1);
	return __real_connect(fd, (struct sockaddr *)&played, sizeof(played));
}

static FILE *file;

int __real_sandbox_prepare(const struct options *options, struct sandbox_config *ret_config,
			   GError **err);
int __wrap_sandbox_prepare(const struct options *options, struct sandbox_config *ret_config,
			   GError **err);

/* The sandbox would not let us later. */
int __wrap_sandbox_prepare(const struct options *options, struct sandbox_config *ret_config,
			   GError **err)
{
	const char *path = getenv("TEST_SPACE");

	file = path ? fopen(path, "r") : NULL;
	if (file)
		setbuf(file, NULL);
	return __real_sandbox_prepare(options, ret_config, err);
}

int __wrap_fstatvfs(int fd, struct statvfs *st)
{
	unsigned percent = 100;

	if (file) {
		rewind(file);
		if (fscanf(file, "%u", &percent) != 1)
			percent = 100;
	}
	*st = (struct statvfs){ .f_frsize = 4096,
				.f_blocks = 100 << 20,
				.f_bavail = percent << 20 };
	return 0;
}

int __wrap_fstatvfs64(int fd, struct statvfs *st)
{
	return __wrap_fstatvfs(fd, st);
}
