"""StandaloneMmUnblockMem: requests for memory outside MMRAM."""
