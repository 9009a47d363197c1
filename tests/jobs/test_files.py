"""Which files are meant by paths, folders, globs and URLs, and in which order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from pyarrow import fs

from tests.jobs.conftest import write_parquet, write_text
from v3io_frames_put import ConfigError, DataError
from v3io_frames_put.jobs._files import _glob, _locate, find_files, hide_password, kind_of


def names(root, *inputs):
    return [file.name.removeprefix(f"{root}/") for file in find_files(inputs)]


@pytest.fixture
def root(tmp_path):
    for path in (
        "b.parquet",
        "a/2.csv",
        "a/10.csv",
        "a/_SUCCESS",
        "a/.hid.csv",
        "a/k=1/x.jsonl.gz",
    ):
        write_text(tmp_path / path, "n", "1")
    return tmp_path


def test_a_folder_is_walked_in_order_of_path(root):
    assert names(root, root) == ["a/10.csv", "a/2.csv", "a/k=1/x.jsonl.gz", "b.parquet"]


def test_inputs_keep_their_order_and_nothing_comes_twice(root):
    found = names(root, root / "b.parquet", root / "a", root / "*.parquet")
    assert found == ["b.parquet", "a/10.csv", "a/2.csv", "a/k=1/x.jsonl.gz"]


def test_globs(root):
    assert names(root, f"{root}/**/*.csv") == ["a/10.csv", "a/2.csv"]


def test_kinds_and_partitions(root):
    found = {file.name.rpartition("/")[2]: file for file in find_files(root)}
    assert {name: file.kind for name, file in found.items()} == {
        "10.csv": "csv",
        "2.csv": "csv",
        "x.jsonl.gz": "json",
        "b.parquet": "parquet",
    }
    assert found["x.jsonl.gz"].partitions == {"k": "1"}
    (alone,) = find_files(root / "a/k=1/x.jsonl.gz")
    assert alone.partitions == {}
    (by_glob,) = find_files(f"{root}/a/*/x.jsonl.gz")
    assert by_glob.partitions == {"k": "1"}


def test_partition_names_are_unquoted(tmp_path):
    write_parquet(tmp_path / "day%20x=a%2Fb/1.parquet", n=[1])
    assert find_files(tmp_path)[0].partitions == {"day x": "a/b"}


def test_a_file_named_like_a_glob_is_itself(tmp_path):
    write_text(tmp_path / "a[1].csv", "n", "1")
    assert names(tmp_path, tmp_path / "a[1].csv") == ["a[1].csv"]


def test_what_cannot_be_told_is_left_out_of_folders_and_refused_by_name(root, caplog):
    write_text(root / "a/readme.md", "n")
    assert "a/readme.md" not in names(root, root)
    assert "readme.md is left out" in caplog.text
    with pytest.raises(ConfigError, match="the format is not known"):
        find_files(root / "a/readme.md")


@pytest.mark.parametrize(
    "url", ["nosuch://x/a.csv", "memory://nothing/here.csv", "ftp://127.0.0.1:1/a.csv"]
)
def test_urls_that_lead_nowhere(url):
    with pytest.raises(ConfigError, match=url):
        find_files(url)


@pytest.mark.parametrize("scheme", ["nosuch", "memory", "ftp"])
def test_the_password_of_a_url_is_not_told(scheme):
    with pytest.raises(ConfigError, match=r"'\w+://me:\*\*\*@127.0.0.1:1/x/a.csv'") as raised:
        find_files(f"{scheme}://me:p@ss@127.0.0.1:1/x/a.csv")
    assert "p@ss" not in str(raised.value)


def test_a_secret_with_a_slash_is_not_told():
    url = "s3://me:SEC/RET@bucket/x.csv?region=a"
    with pytest.raises(ConfigError, match=r"'s3://me:\*\*\*@bucket/") as raised:
        find_files(url)
    shown = "".join(traceback.format_exception(raised.value))
    assert "SEC" not in shown
    assert "RET" not in shown


@pytest.mark.parametrize("named", ["", "*.csv"])
def test_a_name_that_is_not_utf_8_is_refused(tmp_path, named):
    write_text(tmp_path / "a.csv", "n", "1")
    try:
        (tmp_path / os.fsdecode(b"\xff.csv")).write_text("n\n2\n")
    except OSError:
        pytest.skip("the file system takes no such names")
    with pytest.raises(ConfigError, match=r"ff\.csv': its name is not valid UTF-8\. Rename it"):
        find_files(tmp_path / named)


def test_a_link_beside_its_file_is_taken_once(tmp_path, caplog):
    caplog.set_level("INFO", logger="v3io_frames_put")
    write_text(tmp_path / "a.csv", "n", "1")
    (tmp_path / "latest.csv").symlink_to("a.csv")
    assert names(tmp_path, tmp_path) == ["a.csv"]
    assert "latest.csv); it is taken once" in caplog.text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:p/w@host/x.csv", "http://me:***@host/x.csv"),
        ("http://me:p@s@host:80/a@b.csv", "http://me:***@host:80/a@b.csv"),
        ("http://host:80/a@b.csv", "http://host:80/a@b.csv"),
        ("s3://bucket/day@1/x.csv", "s3://bucket/day@1/x.csv"),
        ("https://ghp_abc@host/x.csv", "https://***@host/x.csv"),
        ("https://:pw@host/x.csv", "https://:***@host/x.csv"),
        ("sftp://me@host/x.csv", "sftp://me@host/x.csv"),
        ("https://h/x.csv?sv=1&sig=a%2Fb&se=2", "https://h/x.csv?sv=1&sig=***&se=2"),
        ("https://h/x.csv?X-Amz-Signature=0af", "https://h/x.csv?X-Amz-Signature=***"),
        ("https://h/x.csv?X-Goog-Signature=0af&k=1", "https://h/x.csv?X-Goog-Signature=***&k=1"),
        ("https://h/x.csv?design=a&sort_key=b", "https://h/x.csv?design=a&sort_key=b"),
        ("https://h/x.csv?a=1&api_key=b&token=c", "https://h/x.csv?a=1&api_key=***&token=***"),
        ("https://h/x.csv?sas_token=b&code=c", "https://h/x.csv?sas_token=***&code=***"),
        ("az://h/x?account_key=b&client_secret=c", "az://h/x?account_key=***&client_secret=***"),
        ("HTTPS://tok@h/x.csv", "HTTPS://***@h/x.csv"),
        ("https://[::1]:8080/a@b.csv", "https://[::1]:8080/a@b.csv"),
        ("in/x?sig=1.csv", "in/x?sig=1.csv"),
    ],
)
def test_a_password_is_crossed_out_and_nothing_else(url, shown):
    assert hide_password(f"no {url} there") == f"no {shown} there"


@pytest.fixture
def serve_folder():
    """Serve a folder over HTTP; return its address."""
    with ExitStack() as stack:

        def serve(folder):
            handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}"

        yield serve


def test_a_file_over_http_has_one_name_without_the_password(
    tmp_path, serve_folder, publish, require_module
):
    require_module("aiohttp")
    write_text(tmp_path / "a.csv", "n", "1", "2")
    write_text(tmp_path / "b.parquet", "no parquet")
    url = serve_folder(tmp_path).replace("http://", "http://me:s3cret@")
    (found,) = find_files(f"{url}/a.csv")
    assert found.name == f"{url}/a.csv".replace("s3cret", "***")
    assert publish(f"{url}/a.csv").counts["stored"] == 2
    for name in ("b.parquet", "c.parquet"):
        with pytest.raises((ConfigError, DataError)) as caught:
            publish(f"{url}/{name}")
        shown = "".join(traceback.format_exception(caught.value))
        assert name in shown
        assert "s3cret" not in shown


def test_a_query_is_no_wildcard(tmp_path, serve_folder, require_module):
    require_module("aiohttp")
    with pytest.raises(ConfigError, match="there is no such file"):
        find_files(f"{serve_folder(tmp_path)}/a.csv?sig=1")


def test_links_are_followed_but_in_no_circle(tmp_path, caplog):
    write_text(tmp_path / "lake/a/1.csv", "n", "1")
    write_text(tmp_path / "other/2.csv", "n", "2")
    for link, to in (("lake/b", "../other"), ("lake/a/up", ".."), ("other/back", "../lake")):
        (tmp_path / link).symlink_to(to)
    assert names(tmp_path, tmp_path / "lake") == ["lake/a/1.csv", "lake/b/2.csv"]
    assert "lake/a/up is left out: it leads back" in caplog.text
    assert "lake/b/back is left out: it leads back" in caplog.text


def test_a_file_that_changes_is_noticed(root):
    (file,) = find_files(root / "b.parquet")
    assert file.is_unchanged()
    write_text(root / "b.parquet", "n", "1", "2")
    assert not file.is_unchanged()


def test_markers_are_left_out_of_globs_unless_they_are_asked_for(root, caplog):
    assert names(root, f"{root}/a/*") == ["a/10.csv", "a/2.csv", "a/k=1/x.jsonl.gz"]
    write_text(root / "a/_extra.csv", "n")
    assert names(root, f"{root}/a/_*.csv") == ["a/_extra.csv"]
    write_text(root / "a/_log/1.csv", "n")
    assert names(root, f"{root}/**/*.csv", f"{root}/a/*") == names(root, root / "a")
    assert names(root, f"{root}/**/_log/*.csv") == ["a/_log/1.csv"]
    write_text(root / "a/readme.md", "n")
    find_files(f"{root}/a/*")
    assert "readme.md is left out" in caplog.text


def test_the_home_folder_is_known(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    assert names(root, "~/a/2.csv") == ["a/2.csv"]


def test_input_format_says_what_every_file_holds(root):
    write_text(root / "data", "n", "1")
    assert [file.kind for file in find_files(root / "data", "csv")] == ["csv"]
    with pytest.raises(ConfigError, match="expected one of parquet, csv"):
        find_files(root / "data", "excel")


def test_a_named_pipe_is_refused_by_its_name(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(
        ConfigError, match=r"a\.csv' is a named pipe or .* name - with input_format"
    ):
        find_files(tmp_path / "a.csv")


def test_standard_input(tmp_path):
    code = """
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._reader import FileTable, ReadOptions
table = FileTable(find_files("-", "csv"), ReadOptions())
print([batch.to_pylist() for batch in table._batches([0, 1])])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=b"a,b\n1,x\n", capture_output=True, check=True)
    assert done.stdout == b"[[{'a': 1, 'b': 'x'}]]\n"
    with pytest.raises(ConfigError, match="expected input_format"):
        find_files("-")


