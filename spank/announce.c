#define _GNU_SOURCE
#include "announce.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <slurm/slurm.h>
#include <slurm/spank.h>

#include "command.h"

enum {
    FIXED_WORDS = 18, /* the runner, its options and the final NULL */
    EXIT_NOT_STARTED = 127,
    KILL_GRACE_MS = 1000, /* for the kernel to end a killed process that sits in a system call */
    NO_PIDFD_STEP_MS = 5, /* how often to look where Linux has no pidfd (before 5.3) */
};

static const char AFTERWARDS[] = "the job is queued all the same and bursts once the agent is back";

/* libslurm's configuration; weak, so that a Slurm that hides it costs only the name of the cluster. */
extern slurm_conf_t slurm_conf __attribute__ ((weak));

static const char *cluster_name (void)
{
    return &slurm_conf != NULL && slurm_conf.cluster_name != NULL ? slurm_conf.cluster_name : "";
}

static long long now_ms (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return ((long long)now.tv_sec * 1000) + (now.tv_nsec / 1000000);
}

/* Closes all files from 3 on except one. Async-signal-safe. */
static void close_others (int kept)
{
#ifdef SYS_close_range
    bool below = kept == 3 || syscall (SYS_close_range, 3U, (unsigned)kept - 1, 0U) == 0;
    if (below && syscall (SYS_close_range, (unsigned)kept + 1, ~0U, 0U) == 0)
        return;
#endif
    struct rlimit files = {.rlim_cur = 1024};
    getrlimit (RLIMIT_NOFILE, &files);
    int most = files.rlim_cur < 65536 ? (int)files.rlim_cur : 65536;
    for (int fd = 3; fd < most; fd++)
        if (fd != kept)
            close (fd);
}

/* Becomes the runner, in the forked child: only async-signal-safe calls. A failure's errno goes to failure_fd. */
static _Noreturn void become (const char *const words[], int failure_fd)
{
    /* execv changes no word, but its type is older than const. */
    const union {
        const char *const *words;
        char *const *argv;
    } program = {words};
    sigset_t none;

    /* A process group of its own, so that the deadline ends its children too: one that hangs on would keep open what
     * `out=$(sbatch … 2>&1)` reads. In it, a terminal set to `tostop` must not stop what it says. */
    setpgid (0, 0);
    for (int number = 1; number < NSIG; number++)
        signal (number, number == SIGTTOU ? SIG_IGN : SIG_DFL);
    sigemptyset (&none);
    sigprocmask (SIG_SETMASK, &none, NULL);
    int null = open ("/dev/null", O_RDWR);
    if (null >= 0 && dup2 (null, STDIN_FILENO) >= 0) {
        /* A daemon that submits may have closed its standard error. */
        if (dup2 (STDERR_FILENO, STDOUT_FILENO) < 0) {
            dup2 (null, STDOUT_FILENO);
            dup2 (null, STDERR_FILENO);
        }
        close_others (failure_fd);
        execv (words[0], program.argv);
    }
    int error = errno;
    (void)!write (failure_fd, &error, sizeof error);
    _exit (EXIT_NOT_STARTED);
}

/*
 * Makes a pipe of which both ends are closed on exec and are neither of the standard files, even where the caller
 * runs with those closed. Returns 0, or -1 with errno set.
 */
