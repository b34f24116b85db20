"""The templates that `cdk deploy` would send to AWS, made once per session and without building layers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_cdk import App

from infra.app import build

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Deployment:
    directory: Path
    templates: dict[str, dict[str, Any]]

    def resources(self, kind: str, stack: str = "") -> dict[str, dict[str, Any]]:
        """The resources of one type by logical id, of all stacks or of one."""
        return {
            name: resource
            for title, template in self.templates.items()
            if title.endswith(stack)
            for name, resource in template["Resources"].items()
            if resource["Type"] == kind
        }

    def machine(self, name: str) -> dict[str, Any]:
        """The properties of a state machine, by the end of its name."""
        found = [one["Properties"] for one in self.resources("AWS::StepFunctions::StateMachine").values()]
        (machine,) = [one for one in found if one["StateMachineName"].endswith(f"-{name}")]
        return dict(machine)

    def definition(self, name: str) -> dict[str, Any]:
        """The definition of a state machine, with what is known only when deployed as text."""
        text = self.machine(name)["DefinitionString"]["Fn::Join"][1]
        parts = [part if isinstance(part, str) else json.dumps(part).replace('"', "'") for part in text]
        parsed: dict[str, Any] = json.loads("".join(parts))
        return parsed

    @property
    def files(self) -> list[Path]:
        return sorted(self.directory.glob("*.template.json"))


def synthesise(directory: Path, **context: str) -> Deployment:
    """Run the app; cdk-nag runs with it and a finding without an acknowledgement is an error."""
    settings = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = App(outdir=str(directory), context={**settings, "aws:cdk:bundling-stacks": [], **context})
    build(app).synth()
    templates = {
        file.name.removesuffix(".template.json"): json.loads(file.read_text())
        for file in directory.glob("*.template.json")
    }
    return Deployment(directory, templates)
