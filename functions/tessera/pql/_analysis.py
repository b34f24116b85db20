"""What a query reads: the paths of its first input, and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from tessera.pql import syntax as s

# What a variable or an item stands for: a path of the first input, or None.
_Meaning: TypeAlias = str | None

# These give elements of their receiver, so what is read of the result is read of it.
_KEEPING_ELEMENTS = frozenset({"filter", "topN", "bottomN", "distinct", "head"})
_CLOCK_FUNCTIONS = frozenset({"currentMonth", "currentYear", "currentDayOfMonth"})


def tells_time(node: s.Node) -> bool:
    """Tell whether a query asks for the time of its evaluation."""
    return any(
        isinstance(part, s.Clock | s.Period) or (isinstance(part, s.Call) and part.function in _CLOCK_FUNCTIONS)
        for part in s.walk(node)
    )


def paths_of(node: s.Node) -> frozenset[str]:
    """Find the paths of the first input that a query names, each as long as it stands there.

    ``xEvent[commerce.order.priceTotal > 5].count()`` names ``xEvent`` and ``xEvent.commerce.order.priceTotal``. The
    whole input is named ``$1``, what is looked up by ``get`` by its map.
    """
    reader = _Reader()
    reader.read(node, (), {})
    return frozenset(reader.found)


class _Reader:
    def __init__(self) -> None:
        self.found: set[str] = set()

    def read(self, part: s.Part, items: tuple[_Meaning, ...], names: Mapping[str, _Meaning]) -> _Meaning:
        """Note what a part names, itself included; answers the path that it stands for."""
        path = self._path(part, items, names)
        if path is not None:
            self.found.add(path or "$1")
        return path

    def _path(self, part: s.Part, items: tuple[_Meaning, ...], names: Mapping[str, _Meaning]) -> _Meaning:  # noqa: PLR0911, PLR0912 - one case per kind
        match part:
            case s.Parameter(number):
                return "" if number == 1 else None
            case s.Item(level):
                return items[-1 - level]
            case s.Variable(name):
                return names.get(name)
            case s.Field(source, name):
                path = self._path(source, items, names)
                return None if path is None else f"{path}.{name}" if path else name
            case s.Call():
                return self._call(part, items, names)
            case s.Chain(source, timestamp, steps):
                inner = (*items, self.read(source, items, names))
                self.read(timestamp.body, inner, names)
                for step in steps:
                    self._step(step, inner, names)
            case s.Let(name, bound, body):
                return self._path(body, items, {**names, name: self.read(bound, items, names)})
            case s.Quantified(quantifier, bindings):
                sources = []
                for binding in bindings:
                    names = self._bind(binding, items, names)
                    sources.append(names[binding.name])
                return sources[0] if quantifier == "select" else None
            case s.Comprehension(_, element, binding):
                self.read(element, items, self._bind(binding, items, names))
            case _:
                for each in s.operands(part):
                    self.read(each, items, names)
        return None

    def _call(self, call: s.Call, items: tuple[_Meaning, ...], names: Mapping[str, _Meaning]) -> _Meaning:
        if call.function == "inSegment":
            self.found.add("segmentMembership")
        of_receiver = None if call.receiver is None else self.read(call.receiver, items, names)
        for argument in call.arguments:
            if isinstance(argument, s.Element):
                inner = names if argument.key is None else {**names, argument.key: None}
                self.read(argument.body, (*items, of_receiver), inner)
            else:
                self.read(argument, items, names)
        return of_receiver if call.function in _KEEPING_ELEMENTS else None

    def _step(self, step: s.Step, items: tuple[_Meaning, ...], names: Mapping[str, _Meaning]) -> None:
        for element in (step.what, step.where):
            if element is not None:
                self.read(element.body, items, names)
        if step.when is not None:
            self.read(step.when, items, names)

    def _bind(
        self, binding: s.Binding, items: tuple[_Meaning, ...], names: Mapping[str, _Meaning]
    ) -> Mapping[str, _Meaning]:
        inner = {**names, binding.name: self.read(binding.source, items, names)}
        if binding.condition is not None:
            self.read(binding.condition, items, inner)
        return inner
