#include "driver/tap_linux.h"

#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <linux/if_tun.h>

int vivi_tap_check(int fd, viv_error *err)
{
    struct ifreq r = {.ifr_flags = 0};
    const char *lacks;

    if (ioctl(fd, TUNGETIFF, &r) < 0 || !(r.ifr_flags & IFF_TAP))
        return vivi_fail(err, VIV_E_INVALID, "what was given is no TAP device");
    lacks = !(r.ifr_flags & IFF_NO_PI)      ? "IFF_NO_PI"
            : !(r.ifr_flags & IFF_VNET_HDR) ? "IFF_VNET_HDR"
                                            : NULL;
    return lacks ? vivi_fail(err, VIV_E_INVALID, "%.15s was opened without %s", r.ifr_name, lacks)
                 : 0;
}

/* By the descriptor alone: the device may be in another network namespace. */
int vivi_tap_is_up(int fd, viv_error *err)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct ifreq r = {.ifr_flags = 0};

    if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT))
        return 0;
    (void)ioctl(fd, TUNGETIFF, &r);
    (void)vivi_fail(err, VIV_E_INVALID, "%.15s is down, and this VMM ends a NIC that cannot send",
                    r.ifr_name);
    vivi_hint(err, "ip link set %.15s up", r.ifr_name);
    return -VIV_E_INVALID;
}
