"""Booting an image for ``boot`` and ``send``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmsupervisor.cli.console import progress
from mmsupervisor.cli.session_input import SessionOptions, read_file
from mmsupervisor.pi.container import read_image
from mmsupervisor.pi.limits import MIB
from mmsupervisor.pi.reader import Reader
from mmsupervisor.platform.firmware import no_volume
from mmsupervisor.platform.sample import sample_volume
from mmsupervisor.platform.symbol_folder import read_symbol_folder
from mmsupervisor.policy.model import Policy
from mmsupervisor.report.build import describe_input
from mmsupervisor.report.model import InputReport
from mmsupervisor.session import SAMPLE_NAME, Session, boot

_LONG_INPUT = 4 * MIB


@dataclass(frozen=True, slots=True)
class Booted:
    """A booted image.

    Attributes:
        session: The session.
        image: The image as the user named it.
        policy_source: Where the policy comes from.
        again: Boots the same once more.
    """

    session: Session
    image: InputReport
    policy_source: str
    again: Callable[[], Session]


def boot_image(
    path: Path | None,
    options: SessionOptions,
    policy: bytes | Policy | None = None,
    *,
    symbols: Path | None = None,
    prepare: Callable[[Session], None] | None = None,
) -> Booted:
    """Boot an image file, or the sample platform; with another policy than its own where one is given.

    Args:
        path: The image; None boots the sample platform.
        options: How.
        policy: The policy to be put in place of the image's, or None.
        symbols: A folder with symbols of its drivers, or None.
        prepare: Called with the session before the launch.

    Raises:
        MmSupervisorError: there is no firmware volume in it; or symbols are damaged.
        InputError: it cannot be read.
        LimitError: it is beyond the limits for inputs.
    """
    name = SAMPLE_NAME if path is None else str(path)
    description = options.description()
    data = sample_volume(description.profile) if path is None else read_file(path)
    known = None if symbols is None else read_symbol_folder(read_image(Reader(data, name)), symbols)

    def start(prepare: Callable[[Session], None] | None = None) -> Session:
        return boot(
            data,
            description=description,
            processor=options.processor,
            name=name,
            prepare=prepare,
            policy=policy,
            relax=options.relax,
            observe=options.observe,
            path=path,
            symbols=known,
        )

    with progress(f"booting {name}", is_long=len(data) > _LONG_INPUT):
        session = start(prepare)
        if not session.firmware.volumes:
            session.close()
            raise no_volume(name, data)
    is_ours = path is None or session.firmware.has_our_policy
    return Booted(session, describe_input(name, data), "built in" if is_ours else "the image", start)
