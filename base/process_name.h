/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes in messages. */
#ifndef UBD_PROCESS_NAME_H
#define UBD_PROCESS_NAME_H

/*
 * "PID 7, cat" of the process with the folder @process in /proc, or "PID 7" if it has gone. The
 * caller frees it.
 */
char *process_name(const char *process);

#endif
