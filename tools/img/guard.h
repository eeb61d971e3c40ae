/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signals that end the program while it creates an image. */
#ifndef UBD_GUARD_H
#define UBD_GUARD_H

#include "image.h"

/*
 * From now on, a signal that ends the program, wherever it waits, abandons these files first. NULL:
 * they are complete, or gone.
 */
void guard_begun(const struct image_begun *begun);

#endif
