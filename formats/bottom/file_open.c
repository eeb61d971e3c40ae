// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The names of host files: opens, creates and identifies them, and abandons what was begun; see
 * file_open.h. Everything that opens a file runs on a worker.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "align.h"
#include "file_lock.h"
#include "file_open.h"
#include "lock_holder.h"

/* No device or file system needs more than this for O_DIRECT. */
#define MAX_DIRECT_ALIGN 65536
/* <linux/magic.h> does not have these, at least not everywhere. */
#define BCACHEFS_MAGIC	 0xca451a4e
#define ZFS_MAGIC	 0x2fc12fc1

/* How much of a device is zeroed: without it no format or partition table is found. */
#define WIPED_BYTES	 65536

/* ---- identity ---- */

static struct file_id id_of(const struct stat *st)
{
	/* A device may have several nodes. */
	if (S_ISBLK(st->st_mode))
		return (struct file_id){ .known = true, .ino = st->st_rdev };
	return (struct file_id){ .known = true, .dev = st->st_dev, .ino = st->st_ino };
}

struct file_id file_identify(const char *filename)
{
	struct stat st;

	return stat(filename, &st) < 0 ? (struct file_id){} : id_of(&st);
}

/* Names of files that do not exist yet are the same if they are the same name in one folder. */
static bool is_same_new_name(const char *a, const char *b)
{
	g_autofree char *name_a = g_path_get_basename(a), *name_b = g_path_get_basename(b);
	g_autofree char *folder_a = g_path_get_dirname(a), *folder_b = g_path_get_dirname(b);
	struct file_id id_a = file_identify(folder_a), id_b = file_identify(folder_b);

	return strcmp(name_a, name_b) == 0 && file_id_equal(&id_a, &id_b);
}

bool file_is_same(const char *a, const char *b)
{
	struct file_id id_a = file_identify(a), id_b = file_identify(b);

	if (id_a.known || id_b.known)
		return file_id_equal(&id_a, &id_b);
	return strcmp(a, b) == 0 || is_same_new_name(a, b);
}

/*
 * Without links, except for a disk: there the links stay the same after a reboot, such as
 * /dev/disk/by-id/..., not what they point to.
 */
char *file_stable_name(const char *filename)
{
	char *real = realpath(filename, NULL), *name;
	struct stat st;

	if (!real || (stat(filename, &st) == 0 && S_ISBLK(st.st_mode)))
		name = g_canonicalize_filename(filename, NULL);
	else
		name = g_strdup(real);
	free(real);
	return name;
}

/* ---- open ---- */

static int G_GNUC_PRINTF(3, 4) open_failed(struct file_open *job, int ret, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vrefuse(&job->err, ret, format, args);
	va_end(args);
	g_prefix_error(&job->err, "Could not %s '%s': ", job->begun ? "create" : "open",
		       job->filename);
	return ret;
}

static const char *file_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	case S_IFCHR:
		return "a character device";
	case S_IFSOCK:
		return "a socket";
	default:
		return "not a file";
	}
}

static int check_type(struct file_open *job, const struct stat *st)
{
	if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
		return 0;
	if (S_ISDIR(st->st_mode) && job->begun)
		return open_failed(job, -EISDIR, "%s", g_strerror(EISDIR));
	return open_failed(job, S_ISDIR(st->st_mode) ? -EISDIR : -EINVAL,
			   "'file' driver requires '%s' to be a regular file, or a block device; "
			   "it is %s",
			   job->filename, file_type(st->st_mode));
}

static int bdev_geometry(struct file_open *job)
{
	int sector_size = 0;

	if (ioctl(job->fd, BLKGETSIZE64, &job->size) < 0 ||
	    ioctl(job->fd, BLKSSZGET, &sector_size) < 0)
		return error_set(&job->err, -errno,
				 "Could not open '%s': cannot get the size of the block device",
				 job->filename);
	/* Even without O_DIRECT: fallocate() on a device takes only whole sectors. */
	job->limits.request_alignment = sector_size;
	return 0;
}

/* Whether the kernel accepts a direct read of @bytes into @buf. */
static bool direct_read_works(int fd, void *buf, size_t bytes)
{
	ssize_t ret;

	do {
		ret = pread(fd, buf, bytes, 0);
	} while (ret < 0 && errno == EINTR);
	/* An I/O error does not mean that the alignment is wrong. */
	return ret >= 0 || errno != EINVAL;
}

