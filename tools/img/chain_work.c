// SPDX-License-Identifier: GPL-2.0-or-later
/* The frame of commit and rebase; see chain_work.h. */
#include "chain_work.h"

#include <errno.h>

#include "img.h"
#include "loops.h"
#include "progress.h"

#define LOOPS 2

static void report(void *arg, uint64_t bytes)
{
	progress_add(arg, bytes);
}

int chain_work_co_run(chain_work_fn *co_work, struct image *top, struct image *other,
		      const struct image_chain_opts *opts, bool show_progress)
{
	struct aio_loop *on[LOOPS];
	struct progress progress;
	struct image_chain_opts all = *opts;
	struct loops *loops = loops_new(LOOPS);
	g_autoptr(GError) err = NULL;
	int ret;

	if (!loops)
		return -ENOMEM;
	progress_start(&progress, show_progress, image_size(top));
	for (unsigned i = 0; i < loops->nr; i++)
		on[i] = loops_at(loops, i);
	all.loops = on;
	all.nr_loops = loops->nr;
	all.progress = report;
	all.progress_arg = &progress;
	ret = co_work(top, other, &all, &err);
	progress_end(&progress, ret != 0);
	loops_free(loops);
	if (ret)
		tool_error("%s", err->message);
	return ret;
}
