// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bottom node `file`: a regular file or a block device of the host.
 *
 * It keeps these promises to the nodes above:
 *  - a transfer is done as a whole or fails; reads beyond the end give zeroes;
 *  - reading what another program has cut off is an error and does not give zeroes, even if the
 *    file has grown again since;
 *  - writes beyond the end make a regular file grow, at any alignment;
 *  - behind img->size the file reads as zeroes, even if it is longer (file_ahead.h);
 *  - a flush that succeeded has made everything durable that had completed before it; once the
 *    kernel has failed to write data back, no later flush succeeds.
 *
 * What may sleep without the ring (open, stat, ftruncate, lseek, ioctl) runs on a worker.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "align.h"
#include "file_ahead.h"
#include "file_calls.h"
#include "file_lock.h"
#include "file_open.h"

/* Iovecs per system call; they live on the stack. */
#define IOVECS_PER_CALL 64
/* With IMAGE_WRITE_BEHIND: after so much was written, it is written back. */
#define BEHIND_BYTES	(8ull << 20)
struct file {
	int fd;
	bool is_bdev;
	bool had_no_name; /* from the start: an unlinked file that was passed on */
	/* What other programs have done to it: IMAGE_TROUBLE_CUT, _DELETED. */
	_Atomic unsigned troubles;
	/* With IMAGE_TROUBLE_CUT: the part of the file that was cut off. */
	_Atomic uint64_t cut_from, cut_to;
	/* Of its file system, as file_inspect() saw it last; both 0: not known. */
	_Atomic uint64_t space_free, space_total;
	_Atomic uint64_t written_end; /* of a block device: how far it was written */
	/* What the file system or device has refused once is not tried again. */
	_Atomic bool no_punch_hole;
	_Atomic bool no_zero_range;
	_Atomic bool no_fallocate;
	_Atomic bool no_discard;
	_Atomic bool no_seek_hole;

	/* With IMAGE_WRITE_BEHIND: bytes written, and whether they are being written back. */
	bool write_behind;
	_Atomic uint64_t written;
	_Atomic bool writing_back;

	/* Whether it may be longer than img->size. */
	bool may_grow_ahead;
	struct file_ahead ahead;

	/* Something has changed that no fdatasync started since covers. */
	_Atomic bool dirty;
	struct thread_lock flush_lock;
	struct co_queue flush_queue; /* waits for the end of an fdatasync */
	bool flush_running GUARDED_BY(flush_lock);
	uint64_t flushes_started GUARDED_BY(flush_lock);
	uint64_t flushes_ended GUARDED_BY(flush_lock);
	int flush_error GUARDED_BY(flush_lock); /* the first one, which stays */

	struct file_calls calls;
};

/* ---- open ---- */

static int close_on_worker(void *arg)
{
	const struct image *img = arg;
	const struct file *file = img->opaque;
	int ret = file_ahead_cut(&file->ahead);

	file_unlock(file->fd);
	if (close(file->fd) < 0)
		return ret ?: -errno;
	return ret;
}

static enum file_locking locking_of(const struct node_options *options)
{
	const char *locking = node_options_text(options, "locking");

	if (!locking || strcmp(locking, "auto") == 0)
		return FILE_LOCKING_AUTO;
	return strcmp(locking, "on") == 0 ? FILE_LOCKING_ON : FILE_LOCKING_OFF;
}

/* What does the I/O is chosen for a whole program, so this changes nothing. */
static int check_aio(const struct image_open_opts *opts, GError **err)
{
	const char *aio = node_options_text(opts->node, "aio");

	if (!aio || strcmp(aio, "native") != 0 || opts->flags & IMAGE_DIRECT)
		return 0;
	return error_refuse(err, -EINVAL,
			    "aio=native was specified, but it requires cache.direct=on, which was "
			    "not specified.");
}

/* Only with the lock: otherwise somebody else may append to the file. */
static bool may_grow_ahead(const struct image_open_opts *opts, const struct file_open *opened)
{
	return opts->flags & IMAGE_RDWR && !(opts->flags & IMAGE_FORCE_SHARE) && !opened->is_bdev &&
	       opened->locked && node_options_bool(opts->node, "grow-ahead", true);
}

