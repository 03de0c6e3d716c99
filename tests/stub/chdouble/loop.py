"""One epoll(7) with timers. A source may belong to the VMM thread: it is not looked at while that blocks."""
import errno
import heapq
import os
import select
import time

IN, OUT, RDHUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP
BAD = select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP


class Timer:
    def __init__(self, call, vmm):
        self.call, self.vmm = call, vmm

    def stop(self):
        self.call = None


class Loop:
    def __init__(self):
        self.epoll = select.epoll()
        self.sources = {}   # fd → (mask, call, vmm)
        self.timers = []
        self.count = 0
        self.blocked = 0    # depth: > 0 while the VMM thread waits for something
        self.held = []      # calls that came for the VMM thread meanwhile
        self.running = True

    def watch(self, fd, mask, call, vmm=False):
        """call(events). A descriptor that cannot be polled (a regular file) is left alone."""
        known = fd in self.sources
        self.sources[fd] = (mask, call, vmm)
        try:
            (self.epoll.modify if known else self.epoll.register)(fd, 0 if vmm and self.blocked else mask)
        except OSError as e:
            if e.errno != errno.EPERM:
                raise
            del self.sources[fd]

    def unwatch(self, fd):
        if self.sources.pop(fd, None):
            try:
                self.epoll.unregister(fd)
            except OSError:
                pass

    def timer(self, after_ms, call, vmm=False):
        t = Timer(call, vmm)
        self.count += 1
        heapq.heappush(self.timers, (time.monotonic() + after_ms / 1000, self.count, t))
        return t

    def later(self, call, vmm=True):
        return self.timer(0, call, vmm)

    def block(self):
        """The VMM thread is busy: neither requests nor what the guest asks of it are handled."""
        self.blocked += 1
        if self.blocked == 1:
            for fd, (_, _, vmm) in self.sources.items():
                if vmm:
                    self.epoll.modify(fd, 0)

    def unblock(self):
        self.blocked -= 1
        if self.blocked:
            return
        for fd, (mask, _, vmm) in self.sources.items():
            if vmm:
                self.epoll.modify(fd, mask)
        held, self.held = self.held, []
        for call in held:
            self.later(call)

    def on_vmm_thread(self, call):
        """Calls now, or when the VMM thread is free again."""
        if self.blocked:
            self.held.append(call)
        else:
            call()

    def timeout(self):
        while self.timers and self.timers[0][2].call is None:
            heapq.heappop(self.timers)
        return -1 if not self.timers else max(0, self.timers[0][0] - time.monotonic())

    def turn(self):
        for fd, events in self.epoll.poll(self.timeout()):
            source = self.sources.get(fd)
            if source and not (source[2] and self.blocked):
                source[1](events)
        while self.timers and self.timers[0][0] <= time.monotonic():
            timer = heapq.heappop(self.timers)[2]
            if timer.call is None:
                continue
            if timer.vmm:
                self.on_vmm_thread(timer.call)
            else:
                timer.call()

    def run(self):
        while self.running:
            self.turn()


def write_all(fd, data):
    """What a blocking write would do, on any descriptor; gives up when nobody reads any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view):]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError:
            return False
    return True
