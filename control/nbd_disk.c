// SPDX-License-Identifier: GPL-2.0-or-later
/* The begin and the end of a disk; see nbd_disk.h. */
#include "nbd_disk.h"

#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <unistd.h>

#include "nbd_server_file.h"
#include "nbd_sysfs.h"

/* Of users that go on sending requests, some are always in flight. */
#define DRAIN_US      (5 * G_USEC_PER_SEC)
#define DRAIN_STEP_US 2000

/*
 * nbd.ko marks the disk for it when it is connected and when it has been disconnected; then the
 * next to open it scans it, without any privilege. Of a disk without a server, nothing is left.
 */
void nbd_disk_scan(uint32_t id)
{
	g_autofree char *path = g_strdup_printf("/dev/nbd%u", id);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
}

/* Where the kernel does not say, as if there were none. */
static bool has_requests(uint32_t id)
{
	g_autofree char *text = nbd_attribute(id, "inflight");
	unsigned reads, writes;

	return text && sscanf(text, "%u %u", &reads, &writes) == 2 && reads + writes;
}

static void drain(uint32_t id)
{
	for (gint64 end = g_get_monotonic_time() + DRAIN_US;
	     has_requests(id) && g_get_monotonic_time() < end;)
		g_usleep(DRAIN_STEP_US);
}

/* As long as somebody has the disk open, it keeps its size, and reading it fails. */
void nbd_disk_forget_partitions(uint32_t id)
{
	g_autofree char *sectors = nbd_attribute(id, "size");

	if (g_strcmp0(sectors, "0") == 0)
		nbd_disk_scan(id);
}

int nbd_disk_end(struct nbd_netlink *nl, uint32_t id, bool serves)
{
	uint64_t connection = nbd_connection(id);
	int res;

	if (serves)
		drain(id);
	/* Somebody else has ended it. */
	if (nbd_connection(id) != connection)
		return 0;
	res = nbd_netlink_disconnect(nl, id);
	if (res == 0)
		nbd_server_file_end(id);
	nbd_disk_forget_partitions(id);
	return res;
}
