/*
 * net.h: the guest's NICs: which there are, their address, how they get one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "console.h"
#include "options.h"

#define GUEST_MAX_NICS  8
#define GUEST_NIC_NAME  16
#define GUEST_ADDR_SIZE 64

struct guest_nics {
    size_t n;
    char name[GUEST_MAX_NICS][GUEST_NIC_NAME];
};

/* Real NICs (those with a device behind them), sorted by name. */
void guest_nics_find(struct guest_nics *ret_nics);

/*
 * Brings up lo and the NICs: a static address by ip=, else one DHCP client each, whose success
 * arrives as SIGHUP. Nothing waits here.
 */
void guest_net_begin(struct guest_consoles *c, const struct guest_nics *nics,
                     const struct guest_ip *ip);

/* Finds an address of a NIC, IPv4 first, then a global IPv6 one. False if there is none yet. */
bool guest_net_address(const struct guest_nics *nics, bool v6_too, char ret_addr[GUEST_ADDR_SIZE]);

/* The program that udhcpc runs at each event: applies the lease and tells process 1. */
int guest_dhcp_event(const char *event);
