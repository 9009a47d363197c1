"""JupyterLab and a browser, as a test or a screenshot needs them: started, opened, ended."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import nbformat

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
BROWSER_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OLDER_KERNEL = Path(sys.prefix) / "ipykernel6"  # `make test-ui` puts it there
# A notebook shows itself idle before its kernel is connected; running then opens a dialog.
IS_READY = """() => {
  const c = window.jupyterapp?.shell?.currentWidget?.context?.sessionContext;
  const kernel = c?.session?.kernel;
  return c?.isReady && kernel?.connectionStatus === 'connected' && kernel.status === 'idle' }"""
# Braces, so that nothing is returned: the promise would be awaited, without a timeout.
RUN_ALL = "() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }"
SET_THEME = """name => {
  window.jupyterapp.commands.execute('apputils:change-theme', {theme: `JupyterLab ${name}`}) }"""
STARTS = 900  # a busy machine takes a minute
HEIGHT = 2_000  # what is far below is not in the page at all


class Lab(NamedTuple):
    """A server that runs."""

    url: str
    root: Path
    app: str
    kernel: str


def end_kernels(lab: Lab) -> None:
    """End every kernel: closing a page does not end its kernel."""
    with urllib.request.urlopen(f"{lab.url}/api/kernels", timeout=10) as answer:  # noqa: S310  # ours
        kernels = json.load(answer)
    for kernel in kernels:
        place = f"{lab.url}/api/kernels/{kernel['id']}"
        request = urllib.request.Request(place, method="DELETE")  # noqa: S310  # ours
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310  # ours


def environment(home: Path) -> dict[str, str]:
    """Give a run its own settings: saved workspaces would open old tabs."""
    settings = home / "config" / "labconfig"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "default_setting_overrides.json").write_text(
        json.dumps({"@jupyterlab/apputils-extension:notification": quiet}), encoding="utf-8"
    )
    ours = {
        "HOME": home,
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "run",
        "IPYTHONDIR": home / "ipython",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "PYTHONPATH": ROOT,
        "NO_PROXY": "*",
    }
    return os.environ | {name: str(value) for name, value in ours.items()}


def add_older_kernel(home: Path) -> str:
    """Let a server run ipykernel 6, too; return how notebooks name it."""
    spec = home / "data" / "kernels" / "older"
    spec.mkdir(parents=True)
    kernel = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "ipykernel 6",
        "language": "python",
        "env": {"PYTHONPATH": os.pathsep.join(map(str, (OLDER_KERNEL, ROOT)))},
    }
    (spec / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    return spec.name


@contextmanager
def serve_lab(
    home: Path, app: str = "jupyterlab", *, has_older_kernel: bool = False
) -> Iterator[Lab]:
    """Run the server in a folder of its own, until the block ends."""
    kernel = add_older_kernel(home) if has_older_kernel else "python3"
    root = home / "notebooks"
    root.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", app, "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",  # end_kernels has no token, either
        "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={root}",
    ]  # fmt: skip
    log_path = home / "log.txt"
    with log_path.open("wb") as log:
        server = subprocess.Popen(command, env=environment(home), stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_answer(url, server, log_path)
            yield Lab(url, root, app, kernel)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for_answer(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until the server answers."""
    for _ in range(STARTS):
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            pass  # it runs, as it should
        else:
            break
        try:
            urllib.request.urlopen(f"{url}/api/status", timeout=1).close()  # noqa: S310  # ours
        except (urllib.error.URLError, OSError):
            continue
        return
    raise RuntimeError(f"Jupyter does not answer:\n{log.read_text(encoding='utf-8')}")


def open_notebook(browser, lab: Lab, name: str, *cells: str):
    """Write a notebook, open it in a page of its own and run all its cells."""
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    spec = {"name": lab.kernel, "display_name": lab.kernel, "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": spec})
    nbformat.write(notebook, lab.root / name)
    page = browser.new_page(viewport={"width": 1200, "height": HEIGHT})
    where = "doc/tree" if lab.app == "jupyterlab" else "notebooks"
    page.goto(f"{lab.url}/{where}/{name}")
    wait_ready(page)
    page.evaluate(RUN_ALL)
    return page


def open_saved(page, lab: Lab):
    """Open the notebook of a page anew, as one that somebody else has written: not trusted."""
    path = lab.root / page.url.rpartition("/")[2]
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    other = path.with_name(f"other-{path.name}")
    nbformat.write(notebook, other)
    page.goto(page.url.replace(path.name, other.name))
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=60_000)
    return page


def set_theme(page, theme: str) -> None:
    """Change to the theme "Light" or "Dark" and wait until it is there."""
    page.evaluate(SET_THEME, theme)
    is_light = "true" if theme == "Light" else "false"
    page.wait_for_selector(f"body[data-jp-theme-light={is_light}]", state="attached")
    page.wait_for_selector("#jupyterlab-splash", state="detached")  # it covers the page


def wait_ready(page) -> None:
    """Wait until the notebook is there and its kernel is connected."""
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=60_000)
    page.wait_for_function(IS_READY, timeout=60_000)
