/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a member to the struct that it is in. */
#ifndef UBD_CONTAINER_OF_H
#define UBD_CONTAINER_OF_H

#include <stddef.h>

/* The comparison is only there for the compiler to check @ptr's type. */
#define container_of(ptr, type, member)                                                            \
	((type *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

#endif
