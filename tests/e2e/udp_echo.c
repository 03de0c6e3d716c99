/* Runs in the guest, from a raw disk: answers each datagram with "echo: " and what it held. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#define PORT 7

int main(void)
{
    struct sockaddr_in from, here = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
        return 1;
    for (;;) {
        char data[2048] = "echo: ";
        size_t prefix = strlen(data);
        socklen_t len = sizeof(from);
        ssize_t n =
            recvfrom(fd, data + prefix, sizeof(data) - prefix, 0, (struct sockaddr *)&from, &len);

        if (n >= 0)
            (void)sendto(fd, data, prefix + (size_t)n, 0, (struct sockaddr *)&from, len);
    }
}
