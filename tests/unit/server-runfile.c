// SPDX-License-Identifier: GPL-2.0-or-later
/* What the pid file and the socket of a server may replace, and what is removed at the end. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runfile.h"

typedef struct runfile *make_fn(const char *path, GError **err);

static void write_file(const char *path, const char *text)
{
	g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void assert_holds(const char *path, const char *text)
{
	g_autofree char *found = NULL;

	g_assert_true(g_file_get_contents(path, &found, NULL, NULL));
	g_assert_cmpstr(found, ==, text);
}

static ino_t inode(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : st.st_ino;
}

static void assert_refuses(make_fn *make, const char *path, const char *reason)
{
	g_autoptr(GError) err = NULL;
	ino_t before = inode(path);

	g_assert_null(make(path, &err));
	g_assert_nonnull(strstr(err->message, path));
	if (!strstr(err->message, reason))
		g_error("\"%s\" does not say \"%s\"", err->message, reason);
	g_assert_cmpuint(inode(path), ==, before);
}

static void assert_fails_with(make_fn *make, const char *path, int error)
{
	g_autoptr(GError) err = NULL;

	g_assert_null(make(path, &err));
	g_assert_cmpint(err->code, ==, error);
}

static struct runfile *make(make_fn *fn, const char *path)
{
	g_autoptr(GError) err = NULL;
	struct runfile *file = fn(path, &err);

	g_assert_no_error(err);
	return file;
}

/* A socket that listens, or an abandoned one. */
static int make_socket(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	strcpy(address.sun_path, path);
	g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	if (type == SOCK_STREAM)
		g_assert_cmpint(listen(fd, 1), ==, 0);
	return fd;
}

static bool answers(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bool ok;

	strcpy(address.sun_path, path);
	ok = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return ok;
}

/* A file that has an image's name, by mistake or by a link, stays. */
static void test_nothing_else_is_replaced(void)
{
	static const struct {
		make_fn *make;
		const char *reason;
	} kinds[] = {
		{ runfile_new_pid, "is not a pid file" },
		{ runfile_new_socket, "is not a socket" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
		write_file("image", "QFI\xfb and more");
		assert_refuses(kinds[i].make, "image", kinds[i].reason);
		assert_holds("image", "QFI\xfb and more");
		g_assert_cmpint(symlink("image", "link"), ==, 0);
		assert_refuses(kinds[i].make, "link", kinds[i].reason);
		assert_holds("image", "QFI\xfb and more");
		g_assert_cmpint(symlink("missing", "dangling"), ==, 0);
		assert_refuses(kinds[i].make, "dangling", kinds[i].reason);
		g_assert_cmpuint(inode("missing"), ==, 0);
		g_assert_cmpint(mkfifo("fifo", 0600), ==, 0);
		assert_refuses(kinds[i].make, "fifo", kinds[i].reason);
		g_assert_cmpint(mkdir("folder", 0700), ==, 0);
		assert_refuses(kinds[i].make, "folder", kinds[i].reason);
		assert_refuses(kinds[i].make, "/dev/null", kinds[i].reason);
		assert_refuses(kinds[i].make, "nowhere/name", "No such file");
		for (const char *const *name = (const char *const[]){ "image", "link", "dangling",
								      "fifo", "folder", NULL };
		     *name; name++)
			g_assert_cmpint(g_remove(*name), ==, 0);
	}
}

static void test_only_pid_files_are(void)
{
	static const char *const others[] = {
		"12", "\n", "12\n\n", "x12\n", "12 and more\n", "-1\n"
	};
	g_autofree char *long_number = g_strnfill(4096, '1');

	for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
		write_file("pid", others[i]);
		assert_refuses(runfile_new_pid, "pid", "is not a pid file");
		assert_holds("pid", others[i]);
	}
	long_number[4095] = '\n';
	write_file("pid", long_number);
	assert_refuses(runfile_new_pid, "pid", "is not a pid file");
	assert_holds("pid", long_number);
	g_assert_cmpint(unlink("pid"), ==, 0);
}

