"""The export machine: plan, gather every share until it is done, settle the columns, write every file, finish."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_glue as glue
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.machine import Workers, make_machine, make_task, over_manifest, until_done
from infra.settings import Settings

_GET, _PUT, _QUERY = "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"


class ExportFunctions(Construct):
    """The six tasks of the export machine, each with its own role."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        storage = workers.storage
        index = f"{storage.tables.profile.table_arn}/index/index"

        task = workers.tasks(self, "export")

        self.plan = task("plan")
        storage.allow_registry(self.plan, _GET, _PUT)
        self.plan.allow([_QUERY], [index])
        storage.grant_lake(self.plan, read=["jobs"], write=["jobs"])

        self.gather = task("gather")
        storage.allow_registry(self.gather, _GET, _PUT)
        storage.allow_profile(self.gather, _QUERY)
        self.gather.allow([_QUERY], [index])
        storage.grant_lake(self.gather, write=["jobs"])

        self.settle = task("settle")
        storage.allow_registry(self.settle, _GET, _PUT, _QUERY)
        storage.grant_lake(self.settle, read=["jobs"], write=["jobs"])

        self.write = task("write", workers.parquet)
        storage.allow_registry(self.write, _GET)
        storage.grant_lake(self.write, read=["jobs"], write=["jobs", "exports"])

        self.finish = task("finish")
        storage.allow_registry(self.finish, _GET, _PUT)
        storage.grant_lake(self.finish, read=["jobs", "exports"], write=["exports", "active"], delete=["exports"])

        self.fail = task("fail")
        storage.allow_registry(self.fail, _GET, _PUT)
        storage.grant_lake(self.fail, read=["exports"], delete=["exports"])

        self.all = (self.plan, self.gather, self.settle, self.write, self.finish, self.fail)


class ExportMachine(Construct):
    """Plan, gather, settle, write, finish; whatever fails is noted in the job."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers, functions: ExportFunctions) -> None:
        super().__init__(scope, construct_id)
        self._workers = workers
        self.machine = make_machine(
            self,
            workers,
            name="export",
            definition=self._definition(functions),
            functions=functions.all,
            maps=("Gather", "Write"),
        )

    def _definition(self, functions: ExportFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="ExportFailed", cause="The export job says why")
        record_failure = make_task(self, "Fail", functions.fail, self._workers).next(failed)

        plan = make_task(self, "Plan", functions.plan, self._workers)
        gather = until_done(self, "Gather", functions.gather, self._workers, "$.shares_key")
        settle = make_task(self, "Settle", functions.settle, self._workers)
        write = over_manifest(self, "Write", self._workers, "$.files_key", item="file")
        write.item_processor(make_task(self, "Write file", functions.write, self._workers))
        finish = make_task(self, "Finish", functions.finish, self._workers)
        for state in (plan, gather, settle, write, finish):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        finish.next(sfn.Succeed(self, "Done"))
        gather.next(settle)
        write.next(finish)
        # No shares: the job is over, and to be left tidy. No files: nobody qualified, and that is to be shown.
        plan.next(
            sfn.Choice(self, "Anything to gather?")
            .when(sfn.Condition.number_greater_than("$.shares", 0), gather)
            .otherwise(finish)
        )
        settle.next(
            sfn.Choice(self, "Anything to write?")
            .when(sfn.Condition.number_greater_than("$.files", 0), write)
            .otherwise(finish)
        )
        return plan


# What every export has; which other columns there are, each says in its manifest.
_COLUMNS = {
    "identityMap": "map<string,array<struct<id:string>>>",
    "segmentMembership": "map<string,map<string,struct<lastQualificationTime:string,status:string>>>",
}


class ExportTable(Construct):
    """The table in which Athena sees the active files of every dataset that exports go into; it costs nothing.

    A partition is a dataset. It is not kept in Glue: its address follows from the names that a query gives. What lies
    there is a list of files, written at once, so a query sees an export whole or not at all.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, bucket: s3.IBucket) -> None:
        super().__init__(scope, construct_id)
        account = Stack.of(self).account
        name = settings.name.replace("-", "_")
        database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=account,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=name, description="What Tessera exported of its profiles"
            ),
        )
        location = f"s3://{bucket.bucket_name}/active/"

        def column(of: str, kind: str) -> glue.CfnTable.ColumnProperty:
            return glue.CfnTable.ColumnProperty(name=of, type=kind)

        self.table = glue.CfnTable(
            self,
            "Table",
            catalog_id=account,
            database_name=name,
            table_input=glue.CfnTable.TableInputProperty(
                name="exports",
                description="The active rows of datasets that exports go into",
                table_type="EXTERNAL_TABLE",
                parameters={
                    "EXTERNAL": "TRUE",
                    "classification": "parquet",
                    "projection.enabled": "true",
                    "projection.tenant.type": "injected",
                    "projection.dataset.type": "injected",
                    "storage.location.template": location + "${tenant}/${dataset}/",
                },
                partition_keys=[column("tenant", "string"), column("dataset", "string")],
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    columns=[column(*one) for one in _COLUMNS.items()],
                    location=location,
                    input_format="org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat",
                    output_format="org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
                    serde_info=glue.CfnTable.SerdeInfoProperty(
                        serialization_library="org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
                    ),
                ),
            ),
        )
        self.table.add_dependency(database)
