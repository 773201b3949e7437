"""The code blocks of a Markdown file that are marked to be run: `<!-- run -->` or `<!-- run: MODEL -->` on the line before the fence."""

import dataclasses
import pathlib
import re

from cluster import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "docs/clients.md", ROOT / "docs/tools.md"]
_BLOCK = re.compile(r"^<!-- run(?:: (?P<model>\S+))? -->\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    place: str  # file and line
    language: str
    code: str
    model: str | None

    def at(self, http: str, grpc: str) -> str:
        """The code with a test's server in the place of the default one."""
        return self.code.replace("localhost:8080", http).replace("localhost:50051", grpc)


def all_blocks() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document)]


def blocks(path: pathlib.Path) -> list[Block]:
    text = path.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(f"{path.name}:{line}", match["language"], match["code"], match["model"]))
    assert text.count("<!-- run") == len(found), f"{path}: a run comment is not followed by a fenced block"
    return found
