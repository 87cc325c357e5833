/* The first process of a pod sandbox: waits for the end and reaps what is orphaned to it. */
#include <signal.h>
#include <unistd.h>

static void leave(int number)
{
    (void)number;
    _exit(0);
}

int main(void)
{
    struct sigaction end = {.sa_handler = leave};
    /* Ignored children are reaped by the kernel. */
    struct sigaction ignore = {.sa_handler = SIG_IGN, .sa_flags = SA_NOCLDWAIT};

    sigaction(SIGTERM, &end, 0);
    sigaction(SIGINT, &end, 0);
    sigaction(SIGCHLD, &ignore, 0);
    for (;;)
        pause();
}
