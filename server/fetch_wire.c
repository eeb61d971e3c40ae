// SPDX-License-Identifier: GPL-2.0-or-later
/* What both ways of fetching by commands share; see fetch_wire.h. */
#include "fetch_wire.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "align.h"
#include "error.h"
#include "transport_queues.h"

int wire_fetch_begin(struct wire_fetch *wf, const struct fetch_config *config, GError **err)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	size_t bytes;
	void *map;

	wf->fetch.config = *config;
	wf->wire = config->driver->wires[config->way];
	bytes = align_up(config->depth * wf->wire->desc_bytes, page);
	map = mmap(NULL, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, config->char_fd,
		   config->q_id * align_up(wf->wire->desc_stride, page));
	if (map == MAP_FAILED)
		return error_set(err, -errno, "queue %u", config->q_id);
	wf->descs = map;
	wf->descs_bytes = bytes;
	return 0;
}

void wire_fetch_end(struct wire_fetch *wf)
{
	if (wf->descs)
		munmap((void *)wf->descs, wf->descs_bytes);
}
