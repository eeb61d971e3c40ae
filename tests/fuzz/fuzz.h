/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libFuzzer calls. */
#ifndef UBD_TESTS_FUZZ_FUZZ_H
#define UBD_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
