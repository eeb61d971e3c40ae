// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: reads tables ahead, several at a time, so that a disk has more than one request to do.
 */
#include "check.h"

/* The most memory for tables, if more than one fits. */
#define ROOM_BYTES (1u << 20)

int qcow2_check_read_init(struct check *c)
{
	c->ahead.max = MAX(MIN(ROOM_BYTES / c->q->cluster_size, CHECK_READ_AHEAD), 1);
	c->ahead.room = try_iobuf_alloc_huge(c->ahead.max * (size_t)c->q->cluster_size);
	return c->ahead.room ? 0 : -ENOMEM;
}

void qcow2_check_read_clear(struct check *c)
{
	iobuf_free(c->ahead.room);
}

static uint8_t *room_of(struct check *c, unsigned index)
{
	return c->ahead.room + index * (size_t)c->q->cluster_size;
}

struct read {
	struct check *c;
	unsigned index;
};

static void read_co(void *arg)
{
	struct read *read = arg;
	struct check *c = read->c;

	c->ahead.results[read->index] = image_co_pread(c->q->file, c->ahead.offs[read->index],
						       c->q->cluster_size, room_of(c, read->index));
}

void qcow2_check_co_read_ahead(struct check *c, const uint64_t *offs, unsigned nr)
{
	struct read reads[CHECK_READ_AHEAD];
	struct co_group group = {};

	for (unsigned i = 0; i < nr; i++) {
		c->ahead.offs[i] = offs[i];
		reads[i] = (struct read){ c, i };
		co_group_start(&group, read_co, &reads[i]);
	}
	co_group_wait(&group);
	c->ahead.nr = nr;
	c->ahead.next = 0;
}

void qcow2_check_forget_ahead(struct check *c)
{
	c->ahead.nr = 0;
}

int qcow2_check_co_read_table(struct check *c, uint64_t off, uint8_t **ret_table)
{
	if (c->ahead.next < c->ahead.nr && c->ahead.offs[c->ahead.next] == off) {
		*ret_table = room_of(c, c->ahead.next);
		return c->ahead.results[c->ahead.next++];
	}
	qcow2_check_forget_ahead(c);
	*ret_table = c->ahead.room;
	return image_co_pread(c->q->file, off, c->q->cluster_size, c->ahead.room);
}
