"""What every sandbox has from the start, besides what it makes itself.

Behaviours, the classes of profiles, events and business objects, and the field groups and data types that most schemas
use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.domain.schema.resource import EVENT_CLASS, PROFILE_CLASS, RECORD, TIME_SERIES, Kind, alt_id

Node = dict[str, Any]
_XDM = "https://ns.adobe.com/xdm/"


def _is(kind: str, title: str = "") -> Node:
    return {"meta:xdmType": kind, **({"title": title} if title else {})}


def _list_of(items: Node) -> Node:
    return {"type": "array", "items": items}


def _group(**properties: Node) -> Node:
    return {"type": "object", "properties": properties}


def _see(path: str, title: str = "") -> Node:
    return {"$ref": _XDM + path, **({"title": title} if title else {})}


_TEXT, _NUMBER, _COUNT, _TIME, _DATE, _FLAG = map(_is, ("string", "double", "long", "date-time", "date", "boolean"))
_IDENTITY_MAP: Node = {
    "title": "Identity map",
    "type": "object",
    "additionalProperties": _list_of(_group(id=_TEXT, primary=_FLAG, authenticatedState=_TEXT)),
}

_DATA_TYPES: dict[str, tuple[str, Node]] = {
    "context/person-name": (
        "Person name",
        _group(firstName=_TEXT, middleName=_TEXT, lastName=_TEXT, fullName=_TEXT, courtesyTitle=_TEXT, suffix=_TEXT),
    ),
    "context/person": (
        "Person",
        _group(
            name=_see("context/person-name"),
            birthDate=_DATE,
            birthDayAndMonth=_TEXT,
            birthYear={"meta:xdmType": "short", "minimum": 1},
            gender=_TEXT,
            nationality=_TEXT,
        ),
    ),
    "context/emailaddress": ("E-mail address", _group(address=_TEXT, type=_TEXT, status=_TEXT, primary=_FLAG)),
    "context/phonenumber": ("Phone number", _group(number=_TEXT, extension=_TEXT, status=_TEXT, primary=_FLAG)),
    "common/address": (
        "Postal address",
        _group(
            street1=_TEXT,
            street2=_TEXT,
            city=_TEXT,
            postalCode=_TEXT,
            state=_TEXT,
            stateProvince=_TEXT,
            region=_TEXT,
            country=_TEXT,
            countryCode=_TEXT,
            primary=_FLAG,
        ),
    ),
    "data/measure": ("Measure", _group(id=_TEXT, value=_NUMBER)),
    "data/productlistitem": (
        "Product list item",
        _group(
            _id=_TEXT, SKU=_TEXT, name=_TEXT, quantity=_COUNT, priceTotal=_NUMBER, currencyCode=_TEXT, product=_TEXT
        ),
    ),
    "common/external-source-system-audit-details": (
        "Audit of an external source system",
        _group(
            externalID=_TEXT,
            createdBy=_TEXT,
            createdDate=_TIME,
            lastUpdatedBy=_TEXT,
            lastUpdatedDate=_TIME,
            lastActivityDate=_TIME,
            lastReferencedDate=_TIME,
            lastViewedDate=_TIME,
        ),
    ),
}
_FIELD_GROUPS: dict[str, tuple[str, tuple[str, ...], Node]] = {
    "context/identitymap": ("Identity map", (PROFILE_CLASS, EVENT_CLASS), _group(identityMap=_IDENTITY_MAP)),
    "context/profile-person-details": (
        "Demographic details",
        (PROFILE_CLASS,),
        _group(person=_see("context/person")),
    ),
    "context/profile-personal-details": (
        "Personal contact details",
        (PROFILE_CLASS,),
        _group(
            homeAddress=_see("common/address"),
            personalEmail=_see("context/emailaddress"),
            homePhone=_see("context/phonenumber"),
            mobilePhone=_see("context/phonenumber"),
            faxPhone=_see("context/phonenumber"),
        ),
    ),
    "context/profile-work-details": (
        "Work contact details",
        (PROFILE_CLASS,),
        _group(
            workAddress=_see("common/address"),
            workEmail=_see("context/emailaddress"),
            workPhone=_see("context/phonenumber"),
            organizations=_list_of(_TEXT),
        ),
    ),
    "common/external-source-system-audit-attributes": (
        "External source system audit details",
        (PROFILE_CLASS, EVENT_CLASS),
        _group(extSourceSystemAudit=_see("common/external-source-system-audit-details")),
    ),
    "context/experienceevent-commerce": (
        "Commerce details",
        (EVENT_CLASS,),
        _group(
            commerce=_group(
                order=_group(purchaseID=_TEXT, purchaseOrderNumber=_TEXT, priceTotal=_NUMBER, currencyCode=_TEXT),
                **{
                    name: _see("data/measure")
                    for name in (
                        *("purchases", "checkouts", "abandons", "productViews", "productListAdds", "productListOpens"),
                        *("productListRemovals", "productListViews", "saveForLaters", "inStorePurchase"),
                    )
                },
            ),
            productListItems=_list_of(_see("data/productlistitem")),
        ),
    ),
    "context/experienceevent-web": (
        "Web details",
        (EVENT_CLASS,),
        _group(
            web=_group(
                webPageDetails=_group(
                    name=_TEXT,
                    URL=_TEXT,
                    server=_TEXT,
                    siteSection=_TEXT,
                    isHomePage=_FLAG,
                    isErrorPage=_FLAG,
                    pageViews=_see("data/measure"),
                ),
                webReferrer=_group(URL=_TEXT, type=_TEXT),
                webInteraction=_group(name=_TEXT, URL=_TEXT, type=_TEXT, linkClicks=_see("data/measure")),
            )
        ),
    ),
}
_ROW: Node = {"_id": _TEXT, "_repo": _group(createDate=_TIME, modifyDate=_TIME)}
_EVENT: Node = {
    "type": "object",
    "properties": {
        **_ROW,
        "timestamp": _TIME,
        "eventType": _TEXT,
        "producedBy": _TEXT,
        "eventMergeId": _TEXT,
        "identityMap": _IDENTITY_MAP,
    },
    "required": ["_id", "timestamp"],
}
_PROFILE: Node = _group(
    **_ROW,
    createdByBatchID=_TEXT,
    modifiedByBatchID=_TEXT,
    personID=_TEXT,
    repositoryCreatedBy=_TEXT,
    repositoryLastModifiedBy=_TEXT,
    identityMap=_IDENTITY_MAP,
)
_BUSINESS: Node = _group(**_ROW, extSourceSystemAudit=_see("common/external-source-system-audit-details"))
_CLASSES: dict[str, tuple[str, str, Node]] = {
    "context/profile": ("XDM Individual Profile", RECORD, _PROFILE),
    "context/experienceevent": ("XDM ExperienceEvent", TIME_SERIES, _EVENT),
    "context/account": ("XDM Business Account", RECORD, _BUSINESS),
    "context/opportunity": ("XDM Business Opportunity", RECORD, _BUSINESS),
}
_BEHAVIOURS: dict[str, tuple[str, Node]] = {
    "data/record": ("Record", {"type": "object", "properties": {"_id": _TEXT}}),
    "data/time-series": (
        "Time series",
        {"type": "object", "properties": {"_id": _TEXT, "timestamp": _TIME}, "required": ["_id", "timestamp"]},
    ),
}


def _resource(path: str, kind: Kind, title: str, content: Node, **more: Any) -> tuple[str, Node]:
    resource_id = _XDM + path
    return resource_id, {
        "$id": resource_id,
        "meta:altId": alt_id(resource_id),
        "meta:resourceType": kind.value,
        "version": "1",
        "title": title,
        **content,
        **more,
        "meta:containerId": "global",
        "meta:abstract": True,
        "meta:extensible": True,
    }


def _extending(behaviour: str) -> Node:
    return {"allOf": [{"$ref": behaviour}], "meta:extends": [behaviour]}


LIBRARY: Mapping[str, Mapping[str, Any]] = dict(
    [
        *(_resource(path, Kind.BEHAVIOUR, *one) for path, one in _BEHAVIOURS.items()),
        *(
            _resource(path, Kind.CLASS, title, content, **_extending(behaviour))
            for path, (title, behaviour, content) in _CLASSES.items()
        ),
        *(
            _resource(path, Kind.FIELD_GROUP, title, content, **{"meta:intendedToExtend": list(classes)})
            for path, (title, classes, content) in _FIELD_GROUPS.items()
        ),
        *(_resource(path, Kind.DATA_TYPE, *one) for path, one in _DATA_TYPES.items()),
    ]
)
