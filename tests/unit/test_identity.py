"""Identities, XIDs and placeholders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.identity import Identity, is_placeholder, is_xid, shard_of, unusable_because
from tessera.domain.tenant import Tenant

TENANT = Tenant("ACME@AdobeOrg", "prod")
identities = st.builds(Identity, st.sampled_from(["email", "crmid", "ecid"]), st.text())


@given(identities)
def test_an_xid_is_28_url_safe_characters_that_name_nobody(identity: Identity) -> None:
    xid = identity.xid(TENANT)
    assert is_xid(xid)
    assert len(xid) == 28
    assert 0 <= shard_of(xid) < 256
    assert len(identity.value) < 4 or identity.value not in xid


@given(identities, identities)
def test_xids_are_equal_only_for_the_same_identity_of_the_same_tenant(one: Identity, other: Identity) -> None:
    assert (one.xid(TENANT) == other.xid(TENANT)) == (one == other)
    assert one.xid(TENANT) != one.xid(Tenant("ACME@AdobeOrg", "dev"))
    assert one.xid(TENANT) != one.xid(Tenant("OTHER@AdobeOrg", "prod"))


def test_the_parts_of_a_key_cannot_run_into_each_other() -> None:
    assert Tenant("ab", "c").key != Tenant("a", "bc").key
    assert Identity("ab", "c").xid(TENANT) != Identity("a", "bc").xid(TENANT)


@pytest.mark.parametrize("text", ["", "dalia@ex.org", "A" * 28, "!" * 28, "x" * 27, "x" * 29])
def test_what_is_no_xid(text: str) -> None:
    assert not is_xid(text)


def test_codes_compare_in_any_case_and_mail_addresses_too_but_no_other_value() -> None:
    assert Identity.of("Email", "Dalia@Ex.org") == Identity.of("EMAIL", "dalia@ex.org")
    assert Identity.of("CRMID", "Ab") != Identity.of("crmid", "ab")


@pytest.mark.parametrize(
    "value", ["", "0", "null", "NULL", "unknown", "000", "00000000-0000-0000-0000-000000000000", " none ", "0.0"]
)
def test_placeholders(value: str) -> None:
    assert is_placeholder(value)


@pytest.mark.parametrize("value", ["00004", "1", "x", "a@b.c", "-", "100"])
def test_no_placeholders(value: str) -> None:
    assert not is_placeholder(value)


def test_an_ecid_has_38_digits_and_no_identity_over_1024_characters() -> None:
    assert unusable_because(Identity("ecid", "4" * 38)) is None
    assert unusable_because(Identity("ecid", "4" * 37))
    assert unusable_because(Identity("crmid", "x" * 1024)) is None
    assert unusable_because(Identity("crmid", "x" * 1025))
