"""Lambda layers built from the lock files, without Docker.

A layer's asset hash is its lock file and the platform it is built for, so an unchanged layer is neither
rebuilt nor uploaded again. The layers are made once per stack: one shared over a CloudFormation export could
never be replaced while another stack uses it.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode
from shutil import rmtree
from typing import Any

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ROOT / "functions"
RUNTIME = lambda_.Runtime.PYTHON_3_14
ARCHITECTURE = lambda_.Architecture.ARM_64

# Lambda's limit on a function with all its layers, unzipped, less room for our own code.
MAX_UNZIPPED = 250_000_000
CODE_ROOM = 5_000_000

LOCKS = {"dependencies": "requirements.lock", "parquet": "requirements-parquet.lock"}
# What only compilers and test runners of these packages read.
_DEAD_WEIGHT = ("pyarrow/tests", "pyarrow/include", "pyarrow/src", "bin")


def bundle_layer(lock: Path, target: Path, *, local: bool) -> int:
    """Install the lock file into `target`/python; return the size in bytes.

    Locally the packages are for the interpreter that runs the functions there, which is ours; for AWS they are
    for the declared runtime, whatever machine this is.
    """
    packages = target / "python"
    wheels = [] if local else _aws_platform()
    subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--link-mode", "copy"),
            *("--python", sys.executable, "--target", str(packages)),
            *("--require-hashes", "--only-binary", ":all:", "-r", str(lock)),
            *wheels,
        ],
        check=True,
        cwd=ROOT,
    )
    for name in _DEAD_WEIGHT:
        rmtree(packages / name, ignore_errors=True)
    for cache in list(packages.rglob("__pycache__")):
        rmtree(cache)
    if local:
        # Unpacking gives every file a new time: only bytecode that does not look at it is of use. For AWS it would
        # have to come from the interpreter that runs there.
        compile_dir(packages, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())


def _aws_platform() -> list[str]:
    version = RUNTIME.name.removeprefix("python")
    return ["--python-platform", "aarch64-manylinux_2_28", "--python-version", version]


@jsii.implements(ILocalBundling)
class _LockFileBundling:
    """Tells CDK how to fill an asset directory from a lock file."""

    def __init__(self, lock: Path, *, local: bool) -> None:
        self._lock = lock
        self._local = local

    def try_bundle(self, output_dir: str, *_args: Any, **_options: Any) -> bool:
        size = bundle_layer(self._lock, Path(output_dir), local=self._local)
        if size > MAX_UNZIPPED - CODE_ROOM:
            raise ValueError(f"{self._lock.name} unpacks to {size:,} bytes; Lambda allows {MAX_UNZIPPED:,}")
        return True


def make_layer(scope: Construct, name: str, settings: Settings) -> lambda_.LayerVersion:
    """Create the layer `dependencies` or `parquet` in the stack of `scope`."""
    lock = FUNCTIONS / LOCKS[name]
    target = f"{sys.implementation.cache_tag}-{platform.machine()}" if settings.local else " ".join(_aws_platform())
    digest = hashlib.sha256(lock.read_bytes() + target.encode() + Path(__file__).read_bytes()).hexdigest()
    return lambda_.LayerVersion(
        scope,
        f"{name.title()}Layer",
        code=lambda_.Code.from_asset(
            str(FUNCTIONS),
            asset_hash=digest,
            asset_hash_type=AssetHashType.CUSTOM,
            bundling=BundlingOptions(
                # Never pulled: the local bundling either succeeds or raises.
                image=DockerImage.from_registry("unused"),
                local=_LockFileBundling(lock, local=settings.local),
            ),
        ),
        compatible_runtimes=[RUNTIME],
        compatible_architectures=[ARCHITECTURE],
        description=f"Tessera: {lock.name}",
    )


def function_code() -> lambda_.Code:
    """Return the handlers and what they share: one asset, uploaded once for all functions."""
    return lambda_.Code.from_asset(str(FUNCTIONS), exclude=["**/__pycache__", "**/*.pyc", "*.lock", "**/.*"])