def test_a_query_is_no_part_of_a_name():
    assert kind_of("https://host/a.csv.gz?sig=x.parquet") == "csv"
    assert kind_of("s3://bucket/a.parquet") == "parquet"


@pytest.mark.parametrize(
    ("url", "kind", "path"),
    [
        ("s3://key:secret@bucket/d/*.csv?region=x", fs.S3FileSystem, "bucket/d/*.csv"),
        ("gs://anonymous@bucket/d/a.csv", fs.GcsFileSystem, "bucket/d/a.csv"),
        ("abfss://c@account.dfs.core.windows.net/d/a.csv", fs.AzureFileSystem, "c/d/a.csv"),
    ],
)
def test_clouds_are_read_by_pyarrow(url, kind, path):
    filesystem, found, _ = _locate(url, url)
    assert isinstance(filesystem, kind)
    assert found == path


def test_globs_of_other_file_systems(root):
    other = fs.SubTreeFileSystem(str(root.parent), fs.LocalFileSystem())
    found = _glob(other, f"{root.name}/**/*.csv")
    assert sorted(path.removeprefix(f"{root.name}/") for path in found) == [
        "a/.hid.csv",
        "a/10.csv",
        "a/2.csv",
    ]
    assert _glob(other, f"{root.name}/*/2.csv") == [f"{root.name}/a/2.csv"]
    assert _glob(other, f"{root.name}/nothing/*.csv") == []