static int file_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	struct file_open opened = {
		.filename = img->filename,
		.flags = opts->flags,
		.named = opts->named_file,
		.locking = locking_of(opts->node),
		.is_host_device =
			g_strcmp0(node_options_text(opts->node, "driver"), "host_device") == 0,
		.fd = opts->fd ? *opts->fd : -1,
	};
	struct file *file;
	int ret = check_aio(opts, err) ?: file_co_open_fd(&opened, err);

	if (ret)
		return ret;
	file = g_new0(struct file, 1);
	file->fd = opened.fd;
	file->is_bdev = opened.is_bdev;
	file->had_no_name = opened.has_no_name;
	file->write_behind = opts->flags & IMAGE_WRITE_BEHIND && !opened.limits.direct;
	file->cut_from = UINT64_MAX;
	file->may_grow_ahead = may_grow_ahead(opts, &opened);
	file_ahead_init(&file->ahead, img, opened.fd, &file->calls);
	thread_lock_init(&file->flush_lock);
	co_queue_init(&file->flush_queue);
	file_calls_init(&file->calls, opened.id.dev ?: opened.id.ino);
	img->opaque = file;
	img->id = opened.id;
	img->has_owner = opened.has_owner;
	img->owner = opened.owner;
	img->changed_ns = opened.changed_ns;
	img->ended_with_data = opened.ends_with_data;
	img->is_bdev = opened.is_bdev;
	img->unlocked = opened.unlocked;
	img->size = opened.size;
	img->limits = opened.limits;
	return 0;
}

static int file_co_keep_writers_out(struct image *img, GError **err)
{
	const struct file *file = img->opaque;
	struct file_open opened = {
		.filename = img->filename,
		.flags = img->flags,
		.locking = locking_of(img->options),
		.fd = file->fd,
	};

	return file_co_keep_writers_out_fd(&opened, err);
}

static int file_co_close(struct image *img)
{
	struct file *file = img->opaque;
	int ret;

	file_ahead_co_end(&file->ahead);
	ret = file_calls_co_run(&file->calls, close_on_worker, img);
	file_ahead_destroy(&file->ahead);
	file_calls_destroy(&file->calls);
	co_queue_destroy(&file->flush_queue);
	thread_lock_destroy(&file->flush_lock);
	g_free(file);
	return ret;
}

/* ---- what others do to it ---- */

/* Image locks only keep out programs that ask for them. */
static void note_cut(struct file *file, uint64_t end, uint64_t size)
{
	uint64_t from = atomic_load(&file->cut_from), to = atomic_load(&file->cut_to);

	while (to < size && !atomic_compare_exchange_weak(&file->cut_to, &to, size))
		;
	while (from > end && !atomic_compare_exchange_weak(&file->cut_from, &from, end))
		;
	atomic_fetch_or(&file->troubles, IMAGE_TROUBLE_CUT);
}

static bool was_cut_off(const struct file *file, uint64_t off, uint64_t bytes)
{
	return off + bytes > atomic_load(&file->cut_from) && off < atomic_load(&file->cut_to);
}

/*
 * The file ends at @end; when the caller began to look, it ended at or behind @size. Returns
 * whether another program has cut it: we may have done so ourselves meanwhile.
 */
static bool is_cut(struct image *img, uint64_t end, uint64_t size)
{
	size = MIN(size, image_size(img));
	if (end >= size)
		return false;
	note_cut(img->opaque, end, size);
	return true;
}

static int64_t length_of(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);

	return end < 0 ? -errno : end;
}

static void look_for_deletion(struct file *file)
{
	struct stat st;
	int error = fstat(file->fd, &st) < 0 ? errno : 0;

	/* An NFS server answers ESTALE. */
	if (error ? error == ESTALE : S_ISREG(st.st_mode) && st.st_nlink == 0)
		atomic_fetch_or(&file->troubles, IMAGE_TROUBLE_DELETED);
}

static void look_for_space(struct file *file)
{
	struct statvfs st;

	if (file->is_bdev || fstatvfs(file->fd, &st) < 0)
		return;
	atomic_store(&file->space_free, (uint64_t)st.f_bavail * st.f_frsize);
	atomic_store(&file->space_total, (uint64_t)st.f_blocks * st.f_frsize);
}

