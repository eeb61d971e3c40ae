// SPDX-License-Identifier: GPL-2.0-only
/*
 * The data of requests. It is copied, never pinned: a WRITE's by the fetching task before
 * its CQE, a READ's by the committing task. A copy that faults fails the request.
 */
#include <linux/blk-mq.h>
#include <linux/sched/signal.h>
#include <linux/uio.h>

#include "compat.h"
#include "ubd.h"

bool ubd_is_dying(void)
{
	return fatal_signal_pending(current) || (current->flags & PF_EXITING);
}

int ubd_copy_data(struct request *rq, unsigned int direction, u64 addr)
{
	struct req_iterator pos;
	struct iov_iter iter;
	struct bio_vec bvec;
	int err;

	err = ubd_import_buffer(direction, addr, blk_rq_bytes(rq), &iter);
	if (err)
		return err;

	rq_for_each_segment(bvec, rq, pos) {
		size_t copied;

		if (direction == ITER_DEST)
			copied =
				copy_page_to_iter(bvec.bv_page, bvec.bv_offset, bvec.bv_len, &iter);
		else
			copied = copy_page_from_iter(bvec.bv_page, bvec.bv_offset, bvec.bv_len,
						     &iter);
		if (copied != bvec.bv_len)
			return -EFAULT;
	}
	return 0;
}
