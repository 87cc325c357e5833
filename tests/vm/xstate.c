/* Preloaded into User-Mode Linux: lets it run on processors with more register state than it knows of.
 *
 * The kernel program keeps a guest process's floating point state in a buffer of fixed size and gives it back with
 * PTRACE_SETREGSET. On processors with AMX the state is 11 KB; the host refuses a shorter one, and the guest panics
 * at its first process. Here a shorter state is laid over the full one, with the components beyond it marked unused.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
    FULL_BYTES = 1 << 16,      /* of any processor's state, with room */
    XSTATE_BV_OFFSET = 512,    /* which components are in use: first word of the XSAVE header */
    COMPONENTS_KNOWN = 0x3ff,  /* x87 to PKRU: what fits in the program's buffer */
};

typedef long ptrace_call(enum __ptrace_request, ...);

long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_call *next;
    static __thread unsigned char full[FULL_BYTES] __attribute__((aligned(64)));
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *), *content = va_arg(arguments, void *);
    va_end(arguments);

    if (!next)
        next = (ptrace_call *)dlsym(RTLD_NEXT, "ptrace");
    if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
        return next(request, pid, address, content);

    struct iovec *given = content, whole = {full, sizeof full};
    if (next(PTRACE_GETREGSET, pid, address, &whole) != 0 || whole.iov_len <= given->iov_len)
        return next(request, pid, address, content);
    memcpy(full, given->iov_base, given->iov_len);
    uint64_t used;
    memcpy(&used, full + XSTATE_BV_OFFSET, sizeof used);
    used &= COMPONENTS_KNOWN;
    memcpy(full + XSTATE_BV_OFFSET, &used, sizeof used);
    return next(request, pid, address, &whole);
}