/* What O_DIRECT needs, found by trial; 0 if nothing works. */
static unsigned probe_direct_alignment(int fd, uint64_t size)
{
	char *buf = try_iobuf_alloc(MAX_DIRECT_ALIGN);
	unsigned align;

	if (!buf)
		return 0;
	/*
	 * Nothing is refused at the end of a file: an empty file does not show whether less would
	 * do.
	 */
	for (align = size ? 512 : 4096; align <= MAX_DIRECT_ALIGN; align *= 2)
		if (direct_read_works(fd, buf, align))
			break;
	iobuf_free(buf);
	return align <= MAX_DIRECT_ALIGN ? align : 0;
}

/* The alignment that O_DIRECT needs on the open file; 0 if it does not support O_DIRECT. */
static unsigned direct_alignment(int fd, uint64_t size)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	/*
	 * One number for memory and file: the kernel wants the length of every piece of memory to
	 * be a multiple of the file's alignment.
	 */
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN))
		return stx.stx_dio_mem_align ? MAX(stx.stx_dio_mem_align, stx.stx_dio_offset_align)
					     : 0;
#endif
	return probe_direct_alignment(fd, size);
}

/* Turns O_DIRECT on if that works; everything works without it, too. */
static int set_up_direct(struct file_open *job)
{
	unsigned align = 0;

	if ((job->flags & IMAGE_DIRECT) && fcntl(job->fd, F_SETFL, O_DIRECT) == 0) {
		align = direct_alignment(job->fd, job->size);
		if (align > MAX_DIRECT_ALIGN || !is_power_of_2(align))
			align = 0;
	}
	if (align) {
		job->limits.direct = true;
		job->limits.request_alignment = MAX(align, job->limits.request_alignment);
		job->limits.memory_alignment = job->limits.request_alignment;
		return 0;
	}
	/* This also clears the O_NONBLOCK of open(). */
	if (fcntl(job->fd, F_SETFL, 0) < 0)
		return error_set(&job->err, -errno, "Could not open '%s'", job->filename);
	return 0;
}

static bool write_unlocked;

void image_write_unlocked(void)
{
	write_unlocked = true;
}

static int set_in_use(struct file_open *job, off_t locked_off)
{
	g_autofree char *holder = lock_holder(job->fd, locked_off);

	/* In QEMU's words, which scripts look for. */
	return open_failed(
		job, -EBUSY,
		"Failed to get %s\"write\" lock. Is another process using the image [%s]?%s%s%s%s",
		job->flags & IMAGE_RDWR ? "" : "shared ", job->filename, holder ? " (" : "",
		holder ?: "", holder ? ")" : "",
		job->flags & IMAGE_RDWR ? "" : " Sharing can be forced.");
}

static int lock_file(struct file_open *job)
{
	bool allowed = write_unlocked || job->flags & IMAGE_WRITE_UNLOCKED;
	off_t off;
	int ret;

	if (job->flags & IMAGE_FORCE_SHARE || job->locking == FILE_LOCKING_OFF)
		return 0;
	ret = file_lock(job->fd, job->lock_perms, job->lock_unshared, &off);
	if (ret == -EBUSY)
		return set_in_use(job, off);
	if (ret == -ENOLCK && job->locking == FILE_LOCKING_AUTO) {
		job->unlocked = !allowed;
		if (allowed || !(job->flags & IMAGE_RDWR))
			return 0;
		return open_failed(job, ret,
				   "the file system does not support locks, so another "
				   "program could write to it, too (--no-lock allows that)");
	}
	if (ret)
		return error_set(&job->err, ret, "Could not open '%s': cannot lock the image",
				 job->filename);
	job->locked = true;
	return 0;
}

/* Whether times of files there are by our clock: not on servers, nor on unknown file systems. */
static bool has_our_clock(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	switch ((unsigned long)fs.f_type) {
	case BCACHEFS_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case EXT4_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case OVERLAYFS_SUPER_MAGIC:
	case RAMFS_MAGIC:
	case TMPFS_MAGIC:
	case XFS_SUPER_MAGIC:
	case ZFS_MAGIC:
		return true;
	default:
		return false;
	}
}

static int measure(struct file_open *job)
{
	struct stat st;

	job->limits = (struct image_limits){ .request_alignment = 1, .memory_alignment = 1 };
	if (job->is_bdev)
		return bdev_geometry(job);
	if (fstat(job->fd, &st) < 0)
		return error_set(&job->err, -errno, "Could not open '%s'", job->filename);
	job->size = st.st_size;
	/* Asked later, it would take another switch to a worker. */
	if (job->flags & IMAGE_RDWR && st.st_size > 0)
		job->ends_with_data = lseek(job->fd, st.st_size - 1, SEEK_DATA) == st.st_size - 1;
	if (has_our_clock(job->fd))
		job->changed_ns = st.st_ctim.tv_sec * 1000000000LL + st.st_ctim.tv_nsec;
	return 0;
}

