// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Files without a name, and how they get one; see temporary.h.
 *
 * O_TMPFILE makes a file that never had a name, so that a crash at any time leaves nothing. Where a
 * file system does not support that, a file is created and unlinked at once; such a file cannot get
 * a name again.
 */
#include "temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio.h"
#include "align.h"
#include "error.h"

/* How many other names are tried if there is a file of the right one. */
#define MAX_NAMES 100

struct image_temporary {
	int fd;
	int folder_fd; /* where it will be kept; -1: it will not */
	bool has_overlay;
	char *filename; /* which it will get; otherwise for messages */
};

static struct image_temporary *temporary_new(int fd, int folder_fd, char *filename)
{
	struct image_temporary *temporary = g_new(struct image_temporary, 1);

	*temporary = (struct image_temporary){ fd, folder_fd, false, filename };
	return temporary;
}

void image_temporary_free(struct image_temporary *temporary)
{
	if (!temporary)
		return;
	close(temporary->fd);
	if (temporary->folder_fd >= 0)
		close(temporary->folder_fd);
	g_free(temporary->filename);
	g_free(temporary);
}

/* ---- files without a name ---- */

/* How open() says that the file system, or the kernel, does not support O_TMPFILE. */
static bool is_unsupported(int error)
{
	return error == EOPNOTSUPP || error == EISDIR || error == EINVAL;
}

static int create_and_unlink(const char *folder)
{
	g_autofree char *name = g_build_filename(folder, "ubd-XXXXXX", NULL);
	int fd = mkostemp(name, O_CLOEXEC);

	if (fd < 0)
		return -errno;
	unlink(name);
	return fd;
}

