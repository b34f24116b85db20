"""Bodies of the merge policies endpoint (contract: profile-api §3, appendix A5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, RootModel, StringConstraints, TypeAdapter
from pydantic import ValidationError as DefectError

from tessera.domain.errors import InvalidRequestError, UndecodableXidError
from tessera.domain.identity import Identity, Xid, is_namespace_code, is_xid
from tessera.domain.merge_policy import AttributeMerge, GraphType, MergePolicy
from tessera.domain.tenant import Tenant

MAX_IDS = 1000
MAX_COMPARED = 1000

_ALIASES = {"auto": GraphType.PRIVATE.value}


def _switch(value: object) -> bool:
    """Read a boolean, or one in a string (contract: profile-api §1.5); nothing else is one."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (text := value.strip().lower()) in {"true", "false"}:
        return text == "true"
    raise ValueError("must be true or false")


def _graph_type(value: object) -> object:
    return _ALIASES.get(value, value) if isinstance(value, str) else value


Switch = Annotated[bool, BeforeValidator(_switch, json_schema_input_type=bool | Literal["true", "false"])]
Graph = Annotated[GraphType, BeforeValidator(_graph_type, json_schema_input_type=GraphType | Literal["auto"])]
Name = Annotated[str, StringConstraints(max_length=256)]
# A class, such as `_xdm.context.profile`; the address of a schema is none.
SchemaClass = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=256)]
DatasetId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Order = list[DatasetId]


class SchemaReference(BaseModel):
    """The class of the profiles that are merged."""

    name: SchemaClass


class IdentityGraph(BaseModel):
    """Whose fragments are merged; ``auto`` is the older name of ``pdg``."""

    type: Graph


class OlderOrder(BaseModel):
    """Where the oldest clients put the order."""

    order: Order | None = None


class AttributeMergeRule(BaseModel):
    """What ranks the fragments."""

    type: AttributeMerge
    order: Order | None = None
    data: OlderOrder | None = None


class Policy(BaseModel):
    """A merge policy as a caller describes it; fields that the service owns are passed over."""

    name: Name | None = None
    # Not called `schema`: that is a method of every model.
    schema_reference: SchemaReference = Field(alias="schema")
    identity_graph: IdentityGraph = Field(alias="identityGraph")
    attribute_merge: AttributeMergeRule = Field(alias="attributeMerge")
    default: Switch | None = None
    is_active_on_edge: Switch | None = Field(None, alias="isActiveOnEdge")

    def wanted(self) -> MergePolicy:
        """Read it in the domain's terms; the service gives it its id, version and time."""
        merge = self.attribute_merge
        order = merge.data.order if merge.order is None and merge.data is not None else merge.order
        return MergePolicy(
            id="",
            name=self.name or "",
            schema_class=self.schema_reference.name,
            graph=self.identity_graph.type,
            attribute_merge=merge.type,
            order=tuple(order or ()),
            default=bool(self.default),
            active_on_edge=bool(self.is_active_on_edge),
        )


# What a patch can change: the path, both its separators written as dots, to the field and the reader of its value.
_PATCHABLE: dict[str, tuple[str, TypeAdapter[Any]] | None] = {
    "name": ("name", TypeAdapter(Name)),
    "schema.name": ("schema_class", TypeAdapter(SchemaClass)),
    "identityGraph.type": ("graph", TypeAdapter(Graph)),
    "attributeMerge.type": ("attribute_merge", TypeAdapter(AttributeMerge)),
    "attributeMerge.order": ("order", TypeAdapter(Order)),
    "default": ("default", TypeAdapter(Switch)),
    "isActiveOnEdge": ("active_on_edge", TypeAdapter(Switch)),
    # The service counts versions itself.
    "version": None,
}


class PatchOperation(BaseModel):
    """One operation; ``path`` is spelled with dots within one token, or as a JSON Pointer."""

    op: Literal["add", "replace"]
    path: Annotated[str, StringConstraints(max_length=64)]
    value: JsonValue

    def change(self) -> dict[str, Any]:
        """Return the field of the policy that it sets with its value.

        Raises InvalidRequestError for a path that cannot be set or a value that it cannot have.
        """
        dotted = self.path[1:].replace("/", ".")
        if not self.path.startswith("/") or dotted not in _PATCHABLE:
            raise InvalidRequestError(
                f"path '{self.path}' must be one of {', '.join(f'/{path}' for path in _PATCHABLE)}"
            )
        patchable = _PATCHABLE[dotted]
        if patchable is None:
            return {}
        field, reader = patchable
        try:
            value = reader.validate_python(self.value)
        except DefectError as error:
            defect = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise InvalidRequestError(f"{self.path}: {defect['msg'].removeprefix('Value error, ')}") from None
        return {field: tuple(value) if field == "order" else value}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


_Operations = Annotated[list[PatchOperation], Field(min_length=1, max_length=100)]


class Patch(
    RootModel[Annotated[_Operations, BeforeValidator(_as_list, json_schema_input_type=_Operations | PatchOperation)]]
):
    """One operation or an array of them (contract: profile-api §3.4): all of them are done, or none."""

    def edit(self) -> Callable[[MergePolicy], MergePolicy]:
        """Return what does every operation in turn.

        Raises InvalidRequestError for one that cannot be done.
        """
        fields: dict[str, Any] = {}
        for operation in self.root:
            fields |= operation.change()
        return lambda policy: replace(policy, **fields)


class PolicyId(BaseModel):
    """One of the ids of a bulk-get."""

    id: str


class BulkGet(BaseModel):
    """The policies that are asked for."""

    ids: Annotated[list[PolicyId], Field(min_length=1, max_length=MAX_IDS)]


class NamespaceCode(BaseModel):
    """A namespace, by its code."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class AskedIdentity(BaseModel):
    """An identity; without a namespace its id is an XID."""

    entity_id: Annotated[str, StringConstraints(min_length=1)] = Field(alias="entityId")
    namespace: NamespaceCode | None = Field(None, alias="entityIdNS")

    def xid(self, tenant: Tenant) -> Xid:
        """Work out which identity is meant (contract: profile-api §2.2, §2.6).

        Raises InvalidRequestError, and UndecodableXidError for an id alone that is no XID.
        """
        if self.namespace is None:
            if not is_xid(self.entity_id):
                raise UndecodableXidError(self.entity_id, GraphType.PRIVATE)
            return Xid(self.entity_id)
        if not is_namespace_code(self.namespace.code):
            raise InvalidRequestError("entityIdNS.code is not the code of a namespace")
        return Identity.of(self.namespace.code, self.entity_id).xid(tenant)


class DryRun(BaseModel):
    """A policy to be tried, and on whom: on these identities, or on some persons."""

    policy: Policy
    identities: Annotated[list[AskedIdentity], Field(min_length=1, max_length=MAX_COMPARED)] | None = None
    sample: Annotated[int, Field(ge=1, le=MAX_COMPARED, strict=True)] | None = None
