/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device's parameters as ublk_drv has them: sizes as powers of two, and no place for a limit of
 * the time that requests wait.
 */
#ifndef UBD_UBLK_PARAMS_H
#define UBD_UBLK_PARAMS_H

#include "transport.h"
#include "ublk_abi.h"

struct ublk_params ublk_params_to_wire(const struct device_params *params);
struct device_params ublk_params_from_wire(const struct ublk_params *wire);

#endif