struct image_temporary *image_temporary_new(const char *folder, GError **err)
{
	/* O_EXCL: nobody can give it a name. */
	int fd = open(folder, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = is_unsupported(errno) ? create_and_unlink(folder) : -errno;
	if (fd >= 0)
		return temporary_new(fd, -1, g_strdup_printf("temporary file in %s", folder));
	error_set(err, fd, "cannot create a temporary file in '%s'", folder);
	return NULL;
}

/* ---- files that will be kept ---- */

static const char *last_part(const char *filename)
{
	const char *slash = strrchr(filename, '/');

	return slash ? slash + 1 : filename;
}

/* linkat() finds the file by this name; by the descriptor alone it needs a capability. */
static void name_of_fd(int fd, char *name, size_t size)
{
	snprintf(name, size, "/proc/self/fd/%d", fd);
}

static int check_new_name(int folder_fd, const char *filename, GError **err)
{
	struct stat st;

	if (!*last_part(filename))
		return error_refuse(err, -EINVAL, "'%s' is not the name of a file", filename);
	if (fstatat(folder_fd, last_part(filename), &st, AT_SYMLINK_NOFOLLOW) == 0)
		return error_refuse(
			err, -EEXIST,
			"'%s' exists, and would be overwritten; give another name or remove it",
			filename);
	return errno == ENOENT ? 0 : error_set(err, -errno, "'%s'", filename);
}

static int check_proc(int fd, const char *filename, GError **err)
{
	char name[32];

	name_of_fd(fd, name, sizeof(name));
	if (access(name, F_OK) == 0)
		return 0;
	return error_refuse(err, -errno, "cannot keep '%s': /proc is not mounted", filename);
}

/* A file in the open folder; < 0 with @err set. */
static int create_to_keep(int folder_fd, const char *filename, GError **err)
{
	int fd, ret = check_new_name(folder_fd, filename, err);

	if (ret)
		return ret;
	fd = openat(folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
	if (fd < 0 && is_unsupported(errno))
		return error_refuse(err, -ENOTSUP,
				    "cannot keep '%s': its file system does not support files "
				    "without a name (O_TMPFILE)",
				    filename);
	if (fd < 0)
		return error_set(err, -errno, "cannot create '%s'", filename);
	ret = check_proc(fd, filename, err);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

struct image_temporary *image_temporary_new_kept(const char *filename, GError **err)
{
	g_autofree char *folder = g_path_get_dirname(filename);
	int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;

	if (folder_fd < 0) {
		error_set(err, -errno, "cannot create '%s'", filename);
		return NULL;
	}
	fd = create_to_keep(folder_fd, filename, err);
	if (fd >= 0)
		return temporary_new(fd, folder_fd, g_strdup(filename));
	close(folder_fd);
	return NULL;
}

int image_temporary_check_keep(const struct image_temporary *temporary, GError **err)
{
	if (temporary->folder_fd < 0 ||
	    faccessat(temporary->folder_fd, ".", W_OK | X_OK, AT_EACCESS) == 0)
		return 0;
	return error_set(err, -errno,
			 "'%s' could not be created in the end, without privileges: its folder",
			 temporary->filename);
}

/* -EEXIST if there is a file of that name. */
static int link_as(const struct image_temporary *temporary, const char *filename)
{
	char name[32];

	name_of_fd(temporary->fd, name, sizeof(name));
	return linkat(AT_FDCWD, name, temporary->folder_fd, last_part(filename),
		      AT_SYMLINK_FOLLOW) < 0
		       ? -errno
		       : 0;
}

/* What was written for hours is not thrown away because of its name. */
static int link_as_any(const struct image_temporary *temporary, const char *ending, char **ret_name)
{
	g_autofree char *first = g_strconcat(temporary->filename, ending, NULL);
	g_autofree char *name = g_strdup(first);
	int ret = link_as(temporary, name);

	for (unsigned i = 1; ret == -EEXIST && i < MAX_NAMES; i++) {
		g_free(name);
		name = g_strdup_printf("%s.%u", first, i);
		ret = link_as(temporary, name);
	}
	if (!ret)
		*ret_name = g_steal_pointer(&name);
	return ret;
}

struct keep_job {
	const struct image_temporary *temporary;
	char **ret_name;
};

/* The name appears when the file is complete on disk, size and all, and not before. */
static int keep_on_worker(void *arg)
{
	const struct keep_job *job = arg;
	int ret;

	if (fsync(job->temporary->fd) < 0)
		return -errno;
	ret = link_as_any(job->temporary, "", job->ret_name);
	if (!ret && fsync(job->temporary->folder_fd) < 0)
		return -errno;
	return ret;
}

static int keep_incomplete_on_worker(void *arg)
{
	const struct keep_job *job = arg;
	int ret;

	fsync(job->temporary->fd); /* for what it is worth */
	ret = link_as_any(job->temporary, ".incomplete", job->ret_name);
	if (!ret)
		fsync(job->temporary->folder_fd);
	return ret;
}

int image_temporary_co_keep_incomplete(struct image_temporary *temporary, char **ret_name,
				       GError **err)
{
	struct keep_job job = { temporary, ret_name };
	int ret = co_block_on_worker(keep_incomplete_on_worker, &job);

	return ret ? error_set(err, ret, "cannot keep '%s.incomplete'", temporary->filename) : 0;
}

int image_temporary_co_keep(struct image_temporary *temporary, char **ret_name, GError **err)
{
	struct keep_job job = { temporary, ret_name };
	int ret = co_block_on_worker(keep_on_worker, &job);

	return ret ? error_set(err, ret, "cannot keep '%s'", temporary->filename) : 0;
}

/* ---- overlays in them ---- */

/* The size of a device is given in sectors; behind the end of its base it reads as zeroes. */
static uint64_t overlay_size(const struct image *base)
{
	return align_up(image_size(base), SECTOR_SIZE);
}

/* Unless the file has an overlay already. */
static int co_write_overlay(struct image_temporary *temporary, struct image *file,
			    const struct image *base, const char *base_name, GError **err)
{
	struct image_create_opts opts = { .size = overlay_size(base), .size_given = true };
	int ret;

	if (temporary->has_overlay)
		return 0;
	if (temporary->folder_fd >= 0) {
		opts.backing_filename = base_name;
		opts.backing_format = image_format(base);
	}
	ret = image_co_create_on(file, "qcow2", &opts, err);
	temporary->has_overlay = !ret;
	return ret;
}

int image_temporary_co_open(struct image_temporary *temporary, struct image *base,
			    const char *base_name, const struct image_open_opts *opts,
			    struct image **ret_img, GError **err)
{
	struct image_open_opts overlay = {
		.format = "qcow2",
		.flags = opts->flags,
		.cache_bytes = opts->cache_bytes,
		.backing = base,
	};
	struct image *file;
	/* The overlay itself is flushed: that is when it gives back what was discarded. */
	int ret = image_co_open_fd(temporary->fd, temporary->filename,
				   IMAGE_RDWR | IMAGE_UNMAP | IMAGE_NO_FLUSH |
					   (opts->flags & (IMAGE_DIRECT | IMAGE_WRITE_UNLOCKED)),
				   &file, err);

	if (ret) {
		image_co_close(base);
		return ret;
	}
	ret = co_write_overlay(temporary, file, base, base_name, err);
	if (!ret)
		return image_co_open_on(file, &overlay, ret_img, err);
	image_co_close(file);
	image_co_close(base);
	return ret;
}
