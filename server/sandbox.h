/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a server gives up before it reads an image: whoever takes it over with a hostile image, or
 * as a client or guest, gets no more than what is left.
 *
 * In the order of a start: sandbox_allow() for each place, sandbox_enter() once the image's file is
 * open and nothing of it has been read, sandbox_drop_last() right after that, sandbox_seal() once
 * the image is open. All on the main thread; threads created afterwards inherit everything. No
 * other thread may be there, except that those created between sandbox_enter() and sandbox_seal()
 * may stay if they begin with sandbox_seal_thread(): a thread cannot restrict another one.
 *
 * docs/security.md says what each layer prevents.
 */
#ifndef UBD_SANDBOX_H
#define UBD_SANDBOX_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

enum sandbox_mode {
	SANDBOX_AUTO,	/* what cannot be had is reported */
	SANDBOX_STRICT, /* what cannot be had is an error */
	SANDBOX_OFF,	/* only capabilities are dropped */
};

enum sandbox_right {
	SANDBOX_READ = 1 << 0,	 /* files, and lists of folders */
	SANDBOX_WRITE = 1 << 1,	 /* files that exist */
	SANDBOX_DEVICE = 1 << 2, /* ioctl() of devices that are opened there */
	SANDBOX_CREATE = 1 << 3, /* regular files */
	SANDBOX_REMOVE = 1 << 4, /* anything but folders */
};

struct sandbox_config {
	enum sandbox_mode mode;
	bool changes_user;
	bool must_change_user; /* otherwise it may stay what it is, which is reported */
	bool has_owner;	       /* uid is that of the images */
	uid_t uid;	       /* if changes_user */
	gid_t gid;
	bool connects;	  /* to NBD servers, by whatever protocol */
	bool compresses;  /* what is written */
	bool core_dump;	  /* as --core-dump says */
	bool keeps_admin; /* CAP_SYS_ADMIN, if there, until sandbox_drop_last() */
};

/*
 * Allows what is at @path, or below it. @is_opening: only until sandbox_seal(). What does not exist
 * yet, or no longer, is ignored.
 */
void sandbox_allow(const char *path, unsigned rights, bool is_opening);

/* 0 or -errno with @err set: then the process may have given up a part, and should end. */
int sandbox_enter(const struct sandbox_config *config, GError **err);
/*
 * The last capability. Threads that were created since sandbox_enter() drop theirs by themselves.
 */
int sandbox_drop_last(GError **err);
int sandbox_seal(GError **err);
/* 0 or -errno. Any thread, also after sandbox_seal(). */
int sandbox_seal_thread(void);
/*
 * Whether the calling thread is sealed: then those that it creates are so from their beginning, and
 * sandbox_seal_thread() would add the same restrictions a second time. Any thread.
 */
bool sandbox_thread_is_sealed(void);

/*
 * Adds to an error of opening the image what has become of the rights that this takes. Nothing if
 * the sandbox has not changed them, or if its files may be the reason.
 */
void sandbox_explain(GError *err);

/* For sandbox_tell(): something that this server does without. */
void sandbox_note_missing(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Reports what could not be had. Deferred, so that this is not printed next to a fatal error. */
void sandbox_tell(void);

/* ---- the layers; for sandbox.c ---- */

struct sandbox_place {
	char *path;
	unsigned rights; /* enum sandbox_right */
	bool is_opening;
};

/*
 * Landlock: this thread, and those it creates, reach no files but @places (struct sandbox_place).
 * 0, or -errno: it cannot be had.
 */
int sandbox_limit_files(const GArray *places, bool is_opening, bool connects);
/* Whether Landlock also refuses TCP. */
bool sandbox_files_refuse_tcp(void);

/* seccomp: only the system calls that a server uses. As above. */
int sandbox_limit_calls(const struct sandbox_config *config);

#endif
