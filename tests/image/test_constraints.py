"""The constraints files in config/, as far as they can be tested without a package index."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.image import constraints

PYTHONS = [each.split()[-1] for each in constraints.project()["project"]["classifiers"] if " 3." in each]
PLATFORMS = [("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows")]
HERE: dict[str, Any] = {**default_environment(), "extra": ""}
ENVIRONMENTS = [
    HERE
    | {"python_version": python, "python_full_version": f"{python}.9"}
    | {"sys_platform": platform, "platform_system": system}
    for python in PYTHONS
    for platform, system in PLATFORMS
]
FILES = [
    (constraints.SERVICE, constraints.service_requirements()),
    (constraints.BUILD, constraints.project()["build-system"]["requires"]),
]


@dataclass
class Pin:
    """A package in a constraints file."""

    requirement: Requirement
    hashes: list[str]

    @property
    def version(self) -> Version:
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return Version(specifier.version)


def pins(file: Path) -> list[Pin]:
    found: list[Pin] = []
    for line in re.sub(r"\\\n", "", file.read_text()).splitlines():
        if not line.startswith("#"):
            requirement, *hashes = line.split("--hash=")
            found.append(Pin(Requirement(requirement), [each.strip() for each in hashes]))
    return found


def pinned(file: Path, environment: dict[str, Any]) -> dict[str, Version]:
    """Return the versions that are installed in an environment."""
    applicable = [
        each
        for each in pins(file)
        if each.requirement.marker is None or each.requirement.marker.evaluate(environment)
    ]
    versions: dict[str, Version] = {
        canonicalize_name(each.requirement.name): each.version for each in applicable
    }
    assert len(versions) == len(applicable)
    return versions


def closure(requirements: Iterable[Requirement], environment: dict[str, Any]) -> Iterator[Requirement]:
    """Yield the requirements in an environment, and those of the packages here that meet them."""
    for each in requirements:
        if each.marker is not None and not each.marker.evaluate(environment):
            continue
        yield each
        for extra in {"", *each.extras}:
            required = [Requirement(text) for text in requires(each.name) or ()]
            yield from closure(
                [one for one in required if extra == "" or "extra" in str(one.marker)],
                environment | {"extra": extra},
            )


@pytest.mark.parametrize(("file", "requirements"), FILES, ids=lambda value: getattr(value, "stem", ""))
def test_every_package_is_pinned_with_hashes(file: Path, requirements: list[str]) -> None:
    names = {canonicalize_name(each.requirement.name) for each in pins(file)}
    assert {canonicalize_name(Requirement(text).name) for text in requirements} <= names
    for pin in pins(file):
        assert pin.version.public
        assert pin.hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in pin.hashes)
    assert "://" not in file.read_text()


@pytest.mark.parametrize(("file", "requirements"), FILES, ids=lambda value: getattr(value, "stem", ""))
def test_the_versions_meet_pyproject_for_every_python_and_platform(
    file: Path, requirements: list[str]
) -> None:
    for environment in ENVIRONMENTS:
        versions = pinned(file, environment)
        for requirement in map(Requirement, requirements):
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize(("file", "requirements"), FILES, ids=lambda value: getattr(value, "stem", ""))
def test_what_the_packages_require_is_pinned_too(file: Path, requirements: list[str]) -> None:
    versions = pinned(file, HERE)
    for requirement in closure(map(Requirement, requirements), HERE):
        assert canonicalize_name(requirement.name) in versions
