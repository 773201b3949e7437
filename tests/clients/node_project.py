"""The Node packages of docs/examples/typescript, installed once per lock file, and files put beside them to run."""

import hashlib
import os
import pathlib
import shutil
import subprocess

from cluster import BUILD, ROOT

EXAMPLE = ROOT / "docs/examples/typescript"


def installed() -> pathlib.Path:
    """A folder with the example's sources and node_modules. The lock file's digest is in its name, so a change installs anew."""
    lock = (EXAMPLE / "package-lock.json").read_bytes()
    folder = BUILD / "tests" / f"typescript-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(EXAMPLE / name, folder)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"], cwd=folder, check=True)
        (folder / "installed").touch()
    for name in ("chat.ts", "tsconfig.json"):
        shutil.copy(EXAMPLE / name, folder)
    return folder


def run(command, server, **options):
    """`command` in that folder, with the server's address where the sources look for it."""
    environment = {**os.environ, "QUARTET_HTTP": server.url}
    return subprocess.run(command, cwd=installed(), env=environment, capture_output=True, text=True, timeout=300, **options)