/* A block device has room behind what was written; nobody knows before that is far. */
static struct image_space file_space(const struct image *img)
{
	struct file *file = img->opaque;
	uint64_t end = atomic_load(&file->written_end), size = image_size(img);

	if (file->is_bdev)
		return (struct image_space){ end ? size - MIN(size, end) : 0, end ? size : 0 };
	return (struct image_space){ atomic_load(&file->space_free),
				     atomic_load(&file->space_total) };
}

static void note_written_end(struct file *file, uint64_t end)
{
	uint64_t known = atomic_load_explicit(&file->written_end, memory_order_relaxed);

	while (known < end && !atomic_compare_exchange_weak(&file->written_end, &known, end))
		;
}

static void file_inspect(struct image *img)
{
	struct file *file = img->opaque;
	uint64_t size = image_size(img);
	int64_t end = length_of(file->fd);

	if (end >= 0)
		is_cut(img, end, size);
	if (!file->had_no_name)
		look_for_deletion(file);
	look_for_space(file);
}

/* ---- read and write ---- */

static bool is_transient(ssize_t ret)
{
	return ret == -EINTR || ret == -EAGAIN;
}

/*
 * In functions of their own: most requests are in one piece of memory, and the less stack each
 * takes, the more of the stacks stay in the CPU's cache.
 */
static G_GNUC_NO_INLINE ssize_t co_read_pieces(const struct file *file, uint64_t off,
					       struct iobuf mem, size_t *bytes)
{
	struct iovec iov[IOVECS_PER_CALL];
	unsigned niov = iobuf_clip_some(iov, IOVECS_PER_CALL, mem, bytes);

	return co_preadv(file->fd, iov, niov, off);
}

static G_GNUC_NO_INLINE ssize_t co_write_pieces(const struct file *file, uint64_t off,
						struct iobuf mem, size_t *bytes)
{
	struct iovec iov[IOVECS_PER_CALL];
	unsigned niov = iobuf_clip_some(iov, IOVECS_PER_CALL, mem, bytes);

	return co_pwritev(file->fd, iov, niov, off, 0);
}

/* Transfers the first of *bytes, as many as fit; *bytes becomes how many were asked for. */
static ssize_t co_read_some(const struct file *file, uint64_t off, struct iobuf mem, size_t *bytes)
{
	const struct iovec flat = { iobuf_flat(mem, *bytes), *bytes };

	if (flat.iov_base)
		return co_preadv(file->fd, &flat, 1, off);
	if (mem.is_fixed)
		return co_read_fixed(file->fd, mem.fixed->index, iobuf_fixed_addr(mem), *bytes,
				     off);
	return co_read_pieces(file, off, mem, bytes);
}

static ssize_t co_write_some(const struct file *file, uint64_t off, struct iobuf mem, size_t *bytes)
{
	const struct iovec flat = { iobuf_flat(mem, *bytes), *bytes };

	if (flat.iov_base)
		return co_pwritev(file->fd, &flat, 1, off, 0);
	if (mem.is_fixed)
		return co_write_fixed(file->fd, mem.fixed->index, iobuf_fixed_addr(mem), *bytes,
				      off);
	return co_write_pieces(file, off, mem, bytes);
}

static int file_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct file *file = img->opaque;
	uint64_t size = image_size(img);

	if (was_cut_off(file, off, bytes))
		return -EIO;
	while (bytes) {
		size_t asked = bytes;
		ssize_t ret = co_read_some(file, off, mem, &asked);

		if (is_transient(ret)) {
			co_reschedule();
			continue;
		}
		if (ret < 0)
			return ret;
		mem = iobuf_advance(mem, ret);
		off += ret;
		bytes -= ret;
		/*
		 * The end of the file: nothing more follows or, if transfers consist of whole
		 * blocks, only a part of one.
		 */
		if (ret == 0 || ((uint64_t)ret < asked && ret % img->limits.request_alignment))
			return is_cut(img, off, size) ? -EIO : iobuf_zero(mem, bytes);
	}
	return 0;
}

/*
 * Records a change, after it is done and before anybody is told. If the flag is already set, its
 * cache line stays shared between the loops: if a flush clears it after this load, its fdatasync
 * starts after the change and covers it.
 */
static void file_set_dirty(struct file *file)
{
	if (!atomic_load(&file->dirty))
		atomic_store(&file->dirty, true);
}

