"""Well-known prompt-injection phrasings, written for normalized text.

Normalized text is in lower case, with single spaces, straight quotes and no invisible characters (see
`prompt_injection`). A phrasing matches where one of its openings starts at a word boundary and the
rest follows immediately. No rest has an unbounded repeat, so that matching takes linear time.
"""

from typing import NamedTuple


class Phrasing(NamedTuple):
    """One way to make an agent ignore or reveal its instructions.

    Attributes:
        name: Names it in error messages.
        openings: Literal texts, one of which starts it.
        rest: A regular expression for what follows.
    """

    name: str
    openings: tuple[str, ...]
    rest: str


_EARLIER = "(?:previous|prior|above|preceding|earlier|foregoing|original|initial|system)"
_HIDDEN = "(?:hidden|secret|initial|original|internal)"
_EMPHASIS = f"(?:(?:{_HIDDEN}|full|entire|exact|complete|whole|own|current) )?"
_INSTRUCTIONS = r"(?:instructions?|prompts?|rules|guidelines|directions|directives|commands|programming)\b"
_RESTRICTIONS = (
    r"(?:restrictions?|rules|filters?|guidelines|guardrails|safeguards|restraints|censorship|ethics)\b"
)
_RESTRICTION_KIND = "(?:safety |content |ethical |moral |security |built-in )?"
_ASSISTANT = r"(?:ai|assistant|chat ?bot|bot|(?:large )?language model|llm|model|chatgpt|gpt)\b"
_YOU_ARE = ("you are", "you're", "act as", "pretend to be")
_MODES = "(?:developer|jailbreak|jailbroken|dan|god|debug|unrestricted|unfiltered|admin|root) mode"

PHRASINGS = (
    Phrasing(
        "ignore earlier instructions",
        ("ignore", "disregard", "forget", "discard"),
        rf" (?:all |any )?(?:of )?(?:the |your |my |our |these |those |any )?{_EARLIER} {_INSTRUCTIONS}",
    ),
    Phrasing(
        "ignore all instructions",
        ("ignore", "disregard", "forget", "discard"),
        r" (?:all (?:of )?(?:the |your |my )?(?:instructions|prompts)"
        r"|your (?:instructions|rules|guidelines|programming|prompt))\b",
    ),
    Phrasing(
        "forget everything",
        ("ignore", "disregard", "forget"),
        r" (?:everything|all)(?: that)? (?:above|before this|i said before"
        r"|you(?: were| have been|'ve been) (?:told|taught|instructed))\b",
    ),
    Phrasing(
        "do not follow instructions",
        ("do not follow", "don't follow", "stop following", "no longer follow", "stop obeying"),
        rf" (?:any |all )?(?:of )?"
        rf"(?:your (?:{_EARLIER} )?|(?:the )?(?:previous|prior|system|original) ){_INSTRUCTIONS}",
    ),
    Phrasing(
        "override safety",
        ("override", "bypass", "disable", "circumvent", "deactivate", "turn off"),
        rf" (?:all )?(?:of )?your {_RESTRICTION_KIND}"
        rf"(?:(?:instructions|protocols?|policies|limitations|programming)\b|{_RESTRICTIONS})",
    ),
    Phrasing(
        "reveal the instructions",
        ("reveal", "print", "show", "repeat", "leak", "disclose", "output", "display", "expose"),
        rf" (?:me |us )?(?:all )?(?:of )?"
        rf"(?:your {_EMPHASIS}(?:system )?(?:prompt|instructions)|the {_EMPHASIS}system prompt)\b",
    ),
    Phrasing(
        "ask for the instructions",
        ("tell me", "give me", "what is", "what's", "what are", "what were"),
        rf" (?:all )?(?:of )?your (?:{_EMPHASIS}system (?:prompt|message|instructions)"
        rf"|{_HIDDEN} (?:prompt|instructions))\b",
    ),
    Phrasing(
        "repeat the text above",
        ("repeat", "print", "output", "reveal"),
        r" (?:all )?(?:of )?(?:everything|(?:the )?(?:words|text)) above\b",
    ),
    Phrasing("become DAN", _YOU_ARE, r"(?: now)? (?:a )?dan(?: mode|[.,;:!?()\"]| \(| and | which |$|\0)"),
    Phrasing("do anything now", ("stands for", "called", "named"), r",? [\"'(]?do anything now\b"),
    Phrasing("do anything now", ("do anything now",), r"(?: mode|,? \(?dan)\b"),
    Phrasing("do anything now", ('"do anything now',), r"[,.!]?\""),
    Phrasing(
        "special mode",
        (*_YOU_ARE, "respond", "answer", "act"),
        rf"(?: now)?(?: operating| running)? in (?:a |the )?{_MODES}\b",
    ),
    Phrasing("jailbreak mode", ("jailbreak mode", "jailbroken mode", "dan mode"), r"\b"),
    Phrasing(
        "pretend to be without restrictions",
        ("pretend", "act", "imagine", "assume", "behave"),
        r" (?:that |as if |as though |like )?you (?:have|had|are under|were under|are bound by|follow)"
        rf" no {_RESTRICTION_KIND}{_RESTRICTIONS}",
    ),
    Phrasing(
        "answer without restrictions",
        ("respond", "answer", "reply", "act", "operate"),
        rf" without (?:any |your ){_RESTRICTION_KIND}{_RESTRICTIONS}",
    ),
    Phrasing(
        "be unrestricted",
        _YOU_ARE,
        r"(?: now)? (?:a |an |the )?(?:completely |totally |fully )?"
        rf"(?:unrestricted|unfiltered|uncensored|jailbroken|amoral|evil) {_ASSISTANT}",
    ),
    Phrasing(
        "be free of rules",
        ("you are", "you're"),
        r" (?:now |no longer )?(?:free from|free of|bound by|restricted by|limited by)"
        rf" (?:all |any )?(?:of )?(?:your )?(?:{_RESTRICTION_KIND}|openai(?:'s)? )"
        rf"(?:policies\b|{_INSTRUCTIONS}|{_RESTRICTIONS})",
    ),
    Phrasing(
        "new instructions",
        ("new instructions", "new system prompt", "updated instructions", "real instructions"),
        "(?: are)? ?:",
    ),
    Phrasing(
        "from now on you will",
        ("from now on", "from this point on", "from this point forward"),
        r",? you (?:will|must|shall|should|are to|have to|are going to) (?:only |always |never |not )?"
        r"(?:act|behave|obey|pretend|ignore|disregard|comply|role-?play|refuse"
        r"|(?:answer|respond|reply|speak) as|be (?:known|called))\b",
    ),
    Phrasing(
        "role marker",
        ("<|",),
        r" ?(?:im_start|im_end|im_sep|system|user|assistant|endoftext|endofprompt|eot_id"
        r"|start_header_id|end_header_id|begin_of_text|end_of_text) ?\|>",
    ),
    Phrasing("instruction marker", ("[inst", "[/inst", "<<sys", "<</sys"), r"(?:\]|>>)"),
    Phrasing(
        "role heading",
        ("## system", "##system", "## instruction", "##instruction"),
        "(?: prompt| message)? ?:",
    ),
    Phrasing(
        "role tag",
        ("<system", "</system", "[system"),
        r"(?:[ _-](?:prompt|message|instructions?)[\]>]|\]\(#)",
    ),
    Phrasing(
        "role line",
        ("system: you are", "system : you are"),
        rf"(?: now)? (?:an? )?(?:helpful )?{_ASSISTANT}",
    ),
)
