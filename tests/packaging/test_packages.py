"""The sdist and the wheel, as somebody gets them: nothing is missing, and they work beside any environment.

What these need (`pip install '.[packaging]'`) and what they install comes from a package index once, into a folder; the
installations themselves ask no index. Where one of both is not here, the test says so and is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARE = (
    "man/man1/tfgpu-tui.1",
    "bash-completion/completions/tfgpu-tui",
    "zsh/site-functions/_tfgpu-tui",
    "fish/vendor_completions.d/tfgpu-tui.fish",
)
pytestmark = pytest.mark.slow


def ran(command: list[str], **more: object) -> str:
    """What it said on both streams; fails where it failed."""
    said = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)  # type: ignore[call-overload]
    assert said.returncode == 0, f"{command}\n{said.stdout}"
    return str(said.stdout)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it."""
    for needed in ("build", "hatchling"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: pip install '.[packaging]'")
    folder = tmp_path_factory.mktemp("dist")
    ran([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    return {"sdist": next(folder.glob("*.tar.gz")), "wheel": next(folder.glob("*.whl"))}


@pytest.fixture(scope="module")
def extracted(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built["sdist"]) as tar:
        tar.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def downloaded(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, all that it needs, and pip, which pipx brings up to date."""
    folder = tmp_path_factory.mktemp("downloaded")
    command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:", "-d", str(folder)]
    said = subprocess.run([*command, "pip", str(built["wheel"])], capture_output=True, text=True)
    if said.returncode:
        pytest.skip(f"what the wheel needs can't be downloaded here: {said.stderr.strip().splitlines()[-1]}")
    return folder


def home(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a user who has nothing yet, and who is asked no index."""
    tools = os.path.dirname(sys.executable)
    return {
        "PATH": f"{folder}/.local/bin:{tools}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8",
        "TMPDIR": str(folder), **more,
    }  # fmt: skip


def test_the_sdist_has_every_file_of_the_repository(extracted: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone")
    there = {str(path.relative_to(extracted)) for path in extracted.rglob("*")}
    missing = [name for name in listed.stdout.splitlines() if name not in there and not name.startswith(".ci/")]
    assert not missing


def test_the_sdists_tests_run_from_it(extracted: Path) -> None:
    """Those that look at files all over the tree; its modules are then its own."""
    where = ran([sys.executable, "-c", "import tfgpu_tui; print(tfgpu_tui.__file__)"], cwd=extracted)
    assert where.startswith(str(extracted))
    tests = [f"tests/unit/test_{name}.py" for name in ("docs", "demos", "imports")]
    said = ran([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], cwd=extracted)
    assert " passed" in said and "failed" not in said


def test_the_index_would_take_them(built: dict[str, Path]) -> None:
    pytest.importorskip("twine", reason="twine is not installed: pip install '.[packaging]'")
    ran([sys.executable, "-m", "twine", "check", "--strict", *map(str, built.values())])


def test_the_wheel_brings_what_is_no_module(built: dict[str, Path]) -> None:
    names = zipfile.ZipFile(built["wheel"]).namelist()
    shared = [name.partition(".data/data/share/")[2] for name in names]
    assert set(SHARE) <= set(shared)
    assert {"tfgpu_tui/demo/slow_map.py", "tfgpu_tui/demo/recordings/README.md", "tfgpu_tui/ui/app.tcss"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/", "tools/"))]


def test_the_recipe_renders() -> None:
    rattler_build = pytest.importorskip("rattler_build", reason="pip install py-rattler-build")
    recipe = rattler_build.Stage0Recipe.from_file(str(ROOT / "recipe" / "recipe.yaml"))
    (rendered,) = recipe.render(rattler_build.VariantConfig(), rattler_build.RenderConfig())
    assert rendered.recipe.to_dict()["build"]["noarch"] == "python"


def works(environment: dict[str, str], share: Path, tmp_path: Path) -> None:
    """What a stranger tries first: the version, the demo without a TensorFlow, the manual, the completions."""
    assert ran(["tfgpu-tui", "--version"], env=environment).startswith("tfgpu-tui ")
    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    said = ran(["tfgpu-tui", "demo", "--python", str(tmp_path / "bare" / "bin" / "python")], env=environment)
    assert "this is a recording of such a run" in said and "input wait 83 %" in said
    assert not [name for name in SHARE if not (share / name).is_file()]
    bash = (
        f"source {share}/bash-completion/completions/tfgpu-tui; COMP_WORDS=(tfgpu-tui explain input.bo); COMP_CWORD=2"
    )
    said = ran(["bash", "-c", f'{bash}; _tfgpu_tui; echo "${{COMPREPLY[*]}}"'], env=environment)
    assert said.strip() == "input.bound"
    if shutil.which("man"):
        page = ran(
            ["man", "-l", str(share / SHARE[0])], env={**environment, "MANWIDTH": "80", "MAN_KEEP_FORMATTING": ""}
        )
        assert "--headless" in page and "tfgpu-tui doctor" in page


def test_pipx_installs_it_beside_any_environment(built: dict[str, Path], downloaded: Path, tmp_path: Path) -> None:
    pytest.importorskip("pipx", reason="pipx is not installed: pip install '.[packaging]'")
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(downloaded), "PIP_CONFIG_FILE": "/dev/null"}
    uv = {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(downloaded), "UV_NO_CONFIG": "1"}  # what pipx asks where it is here
    environment = home(tmp_path, **pip, **uv)
    ran([sys.executable, "-m", "pipx", "install", "--python", sys.executable, str(built["wheel"])], env=environment)
    assert shutil.which("tfgpu-tui", path=environment["PATH"]) == str(tmp_path / ".local" / "bin" / "tfgpu-tui")
    # pipx links the manual and the completions to where man and the shells look.
    works(environment, tmp_path / ".local" / "share", tmp_path)


def test_uv_installs_it_beside_any_environment(built: dict[str, Path], downloaded: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=home(tmp_path)["PATH"])
    if uv is None:
        pytest.skip("uv is not installed: pip install '.[packaging]'")
    environment = home(tmp_path, UV_OFFLINE="1", UV_NO_CONFIG="1")
    ran([uv, "tool", "install", "--no-index", "--find-links", str(downloaded), "--python", sys.executable,
         str(built["wheel"])], env=environment)  # fmt: skip
    # uv links the command alone; the rest stays in the tool's own environment.
    works(environment, Path(ran([uv, "tool", "dir"], env=environment).strip()) / "tfgpu-tui" / "share", tmp_path)
