"""Arguments that the client commands have in common."""

import argparse
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from dockrion.ids import RUN_ID_FORM, RUN_ID_PATTERN

DEFAULT_URL = "http://localhost:8080"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options for the service, the credentials and the output format."""
    parser.add_argument(
        "--url",
        type=url,
        default=os.environ.get("DOCKRION_URL") or DEFAULT_URL,
        help=f"the service, host:port or https://host (default: $DOCKRION_URL, else {DEFAULT_URL})",
    )
    add_header(parser)
    parser.add_argument(
        "--token-env",
        type=_token,
        dest="token",
        metavar="NAME",
        help="the environment variable that holds the token or key",
    )
    parser.add_argument("--json", action="store_true", help="print each event as a line of JSON")


def add_header(parser: argparse.ArgumentParser) -> None:
    """Add the option for additional headers."""
    parser.add_argument(
        "--header",
        type=header,
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="a header for each request; may be repeated",
    )


def url(text: str) -> str:
    """Return the URL of a service; `host:port` alone is one of http.

    Raises:
        argparse.ArgumentTypeError: It is malformed.
    """
    has_scheme = "://" in text or text.lower().startswith(("http:", "https:"))
    address = text if has_scheme else f"http://{text}"
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    else:
        valid = valid and not (parts.query or parts.fragment)
    if not valid:
        raise argparse.ArgumentTypeError(f"expected host:port, or http(s)://host:port, got {text}")
    return address.rstrip("/")


def header(text: str) -> tuple[str, str]:
    """Return a header's name and value.

    Raises:
        argparse.ArgumentTypeError: It is malformed.
    """
    name, colon, value = text.partition(":")
    if not (colon and _HEADER_NAME.fullmatch(name)) or not value.isprintable():
        raise argparse.ArgumentTypeError("expected NAME:VALUE")  # the value may be a secret
    return name, value.strip()


def payload(text: str) -> bytes:
    """Return JSON: the text itself, the content of `@FILE`, or standard input for `-`.

    Raises:
        argparse.ArgumentTypeError: It is not JSON, or cannot be read.
    """
    try:
        content = _content(text)
        msgspec.json.decode(content)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text.removeprefix('@')}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        if text.startswith("@"):
            raise argparse.ArgumentTypeError(f"{text[1:]} is not JSON: {error}") from None
        raise argparse.ArgumentTypeError(f"not JSON: {error}; name a file as @FILE") from None
    return content


def run_id(text: str) -> str:
    if not RUN_ID_PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected {RUN_ID_FORM}")
    return text


def _content(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    return Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()


def _token(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value or not value.isprintable():
        raise argparse.ArgumentTypeError(f"the environment variable {name} holds no token")
    return value
