/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of variables, by the rules of systemd's EnvironmentFile= (systemd.exec(5)). As since
 * systemd 254, a comment ends with its line, even after a backslash.
 */
#ifndef UBD_ENVIRONMENT_FILE_H
#define UBD_ENVIRONMENT_FILE_H

#include <glib.h>

/*
 * The value of @name in @text; if there are several, the last one counts. The caller frees it.
 * NULL: there is none; or, with @err set, a quoted value has no end.
 */
char *environment_file_get(const char *text, const char *name, GError **err);

#endif
