/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How loops of unit tests do their I/O: UBD_TEST_AIO=threads gives them no ring. */
#ifndef UBD_TEST_ENGINE_H
#define UBD_TEST_ENGINE_H

#include <glib.h>

#include "aio.h"

static inline enum aio_engine test_engine(void)
{
	return g_strcmp0(g_getenv("UBD_TEST_AIO"), "threads") ? AIO_ENGINE_URING
							      : AIO_ENGINE_THREADS;
}

#endif