static int make_pipe (int ends[2])
{
    int made[2];

    if (pipe2 (made, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    for (int i = 0; i < 2; i++)
        ends[i] = fcntl (made[i], F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close (made[0]);
    close (made[1]);
    if (ends[0] >= 0 && ends[1] >= 0)
        return 0;
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close (ends[i]);
    errno = error;
    return -1;
}

/* Starts the runner. Returns its pid, and in *failure where an errno can be read if it could not be executed; or -1. */
static pid_t start (const char *const words[], int *failure)
{
    int ends[2];

    if (make_pipe (ends) != 0)
        return -1;
    pid_t pid = fork ();
    if (pid == 0)
        become (words, ends[1]);
    int error = errno;
    close (ends[1]);
    if (pid < 0)
        close (ends[0]);
    else
        *failure = ends[0];
    errno = error;
    return pid;
}

/* Waits for one child until a moment. Returns whether it has ended, with its status. */
static bool wait_until (pid_t pid, long long moment_ms, int *status)
{
    /* The caller may have its own use for SIGCHLD, so the process itself is asked. */
#ifdef SYS_pidfd_open
    int pidfd = (int)syscall (SYS_pidfd_open, pid, 0U);
#else
    int pidfd = -1;
#endif
    bool ended = false;
    *status = 0;
    for (;;) {
        pid_t got = waitpid (pid, status, WNOHANG);
        /* ECHILD: the caller ignores SIGCHLD, so the kernel has reaped it. */
        ended = got == pid || (got < 0 && errno == ECHILD);
        long long left = moment_ms - now_ms ();
        if (ended || left <= 0)
            break;
        struct pollfd watched = {.fd = pidfd, .events = POLLIN};
        if (pidfd < 0 && left > NO_PIDFD_STEP_MS)
            left = NO_PIDFD_STEP_MS;
        poll (&watched, pidfd < 0 ? 0 : 1, (int)left);
    }
    if (pidfd >= 0)
        close (pidfd);
    return ended;
}

/* Says what the runner could not say itself. */
static void explain (const char *runner, int status, int failure_fd)
{
    int error = 0;

    if (read (failure_fd, &error, sizeof error) == (ssize_t)sizeof error)
        slurm_spank_log ("k8s-burst: can't start %s: %s; %s", runner, strerror (error), AFTERWARDS);
    else if (WIFSIGNALED (status))
        slurm_spank_log ("k8s-burst: %s was ended by signal %d (%s); %s", runner, WTERMSIG (status),
                         strsignal (WTERMSIG (status)), AFTERWARDS);
}

static void run (const char *const words[], unsigned deadline_ms)
{
    int failure_fd = -1, status = 0;
    long long moment_ms = now_ms () + deadline_ms;
    pid_t pid = start (words, &failure_fd);

    if (pid < 0) {
        slurm_spank_log ("k8s-burst: can't start %s: %s; %s", words[0], strerror (errno), AFTERWARDS);
        return;
    }
    if (wait_until (pid, moment_ms, &status)) {
        explain (words[0], status, failure_fd);
    } else {
        kill (-pid, SIGKILL);
        kill (pid, SIGKILL); /* it may not have come to its own group yet */
        wait_until (pid, now_ms () + KILL_GRACE_MS, &status);
        slurm_spank_log ("k8s-burst: agent did not answer in %u ms; %s", deadline_ms, AFTERWARDS);
    }
    close (failure_fd);
}

void burst_announce (const struct burst_config *config, const struct burst_request *request)
{
    char deadline_ms[11];
    const char *words[FIXED_WORDS + BURST_COMMAND_WORDS];
    size_t count = 0;
    char *buffer = malloc (BURST_COMMAND_BYTES);

    if (buffer == NULL) {
        slurm_spank_log ("k8s-burst: can't announce the job: %s; %s", strerror (errno), AFTERWARDS);
        return;
    }
    snprintf (deadline_ms, sizeof deadline_ms, "%u", config->deadline_ms);
    const char *const fixed[] = {
        config->runner,  "announce",  "--agent",   config->agent,   "--ca",   config->ca,
        "--deadline-ms", deadline_ms, "--cluster", cluster_name (), "--mode", burst_mode_word (request->mode),
    };
    for (; count < sizeof fixed / sizeof fixed[0]; count++)
        words[count] = fixed[count];
    if (request->image[0] != '\0') {
        words[count++] = "--image";
        words[count++] = request->image;
    }
    if (request->max_cost[0] != '\0') {
        words[count++] = "--max-cost";
        words[count++] = request->max_cost;
    }
    words[count++] = "--";
    count += burst_command_line (buffer, BURST_COMMAND_BYTES, words + count, BURST_COMMAND_WORDS);
    words[count] = NULL;
    run (words, config->deadline_ms);
    free (buffer);
}
