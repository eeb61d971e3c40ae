/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control commands to the driver: one at a time, each waiting for its answer.
 *
 * A struct control holds the control fd of one device. A process that has that fd may do anything
 * to the device, without any privilege. When the last copy is closed, the driver stops and deletes
 * the device, unless it was created with recovery.
 *
 * One thread at a time uses a struct control, usually the main thread.
 */
#ifndef UBD_CONTROL_H
#define UBD_CONTROL_H

#include <glib.h>
#include <linux/ubd_cmd.h>
#include <sched.h>
#include <stdint.h>

struct control;

/*
 * Makes the ring of which all commands of the process are sent. The first one does, too, unless the
 * process can make no ring any more. 0 or -1 with @err set.
 */
int control_prepare(GError **err);

/* UBD_F_* that the driver knows and the kernel allows. 0 or -errno with @err set. */
int control_get_features(uint64_t *ret_features, GError **err);

/*
 * Adds a device with the properties in @info; @info then says what the driver granted.
 * The caller frees it with control_free(). NULL with @err set on failure, and
 * nothing is left behind.
 */
struct control *control_add_dev(struct ubdsrv_ctrl_dev_info *info, GError **err);

/*
 * Opens a device by its number, and returns what the driver knows about it; NULL with @err set on
 * failure. The caller frees it with control_free().
 */
struct control *control_open_dev(uint32_t id, struct ubdsrv_ctrl_dev_info *ret_info, GError **err);

/*
 * The same for a control fd that this process was given. The struct control owns it; on failure it
 * is closed.
 */
struct control *control_adopt(int fd, struct ubdsrv_ctrl_dev_info *ret_info, GError **err);

/* The control fd; it still belongs to @control. */
int control_fd(const struct control *control);

/*
 * Closes the control fd; if it is the last copy, a device without recovery goes away. NULL is fine.
 */
void control_free(struct control *control);

/* All return 0 or -errno. */
int control_get_info(struct control *control, struct ubdsrv_ctrl_dev_info *ret_info);
int control_set_params(struct control *control, const struct ubd_params *params);
int control_get_params(struct control *control, struct ubd_params *ret_params);
int control_set_identity(struct control *control, const struct ubd_identity *identity);
int control_get_identity(struct control *control, struct ubd_identity *ret_identity);
int control_get_queue_affinity(struct control *control, uint16_t q_id, cpu_set_t *ret_cpus);
/* Opens the server's file, like open() of /dev/ubdcN, but also in a container; an fd or -errno. */
int control_open_char(struct control *control);

/* Opens the disk, like open() of /dev/ubdbN, but also in a container; an fd or -errno. */
int control_open_block(struct control *control);
/* Sets the size of a disk that was started; its users are notified. */
int control_update_size(struct control *control, uint64_t sectors);
int control_start_dev(struct control *control);
int control_stop_dev(struct control *control);
/* -EBUSY if the disk is open. */
int control_try_stop_dev(struct control *control);
int control_del_dev(struct control *control);

/* Asks the server of a device with recovery to leave, and waits until it has left. */
int control_quiesce(struct control *control);

/*
 * Makes way for this process to serve the device: asks the current server to leave, if there is
 * one, and waits for it to end.
 */
int control_take_over(struct control *control);
int control_end_recovery(struct control *control);

#endif
