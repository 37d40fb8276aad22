"""Loading: read the YAML, substitute variables, decode into structs, check the rules.

Errors are collected over all steps, see `decode`, and raised together.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, structs

from dockrion.dockfile.confidential import confidential_values, short_value_warnings
from dockrion.dockfile.credentials import Credentials, credential_warnings, read_credentials
from dockrion.dockfile.decode import Decoder, Diagnostics
from dockrion.dockfile.environment import read_environment, substitute
from dockrion.dockfile.places import Places
from dockrion.dockfile.problems import DockfileError, KeyPath, Problem, did_you_mean
from dockrion.dockfile.rules import check_policies, check_rules
from dockrion.dockfile.schemas import KEYWORDS, convert_keywords, with_default_type
from dockrion.dockfile.streaming_structs import DEFAULT_REDIS_URL
from dockrion.dockfile.structs import Dockfile
from dockrion.dockfile.yaml_source import Document, read_text
from dockrion.redaction import Redactor

_REDIS_URL: KeyPath = ("streaming", "redis", "url")
_SCHEMAS: dict[KeyPath, list[str]] = {("io_schema", name): KEYWORDS for name in ("input", "output")}


class Loaded(msgspec.Struct, frozen=True):
    """A valid Dockfile, and what its environment provides.

    Attributes:
        path: The file.
        dockfile: Its content, defaults filled in.
        warnings: The warnings, in the order of the file.
        unknown: Fields that this version does not know, by dotted path.
        secrets: The declared secrets that have a value, which may be their default.
        agent_environment: The variables that the agent's environment has beside those of this process: of
            the environment files, and secrets with their defaults.
        missing_secrets: Names of required secrets without a value.
        credentials: The API keys and tokens it names variables for.
    """

    path: Path
    dockfile: Dockfile
    warnings: list[Problem]
    unknown: dict[str, Any]
    secrets: dict[str, str]
    agent_environment: dict[str, str]
    missing_secrets: list[str]
    credentials: Credentials

    @property
    def confidential(self) -> list[str]:
        """The values to mask in all output: secrets, keys, tokens, and the passwords in URLs."""
        values = confidential_values(self.dockfile, self.secrets, self.credentials)
        return [each.value for each in values]


def load(path: Path, *, env_file: Path | None = None, environ: Mapping[str, str]) -> Loaded:
    """Read and check a Dockfile.

    Args:
        path: The file; `.env`, `env.yaml` and `env.yml` in its directory are read, too.
        env_file: Another file in `.env` syntax, or None.
        environ: The process environment.

    Raises:
        DockfileError: The file is invalid; the error holds every problem.
    """
    document = Document(_read(path), str(path))
    environment = read_environment(path, env_file, environ)
    variables = environment.variables
    substitution = _Substitution(variables)
    value = document.build(substitution)
    substitution.redis_url(value)

    # Secrets are read before decoding, so that error messages mask them.
    secrets = _read_secrets(value, variables)
    diagnostics = Diagnostics(str(path), document, Redactor(text for _, text in secrets))
    for keys, message in substitution.errors:
        diagnostics.error(keys, message)
    _convert_schema_keywords(value, substitution.done, diagnostics)
    decoder = Decoder(diagnostics, substitution.done, Places(Dockfile, _SCHEMAS))
    sections = decoder.fields(Dockfile, value, ())
    check_rules(decoder.decoded, diagnostics)
    diagnostics.raise_errors()

    dockfile = _with_derived_defaults(Dockfile(**sections))
    values = dict(secrets)
    missing = [each.name for each in dockfile.secrets.required if each.name not in values]
    credentials = read_credentials(dockfile, {**variables, **values})
    for keys, message in credential_warnings(dockfile.auth, credentials) if dockfile.auth else ():
        diagnostics.warn(keys, message)
    confidential = confidential_values(dockfile, values, credentials)
    for keys, message in short_value_warnings(confidential):
        diagnostics.warn(keys, message)
    check_policies(dockfile, value, diagnostics)
    from_files_or_declared = {**environment.from_files, **values}
    return Loaded(
        path=path,
        dockfile=dockfile,
        warnings=diagnostics.warnings,
        unknown=diagnostics.unknown,
        secrets=values,
        agent_environment={
            name: text for name, text in from_files_or_declared.items() if environ.get(name) != text
        },
        missing_secrets=missing,
        credentials=credentials,
    )


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except DockfileError as error:
        hint = _what_to_name(path)
        raise DockfileError(
            msgspec.structs.replace(problem, message=problem.message + hint) for problem in error.problems
        ) from None


def _what_to_name(path: Path) -> str:
    """Return what to do if there is no such file, or if it is a directory."""
    if path.is_dir():
        return f"; name the Dockfile in it: {path / 'Dockfile.yaml'}"
    if path.exists():
        return ""
    others = [each.name for each in path.parent.glob("*.y*ml")]
    return did_you_mean(path.name, others) or "; dockrion init writes one"


class _Substitution:
    """Replaces `${VAR}` in strings; a string that refers to an unset variable becomes `msgspec.UNSET`.

    Attributes:
        done: Key paths of the strings that were changed.
        errors: Key paths and messages of references that cannot be resolved.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.done: set[KeyPath] = set()
        self.errors: list[tuple[KeyPath, str]] = []
        self._environment = environment

    def __call__(self, keys: KeyPath, text: str) -> Any:
        return text if keys == _REDIS_URL else self._replace(keys, text)

    def redis_url(self, value: dict[str, Any]) -> None:
        """Replace the references in `streaming.redis.url`, its default included, if the backend is redis.

        With the memory backend the default `${REDIS_URL}` need not be set.
        """
        streaming = value.get("streaming")
        if not isinstance(streaming, dict) or streaming.get("backend") != "redis":
            return
        if streaming.get("redis") is None:
            streaming["redis"] = {}
        redis = streaming["redis"]
        if isinstance(redis, dict) and isinstance(url := redis.get("url", DEFAULT_REDIS_URL), str):
            redis["url"] = self._replace(_REDIS_URL, url)

    def _replace(self, keys: KeyPath, text: str) -> Any:
        try:
            result, unset = substitute(text, self._environment)
        except RecursionError:
            self.errors.append((keys, "variable references are nested too deeply"))
            return UNSET
        for name in unset:
            self.errors.append((keys, f"environment variable {name} is not set and has no default"))
        if unset:
            return UNSET
        if result != text:
            self.done.add(keys)
        return result


