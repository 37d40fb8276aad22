"""An image with Debian's Python that takes the place of `python:3.13-slim`, which no test downloads."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

from tests.image.engine import Engine, run

NAME = "python:3.13-slim"
RELEASE = "trixie"  # its python3 is 3.13
_ESSENTIAL = ("base-files", "base-passwd", "coreutils", "dash", "libc-bin")
_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


def make(engine: Engine) -> None:
    """Make the image, with what the Dockerfile uses of the real one in the same places.

    Python's own modules are not compiled, as in the real image.
    """
    with of_packages(
        engine, f"localhost/{NAME}", RELEASE, "python3", "python3-pip-whl", "passwd", "findutils"
    ) as root:
        (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        _install_pip(root)
        _trust_certificates(root)


@contextmanager
def of_packages(
    engine: Engine, name: str, release: str, *packages: str, settings: Sequence[str] = ()
) -> Iterator[Path]:
    """Make an image of Debian's packages, which are only unpacked, and of what the block changes.

    Args:
        engine: Where it is stored.
        name: Its name.
        release: The release of Debian.
        packages: The packages, beside essential ones; what they depend on comes with them.
        settings: Options of `buildah config`.
    """
    container = engine.buildah("from", "scratch").strip()
    root = Path(engine.buildah("mount", container).strip())
    archive = engine.folder / "packages.tar"
    include = f"--include={','.join((*_ESSENTIAL, *packages))}"
    run("mmdebstrap", "--quiet", "--variant=extract", "--mode=root", include, release, str(archive))
    run("tar", "-xf", str(archive), "-C", str(root), "--exclude=./dev/*")
    archive.unlink()
    for file in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{file}.master", root / "etc" / file)
    yield root
    if settings:
        engine.buildah("config", *settings, container)
    engine.buildah("commit", "--quiet", "--rm", container, name)


def _install_pip(root: Path) -> None:
    """Install pip below /usr/local, and where the real image has the files of ensurepip."""
    (wheel,) = (root / "usr/share/python-wheels").glob("pip-*.whl")
    packages = root / "usr/local/lib/python3.13/dist-packages"
    with ZipFile(wheel) as archive:
        archive.extractall(packages)
    script = root / "usr/local/bin/pip"
    script.write_text(
        "#!/usr/bin/python3\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n"
    )
    script.chmod(0o755)
    (record,) = packages.glob("pip-*.dist-info/RECORD")
    with record.open("a") as installed:
        installed.write("../../../bin/pip,,\n")
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    bundled = root / "usr/local/lib/python3.13/ensurepip/_bundled"
    bundled.mkdir(parents=True)
    shutil.move(wheel, bundled)


def _trust_certificates(root: Path) -> None:
    """Make pip in the image trust what this machine trusts."""
    if (Path("/") / _CERTIFICATES).exists():
        (root / _CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("/") / _CERTIFICATES, root / _CERTIFICATES)
        (root / "etc/pip.conf").write_text(f"[global]\ncert = /{_CERTIFICATES}\n")
