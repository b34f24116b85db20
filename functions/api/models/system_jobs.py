"""Bodies of the system jobs endpoint (contract: profile-api §5.3)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, model_validator

from tessera.services.purging.accepting import Wanted

# As the document marks what Adobe's API does not have.
_OURS: Any = {"x-tessera": True}

Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class NewDeleteJob(BaseModel):
    """What is to be deleted: a batch if one is named, else a dataset; ``datasetId`` is another spelling.

    ``removeLinks`` also takes away the links that only this dataset asserted, ``lake`` also deletes the objects of the
    dataset or batch in the lake.
    """

    dataset_id: Id | None = Field(None, alias="dataSetId")
    batch_id: Id | None = Field(None, alias="batchId")
    remove_links: bool = Field(False, alias="removeLinks", json_schema_extra=_OURS)
    lake: bool = Field(False, json_schema_extra=_OURS)

    @model_validator(mode="before")
    @classmethod
    def _either_spelling(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "datasetId" not in value:
            return value
        if value.get("dataSetId", value["datasetId"]) != value["datasetId"]:
            raise ValueError("dataSetId and datasetId are two spellings of one key: they cannot differ")
        return {**value, "dataSetId": value["datasetId"]}

    @model_validator(mode="after")
    def _names_something(self) -> NewDeleteJob:
        if self.dataset_id is None and self.batch_id is None:
            raise ValueError("dataSetId or batchId must say what is to be deleted")
        if self.batch_id is not None and self.remove_links:
            raise ValueError("removeLinks is for datasets: which batch asserted a link is not known")
        return self

    def wanted(self) -> Wanted:
        """Read it in the service's terms."""
        return Wanted(self.dataset_id or "", self.batch_id or "", self.remove_links, self.lake)
