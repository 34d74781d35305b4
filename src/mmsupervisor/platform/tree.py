"""Between a platform description and the tables of a platform file.

A tree holds the values of one file by section: a dictionary for a table, a list of them for an array. Optional keys
without a value are not in it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from mmsupervisor.abi.profile import PROFILES
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.machine.save_state import Vendor
from mmsupervisor.pi.hob import ResourceType
from mmsupervisor.pi.pcd_database import DatumType
from mmsupervisor.pi.supervisor_hobs import GuardFlags, MemoryProtectionSettings
from mmsupervisor.platform.description import (
    AddressRange,
    DeviceFacts,
    MemoryAttributesEntry,
    MemoryRange,
    PcdValue,
    PlatformDescription,
    SecurityFacts,
)
from mmsupervisor.platform.schema import MAT_TYPES, RANGE_TYPES

Table: TypeAlias = dict[Any, Any]
Tree: TypeAlias = dict[str, Table | list[Table]]

_TYPE_NAMES = {number: name for name, number in RANGE_TYPES.items()}
_MAT_NAMES = {number: name for name, number in MAT_TYPES.items()}
_GUARDS = {
    "page_guard": GuardFlags.PAGE_GUARD,
    "pool_guard": GuardFlags.POOL_GUARD,
    "guard_at_head": GuardFlags.GUARD_AT_HEAD,
}


def to_tree(description: PlatformDescription) -> Tree:
    """Return the tables that describe a platform."""
    profile = description.profile
    return {
        "platform": {
            "name": description.name,
            "profile": profile.name,
            "until": description.until.value,
            "budget": description.budget,
        },
        "processor": {
            "vendor": description.vendor.value,
            "cpus": description.cpus,
            "address_bits": description.address_bits,
        },
        "processor.msrs": dict(sorted(description.msrs.items())),
        "memory": {
            "low": description.low_memory,
            "top": description.memory_top,
            "above_4g": description.above_4g,
        },
        "mmram": {"size": description.mmram_size},
        "mmram.more": [_range_table(item) for item in description.more_mmram],
        "range": [
            {"name": item.name, "start": item.start, "size": item.size, "type": _TYPE_NAMES[item.type]}
            for item in description.ranges
        ],
        "protected": [_range_table(item) for item in description.protected],
        "protection": _protection_table(description.protection),
        "communication": {
            "supervisor_pages": profile.supervisor_comm_pages,
            "user_pages": profile.user_comm_pages,
            "moves": description.moves_comm_buffers,
        },
        "image": {
            "visible_volumes": description.visible_volumes,
            "withheld": tuple(sorted(description.withheld)),
        },
        "pcd": [_pcd_table(item) for item in description.pcds],
        **_device_tables(description.devices),
        "security": _security_table(description.security),
        "security.memory_attributes": [_mat_table(item) for item in description.security.memory_attributes],
    }


def _range_table(item: AddressRange) -> Table:
    return {"start": item.start, "size": item.size}


def _protection_table(settings: MemoryProtectionSettings | None) -> Table:
    given = settings or MemoryProtectionSettings()
    return {
        "enabled": settings is not None,
        "null_pointer_detection": bool(given.null_pointer_detection),
        **{name: bool(given.guards & flag) for name, flag in _GUARDS.items()},
        "page_types": given.page_types,
        "pool_types": given.pool_types,
    }


def _pcd_table(item: PcdValue) -> Table:
    space = {} if item.space is None else {"space": item.space}
    return {"token": item.token, **space, "type": item.type.value, "value": item.value}


def _device_tables(facts: DeviceFacts) -> dict[str, Table | list[Table]]:
    names = ("debug_port", "serial_port", "pm_base", "pm_timer_ticks", "ecam", "root_complex", "date", "files")
    flash = {"code": facts.flash_code, "variables": facts.flash_variables, "erased": facts.flash_erased}
    return {
        "devices": {name: getattr(facts, name) for name in names},
        "flash": {name: value for name, value in flash.items() if value is not None},
    }


def _security_table(facts: SecurityFacts) -> Table:
    return {
        "iommu_table": facts.iommu_table,
        "iommu_registers": facts.iommu_registers,
        "txt_heap_start": facts.txt_heap.start,
        "txt_heap_size": facts.txt_heap.size,
        "txt_dpr_start": facts.txt_dpr.start,
        "txt_dpr_size": facts.txt_dpr.size,
        "memory_attributes_table": facts.memory_attributes_table,
    }


def _mat_table(item: MemoryAttributesEntry) -> Table:
    return {
        "start": item.start,
        "size": item.size,
        "type": _MAT_NAMES[item.type],
        "execute_protected": item.execute_protected,
    }


def from_tree(tree: Tree, folder: Path) -> PlatformDescription:
    """Return the platform that complete tables describe.

    Args:
        tree: The tables, with every key that has a default.
        folder: Where relative paths of files begin.
    """
    platform, processor, memory = (_one(tree, name) for name in ("platform", "processor", "memory"))
    communication, image = _one(tree, "communication"), _one(tree, "image")
    profile = replace(
        PROFILES[platform["profile"]],
        supervisor_comm_pages=communication["supervisor_pages"],
        user_comm_pages=communication["user_pages"],
    )
    return PlatformDescription(
        name=platform["name"],
        profile=profile,
        vendor=Vendor(processor["vendor"]),
        cpus=processor["cpus"],
        address_bits=processor["address_bits"],
        until=Phase(platform["until"]),
        low_memory=memory["low"],
        memory_top=memory["top"],
        above_4g=memory["above_4g"],
        mmram_size=_one(tree, "mmram")["size"],
        more_mmram=_ranges(tree, "mmram.more"),
        ranges=tuple(
            MemoryRange(item["start"], item["size"], ResourceType(RANGE_TYPES[item.get("type", "mmio")]), item["name"])
            for item in _many(tree, "range")
        ),
        msrs=dict(_one(tree, "processor.msrs")),
        moves_comm_buffers=communication["moves"],
        withheld=frozenset(image["withheld"]),
        budget=platform["budget"],
        protected=_ranges(tree, "protected"),
        protection=_protection(_one(tree, "protection")),
        visible_volumes=image["visible_volumes"],
        pcds=tuple(
            PcdValue(item["token"], item.get("space"), DatumType(item["type"]), item["value"])
            for item in _many(tree, "pcd")
        ),
        devices=_devices(tree, folder),
        security=_security(_one(tree, "security"), _many(tree, "security.memory_attributes")),
    )


def _one(tree: Tree, name: str) -> Table:
    table = tree[name]
    if not isinstance(table, dict):
        raise TypeError(f"section {name} is an array")
    return table


def _many(tree: Tree, name: str) -> list[Table]:
    tables = tree[name]
    if not isinstance(tables, list):
        raise TypeError(f"section {name} is no array")
    return tables


def _ranges(tree: Tree, name: str) -> tuple[AddressRange, ...]:
    return tuple(AddressRange(item["start"], item["size"]) for item in _many(tree, name))


def _protection(table: Table) -> MemoryProtectionSettings | None:
    if not table["enabled"]:
        return None
    guards = sum(int(flag) for name, flag in _GUARDS.items() if table[name])
    return MemoryProtectionSettings(
        int(table["null_pointer_detection"]), guards, table["pool_types"], table["page_types"]
    )


def _devices(tree: Tree, folder: Path) -> DeviceFacts:
    table, flash = dict(_one(tree, "devices")), _one(tree, "flash")
    table["files"] = tuple(folder / path for path in table["files"])
    code, variables = flash.get("code"), flash.get("variables")
    return DeviceFacts(
        **table,
        flash_code=folder / code if code else None,
        flash_variables=folder / variables if variables else None,
        flash_erased=flash["erased"],
    )


def _security(table: Table, attributes: list[Table]) -> SecurityFacts:
    return SecurityFacts(
        table["iommu_table"],
        table["iommu_registers"],
        AddressRange(table["txt_heap_start"], table["txt_heap_size"]),
        AddressRange(table["txt_dpr_start"], table["txt_dpr_size"]),
        table["memory_attributes_table"],
        tuple(
            MemoryAttributesEntry(item["start"], item["size"], MAT_TYPES[item["type"]], item["execute_protected"])
            for item in attributes
        ),
    )
