"""MmSupervisorCore: the ring-0 part of the supervisor."""
