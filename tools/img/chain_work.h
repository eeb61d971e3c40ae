/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs what commit and rebase do to a chain of images: on several loops, with a progress line. */
#ifndef UBD_CHAIN_WORK_H
#define UBD_CHAIN_WORK_H

#include "image_chain.h"

/* What is done; @opts are the caller's, completed. */
typedef int chain_work_fn(struct image *top, struct image *other,
			  const struct image_chain_opts *opts, GError **err);

/* Does it for the disk of @top. 0, or -errno after an error message. */
int chain_work_co_run(chain_work_fn *co_work, struct image *top, struct image *other,
		      const struct image_chain_opts *opts, bool show_progress);

#endif
