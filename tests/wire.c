// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The structs of the wire are the same for programs of 32 and of 64 bits. To be compiled for
 * both; the kernel has the same assertions about sizes.
 */
#include <linux/ubd_cmd.h>

#define IS_SIZED(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
#define IS_AT(type, field, bytes)                                                                  \
	_Static_assert(__builtin_offsetof(struct type, field) == (bytes), #type "." #field)

IS_SIZED(ubdsrv_ctrl_cmd, 16);
IS_AT(ubdsrv_ctrl_cmd, addr, 8);
IS_SIZED(ubdsrv_io_cmd, 16);
IS_AT(ubdsrv_io_cmd, addr, 8);
IS_SIZED(ubd_batch_entry, 16);
IS_AT(ubd_batch_entry, result, 4);
IS_AT(ubd_batch_entry, addr, 8);
IS_SIZED(ubdsrv_io_desc, 24);
IS_AT(ubdsrv_io_desc, addr, 16);
IS_SIZED(ubdsrv_ctrl_dev_info, 72);
IS_AT(ubdsrv_ctrl_dev_info, flags, 16);
IS_AT(ubdsrv_ctrl_dev_info, recovery_timeout, 36);
IS_AT(ubdsrv_ctrl_dev_info, left_ns, 40);
IS_AT(ubdsrv_ctrl_dev_info, reserved2, 48);
IS_SIZED(ubd_open_dev, 16);
IS_SIZED(ubd_params, 80);
IS_AT(ubd_params, request_timeout, 36);
IS_AT(ubd_params, dev_sectors, 40);
IS_AT(ubd_params, dma_alignment, 48);
IS_AT(ubd_params, segment_boundary, 60);
IS_AT(ubd_params, reserved1, 64);
IS_SIZED(ubd_identity, 128);
IS_AT(ubd_identity, image_dev, 80);
IS_AT(ubd_identity, reserved, 96);
