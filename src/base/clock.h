/* clock.h - the two clocks: the wall, for what a person or a file sees, and the one that never
 * steps, for timeouts.
 *
 * Units      nanoseconds since 1970, milliseconds since some start.
 * Threads    any.
 */
#pragma once

#include <stdint.h>

int64_t clock_wall_ns(void);
int64_t clock_monotonic_ms(void);

/* Sleeps at least this long, however often a signal interrupts it. */
void clock_sleep_ms(int64_t ms);
