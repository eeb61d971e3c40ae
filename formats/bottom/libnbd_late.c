// SPDX-License-Identifier: GPL-2.0-or-later
/* libnbd, loaded when it is needed; see libnbd_late.h. */
#include "libnbd_late.h"

#include "aio.h"
#include "late_library.h"

struct libnbd libnbd;

#define ENTRY(name) { "nbd_" #name, &libnbd.name },

static const struct late_function functions[] = { LIBNBD_FUNCTIONS(ENTRY){} };

static struct late_library library = LATE_LIBRARY_INIT(LATE_LIBNBD, functions);

static int load_on_worker(void *err)
{
	return late_library_load(&library, err);
}

int libnbd_co_load(GError **err)
{
	return co_block_on_worker(load_on_worker, err);
}
