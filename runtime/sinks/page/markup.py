"""HTML that is escaped by construction: text becomes markup only through `element`."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"br", "img", "meta"})
# control characters, and marks that turn the direction of writing around (a name could read as another one)
_REPLACED = (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = dict.fromkeys(_REPLACED, "�")


class Markup(str):
    """Text that is HTML already; only `element`, `join` and constants of this package make it."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Text of any origin as HTML: markup escaped; lone surrogates, control and direction characters replaced.

    `Markup` comes back as it is.
    """
    if isinstance(text, Markup):
        return text
    plain = text.encode("utf-8", "replace").decode().translate(_CONTROLS)
    return Markup(html.escape(plain, quote=True))


def join(parts: Iterable[str], between: str = "") -> Markup:
    """Parts in a row, each escaped unless it is markup."""
    return Markup(escaped(between).join(escaped(part) for part in parts))


def element(tag: str, /, *children: str, **attributes: str | float | bool | None) -> Markup:
    """One element. Children and attribute values are escaped unless they are markup.

    An attribute that is None or False is left out, True has no value; `class_` is `class`, `data_x` is `data-x`.
    """
    head = [tag]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            head.append(attribute)
        elif value is not None and value is not False:
            head.append(f'{attribute}="{escaped(str(value))}"')
    opening = f"<{' '.join(head)}>"
    return Markup(opening if tag in _VOID else f"{opening}{join(children)}</{tag}>")
