/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Option lists, "name=value,name2=value2", where a comma in a value is doubled. */
#ifndef UBD_OPTION_LIST_H
#define UBD_OPTION_LIST_H

/*
 * The part up to a single comma, with doubled ones made single; the caller frees it. *list is set
 * behind the comma, or to NULL.
 */
char *option_list_next(const char **list);

#endif
