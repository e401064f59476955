/* What the benchmarks run in containers: it says itself when it runs, so that nobody has to look.
 *
 *   stamp NAME              a line in /shared/stamps, then waits. USR1: another line, and the end with exit code 1.
 *                           TERM: the end with exit code 0
 *   stamp NAME MEGABYTES    writes so much to standard output, in lines of 100 bytes, between two lines in /shared/stamps
 *
 * A line is `NAME WORD NANOSECONDS`, by CLOCK_MONOTONIC, and written by one write.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *name;
static int file;

/* The time first: all that follows is not part of what is measured. */
static void say(const char *word)
{
	struct timespec now;
	char line[256];

	clock_gettime(CLOCK_MONOTONIC, &now);
	int n = snprintf(line, sizeof line, "%s %s %lld\n", name, word, now.tv_sec * 1000000000LL + now.tv_nsec);
	if (write(file, line, n) != n)
		_exit(3);
}

static void on_signal(int signal)
{
	if (signal == SIGUSR1)
		say("exit");
	_exit(signal == SIGUSR1);
}

/* The lines are short enough for a pipe to take forty of them at once, as it would from a program that writes each alone. */
static void write_lines(long megabytes)
{
	char lines[4000];

	memset(lines, 'x', sizeof lines);
	for (size_t end = 99; end < sizeof lines; end += 100)
		lines[end] = '\n';
	for (long n = 0; n < megabytes * 250; n++)
		if (write(1, lines, sizeof lines) != sizeof lines)
			_exit(4);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };

	if (argc < 2)
		return 2;
	name = argv[1];
	file = open("/shared/stamps", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (file < 0)
		return 2;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	say("start");
	if (argc > 2) {
		write_lines(atol(argv[2]));
		say("written");
	}
	for (;;)
		pause();
}
