"""Run by an interpreter that has xllamacpp: MODEL PORT SLOTS CONTEXT THREADS. Nothing of ours."""

import signal
import sys

import xllamacpp


def main() -> None:
    model, (port, slots, context, threads) = sys.argv[1], map(int, sys.argv[2:6])
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = context
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.cont_batching = True
    params.cache_prompt = True
    params.endpoint_slots = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pause()


if __name__ == "__main__":
    main()
