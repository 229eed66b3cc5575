"""Archives on servers: what a read fetches, and what is said when it cannot be."""

from __future__ import annotations

import gc
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from range_server import RangeServer, serving

import ebsdarchive
from ebsdarchive import errors
from ebsdarchive.archive import remote

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("aiohttp", reason="needs the extra: pip install 'ebsdarchive[remote]'")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return tmp_path / "served"


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    """A server of `folder`; what was fetched for other tests is forgotten."""
    remote._files.clear()
    with serving(folder) as found:
        yield found


@pytest.fixture
def url(fitted_archive: Path, folder: Path, server: RangeServer) -> str:
    """A fitted archive on the server."""
    shutil.copyfile(fitted_archive, folder / "a b.h5")
    return f"{server.address}/a%20b.h5"


def one_line(call, *arguments, **named) -> str:
    """The message of the error that a call raises."""
    with pytest.raises(errors.EbsdArchiveError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_url_gives_what_the_file_gives(url, fitted_archive):
    said, wanted = ebsdarchive.info(url), ebsdarchive.info(fitted_archive)
    assert said.pop("path") == url
    wanted.pop("path")
    assert said == wanted
    for layer in ("raw", "neural"):
        asked = {"along": [(0, 0), (3, 2)], "samples": 5, "layer": layer}
        there, here = ebsdarchive.query(url, **asked), ebsdarchive.query(fitted_archive, **asked)
        np.testing.assert_array_equal(there, here)
    assert ebsdarchive.verify(url, data=True).sound
    assert ebsdarchive.validate(url) == []


def test_commands_take_urls(url, run_cli, tmp_path):
    assert f"{url}: ebsdarchive format" in run_cli("info", url).out
    assert run_cli("query", url, "--point", "1,1", "-o", tmp_path / "p.npz").code == 0
    assert run_cli("export", url, "-o", tmp_path / "a.up2").code == 0
    assert run_cli("extract", url, "--layers", "neural", "-o", tmp_path / "n.h5").code == 0
    assert ebsdarchive.verify(tmp_path / "n.h5", data=True).sound


def test_xarray_opens_a_url(url, fitted_archive):
    there = xarray.open_dataset(url, engine="ebsdarchive", layer="raw")
    here = xarray.open_dataset(fitted_archive, engine="ebsdarchive", layer="raw")
    np.testing.assert_array_equal(there["patterns"][1, 2], here["patterns"][1, 2])


def test_the_lines_of_the_readme_run(url, fitted_archive, run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Over a network")[1].split("\n## ")[0]
    section = section.replace("https://example.org/cloud.h5", url).replace("2,3:20,15", "0,0:3,2")
    shutil.copyfile(fitted_archive, "scan.archive.h5")
    commands = re.findall(r"^ebsdarchive (.*?)(?:  +#.*)?$", section, re.M)
    assert len(commands) == 4
    for line in commands:
        result = run_cli(*line.split())
        assert result.code == 0, result.err
    (python,) = re.findall(r"```python\n(.*?)```", section, re.S)
    names = {"ebsdarchive": ebsdarchive, "xarray": xarray}
    exec(python, names)
    assert names["archive"].path == url


@pytest.mark.parametrize(
    "arguments", [("plot", "--what", "mae"), ("compare", "--no-index"), ("verify", "--data")]
)
def test_commands_that_only_read_take_urls_too(arguments, url, run_cli, tmp_path):
    output = ["-o", tmp_path / "a.png"] if arguments[0] == "plot" else []
    result = run_cli(arguments[0], url, *arguments[1:], *output)
    assert result.code == 0, result.err


def test_what_was_fetched_is_not_fetched_again(url, server):
    ebsdarchive.info(url)
    server.reset()
    ebsdarchive.info(url)
    assert server.requests == 0


def test_a_file_that_changes_on_the_server_is_never_mixed_with_what_it_was(
    url, folder, server, fitted_archive, make_scan, make_archive, monkeypatch
):
    first = ebsdarchive.info(url)["archive_id"]
    monkeypatch.setattr(remote, "_FIRST", 0)
    remote._files.clear()
    archive = ebsdarchive.open_archive(url)
    other = make_archive(make_scan(ny=9, nx=8, sy=20, sx=21))
    (folder / "a b.h5").write_bytes(Path(other).read_bytes())
    remote._files[url].blocks.clear()
    assert "found another; start again" in one_line(archive.patterns, "raw")
    assert "found another; start again" in one_line(archive.patterns, "raw")  # open it anew
    second = ebsdarchive.info(url)["archive_id"]
    assert second not in ("", first)
    shutil.copyfile(fitted_archive, folder / "a b.h5")
    assert ebsdarchive.info(url)["archive_id"] == second  # nothing new is fetched
    monkeypatch.setattr(remote, "_TRUSTED_S", 0.0)
    assert "found another; start again" in one_line(ebsdarchive.info, url)
    assert ebsdarchive.info(url)["archive_id"] == first


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (404, "expected a file, found none"),
        (403, "found no permission (HTTP 403)"),
        (500, "found the answer HTTP 500; try again later"),
    ],
)
def test_what_a_server_refuses_is_one_line(fault, text, url, server, run_cli):
    server.fault = fault
    assert f"{url}: " in (message := one_line(ebsdarchive.info, url))
    assert text in message
    code, _, err = run_cli("query", url, "--point", "1,1", "-o", "p.npz")
    assert (code, err.count("\n")) == (4, 1)


