/*
 * The puppet: a monitor without a mind, for the keeper's tests. It calls the test over
 * run_dir/PUPPET_SOCKET, hands over its end of the socket to the keeper, and does as it is told.
 * When its keeper dies it executes a keeper in its place, as a real monitor does.
 */
#pragma once

#define PUPPET_SOCKET "puppet.sock"

enum puppet_op {
    PUPPET_HELLO = 1, /* puppet: pid, VIV_FDS; + the keeper's socket, the lock, the listener */
    PUPPET_EXIT,      /* test: status */
    PUPPET_INHERIT    /* test: name or name@file@limit; + descriptor: listed in VIV_FDS later */
};
