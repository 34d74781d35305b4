"""MmSupervisorRing3Broker, seen from the supervisor: its tables, readers and start rules."""
