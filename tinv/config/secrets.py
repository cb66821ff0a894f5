"""Finds secrets in texts: settings and texts are written to files, logs and trackers, which must not hold any.

A text contains a secret if it contains

- a token of a known form (`hf_...`, `sk-...`, `ghp_...`, `AKIA...`), or a URL with a password or a token;
- the value of an environment variable whose name is that of a secret (`*_KEY`, `*_TOKEN`, `*_SECRET`, `*PASSWORD*`).
  Ordinary values do not count: those shorter than 8 characters, words or numbers shorter than 16, `<placeholder>`
  tokens, and paths of existing files;
- an interpolation of such a variable: `${oc.env:HF_TOKEN}`.

Settings and arguments with a secret are refused before anything is written. Messages, and text files that tinv writes,
have `***` instead of it.
"""

import html
import json
import os
import re
import shlex
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

MASK = "***"
REMEDY = (
    "Settings are written to files and logs. Remove it, and use `hf auth login`, `wandb login`, HF_TOKEN or "
    "WANDB_API_KEY instead. If it was saved or shown anywhere, revoke it."
)
_CONTAINS = "contains an access token or a password"
MIN_LENGTH = 8
"""Shorter values of environment variables are not secrets."""
MIN_WORD_LENGTH = 16
"""Shorter values that are words or numbers are not secrets."""

