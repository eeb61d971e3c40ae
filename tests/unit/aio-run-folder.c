// SPDX-License-Identifier: GPL-2.0-or-later
/* The folder for sockets: only one that others cannot change. */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "run_folder.h"

static void refuse(bool create, int code, const char *words)
{
	g_autoptr(GError) err = NULL;

	g_assert_null(run_folder_find(create, &err));
	g_assert_error(err, UBD_ERROR, code);
	if (!strstr(err->message, words))
		g_error("'%s' does not say '%s'", err->message, words);
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	g_assert_cmpint(lstat(path, &st), ==, 0);
	return st.st_mode & 07777;
}

static void test_is_created(void)
{
	g_autofree char *path = NULL, *again = NULL;

	refuse(false, ENOENT, "run: No such file");
	path = run_folder_find(true, NULL);
	g_assert_cmpstr(path, ==, "run");
	g_assert_cmpuint(mode_of("run"), ==, 0700);
	again = run_folder_find(true, NULL);
	g_assert_cmpstr(again, ==, "run");
	g_assert_cmpint(g_rmdir("run"), ==, 0);
	g_setenv("UBD_RUN_DIR", "no/run", TRUE);
	refuse(true, ENOENT, "no/run: No such file");
	g_setenv("UBD_RUN_DIR", "run", TRUE);
}

static void test_others_can_write(void)
{
	g_assert_cmpint(g_mkdir("run", 0700), ==, 0);
	g_assert_cmpint(g_chmod("run", 0770), ==, 0);
	refuse(true, EPERM, "other users can write");
	g_assert_cmpint(g_chmod("run", 01707), ==, 0);
	refuse(true, EPERM, "other users can write");
	g_assert_cmpint(g_rmdir("run"), ==, 0);
}

/* By somebody who was there first. */
static void test_something_else(void)
{
	g_assert_cmpint(g_mkdir("mine", 0700), ==, 0);
	g_assert_cmpint(symlink("mine", "run"), ==, 0);
	refuse(true, ENOTDIR, "run: Not a directory");
	g_assert_cmpint(g_unlink("run"), ==, 0);
	g_assert_cmpint(g_rmdir("mine"), ==, 0);
	g_assert_true(g_file_set_contents("run", "", 0, NULL));
	refuse(true, ENOTDIR, "run: Not a directory");
	g_assert_cmpint(g_unlink("run"), ==, 0);
}

static void test_somebody_elses(void)
{
	if (geteuid() != 0) {
		g_test_skip("needs root");
		return;
	}
	g_assert_cmpint(g_mkdir("run", 0700), ==, 0);
	g_assert_cmpint(chown("run", 65534, 65534), ==, 0);
	refuse(true, EPERM, "belongs to user 65534");
	g_assert_cmpint(g_rmdir("run"), ==, 0);
}

static void test_whose(void)
{
	g_autofree char *path = NULL;

	if (geteuid() != 0) {
		g_test_skip("needs root");
		return;
	}
	g_assert_cmpint(g_chmod(".", 0777), ==, 0);
	g_unsetenv("UBD_RUN_DIR");
	g_assert_cmpint(seteuid(65534), ==, 0);
	g_unsetenv("XDG_RUNTIME_DIR");
	refuse(true, ENOENT, "XDG_RUNTIME_DIR");
	g_setenv("XDG_RUNTIME_DIR", ".", TRUE);
	path = run_folder_find(true, NULL);
	g_assert_cmpstr(path, ==, "./ubd");
	g_assert_cmpint(g_rmdir("ubd"), ==, 0);
	g_assert_cmpint(seteuid(0), ==, 0);
	g_setenv("UBD_RUN_DIR", "run", TRUE);
}

static void test_names(void)
{
	static const char *const others[] = {
		"",
		".sock",
		"12",
		"12.sock.",
		"012.sock",
		"-1.sock",
		"0.sock",
		"x.sock",
		" 1.sock",
		"1x.sock",
		"99999999999999999999.sock",
	};
	g_autofree char *name = run_folder_socket_name(4711);
	int pid;

	g_assert_true(run_folder_is_socket_name(name, &pid));
	g_assert_cmpint(pid, ==, 4711);
	for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
		g_assert_false(run_folder_is_socket_name(others[i], &pid));
}

int main(int argc, char **argv)
{
	g_autofree char *folder = NULL;
	int res;

	g_test_init(&argc, &argv, NULL);
	folder = g_dir_make_tmp("ubd-run-folder-XXXXXX", NULL);
	g_assert_cmpint(chdir(folder), ==, 0);
	g_setenv("UBD_RUN_DIR", "run", TRUE);
	g_test_add_func("/run-folder/is-created", test_is_created);
	g_test_add_func("/run-folder/others-can-write", test_others_can_write);
	g_test_add_func("/run-folder/something-else", test_something_else);
	g_test_add_func("/run-folder/somebody-elses", test_somebody_elses);
	g_test_add_func("/run-folder/whose", test_whose);
	g_test_add_func("/run-folder/names", test_names);
	res = g_test_run();
	g_assert_cmpint(chdir("/"), ==, 0);
	g_assert_cmpint(g_rmdir(folder), ==, 0);
	return res;
}
