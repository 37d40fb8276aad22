"""What commands take that ask a service."""

import argparse
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from dockrion.client import Client

DEFAULT_URL = "http://localhost:8080"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add which service to ask, as whom, and how to show what it says."""
    parser.add_argument(
        "--url",
        type=url,
        default=os.environ.get("DOCKRION_URL") or DEFAULT_URL,
        help=f"http://host:port of the service; by default $DOCKRION_URL, else {DEFAULT_URL}",
    )
    parser.add_argument(
        "--header", type=header, action="append", default=[], metavar="NAME:VALUE", help="may be repeated"
    )
    parser.add_argument(
        "--token-env",
        type=_token,
        dest="token",
        metavar="NAME",
        help="the environment variable with the token or key to send",
    )
    parser.add_argument("--json", action="store_true", help="print each event as a line of JSON")


def client(options: argparse.Namespace) -> Client:
    """Return the client that is asked for."""
    return Client(options.url, token=options.token, headers=dict(options.header))


def url(text: str) -> str:
    """Return the address of a service.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    else:
        sound = sound and not (parts.query or parts.fragment)
    if not sound:
        raise argparse.ArgumentTypeError(f"expected http://host:port, got {text}")
    return text.rstrip("/")


def header(text: str) -> tuple[str, str]:
    """Return a header's name and value.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    name, colon, value = text.partition(":")
    if not (colon and _HEADER_NAME.fullmatch(name)) or not value.isprintable():
        raise argparse.ArgumentTypeError("expected NAME:VALUE")  # without the value: it may be a secret
    return name, value.strip()


def payload(text: str) -> bytes:
    """Return a body: JSON as it is given, of `@FILE`, or of the standard input for `-`.

    Raises:
        argparse.ArgumentTypeError: It is no JSON, or cannot be read.
    """
    try:
        content = _content(text)
        msgspec.json.decode(content)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text.removeprefix('@')}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"no JSON: {error}; a file is given as @FILE") from None
    return content


def _content(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    return Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()


def _token(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value or not value.isprintable():
        raise argparse.ArgumentTypeError(f"the variable {name} holds no token")
    return value
