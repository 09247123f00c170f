/* Preloaded into a process, it makes its wall clock run so many seconds ahead as the file of SKEIN_WALL_CLOCK says: one signed
 * 64-bit integer in the machine's order, which others may write at any time. All other clocks are the kernel's. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SKEIN_WALL_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED)
        ahead = map;
}

/* The kernel is called directly: an allocator asks for the time before the loader can find the next function of this name. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_REALTIME && ahead)
        time->tv_sec += *ahead;
    return (int)failed;
}