static int write_all(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct file *file = img->opaque;

	while (bytes) {
		size_t asked = bytes;
		ssize_t ret = co_write_some(file, off, mem, &asked);

		if (is_transient(ret)) {
			co_reschedule();
			continue;
		}
		if (ret < 0)
			return ret;
		/* The rest of a short write starts on a multiple again. */
		ret -= ret % img->limits.request_alignment;
		if (!ret)
			return -EIO;
		mem = iobuf_advance(mem, ret);
		off += ret;
		bytes -= ret;
	}
	return 0;
}

/*
 * What lies behind img->size is taken for zeroes, so a failed write up to @end must not leave
 * img->size too small. Nor too large: the file may not have grown that far, or be longer than that.
 */
static uint64_t end_of_failed_write(struct image *img, uint64_t end)
{
	const struct file *file = img->opaque;
	struct stat st;

	return !file->is_bdev && !fstat(file->fd, &st) ? MIN((uint64_t)st.st_size, end) : 0;
}

/* Only starts it. Errors are left to the flush: its fdatasync reports them. */
static void co_write_behind(struct file *file, uint64_t bytes)
{
	uint64_t before;

	if (!file->write_behind)
		return;
	before = atomic_fetch_add(&file->written, bytes);
	if (before / BEHIND_BYTES == (before + bytes) / BEHIND_BYTES ||
	    atomic_exchange(&file->writing_back, true))
		return;
	co_sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	atomic_store(&file->writing_back, false);
}

static int file_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			   unsigned flags)
{
	struct file *file = img->opaque;
	int ret = write_all(img, off, bytes, mem);

	/* Even if it failed: a part may have been written. */
	file_set_dirty(file);
	if (file->is_bdev)
		note_written_end(file, off + bytes);
	image_grow(img, ret ? end_of_failed_write(img, off + bytes) : off + bytes);
	if (!ret) {
		file_ahead_written(&file->ahead, off + bytes);
		co_write_behind(file, bytes);
	}
	return ret;
}

static bool file_grow_ahead(struct image *img)
{
	struct file *file = img->opaque;

	return file->may_grow_ahead && file_ahead_turn_on(&file->ahead);
}

/* ---- copies by the kernel ---- */

struct copy_range_job {
	int from, to;
	off_t from_off, to_off;
	uint64_t bytes;
	unsigned flags;
};

static int share_range(const struct copy_range_job *job)
{
	struct file_clone_range range = {
		.src_fd = job->from,
		.src_offset = job->from_off,
		.src_length = job->bytes,
		.dest_offset = job->to_off,
	};

	return ioctl(job->to, FICLONERANGE, &range) ? -errno : 0;
}

static int copy_range_on_worker(void *arg)
{
	struct copy_range_job *job = arg;

	if (job->flags & IMAGE_COPY_SHARE)
		return share_range(job);
	while (job->bytes) {
		ssize_t done = copy_file_range(job->from, &job->from_off, job->to, &job->to_off,
					       job->bytes, 0);

		/* Some file systems answer 0 instead of an error. */
		if (done == 0)
			return -EIO;
		if (done < 0 && !is_transient(-errno))
			return -errno;
		job->bytes -= MAX(done, 0);
	}
	return 0;
}

static int file_co_copy_range(struct image *img, uint64_t off, struct image *from,
			      uint64_t from_off, uint64_t bytes, unsigned flags)
{
	struct file *file = img->opaque, *from_file = from->opaque;
	struct copy_range_job job = {
		.from_off = from_off,
		.to_off = off,
		.bytes = bytes,
		.flags = flags,
	};
	int ret;

	if (from->ops->co_copy_range != file_co_copy_range)
		return -ENOTSUP;
	if (was_cut_off(from_file, from_off, bytes))
		return -EIO;
	job.from = from_file->fd;
	job.to = file->fd;
	ret = file_calls_co_run(&file->calls, copy_range_on_worker, &job);
	file_set_dirty(file);
	image_grow(img, ret ? end_of_failed_write(img, off + bytes) : off + bytes);
	return ret;
}

/* ---- flush ---- */

