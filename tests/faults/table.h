/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All scenarios: those of the guest's requests, and one for each structural operation. */
#ifndef UBD_TESTS_FAULTS_TABLE_H
#define UBD_TESTS_FAULTS_TABLE_H

#include "scenario.h"

/* Of struct scenario; the caller frees the array and its contents. */
GPtrArray *table_of_scenarios(void);

#endif
