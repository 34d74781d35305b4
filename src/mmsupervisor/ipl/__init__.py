"""The launchers: what places the core, hands MMRAM over to it, closes and locks it.

The design calls this box PiSmmIpl. It has had two lives, and both are here:

- :mod:`~mmsupervisor.ipl.launcher` is MmIplPei, today's launcher, which runs in PEI (docs/reference/boot-flow.md §2).
  Its messages go by :mod:`~mmsupervisor.ipl.communicate`.
- :mod:`~mmsupervisor.ipl.pi_smm_ipl` is PiSmmIpl itself, the launcher of old, which runs in DXE
  (docs/reference/dxe-launch.md). Its parts: :mod:`~mmsupervisor.ipl.range_table` (§2, MMRAM),
  :mod:`~mmsupervisor.ipl.mailbox` (§1.1), :mod:`~mmsupervisor.ipl.slot_communicate` (§5),
  :mod:`~mmsupervisor.ipl.services` (§1, what it publishes), :mod:`~mmsupervisor.ipl.boot_events` (§4).

The profile's ``launch`` chooses.
"""
