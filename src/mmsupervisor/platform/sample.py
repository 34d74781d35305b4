"""Volumes packed by our own builder: the sample platform, and a volume for one driver."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmsupervisor import prebuilt
from mmsupervisor.abi.profile import NEWEST_RELEASE, Profile
from mmsupervisor.pi.depex import all_of, encode
from mmsupervisor.pi.guid import Guid
from mmsupervisor.pi.guid_names import known_guid
from mmsupervisor.pi.volume import FileType, SectionType
from mmsupervisor.pi.volume.build import FileSpec, VolumeSpec, build_volume
from mmsupervisor.pi.volume.build_section import build_section, build_ui_section, join_sections
from mmsupervisor.platform.placeholder import placeholder_core
from mmsupervisor.policy.blob import write_blob
from mmsupervisor.policy.defaults import default_policy

CORE_GUID = known_guid("gMmSupervisorCoreGuid")
POLICY_GUID = known_guid("gMmSupervisorPolicyFileGuid")
READY_GUID = known_guid("gMmRing3HandlerReadyProtocol")
BROKER_NAME = "MmSupervisorRing3Broker"
_REVISION_OFFSET = 8
_REVISION_END = 12

GOOD_DRIVERS = (
    "MmSupervisorErrorReport",
    "Consumer",
    "Producer",
    "RunsBefore",
    "RunsAfter",
    "Echo",
    "IoMsr",
    "CpuIo",
    "PoolPages",
    "Protocols",
    "HandlerReg",
    "ConfigTable",
    "HobReader",
    "Lifecycle",
    "ApUser",
    "SaveState",
    "Sizes",
    "StatusReturner",
    "Unblocked",
)
"""Drivers of the sample platform, in file order: one for each group of services, and each kind of DEPEX.

The Consumer stands before the Producer on which it depends, so that it has to wait for a second pass.
"""


@dataclass(frozen=True, slots=True)
class DriverFile:
    """A driver to be packed.

    Attributes:
        name: User-interface name.
        guid: File GUID.
        image: PE32 image, or None for a file without that section.
        depex: Dependency section, or None for a file without it.
        type: Type of the file: a supervisor's driver, or ``FileType.MM`` for a traditional one.
    """

    name: str
    guid: Guid
    image: bytes | None
    depex: bytes | None
    type: FileType = FileType.MM_STANDALONE


def ready_depex() -> bytes:
    """The dependency expression of a driver that needs nothing but the broker."""
    return encode(all_of(READY_GUID))


def shipped(name: str) -> DriverFile:
    """Return a shipped driver with its own dependency expression.

    Raises:
        PrebuiltError: there is no such driver.
    """
    known = prebuilt.driver(name)
    return DriverFile(name, known.guid, prebuilt.image(name), known.depex)


def shipped_broker(profile: Profile) -> DriverFile:
    """Return the shipped broker as a profile has it: the revision of its table, the handler profile."""
    known = prebuilt.driver(BROKER_NAME)
    header = prebuilt.image(BROKER_NAME)[_table_offset() :][:_REVISION_END]
    settings = {"gBrokerMmst": header[:_REVISION_OFFSET] + profile.mmst_revision.to_bytes(4, "little")}
    if profile.handler_profile:
        settings["gHandlerProfilePropertyMask"] = b"\x01"
    return DriverFile(BROKER_NAME, known.guid, prebuilt.patched_image(BROKER_NAME, settings), known.depex)


def _table_offset() -> int:
    return next(symbol.rva for symbol in prebuilt.symbols(BROKER_NAME) if symbol.name == "gBrokerMmst")


def driver_file(driver: DriverFile) -> FileSpec:
    """Describe the FFS file of a driver: dependency section, image, name."""
    sections = []
    if driver.depex is not None:
        sections.append(build_section(SectionType.MM_DEPEX, driver.depex))
    if driver.image is not None:
        sections.append(build_section(SectionType.PE32, driver.image))
    sections.append(build_ui_section(driver.name))
    return FileSpec(driver.guid, driver.type, join_sections(sections))


def core_file(profile: Profile) -> FileSpec:
    """Describe the FFS file of the core's placeholder."""
    sections = [build_section(SectionType.PE32, placeholder_core(profile)), build_ui_section("MmSupervisorCore")]
    return FileSpec(CORE_GUID, FileType.MM_CORE_STANDALONE, join_sections(sections))


def policy_file(blob: bytes) -> FileSpec:
    """Describe the FFS file of the isolation policy: one RAW section."""
    return FileSpec(POLICY_GUID, FileType.FREEFORM, build_section(SectionType.RAW, blob))


def mm_volume(
    drivers: Iterable[DriverFile],
    *,
    policy: bytes | None = None,
    profile: Profile = NEWEST_RELEASE,
    broker: DriverFile | None = None,
) -> bytes:
    """Build the one volume of the design: core, policy, broker, drivers.

    Args:
        drivers: Drivers, in file order.
        policy: The policy blob; None packs the built-in default.
        profile: Decides the placeholder core's size and version, and the settings of the shipped broker.
        broker: The broker; None packs the shipped one.
    """
    blob = write_blob(default_policy()) if policy is None else policy
    files = [core_file(profile), policy_file(blob), driver_file(broker or shipped_broker(profile))]
    files += [driver_file(driver) for driver in drivers]
    return build_volume(VolumeSpec(tuple(files)))


def broker_volume(profile: Profile = NEWEST_RELEASE) -> bytes:
    """Build a volume with nothing but the shipped broker, for images that bring none."""
    return build_volume(VolumeSpec((driver_file(shipped_broker(profile)),)))


def sample_volume(profile: Profile = NEWEST_RELEASE) -> bytes:
    """Build the sample platform's volume."""
    return mm_volume([shipped(name) for name in GOOD_DRIVERS], profile=profile)