/* Runs one fdatasync for everybody who waits. The lock is dropped meanwhile. */
static void run_fdatasync(struct file *file) REQUIRES(file->flush_lock)
{
	int ret;

	file->flush_running = true;
	file->flushes_started++;
	atomic_store(&file->dirty, false);
	thread_unlock(&file->flush_lock);

	do {
		ret = co_fdatasync(file->fd);
	} while (is_transient(ret));

	thread_lock(&file->flush_lock);
	/*
	 * The kernel reports once that it could not write data back, then takes the pages for
	 * clean: the next fdatasync would succeed without that data. So the first error stays.
	 */
	if (ret && !file->flush_error)
		file->flush_error = ret;
	file->flush_running = false;
	file->flushes_ended++;
	co_queue_wake_all(&file->flush_queue);
}

/*
 * An fdatasync covers what had completed before it started. So a flush that arrives while one runs
 * needs the next one; all that arrive meanwhile share that.
 */
static int file_co_flush(struct image *img)
{
	struct file *file = img->opaque;
	uint64_t wanted;
	int ret;

	thread_lock(&file->flush_lock);
	/*
	 * If everything is clean, an fdatasync that is running was started after the last change.
	 */
	wanted = file->flushes_started + atomic_load(&file->dirty);
	while (file->flushes_ended < wanted && !file->flush_error) {
		if (file->flush_running)
			co_queue_wait_thread(&file->flush_queue, &file->flush_lock);
		else
			run_fdatasync(file);
	}
	ret = file->flush_error;
	thread_unlock(&file->flush_lock);
	return ret;
}

/* ---- zeroes and discard ---- */

static bool is_refusal(int ret)
{
	return ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -ENOTTY;
}

/* fallocate(); -ENOTSUP for ever after it was refused once. */
static int try_fallocate(struct file *file, _Atomic bool *refused, int mode, uint64_t off,
			 uint64_t bytes)
{
	int ret;

	if (atomic_load(refused))
		return -ENOTSUP;
	do {
		ret = co_fallocate(file->fd, mode, off, bytes);
	} while (is_transient(ret));
	if (!is_refusal(ret))
		return ret;
	atomic_store(refused, true);
	return -ENOTSUP;
}

/*
 * Makes the file grow to @end, which punching a hole did not do. ftruncate() could cut off what
 * another request has appended meanwhile; a write never shrinks the file.
 */
static int extend_with_zeroes(struct image *img, uint64_t end)
{
	uint32_t bytes = img->limits.request_alignment;
	void *zeroes = try_iobuf_alloc0(bytes);
	struct iovec iov;
	int ret;

	if (!zeroes)
		return -ENOMEM;
	ret = write_all(img, end - bytes, bytes, IOBUF(&iov, zeroes, bytes));
	iobuf_free(zeroes);
	return ret;
}

/* It may have grown since a larger request was refused. */
static uint64_t bdev_size(struct image *img)
{
	const struct file *file = img->opaque;
	int64_t end = length_of(file->fd);

	if (end > 0)
		image_grow(img, end);
	return image_size(img);
}

static int punch_to_zero(struct image *img, uint64_t off, uint64_t bytes)
{
	struct file *file = img->opaque;
	int ret = try_fallocate(file, &file->no_punch_hole,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, bytes);

	if (!ret && off + bytes > img->size)
		ret = extend_with_zeroes(img, off + bytes);
	return ret;
}

static int zero_range(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	struct file *file = img->opaque;
	int ret = -ENOTSUP;

	if (file->is_bdev && off + bytes > bdev_size(img))
		return -ENOSPC;
	if (flags & IMAGE_REQ_MAY_UNMAP)
		ret = punch_to_zero(img, off, bytes);
	/* New space reads as zeroes anyway, and more file systems support this. */
	if (ret == -ENOTSUP && off >= img->size)
		ret = try_fallocate(file, &file->no_fallocate, 0, off, bytes);
	if (ret == -ENOTSUP)
		ret = try_fallocate(file, &file->no_zero_range, FALLOC_FL_ZERO_RANGE, off, bytes);
	return ret;
}

static int file_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	int ret = zero_range(img, off, bytes, flags);

	file_set_dirty(img->opaque);
	if (!ret)
		image_grow(img, off + bytes);
	return ret;
}

struct bdev_discard_job {
	int fd;
	uint64_t range[2];
};

static int bdev_discard_on_worker(void *arg)
{
	struct bdev_discard_job *job = arg;

	return ioctl(job->fd, BLKDISCARD, job->range) < 0 ? -errno : 0;
}

