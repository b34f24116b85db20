"""Lists of identities: every line is somebody or says why it is nobody, and none is lost."""

from __future__ import annotations

import pytest

from tessera.domain.erasure_list import Entry, csv_lines, json_lines
from tessera.domain.identity import Identity
from tessera.domain.tenant import Tenant

TENANT = Tenant("ACME@AdobeOrg", "prod")
XID = Identity("crm", "1").xid(TENANT)


def known(code: str) -> bool:
    return code.lower() in {"email", "crm", "ecid"}


def read_csv(text: str | bytes) -> list[Entry]:
    return list(csv_lines(text if isinstance(text, bytes) else text.encode(), known))


def test_csv_with_and_without_a_header() -> None:
    lines = "Email,A@b.c\ncrm,1\n"
    assert [entry.identity for entry in read_csv(lines)] == [Identity("email", "a@b.c"), Identity("crm", "1")]
    for header in ("namespace,id\n", "Namespace,ID\r\n", "\ufeffnamespace,id\n"):
        assert [entry.identity for entry in read_csv(header + lines)] == [entry.identity for entry in read_csv(lines)]
    assert [entry.line for entry in read_csv("namespace,id\n" + lines)] == [2, 3]


def test_values_with_commas_and_quotes_and_an_xid() -> None:
    entries = read_csv(f'crm,"a, ""b"""\n,{XID}\n"crm","two\nlines"\ncrm,last\n')
    assert [entry.identity for entry in entries] == [
        Identity("crm", 'a, "b"'),
        None,
        Identity("crm", "two\nlines"),
        Identity("crm", "last"),
    ]
    assert entries[1].xid == XID
    assert [entry.line for entry in entries] == [1, 2, 3, 5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nowhere,1", "not known"),
        (b"crm", "1 fields"),
        (b"crm,1,2", "3 fields"),
        (b"crm,", "not a text"),
        (b"crm,null", "placeholder"),
        (b"ecid,12", "38 digits"),
        (b",nonsense", "XID"),
        (b"crm,\xff", "not a text"),
        (b'crm,"open', "no CSV"),
    ],
)
def test_a_line_that_names_nobody_says_why(line: bytes, reason: str) -> None:
    first, *others = read_csv(line + b"\n")
    assert not others
    assert reason in first.reason
    assert first.names(TENANT) is None
    good, bad = read_csv(b"crm,1\n" + line + b"\n")
    assert (good.identity, bad.line) == (Identity("crm", "1"), 2)


def test_json_lines() -> None:
    body = (
        b'{"entityId":"A@b.c","entityIdNS":{"code":"Email"}}\r\n\n'
        + f'{{"entityId":"{XID}"}}\n'.encode()
        + b'{"entityId":1,"entityIdNS":{"code":"crm"}}\n[]\n{\n{"entityId":"1","entityIdNS":{}}\n'
        + b'{"entityId":"1","entityIdNS":"crm"}'
    )
    entries = list(json_lines(body, known))
    assert [entry.line for entry in entries] == [1, 3, 4, 5, 6, 7, 8]
    assert entries[0].identity == Identity("email", "a@b.c")
    assert entries[1].xid == XID
    assert all(entry.reason for entry in entries[2:6])
    assert entries[6].identity == Identity("crm", "1")


def test_what_is_stored_while_it_waits_reads_as_it_was() -> None:
    for entry in read_csv(f"crm,1\n,{XID}\nno,1\n"):
        assert Entry.from_document(entry.to_document()) == entry
