"""Calls a server-streaming gRPC method with a request in JSON, as grpcurl does: messages come from the server's reflection.

    grpc_json_call.py ADDRESS SERVICE/METHOD JSON

Prints each answer as one line of JSON.
"""

import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

address, method, text = sys.argv[1:]
with grpc.insecure_channel(address) as channel:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service, _, name = method.partition("/")
    descriptor = pool.FindServiceByName(service).FindMethodByName(name)
    request, response = (message_factory.GetMessageClass(d) for d in (descriptor.input_type, descriptor.output_type))
    call = channel.unary_stream(
        f"/{method}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )
    for answer in call(json_format.Parse(text, request()), timeout=60):
        print(json_format.MessageToJson(answer, indent=None, descriptor_pool=pool))
