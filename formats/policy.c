// SPDX-License-Identifier: GPL-2.0-or-later
/* What an image may name: see policy.h. */
#include "policy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "error.h"

/* ---- pseudo file systems ---- */

/* linux/magic.h does not have these. */
#define CONFIGFS_MAGIC	 0x62656570
#define FUNCTIONFS_MAGIC 0x0a647361
#define FUSECTL_MAGIC	 0x65735543
#define MQUEUE_MAGIC	 0x19800202
#define NFSD_MAGIC	 0x6e667364
#define RPC_PIPEFS_MAGIC 0x67596969

static const struct {
	unsigned long magic;
	const char *name;
} pseudo_file_systems[] = {
	{ PROC_SUPER_MAGIC, "proc" },
	{ SYSFS_MAGIC, "sysfs" },
	{ DEBUGFS_MAGIC, "debugfs" },
	{ TRACEFS_MAGIC, "tracefs" },
	{ SECURITYFS_MAGIC, "securityfs" },
	{ SELINUX_MAGIC, "selinuxfs" },
	{ SMACK_MAGIC, "smackfs" },
	{ AAFS_MAGIC, "apparmorfs" },
	{ CGROUP_SUPER_MAGIC, "cgroup" },
	{ CGROUP2_SUPER_MAGIC, "cgroup2" },
	{ RDTGROUP_SUPER_MAGIC, "resctrl" },
	{ BPF_FS_MAGIC, "bpf" },
	{ PSTOREFS_MAGIC, "pstore" },
	{ EFIVARFS_MAGIC, "efivarfs" },
	{ XENFS_SUPER_MAGIC, "xenfs" },
	{ BINFMTFS_MAGIC, "binfmt_misc" },
	{ CONFIGFS_MAGIC, "configfs" },
	{ FUSECTL_MAGIC, "fusectl" },
	{ FUNCTIONFS_MAGIC, "functionfs" },
	{ BINDERFS_SUPER_MAGIC, "binder" },
	{ NFSD_MAGIC, "nfsd" },
	{ RPC_PIPEFS_MAGIC, "rpc_pipefs" },
	{ MQUEUE_MAGIC, "mqueue" },
	{ NSFS_MAGIC, "nsfs" },
	{ DEVPTS_SUPER_MAGIC, "devpts" },
	{ PIPEFS_MAGIC, "pipefs" },
	{ SOCKFS_MAGIC, "sockfs" },
	{ ANON_INODE_FS_MAGIC, "anon_inode" },
	{ SECRETMEM_MAGIC, "secretmem" },
};

/* The name of the pseudo file system on which a file lies; NULL if it is a real file system. */
static const char *pseudo_file_system(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return "unknown";
	for (size_t i = 0; i < G_N_ELEMENTS(pseudo_file_systems); i++)
		if ((unsigned long)fs.f_type == pseudo_file_systems[i].magic)
			return pseudo_file_systems[i].name;
	return NULL;
}

/* ---- names ---- */

struct named_file named_backing_file(const struct image_policy *policy, const char *by)
{
	return (struct named_file){
		.by = by,
		.names = policy ? &policy->backing : NULL,
		.servers = policy ? policy->servers : IMAGE_SERVERS_LIKE_FILES,
		.option = "--allow-backing",
	};
}

struct named_file named_data_file(const struct image_policy *policy, const char *by)
{
	return (struct named_file){
		.by = by,
		.names = policy ? &policy->data_file : NULL,
		.servers = policy ? policy->servers : IMAGE_SERVERS_LIKE_FILES,
		.option = "--allow-data-file",
	};
}

/* ---- open ---- */

static int openat2_without_magic(const char *filename, int flags)
{
	struct open_how how = { .flags = flags | O_LARGEFILE, .resolve = RESOLVE_NO_MAGICLINKS };

	return syscall(SYS_openat2, AT_FDCWD, filename, &how, sizeof(how));
}

