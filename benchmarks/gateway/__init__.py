"""What the gateway costs: `python -m benchmarks.gateway`.

The gateway as it is served (every middleware, the real HTTP and WebSocket protocols) runs in a
process of its own over a worker that answers at once, so that all that is measured is ours. The
client is this process, and it says how busy it was. Tokens name their stream, path and place:
whatever is lost, doubled or out of order is found.
"""
