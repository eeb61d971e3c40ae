/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which kernel driver makes the disk. */
#ifndef UBD_DRIVER_H
#define UBD_DRIVER_H

#include "transport.h"

/* In place of a driver: the first that is there, or can be loaded. */
#define DRIVER_AUTO TRANSPORT_DRIVERS

/*
 * The driver of that name, or the one that is chosen, loaded if this process may do that. If there
 * is none, the preferred one, which then says that it is not loaded. It blocks while modprobe runs.
 */
const struct transport_ops *driver_choose(enum transport_driver wanted);

/*
 * Reports why it was taken, and others were not, with --verbose. Apart from the choice, because
 * that comes before messages are written without waiting for a reader. A second time does nothing.
 */
void driver_tell(void);

#endif
