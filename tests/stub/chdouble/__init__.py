"""A double of Cloud Hypervisor: the process, its command line, its API and its streams, without a CPU.

What it copies is what a control plane can see: the quirks of the HTTP server, every endpoint with the
states in which it is legal, the error texts of three generations, events, consoles, vsock, locks and the
ways to die. test_double.py pins it fact by fact, and runs against a real binary too where there is one.

Files: main (command line, start and end of the process), loop (poll and timers), http (transport),
api (routes, versions, error bodies), vmm (the one VM and its states), devices, memory, vsock,
snapshot, migration (parts of vmm), guest (what the virtual CPUs do), schema (bodies), validate (configuration),
conf (how a test tells it to behave).

Like the real one it is serial: while a verb blocks, no request is read, no power-off of the guest is
handled and no SIGTERM either; only the guest goes on.

Telling it what to do. A JSON object, from the file that CH_DOUBLE_CONF names, or from one that lies
beside the executable as it was called (`/x/cloud-hypervisor.json` for a link `/x/cloud-hypervisor`);
`conf.py` lists the keys. Without one it is a healthy v53.0 whose guest prints the readiness line at once
and obeys keys: r reboots, p powers off, k panics, f makes a virtual CPU fail (the VMM ends with 0 all the same), w stops
feeding the watchdog until that resets it, i ignores the power button,
n counts (a restored guest goes on counting); anything else comes back.
"""
