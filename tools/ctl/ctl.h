/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ubdctl: what its commands share.
 *
 * A command names its device by number, which takes the owner's or the administrator's rights,
 * or takes the control fd that ubdctl was started with: one that `ubdctl run` or
 * `ubdctl receive` has passed on, in the way of systemd (LISTEN_FDS, LISTEN_FDNAMES).
 */
#ifndef UBD_CTL_H
#define UBD_CTL_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "command.h"
#include "transport.h"

int ctl_add(const struct command *command, char **argv);
int ctl_events(const struct command *command, char **argv);
int ctl_list(const struct command *command, char **argv);
int ctl_info(const struct command *command, char **argv);
int ctl_stop(const struct command *command, char **argv);
int ctl_delete(const struct command *command, char **argv);
int ctl_metrics(const struct command *command, char **argv);
int ctl_quiesce(const struct command *command, char **argv);
int ctl_grant(const struct command *command, char **argv);
int ctl_receive(const struct command *command, char **argv);
int ctl_resize(const struct command *command, char **argv);
int ctl_run(const struct command *command, char **argv);
int ctl_stats(const struct command *command, char **argv);
int ctl_status(const struct command *command, char **argv);
int ctl_throttle(const struct command *command, char **argv);
int ctl_top(const struct command *command, char **argv);
int ctl_upgrade(const struct command *command, char **argv);

/* ---- values.c ---- */

/* The option whose argument ctl_parse_output() takes. */
#define CTL_OUTPUT_ENTRY(text)                                                                     \
	{                                                                                          \
		"output", 0, 0, G_OPTION_ARG_STRING, &(text),                                      \
			"Output format: human (default) or json", "FORMAT"                         \
	}
/* human or json; prints an error for anything else. */
bool ctl_parse_output(const char *text, bool *ret_json);

/*
 * Whether it is "ubdb7", "/dev/ubdb7" or the same of another driver; "7", which is ubd's; or a link
 * to one of them in /dev/disk.
 */
bool ctl_is_device(const char *text, const struct transport_ops **ret_driver, uint32_t *ret_id);
/* The same; prints an error for anything else. */
bool ctl_parse_device(const char *text, const struct transport_ops **ret_driver, uint32_t *ret_id);

/* The device of that name, NULL: of the control fd passed on; says why not. */
struct transport *ctl_open(const char *name, struct transport_info *ret_info);

/* What a command says about a result: what the driver does not have, or the errno. */
const char *ctl_reason(int res, const struct transport *transport, const char *what);

/* What another program has sent, as it can be written to a terminal. The caller frees it. */
char *ctl_printable(const char *text);

/* "850us", "1.2ms": at most 6 characters. The caller frees it. */
char *ctl_short_time(double us);

/* ---- status.c ---- */

/* Prints what a server tells; @word as for subject_find_socket(). False after an error message. */
bool ctl_print_status(const char *word, bool json);

/* ---- fds.c: descriptors that go from process to process ---- */

/* Which descriptors of a device, by name and in this order. */
struct ctl_fds {
	int control; /* -1: not among them */
	int disk;
};

void ctl_fds_close(struct ctl_fds *fds);

/* What was passed on to this process; all -1 if nothing was. */
struct ctl_fds ctl_fds_inherited(void);

/*
 * Executes a program that gets them as descriptors 3 and up, and "{}" in its arguments replaced by
 * a path of the disk. Returns, having said why, only on failure.
 */
void ctl_fds_exec(struct ctl_fds *fds, char **argv);
/* The same, but the program is this file, and not found by its name. */
void ctl_fds_exec_file(struct ctl_fds *fds, const char *file, char **argv);

/* What follows "--", where @argv is cut off; NULL, with the error printed, if nothing does. */
char **ctl_cut_program(const struct command *command, char **argv);

/*
 * Over a connected UNIX socket. False with @err set; what was received by then is closed. What is
 * received is of ubd, but may be of any device.
 */
bool ctl_fds_send(int socket, const struct ctl_fds *fds, GError **err);
bool ctl_fds_receive(int socket, struct ctl_fds *ret_fds, GError **err);

/* ---- origin.c: whether the kernel says that a descriptor is of our drivers ---- */

bool ctl_is_disk(int fd);
bool ctl_is_control(int fd);

/* ---- socket.c ---- */

#define CTL_NOT_GIVEN ((uid_t)-1)

/* Who is at the other side, and to whom a disk is given. */
struct ctl_owner {
	uid_t uid; /* CTL_NOT_GIVEN: it may be anybody */
	gid_t gid;
};

/*
 * A connection to a socket of that path, where @owner must listen; or -1 with @err set. Connecting,
 * and each wait for the other side, fails after @seconds; 0: never.
 */
int ctl_socket_connect(const char *path, const struct ctl_owner *owner, unsigned seconds,
		       GError **err);

/* Sets those seconds anew. 0, or -1 with errno. */
int ctl_socket_limit(int fd, unsigned seconds);

/*
 * Makes the socket, which only @owner (or, if there is none, this user) can connect to, waits
 * for a connection of @owner, and removes the socket. -1 with @err set.
 */
int ctl_socket_accept(const char *path, const struct ctl_owner *owner, GError **err);

/* ---- ask.c ---- */

/*
 * The line of a command about a device or export (NULL: the server's only one); @more are other
 * members, which it unrefs, or NULL. The caller frees it.
 */
char *ctl_command(const char *name, const char *device, json_t *more);

/* For answers that take a server no time, unless it hangs. */
#define CTL_ANSWER_SECONDS 5

/*
 * Sends @line, with its newline, to a server's socket of that path. The answer, a JSON object, is
 * the caller's to unref; NULL with @err set, also if the server has answered that it could not, or
 * has not answered for @seconds (ETIMEDOUT; 0: it may take any time).
 */
json_t *ctl_ask(const char *path, const char *line, unsigned seconds, GError **err);
/*
 * The same with CTL_ANSWER_SECONDS, and calls fn(arg, event) for each JSON object that follows the
 * answer, until that returns false or the server ends the connection. 0, or -1 with @err set.
 */
int ctl_watch(const char *path, const char *line, bool (*fn)(void *arg, const json_t *event),
	      void *arg, GError **err);
/* ctl_ask() without a limit, passing a descriptor on. */
json_t *ctl_ask_with_fd(const char *path, const char *line, int fd, GError **err);

/* As ctl_ask(), of a server that @owner runs. */
json_t *ctl_ask_owner(const char *path, const char *line, const struct ctl_owner *owner,
		      unsigned seconds, GError **err);

#endif
