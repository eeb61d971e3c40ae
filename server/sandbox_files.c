// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Landlock: which files the server reaches; see sandbox.h.
 *
 * Each call adds a layer, and all layers must allow an access. Files that are open stay as usable
 * as they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

/* Debian 12's <linux/landlock.h> is that of Linux 6.1, ABI 2. */
#define FS_TRUNCATE  (UINT64_C(1) << 14) /* ABI 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */
#define NET_ALL	     UINT64_C(3)	 /* ABI 4: bind and connect by TCP */
#define SCOPE_ALL    UINT64_C(3)	 /* ABI 6: abstract sockets and signals */

#define FS_READ	     (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* What makes sense for a file that is not a folder. */
#define FS_OF_FILES                                                                                \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |                               \
	 LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

/* As the kernel grows it; shorter ones are fine for older kernels. */
struct ruleset {
	uint64_t fs, net, scoped;
};

static int abi_version(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

bool sandbox_files_refuse_tcp(void)
{
	return abi_version() >= 4;
}

/* Everything that the kernel can refuse. */
static struct ruleset everything(int abi, bool connects)
{
	struct ruleset all = { .fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1 };

	if (abi >= 2)
		all.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		all.fs |= FS_TRUNCATE;
	if (abi >= 4 && !connects)
		all.net = NET_ALL;
	if (abi >= 5)
		all.fs |= FS_IOCTL_DEV;
	if (abi >= 6)
		all.scoped = SCOPE_ALL;
	return all;
}

static int create_ruleset(int abi, const struct ruleset *all)
{
	size_t size = abi >= 6	 ? sizeof(*all)
		      : abi >= 4 ? offsetof(struct ruleset, scoped)
				 : offsetof(struct ruleset, net);

	return syscall(SYS_landlock_create_ruleset, all, size, 0);
}

static uint64_t accesses(unsigned rights)
{
	uint64_t fs = 0;

	if (rights & SANDBOX_READ)
		fs |= FS_READ;
	if (rights & SANDBOX_WRITE)
		fs |= LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
	if (rights & SANDBOX_DEVICE)
		fs |= FS_IOCTL_DEV;
	if (rights & SANDBOX_CREATE)
		fs |= LANDLOCK_ACCESS_FS_MAKE_REG;
	if (rights & SANDBOX_REMOVE)
		fs |= LANDLOCK_ACCESS_FS_REMOVE_FILE;
	return fs;
}

static int add_place(int ruleset, const struct sandbox_place *place, uint64_t known)
{
	struct landlock_path_beneath_attr rule = { .allowed_access =
							   accesses(place->rights) & known };
	struct stat st;
	int res = 0;

	rule.parent_fd = open(place->path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return 0;
	if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_OF_FILES;
	if (rule.allowed_access &&
	    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		res = -errno;
	close(rule.parent_fd);
	return res;
}

static int add_places(int ruleset, const GArray *places, bool is_opening, uint64_t known)
{
	int res = 0;

	for (unsigned i = 0; i < places->len && !res; i++) {
		const struct sandbox_place *place = &g_array_index(places, struct sandbox_place, i);

		if (is_opening || !place->is_opening)
			res = add_place(ruleset, place, known);
	}
	return res;
}

int sandbox_limit_files(const GArray *places, bool is_opening, bool connects)
{
	int abi = abi_version(), ruleset, res;
	struct ruleset all;

	/* Not built, not among the security modules of this boot, or refused by a container. */
	if (abi < 1)
		return abi < 0 ? -errno : -EOPNOTSUPP;
	all = everything(abi, connects);
	ruleset = create_ruleset(abi, &all);
	if (ruleset < 0)
		return -errno;
	res = add_places(ruleset, places, is_opening, all.fs);
	if (!res && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		res = -errno;
	close(ruleset);
	return res;
}
