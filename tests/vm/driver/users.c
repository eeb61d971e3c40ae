// SPDX-License-Identifier: GPL-2.0-or-later
/* See users.h. */
#include "users.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the administrator ---- */

void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

void set_param(const char *name, const char *value)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/module/ubd/parameters/%s", name);
	write_file(path, value);
}

void allow(void)
{
	set_param("unprivileged", "1");
	set_param("unprivileged_per_user", "2");
	set_param("unprivileged_total", "64");
	set_param("unprivileged_timeout", "30");
	CHECK_EQ(chmod("/dev/ubd-control", 0666), 0);
}

void forbid(void)
{
	set_param("unprivileged", "0");
	chmod("/dev/ubd-control", 0600);
}

/* ---- users ---- */

void become(uid_t uid)
{
	CHECK_EQ(setgroups(0, NULL), 0);
	CHECK_EQ(setresgid(uid, uid, uid), 0);
	CHECK_EQ(setresuid(uid, uid, uid), 0);
	CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0); /* else /proc/self is root's */
}

/* Becomes root of a user namespace of the caller's own, in which there are no other users. */
void enter_namespace(int more)
{
	char map[32];

	snprintf(map, sizeof(map), "0 %u 1", geteuid());
	CHECK_EQ(unshare(CLONE_NEWUSER | more), 0);
	write_file("/proc/self/setgroups", "deny");
	write_file("/proc/self/uid_map", map);
	write_file("/proc/self/gid_map", map);
}

int try_add(struct ubdsrv_ctrl_dev_info *ret_info)
{
	*ret_info = usual_info();
	return add_dev(ret_info);
}

static int *shared_stage;

void share_stage(void)
{
	shared_stage = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared_stage != MAP_FAILED);
}

void reach(int stage)
{
	__atomic_store_n(shared_stage, stage, __ATOMIC_SEQ_CST);
}

void await(int stage)
{
	WAIT_UNTIL(__atomic_load_n(shared_stage, __ATOMIC_SEQ_CST) >= stage, AGE);
}
