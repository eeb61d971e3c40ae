/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of a qcow2 node. */
#ifndef UBD_QCOW2_OPTIONS_H
#define UBD_QCOW2_OPTIONS_H

#include "qcow2.h"

extern const struct node_option qcow2_options[];

/* Sets what they say in @q, whose header was read; its errors name the image. */
int qcow2_take_options(struct qcow2 *q, const struct image_open_opts *opts, GError **err);

#endif
