#!/usr/bin/env python3
"""Refuses changes to the public protocol that would break a client built against the committed description.

Run: check_protocol.py PROTOC PROTO_DIR COMMITTED.binpb
After a compatible change: check_protocol.py --update PROTOC PROTO_DIR COMMITTED.binpb
"""
import pathlib
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2


def describe(protoc: str, proto_dir: str) -> descriptor_pb2.FileDescriptorSet:
    files = sorted(str(p) for p in pathlib.Path(proto_dir, "quartet/v1").glob("*.proto"))
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([protoc, "-I", proto_dir, f"--descriptor_set_out={out.name}", *files], check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read())


def facts(files: descriptor_pb2.FileDescriptorSet) -> dict[str, str]:
    """Everything that a client relies on, as name -> meaning."""
    found: dict[str, str] = {}

    def add_message(prefix: str, message) -> None:
        name = f"{prefix}.{message.name}"
        found[f"message {name}"] = "there"
        for field in message.field:
            oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
            found[f"field {name} #{field.number}"] = (
                f"{field.name} type {field.type} {field.type_name} label {field.label} oneof {oneof}")
        for nested in message.nested_type:
            add_message(name, nested)

    for file in files.file:
        for message in file.message_type:
            add_message(file.package, message)
        for enum in file.enum_type:
            for value in enum.value:
                found[f"enum {file.package}.{enum.name} = {value.number}"] = value.name
        for service in file.service:
            for method in service.method:
                found[f"rpc {file.package}.{service.name}.{method.name}"] = (
                    f"{method.input_type} -> {method.output_type} "
                    f"streams {method.client_streaming}/{method.server_streaming}")
    return found


def breaking_changes(old: dict[str, str], new: dict[str, str]) -> list[str]:
    return [f"{name}: was '{meaning}', is '{new.get(name, 'gone')}'"
            for name, meaning in old.items() if new.get(name) != meaning]


def main() -> int:
    arguments = sys.argv[1:]
    update = arguments[0] == "--update"
    protoc, proto_dir, committed = arguments[1:] if update else arguments
    now = describe(protoc, proto_dir)
    if update:
        pathlib.Path(committed).write_bytes(now.SerializeToString())
        return 0
    before = facts(descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(committed).read_bytes()))
    broken = breaking_changes(before, facts(now))
    missing = sorted(set(facts(now)) - set(before))
    for line in broken:
        print("breaking change:", line)
    for line in missing:
        print("not in the committed description (run with --update):", line)
    # The checker must be able to fail: a removed field is noticed.
    probe = dict(before)
    probe.pop(next(name for name in probe if name.startswith("field")))
    assert breaking_changes(before, probe), "the checker does not notice a removed field"
    return 1 if broken or missing or not before else 0


if __name__ == "__main__":
    sys.exit(main())
