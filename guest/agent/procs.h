/* procs.h: what process.c and procs.c share. */
#pragma once

#include "agent.h"

bool procs_is(const struct stream_ops *ops); /* those of process.c */
/* A signal to all processes of a session, whatever process groups its job control made. */
void procs_kill_session(pid_t leader, int signal_number);
/* "INT", "SIGINT" or "2" → 2; 0 = no such signal. */
int procs_signal(const char *name);
/* When a process began, in ms since boot; false: there is none. */
bool procs_began(pid_t pid, uint64_t *ret_ms);
