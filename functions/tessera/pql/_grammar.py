"""The grammar of pql/text (contract: data-and-pql §2.1), and the parser made of it when it is first needed.

It is LALR. Where one token of foresight is not enough, a terminal looks ahead: at ``(x, y) =>``, at the comma before
another binding, at the words that are keywords in one place and names in another.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tessera.pql.errors import PqlError
from tessera.pql.syntax import Position

if TYPE_CHECKING:
    from lark import Lark, Token, Tree
    from lark.exceptions import UnexpectedInput

MAX_TEXT_LENGTH = 100_000

_GRAMMAR = r"""
?start: query
?query: LAMBDA expr                                         -> lambda
      | expr
?expr: "let" NAME "=" disjunction{bound} "in" expr          -> let
     | AGGREGATE disjunction{comparison} "over" binding     -> comprehension
     | disjunction{comparison}

?disjunction{operand}: conjunction{operand} ("or" conjunction{operand})*
?conjunction{operand}: negation{operand} ("and" negation{operand})*
?negation{operand}: ("not" | "!") negation{operand}        -> negated
                  | operand
?comparison: bound
           | sum IN sum                                     -> relation
?bound: quantified
      | sum
      | sum RELATION sum                                    -> relation
      | sum (NOT_IN | LIKE) sum                             -> relation
      | sum "occurs" when                                   -> occurs

quantified: QUANTIFIER binding (_NEXT binding)*
binding: NAME "from" disjunction{comparison} [("where" | ":") disjunction{comparison}]

?when: RELATION NUMBER NAME direction time                  -> distance
     | direction time                                       -> beside
     | "on"? time                                           -> during
     | "between" time "and" time                            -> between
!direction: "before" | "after" | "from"
?time: CLOCK                                                -> clock
     | PERIOD                                               -> period
     | sum

?sum: product (ADD product)*
?product: unary (MULTIPLY unary)*
?unary: "-" unary                                           -> negative
      | postfix
?postfix: primary
        | postfix "." NAME                                  -> field
        | postfix "." NAME arguments                        -> method
        | postfix "[" expr "]"                              -> filter
arguments: "(" [query ("," query)*] ")"

?primary: STRING                                            -> string
        | NUMBER                                            -> number
        | TRUTH                                             -> truth
        | PARAMETER                                         -> parameter
        | "this"                                            -> this
        | CARETS "."? NAME                                  -> up
        | CARETS "."? "this"                                -> up
        | NAME                                              -> name
        | NAME arguments                                    -> function
        | "(" expr ")"
        | "[" [expr ("," expr)*] "]"                        -> array
        | "{" [entry ("," entry)*] "}"                      -> object
        | _CHAIN "(" expr "," path "," "[" step ("," step)* "]" ")"  -> chain
entry: (STRING | NAME) ":" expr
path: NAME ("." NAME)*
step: NAME ":" "WHAT" "(" expr ")" modifier*
?modifier: "WHEN" "(" when ")"                              -> step_when
         | "WHERE" "(" expr ")"                             -> step_where
         | "COUNT" "(" NUMBER ")"                           -> step_count

