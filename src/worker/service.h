/* service.h - a worker's life: it waits for cofferd, gets its keys (START), locks itself in, opens
 * its filesystem, serves a mount, and ends when the mount does, or when it is told to.
 *
 * cofferd may go and come again meanwhile; nothing depends on the connection but orders and
 * reports. See host/worker_protocol.h for what can be said.
 *
 * Threads    one, the process's first and at first its only one.
 */
#pragma once

/* listen_fd: the socket on which cofferd connects, taken over. Call secret_heap_init() before.
 * Returns the exit code: 0 if everything is durable and ended in order. */
int service_run(int listen_fd);