_FORMS = (
    r"\bhf_(?:oauth_|jwt_)?[A-Za-z0-9]{20,}[\w.-]*",  # Hugging Face
    r"\bapi_org_[A-Za-z0-9]{20,}",
    r"\bwandb_v1_\w{20,}",
    r"\bsk-(?=[\w-]*\d)(?=[\w-]*(?:[A-Z]|[a-z0-9]{20}))[\w-]{20,}",  # OpenAI, Anthropic and others
    r"\b[sr]k_(?:live|test)_\w{16,}",  # Stripe
    r"\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}",
    r"\bgl(?:pat|ptt|dt|rt|cbt|agent|oas|soat|ft)-[\w.-]{20,}",  # GitLab
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS
    r"\bxox[a-z]-[\w-]{10,}|\bxapp-\d-[\w-]{10,}",  # Slack
    r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,}",  # Google
    r"\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{50,}|\bdckr_pat_[\w-]{20,}",
    r"\br8_\w{30,}|\bgsk_\w{40,}|\bnvapi-[\w-]{40,}|\bSG\.[\w-]{16,}\.[\w-]{16,}",  # Replicate, Groq, NVIDIA, SendGrid
    r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*",  # a JSON Web Token
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
    r"(?<=://)[^/\s:@\"']*:(?!\*+@)[^/\s@\"']+(?=@)",  # user:password@host
    r"(?<=://)[^/\s:@\"'$]{20,}(?=@)",  # token@host
    r"(?i:(?<=[?&])(?:\w*token|api_?key|password|sig|signature|x-amz-[a-z-]+)=[^&\s#\"'*]{8,})",
)
_FORM = re.compile("|".join(_FORMS))
_ORDINARY_NAME = re.compile(
    r"(^|_)(PLACEHOLDER|INITIALIZER|CONCEPT|PUBLIC|CACHE|SORT|[BE]OS|PAD|UNK|SEP|CLS|MASK|SPECIAL)_(KEY|TOKEN)S?$"
)
_NAME = re.compile(
    r"(?:(?<![A-Z])|API|AUTH|ACCESS|PRIVATE)(?:KEY|TOKEN|PAT|PWD|PASS|AUTH)S?(?:_?\d+)?$"
    r"|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|KEY_ID$"
)
_INTERPOLATION = re.compile(r"\boc\.env:\s*[\"']?(\w+)")
_WORDS_OR_NUMBERS = re.compile(r"(?:[A-Za-z]?[a-z]+|[A-Z]+|[\d.,:]+)(?:[-_ ./][A-Za-z]?[a-z]+|[-_ ./:][\d.,]+)*")
_PLAIN_VALUES = ("", "true", "false", "null", "none")
Variables = tuple[tuple[str, re.Pattern[str]], ...]
"""Name and pattern of the value of each environment variable that holds a secret."""


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether an environment variable or a setting has the name of a secret: `OPENAI_API_KEY`, `hub.token`."""
    last = re.split(r"[.@/]", name)[-1].replace("-", "_").upper()
    return bool(_NAME.search(last)) and not _ORDINARY_NAME.search(last)


def is_secret(text: str) -> bool:
    """Whether a text contains a secret."""
    return bool(find_reason(text))


def find_reason(text: str) -> str:
    """Returns which secret a text contains, as a predicate that does not repeat it; an empty string if none."""
    return _find_reason(text, _environment())


def _find_reason(text: str, variables: Variables) -> str:
    if _FORM.search(text):
        return _CONTAINS
    names = [name for name, pattern in variables if pattern.search(text)]
    for match in _INTERPOLATION.finditer(text):
        value = os.environ.get(match[1], "")
        if _FORM.search(value) or (is_secret_name(match[1]) and not (value and _is_ordinary(value))):
            names.append(match[1])
    return f"{_CONTAINS}, the value of the environment variable {names[0]}" if names else ""


def hide(text: str) -> str:
    """Returns the text with every secret replaced by `***`."""
    for _, pattern in _environment():
        text = pattern.sub(MASK, text)
    return _FORM.sub(MASK, text)


def hide_override(text: str) -> str:
    """Returns an override with its secrets replaced; the whole value if the setting has the name of a secret."""
    name, equals, value = text.partition("=")
    return f"{name}={MASK}" if equals and _is_named_secret(name, value) else hide(text)


def is_secret_override(text: str) -> bool:
    """Whether an override contains a secret, judged by its text or by its key: `hub.token=...`."""
    return bool(override_problem(text))


def override_problem(text: str) -> str:
    """Returns the message about an override that contains a secret, or an empty string."""
    name, _, value = text.partition("=")
    reason = find_reason(text) or (_CONTAINS if _is_named_secret(name, value) else "")
    return reason and f"{hide(name.lstrip('+~'))}: {reason}. {REMEDY}"


def find_secrets(tree: Any, path: str = "") -> Iterator[str]:
    """Yields a message for each secret in a tree of plain values, which does not repeat it."""
    yield from _find_secrets(tree, path, _environment())


def _find_secrets(tree: Any, path: str, variables: Variables) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            name = f"{path}.{key}" if path else str(key)
            if isinstance(value, str) and _is_named_secret(str(key), value):
                yield f"{hide(name)}: {_CONTAINS}. {REMEDY}"
            elif reason := _find_reason(str(key), variables):
                yield f"{hide(name)}: {reason}. {REMEDY}"
            else:
                yield from _find_secrets(value, name, variables)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _find_secrets(value, f"{path}[{index}]", variables)
    elif isinstance(tree, str) and (reason := _find_reason(tree, variables)):
        yield f"{hide(path)}: {reason}. {REMEDY}"


def _is_named_secret(name: str, value: str) -> bool:
    """Whether a setting has the name of a secret and a value that can be one: not a number, a switch or `key=...`."""
    is_plain = value.strip().lower() in _PLAIN_VALUES or re.fullmatch(r"[\d.+-]+|\?\?\?", value) is not None
    return not is_plain and name.strip("+~").lower() not in ("key", "keys", "pass") and is_secret_name(name)


def _is_ordinary(value: str) -> bool:
    """Whether a value of an environment variable must not be replaced in texts, although its name is a secret's."""
    if len(value) < MIN_LENGTH or re.fullmatch(r"<\S*>", value):
        return True
    if len(value) < MIN_WORD_LENGTH and _WORDS_OR_NUMBERS.fullmatch(value):
        return True
    try:
        return bool(re.match(r"[/~.\\]|[A-Za-z]:", value)) and Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # not a valid file name
        return False


def _environment() -> Variables:
    """Returns the environment's secrets; takes half a millisecond with 200 variables."""
    return _patterns(tuple((name, value.strip()) for name, value in os.environ.items() if is_secret_name(name)))


@lru_cache(maxsize=4)
def _patterns(variables: tuple[tuple[str, str], ...]) -> Variables:
    """Returns the patterns of the values that are secrets, the longest first: one may contain another."""
    secrets = [(value, name) for name, value in variables if not _is_ordinary(value)]
    for value, name in list(secrets):  # a file may contain a line of a key
        secrets += [(line, name) for line in value.split("\n")[1:-1] if len(line) >= MIN_WORD_LENGTH]
    return tuple((name, _pattern(value)) for value, name in sorted(secrets, key=lambda item: -len(item[0])))


def _pattern(value: str) -> re.Pattern[str]:
    """Returns the pattern of a value in the notations of JSON, URLs, HTML and shells; short values match as words."""
    notations = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    notations |= {quote(value), quote(value, safe=""), html.escape(value), shlex.quote(value).strip("'")}
    pattern = "|".join(re.escape(text) for text in sorted(notations, key=len, reverse=True))
    return re.compile(pattern if len(value) >= MIN_WORD_LENGTH else rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])")
