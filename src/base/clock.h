/* clock.h - the clocks: the wall, for what a person sees, and as files see it, and the one that
 * never steps, for timeouts.
 *
 * Units      nanoseconds since 1970, milliseconds since some start.
 * Threads    any.
 */
#pragma once

#include <stdint.h>

int64_t clock_wall_ns(void);
/* With what the kernel stamps files: the wall as of its last tick. A file that we stamp is then
 * never newer than one that the kernel stamps after it. */
int64_t clock_file_ns(void);
int64_t clock_monotonic_ms(void);

/* Sleeps at least this long, however often a signal interrupts it. */
void clock_sleep_ms(int64_t ms);