/* It fails before Linux 5.6, or if a filter of system calls is older than that. */
static bool has_openat2(void)
{
	int fd = openat2_without_magic("/", O_PATH | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || (errno != ENOSYS && errno != EPERM);
}

int named_file_open(const char *filename, int flags)
{
	int fd = openat2_without_magic(filename, flags);

	if (fd < 0 && (errno == ENOSYS || errno == EPERM) && !has_openat2())
		fd = open(filename, flags);
	return fd;
}

/* ---- places ---- */

/* Where an open file lies, without links; NULL if that cannot be found out. */
static char *real_name(int fd)
{
	g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
	char name[PATH_MAX + 1];
	ssize_t len = readlink(link, name, sizeof(name) - 1);

	return len > 0 && len < (ssize_t)sizeof(name) - 1 && *name == '/' ? g_strndup(name, len)
									  : NULL;
}

/* Whether @folder is the folder of @filename, without links. */
static bool is_folder_of(const char *folder, const char *filename)
{
	g_autofree char *parent = g_path_get_dirname(filename);
	char *real = realpath(parent, NULL);
	bool same = real && strcmp(real, folder) == 0;

	free(real);
	return same;
}

static bool is_beside(const char *image, const char *name)
{
	g_autofree char *folder = g_path_get_dirname(name);
	char *real_image = realpath(image, NULL);
	bool beside =
		is_folder_of(folder, image) || (real_image && is_folder_of(folder, real_image));

	free(real_image);
	return beside;
}

static bool is_in(char *const *places, const char *name)
{
	for (; *places; places++) {
		size_t len = strlen(*places);

		/* Only "/" ends in a slash. */
		if (strncmp(*places, name, len) == 0 &&
		    (!name[len] || name[len] == '/' || (*places)[len - 1] == '/'))
			return true;
	}
	return false;
}

bool image_is_in_places(int fd, char *const *places)
{
	g_autofree char *name = real_name(fd);

	return name && is_in(places, name);
}

static bool is_allowed_place(const struct named_file *named, int fd)
{
	const struct image_names *names = named->names;
	g_autofree char *name = real_name(fd);

	if (!name || (names->from == IMAGE_NAMES_BESIDE && !is_beside(named->by, name)))
		return false;
	return !names->places || is_in(names->places, name);
}

char *named_nothing_refusal(const struct named_file *named)
{
	if (!named->names || named->names->from == IMAGE_NAMES_ANYWHERE)
		return NULL;
	return g_strdup_printf("an image may not name it (see %s)", named->option);
}

char *named_server_refusal(const struct named_file *named)
{
	if (named->servers == IMAGE_SERVERS_LIKE_FILES ||
	    (named->names && named->names->from == IMAGE_NAMES_NONE))
		return named_nothing_refusal(named);
	if (named->servers == IMAGE_SERVERS_ALLOWED)
		return NULL;
	return g_strdup("an image may not name a server; to allow it, give --allow-network");
}

char *named_file_refusal(const struct named_file *named, int fd)
{
	const char *pseudo = pseudo_file_system(fd);

	if (pseudo)
		return g_strdup_printf("an image may not name files of a pseudo file system (%s)",
				       pseudo);
	if (!named->names || named->names->from == IMAGE_NAMES_ANYWHERE)
		return NULL;
	if (named->names->from == IMAGE_NAMES_NONE)
		return named_nothing_refusal(named);
	if (is_allowed_place(named, fd))
		return NULL;
	return g_strdup_printf("an image may not name files there; to allow it, give %s=FOLDER",
			       named->option);
}

/* ---- options ---- */

void image_names_clear(struct image_names *names)
{
	g_clear_pointer(&names->places, g_strfreev);
}

static bool parse_places(const char *text, char ***ret_places, GError **err)
{
	g_auto(GStrv) places = g_strsplit(text, ":", -1);

	if (!*places) {
		g_set_error(err, UBD_ERROR, EINVAL,
			    "expected any, none or FOLDER[:FOLDER...], got \"\"");
		return false;
	}
	for (char **place = places; *place; place++) {
		char *real = realpath(*place, NULL);

		if (!real) {
			error_set(err, -errno,
				  "expected any, none or FOLDER[:FOLDER...], got \"%s\": '%s'",
				  text, *place);
			return false;
		}
		g_free(*place);
		*place = g_strdup(real);
		free(real);
	}
	*ret_places = g_steal_pointer(&places);
	return true;
}

bool image_names_parse(const char *text, struct image_names *names, GError **err)
{
	struct image_names parsed = {};

	if (strcmp(text, "none") == 0) {
		parsed.from = IMAGE_NAMES_NONE;
	} else if (strcmp(text, "any") != 0) {
		parsed.from = IMAGE_NAMES_LISTED;
		if (!parse_places(text, &parsed.places, err))
			return false;
	}
	image_names_clear(names);
	*names = parsed;
	return true;
}
