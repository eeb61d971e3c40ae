// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Folders that are kept open; see open_folder.h. Two are the same only if their names are so, too:
 * by another name, a folder may be mounted read-only.
 */
#include "open_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
	int fd;
	dev_t dev;
	ino_t ino;
	char *path;
	unsigned users;
};

static GList *all;

static struct folder *find(const char *path, const struct stat *st)
{
	for (const GList *link = all; link; link = link->next) {
		struct folder *folder = link->data;

		if (folder->dev == st->st_dev && folder->ino == st->st_ino &&
		    strcmp(folder->path, path) == 0)
			return folder;
	}
	return NULL;
}

static struct folder *folder_new(const char *path, int fd, const struct stat *st)
{
	struct folder *folder = g_new(struct folder, 1);

	*folder = (struct folder){
		.fd = fd, .dev = st->st_dev, .ino = st->st_ino, .path = g_strdup(path)
	};
	all = g_list_prepend(all, folder);
	return folder;
}

int open_folder_get(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), error;
	struct folder *folder;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		error = errno;
		close(fd);
		return -error;
	}
	folder = find(path, &st);
	if (folder)
		close(fd);
	else
		folder = folder_new(path, fd, &st);
	folder->users++;
	return folder->fd;
}

void open_folder_put(int fd)
{
	GList *link = all;
	struct folder *folder;

	while (((struct folder *)link->data)->fd != fd)
		link = link->next;
	folder = link->data;
	if (--folder->users)
		return;
	all = g_list_delete_link(all, link);
	close(folder->fd);
	g_free(folder->path);
	g_free(folder);
}

int *open_folders(unsigned *ret_nr)
{
	int *fds = g_new(int, g_list_length(all) + 1);
	unsigned nr = 0;

	for (const GList *link = all; link; link = link->next)
		fds[nr++] = ((struct folder *)link->data)->fd;
	*ret_nr = nr;
	return fds;
}
