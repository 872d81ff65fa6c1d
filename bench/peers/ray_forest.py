"""Ray Serve: a deployment (https://docs.ray.io/en/latest/serve/getting_started.html)."""

import os
import time

import forest
import numpy as np
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment
class Forest:
    def __init__(self) -> None:
        self.predict_rows = forest.load()

    async def __call__(self, request: Request) -> dict:
        body = await request.json()
        return {"predictions": self.predict_rows(np.array(body["rows"])).tolist()}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Forest.bind(), route_prefix="/")
    while True:
        time.sleep(60)
