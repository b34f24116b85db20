"""What can be wrong with a schema, with the codes that the Schema Registry publishes for it."""

from __future__ import annotations

from tessera.domain.errors import InvalidRequestError, NotFoundError


class SchemaError(InvalidRequestError):
    """A schema, a part of one or a descriptor cannot be used. ``code`` and ``title`` are empty where none is known."""

    code = ""
    title = ""


class TitleTakenError(SchemaError):
    """Another resource has the title."""

    code = "XDM-1521-400"
    title = "Title not unique"

    def __init__(self, resource_id: str) -> None:
        super().__init__(f"Titles must be unique: {resource_id} has this one already")


class IncompatibleTypesError(SchemaError):
    """One path is to have two types."""

    code = "XDM-1413-400"
    title = "Merge Schema Error"

    def __init__(self, path: str, types: tuple[str, str]) -> None:
        super().__init__(f"The path {path or '/'} is defined twice, with different data types: {', '.join(types)}")


class NoIdentityError(SchemaError):
    """A schema that knows of no primary identity is to be part of a union."""

    code = "XDM-1528-400"
    title = "Union descriptor validation error"

    def __init__(self) -> None:
        super().__init__("A schema in a union needs a field identityMap or a descriptor of its primary identity")


class ResourceNotFoundError(NotFoundError):
    """The sandbox has no such resource."""

    code = "XDM-1010-404"
    title = "Resource not found"

    def __init__(self, kind: str, resource_id: str) -> None:
        super().__init__(f"There is no resource {resource_id[:256]} among the {kind} of this sandbox")
