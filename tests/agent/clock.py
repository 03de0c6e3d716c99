"""An agent without a guest, on its standard input: asked for the clock it says that it set it by so many ns."""
import socket
import sys

import wire


class Agent(wire.Peer):
    role = 2

    def handle(self, kind, channel, stream, payload):
        if kind != wire.OPEN:
            super().handle(kind, channel, stream, payload)
        elif payload.startswith(b"clock\0"):
            self.frame(wire.RESULT, stream, wire.fields(adjusted_ns=sys.argv[1]))
        else:
            self.frame(wire.RESULT, stream, wire.fields(error="UNSUPPORTED", text="no such thing here"))


agent = Agent(socket.socket(fileno=0))
while not agent.closed:
    agent.step(3600)