/* What an image names must be allowed. @fd may be an O_PATH descriptor. */
static int check_named(struct file_open *job, int fd)
{
	g_autofree char *refusal = job->named ? named_file_refusal(job->named, fd) : NULL;

	return refusal ? open_failed(job, -EPERM, "%s", refusal) : 0;
}

static int check_opened(struct file_open *job)
{
	struct stat st;
	int ret;

	if (fstat(job->fd, &st) < 0)
		return error_set(&job->err, -errno, "Could not open '%s'", job->filename);
	job->is_bdev = S_ISBLK(st.st_mode);
	job->has_no_name = st.st_nlink == 0;
	job->id = id_of(&st);
	job->has_owner = S_ISREG(st.st_mode);
	job->owner = st.st_uid;
	ret = check_type(job, &st);
	if (!ret && job->is_host_device && !job->is_bdev)
		ret = open_failed(job, -EINVAL,
				  "'host_device' driver requires '%s' to be a block device",
				  job->filename);
	ret = ret ?: check_named(job, job->fd);
	ret = ret ?: lock_file(job);
	/* From here on nobody else makes it grow. */
	ret = ret ?: measure(job);
	return ret ?: set_up_direct(job);
}

/* Explains what the system's bare message leaves open. */
static const char *open_hint(int error, unsigned flags, bool named)
{
	if (error == ELOOP && named)
		return " (an image may not name a file behind a link of /proc)";
	if (error == EBUSY)
		return " (the device is mounted, or another user holds it)";
	if (error == EACCES && (flags & IMAGE_RDWR))
		return " (to read and write)";
	return "";
}

/* After a failure: leaves nothing open, and no file that did not exist before. */
static void discard_fd(struct file_open *job)
{
	if (job->made)
		unlink(job->filename);
	close(job->fd);
}

static int open_file(const struct file_open *job, int flags)
{
	if (job->named)
		return named_file_open(job->filename, flags);
	return open(job->filename, flags, 0644);
}

/* Looks at the file without opening it. If that fails, open() will refuse it. */
static int look_first(struct file_open *job, bool *ret_is_bdev)
{
	int fd = open_file(job, O_PATH | O_CLOEXEC), ret = 0;
	struct stat st;

	*ret_is_bdev = false;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) == 0) {
		*ret_is_bdev = S_ISBLK(st.st_mode);
		ret = check_type(job, &st);
	}
	ret = ret ?: check_named(job, fd);
	close(fd);
	return ret;
}

static int duplicate_fd(struct file_open *job)
{
	job->fd = fcntl(job->fd, F_DUPFD_CLOEXEC, 0);
	return job->fd < 0 ? open_failed(job, -errno, "%s", g_strerror(errno)) : 0;
}