def test_a_folder_that_cannot_be_read_is_named(root, monkeypatch):
    local = fs.LocalFileSystem()

    class Refusing:  # whoever runs the tests may read every folder
        def get_file_info(self, asked):
            if isinstance(asked, fs.FileSelector) and asked.base_dir == f"{root}/a":
                raise PermissionError(13, "Permission denied", asked.base_dir)
            return local.get_file_info(asked)

    monkeypatch.setattr("v3io_frames_put.jobs._files._is_local", lambda _filesystem: True)
    monkeypatch.setattr(fs, "LocalFileSystem", Refusing)
    with pytest.raises(ConfigError, match=r"Permission denied.*Check path and permissions"):
        find_files(root)


@pytest.mark.parametrize("url", ["day=1/a.csv", "", "*/*.csv", "day=*"])
def test_files_of_the_platform_itself(url, local_platform, monkeypatch, require_module):
    require_module("v3iofs")
    address = f"{local_platform.endpoint}/projects/in/day=1/a.csv"
    assert requests.put(address, data=b"n\n1\n", timeout=10).ok
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    monkeypatch.setenv("V3IO_ACCESS_KEY", "any")
    (file,) = find_files(f"v3io://projects/in/{url}")
    assert file.name == "v3io://projects/in/day=1/a.csv"
    assert file.partitions == ({} if url.endswith("/a.csv") and "*" not in url else {"day": "1"})
    assert [block.text for block in file.read_blocks()] == [b"n\n1\n"]
