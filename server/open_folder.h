/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Folders that are kept open for the files in them, each only once, however many files it has. Main
 * thread only.
 */
#ifndef UBD_OPEN_FOLDER_H
#define UBD_OPEN_FOLDER_H

/* A descriptor (O_PATH) of the folder that the path leads to now, or -errno. */
int open_folder_get(const char *path);
/* For each time that open_folder_get() has returned it. */
void open_folder_put(int fd);

/* The descriptors, which the caller frees. */
int *open_folders(unsigned *ret_nr);

#endif
