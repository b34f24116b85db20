"""Reading files as they were received."""

from __future__ import annotations

import io
from typing import Any

from tessera.domain.tenant import Tenant
from tessera.storage.received import ReceivedFiles, StoredFile


class Whole:
    """A storage that does not know ranges: it sends all, as HTTP allows."""

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"ETag": '"e"', "Body": io.BytesIO(b"0123456789")}


def test_a_storage_that_sends_more_than_was_asked_for() -> None:
    client: Any = Whole()
    read = ReceivedFiles(client, "lake").reader(
        Tenant("TESSERA@AdobeOrg", "dev"), "b", "d", StoredFile("a", 10, "e", "v")
    )
    assert [read(0, 10), read(2, 5), read(9, 10), read(5, 5)] == [b"0123456789", b"234", b"9", b""]