static void test_pid_file_of_the_dead(void)
{
	static const char *const left[] = { "", "1\n", "4194304000000000000\n" };
	g_autofree char *own = g_strdup_printf("%d\n", getpid());

	for (size_t i = 0; i < G_N_ELEMENTS(left); i++) {
		struct runfile *file;

		write_file("pid", left[i]);
		file = make(runfile_new_pid, "pid");
		assert_holds("pid", own);
		runfile_remove(file);
		g_assert_cmpuint(inode("pid"), ==, 0);
	}
}

static void test_pid_file_of_the_living(void)
{
	struct runfile *file = make(runfile_new_pid, "pid");

	assert_refuses(runfile_new_pid, "pid", "another process is using it");
	runfile_remove(file);
	file = make(runfile_new_pid, "pid");
	runfile_remove(file);
	runfile_remove(NULL);
}

/* A file that has taken over the name stays. */
static void test_only_its_own_is_removed(void)
{
	struct runfile *old = make(runfile_new_pid, "pid"), *next;

	g_assert_cmpint(unlink("pid"), ==, 0);
	next = make(runfile_new_pid, "pid");
	runfile_remove(old);
	g_assert_cmpuint(inode("pid"), !=, 0);
	runfile_remove(next);
	g_assert_cmpuint(inode("pid"), ==, 0);

	old = make(runfile_new_socket, "socket");
	g_assert_cmpint(rename("socket", "moved"), ==, 0);
	next = make(runfile_new_socket, "socket");
	runfile_remove(old);
	g_assert_true(answers("socket"));
	runfile_remove(next);
	g_assert_cmpuint(inode("socket"), ==, 0);
	g_assert_cmpint(unlink("moved"), ==, 0);

	old = make(runfile_new_pid, "pid");
	g_assert_cmpint(unlink("pid"), ==, 0);
	runfile_remove(old);
}

/* A daemon ends in another folder than it began. */
static void test_folder_may_change(void)
{
	struct runfile *pid = make(runfile_new_pid, "pid");
	struct runfile *socket = make(runfile_new_socket, "socket");
	g_autofree char *folder = g_get_current_dir();

	g_assert_cmpint(chdir("/"), ==, 0);
	runfile_remove(pid);
	runfile_remove(socket);
	g_assert_cmpint(chdir(folder), ==, 0);
	g_assert_cmpuint(inode("pid"), ==, 0);
	g_assert_cmpuint(inode("socket"), ==, 0);
}

static void test_sockets(void)
{
	struct runfile *file = make(runfile_new_socket, "socket");
	struct stat st;
	int fd;

	g_assert_cmpint(lstat("socket", &st), ==, 0);
	g_assert_cmpint(st.st_mode, ==, S_IFSOCK | 0600);
	g_assert_true(answers("socket"));
	assert_refuses(runfile_new_socket, "socket", "Address already in use");
	g_assert_true(answers("socket"));
	runfile_remove(file);
	g_assert_cmpuint(inode("socket"), ==, 0);

	close(make_socket("socket", SOCK_STREAM));
	file = make(runfile_new_socket, "socket");
	g_assert_true(answers("socket"));
	runfile_remove(file);

	/* A socket of another type is not a server's. */
	fd = make_socket("socket", SOCK_DGRAM);
	assert_refuses(runfile_new_socket, "socket", "Address already in use");
	close(fd);
	g_assert_cmpint(unlink("socket"), ==, 0);

	/* A socket with a full backlog is in use. */
	fd = make_socket("socket", SOCK_STREAM);
	g_assert_cmpint(listen(fd, 0), ==, 0);
	for (int i = 0; i < 4; i++) {
		struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };
		int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

		connect(client, (struct sockaddr *)&address, sizeof(address));
	}
	assert_refuses(runfile_new_socket, "socket", "Address already in use");
	close(fd);
	g_assert_cmpint(unlink("socket"), ==, 0);
}

