"""What reads and writes need to know of a computed attribute; it is part of a sandbox's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tessera.domain.computed.rule import Rule

GROUP = "ComputedAttributes"


@dataclass(frozen=True, slots=True)
class ComputedAttribute:
    """A published attribute.

    ``number`` counts the attributes that a sandbox ever published: stored state names an attribute by it, and says
    up to which number it is complete. ``rule`` is what a read needs, which does not parse expressions. ``ready`` is
    whether events from before it was published are in every state.
    """

    number: int
    name: str
    expression: str
    rule: Rule
    ready: bool = False

    def to_document(self) -> list[Any]:
        """Write it as it stands in the configuration's document."""
        return [self.number, self.name, self.expression, self.rule.to_document(), self.ready]

    @classmethod
    def from_document(cls, document: list[Any]) -> Self:
        """Read it from the configuration's document."""
        number, name, expression, rule, ready = document
        return cls(number, name, expression, Rule.from_document(rule), ready)


def schema_namespace(org_id: str) -> str:
    """Name the object that holds an organisation's own fields: its id before the ``@``, in lower case.

    Contract: data-and-pql §1.7; an organisation's id is the only name that it has here.
    """
    return "_" + "".join(letter for letter in org_id.partition("@")[0].lower() if letter.isalnum())


def place_values(entity: Mapping[str, Any], at: tuple[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entity with computed values where they belong; theirs is the place, whatever a record put there."""
    namespace, group = at
    own = entity.get(namespace)
    kept = {name: value for name, value in own.items() if name != group} if isinstance(own, dict) else {}
    if values:
        kept[group] = dict(values)
    placed = {name: value for name, value in entity.items() if name != namespace}
    return {**placed, namespace: kept} if kept else placed
