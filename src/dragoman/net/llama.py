"""The child process of the embedded model: llama.cpp's own HTTP server on a Unix socket.

Started as `python -m dragoman.net.llama MODEL CONTEXT PARALLEL THREADS SOCKET`. It ends when its standard
input does, so it never outlives the gateway, however that ends.
"""

import os
import sys
from pathlib import Path

STDIN = 0


def main() -> None:
    import xllamacpp  # type: ignore[import-untyped, unused-ignore]

    model, context, parallel, threads, socket = sys.argv[1:6]
    if os.path.exists(socket):  # noqa: PTH110 - left by a child that was killed
        os.unlink(socket)  # noqa: PTH108
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = [socket]
    params.n_ctx = int(context) * int(parallel)
    params.n_parallel = int(parallel)
    params.cpuparams.n_threads = int(threads) or os.cpu_count() or 1
    params.model_alias = {Path(model).stem}
    params.use_jinja = True
    params.warmup = False
    params.ui = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    while os.read(STDIN, 1):
        pass
    del server
    os._exit(0)


if __name__ == "__main__":
    main()
