// SPDX-License-Identifier: GPL-2.0-or-later
/* Signals that end the program while it creates an image; see guard.h. */
#include "guard.h"

#include <signal.h>

static const struct image_begun *_Atomic guarded;

static void abandon(int number)
{
	const struct image_begun *begun = guarded;

	if (begun)
		image_begun_abandon(begun);
	/* The signal ends the program as soon as the handler has returned. */
	signal(number, SIG_DFL);
	raise(number);
}

/* A signal that was ignored from the start, as by nohup, stays ignored. */
static void catch_signal(int number)
{
	struct sigaction action;

	if (sigaction(number, NULL, &action) < 0 || action.sa_handler == SIG_IGN)
		return;
	action = (struct sigaction){ .sa_handler = abandon };
	sigaction(number, &action, NULL);
}

void guard_begun(const struct image_begun *begun)
{
	static const int numbers[] = { SIGHUP,	SIGINT,	 SIGQUIT, SIGTERM,
				       SIGALRM, SIGXCPU, SIGUSR2, SIGVTALRM };

	guarded = begun;
	for (unsigned i = 0; begun && i < G_N_ELEMENTS(numbers); i++)
		catch_signal(numbers[i]);
}
