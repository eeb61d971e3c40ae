/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One run of a scenario: an image, steps that use it, and perhaps a fault.
 *
 * What must hold, whatever fails:
 *
 *   - an acknowledged step is done: what is read is what was written, now and after the image was
 *     closed and opened again;
 *   - nobody notices a short transfer or an interrupted call;
 *   - once the fault is gone, the open image can be used, unless a flush of the file failed: the
 *     kernel reports lost data once, so then every flush fails until the image is opened again, and
 *     so may whatever needs a flush;
 *   - after it was closed, the file is free of corruption and can be used again.
 */
#ifndef UBD_TESTS_FAULTS_SCENARIO_H
#define UBD_TESTS_FAULTS_SCENARIO_H

#include "inject.h"
#include "prepare.h"
#include "request.h"
#include "structural.h"

struct step {
	bool operation; /* the scenario's, and not a request */
	struct request request;
};

struct scenario {
	char *name;
	struct image_spec spec;
	bool unmap;
	bool fixed; /* the data of requests is in a registered buffer */
	uint64_t cache_bytes;
	const struct step *steps;
	unsigned nr_steps;
	const struct structural_op *operation; /* NULL if no step is one */
};

/* A prepared image, with which each run starts anew. */
struct stage {
	const struct scenario *scenario;
	char *folder;
	char *filename;
	uint8_t *contents;
	size_t bytes;
	uint32_t *initial;
};

void stage_init(struct stage *stage, const struct scenario *scenario);
void stage_destroy(struct stage *stage);

struct fault {
	enum fault_kind kind;
	unsigned at; /* the number of the call below the file node */
	bool lasting;
};

/*
 * Runs it with the fault. *ret_calls: how many calls below the file node there were while the fault
 * could happen. @by_qemu_img: qemu-img checks the file at the end, too. NULL, or what is wrong,
 * which the caller frees.
 */
char *stage_co_run(const struct stage *stage, const struct fault *fault, bool by_qemu_img,
		   unsigned *ret_calls);

#endif
