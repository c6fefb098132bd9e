"""From a clone to a server: the set-up steps of ``make run``, and their error messages.

Creating the environment is tested on a project of two small packages, whose package index is a folder
or a local server; ``make run`` on a copy of this tree with a ready environment.
"""

import ast
import hashlib
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement

from chat.agent.agents.reasons import EXTRAS
from config import bootstrap
from tests.support.commands import ROOT
from tests.support.live import LiveServer, free_port
from tests.support.shared import shared
from tests.support.waiting import until

pytestmark = pytest.mark.any_database

Done = subprocess.CompletedProcess[str]


def bare(**env: str) -> dict[str, str]:
    """Return an environment without settings of Parley or pip."""
    home = os.environ.get("HOME", "/tmp")
    return {"PATH": os.environ["PATH"], "HOME": home, "PIP_CONFIG_FILE": os.devnull, **env}


def run(folder: Path, *command: str, **env: str) -> Done:
    return subprocess.run(command, cwd=folder, env=bare(**env), capture_output=True, text=True, check=False)


def make(folder: Path, *words: str, **env: str) -> Done:
    return run(folder, "make", *words, f"PYTHON={sys.executable}", **env)


def sentence(done: Done) -> str:
    """Return the sentence that a failed command ends with, before make's own line."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert re.match(r"make: \*\*\* .* Error", lines.pop()), done.stderr
    assert len(lines) == 1, done.stderr
    return lines[0]


# --- a project of two small packages ----------------------------------------------------------


def wheel(folder: Path, name: str, version: str, *metadata: str) -> str:
    """Build a package whose module holds its version and return its line for a lock."""
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata]
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{info}/RECORD,,\n")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Project:
    """A folder with Parley's Makefile and bootstrap, which needs ``alpha``; developers also need ``beta``.

    The extra ``fish`` adds ``cod``, ``birds`` adds ``owl``, and both add ``egg`` and need ``alpha``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"

    def build(self) -> "Project":
        (self.folder / "config").mkdir(parents=True)
        for name in ("Makefile", "config/bootstrap.py"):
            shutil.copy(ROOT / name, self.folder / name)
        self.lock("1.0")
        return self

    def lock(self, version: str) -> None:
        alpha = wheel(self.wheels, "alpha", version)
        (self.folder / "requirements.txt").write_text(alpha)
        cod, owl, egg = (wheel(self.wheels, name, version) for name in ("cod", "owl", "egg"))
        (self.folder / "requirements-fish.txt").write_text(alpha + cod + egg)
        (self.folder / "requirements-birds.txt").write_text(alpha + owl + egg)
        (self.folder / "requirements-dev.txt").write_text(
            alpha + wheel(self.wheels, "beta", "1.0") + cod + owl + egg
        )

    def set_up(self, target: str = "set-up", index: str = "", **env: str) -> Done:
        """Run ``make set-up`` with the folder of wheels as the index, unless another is given."""
        wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels.as_uri()}
        return make(self.folder, target, **({"PIP_INDEX_URL": index} if index else wheels), **env)

    def installed(self, name: str = "alpha") -> str:
        """Return the version of a package in .venv, or an empty string if it is missing."""
        program = f"import {name}; print({name}.VERSION)"
        return run(self.folder, ".venv/bin/python", "-c", program).stdout.strip()

    def is_trusted(self) -> bool:
        return any((self.folder / ".venv").glob("*.stamp"))


NAME = "my chat #1"  # it needs quoting
NO_INDEX = "http://127.0.0.1:9/simple"


def _make_project(folder: Path) -> None:
    done = Project(folder / NAME).build().set_up()
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)


@pytest.fixture(scope="session")
def made_once() -> Project:
    return Project(shared("project", _make_project) / NAME)


@pytest.fixture
def clone(tmp_path: Path) -> Project:
    """Return a project that is not set up."""
    return Project(tmp_path / NAME).build()


