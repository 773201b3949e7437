"""The gRPC API with plain grpcio: facts about the model, a streamed generation, a number that a regular expression describes.

pip install grpcio grpcio-tools
python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(find proto/quartet/v1 -name '*.proto')

The second line makes the modules quartet.v1.*; the quartet-client wheel has them too.
"""

import os

import grpc
from quartet.v1 import control_pb2, control_pb2_grpc, inference_pb2, inference_pb2_grpc, sampling_pb2, structured_output_pb2

channel = grpc.insecure_channel(os.environ.get("QUARTET_ADDRESS", "localhost:50051"))
control = control_pb2_grpc.ControlStub(channel)
inference = inference_pb2_grpc.InferenceStub(channel)

info = control.GetModelInfo(control_pb2.GetModelInfoRequest(), timeout=10)
print(f"{info.name}: {info.num_parameters / 1e6:.0f} million parameters, context of {info.max_model_len} tokens")

request = inference_pb2.GenerateRequest(text="Once upon a time", sampling=sampling_pb2.SamplingParams(max_tokens=32, seed=7))
# A deadline for the whole stream; leaving the loop early and dropping the call ends the request on the server.
for event in inference.Generate(request, timeout=60):
    kind = event.WhichOneof("event")
    if kind == "delta":
        print(event.delta.text, end="", flush=True)
    elif kind == "finished":
        print(f"\n[{sampling_pb2.FinishReason.Name(event.finished.reason)}]")
    elif kind == "usage":
        print(f"[{event.usage.prompt_tokens} tokens read, {event.usage.completion_tokens} generated]")

request = inference_pb2.GenerateRequest(text="The year of the French Revolution: ",
                                        structured_output=structured_output_pb2.StructuredOutput(regex="1[0-9]{3}"))
try:
    print("".join(event.delta.text for event in inference.Generate(request, timeout=60)))
except grpc.RpcError as error:
    # Before the first event errors are status codes: INVALID_ARGUMENT names the field, RESOURCE_EXHAUSTED says when to try again.
    raise SystemExit(f"{error.code().name}: {error.details()}") from error
