"""OpenAI's JavaScript library: runs openai_client.test.mjs once, and reports each of its tests as one of ours."""

import pathlib
import re
import shutil

import pytest

import node_project

SCRIPT = pathlib.Path(__file__).with_name("openai_client.test.mjs")
NAMES = re.findall(r'^test\("([^"]+)"', SCRIPT.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def run(server):
    shutil.copy(SCRIPT, node_project.installed())
    return node_project.run(["node", "--test", "--test-reporter=tap", SCRIPT.name], server)


@pytest.mark.parametrize("name", NAMES)
def test_openai_client(run, name):
    outcome = re.search(rf"^ *(not ok|ok) \d+ - {re.escape(name)}$(?:\n[^\n]*){{0,12}}", run.stdout, re.MULTILINE)
    assert outcome, run.stdout + run.stderr
    assert outcome.group(1) == "ok", outcome.group(0)
