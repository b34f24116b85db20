"""A query as one Python function, compiled from a Python syntax tree that is made of the query's.

Expressions become expressions where they can. What takes a loop puts statements before the expression it is part of;
where that expression may never be evaluated (the right of an ``and``, a branch) they go into an ``if``. So a filter
that is only counted makes no list, a path is a chain of look-ups, and a comparison with a literal is one of Python's
own. Everything else is a call into ``_runtime``. No text of the query gets into the code but as a constant.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tessera.pql import _arrays as arrays
from tessera.pql import _bindings as bindings
from tessera.pql import _comparisons as comparisons
from tessera.pql import _runtime
from tessera.pql import syntax as s
from tessera.pql._quotation import Filling, constant, expression, statements
from tessera.pql._signatures import SIGNATURES
from tessera.pql._times import moments_at_clock
from tessera.pql.errors import PqlError

# Python has no more than 20 loops inside each other.
_MAX_LOOPS = 16
# What is done with an element in a loop counts as so many visits as it has this many parts.
_NODES_PER_VISIT = 32
_FILE = "<pql>"
_BOOLEAN_CALLS = frozenset(name for name, signature in SIGNATURES.items() if signature.result == "boolean")
_OPERATORS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "remainder"}
_PLAIN_CALLS = {
    "intersects": "run.intersects(A, B)",
    "intersection": "run.intersection(A, B)",
    "subsetOf": "run.subset(A, B)",
    "supersetOf": "run.subset(B, A)",
    "includes": "run.is_in(B, A)",
    "distinct": "run.distinct(A)",
    "head": "run.head(A)",
    "get": "get(A, B)",
    "keys": "run.keys(A)",
    "values": "run.values(A)",
    "isNull": "(NAME := A) is None",
    "isNotNull": "(NAME := A) is not None",
    "currentYear": "year_of(now)",
    "currentMonth": "month_of(now)",
    "currentDayOfMonth": "day_of(now)",
    "getYear": "year_of(A)",
    "getMonth": "month_of(A)",
    "getDayOfMonth": "day_of(A)",
    "date": "make_date(A, B, C)",
    "inSegment": "in_segment(p1, A)",
}


_FUNCTION = """
def evaluate(p1=None, *more, now, visits=None):
    try:
        run = Run()
        if visits is not None:
            run.left = visits
        BODY
        return RESULT
    except PqlError as error:
        raise placed(error) from None
    except RecursionError:
        raise PqlError("a value is nested too deeply") from None
