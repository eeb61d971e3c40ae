// SPDX-License-Identifier: GPL-2.0-or-later
/* A folder for a test's files; see scratch.h. */
#include "scratch.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

/* The exit status of `qemu-img check` for an image that has leaks but is otherwise sound. */
#define QEMU_IMG_CHECK_LEAKS 3

char *scratch_new(void)
{
	g_autoptr(GError) err = NULL;
	char *folder = g_dir_make_tmp("ubd-test-XXXXXX", &err);

	if (!folder) {
		fprintf(stderr, "no scratch folder: %s\n", err->message);
		exit(1);
	}
	return folder;
}

void scratch_remove(const char *folder)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = scratch_file(folder, name);

		g_unlink(path);
	}
	g_rmdir(folder);
}

char *scratch_file(const char *folder, const char *name)
{
	return g_build_filename(folder, name, NULL);
}

/* The exit status; -1 if the program could not be run or was killed. */
static int run(char **argv, char **ret_output)
{
	g_autoptr(GError) err = NULL;
	g_autofree char *out = NULL, *errout = NULL;
	int status;

	if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &errout, &status,
			  &err)) {
		*ret_output = g_strdup(err->message);
		return -1;
	}
	*ret_output = g_strconcat(out, errout, NULL);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void run_or_die(const char *program, ...)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	g_autofree char *output = NULL;
	const char *arg = program;
	va_list args;

	va_start(args, program);
	for (; arg; arg = va_arg(args, const char *))
		g_ptr_array_add(argv, (char *)arg);
	va_end(args);
	g_ptr_array_add(argv, NULL);

	if (run((char **)argv->pdata, &output) != 0) {
		g_autofree char *command = g_strjoinv(" ", (char **)argv->pdata);

		fprintf(stderr, "%s: %s\n", command, output);
		exit(1);
	}
}

bool qemu_img_check(const char *filename, bool leaks_allowed, char **ret_output)
{
	char *argv[] = { "qemu-img", "check", "-f", "qcow2", (char *)filename, NULL };
	g_autofree char *output = NULL;
	int status = run(argv, &output);

	if (status == 0 || (leaks_allowed && status == QEMU_IMG_CHECK_LEAKS))
		return true;
	*ret_output = g_strdup_printf("qemu-img check: status %d\n%s", status, output);
	return false;
}
