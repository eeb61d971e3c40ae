/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints the frequency of this machine's time stamp counter, in kHz. */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct sample {
	double seconds;
	unsigned long long ticks;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* On a busy machine something may come between two readings: the closest of many count. */
static struct sample take_sample(void)
{
	struct sample best = { 0 };
	double closest = 1e9;

	for (int i = 0; i < 100; i++) {
		double before = now();
		unsigned long long ticks = __rdtsc();
		double after = now();

		if (after - before < closest) {
			closest = after - before;
			best.seconds = (before + after) / 2;
			best.ticks = ticks;
		}
	}
	return best;
}

int main(void)
{
	struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
	struct sample begin = take_sample(), end;

	nanosleep(&pause, NULL);
	end = take_sample();
	printf("%.0f\n", (end.ticks - begin.ticks) / (end.seconds - begin.seconds) / 1000);
	return 0;
}
