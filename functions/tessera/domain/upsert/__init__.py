"""Record fragments that are updated field by field (contract: data-and-pql §4.6; design: Record fragments).

``operation`` says what can be done to a fragment, ``fragment`` what it is afterwards, ``tree`` how its fields are
weighed against each other, ``stamps`` how that is written down small, ``message`` what a streamed message asks for.
"""

from tessera.domain.upsert.fragment import UpdatedFragment
from tessera.domain.upsert.operation import Action, Operation, Path

__all__ = ["Action", "Operation", "Path", "UpdatedFragment"]