/* Between its bind() and its listen(), another server's socket looks abandoned. */
static void test_one_socket_at_a_time(void)
{
	int folder = open(".", O_RDONLY | O_DIRECTORY);

	close(make_socket("socket", SOCK_STREAM));
	g_assert_cmpint(flock(folder, LOCK_EX), ==, 0);
	assert_refuses(runfile_new_socket, "socket", "has locked its folder");
	close(folder);
	runfile_remove(make(runfile_new_socket, "socket"));
}

/* A process that has ended; its number is not given to another one soon. */
static int dead_pid(void)
{
	int pid = fork();

	if (pid == 0)
		_exit(0);
	g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
	return pid;
}

static void test_sockets_of_the_dead(void)
{
	g_autofree char *dead = g_strdup_printf("folder/%d.sock", dead_pid());
	g_autofree char *listening = g_strdup_printf("folder/%d.sock", dead_pid());
	g_autofree char *file = g_strdup_printf("folder/%d.sock", dead_pid());
	g_autofree char *ours = g_strdup_printf("folder/%d.sock", getpid());
	int fd;

	g_assert_cmpint(mkdir("folder", 0700), ==, 0);
	close(make_socket(dead, SOCK_STREAM));
	fd = make_socket(listening, SOCK_STREAM);
	write_file(file, "");
	close(make_socket(ours, SOCK_STREAM));
	close(make_socket("folder/other.sock", SOCK_STREAM));
	runfile_clean_sockets("folder");
	g_assert_cmpuint(inode(dead), ==, 0);
	g_assert_true(answers(listening));
	close(fd);
	g_assert_cmpint(unlink(listening), ==, 0);
	g_assert_cmpint(unlink(file), ==, 0);
	g_assert_cmpint(unlink(ours), ==, 0);
	g_assert_cmpint(unlink("folder/other.sock"), ==, 0);
	g_assert_cmpint(rmdir("folder"), ==, 0);
	/* As at the first start of all. */
	runfile_clean_sockets("folder");
}

static void test_links(void)
{
	g_autofree char *dead = g_strdup_printf("folder/%d.sock", dead_pid());
	g_autofree char *gone = g_strdup_printf("folder/%d.sock", dead_pid());
	g_autofree char *listening = g_strdup_printf("folder/%d.sock", dead_pid());
	g_autofree char *ours = g_strdup_printf("folder/%d.sock", getpid());
	struct runfile *link;
	int fd;

	g_assert_cmpint(mkdir("folder", 0700), ==, 0);
	close(make_socket("abandoned", SOCK_STREAM));
	fd = make_socket("socket", SOCK_STREAM);
	g_assert_cmpint(listen(fd, 16), ==, 0);
	g_assert_cmpint(symlink("../abandoned", dead), ==, 0);
	g_assert_cmpint(symlink("../nowhere", gone), ==, 0);
	g_assert_cmpint(symlink("../socket", listening), ==, 0);
	runfile_clean_sockets("folder");
	g_assert_cmpuint(inode(dead), ==, 0);
	g_assert_cmpuint(inode(gone), ==, 0);
	g_assert_true(answers(listening));
	g_assert_cmpint(unlink(listening), ==, 0);
	/* One that a process with our number has left is replaced. */
	g_assert_cmpint(symlink("../abandoned", ours), ==, 0);
	link = runfile_new_link(ours, "socket", NULL);
	g_assert_nonnull(link);
	g_assert_true(answers(ours));
	g_assert_null(runfile_new_link(ours, "socket", NULL));
	runfile_remove(link);
	g_assert_cmpuint(inode(ours), ==, 0);
	g_assert_true(answers("socket"));
	close(fd);
	g_assert_cmpint(unlink("socket"), ==, 0);
	g_assert_cmpint(unlink("abandoned"), ==, 0);
	g_assert_cmpint(rmdir("folder"), ==, 0);
}

/* As any user may lock /run. */
static void test_locked_folder_takes_a_new_socket(void)
{
	int folder = open(".", O_RDONLY | O_DIRECTORY);

	g_assert_cmpint(flock(folder, LOCK_SH), ==, 0);
	runfile_remove(make(runfile_new_socket, "socket"));
	close(folder);
}