def test_a_server_that_fails_half_way_is_no_damaged_archive(url, server):
    archive = ebsdarchive.open_archive(url)
    remote._files[url].blocks.clear()
    server.fault = 503
    assert "found the answer HTTP 503" in one_line(archive.patterns, "raw")
    server.fault = None
    assert archive.patterns("raw").shape[0] == archive.grid.size


def test_garbage_of_hdf5_in_another_thread_does_not_stop_a_read_for_ever(url, fitted_archive):
    file = remote._RemoteFile(url)
    read = file.handle.read

    def busy() -> None:
        if gc.isenabled():  # then it may happen at any time
            gc.collect()

    def read_beside_work(size: int) -> bytes:
        other = threading.Thread(target=busy, daemon=True)
        other.start()
        other.join(5)
        assert not other.is_alive(), "it waits for the lock of the thread that waits for it"
        return read(size)

    file.handle.read = read_beside_work
    remote._files[url] = file
    holder: dict[str, object] = {"file": h5py.File(fitted_archive, "r")}
    holder["itself"] = holder
    thresholds = gc.get_threshold()
    gc.set_threshold(10**6)  # not before
    try:
        del holder
        assert ebsdarchive.open_archive(url).grid.size > 1
    finally:
        gc.set_threshold(*thresholds)
    assert gc.isenabled()


def test_a_server_that_says_nothing_is_left_in_time(monkeypatch):
    monkeypatch.setattr(remote, "_WAIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = one_line(ebsdarchive.info, f"http://127.0.0.1:{silent.getsockname()[1]}/a.h5")
    assert "found none in time" in text


def test_a_server_without_ranges_is_named_and_little_is_fetched(url, folder, server, monkeypatch):
    with (folder / "a b.h5").open("ab") as file:
        file.write(bytes(20 << 20))
    server.partial = False
    monkeypatch.setattr(remote, "_FIRST", 0)
    remote._files.clear()
    message = one_line(ebsdarchive.verify, url, data=True)
    assert "HTTP range requests" in message
    assert "download the file" in message
    assert server.nbytes < 15 << 20


def test_nobody_there_is_one_line(server):
    text = one_line(ebsdarchive.info, "http://127.0.0.1:9/a.h5")
    assert "expected an answer from the server, found none" in text
    assert "protocol" in one_line(ebsdarchive.info, "nonsense://somewhere/a.h5")


def test_other_content_on_a_server_is_no_archive(folder, server):
    (folder / "page.html").write_text("<html>" + "x" * 5000)
    text = one_line(ebsdarchive.info, f"{server.address}/page.html")
    assert "expected an HDF5 file, found something else; is this an archive?" in text


def test_without_the_extra_the_message_names_it():
    code = """
import sys
sys.modules["aiohttp"] = None
import ebsdarchive.cli
ebsdarchive.cli.main(["info", "https://nowhere.invalid/a.h5"])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr.count("\n")) == (4, 1)
    assert "install ebsdarchive[remote]" in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "URL"),
        ("index", "URL"),
        ("boundaries", "URL"),
        ("merge", "URL", "FILE"),
        ("compress", "FILE", "-o", "URL"),
        ("query", "FILE", "--point", "1,1", "-o", "URL"),
        ("export", "FILE", "-o", "URL"),
        ("extract", "FILE", "--layers", "neural", "-o", "URL"),
        ("simulate", "URL"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_nothing_is_written_to_a_url(arguments, url, server, fitted_archive, run_cli):
    server.reset()
    names = {"URL": url, "FILE": str(fitted_archive)}
    code, _, err = run_cli(*(names.get(argument, argument) for argument in arguments))
    assert code == 9
    assert "expected a file on this machine to write to, found a URL" in err
    assert server.requests == 0


def test_scans_are_not_read_by_url(url, run_cli):
    result = run_cli("compress", f"{url}.up2", "-o", "a.h5")
    assert result.code == 3
    assert "only archives are read over a network" in result.err
