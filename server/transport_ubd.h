/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files transport_ubd*.c share; private to them. */
#ifndef UBD_TRANSPORT_UBD_H
#define UBD_TRANSPORT_UBD_H

extern const struct fetch_wire ubd_wire;

#endif