/* It is removed unless it stays, or its name is another file's. */
static void test_files_of_others(void)
{
	struct runfile *file;

	g_assert_null(runfile_take("mark"));
	write_file("mark", "old");
	runfile_leave(runfile_take("mark"));
	file = runfile_take("mark");
	write_file("mark", "new");
	runfile_remove(file);
	assert_holds("mark", "new");
	runfile_remove(runfile_take("mark"));
	g_assert_cmpuint(inode("mark"), ==, 0);
	runfile_leave(NULL);
}

static unsigned count_fds(void)
{
	g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
	unsigned count = 0;

	while (g_dir_read_name(dir))
		count++;
	return count;
}

/* A server of many disks, and its keeper, do not keep the folder of their marks open for each. */
static void test_many_files_in_a_folder(void)
{
	struct runfile *files[50], *elsewhere;
	unsigned before = count_fds();

	for (unsigned i = 0; i < 50; i++) {
		g_autofree char *name = g_strdup_printf("mark%u", i);

		write_file(name, "");
		files[i] = runfile_take(name);
	}
	g_assert_cmpuint(count_fds(), ==, before + 1);
	g_assert_cmpint(g_mkdir("folder", 0700), ==, 0);
	write_file("folder/mark0", "");
	elsewhere = runfile_take("folder/mark0");
	g_assert_cmpuint(count_fds(), ==, before + 2);
	for (unsigned i = 0; i < 50; i++) {
		g_autofree char *name = g_strdup_printf("mark%u", i);

		g_assert_cmpuint(inode(name), !=, 0);
		runfile_remove(files[i]);
		g_assert_cmpuint(inode(name), ==, 0);
	}
	runfile_remove(elsewhere);
	g_assert_cmpint(rmdir("folder"), ==, 0);
	g_assert_cmpuint(count_fds(), ==, before);
}

/* The keeper knows the files that were there before it. */
static void check_late_file(void)
{
	write_file("late", "");
	runfile_remove(runfile_take("late"));
	g_assert_cmpuint(inode("late"), ==, 0);
}

/* Whoever ends the keeper does not end the removal, where the server may do that itself. */
static void test_keeper_may_end(void)
{
	struct runfile *file = make(runfile_new_pid, "pid"), *early = make(runfile_new_socket, "s");
	g_autofree char *children = NULL;
	g_autoptr(GError) err = NULL;
	pid_t keeper;

	g_assert_cmpint(runfile_begin_keeper(&err), ==, 0);
	g_assert_no_error(err);
	runfile_remove(early);
	g_assert_cmpuint(inode("s"), ==, 0);
	/* In the place of the one before. */
	check_late_file();
	g_assert_true(g_file_get_contents("/proc/thread-self/children", &children, NULL, &err));
	keeper = atoi(children);
	g_assert_cmpint(keeper, >, 0);
	g_assert_cmpint(kill(keeper, SIGKILL), ==, 0);
	g_assert_cmpint(waitpid(keeper, NULL, 0), ==, keeper);
	runfile_remove(file);
	g_assert_cmpuint(inode("pid"), ==, 0);
}

static bool exchanges; /* "folder", for another one that has a file of the same name */

int __real_bind(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len);

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t len)
{
	int res;

	if (!exchanges)
		return __real_bind(fd, address, len);
	exchanges = false;
	g_assert_cmpint(rename("folder", "victims"), ==, 0);
	g_assert_cmpint(g_mkdir("folder", 0700), ==, 0);
	res = __real_bind(fd, address, len);
	close(make_socket("victims/file", SOCK_STREAM));
	return res;
}

static void test_folder_is_exchanged_at_once(void)
{
	g_assert_cmpint(g_mkdir("folder", 0700), ==, 0);
	exchanges = true;
	assert_fails_with(runfile_new_socket, "folder/file", ESTALE);
	g_assert_cmpuint(inode("victims/file"), !=, 0);
	g_assert_cmpint(unlink("victims/file"), ==, 0);
	g_assert_cmpint(rmdir("victims"), ==, 0);
	g_assert_cmpint(unlink("folder/file"), ==, 0);
	g_assert_cmpint(rmdir("folder"), ==, 0);
}

