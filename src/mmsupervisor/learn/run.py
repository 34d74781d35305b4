"""The observed run: everything is carried out, and everything is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmsupervisor.core.findings import Finding, SystemStopError
from mmsupervisor.dxe.phases import Phase
from mmsupervisor.learn.observation import Observation, Recorder
from mmsupervisor.learn.script import Script
from mmsupervisor.pi.guid import Guid
from mmsupervisor.platform.description import PlatformDescription
from mmsupervisor.platform.firmware import no_volume
from mmsupervisor.policy.blob import assemble
from mmsupervisor.policy.model import AccessAttr, Policy, PolicyRoot, RootType
from mmsupervisor.session import SAMPLE_NAME, Session, boot

OPEN_LISTS = (RootType.IO, RootType.MSR, RootType.INSTRUCTION, RootType.SAVE_STATE)


def open_policy() -> Policy:
    """A policy that denies nothing: deny lists without an entry."""
    return assemble((PolicyRoot(kind, AccessAttr.DENY) for kind in OPEN_LISTS), file="open policy")


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """What came of a run.

    Attributes:
        observations: Every access to ports, MSRs, gated instructions and save state.
        phase: The last phase that was reached, or an empty text.
        processor: Name of the ring-3 processor.
        stop: The finding that ended the system early, or None.
        launch_failure: Why the launch failed, or an empty text.
        removed: Drivers that broke a rule which nothing relaxes and were removed: what they access is not all known.
    """

    observations: tuple[Observation, ...]
    phase: str
    processor: str
    stop: Finding | None
    launch_failure: str
    removed: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the run went as far as it was meant to go."""
        return self.stop is None and not self.launch_failure


def observe(
    image: bytes | None,
    name: str = SAMPLE_NAME,
    *,
    description: PlatformDescription | None = None,
    until: Phase | None = None,
    processor: str = "auto",
    messages: Sequence[tuple[Guid, bytes]] = (),
    script: Script | None = None,
) -> ObservedRun:
    """Boot an image under an open policy with every relaxation, and count what it asks of the policy.

    Args:
        image: The image; None is the sample platform.
        name: What to call it.
        description: The platform; None is the Q35-like default.
        until: The phase to go to; None is the description's.
        processor: Which ring-3 processor.
        messages: Messages to send then.
        script: What to do then.

    Raises:
        MmSupervisorError: there is no firmware volume in the image, or the script fails.
    """
    recorder = Recorder()
    with boot(
        image,
        until=until,
        description=description,
        processor=processor,
        name=name,
        prepare=lambda session: recorder.follow(session.log),
        policy=open_policy(),
        observe=True,
        policy_witness=recorder,
    ) as session:
        if not session.firmware.volumes:
            raise no_volume(name, image or b"")
        _exercise(session, messages, script)
        return ObservedRun(
            recorder.observations,
            session.phase.value if session.phase else "",
            session.processor,
            session.stop,
            str(session.launch_failure or ""),
            tuple(driver.name for driver in session.drivers if driver.state == "removed"),
        )


def _exercise(session: Session, messages: Sequence[tuple[Guid, bytes]], script: Script | None) -> None:
    """Send and call; if the system dies meanwhile, the session says why."""
    if session.stop is not None or session.launch_failure is not None:
        return
    try:
        for guid, payload in messages:
            session.communicate(guid, payload)
        if script is not None:
            script(session)
    except SystemStopError:
        return
