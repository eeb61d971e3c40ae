// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See lock_holder.h. F_OFD_GETLK does not tell the process for the locks of a file description. But
 * /proc/PID/fdinfo/FD has a line for each lock that is held through this descriptor:
 *
 *     lock:	1: OFDLCK ADVISORY  READ  -1 fe:01:4711 100 100
 *
 * The file is compared with the one on that line for our own descriptor, not with stat(): on btrfs
 * the two have different device numbers.
 */
#include "lock_holder.h"

#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "process_name.h"

#define FILE_WORD_MAX 64

/* One lock: a word that identifies the file, and the bytes. */
struct held_lock {
	char file[FILE_WORD_MAX];
	uint64_t first;
	uint64_t last;
};

static bool parse_lock(const char *line, struct held_lock *ret_lock)
{
	char last[24];

	if (!g_str_has_prefix(line, "lock:") ||
	    sscanf(line, "lock: %*d: %*s %*s %*s %*d %63s %" SCNu64 " %23s", ret_lock->file,
		   &ret_lock->first, last) != 3)
		return false;
	ret_lock->last = strcmp(last, "EOF") == 0 ? UINT64_MAX : g_ascii_strtoull(last, NULL, 10);
	return true;
}

/* The lines of a descriptor; NULL if they cannot be read. */
static char **read_fdinfo(const char *process, const char *fd)
{
	g_autofree char *path = g_build_filename("/proc", process, "fdinfo", fd, NULL);
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? g_strsplit(text, "\n", -1) : NULL;
}

/* The word for our file. */
static bool find_file(int fd, char file[FILE_WORD_MAX])
{
	g_autofree char *number = g_strdup_printf("%d", fd);
	g_auto(GStrv) lines = read_fdinfo("self", number);
	struct held_lock lock;

	for (char **line = lines; line && *line; line++) {
		if (!parse_lock(*line, &lock))
			continue;
		memcpy(file, lock.file, FILE_WORD_MAX);
		return true;
	}
	return false;
}

static bool descriptor_holds(const char *process, const char *fd, const char *file, uint64_t off)
{
	g_auto(GStrv) lines = read_fdinfo(process, fd);
	struct held_lock lock;

	for (char **line = lines; line && *line; line++)
		if (parse_lock(*line, &lock) && strcmp(lock.file, file) == 0 && lock.first <= off &&
		    off <= lock.last)
			return true;
	return false;
}

/* @except: a descriptor of our own process; NULL for another process. */
static bool process_holds(const char *process, const char *except, const char *file, uint64_t off)
{
	g_autofree char *path = g_build_filename("/proc", process, "fdinfo", NULL);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *fd;

	while (dir && (fd = g_dir_read_name(dir)))
		if (g_strcmp0(fd, except) != 0 && descriptor_holds(process, fd, file, off))
			return true;
	return false;
}

char *lock_holder(int fd, off_t off)
{
	g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
	g_autofree char *our_fd = g_strdup_printf("%d", fd);
	g_autofree char *self = g_strdup_printf("%d", getpid());
	char file[FILE_WORD_MAX];
	const char *name;

	if (!proc || !find_file(fd, file))
		return NULL;
	while ((name = g_dir_read_name(proc)))
		if (g_ascii_isdigit(*name) &&
		    process_holds(name, strcmp(name, self) ? NULL : our_fd, file, off))
			return process_name(name);
	return NULL;
}
