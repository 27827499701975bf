"""The layer table as an import-linter contract: what a room may import of ours, of others, and not of Python's own.

A `forbidden` contract lists what is not allowed and forgets the next dependency; this one lists what is.
"""
from __future__ import annotations

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

OURS = ("streams", "online_model", "bandit", "replay")


def within(module: str, packages: list[str]) -> bool:
    """Is `module` one of `packages`, or inside one?"""
    return any(module == p or module.startswith(p + ".") for p in packages)


class Room(Contract):
    """`modules` (less `without`) may import each other, `ours`, `others`, and the standard library less `not_stdlib`."""

    type_name = "room"

    modules = fields.ListField(subfield=fields.StringField())
    without = fields.ListField(subfield=fields.StringField(), required=False)
    ours = fields.ListField(subfield=fields.StringField())
    others = fields.ListField(subfield=fields.StringField())
    not_stdlib = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        without = list(self.without or [])
        inside = sorted(m for m in graph.modules if within(m, self.modules) and not within(m, without))
        wrong = [
            (importer, imported, graph.get_import_details(importer=importer, imported=imported)[0]["line_number"])
            for importer in inside
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if not self._may(imported, without)
        ]
        return ContractCheck(kept=not wrong, metadata={"wrong": wrong})

    def _may(self, imported: str, without: list[str]) -> bool:
        root = imported.partition(".")[0]
        if root in OURS:
            home = within(imported, self.modules) and not within(imported, without)
            # A package's own docstring module is free: it holds nothing.
            return home or imported in OURS or within(imported, self.ours)
        if root in sys.stdlib_module_names:
            return root not in (self.not_stdlib or [])
        return root in self.others

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported, line in check.metadata["wrong"]:
            output.print_error(f"{importer}:{line} imports {imported}, which this room may not.")