static int bdev_co_discard(struct file *file, uint64_t off, uint64_t bytes)
{
	struct bdev_discard_job job = { file->fd, { off, bytes } };
	int ret;

	if (atomic_load(&file->no_discard))
		return -ENOTSUP;
	ret = file_calls_co_run(&file->calls, bdev_discard_on_worker, &job);
	if (!is_refusal(ret))
		return ret;
	atomic_store(&file->no_discard, true);
	return -ENOTSUP;
}

static int file_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	struct file *file = img->opaque;
	int ret;

	/*
	 * There is nothing to give back behind the end, and a device refuses a range that exceeds
	 * it.
	 */
	if (off >= img->size)
		return 0;
	bytes = MIN(bytes, img->size - off);
	if (file->is_bdev)
		ret = bdev_co_discard(file, off, bytes);
	else
		ret = try_fallocate(file, &file->no_punch_hole,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, bytes);
	file_set_dirty(file);
	return ret;
}

/* ---- size and space ---- */

struct truncate_job {
	int fd;
	uint64_t size;
};

static int truncate_on_worker(void *arg)
{
	struct truncate_job *job = arg;

	return TEMP_FAILURE_RETRY(ftruncate(job->fd, job->size)) < 0 ? -errno : 0;
}

static int file_co_truncate(struct image *img, uint64_t size)
{
	struct file *file = img->opaque;
	struct truncate_job job = { file->fd, size };
	uint64_t old_size = image_size(img);
	int ret;

	/* The size of a device is fixed. */
	if (file->is_bdev)
		return size <= bdev_size(img) ? 0 : -ENOSPC;
	/* First, so that nobody finds a file that is shorter than its recorded size. */
	if (size < old_size)
		img->size = size;
	file_ahead_co_pause(&file->ahead);
	ret = file_calls_co_run(&file->calls, truncate_on_worker, &job);
	file_set_dirty(file);
	file_ahead_truncated(&file->ahead, size);
	if (!ret)
		img->size = size;
	else
		image_grow(img, old_size);
	return ret;
}

static int measure_on_worker(void *arg)
{
	struct truncate_job *job = arg;
	int64_t end = length_of(job->fd);

	if (end < 0)
		return end;
	job->size = end;
	return 0;
}

static int file_co_refresh_size(struct image *img)
{
	struct file *file = img->opaque;
	struct truncate_job job = { file->fd, 0 };
	int ret = file_calls_co_run(&file->calls, measure_on_worker, &job);

	/* Unless we have made it longer: then nobody else may. */
	if (!ret && !atomic_load(&file->ahead.has_grown))
		image_grow(img, job.size);
	return ret;
}

struct seek_job {
	int fd;
	off_t off;
	off_t ret_data;	 /* the next data at or after off; < 0: -errno */
	off_t ret_hole;	 /* the next hole, if ret_data == off; < 0: -errno */
	int64_t ret_end; /* of the file, if there is no data at or after off; < 0: -errno */
};

static int seek_on_worker(void *arg)
{
	struct seek_job *job = arg;

	job->ret_data = lseek(job->fd, job->off, SEEK_DATA);
	if (job->ret_data < 0) {
		int error = errno;

		job->ret_end = length_of(job->fd);
		return -error;
	}
	if (job->ret_data > job->off)
		return 0;
	job->ret_hole = lseek(job->fd, job->off, SEEK_HOLE);
	return job->ret_hole < 0 ? -errno : 0;
}

/* If holes cannot be told from data, everything is data. */
static int file_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
				struct image_extent *ret_extent)
{
	struct file *file = img->opaque;
	struct seek_job job = { .fd = file->fd, .off = off };
	unsigned kind = IMAGE_EXTENT_DATA;
	uint64_t size = image_size(img);
	int ret = -EINVAL;

