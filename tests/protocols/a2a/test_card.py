"""The agent card, as a2a-sdk reads it in both versions."""

import copy
from pathlib import Path
from typing import Any

import pytest
from a2a.client.card_resolver import parse_agent_card
from a2a.compat.v0_3.types import AgentCard
from google.protobuf.json_format import MessageToDict

from dockrion.protocols.a2a.card import agent_card
from tests.support import dockfile

URL = "https://example.org/agents/writer"
API_KEY = {"apiKeySecurityScheme": {"location": "header", "name": "X-Key"}}
BEARER = {"httpAuthSecurityScheme": {"scheme": "bearer"}}
JWT = {"mode": "jwt", "jwt": {"jwks_url": "https://example.org/keys"}}
AUTH: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "open": ({}, {}),
    "none": ({"auth": {"mode": "none"}}, {}),
    "keys": ({"auth": {"api_keys": {"header": "X-Key"}}}, {"apiKey": API_KEY, "bearer": BEARER}),
    "no bearer": ({"auth": {"api_keys": {"header": "X-Key", "allow_bearer": False}}}, {"apiKey": API_KEY}),
    "tokens": ({"auth": JWT}, {"bearer": BEARER}),
}


def card_of(folder: Path, sections: dict[str, Any]) -> dict[str, Any]:
    return agent_card(dockfile(folder, sections).dockfile, URL)


@pytest.mark.parametrize(("sections", "schemes"), AUTH.values(), ids=AUTH)
def test_card_is_read_in_both_versions(
    tmp_path: Path, sections: dict[str, Any], schemes: dict[str, Any]
) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=a key that nobody guesses\n")
    card = card_of(tmp_path, sections)
    of_0_3 = AgentCard.model_validate(card)
    assert (of_0_3.url, of_0_3.preferred_transport, of_0_3.protocol_version) == (
        f"{URL}/a2a",
        "JSONRPC",
        "0.3.0",
    )
    assert set(of_0_3.security_schemes or {}) == set(schemes)
    assert of_0_3.security == ([{name: []} for name in schemes] or None)
    read = MessageToDict(parse_agent_card(copy.deepcopy(card)))
    assert [each["protocolVersion"] for each in read["supportedInterfaces"]] == ["1.0", "0.3"]
    assert {each["url"] for each in read["supportedInterfaces"]} == {f"{URL}/a2a"}
    assert read.get("securitySchemes", {}) == schemes
    required = [list(each["schemes"]) for each in read.get("securityRequirements", ())]
    assert required == [[name] for name in schemes]


def test_card_says_what_the_dockfile_says_of_the_agent(tmp_path: Path) -> None:
    agent = {"name": "writer", "description": "Writes.", "handler": "tests.support:placeholder"}
    metadata = {"version": "1.2", "tags": ["text"], "maintainer": "secret@example.org"}
    card = card_of(tmp_path, {"agent": agent, "metadata": metadata})
    named = {"name": "writer", "description": "Writes."}
    assert card.items() >= {**named, "version": "1.2"}.items()
    assert card["skills"] == [{"id": "writer", **named, "tags": ["text"]}]
    assert "secret" not in str(card)
    less = card_of(tmp_path, {})
    assert (less["description"], less["version"]) == (f"The agent {less['name']}.", "0.0.0")
