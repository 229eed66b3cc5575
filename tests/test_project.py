"""Rules of the house: who imports whom, what is loaded when, and a README that tells the truth."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import ebsdarchive
from ebsdarchive import errors
from ebsdarchive.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(ebsdarchive.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

# Each room may import those before it; modules of one line may import each other.
ROOMS = (
    ("errors",),
    ("geometry", "scan", "regridding"),
    ("schema",),
    ("crystal_map",),
    ("metadata",),
    ("codecs",),
    ("archive",),
    ("exchange",),
    ("neural",),
    ("analysis",),
    ("simulation",),
    ("figures",),
    ("publication",),
    ("restorers",),
    ("multimodal",),
    ("xarray_engine", "kikuchipy_plugin", "pyebsdindex_file"),
    ("verbs",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[tuple[str, str]]:
    """(module, name) of every import from this package, inside functions too."""
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [(str(node.module), alias.name) for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] == "ebsdarchive"]


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


# ---------------------------------------------------------------- the rooms


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_a_module_imports_only_from_the_rooms_above_it(path):
    room = room_of(path)
    if room == "__init__":
        assert imports_of(path) == []  # its verbs are loaded by name
        return
    assert room in FLOOR, f"{room} is in no list of rooms"
    for module, name in imports_of(path):
        target = module.split(".")[1] if "." in module else name
        if target in ("", "__version__") or target in ebsdarchive.__all__:
            # the surface of the package; the verbs behind it are for the verbs and the commands
            allowed = target == "__version__" or FLOOR[room] >= FLOOR["verbs"]
            assert allowed, f"{path}: imports {target or module}"
            continue
        assert FLOOR[target] <= FLOOR[room], f"{path}: {room} imports {target}, a room below it"


def test_every_command_below_another_is_a_verb_of_its_own_name():
    for name in COMMANDS:
        command = importlib.import_module(f"ebsdarchive.cli.{name}_command").command
        for below in getattr(command, "commands", {}):
            verb = name if below == "list" else f"{below}_{name.removesuffix('s')}"
            assert {verb, f"{name}_{below}"} & set(ebsdarchive.__all__)
            assert command.commands[below].help


def test_the_verbs_of_the_package_are_where_it_says():
    for name in ebsdarchive.__all__:
        assert getattr(ebsdarchive, name) is not None
    assert set(COMMANDS) <= set(ebsdarchive.__all__)
    assert dir(ebsdarchive) == sorted(ebsdarchive.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ebsdarchive.nonsense  # noqa: B018


def public_names(path: Path) -> list[str]:
    """`__all__` of a module."""
    for node in parsed(path).body:
        named = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        if named and isinstance(node.value, ast.List | ast.Tuple):
            return [item.value for item in node.value.elts if isinstance(item, ast.Constant)]
    return []


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in MODULES}), ids=lambda path: path.name
)
def test_no_file_shares_its_name_with_a_public_function_of_its_folder(folder):
    public = {name for path in folder.glob("*.py") for name in public_names(path)}
    if folder == PACKAGE:
        public |= set(ebsdarchive.__all__)
    files = {path.stem for path in folder.iterdir()}
    assert files & public == set()


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_a_module_says_what_it_is_and_so_does_all_that_is_public_in_it(path):
    tree = parsed(path)
    assert ast.get_docstring(tree), f"{path}: no docstring"
    defined = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    }
    for name in public_names(path):
        if name in defined:
            assert ast.get_docstring(defined[name]), f"{path}: {name} has no docstring"
    for name, node in defined.items():
        if not name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {name} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_library_code_neither_prints_nor_unpickles_nor_runs_text(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "input", "eval", "exec"), f"{path}: {node.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "dill", "cloudpickle", "marshal"}, path


# ---------------------------------------------------------------- what is loaded when

HEAVY = ("torch", "kikuchipy", "hyperspy", "pyebsdindex", "numba", "matplotlib")


def loaded_after(code: str) -> list[str]:
    """Which heavy packages a program has loaded when it ends."""
    code += f"\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    return ast.literal_eval(run.stdout.splitlines()[-1])


def test_importing_the_package_and_its_command_line_loads_nothing_heavy():
    assert loaded_after("import ebsdarchive, ebsdarchive.cli; dir(ebsdarchive)") == []


def test_reading_an_archive_loads_neither_torch_nor_kikuchipy(fitted_archive, tmp_path):
    code = f"""
import sys
import ebsdarchive
archive, out = {str(fitted_archive)!r}, {str(tmp_path)!r}
def step(name, call):
    call()
    heavy = [name for name in {HEAVY[:2]} if name in sys.modules]
    assert not heavy, (name, heavy)
step("info", lambda: ebsdarchive.info(archive))
step("verify", lambda: ebsdarchive.verify(archive, data=True))
step("validate", lambda: ebsdarchive.validate(archive))
step("query raw", lambda: ebsdarchive.query(archive, point=(1, 1), layer="raw"))
step("query neural", lambda: ebsdarchive.query(archive, out + "/a.png", point=(1.5, 1)))
step("export up2", lambda: ebsdarchive.export(archive, out + "/a.up2"))
step("export neural", lambda: ebsdarchive.export(archive, out + "/b.up2", layer="neural"))
step("extract", lambda: ebsdarchive.extract(archive, ["neural"], out + "/small.h5"))
step("read an up2 file", lambda: ebsdarchive.open_scan(out + "/a.up2"))
step("export h5", lambda: ebsdarchive.export(archive, out + "/a.h5"))
"""
    assert not set(loaded_after(code)) & set(HEAVY[:2])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_waits_for_nothing_heavy(name):
    code = f"""
