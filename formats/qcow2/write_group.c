// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Metadata writes that need no order among themselves go out together: the device, or the kernel's
 * workers, take them in one turn of the loop rather than one after the other.
 */
#include "probes.h"
#include "qcow2.h"

/* How many are in flight at once. */
#define MAX_WRITERS 16u

struct group {
	struct qcow2 *q;
	struct metadata_write *writes;
	unsigned nr, next;
	int ret; /* the first error */
};

static int co_write_one(struct qcow2 *q, const struct metadata_write *write)
{
	struct iovec flat = { (void *)write->buf, write->bytes };
	struct iobuf mem = { .iov = write->iov ?: &flat };

	UBD_PROBE(metadata_write, q->img, write->host_off, write->bytes);
	image_co_event(q->file, write->event);
	return image_co_pwritev(q->file, write->host_off, write->bytes, mem, 0);
}

static void writer_co(void *arg)
{
	struct group *group = arg;

	while (group->next < group->nr && !group->ret) {
		struct metadata_write *write = &group->writes[group->next++];
		int ret = co_write_one(group->q, write);

		write->done = ret == 0;
		if (ret && !group->ret)
			group->ret = ret;
	}
}

int qcow2_co_write_group(struct qcow2 *q, struct metadata_write *writes, unsigned nr)
{
	struct group group = { q, writes, nr, 0, 0 };
	struct co_group writers = { 0 };

	for (unsigned i = 0; i < nr; i++)
		writes[i].done = false;
	/* The caller is one of them, and can do it alone. */
	for (unsigned i = 1; i < MIN(nr, MAX_WRITERS) && co_has_stack(); i++)
		co_group_start(&writers, writer_co, &group);
	writer_co(&group);
	co_group_wait(&writers);
	return group.ret;
}
