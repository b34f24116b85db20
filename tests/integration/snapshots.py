"""Puts tables and lake back as they were, so that a test can have the same thing happen again and again."""

from __future__ import annotations

from typing import Any

import boto3


def snapshot() -> Any:
    """All items of both tables, and all versions of objects there are."""
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    tables = {name: dynamodb.scan(TableName=name)["Items"] for name in ("profiles", "registry")}
    objects = {
        item["Key"]: s3.get_object(Bucket="lake", Key=item["Key"])["Body"].read()
        for item in s3.list_objects_v2(Bucket="lake").get("Contents", ())
    }
    return tables, objects


def restore(taken: Any) -> None:
    """Make it all as it was."""
    tables, objects = taken
    dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
    for name, items in tables.items():
        wanted = {(item["pk"]["S"], item["sk"]["S"]): item for item in items}
        now = {(item["pk"]["S"], item["sk"]["S"]): item for item in dynamodb.scan(TableName=name)["Items"]}
        for key in now.keys() - wanted.keys():
            dynamodb.delete_item(TableName=name, Key={"pk": {"S": key[0]}, "sk": {"S": key[1]}})
        for key, item in wanted.items():
            if now.get(key) != item:
                dynamodb.put_item(TableName=name, Item=item)
    found = {item["Key"] for item in s3.list_objects_v2(Bucket="lake").get("Contents", ())}
    for key in found - objects.keys():
        s3.delete_object(Bucket="lake", Key=key)
    for key, body in objects.items():
        if key not in found:
            s3.put_object(Bucket="lake", Key=key, Body=body)