# Creating an environment takes seconds, mostly in ensurepip. Tests of other steps copy a project that is
# set up, and add the developers' packages.
@pytest.fixture
def ready(made_once: Project, tmp_path: Path) -> Project:
    """Return a project that is set up."""
    shutil.copytree(made_once.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


# --- .venv is made, and made again if it cannot be trusted ------------------------------------


def test_the_first_set_up_installs_what_the_lock_names(made_once: Project) -> None:
    assert "Installing 1 packages" in (made_once.folder.parent / "said").read_text()
    assert made_once.installed() == "1.0"


def test_the_second_set_up_does_nothing_and_needs_no_index(ready: Project) -> None:
    began = time.monotonic()
    done = ready.set_up(index=NO_INDEX)
    assert (done.returncode, done.stdout) == (0, "")
    assert time.monotonic() - began < 5  # 0.1 s


def test_a_changed_lock_is_installed_again(ready: Project) -> None:
    ready.lock("2.0")
    assert ready.set_up().returncode == 0
    assert ready.installed() == "2.0"


def test_developers_get_exactly_their_lock_on_top(ready: Project) -> None:
    """A package needed with an extra counted as unpinned once a newer release was available."""
    beta = wheel(ready.wheels, "beta", "1.0", "Requires-Dist: gamma[fast]>=1.0")
    gamma = [wheel(ready.wheels, "gamma", version, "Provides-Extra: fast") for version in ("1.0", "2.0")]
    lock = ready.folder / "requirements-dev.txt"
    lock.write_text(lock.read_text().splitlines(keepends=True)[0] + beta + gamma[0])
    marker = ready.folder / ".venv" / "still-the-same"
    marker.touch()
    done = ready.set_up("set-up-dev")
    assert done.returncode == 0, done.stderr
    assert [ready.installed(name) for name in ("alpha", "beta", "gamma")] == ["1.0"] * 3
    assert ready.set_up(index=NO_INDEX).returncode == 0, "make run after make test needs nothing"
    assert marker.exists()


def _with_a_lost_python(venv: Path) -> None:
    """Break the links to Python, as an upgrade of the system does."""
    for link in (venv / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/nowhere/python3.10")


def _of_another_python(venv: Path) -> None:
    stamp = venv / "requirements.txt.stamp"
    stamp.write_text(stamp.read_text().replace(sys.implementation.cache_tag or "", "cpython-310"))


def _as_a_link_without_a_stamp(venv: Path) -> None:
    (venv / "requirements.txt.stamp").unlink()
    venv.symlink_to(venv.rename(venv.with_name("elsewhere")))


@pytest.mark.parametrize("damage", [_with_a_lost_python, _of_another_python, _as_a_link_without_a_stamp])
def test_a_foreign_or_incomplete_environment_is_made_again(ready: Project, damage: Any) -> None:
    damage(ready.folder / ".venv")
    done = ready.set_up()
    assert "Installing" in done.stdout, done.stderr
    assert ready.set_up(index=NO_INDEX).returncode == 0
    assert ready.installed() == "1.0"


class Index(ThreadingHTTPServer):
    """A package index whose downloads wait until ``go`` is set; ``asked`` is set once one waits."""

    def __init__(self, wheels: Path) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        index = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(wheels))

            def do_GET(self) -> None:
                if not self.path.startswith("/simple/"):
                    index.asked.set()
                    index.go.wait(60)
                    super().do_GET()
                    return
                names = [each.name for each in wheels.glob(f"{self.path.split('/')[2]}-*")]
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write("".join(f'<a href="/{name}">{name}</a>' for name in names).encode())

            def log_message(self, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/simple"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def index(ready: Project) -> Iterator[Index]:
    server = Index(ready.wheels)
    yield server
    server.go.set()
    server.shutdown()
    server.server_close()


def start_set_up(project: Project, index: Index) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["make", "set-up-dev", f"PYTHON={sys.executable}"],
        cwd=project.folder, env=bare(PIP_INDEX_URL=index.url, PIP_NO_CACHE_DIR="1"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def test_the_next_set_up_waits_for_the_pip_of_a_killed_one(ready: Project, index: Index) -> None:
    """After that wait it starts from the beginning."""
    with start_set_up(ready, index) as killed:
        assert index.asked.wait(60)
        for process in (killed.pid, *_children(killed.pid)):
            os.kill(process, signal.SIGKILL)
        assert not ready.is_trusted()
        with start_set_up(ready, index) as second:
            assert second.stdout
            assert second.stdout.readline().startswith("Another set-up is at work")
            index.go.set()
            assert second.wait(60) == 0
    assert (ready.installed(), ready.installed("beta")) == ("1.0", "1.0")


def _children(pid: int) -> list[int]:
    """Return the ids of the child processes of ``pid``: none if make has become bootstrap.py itself."""
    pairs = [line.split() for line in run(ROOT, "ps", "-eo", "pid=,ppid=").stdout.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


def test_ctrl_c_during_the_set_up_is_one_sentence(ready: Project, index: Index) -> None:
    with start_set_up(ready, index) as stopped:
        assert index.asked.wait(60)
        os.killpg(stopped.pid, signal.SIGINT)
        words = stopped.communicate(timeout=20)[0]
    assert stopped.returncode != 0
    assert "The set-up was interrupted; the next one starts again." in words
    assert "Traceback" not in words
    assert not ready.is_trusted()


# --- EXTRAS -----------------------------------------------------------------------------------


def test_extras_are_installed_on_top_and_only_once(ready: Project) -> None:
    done = ready.set_up(EXTRAS="fish, birds")
    assert "Installing 3 packages of EXTRAS" in done.stdout, done.stderr
    assert (ready.installed("cod"), ready.installed("owl")) == ("1.0", "1.0")
    again = ready.set_up(index=NO_INDEX, EXTRAS="birds,fish")
    assert (again.returncode, again.stdout) == (0, "")


def test_extras_survive_an_upgrade(ready: Project) -> None:
    assert ready.set_up(EXTRAS="fish").returncode == 0
    ready.lock("2.0")
    assert ready.set_up(EXTRAS="fish").returncode == 0
    assert (ready.installed(), ready.installed("cod")) == ("2.0", "2.0")


def test_an_extra_that_is_no_longer_named_goes_with_the_next_upgrade(ready: Project) -> None:
    assert ready.set_up(EXTRAS="fish").returncode == 0
    assert ready.set_up(index=NO_INDEX).returncode == 0
    assert ready.installed("cod") == "1.0"
    ready.lock("2.0")
    assert ready.set_up().returncode == 0
    assert (ready.installed(), ready.installed("cod")) == ("2.0", "")


def test_developers_have_all_extras(ready: Project) -> None:
    assert ready.set_up("set-up-dev").returncode == 0
    assert ready.set_up(index=NO_INDEX, EXTRAS="fish,birds").returncode == 0
    assert ready.installed("owl") == "1.0"


@pytest.mark.parametrize(
    "line", ["EXTRAS=fish", "export EXTRAS='fish'  # with fins", 'EXTRAS = "fish"\nPORT=1']
)
def test_extras_are_read_from_the_file_of_settings(ready: Project, line: str) -> None:
    (ready.folder / ".env").write_text(f"{line}\n")
    assert ready.set_up().returncode == 0
    assert ready.installed("cod") == "1.0"
    (ready.folder / "elsewhere.env").write_text("EXTRAS=birds\n")
    assert ready.set_up(ENV_FILE="elsewhere.env").returncode == 0
    assert ready.installed("owl") == "1.0"


def test_the_environment_names_other_extras_than_the_file(ready: Project) -> None:
    (ready.folder / ".env").write_text("EXTRAS=fish\n")
    assert ready.set_up(EXTRAS="birds").returncode == 0
    assert (ready.installed("cod"), ready.installed("owl")) == ("", "1.0")


def test_an_unknown_extra_is_one_sentence(ready: Project) -> None:
    words = sentence(ready.set_up(EXTRAS="fish,frogs"))
    assert words == "EXTRAS has no set 'frogs'. The sets are birds, fish."


def test_an_extra_that_cannot_be_installed_leaves_the_server_as_it_was(ready: Project) -> None:
    assert sentence(ready.set_up(index=NO_INDEX, EXTRAS="fish")).startswith("The package index cannot be")
    without = ready.set_up(index=NO_INDEX)
    assert (without.returncode, without.stdout) == (0, "")
    assert ready.installed() == "1.0"


# --- AGENTS_DIR/requirements.txt ----------------------------------------------------------------


@pytest.fixture
def agents(ready: Project) -> Path:
    """Return an AGENTS_DIR, which the file of settings names. The index has ``eel`` and what it needs."""
    wheel(ready.wheels, "eel", "1.0", "Requires-Dist: water>=1")
    wheel(ready.wheels, "water", "1.0")
    wheel(ready.wheels, "alpha", "0.9")
    wheel(ready.wheels, "old", "1.0", "Requires-Dist: alpha<1")
    (ready.folder / "my agents").mkdir()
    (ready.folder / ".env").write_text('AGENTS_DIR="my agents"\n')
    return ready.folder / "my agents" / "requirements.txt"


def test_packages_of_agents_are_installed_once(ready: Project, agents: Path) -> None:
    agents.write_text("eel  # my fish\n")
    assert f"Installing the packages that {agents} names." in ready.set_up().stdout
    assert (ready.installed("eel"), ready.installed("water")) == ("1.0", "1.0")
    again = ready.set_up(index=NO_INDEX)
    assert (again.returncode, again.stdout) == (0, "")


def test_packages_of_agents_are_installed_again_after_a_change_of_a_file(
    ready: Project, agents: Path
) -> None:
    """Also of one that the first one includes."""
    agents.write_text("-r angler/requirements.txt\n")
    (agents.parent / "angler").mkdir()
    for wanted in ("water", "eel"):
        (agents.parent / "angler" / "requirements.txt").write_text(f"{wanted}\n")
        assert ready.set_up().returncode == 0
        assert ready.installed(wanted) == "1.0"
    agents.write_text("old-fashioned\n")
    assert "(old-fashioned) is not installed" in ready.set_up().stdout


def test_packages_of_agents_survive_an_upgrade(ready: Project, agents: Path) -> None:
    agents.write_text("eel\n")
    assert ready.set_up().returncode == 0
    ready.lock("2.0")
    assert ready.set_up().returncode == 0
    assert (ready.installed(), ready.installed("eel")) == ("2.0", "1.0")


def test_a_line_that_contradicts_the_lock_is_named_and_the_others_are_installed(
    ready: Project, agents: Path
) -> None:
    (agents.parent / "more-requirements.txt").write_text("water\n")
    lines = [
        "# mine",
        "alpha==0.9",
        "nothing-of-nobody \\",
        "  >= 2",
        "-r more-requirements.txt",
        "old",
        "eel",
    ]
    agents.write_text("\n".join(lines))
    done = ready.set_up()
    assert done.returncode == 0, done.stderr
    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    no_such_package = f"The package index has no nothing-of-nobody>=2 for {here}."
    assert done.stdout.splitlines()[1:] == [
        f"{agents}: line 2 (alpha==0.9) is not installed. Parley needs alpha==1.0.",
        f"{agents}: line 3 (nothing-of-nobody >= 2) is not installed. {no_such_package}",
        f"{agents}: line 6 (old) is not installed. old 1.0 needs alpha<1, and Parley alpha==1.0.",
    ]
    assert [ready.installed(name) for name in ("alpha", "eel", "water", "old")] == ["1.0", "1.0", "1.0", ""]
    again = ready.set_up(index=NO_INDEX)
    assert again.stdout.splitlines() == done.stdout.splitlines()[1:], "each start says it, without an index"


def test_packages_of_agents_fit_the_extras(ready: Project, agents: Path) -> None:
    wheel(ready.wheels, "cod", "0.5")
    agents.write_text("cod<1\n")
    assert ready.set_up().returncode == 0
    assert ready.installed("cod") == "0.5"
    done = ready.set_up(EXTRAS="fish")
    assert f"{agents}: line 1 (cod<1) is not installed. Parley needs cod==1.0." in done.stdout
    assert ready.installed("cod") == "1.0"


def test_without_an_index_the_server_starts_and_the_next_set_up_tries_again(
    ready: Project, agents: Path
) -> None:
    agents.write_text("eel\n")
    done = ready.set_up(index=NO_INDEX)
    assert done.returncode == 0
    assert f"{agents}: The package index cannot be reached." in done.stdout
    assert ready.set_up().returncode == 0
    assert ready.installed("eel") == "1.0"


# --- one sentence for each failure ------------------------------------------------------------


def test_an_unreachable_index_is_reported_within_seconds(ready: Project) -> None:
    began = time.monotonic()
    done = ready.set_up("set-up-dev", index=NO_INDEX)
    assert sentence(done).startswith(
        "The package index cannot be reached. Check the network, or name a mirror"
    )
    assert time.monotonic() - began < 30  # 3 s
    assert not ready.is_trusted()


def test_a_package_with_another_hash_is_refused(ready: Project) -> None:
    shutil.copy(ready.wheels / "alpha-1.0-py3-none-any.whl", ready.wheels / "beta-1.0-py3-none-any.whl")
    words = sentence(ready.set_up("set-up-dev"))
    assert "something else than the file whose hash is in requirements-dev.txt" in words
    assert not ready.is_trusted()


def test_a_package_missing_for_this_python_is_one_sentence(ready: Project) -> None:
    shutil.rmtree(ready.wheels)
    ready.wheels.mkdir()
    words = sentence(ready.set_up("set-up-dev"))
    assert words.startswith("The package index has no beta==1.0 for Python 3.")


def test_a_read_only_folder_is_one_sentence(clone: Project) -> None:
    """Run as another user, because root can write everywhere."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    if as_nobody and not shutil.which("setpriv"):
        pytest.skip("root cannot become another user here: there is no setpriv")
    public = Path("/tmp") / f"parley-read-only-{os.getpid()}"
    shutil.copytree(clone.folder, public)
    try:
        public.chmod(0o555)
        command = [*as_nobody, "/usr/bin/env", "python3", "-I", "config/bootstrap.py", "requirements.txt"]
        done = run(public, *command, PATH="/usr/bin:/bin")
    finally:
        public.chmod(0o755)
        shutil.rmtree(public)
    assert done.returncode == 1
    assert re.fullmatch(r".*/\.venv cannot be (made|written): .*Permission denied.*\n", done.stderr)


def test_a_machine_without_python_is_one_sentence(clone: Project, tmp_path: Path) -> None:
    for tool in ("make", "sh"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    assert sentence(run(clone.folder, "make", "run", PATH=str(tmp_path))) == (
        "Parley needs Python 3.11 or newer, and there is no python3. "
        "On Debian or Ubuntu: apt install python3 python3-venv"
    )


NO_VENV = (
    "This Python cannot make virtual environments: its venv module is not installed. On Debian or Ubuntu: apt"
)


@pytest.mark.parametrize(
    ("preparation", "words"),
    [
        (
            "sys.version_info = (3, 10, 4)",
            "Parley needs Python 3.11 or newer, and this is 3.10. Install a newer",
        ),
        ("sys.modules['venv'] = None", NO_VENV),
        ("sys.modules['ensurepip'] = None", NO_VENV),
    ],
)
def test_a_python_that_is_too_old_or_without_venv_is_one_sentence(
    clone: Project, preparation: str, words: str
) -> None:
    program = f"import runpy, sys; {preparation}; sys.argv[1:] = ['requirements.txt']\n"
    program += "runpy.run_path('config/bootstrap.py', run_name='__main__')"
    done = run(clone.folder, sys.executable, "-I", "-c", program)
    assert done.returncode == 1
    assert done.stderr.startswith(words)
    assert len(done.stderr.splitlines()) == 1
    assert not (clone.folder / ".venv").exists()


def test_an_old_python_can_parse_bootstrap_py() -> None:
    ast.parse((ROOT / "config" / "bootstrap.py").read_text(), feature_version=(3, 7))


# --- the locks --------------------------------------------------------------------------------


EXTRA_LOCKS = sorted(path.name for path in ROOT.glob("requirements-*.txt") if path.stem != "requirements-dev")
LOCKS = ["requirements.txt", "requirements-dev.txt", *EXTRA_LOCKS]


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ]+)", (ROOT / name).read_text(), re.MULTILINE)
    assert found
    return dict(found)


def direct(name: str) -> list[str]:
    """Return the packages that a requirements*.in names. Each must have a reason beside or above it."""
    lines = (ROOT / name).read_text().splitlines()
    wanted = []
    for above, line in zip(["", *lines], lines, strict=False):
        if not line or line.startswith(("#", "-")):
            continue
        assert " # " in line or above.startswith("# "), f"{name}: {line} has no reason"
        found = re.match(r"[A-Za-z0-9._-]+", line)
        assert found
        wanted.append(found[0].lower())
    return wanted


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_holds_all_requirements_and_each_has_a_reason(name: str) -> None:
    assert set(direct(name.replace(".txt", ".in"))) <= set(pins(name))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_hashes_and_no_urls_or_paths(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|^ *--(?!hash)|^[./]| @ |/home|/tmp", text, re.MULTILINE)
    for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", LOCKS)
def test_the_developers_lock_contains_each_other_lock(name: str) -> None:
    """Together with the server's lock, so that any set of extras can be installed together."""
    assert pins(name).items() <= pins("requirements-dev.txt").items()


def test_reasons_of_broken_agents_name_the_extras_that_there_are() -> None:
    assert [f"requirements-{name}.txt" for name in EXTRAS] == EXTRA_LOCKS


@pytest.mark.parametrize("name", EXTRA_LOCKS)
def test_an_extra_has_the_bounds_of_adk(name: str) -> None:
    """Or closer ones, where a newer version no longer works with ADK."""
    of_adk = [Requirement(line.partition(";")[0]) for line in requires("google-adk") or []]
    lines = (ROOT / name.replace(".txt", ".in")).read_text().splitlines()
    for wanted in (Requirement(line.partition(" #")[0]) for line in lines if line and line[0] != "#"):
        bounds = [
            each.specifier for each in of_adk if (each.name, each.extras) == (wanted.name, wanted.extras)
        ]
        assert any(set(adk) <= set(wanted.specifier) for adk in bounds), wanted


# --- make run ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this tree with a ready environment, which borrows the packages of the running one."""
    folder = tmp_path_factory.mktemp("tree") / "parley"
    names = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split(
        "\0"
    )
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (venv / packages / "borrowed.pth").write_text(f"{Path(sys.prefix) / packages}\n")
    (venv / "requirements.txt.stamp").write_text(bootstrap.key("requirements.txt"))
    return folder


def test_make_run_serves_and_keeps_its_data(tree: Path, tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port())}
    first, second = _run_for_a_moment(tree, env), _run_for_a_moment(tree, env)
    assert f"Parley 0.1.0 serves http://127.0.0.1:{env['PORT']}/" in first
    assert "The database is up to date." in first
    assert "The static files are collected." in first
    link = re.search(r"http://\S+/accounts/set-up/\S+/", first)
    assert link
    assert link[0] in second
    assert second.startswith("Parley 0.1.0 serves "), "the second start has nothing to prepare"


def _run_for_a_moment(tree: Path, env: dict[str, str]) -> str:
    """Run ``make run`` until it is ready, end it by Ctrl-C and return its output."""
    with subprocess.Popen(
        ["make", "run", f"PYTHON={sys.executable}"],
        cwd=tree, env=bare(**env), stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        until(lambda: process.poll() is not None or _is_ready(env["PORT"]))
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        return process.communicate(timeout=30)[0]


def _is_ready(port: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


# Settings, with " & " between two, and the beginning of the sentence that refuses them.
REFUSED = """
PORT=abc                           Parley cannot start: PORT must be a whole number of at least 1, not 'abc'.
PORT=70000                         Parley cannot start: PORT must be at most 65535, not 70000.
LOG_LEVEL=loud                     Parley cannot start: LOG_LEVEL must be a level of Python's logging
SECRET_KEY=short                   Parley cannot start: SECRET_KEY must be at least 50 random characters.
DEBUG=maybe                        Parley cannot start: DEBUG must be 'on' or 'off', not 'maybe'.
RUN_SECONDS=-1                     Parley cannot start: RUN_SECONDS must be a number of at least 0
DATABASE_URL=nonsense              Parley cannot start: DATABASE_URL must be an address that begins
DATABASE_URL=postgres://h:port/x   Parley cannot start: DATABASE_URL must be an address
DATABASE_URL=sqlite://             Parley cannot start: DATABASE_URL must name a file
DATABASE_URL=sqlite:////nowhere/x  CommandError: The database cannot be used: unable to open
DATABASE_URL=postgres://u@127.0.0.1:9/x  CommandError: The database cannot be used:
REDIS_URL=nonsense                 Parley cannot start: REDIS_URL must be an address that begins with redis
REDIS_URL=redis://127.0.0.1:9      CommandError: REDIS_URL: Redis cannot be used:
HOST=not an address & SIGNUP=closed  CommandError: Parley cannot listen on not an address:
HOST=192.0.2.1 & SIGNUP=closed     CommandError: Parley cannot listen on 192.0.2.1:
LIMITS=off & HOST=0.0.0.0          Parley cannot start: LIMITS=off is refused unless HOST
SIGNUP=maybe                       Parley cannot start: SIGNUP must be 'open' or 'closed', not 'maybe'.
TRUSTED_PROXIES=nginx              Parley cannot start: TRUSTED_PROXIES must name addresses or networks:
TRUSTED_PROXIES=127.0.0.1/8        Parley cannot start: TRUSTED_PROXIES must name addresses or
TRUSTED_PROXIES=127.0.0.1;::1      Parley cannot start: TRUSTED_PROXIES must name addresses or
TRUSTED_PROXIES=0.0.0.0/0          Parley cannot start: TRUSTED_PROXIES must not list every address
TRUSTED_PROXIES=::1, ::/0          Parley cannot start: TRUSTED_PROXIES must not list every address
DATA_DIR=/dev/null                 Parley cannot start: DATA_DIR: /dev/null cannot be made
DATA_DIR=/proc/nowhere             Parley cannot start: DATA_DIR: /proc/nowhere cannot be made
"""


@pytest.mark.parametrize("line", REFUSED.strip().splitlines(), ids=lambda line: line.split("  ")[0])
def test_a_wrong_setting_is_one_sentence(tree: Path, tmp_path: Path, line: str) -> None:
    settings, words = re.split(" {2,}", line)
    LiveServer(tmp_path / "data").prepare()
    env = {"DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port())}
    env |= dict(each.split("=", 1) for each in settings.split(" & "))
    assert sentence(make(tree, "run", **env)).startswith(words)


def test_a_busy_port_is_one_sentence(tree: Path, tmp_path: Path) -> None:
    LiveServer(tmp_path / "data").prepare()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = make(tree, "run", DATA_DIR=str(tmp_path / "data"), PORT=port)
    assert sentence(done) == (
        f"CommandError: 127.0.0.1:{port} is in use by another program. Set PORT to a free one."
    )


def test_a_data_folder_that_cannot_be_made_is_one_sentence(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, where the folder should be")
    done = make(tree, "run", DATA_DIR=str(tmp_path / "data"))
    assert sentence(done) == f"Parley cannot start: DATA_DIR: {tmp_path}/data cannot be made (File exists)."


@pytest.fixture
def env_file(tree: Path) -> Iterator[Path]:
    yield tree / ".env"
    (tree / ".env").unlink()


def test_environment_variables_win_over_the_file(tree: Path, tmp_path: Path, env_file: Path) -> None:
    env_file.write_text("# a comment\nPORT=first\nexport LOG_LEVEL='INFO'\n")
    data = str(tmp_path / "data")
    words = sentence(make(tree, "run", DATA_DIR=data))
    assert "PORT must be a whole number of at least 1, not 'first'." in words
    assert "not 'second'" in sentence(make(tree, "run", DATA_DIR=data, PORT="second"))


def test_an_invalid_line_of_the_file_is_one_sentence(tree: Path, tmp_path: Path, env_file: Path) -> None:
    env_file.write_text("DEBUG=off\nPORT 9000\n")
    done = make(tree, "run", DATA_DIR=str(tmp_path / "data"))
    assert sentence(done) == f"Parley cannot start: {env_file}, line 2: it should be NAME=value."