static void test_folder_is_no_name(void)
{
	g_assert_cmpint(g_mkdir("folder", 0700), ==, 0);
	assert_fails_with(runfile_new_pid, "folder/", EISDIR);
	assert_fails_with(runfile_new_socket, "folder/", EISDIR);
	g_assert_cmpint(rmdir("folder"), ==, 0);
}

static void remove_from_exchanged_folder(make_fn *fn, bool by_keeper)
{
	struct runfile *file;

	g_assert_cmpint(g_mkdir("folder", 0700), ==, 0);
	file = make(fn, "folder/file");
	if (by_keeper)
		g_assert_cmpint(runfile_begin_keeper(NULL), ==, 0);
	g_assert_cmpint(rename("folder", "moved"), ==, 0);
	g_assert_cmpint(g_mkdir("folder", 0700), ==, 0);
	g_assert_cmpint(link("moved/file", "folder/file"), ==, 0);
	runfile_remove(file);
	g_assert_cmpuint(inode("folder/file"), !=, 0);
	g_assert_cmpuint(inode("moved/file"), ==, 0);
	g_assert_cmpint(unlink("folder/file"), ==, 0);
	g_assert_cmpint(rmdir("folder"), ==, 0);
	g_assert_cmpint(rmdir("moved"), ==, 0);
}

/*
 * Somebody has the name of the folder lead to another one, with a file of the same name. In
 * processes of their own, which the keeper ends with.
 */
static void test_folder_is_exchanged(void)
{
	make_fn *const fns[] = { runfile_new_pid, runfile_new_socket };

	for (unsigned i = 0; i < G_N_ELEMENTS(fns) * 2; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			remove_from_exchanged_folder(fns[i / 2], i % 2);
			_exit(0);
		}
		g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
		g_assert_cmpint(status, ==, 0);
	}
}

int main(int argc, char **argv)
{
	g_autofree char *folder = NULL;
	int res;

	g_test_init(&argc, &argv, NULL);
	folder = g_dir_make_tmp("ubd-runfile-XXXXXX", NULL);
	g_assert_cmpint(chdir(folder), ==, 0);
	g_test_add_func("/runfile/nothing-else-is-replaced", test_nothing_else_is_replaced);
	g_test_add_func("/runfile/only-pid-files-are", test_only_pid_files_are);
	g_test_add_func("/runfile/pid-file-of-the-dead", test_pid_file_of_the_dead);
	g_test_add_func("/runfile/pid-file-of-the-living", test_pid_file_of_the_living);
	g_test_add_func("/runfile/only-its-own-is-removed", test_only_its_own_is_removed);
	g_test_add_func("/runfile/folder-may-change", test_folder_may_change);
	g_test_add_func("/runfile/sockets", test_sockets);
	g_test_add_func("/runfile/one-socket-at-a-time", test_one_socket_at_a_time);
	g_test_add_func("/runfile/sockets-of-the-dead", test_sockets_of_the_dead);
	g_test_add_func("/runfile/links", test_links);
	g_test_add_func("/runfile/locked-folder-takes-a-new-socket",
			test_locked_folder_takes_a_new_socket);
	g_test_add_func("/runfile/folder-is-exchanged", test_folder_is_exchanged);
	g_test_add_func("/runfile/folder-is-exchanged-at-once", test_folder_is_exchanged_at_once);
	g_test_add_func("/runfile/folder-is-no-name", test_folder_is_no_name);
	g_test_add_func("/runfile/files-of-others", test_files_of_others);
	g_test_add_func("/runfile/many-files-in-a-folder", test_many_files_in_a_folder);
	g_test_add_func("/runfile/keeper-may-end", test_keeper_may_end);
	res = g_test_run();
	g_assert_cmpint(chdir("/"), ==, 0);
	g_assert_cmpint(rmdir(folder), ==, 0);
	return res;
}