import contextlib, io, ebsdarchive.cli
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    ebsdarchive.cli.main([{name!r}, "--help"])
"""
    if name in ("fit", "demo"):  # the two whose verbs load the most
        assert loaded_after(code) == []
    else:
        module = PACKAGE / "cli" / f"{name}_command.py"
        assert not any(m.startswith("ebsdarchive.neural") for m, _ in imports_of(module))


# ---------------------------------------------------------------- errors


def test_every_error_has_an_exit_code_of_its_own_that_the_readme_explains():
    classes = [getattr(errors, name) for name in errors.__all__]
    codes = {kind.exit_code for kind in classes}
    assert len(codes) == len(classes)
    assert codes == set(range(1, 11))
    explained = _exit_codes_explained(ROOT / "README.md")
    assert explained == codes | {0, 130}
    assert _exit_codes_explained(ROOT / "docs" / "howto" / "troubleshooting.md") == explained
    from ebsdarchive.cli import ebsdarchive as group

    in_help = {int(code) for code in re.findall(r"\b(\d+) [a-z]", (group.help or ""))}
    assert in_help == explained


def _exit_codes_explained(document: Path) -> set[int]:
    table = document.read_text(encoding="utf-8").split("## Exit codes")[1].split("##")[0]
    return {int(code) for code in re.findall(r"\| (\d+) \|", table)}


def test_errors_are_raised_and_never_asserted_for_what_a_user_gives():
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = getattr(node.exc.func, "id", "")
                assert name not in ("Exception", "RuntimeError", "IOError"), f"{path}: {name}"


# ---------------------------------------------------------------- the documents


def commands_in(document: Path, section: str | None = None) -> list[list[str]]:
    """Arguments of every ``ebsdarchive …`` line in the bash blocks of a document or section."""
    text = document.read_text(encoding="utf-8")
    if section is not None:
        text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", text, re.S)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ebsdarchive ")
    ]


DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("*/README.md")),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_documents_are_understood(document):
    for name, *arguments in commands_in(document):
        assert name in COMMANDS
        command = importlib.import_module(f"ebsdarchive.cli.{name}_command").command
        while isinstance(command, click.Group):
            name, *arguments = arguments
            command = command.commands[name]
        command.make_context(name, arguments)


def test_links_in_the_documents_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            if target == "benchmarks/README.md":
                continue  # written by the benchmarks
            assert (document.parent / target).exists(), f"{document}: {target}"


def test_the_tour_of_the_readme_runs(make_scan, make_archive, run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = make_scan(ny=20, nx=24, sy=9, sx=11, described=False)
    ebsdarchive.export(make_archive(scan), "scan.up2")
    tour = commands_in(ROOT / "README.md", "A tour")
    assert len(tour) >= 8
    quick = ["--rank", "4", "--width", "16", "--time", "1", "--device", "cpu"]
    for arguments in tour:
        added = {"compress": quick, "fit": [*quick[2:], "--target-mae", "5"]}.get(arguments[0], [])
        code, _, err = run_cli(*arguments, *added)
        assert code == 0, (arguments, err)
    assert Path("again.up2").read_bytes() == Path("scan.up2").read_bytes()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (python,) = re.findall(
        r"```python\n(.*?)```", readme.split("\n## A tour\n")[1].split("\n## ")[0], re.S
    )
    lines = [line for line in python.splitlines() if "compress(" not in line]
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert names["patterns"].shape == (50, 9, 11)
    assert names["scan"]["patterns"].dims == ("y", "x", "v", "u")
    assert names["field"]["patterns"].attrs["layer"] == "neural"


def test_the_readme_says_what_it_must():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "patent application" in readme
    assert "2606.10352" in readme
    assert "GPL-3.0-or-later" in readme
    for command in ("make demo", "make test"):
        assert command in readme
    assert re.search(r"!\[.*\]\(.*\.(png|jpg)\)", readme)


def test_no_text_of_the_project_names_a_place_on_somebodys_machine():
    places = "|".join(("work", "tmp", "root", "home"))
    pattern = re.compile(rf"(?<![\w.~/-])/(?:{places})/\w")
    checked = 0
    for folder in ("ebsdarchive", "schema", "docs", "examples", "benchmarks", "."):
        for path in (ROOT / folder).glob("*" if folder == "." else "**/*"):
            if path.suffix in (".py", ".md", ".toml", ".txt", ".cff", "") and path.is_file():
                text = path.read_text(encoding="utf-8", errors="ignore")
                assert not (found := pattern.search(text)), f"{path}: {found}"
                checked += 1
    assert checked > len(MODULES)


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == ebsdarchive.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {ebsdarchive.__version__}\n" in citation
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {ebsdarchive.__version__}" in changes
    assert project["license"] == "GPL-3.0-or-later"


def test_entry_points_lead_somewhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    targets = [*project["scripts"].values()]
    targets += [t for group in project["entry-points"].values() for t in group.values()]
    for target in targets:
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_dependencies_are_pinned_for_the_two_commands():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    wanted += [
        name
        for extra in ("test", "lint", "docs")
        for name in project["optional-dependencies"][extra]
    ]
    names = {re.split(r"[<>=\[ ]", name)[0].lower() for name in wanted}
    pinned = {
        line.split("==")[0].strip().lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    assert names <= pinned


def test_the_package_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "ebsdarchive", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split()[-1] == ebsdarchive.__version__


def test_commands_are_named_in_one_list():
    found = {path.stem.removesuffix("_command") for path in (PACKAGE / "cli").glob("*_command.py")}
    assert found == set(COMMANDS)
    for name in COMMANDS:
        command = importlib.import_module(f"ebsdarchive.cli.{name}_command").command
        assert isinstance(command, click.Command)