"""


def compiled(node: s.Node) -> Callable[..., Any]:
    """Make the function of a query: it takes the inputs and ``now``; raises PqlError for one that nests too deep."""
    compiler = Compiler()
    result = compiler.value(node)
    if any(_makes_value(part) for part in s.walk(node)):
        result = expression("run.result(RESULT)", s.START, RESULT=result)
    function = statements(_FUNCTION, s.START, BODY=compiler.body, RESULT=result)[0]
    assert isinstance(function, ast.FunctionDef)
    _take_parameters(function, compiler.parameters)
    module = ast.Module([function], [])
    scope = {"__builtins__": {}, **_runtime.LIBRARY, "placed": _placed, **compiler.constants}
    try:
        exec(compile(module, _FILE, "exec"), scope)  # noqa: S102 - of trees made here, not of text
    except (RecursionError, MemoryError, SyntaxError):
        raise PqlError("the query is nested too deeply") from None
    evaluate: Callable[..., Any] = scope["evaluate"]
    return evaluate


def _take_parameters(function: ast.FunctionDef, number: int) -> None:
    """Give the function all inputs that the query names; those that are not given are null."""
    names = [f"p{each}" for each in range(1, number + 1)]
    function.args.args = [ast.arg(name, lineno=1, col_offset=0, end_lineno=1, end_col_offset=0) for name in names]
    function.args.defaults = [constant(None, s.START) for _ in names]


def _makes_value(part: s.Part) -> bool:
    return isinstance(part, s.Array | s.Object) or (isinstance(part, s.Call) and part.function == "map")


def _placed(error: PqlError) -> PqlError:
    """Say at which place of the query an error came up: the code carries the places of the nodes it was made of."""
    place, traceback = s.START, error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == _FILE:
            line, _, column, _ = list(code.co_positions())[traceback.tb_lasti // 2]
            place = s.Position(line or 1, (column or 0) + 1)
        traceback = traceback.tb_next
    return PqlError(error.problem, place, error.expected)


class Compiler:
    """Turns nodes into expressions, and keeps the statements that must come before them."""

    def __init__(self) -> None:
        """Begin with an empty function."""
        self.constants: dict[str, Any] = {}
        self.parameters = 1
        self._first: list[ast.stmt] = []
        self._block: list[ast.stmt] = []
        self._items: list[str] = []
        self._variables: dict[str, str] = {}
        self._names = 0
        self._nodes = 0
        self._loops = 0

    @property
    def body(self) -> list[ast.stmt]:
        """What comes before the result."""
        return [*self._first, *self._block]

    # What the parts of the compiler share

    def new_name(self) -> str:
        """Make a name that nothing else has."""
        self._names += 1
        return f"v{self._names}"

    def new_constant(self, value: Any) -> str:
        """Keep something that is no literal for the code to refer to."""
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def emit(self, template: str, at: s.Position, **holes: Filling) -> None:
        """Add statements that come before the expression at hand."""
        self._block += statements(template, at, **holes)

    def emit_first(self, template: str, at: s.Position, **holes: Filling) -> None:
        """Add statements that are run once, at the beginning."""
        self._first += statements(template, at, **holes)

    @contextmanager
    def block(self) -> Iterator[list[ast.stmt]]:
        """Gather what is emitted."""
        outer, self._block = self._block, []
        try:
            yield self._block
        finally:
            self._block = outer

    def twice(self, value: ast.expr, at: s.Position) -> tuple[ast.expr, ast.expr]:
        """Make a value usable twice: what stands first, and what stands for it after that."""
        if isinstance(value, ast.Name):
            return value, value
        name = self.new_name()
        return expression("(NAME := VALUE)", at, NAME=name, VALUE=value), expression("NAME", at, NAME=name)

    def named(self, value: ast.expr, at: s.Position) -> str:
        """Give a value a name."""
        if isinstance(value, ast.Name):
            return value.id
        name = self.new_name()
        self.emit("NAME = VALUE", at, NAME=name, VALUE=value)
        return name

    @contextmanager
    def loop(self, at: s.Position) -> Iterator[ast.expr]:
        """Go into a loop, and answer the weight of each of its rounds; raises PqlError if that is one loop too many."""
        self._loops += 1
        if self._loops > _MAX_LOOPS:
            raise PqlError(f"more than {_MAX_LOOPS} filters or bindings inside each other", at)
        weight, before = ast.Constant(1), self._nodes
        yield _placed_like(weight, at)
        self._loops -= 1
        weight.value = 1 + (self._nodes - before) // _NODES_PER_VISIT

    @contextmanager
    def element(self, name: str) -> Iterator[None]:
        """Let a name be the current item."""
        self._items.append(name)
        yield
        self._items.pop()

    def chosen(self, parts: list[Callable[[], ast.expr]], joined: ast.boolop, at: s.Position) -> ast.expr:
        """Join tests by ``and`` or ``or``, none evaluated that need not be."""
        result = self.new_name()
        left: list[ast.expr] = []
        for part in parts:
            with self.block() as needed:
                test = part()
            if left and needed:
                self.emit("RESULT = TEST", at, RESULT=result, TEST=_joined(left, joined, at))
                condition = "RESULT" if isinstance(joined, ast.And) else "not RESULT"
                needed += statements("RESULT = TEST", at, RESULT=result, TEST=test)
                self.emit(f"if {condition}:\n    NEEDED", at, RESULT=result, NEEDED=needed)
                left = [expression("RESULT", at, RESULT=result)]
            else:
                self._block += needed
                left.append(test)
        return _joined(left, joined, at)

    # Nodes

    def test(self, node: s.Node) -> ast.expr:
        """Compile a condition: the expression is true or false."""
        if isinstance(node, s.Call) and node.function == "filter":
            return arrays.passes_any(self, node)
        if isinstance(node, s.Let):
            return self._let(node, self.test)
        value = self.value(node)
        if is_boolean(node):
            return value
        first, again = self.twice(value, node.at)
        return expression("FIRST is True or AGAIN is not None and truth(AGAIN)", node.at, FIRST=first, AGAIN=again)

    def value(self, node: s.Node) -> ast.expr:  # noqa: PLR0911, PLR0912 - one case per kind of node
        """Compile a node."""
        self._nodes += 1
        at = node.at
        match node:
            case s.Literal(value):
                return constant(value, at)
            case s.Parameter(number):
                self.parameters = max(self.parameters, number)
                return expression("NAME", at, NAME=f"p{number}")
            case s.Item(level):
                return expression("NAME", at, NAME=self._items[-1 - level])
            case s.Variable(name):
                return expression("NAME", at, NAME=self._variables[name])
            case s.Field():
                return self._field(node)
            case s.Array(items):
                elements = [self.value(item) for item in items]
                return _placed_like(ast.List(elements, ast.Load()), at)
            case s.Object(entries):
                keys: list[ast.expr | None] = [constant(key, at) for key, _ in entries]
                return _placed_like(ast.Dict(keys, [self.value(value) for _, value in entries]), at)
            case s.Negative(operand):
                return expression("subtract(0, OPERAND)", at, OPERAND=self.value(operand))
            case s.Arithmetic():
                return self._arithmetic(node)
            case s.Comparison():
                return comparisons.comparison(self, node)
            case s.Not(operand):
                return expression("not TEST", at, TEST=self.test(operand))
            case s.And(operands):
                return self.chosen([lambda each=each: self.test(each) for each in operands], ast.And(), at)  # type: ignore[misc]
            case s.Or(operands):
                return self.chosen([lambda each=each: self.test(each) for each in operands], ast.Or(), at)  # type: ignore[misc]
            case s.Let():
                return self._let(node, self.value)
            case s.Quantified():
                return bindings.quantified(self, node)
            case s.Comprehension():
                return bindings.comprehension(self, node)
            case s.Occurs(subject, when):
                known = moments_at_clock(when)
                read = "time_of(SUBJECT)" if known is None else "moment_of(SUBJECT)"
                first, time = self.twice(expression(read, at, SUBJECT=self.value(subject)), at)
                given = expression("FIRST is not None", at, FIRST=first)
                return self.chosen([lambda: given, lambda: self.meets(time, when, known)], ast.And(), at)
            case s.Chain():
                return bindings.chain(self, node)
            case s.Call():
                return self._call(node)
        raise AssertionError(node)

    def _field(self, node: s.Field) -> ast.expr:
        first, again = self.twice(self.value(node.source), node.at)
        return expression(
            "AGAIN.get(NAME) if type(FIRST) is dict else None if AGAIN is None else run.field(AGAIN, NAME)",
            node.at,
            FIRST=first,
            AGAIN=again,
            NAME=constant(node.name, node.at),
        )

    def _arithmetic(self, node: s.Arithmetic) -> ast.expr:
        first, rest = s.terms(node)
        value = self.value(first)
        for number, (operator, right, at) in enumerate(rest, 1):
            operation = f"{_OPERATORS[operator]}(LEFT, RIGHT)"
            value = expression(operation, at, LEFT=value, RIGHT=self.value(right))
            if number % 20 == 0:
                value = expression("NAME", at, NAME=self.named(value, at))
        return value

    def _let(self, node: s.Let, compile_body: Callable[[s.Node], ast.expr]) -> ast.expr:
        name = self.new_name()
        self.emit("NAME = BOUND", node.at, NAME=name, BOUND=self.value(node.bound))
        with self.variable(node.name, name):
            return compile_body(node.body)

    @contextmanager
    def variable(self, name: str, meaning: str) -> Iterator[None]:
        """Let a name stand for another in the code."""
        outer = self._variables
        self._variables = {**outer, name: meaning}
        try:
            yield
        finally:
            self._variables = outer

    # Times

    def meets(self, time: ast.expr, when: s.When, known: Callable[[int], Any] | None) -> ast.expr:
        """Compile what an ``occurs`` phrase asks of a time; ``known`` tells its bounds if only the clock does."""
        at = when.at
        if known is None:
            anchors = (when.first, when.last) if isinstance(when, s.Between) else (when.anchor,)
            periods = [self._period(anchor) for anchor in anchors]
            call = expression("meets(TIME, WHEN)", at, TIME=time, WHEN=self.new_constant(when))
            assert isinstance(call, ast.Call)
            call.args += periods
            return call
        low, high = self.new_name(), self.new_name()
        self.emit_first("LOW, HIGH = AT(now)", at, LOW=low, HIGH=high, AT=self.new_constant(known))
        negated = isinstance(when, s.Distance) and when.operator == "!="
        template = "not HIGH <= TIME < LOW" if negated else "LOW <= TIME < HIGH"
        return expression(template, at, LOW=low, HIGH=high, TIME=time)

    def _period(self, anchor: s.Time) -> ast.expr:
        if isinstance(anchor, s.Clock | s.Period):
            return expression("clock_period(WORD, now)", anchor.at, WORD=self.new_constant(anchor))
        is_day = isinstance(anchor, s.Call) and anchor.function == "date"
        return expression("day(X)" if is_day else "instant(X)", anchor.at, X=self.value(anchor))

    # Calls

    def _call(self, node: s.Call) -> ast.expr:
        at, name = node.at, node.function
        if name == "if":
            return self._if(node)
        if name in comparisons.STRING_PREDICATES:
            return comparisons.string_predicate(self, node)
        if name in ("matches", "regexGroup"):
            return comparisons.regular_expression(self, node)
        if name in _PLAIN_CALLS:
            given = ([] if node.receiver is None else [node.receiver]) + list(node.arguments)
            values = dict(zip("ABC", (self.value(each) for each in given), strict=False))
            return expression(_PLAIN_CALLS[name], at, NAME=self.new_name(), **values)
        return arrays.call_on_array(self, node)

    def _if(self, node: s.Call) -> ast.expr:
        condition, then, otherwise = node.arguments
        test = self.test(condition)
        with self.block() as before_then:
            yes = self.value(then)
        with self.block() as before_otherwise:
            no = self.value(otherwise)
        if not before_then and not before_otherwise:
            return expression("YES if TEST else NO", node.at, TEST=test, YES=yes, NO=no)
        result = self.new_name()
        before_then += statements("RESULT = VALUE", node.at, RESULT=result, VALUE=yes)
        before_otherwise += statements("RESULT = VALUE", node.at, RESULT=result, VALUE=no)
        self.emit("if TEST:\n    YES\nelse:\n    NO", node.at, TEST=test, YES=before_then, NO=before_otherwise)
        return expression("RESULT", node.at, RESULT=result)


def is_boolean(node: s.Node) -> bool:  # noqa: PLR0911 - one case per kind of node
    """Tell whether a node gives nothing but true and false."""
    match node:
        case s.Comparison() | s.Not() | s.And() | s.Or() | s.Occurs() | s.Chain():
            return True
        case s.Literal(value):
            return isinstance(value, bool)
        case s.Quantified(quantifier):
            return quantifier != "select"
        case s.Let(_, _, body):
            return is_boolean(body)
        case s.Call("if", _, (_, then, otherwise)):
            return is_boolean(then) and is_boolean(otherwise)
        case s.Call(name):
            return name in _BOOLEAN_CALLS
    return False


def _joined(tests: list[ast.expr], joined: ast.boolop, at: s.Position) -> ast.expr:
    return tests[0] if len(tests) == 1 else _placed_like(ast.BoolOp(joined, tests), at)


def _placed_like(node: ast.expr, at: s.Position) -> ast.expr:
    return ast.copy_location(node, constant(None, at))
