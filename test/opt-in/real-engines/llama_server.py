# llama.cpp's own HTTP server, out of a package that has it as a library: same routes, same answers, the flags of `llama-server` that the
# preset uses. Ends when it is told to.
#
#   python llama_server.py --host 127.0.0.1 --port 8080 --model tiny.gguf --parallel 4 --ctx-size 4096 --metrics --slots
import argparse
import signal
import threading

import xllamacpp


def main() -> None:
    flags = argparse.ArgumentParser(prog="llama-server")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, required=True)
    flags.add_argument("--model", required=True)
    flags.add_argument("--alias")
    flags.add_argument("--parallel", type=int, default=1)
    flags.add_argument("--ctx-size", type=int, default=0)
    flags.add_argument("--metrics", action="store_true")
    flags.add_argument("--slots", action="store_true")
    flags.add_argument("--embeddings", action="store_true")
    flags.add_argument("--threads", type=int, default=1)
    asked = flags.parse_args()

    params = xllamacpp.CommonParams()
    params.model.path = asked.model
    if asked.alias is not None:
        params.model_alias = {asked.alias}
    params.hostnames = [asked.host]
    params.port = asked.port
    params.n_parallel = asked.parallel
    params.n_ctx = asked.ctx_size
    params.endpoint_metrics = asked.metrics
    params.endpoint_slots = asked.slots
    params.embedding = asked.embeddings
    params.cpuparams.n_threads = asked.threads
    params.cpuparams_batch.n_threads = asked.threads
    params.n_gpu_layers = 0

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    while not stop.wait(0.5):
        pass
    del server


if __name__ == "__main__":
    main()
