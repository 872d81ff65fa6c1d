"""A client of the Open Inference Protocol over gRPC: one row, as many calls at once as are asked for.

Prints ``rate`` (answers a second) and ``p99_ms`` as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from typing import Any


async def load(address: str, model: str, row: list[float], calls: int, seconds: float) -> dict[str, Any]:
    import grpc
    import numpy as np
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="X", datatype="FP32", shape=[1, len(row)])
    request.raw_input_contents.append(np.array([row], dtype=np.float32).tobytes())
    body, taken = request.SerializeToString(), list[float]()
    # A connection for each call: on one, gRPC's own flow control would be measured.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(calls)]
    asks = [channel.unary_unary("/inference.GRPCInferenceService/ModelInfer") for channel in channels]
    for ask in asks:
        service_pb2.ModelInferResponse.FromString(await ask(body))
    began = time.perf_counter()

    async def caller(ask: Any) -> None:
        while (sent := time.perf_counter()) < began + seconds:
            await ask(body)
            taken.append(time.perf_counter() - sent)

    await asyncio.gather(*map(caller, asks))
    spent = time.perf_counter() - began
    for channel in channels:
        await channel.close()
    taken.sort()
    return {"rate": len(taken) / spent, "p99_ms": taken[int(len(taken) * 0.99)] * 1e3}


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("model")
    parser.add_argument("row", type=json.loads)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3)
    given = parser.parse_args()
    gc.disable()
    json.dump(uvloop.run(load(given.address, given.model, given.row, given.calls, given.seconds)), sys.stdout)


if __name__ == "__main__":
    main()