def _read_secrets(value: dict[str, Any], environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return names and values of the declared secrets that have a value, even of a malformed Dockfile.

    An empty variable counts as not set.
    """
    secrets = value.get("secrets")
    lists = [secrets.get("required"), secrets.get("optional")] if isinstance(secrets, dict) else []
    items = [item for each in lists if isinstance(each, list) for item in each if isinstance(item, dict)]
    declared = [(item["name"], item.get("default")) for item in items if isinstance(item.get("name"), str)]
    values = [(name, environment.get(name) or default) for name, default in declared]
    return [(name, text) for name, text in values if text and isinstance(text, str)]


def _convert_schema_keywords(
    value: dict[str, Any], substituted: set[KeyPath], diagnostics: Diagnostics
) -> None:
    io_schema = value.get("io_schema")
    if isinstance(io_schema, dict):
        for keys in _SCHEMAS:
            convert_keywords(io_schema.get(keys[-1]), keys, substituted, diagnostics)


def _with_derived_defaults(dockfile: Dockfile) -> Dockfile:
    """Fill in the defaults that are not constants."""
    agent, io_schema = dockfile.agent, dockfile.io_schema
    return structs.replace(
        dockfile,
        agent=structs.replace(agent, framework=agent.framework or "custom"),
        io_schema=structs.replace(
            io_schema, input=with_default_type(io_schema.input), output=with_default_type(io_schema.output)
        ),
    )
