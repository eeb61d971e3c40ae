// SPDX-License-Identifier: GPL-2.0-or-later
/* Prints the seccomp filters as C, when a server is built; see sandbox_calls.h. */
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>

#include "annotations.h"
#include "sandbox_calls.h"

/* Stands for the process, whose number nobody knows yet; no other number in a filter is that. */
#define SELF 0x53454c46

/* Then the server may signal any process. */
#if defined(UBD_ASAN) || defined(UBD_TSAN)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

static void die(const char *problem)
{
	fprintf(stderr, "sandbox-calls: %s\n", problem);
	exit(EXIT_FAILURE);
}

static FILE *export(bool connects)
{
	scmp_filter_ctx filter = sandbox_calls_new(connects, SELF);
	FILE *file = tmpfile();

	if (!filter || !file || seccomp_export_bpf(filter, fileno(file)) < 0)
		die("libseccomp cannot make the filter");
	seccomp_release(filter);
	rewind(file);
	return file;
}

static void print(const char *name, bool connects)
{
	int length = 0, self_at = -1;
	struct sock_filter step;
	FILE *file = export(connects);

	printf("static const struct sock_filter %s[] = {\n", name);
	for (; fread(&step, sizeof(step), 1, file) == 1; length++) {
		printf("\t{ 0x%x, %u, %u, 0x%x },\n", step.code, step.jt, step.jf, step.k);
		if (step.k != SELF)
			continue;
		if (self_at >= 0 || step.code != (BPF_JMP | BPF_JEQ | BPF_K))
			die("a filter does not compare the process once");
		self_at = length;
	}
	fclose(file);
	if (self_at < 0 && !IS_SANITIZED)
		die("a filter does not ask for the process");
	printf("};\n\n#define %s_self %d\n\n", name, self_at);
}

int main(void)
{
	printf("/* Made by sandbox_calls_print.c. */\n");
	print("calls", false);
	print("calls_connecting", true);
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
