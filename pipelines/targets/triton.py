"""A model repository for NVIDIA Triton, whose configuration is written by Triton's own message type.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.serving.models.engines import EQUAL_DIGITS
from pipelines.targets.served import Files, Served, Stack

MOST_ROWS = 1024  # of one batch
WAIT_US = 500  # for more requests to be answered together
_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(int64)": "TYPE_INT64",
    "tensor(string)": "TYPE_STRING",
}


def build(served: Served, stack: Stack) -> Files:
    """The repository: the graph for Triton's ONNX Runtime, and its twin for Triton's Python."""
    return repository(served.described, served.graph("triton"), served.name) | _twin(served)


def repository(described: dict[str, Any], graph: bytes, name: str, number: int = 1) -> Files:
    """The graph and its configuration.

    Args:
        number: Of the version: Triton serves the highest one.
    """
    graph = with_classes(described, graph)
    return {
        f"{name}/config.pbtxt": configuration(described, graph, name, "onnxruntime"),
        f"{name}/{number}/model.onnx": graph,
    }


def with_classes(described: dict[str, Any], graph: bytes) -> bytes:
    """The graph with each row's class as its first output, as the model server derives it from the probabilities."""
    import onnx
    from onnx import TensorProto, helper

    if not described.get("most_probable") or described.get("targets"):
        return graph
    model = onnx.load_from_string(graph)
    if len(model.graph.output) > 1:
        return graph
    classes, probabilities = described["classes"], model.graph.output[0].name
    numbers = all(isinstance(one, int) for one in classes)
    kind = TensorProto.INT64 if numbers else TensorProto.STRING
    values: Any = [int(one) for one in classes] if numbers else [str(one).encode() for one in classes]
    scale = helper.make_tensor("", TensorProto.FLOAT, [1], [10.0**EQUAL_DIGITS])
    model.graph.node.extend(
        [
            helper.make_node("Constant", [], ["class_scale"], value=scale),
            helper.make_node("Mul", [probabilities, "class_scale"], ["class_scaled"]),
            helper.make_node("Round", ["class_scaled"], ["class_rounded"]),
            helper.make_node("ArgMax", ["class_rounded"], ["class_place"], axis=1, keepdims=0),
            helper.make_node(
                "Constant", [], ["class_names"], value=helper.make_tensor("", kind, [len(values)], values)
            ),
            helper.make_node("Gather", ["class_names", "class_place"], ["label"]),
        ]
    )
    model.graph.output.insert(0, helper.make_tensor_value_info("label", kind, [None]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _twin(served: Served) -> Files:
    """The same answers from ONNX Runtime in Triton's Python backend, where Triton was built without the other."""
    name, graph = f"{served.name}-python", with_classes(served.described, served.graph("triton"))
    return {
        f"{name}/config.pbtxt": configuration(served.described, graph, name, "python"),
        f"{name}/1/model.py": Path(__file__).with_name("triton_model.py").read_bytes(),
        f"{name}/1/model.onnx": graph,
    }


def configuration(described: dict[str, Any], graph: bytes, name: str, backend: str) -> bytes:
    """``config.pbtxt``: the graph's inputs, the outputs that are served, and dynamic batching.

    A batch is the first axis of every tensor; shapes below are of one row.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as triton

    from pipelines.serving.models.engines import session_of

    session = session_of(graph)
    config = triton.ModelConfig(name=name, backend=backend, max_batch_size=MOST_ROWS)
    for given in session.get_inputs():
        config.input.add(name=given.name, data_type=_TYPES[given.type], dims=given.shape[1:])
    for given in session.get_outputs()[: 2 if described.get("output") else 1]:
        output = config.output.add(name=given.name, data_type=_TYPES[given.type], dims=given.shape[1:] or [1])
        if not given.shape[1:]:  # one value a row, without an axis of its own
            output.reshape.SetInParent()
    config.dynamic_batching.max_queue_delay_microseconds = WAIT_US
    config.instance_group.add(kind=triton.ModelInstanceGroup.KIND_CPU, count=1)
    config.version_policy.latest.num_versions = 2  # a version that is being replaced ends what it has begun
    if backend == "onnxruntime":
        config.parameters["intra_op_thread_count"].string_value = "1"
    return bytes(text_format.MessageToString(config).encode())