	if (was_cut_off(file, off, bytes))
		return -EIO;
	if (!file->is_bdev && !atomic_load(&file->no_seek_hole)) {
		ret = file_calls_co_run(&file->calls, seek_on_worker, &job);
		if (ret == -EINVAL || is_refusal(ret))
			atomic_store(&file->no_seek_hole, true);
	}
	if (ret == -ENXIO) { /* no data up to the end, nor behind it */
		if (job.ret_end >= 0 && is_cut(img, job.ret_end, size) &&
		    was_cut_off(file, off, bytes))
			return -EIO;
		kind = IMAGE_EXTENT_ZERO;
	} else if (!ret && job.ret_data > job.off) {
		kind = IMAGE_EXTENT_ZERO;
		bytes = MIN(bytes, (uint64_t)(job.ret_data - job.off));
	} else if (!ret && job.ret_hole > job.off) {
		bytes = MIN(bytes, (uint64_t)(job.ret_hole - job.off));
	}
	ret_extent->bytes = bytes;
	ret_extent->flags = kind | IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_OFFSET;
	ret_extent->host_off = off;
	return 0;
}

struct blocks_job {
	int fd;
	int64_t ret_bytes;
};

static int blocks_on_worker(void *arg)
{
	struct blocks_job *job = arg;
	struct stat st;

	if (fstat(job->fd, &st) < 0)
		return -errno;
	job->ret_bytes = (int64_t)st.st_blocks * SECTOR_SIZE;
	return 0;
}

static int64_t file_co_allocated_bytes(struct image *img)
{
	struct file *file = img->opaque;
	struct blocks_job job = { .fd = file->fd };
	int ret = file_calls_co_run(&file->calls, blocks_on_worker, &job);

	return ret ?: job.ret_bytes;
}

static unsigned file_troubles(const struct image *img)
{
	struct file *file = img->opaque;
	unsigned troubles = atomic_load(&file->troubles);

	thread_lock(&file->flush_lock);
	if (file->flush_error)
		troubles |= IMAGE_TROUBLE_LOST;
	thread_unlock(&file->flush_lock);
	return troubles;
}

static const char *const locking_choices[] = { "auto", "on", "off", NULL };
static const char *const aio_choices[] = { "threads", "native", "io_uring", NULL };

static const struct node_option options[] = {
	{
		.name = "filename",
		.type = NODE_OPTION_STRING,
		.help = "The file or block device",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "locking",
		.type = NODE_OPTION_CHOICE,
		.default_value = "auto",
		.help = "Lock the file: auto (where possible), on or off",
		.choices = locking_choices,
	},
	{
		.name = "grow-ahead",
		.type = NODE_OPTION_BOOL,
		.default_value = "on",
		.help = "Allocate space ahead where a format appends to the file",
	},
	{
		.name = "aio",
		.type = NODE_OPTION_CHOICE,
		.help = "How to do I/O: native, or what the program uses, io_uring or threads",
		.choices = aio_choices,
	},
	{
		.name = "aio-max-batch",
		.type = NODE_OPTION_NUMBER,
		.help = "Accepted; a turn of the loop is a batch",
	},
	{
		.name = "pr-manager",
		.type = NODE_OPTION_STRING,
		.help = "The manager of persistent reservations",
		.refusal = "there are no persistent reservations",
	},
	{
		.name = "drop-cache",
		.type = NODE_OPTION_BOOL,
		.help = "Accepted; there is no migration",
	},
	{
		.name = "x-check-cache-dropped",
		.type = NODE_OPTION_BOOL,
		.help = "Accepted; there is no migration",
	},
	{},
};

const struct bottom_ops image_file_bottom = {
	.io = {
		.name = "file",
		.grows = true,
		.co_close = file_co_close,
		.co_preadv = file_co_preadv,
		.co_pwritev = file_co_pwritev,
		.co_copy_range = file_co_copy_range,
		.co_flush = file_co_flush,
		.co_pdiscard = file_co_pdiscard,
		.co_pwrite_zeroes = file_co_pwrite_zeroes,
		.co_block_status = file_co_block_status,
		.co_truncate = file_co_truncate,
		.co_refresh_size = file_co_refresh_size,
		.co_allocated_bytes = file_co_allocated_bytes,
	},
	.options = options,
	.is_path = true,
	.co_open = file_co_open,
	.co_keep_writers_out = file_co_keep_writers_out,
	.inspect = file_inspect,
	.troubles = file_troubles,
	.space = file_space,
	.grow_ahead = file_grow_ahead,
	.identify = file_identify,
	.stable_name = file_stable_name,
	.is_same = file_is_same,
	.co_create = file_co_create,
	.abandon = file_abandon,
};
