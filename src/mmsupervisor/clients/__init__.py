"""What the outside says to MM drivers, as typed objects over real messages: UEFI variables, the lock box."""
