/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernel versions: the only file that looks at
 * LINUX_VERSION_CODE, and the only one that looks into io_uring's structs.
 */
#ifndef UBD_COMPAT_H
#define UBD_COMPAT_H

#include <linux/device/class.h>
#include <linux/io_uring.h>
#include <linux/io_uring_types.h>
#include <linux/mm.h>
#include <linux/percpu-refcount.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0) || LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#error "this version of ubd builds for Linux 6.1 only"
#endif

static inline struct class *ubd_class_create(const char *name)
{
	return class_create(THIS_MODULE, name);
}

/* No mprotect() can make the mapping writable, and no child inherits it. */
static inline void ubd_vma_seal(struct vm_area_struct *vma)
{
	vma->vm_flags &= ~VM_MAYWRITE;
	vma->vm_flags |= VM_DONTCOPY;
}

/*
 * True if @cmd can no longer do its work: its ring is being torn down, or the thread
 * that issued it has begun to exit or to execute another program, and waits for its
 * commands to end. Linux 6.1 does not tell a driver (later kernels cancel the
 * command), so it must look. The caller sees to it that @cmd is not completed
 * meanwhile.
 */
static inline bool ubd_cmd_is_orphan(struct io_uring_cmd *cmd)
{
	struct io_kiocb *req = cmd_to_io_kiocb(cmd);

	return percpu_ref_is_dying(&req->ctx->refs) || atomic_read(&req->task->io_uring->in_idle);
}

/*
 * Completes @cmd at once from any context that may take io_uring's completion
 * lock (a spinlock), whatever the task that issued it does.
 */
static inline void ubd_cmd_done_anywhere(struct io_uring_cmd *cmd, int res)
{
	io_uring_cmd_done(cmd, res, 0, IO_URING_F_UNLOCKED);
}

/* What ->uring_cmd() returns so that @res becomes the CQE's: 6.1 loses a positive one. */
static inline int ubd_cmd_return(struct io_uring_cmd *cmd, int res, unsigned int issue_flags)
{
	if (res <= 0)
		return res;
	io_uring_cmd_done(cmd, res, 0, issue_flags);
	return -EIOCBQUEUED;
}

#endif