static int open_by_name(struct file_open *job)
{
	int flags = (job->flags & IMAGE_RDWR ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY;
	bool is_bdev;
	int ret;

	if (!*job->filename && !job->begun)
		return open_failed(job, -ENOENT, "The 'file' block driver requires a file name");
	/*
	 * Opening a device node or a pipe can have effects or wait, so look first. If the file has
	 * changed in between, O_NONBLOCK keeps us from waiting.
	 */
	ret = look_first(job, &is_bdev);
	if (ret)
		return ret;
	/* The kernel refuses to open a mounted device exclusively. */
	if (is_bdev && (job->flags & IMAGE_RDWR))
		flags |= O_EXCL;
	job->fd = open_file(job, flags | job->open_flags | O_NONBLOCK);
	job->made = job->fd >= 0 && (job->open_flags & O_EXCL) && (job->open_flags & O_CREAT);
	if (job->fd < 0)
		return open_failed(job, -errno, "%s%s", g_strerror(errno),
				   open_hint(errno, job->flags, job->named));
	return 0;
}

/* Opens the file, checks what it is, and locks it. On a worker. */
static int open_on_worker(void *arg)
{
	struct file_open *job = arg;
	int ret = job->fd >= 0 ? duplicate_fd(job) : open_by_name(job);

	if (ret)
		return ret;
	ret = check_opened(job);
	if (ret)
		discard_fd(job);
	return ret;
}

static int pass_error(struct file_open *job, int ret, GError **err)
{
	if (job->err)
		g_propagate_error(err, job->err);
	return ret;
}

int file_co_open_fd(struct file_open *job, GError **err)
{
	/*
	 * Other programs may read. But they may not write or resize, neither while we write nor
	 * while we read: what we know of the image would become wrong.
	 */
	job->lock_perms = FILE_LOCK_CONSISTENT_READ;
	if (!(job->flags & IMAGE_BEAR_WRITERS))
		job->lock_unshared = FILE_LOCK_WRITE | FILE_LOCK_RESIZE;
	if (job->flags & IMAGE_RDWR)
		job->lock_perms |= FILE_LOCK_WRITE | FILE_LOCK_RESIZE;
	return pass_error(job, co_block_on_worker(open_on_worker, job), err);
}

static int keep_writers_out_on_worker(void *arg)
{
	return lock_file(arg);
}

int file_co_keep_writers_out_fd(struct file_open *job, GError **err)
{
	job->lock_perms = 0;
	job->lock_unshared = FILE_LOCK_WRITE | FILE_LOCK_RESIZE;
	return pass_error(job, co_block_on_worker(keep_writers_out_on_worker, job), err);
}

/* ---- abandon: all of it safe in a signal handler ---- */

static void wipe(int fd)
{
	static const char zeroes[WIPED_BYTES];

	/* What cannot be wiped stays: there is nobody left to tell. */
	if (pwrite(fd, zeroes, sizeof(zeroes), 0) > 0)
		fsync(fd);
}

/* Only the file that was begun: by now the name may belong to another one. */
void file_abandon(const struct image_begun_file *begun, bool may_wipe)
{
	struct file_id id = file_identify(begun->filename);
	struct stat st;
	int fd;

	if (!file_id_equal(&id, &begun->id))
		return;
	if (begun->made) {
		unlink(begun->filename);
		return;
	}
	fd = open(begun->filename, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && TEMP_FAILURE_RETRY(ftruncate(fd, 0)) < 0)
		wipe(fd);
	else if (S_ISBLK(st.st_mode) && may_wipe)
		wipe(fd);
	close(fd);
}

/* ---- create ---- */

static void add_to_begun(const struct file_open *job)
{
	struct image_begun *begun = job->begun;
	unsigned nr = begun->nr;

	g_assert(nr < G_N_ELEMENTS(begun->files));
	begun->files[nr] = (struct image_begun_file){
		.filename = g_strdup(job->filename),
		.id = job->id,
		.made = job->made,
		.bottom = begun->bottom,
	};
	/* Last: a signal may arrive at any time. */
	begun->nr = nr + 1;
}

/* Creates the file, or opens an existing one, and adds it to what was begun. */
static int begin_file(struct file_open *job)
{
	int ret;

	/* A signal that ends the program meanwhile finds no file that was created and not added. */
	job->begun->making = true;
	job->open_flags = O_CREAT | O_EXCL;
	ret = open_on_worker(job);
	if (ret == -EEXIST) {
		g_clear_error(&job->err);
		job->open_flags = 0;
		ret = open_on_worker(job);
	}
	if (!ret)
		add_to_begun(job);
	job->begun->making = false;
	return ret;
}

/* They are hints: many file systems know neither. Only an empty file can have them. */
static void set_file_options(int fd, const struct bottom_create_opts *opts)
{
	struct fsxattr attributes;
	int flags;

	if (opts->nocow && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	if (opts->extent_size_hint && ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0) {
		attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
		attributes.fsx_extsize = opts->extent_size_hint;
		ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
	}
}

static int create_on_worker(void *arg)
{
	struct file_open *job = arg;
	int ret = begin_file(job);

	if (ret)
		return ret;
	/* Not before the lock: until then it may be an image in use. */
	if (!job->is_bdev && TEMP_FAILURE_RETRY(ftruncate(job->fd, 0)) < 0) {
		ret = open_failed(job, -errno, "cannot truncate it: %s", g_strerror(errno));
		discard_fd(job);
		return ret;
	}
	if (!job->is_bdev)
		set_file_options(job->fd, job->create_opts);
	close(job->fd);
	return 0;
}

int file_co_create(const char *filename, const struct bottom_create_opts *opts,
		   struct image_begun *begun, GError **err)
{
	/* Exclusively: what even a reader has open is not emptied. */
	struct file_open job = {
		.filename = filename,
		.fd = -1,
		.flags = IMAGE_RDWR,
		.lock_perms = FILE_LOCK_CONSISTENT_READ | FILE_LOCK_WRITE | FILE_LOCK_RESIZE,
		.lock_unshared = FILE_LOCK_ALL,
		.begun = begun,
		.create_opts = opts,
	};

	return pass_error(&job, co_block_on_worker(create_on_worker, &job), err);
}
