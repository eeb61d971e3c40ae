// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sends a line to a server's socket and prints what it answers. Usage: ask SOCKET LINE
 *
 * ask -n SOCKET TEXT sends TEXT without a newline, and says so on standard output.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bool half = argc > 1 && strcmp(argv[1], "-n") == 0;
	char answer[4096];
	ssize_t got;

	argc -= half;
	argv += half;
	if (argc != 3)
		return 2;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", argv[1]);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("ask");
		return 1;
	}
	if (dprintf(fd, half ? "%s" : "%s\n", argv[2]) < 0)
		return 1;
	if (half) {
		puts("sent");
		fflush(stdout);
	}
	while ((got = read(fd, answer, sizeof(answer))) > 0)
		fwrite(answer, 1, got, stdout);
	return got < 0;
}
