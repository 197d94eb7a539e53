"""Fixtures that every package's tests share."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import hypothesis
import pytest

from proa.storage import Store
from proa.testing import FakeClock, FixedIds

# pyspark takes a main module without a file, which xdist's workers have, for its own doctests.
sys.modules["__main__"].__dict__.setdefault("__file__", __file__)

# A busy machine is slow; that is no failure of the property. The examples are the same in each run, so
# that what failed in one place fails in all; HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile("proa", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "proa"))

Location = tuple[str, dict[str, str]]

_bucket_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 endpoint on loopback that lives as long as the test process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def new_bucket(s3_server: str) -> Callable[[], Location]:
    """Make an empty bucket; returns its URL and the options that reach it."""

    def make() -> Location:
        name = f"bucket-{next(_bucket_numbers)}"
        request = urllib.request.Request(f"{s3_server}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        options = {
            "aws_endpoint_url": s3_server,
            "aws_access_key_id": "testing",
            "aws_secret_access_key": "testing",
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
        return f"s3://{name}", options

    return make


@pytest.fixture
def s3_location(new_bucket: Callable[[], Location]) -> Location:
    """(URL, options) of an empty prefix in a bucket of its own."""
    url, options = new_bucket()
    return f"{url}/base", options


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """(path or URL, options) of an empty place, on disk and on S3."""
    if request.param == "local":
        return str(tmp_path / "base"), {}
    found: Location = request.getfixturevalue("s3_location")
    return found


@pytest.fixture(scope="session")
def remote_address() -> Iterator[str]:
    """The address of a Sail server that runs in a process of its own."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "spark_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield f"sc://127.0.0.1:{process.stdout.readline().strip()}"
        process.communicate("", timeout=20)


@pytest.fixture
def store(location: Location) -> Store:
    """An empty store, on disk and on S3."""
    return Store.open(*location)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ids() -> FixedIds:
    return FixedIds()


@pytest.fixture(scope="session")
def read_only() -> Callable[[Path], AbstractContextManager[None]]:
    """A block in which nothing below a folder can be written."""
    return _read_only


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Nothing below the folder can be written; root needs a mount for that."""
    if os.geteuid() == 0:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", folder], check=True)
    else:
        below = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in below:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path in below:
                path.chmod(0o755)
