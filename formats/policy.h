/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an image may name: its backing file and its data file. An image may come from a stranger,
 * and whoever opens it has more rights than the stranger. So whoever opens the top image of a chain
 * decides for all layers, and the decision is made here.
 *
 * In any case, a named file must be a regular file or a block device (like every image). It must
 * not be on a pseudo file system such as /proc or /sys, nor be reached through one: what is found
 * there depends on who looks.
 *
 * The open file decides, not its name. So symbolic links, "..", and a name that changes meanwhile
 * make no difference. Hard links do: to the kernel, all names of a file are equal.
 */
#ifndef UBD_POLICY_H
#define UBD_POLICY_H

#include <glib.h>
#include <stdbool.h>

struct image_names {
	enum {
		IMAGE_NAMES_ANYWHERE,
		/*
		 * In the folder of the image that names it: by the image's name, or where it really
		 * is.
		 */
		IMAGE_NAMES_BESIDE,
		IMAGE_NAMES_LISTED, /* one of the places, or below one */
		IMAGE_NAMES_NONE,
	} from;
	/* Without links. NULL unless LISTED; BESIDE: nothing outside of them, unless NULL. */
	char **places;
};

/* Exports of servers (nbd://): what an image names can make this program talk to any host. */
enum image_servers {
	IMAGE_SERVERS_LIKE_FILES, /* where an image may name any file */
	IMAGE_SERVERS_REFUSED,
	IMAGE_SERVERS_ALLOWED, /* unless an image may name nothing */
};

struct image_policy {
	struct image_names backing;
	struct image_names data_file;
	enum image_servers servers;
	/* Refuse a backing file whose format the image does not name, instead of probing it. */
	bool formats_given;
	/* Refuse options in a name (json:) that do more than tell where the data is. */
	bool places_only;
};

/*
 * Parses "any", "none" or FOLDER[:FOLDER...]. Folders must exist; a place may also be a file. Frees
 * the previous contents of *names. Blocks.
 */
bool image_names_parse(const char *text, struct image_names *names, GError **err);
void image_names_clear(struct image_names *names);

/* Whether the open file (O_PATH suffices) is one of @places, which have no links, or below one. */
bool image_is_in_places(int fd, char *const *places);

/* ---- for formats/ ---- */

/* The permission to open a file that an image names. @policy may be NULL: anywhere. */
struct named_file {
	const char *by;			 /* file name of the image */
	const struct image_names *names; /* NULL: anywhere */
	enum image_servers servers;
	const char *option; /* the option that allows more */
};

struct named_file named_backing_file(const struct image_policy *policy, const char *by);
struct named_file named_data_file(const struct image_policy *policy, const char *by);

/* Like open(2), but does not follow links in /proc. */
int named_file_open(const char *filename, int flags);

/*
 * NULL if the open file (O_PATH suffices) is allowed; otherwise the reason, which the caller frees.
 */
char *named_file_refusal(const struct named_file *named, int fd);

/* The same for something that is neither a file nor a server, and for an export of a server. */
char *named_nothing_refusal(const struct named_file *named);
char *named_server_refusal(const struct named_file *named);

#endif
