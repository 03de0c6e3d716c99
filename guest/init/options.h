/*
 * options.h: what the kernel command line asks of the demo guest.
 *
 * The guest has no configuration file: everything that a host or a test wants to vary travels on
 * the kernel command line, so one image serves all of them. Unknown keys belong to the kernel or to
 * others and are ignored. guest/README.md is the user's list of the keys.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_MAX_MOUNTS 4
#define GUEST_MAX_DNS    2

enum guest_flood {
    GUEST_FLOOD_NONE,
    GUEST_FLOOD_LINES, /* numbered lines of 1 KiB, as fast as the console takes them */
    GUEST_FLOOD_NOLF,  /* one line that never ends */
};

/* The kernel's ip= argument; the addresses are text, checked when they are applied. */
struct guest_ip {
    bool given;
    bool dhcp;       /* also what an absent ip= means */
    bool off;        /* leave the NICs alone */
    char client[64]; /* "" = not given, as all texts here */
    char gateway[64];
    char netmask[64];
    char hostname[64];
    char device[16];
    char dns[GUEST_MAX_DNS][64];
};

struct guest_mount {
    char tag[40];
    char path[128];
};

struct guest_options {
    struct guest_ip ip;
    char nonce[129];         /* vmrs.nonce=, "" = none */
    bool noready;            /* never prints the marker */
    uint64_t ready_delay_ms; /* waits this long before the marker */
    char ready_addr[64];     /* prints this instead of the own address */
    char ready_nonce[129];   /* prints this instead of the nonce */
    bool nobutton;           /* a pressed power button is logged and ignored */
    bool noshell;
    bool count;              /* prints numbered lines */
    uint64_t count_rate;     /* lines per second; 0 = as fast as the console takes them */
    uint64_t reboot_every;   /* lines, then a reboot; 0 = never */
    uint64_t poweroff_after; /* lines, then power off; 0 = never */
    enum guest_flood flood;
    bool panic; /* panics panic_ms after the marker */
    uint64_t panic_ms;
    bool reboot; /* reboots reboot_ms after the marker */
    uint64_t reboot_ms;
    bool poweroff; /* powers off poweroff_ms after the marker */
    uint64_t poweroff_ms;
    uint64_t stop_delay_ms; /* a shutdown takes this much longer */
    char root[64];          /* root=: the disk whose own init takes over; "" = none */
    char disk_test[64];     /* block device whose boot counter is incremented */
    char lab[256];          /* viv.lab=: command of the KVM lab */
    char modules[256];      /* viv.lab_modules=: names with commas between them */
    struct guest_mount mounts[GUEST_MAX_MOUNTS]; /* viv.lab_mount=tag:/path, read-write virtiofs */
    size_t mounts_n;
};

/* Reads a kernel command line. Never fails: a malformed value counts as absent. ret_ is fully set.
 */
void guest_options_parse(const char *cmdline, struct guest_options *ret_options);