NAME: /[^\W\d]\w*/
STRING: /"(?:[^"\\]++|\\.)*+"/s
NUMBER: /[0-9]+(?:\.[0-9]+)?/
PARAMETER: /\$[0-9]+/
CARETS: /\^+/
RELATION: /!=|<=|>=|=(?!>)|<|>/
ADD: /[+-]/
MULTIPLY: /[*\/%]/
IN: "in"
NOT_IN: "notIn"
LIKE: "like"
QUANTIFIER.2: /(?:exists|forall|select)(?=\s+[^\W\d])/
TRUTH.2: /(?:true|false)\b/
CLOCK.2: /(?:now|today|yesterday|tomorrow)\b(?!\s*[.(\[])/
PERIOD.2: /(?:this|last|next)\s+UNIT\b/
AGGREGATE.2: /(?:sum|count|average|min|max)(?=\s+(?!OPERATOR\b)[^\W\d]|\s+["$^0-9(])/
LAMBDA.3: /\(\s*+[^\W\d]\w*+\s*+(?:,\s*+[^\W\d]\w*+\s*+)*+\)\s*+=>/
_NEXT.2: /,(?=\s*+[^\W\d]\w*+\s+from\b)/
_CHAIN.2: /(?:chain|CHAIN)(?=\s*\()/

%ignore /\s+/
"""
_UNITS = (
    "milliseconds?|seconds?|minutes?|hours?|days?|weeks?|months?|years?|decades?|century|centuries|millennium|millennia"
)

# A word after which "sum" and its like are names.
_OPERATORS = "and|or|in|notIn|like|occurs|over|from|where"

# How the kinds of tokens are called when one was expected; the rest go by what they look like.
_OPERAND = {"STRING", "NUMBER", "LPAR"}
_BEGIN_OPERAND = {
    *("STRING", "NUMBER", "TRUTH", "PARAMETER", "THIS", "CARETS", "NAME", "LPAR", "LSQB", "LBRACE", "MINUS", "NOT"),
    *("BANG", "QUANTIFIER", "AGGREGATE", "LAMBDA", "LET", "_CHAIN"),
}
_CONTINUE = {
    *("DOT", "LSQB", "LPAR", "ADD", "MULTIPLY", "RELATION", "IN", "NOT_IN", "LIKE", "OCCURS", "AND", "OR", "COLON"),
    *("WHERE", "_NEXT"),
}
_WORDS = {
    "NAME": "a name",
    "NUMBER": "a whole number",
    "STRING": "a string",
    "RELATION": "a comparison",
    "CLOCK": '"now"',
    "PERIOD": '"this week"',
    "$END": "the end of the query",
}


def parse_tree(text: str) -> Tree[Token]:
    """Read a text as the grammar has it; raises PqlError."""
    from lark.exceptions import UnexpectedInput  # noqa: PLC0415 - the parser is costly to import

    if len(text) > MAX_TEXT_LENGTH:
        raise PqlError(f"a query can have at most {MAX_TEXT_LENGTH} characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PqlError("not a character of Unicode", position_in(text, error.start)) from None
    try:
        return _parser().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None


def position_in(text: str, offset: int) -> Position:
    """Line and column of a character of a text."""
    line_start = text.rfind("\n", 0, offset) + 1
    return Position(text.count("\n", 0, offset) + 1, offset - line_start + 1)


@cache
def _parser() -> Lark:
    from lark import Lark  # noqa: PLC0415

    grammar = _GRAMMAR.replace("UNIT", f"(?:{_UNITS})").replace("OPERATOR", f"(?:{_OPERATORS})")
    return Lark(grammar, parser="lalr", propagate_positions=True)


def _unexpected(text: str, error: UnexpectedInput) -> PqlError:
    offset = error.pos_in_stream
    if offset is None or offset < 0 or getattr(getattr(error, "token", None), "type", "") == "$END":
        offset = len(text.rstrip())
    found = _found(text, offset) if text[offset:].strip() else ""
    at = position_in(text, offset)
    if found == '"':
        return PqlError("the string has no end", at, ("a closing double quote",))
    accepted = getattr(error, "accepts", None)
    allowed = accepted or getattr(error, "allowed", None) or getattr(error, "expected", None) or ()
    expected = _in_words(set(allowed), exact=accepted is not None)
    if found.startswith("'"):
        return PqlError("strings stand in double quotes", at, expected)
    met = "the end of the query" if not found else f"'{found}'" if '"' in found else f'"{found}"'
    return PqlError(f"expected {' or '.join(expected) or 'nothing more'}, found {met}", at, expected)


def _in_words(terminals: set[str], *, exact: bool) -> tuple[str, ...]:
    """Say in words what could have come; what is not exact includes what could come in other places like this."""
    words = set()
    if terminals >= _OPERAND:
        words.add("a value")
        terminals = terminals - _BEGIN_OPERAND
    elif terminals >= {"DOT", "ADD"} or terminals >= {"OCCURS", "RELATION"}:
        words.add("an operator")
        terminals = terminals - _CONTINUE if exact else set()
    literals = {terminal.name: terminal.pattern for terminal in _parser().terminals}
    for name in terminals:
        literal = literals.get(name)
        shown = literal.value if literal is not None and literal.type == "str" else name.lower()
        words.add(_WORDS.get(name, f'"{shown}"'))
    return tuple(sorted(words, key=lambda word: (word.startswith('"'), word)))


def _found(text: str, offset: int) -> str:
    """Find the word or sign that stands at an offset, at most 20 characters of it."""
    end = offset + 1
    while end < min(len(text), offset + 20) and text[offset:end].isidentifier() and text[end].isalnum():
        end += 1
    found = text[offset:end]
    return found if found.isprintable() else f"U+{ord(found[0]):04X}"
